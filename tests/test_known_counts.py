"""The known counts of a metric: which hours are read again, when an hour is settled, and what the state keeps."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tap_klaviyo.errors import StateError
from tap_klaviyo.reading.known_counts import Recounted, day_digests, known_after, plan_recount
from tap_klaviyo.singer.recounts import KnownCounts, OpenHour, counted_bookmark, known_counts, with_known_counts
from tap_klaviyo.streams.table import BY_NAME

HOUR, DAY = 3600, 86_400
BEGIN = 1_767_225_600
OPEN = BY_NAME["open"]
NOON = BEGIN + 40 * DAY + 12 * HOUR
OLD, YOUNG = NOON - 30 * HOUR, NOON - 2 * HOUR
WINDOW = (NOON - 30 * DAY, NOON - HOUR)


def known_of(**changes: Any) -> KnownCounts:
    return KnownCounts(*WINDOW, **changes)


def settle(hour: int, rows: int, count: int, known: KnownCounts | None = None, now: int = NOON) -> KnownCounts:
    """Read one hour, and return the counts to keep."""
    return known_after(known, {hour: count}, {hour: rows}, [(hour, hour + HOUR)], WINDOW, now)


def open_hour(rows: int, count: int, seconds: int) -> OpenHour:
    return OpenHour(rows, count, NOON - seconds)


@pytest.mark.parametrize(
    ("hour", "rows", "count", "before", "is_open", "surplus"),
    [
        # As many as are counted.
        (YOUNG, 5, 5, {}, False, 0),
        (OLD, 5, 5, {}, False, 0),
        # Fewer: the others are on their way, however old the hour is, and however long ago that was seen.
        (OLD, 4, 5, {}, True, 0),
        (OLD, 4, 5, {"open": {OLD: open_hour(4, 5, 20 * DAY)}}, True, 0),
        # More, in an hour that was over long before: these are not counted at all.
        (YOUNG, 5, 4, {}, False, 1),
        (OLD, 5, 4, {}, False, 1),
        # As many more as ever.
        (OLD, 6, 5, {"surplus": {OLD: 1}}, False, 1),
        # The count has grown, the events have not: one of them may be on its way.
        (OLD, 5, 5, {"surplus": {OLD: 1}}, True, 1),
        (OLD, 5, 5, {"surplus": {OLD: 1}, "open": {OLD: open_hour(5, 5, 899)}}, True, 1),
        (OLD, 5, 5, {"surplus": {OLD: 1}, "open": {OLD: open_hour(5, 4, 5000)}}, True, 1),
        (OLD, 5, 5, {"surplus": {OLD: 1}, "open": {OLD: open_hour(4, 5, 5000)}}, True, 1),
        # It has not come for as long as counts are ahead: it was counted late.
        (OLD, 5, 5, {"surplus": {OLD: 1}, "open": {OLD: open_hour(5, 5, 900)}}, False, 0),
        (OLD, 6, 4, {"surplus": {OLD: 1}, "open": {OLD: open_hour(6, 4, 900)}}, False, 2),
        (OLD, 6, 4, {"surplus": {OLD: 1}}, True, 1),
        # Fewer than are counted, by as many as were surplus.
        (OLD, 4, 5, {"surplus": {OLD: 1}}, True, 1),
    ],
)
def test_when_an_hour_is_settled(
    hour: int, rows: int, count: int, before: dict[str, Any], is_open: bool, surplus: int
) -> None:
    after = settle(hour, rows, count, known_of(**before))
    assert (hour in after.open) == is_open
    assert after.surplus == ({hour: surplus} if surplus else {})
    assert not is_open or (after.open[hour].rows, after.open[hour].count) == (rows, count)


def test_an_hour_whose_count_may_be_behind_stays_open_until_an_hour_after_its_end() -> None:
    assert settle(YOUNG, 5, 4, now=NOON - 1).open == {YOUNG: OpenHour(5, 4, NOON - 1)}
    assert settle(YOUNG, 5, 4).open == {}


def test_an_open_hour_keeps_since_when_it_has_been_as_it_is() -> None:
    before = known_of(open={OLD: open_hour(4, 5, 600)})
    assert settle(OLD, 4, 5, before).open[OLD].since == NOON - 600
    assert settle(OLD, 4, 6, before).open[OLD].since == NOON
    assert settle(OLD, 3, 5, before).open[OLD].since == NOON


def test_other_hours_stay_as_they_were_until_they_leave_the_window() -> None:
    gone = WINDOW[0] - HOUR
    before = KnownCounts(
        WINDOW[0] - DAY,
        WINDOW[1],
        surplus={OLD: 2, gone: 1},
        open={YOUNG: open_hour(1, 2, 5), gone: open_hour(1, 2, 5)},
    )
    after = known_after(before, {}, {}, [], WINDOW, NOON)
    assert (after.surplus, after.open) == ({OLD: 2}, {YOUNG: open_hour(1, 2, 5)})


def test_only_hours_within_the_window_are_kept() -> None:
    counts = {WINDOW[1]: 7, WINDOW[1] - HOUR: 3, WINDOW[0]: 2, WINDOW[0] - HOUR: 1}
    after = known_after(None, counts, {}, [(WINDOW[0], NOON)], WINDOW, NOON)
    assert after.hours == {WINDOW[1] - HOUR: 3}
    assert list(after.days) == [WINDOW[0] // DAY * DAY]
    assert set(after.open) == {WINDOW[1] - HOUR, WINDOW[0]}


def plan(
    known: KnownCounts | None,
    counts: Mapping[int, int],
    *,
    mark: int | None = None,
    end: int = NOON,
    first: int = BEGIN,
    start: int = NOON - 7 * DAY + 60,
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], tuple[int, int]]:
    """Return the ranges to read, those that were counted, and the window that is known then."""
    asked = []

    def count(low: int, high: int) -> Mapping[int, int]:
        asked.append((low, high))
        return {hour: number for hour, number in counts.items() if low - HOUR < hour < high}

    found = plan_recount(known, start, mark, (first, end), 30 * DAY, count)
    return list(found.ranges), asked, found.window


def test_a_metric_of_which_nothing_is_known_is_read_from_the_start() -> None:
    ranges, asked, window = plan(None, {})
    assert ranges == [(NOON - 7 * DAY, NOON)]
    month_ago = (NOON - HOUR - 30 * DAY) // DAY * DAY
    assert (asked, window) == ([(month_ago, NOON)], (month_ago, NOON - HOUR))
    first = NOON - DAY + 7
    assert plan(None, {}, first=first, start=first)[0] == [(first, NOON)]


def test_hours_that_ended_less_than_a_quarter_of_an_hour_ago_are_read_again() -> None:
    assert plan(None, {}, end=NOON + 899)[2][1] == NOON - HOUR
    assert plan(None, {}, end=NOON + 900)[2][1] == NOON


def test_events_are_looked_for_as_far_back_as_one_can_be_late_since_the_last_run() -> None:
    known = KnownCounts(NOON - 40 * DAY, NOON - 9 * DAY)
    _, asked, _ = plan(known, {})
    assert asked == [(min(known.start, (known.end - 30 * DAY) // DAY * DAY), NOON)]
    _, asked, _ = plan(replace(known, start=known.end - DAY), {})
    assert asked == [((known.end - 30 * DAY) // DAY * DAY, NOON)]


def test_only_new_hours_are_read_if_no_count_has_changed() -> None:
    counts = {YOUNG: 3, OLD: 2, NOON - 20 * DAY: 9}
    known = known_after(None, counts, counts, [(WINDOW[0], WINDOW[1])], WINDOW, NOON)
    assert plan(known, counts)[0] == [(WINDOW[1], NOON)]
    assert plan(known, {**counts, OLD: 3})[0] == [(OLD, OLD + HOUR), (WINDOW[1], NOON)]
    assert plan(known, {**counts, OLD: 0})[0] == [(OLD, OLD + HOUR), (WINDOW[1], NOON)]
    assert plan(known, {**counts, OLD + HOUR: 1, OLD + 2 * HOUR: 1})[0][0] == (OLD + HOUR, OLD + 3 * HOUR)
    week = (WINDOW[1] - 7 * DAY) // DAY * DAY
    assert plan(known, {**counts, week: 1})[0] == [(week, week + HOUR), (WINDOW[1], NOON)]
    day = (NOON - 20 * DAY) // DAY * DAY
    assert plan(known, {**counts, NOON - 20 * DAY: 8, NOON - 20 * DAY + HOUR: 1})[0][0] == (day, day + DAY)
    assert plan(known, {**counts, NOON - 21 * DAY: 1})[0][0] == (day - DAY, day)


def test_a_day_that_lost_all_its_counts_is_read_again() -> None:
    day = (NOON - 20 * DAY) // DAY * DAY
    known = known_after(None, {day: 9}, {day: 9}, [WINDOW], WINDOW, NOON)
    assert plan(known, {})[0] == [(day, day + DAY), (WINDOW[1], NOON)]


def test_a_start_date_within_a_day_has_no_hour_read_again_without_a_change() -> None:
    first = NOON - DAY + 7
    counts = {NOON - DAY: 1, NOON - DAY + HOUR: 2, YOUNG: 3}
    window = plan(None, counts, first=first)[2]
    assert window == (first, NOON - HOUR)
    known = known_after(None, counts, counts, [(first, NOON)], window, NOON)
    assert plan(known, counts, first=first)[0] == [(NOON - HOUR, NOON)]
    assert plan(known, {**counts, NOON - DAY: 2}, first=first)[0][0][0] == first


def test_the_hour_of_the_start_date_may_be_open() -> None:
    window = (OLD + 7, WINDOW[1])
    assert set(known_after(None, {OLD: 1}, {}, [(OLD + 7, OLD + HOUR)], window, NOON).open) == {OLD}


def test_a_later_start_date_bounds_what_is_read_again() -> None:
    known = known_of(open={OLD: open_hour(1, 2, 5)}, hours={YOUNG: 3})
    assert plan(known, {}, first=YOUNG + 60)[0] == [(YOUNG + 60, NOON)]


def test_a_start_date_after_the_known_counts_skips_no_event() -> None:
    assert plan(known_of(open={OLD: open_hour(1, 2, 5)}), {}, first=NOON - 60)[0] == [(WINDOW[1], NOON)]
    assert plan(known_of(), {}, mark=OLD + 60, first=NOON - 60)[0] == [(OLD, NOON)]
    assert plan(None, {}, first=NOON - 60, start=OLD + 60)[0] == [(OLD + 60, NOON)]


def recounted(known: KnownCounts | None, window: tuple[int, int], counts: Mapping[int, int]) -> Recounted:
    return Recounted(known, counts, [(OLD, NOON)], window, NOON)


def test_an_end_date_before_the_known_counts_leaves_them_as_they_are() -> None:
    known = known_of(hours={YOUNG: 3})
    assert recounted(known, (WINDOW[0], YOUNG), {YOUNG - HOUR: 1}).known_then({}) == known


@pytest.mark.parametrize(("counts", "is_known"), [({}, False), ({OLD: 0}, False), ({OLD: 1}, True)])
def test_counts_of_nothing_where_many_events_were_read_are_not_known(counts: dict[int, int], is_known: bool) -> None:
    recount = recounted(None, WINDOW, counts)
    assert (recount.known_then({OLD: 12, YOUNG: 8}) is not None) == is_known
    assert recount.known_then({OLD: 12}) is not None


def test_a_window_without_a_full_hour_leaves_nothing_to_know() -> None:
    assert recounted(None, (NOON - 60, NOON - HOUR), {}).known_then({}) is None


@pytest.mark.parametrize(
    ("counts", "read", "expected"),
    [
        # Since the last run.
        ({YOUNG: 3}, {}, 3),
        ({YOUNG: 3}, {YOUNG: 1}, 0),
        ({YOUNG: 3}, {OLD: 1}, 0),
        ({}, {}, 0),
        # The counts of hours that were read before, or are not over for long, prove nothing.
        ({OLD: 3}, {}, 0),
        ({NOON - HOUR: 3}, {}, 0),
    ],
)
def test_counts_since_the_last_run_show_that_klaviyo_returned_nothing(
    counts: dict[int, int], read: dict[int, int], expected: int
) -> None:
    known = KnownCounts(WINDOW[0], YOUNG)
    assert recounted(known, WINDOW, counts).unread(read) == expected


def test_a_metric_of_which_nothing_was_known_is_judged_by_all_that_was_read() -> None:
    assert recounted(None, WINDOW, {OLD - HOUR: 9, OLD: 3, YOUNG: 2}).unread({}) == 5


def test_an_open_hour_is_read_again_whatever_its_count_is() -> None:
    known = known_of(open={OLD: open_hour(0, 0, 5)})
    assert plan(known, {})[0] == [(OLD, OLD + HOUR), (WINDOW[1], NOON)]


def test_nothing_is_read_behind_the_end_date() -> None:
    known = known_of(hours={YOUNG: 3})
    assert plan(known, {}, end=YOUNG)[0] == []
    assert plan(known, {}, end=YOUNG + 60)[0] == [(YOUNG, YOUNG + 60)]


def test_a_bookmark_that_was_moved_back_has_the_events_after_it_read_again() -> None:
    known = known_of(open={YOUNG: open_hour(1, 2, 5)})
    assert plan(known, {}, mark=OLD + 60)[0] == [(OLD, NOON)]
    assert plan(KnownCounts(WINDOW[0], YOUNG), {}, mark=NOON - 60)[0] == [(YOUNG, NOON)]


def test_a_day_has_another_digest_if_any_of_its_hours_changes() -> None:
    digests = [
        day_digests({BEGIN: 1, BEGIN + HOUR: 2}, BEGIN, BEGIN + DAY),
        day_digests({BEGIN: 2, BEGIN + HOUR: 1}, BEGIN, BEGIN + DAY),
    ]
    assert digests[0].keys() == digests[1].keys() == {BEGIN}
    assert digests[0] != digests[1]
    assert day_digests({BEGIN: 0}, BEGIN, BEGIN + DAY) == {}
    assert day_digests({BEGIN + DAY - HOUR: 1}, BEGIN, BEGIN + DAY).keys() == {BEGIN}


def test_the_state_keeps_the_counts_in_a_compact_form() -> None:
    chance = random.Random(1)
    hours = range(WINDOW[0], WINDOW[1], HOUR)
    counts = {hour: chance.randrange(2000) for hour in hours}
    known = known_after(None, counts, {**counts, OLD: counts[OLD] + 1, YOUNG: 0}, [WINDOW], WINDOW, NOON)
    state = with_known_counts({"bookmarks": {}}, OPEN, {"M": known}, NOON)
    assert known_counts(json.loads(json.dumps(state)), OPEN) == {"M": known}
    assert len(json.dumps(state)) < 1800
    quiet = known_after(None, {}, {}, [WINDOW], WINDOW, NOON)
    assert len(json.dumps(with_known_counts({}, OPEN, {"M": quiet}, NOON))) < 350
    assert known_counts(with_known_counts({}, OPEN, {"M": quiet}, None), OPEN) == {"M": quiet}


@pytest.mark.parametrize(
    "entry",
    [
        [1],
        {"metrics": []},
        {"metrics": {"M": {}}},
        {"metrics": {"M": {"start": "2026-01-01", "end": "2026-02-01", "days": [], "hours": [-168]}}},
        {"metrics": {"M": 5}},
        {"metrics": {"M": {"start": "x", "end": "y"}}},
        {"metrics": {"M": {"start": "2026-01-01", "end": "2026-01-02", "days": [], "hours": [1]}}},
        {"metrics": {"M": {"start": "2026-01-01", "end": "2026-01-01T00:30:00Z", "days": [], "hours": [1]}}},
        {"metrics": {"M": {"start": "2026-01-01", "end": "2026-01-02", "days": [], "hours": [-24], "open": {"x": 1}}}},
        {"metrics": {"M": {"start": "2026-01-01", "end": "2026-01-02", "days": [], "hours": [-(10**9)]}}},
        {"metrics": {"M": {"start": "2026-01-01", "end": "2026-01-02", "days": [], "hours": [-(10**30)]}}},
    ],
)
def test_counts_that_are_not_understood_are_an_error(entry: Any) -> None:
    with pytest.raises(StateError, match='the entry of open in "recounts" is not understood'):
        known_counts({"recounts": {"open": entry}}, OPEN)


@pytest.mark.parametrize("mark", ["x", 5, ["2026-01-01"]])
def test_a_bookmark_of_counts_that_is_not_understood_is_an_error(mark: Any) -> None:
    """Without it, the tap would not notice that the stream's bookmark was moved back."""
    with pytest.raises(StateError, match='the entry of open in "recounts" is not understood'):
        counted_bookmark({"recounts": {"open": {"bookmark": mark, "metrics": {}}}}, OPEN)


def test_counts_change_nothing_else_in_the_state() -> None:
    state: Any = {"bookmarks": {"open": {}}, "recounts": {"receive": {"metrics": {}}}}
    after = with_known_counts(state, OPEN, {}, NOON)
    assert after == {**state, "recounts": {**state["recounts"], "open": after["recounts"]["open"]}}
    assert counted_bookmark(after, OPEN) == NOON


def test_the_state_keeps_counts_that_begin_within_an_hour() -> None:
    window = (NOON - DAY + 7, WINDOW[1])
    known = known_after(None, {NOON - DAY: 3, YOUNG: 1}, {NOON - DAY: 4, YOUNG: 1}, [window], window, NOON)
    assert known_counts(with_known_counts({}, OPEN, {"M": known}, NOON), OPEN) == {"M": known}


def test_hours_before_the_known_counts_have_not_changed() -> None:
    assert plan(KnownCounts(NOON - DAY, WINDOW[1]), {OLD: 3})[0] == [(WINDOW[1], NOON)]


@pytest.mark.parametrize("state", [{}, {"recounts": None}, {"recounts": {}}, {"recounts": {"open": None}}])
def test_a_state_may_have_no_counts(state: Any) -> None:
    assert known_counts(state, OPEN) == {}
