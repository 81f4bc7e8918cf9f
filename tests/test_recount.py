"""Late events by a recount: the hours that are read again, the state, and that nothing is lost, whatever counts say."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tap_klaviyo import config
from tap_klaviyo.errors import ConfigError, StateError
from tap_klaviyo.reading.known_counts import day_digests, known_after, plan_recount
from tap_klaviyo.reading.recount import metric_segments
from tap_klaviyo.sandbox import Account, Sandbox, status
from tap_klaviyo.singer.recounts import KnownCounts, OpenHour, known_counts, with_known_counts
from tap_klaviyo.streams.table import BY_NAME
from tests.running import Run, Time, catalog_of, sync

COUNTS = "/api/metric-aggregates"
HOUR, DAY = 3600, 86_400
BEGIN = 1_767_225_600
OPEN = BY_NAME["open"]


def run_of(sandbox: Sandbox, *streams: str, state: Any = None, **settings: Any) -> Run:
    given = {"late_events": "recount", **settings}
    return sync(sandbox, state, catalog_of(*streams), clock=Time(sandbox.now).clock, **given)


def rows_of(run: Run) -> int:
    return len(run.of("RECORD"))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.build(events=40_000, seed=7, days=60, late_days=0.01), limits=False) as sandbox:
        yield sandbox


def test_a_quiet_hour_costs_a_hundredth_of_a_weeks_lookback(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "receive", "open", "unsubscribe")
    sandbox.advance(HOUR)
    second = run_of(sandbox, "receive", "open", "unsubscribe", state=first.state)
    sandbox.advance(HOUR)
    third = run_of(sandbox, "receive", "open", "unsubscribe", state=second.state)
    again = run_of(sandbox, "receive", "open", "unsubscribe", state=second.state, late_events="lookback")
    known = {each["record"]["id"] for run in (first, second) for each in run.of("RECORD")}
    doubled = sum(each["record"]["id"] in known for each in third.of("RECORD"))
    lookback = sum(each["record"]["id"] in known for each in again.of("RECORD"))
    assert lookback > 2000
    assert doubled < lookback / 100
    assert len([each for each in sandbox.requests if each.path == COUNTS]) <= 4 * 4 + 2


def test_an_event_that_is_a_month_late_is_read_with_its_day_alone() -> None:
    account = Account.build(events=20_000, seed=3, days=90, late_days=0.01)
    (metric,) = [metric for metric in account.metrics if metric.kind.stream == "receive"]
    place = account.metrics.index(metric)
    now = account.now
    numbers = [n for n in account.events_of([place]) if now - 29 * DAY < account.timeline.seconds[n] < now - 28 * DAY]
    late = {numbers[0]: now + HOUR}
    account = replace(account, timeline=replace(account.timeline, late={**account.timeline.late, **late}))
    with Sandbox(account, limits=False) as sandbox:
        first = run_of(sandbox, "receive")
        id = account.timeline.id(numbers[0]).decode()
        assert id not in first.keys()["receive"]
        sandbox.advance(2 * HOUR)
        second = run_of(sandbox, "receive", state=first.state)
        day = account.timeline.seconds[numbers[0]] // DAY * DAY
        old = [each for each in second.records("receive") if each["timestamp"] < now - 2 * HOUR]
        assert id in [each["id"] for each in old]
        assert {each["timestamp"] // DAY * DAY for each in old} == {day}
        sandbox.advance(2 * HOUR)
        third = run_of(sandbox, "receive", state=second.state)
        assert not [each for each in third.records("receive") if each["timestamp"] < now - 2 * HOUR]


def test_an_event_that_is_a_day_late_is_read_with_its_hour_alone() -> None:
    account = Account.build(events=20_000, seed=3, days=90, late_days=0.01)
    (metric,) = [metric for metric in account.metrics if metric.kind.stream == "receive"]
    place, now = account.metrics.index(metric), account.now
    number = next(n for n in account.events_of([place]) if account.timeline.seconds[n] > now - DAY)
    account = replace(account, timeline=replace(account.timeline, late={**account.timeline.late, number: now + HOUR}))
    with Sandbox(account, limits=False) as sandbox:
        first = run_of(sandbox, "receive")
        sandbox.advance(2 * HOUR)
        second = run_of(sandbox, "receive", state=first.state)
        old = [each["timestamp"] for each in second.records("receive") if each["timestamp"] < now - 2 * HOUR]
        assert {each // HOUR for each in old} == {account.timeline.seconds[number] // HOUR}


@pytest.mark.parametrize("seed", range(12))
def test_after_any_history_nothing_is_missing(seed: int) -> None:
    """Events come up to 30 days late, counts lag minutes either way, and profiles are deleted with their counts."""
    chance = random.Random(seed)
    account = Account.build(
        events=chance.choice((300, 3000)),
        seed=seed,
        days=chance.choice((40, 90)),
        late_days=30.0,
        counts_deleted=chance.random() < 0.5,
    )
    streams = ("receive", "unsubscribe", "bounce")
    profiles = [each["id"] for each in account.collection("/api/profiles", account.now)]
    target: set[str] = set()
    state: Any = None
    with Sandbox(account, limits=False) as sandbox:
        for _ in range(12):
            sandbox.account = account.with_lag(chance.choice((0, 600, -600, 45)))
            run = run_of(sandbox, *streams, state=state)
            state = run.state
            target |= {each["record"]["id"] for each in run.of("RECORD")}
            assert run.error is None
            sandbox.advance(chance.choice((300, HOUR, 7 * HOUR, DAY, 3 * DAY)))
            if chance.random() < 0.3:
                account = account.without_profiles(chance.sample(profiles, 3))
        # Without lag, the last events come.
        for _ in range(2):
            sandbox.account = account.with_lag(0)
            run = run_of(sandbox, *streams, state=state)
            state = run.state
            target |= {each["record"]["id"] for each in run.of("RECORD")}
            sandbox.advance(60)
        whole = sandbox.account.ledger(sandbox.now - 70)
        assert {each for stream in streams for each in whole[stream]} <= target


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
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], tuple[int, int]]:
    """Return the ranges to read, those that were counted, and the window that is known then."""
    asked = []

    def count(start: int, stop: int) -> Mapping[int, int]:
        asked.append((start, stop))
        return {hour: number for hour, number in counts.items() if start - HOUR < hour < stop}

    found = plan_recount(known, NOON - 7 * DAY + 60, mark, (first, end), 30 * DAY, count)
    return list(found.ranges), asked, found.window


def test_a_metric_of_which_nothing_is_known_is_read_from_the_start() -> None:
    ranges, asked, window = plan(None, {})
    assert ranges == [(NOON - 7 * DAY, NOON)]
    month_ago = (NOON - HOUR - 30 * DAY) // DAY * DAY
    assert (asked, window) == ([(month_ago, NOON)], (month_ago, NOON - HOUR))
    assert plan(None, {}, first=NOON - DAY + 7)[0] == [(NOON - DAY + 7, NOON)]


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
    day = (NOON - 20 * DAY) // DAY * DAY
    assert plan(known, {**counts, NOON - 20 * DAY: 8, NOON - 20 * DAY + HOUR: 1})[0][0] == (day, day + DAY)
    assert plan(known, {**counts, NOON - 21 * DAY: 1})[0][0] == (day - DAY, day)


def test_an_open_hour_is_read_again_whatever_its_count_is() -> None:
    known = known_of(open={OLD: open_hour(0, 0, 5)})
    assert plan(known, {})[0] == [(OLD, OLD + HOUR), (WINDOW[1], NOON)]


def test_nothing_is_read_behind_the_end_date() -> None:
    known = known_of(hours={YOUNG: 3})
    assert plan(known, {}, end=YOUNG)[0] == []
    assert plan(known, {}, end=YOUNG + 60)[0] == [(YOUNG, YOUNG + 60)]


def test_a_bookmark_that_was_moved_back_has_the_events_after_it_read_again() -> None:
    assert plan(known_of(), {}, mark=OLD + 60)[0] == [(OLD, NOON)]


def test_a_day_has_another_digest_if_any_of_its_hours_changes() -> None:
    digests = [
        day_digests({BEGIN: 1, BEGIN + HOUR: 2}, BEGIN, BEGIN + DAY),
        day_digests({BEGIN: 2, BEGIN + HOUR: 1}, BEGIN, BEGIN + DAY),
    ]
    assert digests[0].keys() == digests[1].keys() == {BEGIN}
    assert digests[0] != digests[1]
    assert day_digests({BEGIN: 0}, BEGIN, BEGIN + DAY) == {}


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
        {"metrics": []},
        {"metrics": {"M": 5}},
        {"metrics": {"M": {"start": "x", "end": "y"}}},
        {"metrics": {"M": {"start": "2026-01-01", "end": "2026-01-02", "days": [], "hours": [1]}}},
        {"metrics": {"M": {"start": "2026-01-01", "end": "2026-01-01T00:30:00Z", "days": [], "hours": [1]}}},
        {"metrics": {"M": {"start": "2026-01-01", "end": "2026-01-02", "days": [], "hours": [-24], "open": {"x": 1}}}},
        {"metrics": {"M": {"start": "2026-01-01", "end": "2026-01-02", "days": [], "hours": [-(10**9)]}}},
    ],
)
def test_counts_that_are_not_understood_are_an_error(entry: Any) -> None:
    with pytest.raises(StateError, match='the entry of open in "recounts" is not understood'):
        known_counts({"recounts": {"open": entry}}, OPEN)


@pytest.mark.parametrize("state", [{}, {"recounts": None}, {"recounts": {}}, {"recounts": {"open": None}}])
def test_a_state_may_have_no_counts(state: Any) -> None:
    assert known_counts(state, OPEN) == {}


def test_ranges_of_several_metrics_are_read_side_by_side() -> None:
    found = metric_segments({"M": [(0, 10), (20, 30)], "N": [(5, 25)]})
    assert [(start, end, sorted(metrics)) for start, end, metrics in found] == [
        (0, 5, ["M"]),
        (5, 10, ["M", "N"]),
        (10, 20, ["N"]),
        (20, 25, ["M", "N"]),
        (25, 30, ["M"]),
    ]
    assert metric_segments({"M": [(0, 10)], "N": [(0, 10)]}) == [(0, 10, frozenset("MN"))]
    assert metric_segments({"M": [(0, 10)], "N": [(5, 10)], "O": [(0, 5)]}) == [
        (0, 5, frozenset("MO")),
        (5, 10, frozenset("MN")),
    ]


@pytest.mark.parametrize("code", [403, 500])
def test_without_counts_the_lookback_is_read_again(
    sandbox: Sandbox, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    first = run_of(sandbox, "receive")
    sandbox.advance(HOUR)
    sandbox.faults = lambda request: status(code) if request.path == COUNTS else None
    second = run_of(sandbox, "receive", state=first.state)
    again = run_of(sandbox, "receive", state=first.state, late_events="lookback")
    assert (second.error, second.keys()) == (None, again.keys())
    assert "are not available, so it is read again from " in caplog.text
    assert (
        second.state["recounts"]
        == first.state["recounts"]
        | {
            "receive": first.state["recounts"]["receive"]
            | {"bookmark": second.state["bookmarks"]["receive"]["timestamp"]}
        }
        or second.state["recounts"] == first.state["recounts"]
    )
    sandbox.faults = None
    sandbox.advance(HOUR)
    third = run_of(sandbox, "receive", state=second.state)
    assert {*first.keys()["receive"], *second.keys()["receive"], *third.keys()["receive"]} == set(
        sandbox.account.ledger(sandbox.now - 5)["receive"]
    )


def test_a_first_run_reads_all_and_a_state_of_lookbacks_is_taken_over(sandbox: Sandbox) -> None:
    whole = run_of(sandbox, "receive")
    assert sorted(whole.keys()["receive"]) == sorted(sandbox.account.ledger(sandbox.now - 5)["receive"])
    before = run_of(sandbox, "receive", late_events="lookback")
    assert "recounts" not in before.state
    taken = run_of(sandbox, "receive", state=before.state)
    week = [each for each in whole.records("receive") if each["timestamp"] >= sandbox.now - 7 * DAY - 2 * HOUR]
    assert abs(len(taken.records("receive")) - len(week)) < 30
    assert set(taken.state["recounts"]) == {"receive"}


def test_a_metric_that_joins_is_read_from_the_start_date(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "unsubscribe")
    metrics = first.state["bookmarks"]["unsubscribe"]["metrics"]
    state = {
        **first.state,
        "bookmarks": {"unsubscribe": {**first.state["bookmarks"]["unsubscribe"], "metrics": metrics[:1]}},
    }
    second = run_of(sandbox, "unsubscribe", state=state)
    joined = {each["id"] for each in first.records("unsubscribe") if each["metric_id"] == metrics[1]}
    assert joined <= {each["id"] for each in second.records("unsubscribe")}
    assert second.state["bookmarks"]["unsubscribe"]["metrics"] == metrics


def test_what_could_not_be_read_is_not_known(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "receive")
    sandbox.advance(2 * DAY)
    sandbox.faults = lambda request: status(500) if request.path == "/api/events" else None
    failed = run_of(sandbox, "receive", state=first.state)
    assert failed.error is not None
    assert failed.state["recounts"] == first.state["recounts"]
    sandbox.faults = None
    third = run_of(sandbox, "receive", state=failed.state)
    assert {*first.keys()["receive"], *third.keys()["receive"]} == set(
        sandbox.account.ledger(sandbox.now - 5)["receive"]
    )


def test_the_events_of_all_metrics_are_read_by_the_lookback(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    first = run_of(sandbox, "events")
    assert "recounts" not in first.state
    assert "events: not every metric is counted, so the lookback is read again." in caplog.text


def test_recount_and_comparison_go_together(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    first = run_of(sandbox, "receive", check_counts=True)
    sandbox.advance(12 * HOUR)
    caplog.clear()
    second = run_of(sandbox, "receive", state=first.state, check_counts=True)
    rows = len(second.records("receive"))
    assert rows
    assert f"receive: {rows:,} records; Klaviyo counts {rows:,}." in caplog.text


def test_recount_days_without_a_recount_is_named() -> None:
    assert config.odd_settings({"recount_days": 20}) == ["recount_days has no effect: late_events is not recount."]
    assert config.odd_settings({"recount_days": 20, "late_events": "recount"}) == []
    with pytest.raises(ConfigError, match="late_events must be lookback or recount"):
        config.check_settings({"api_key": "pk_1", "start_date": "2026-01-01", "late_events": "never"})
