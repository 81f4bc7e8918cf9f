"""Single cases of reading a timeline; tests/chaos/test_timelines.py draws whole ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tap_klaviyo.errors import CursorError, MetricDeniedError, RateLimitedError, RequestError, UnreadablePageError
from tap_klaviyo.klaviyo.client import Answer
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.reading.planned_slices import plan_slices
from tap_klaviyo.reading.query import Query
from tap_klaviyo.reading.slices import Slice, cut_slice, follow_page, place_rows
from tap_klaviyo.reading.unreadable import find_unreadable
from tap_klaviyo.streams.model import TimeRange
from tap_klaviyo.streams.table import BY_NAME
from tests.timelines import Event, Memory, ids_in, read_timeline, shown

BEGIN = 1_767_225_600
YEAR = 31_536_000
QUERIES = (Query("M", BY_NAME["open"].project(BY_NAME["open"].schema)),)


def spread(count: int, metric: str = "M", has_timestamp: bool = True) -> list[Event]:
    """Return events a minute apart."""
    return [Event(BEGIN + 60 * number, f"{metric}{number:04}", metric, has_timestamp) for number in range(count)]


@pytest.mark.parametrize("has_timestamp", [True, False])
def test_a_cursor_that_is_always_refused_ends_the_stream_only_within_a_second(has_timestamp: bool) -> None:
    memory = Memory(spread(30), 10, refuse=lambda: True)
    assert set(read_timeline(memory, ["M"], BEGIN, BEGIN + YEAR).ids) == {each.id for each in spread(30)}
    crowd = Memory(
        [Event(BEGIN + 5, f"{number:04}", "M", has_timestamp) for number in range(95)], 10, refuse=lambda: True
    )
    with pytest.raises(CursorError):
        read_timeline(crowd, ["M"], BEGIN, BEGIN + YEAR)
    # The first page, the same from the second that it ends in, and five restarts.
    assert len(crowd.requests) <= 7


def test_refusals_with_progress_between_them_do_not_end_the_stream() -> None:
    turns = iter(range(1000))
    memory = Memory(spread(150), 10, refuse=lambda: next(turns) % 2 == 0)
    # The range is too short to be cut, so that one slice meets all the refusals.
    assert len(set(read_timeline(memory, ["M"], BEGIN, BEGIN + 150 * 60).ids)) == 150
    assert next(turns) > 2 * 5


def test_a_cursor_that_fails_is_left_for_the_filter_and_costs_no_event() -> None:
    turns = iter(range(1000))
    memory = Memory(spread(150), 10, spoil=lambda: next(turns) % 2 == 0)
    reading = read_timeline(memory, ["M"], BEGIN, BEGIN + 150 * 60)
    assert (set(reading.ids), reading.problems) == ({each.id for each in spread(150)}, [])
    crowd = Memory([Event(BEGIN + 5, f"{number:04}", "M") for number in range(95)], 10, spoil=lambda: True)
    with pytest.raises(UnreadablePageError):
        read_timeline(crowd, ["M"], BEGIN, BEGIN + YEAR)
    assert len(crowd.requests) <= 7


@pytest.mark.parametrize("offset", [0, 7])
def test_an_event_that_cannot_be_read_costs_no_other_metric_its_second(offset: int) -> None:
    bad = Event(BEGIN + offset, "bad", "M", is_readable=False)
    others = [Event(BEGIN + offset, "same", "N"), Event(BEGIN + 60, "M1", "M"), Event(BEGIN + 60, "N1", "N")]
    reading = read_timeline(Memory([bad, *others], 10), ["M", "N"], BEGIN, BEGIN + YEAR)
    assert sorted(reading.ids) == ["M1", "N1", "same"]
    (problem,) = reading.problems
    assert "(M) cannot be read and were skipped" in problem


@pytest.mark.parametrize("place", [0, 1, 3599, 3600, 86_399, 20_000_000, YEAR - 1])
@pytest.mark.parametrize("wrong", [(), (0,), (3, 4), (9,)])
def test_the_second_of_an_unreadable_event_is_found_though_some_requests_fail_by_chance(
    place: int, wrong: tuple[int, ...]
) -> None:
    tries = list[int]()

    def fails(time: int) -> bool:
        tries.append(time)
        return time <= BEGIN + place or len(tries) - 1 in wrong

    assert find_unreadable(fails, BEGIN, BEGIN + YEAR) == BEGIN + place
    assert len(tries) <= 30 * (1 + len(wrong))


@pytest.mark.parametrize("wrong", [(), (0,), (1, 2)])
def test_a_page_that_no_longer_fails_has_no_unreadable_event(wrong: tuple[int, ...]) -> None:
    tries = iter(range(100))
    assert find_unreadable(lambda _: next(tries) in wrong, BEGIN, BEGIN + YEAR) is None


def test_a_search_among_random_answers_ends() -> None:
    chance = random.Random(5)
    for _ in range(200):
        tries = iter(range(100))  # one more would raise
        found = find_unreadable(lambda _: next(tries) >= 0 and chance.random() < 0.5, BEGIN, BEGIN + YEAR)  # noqa: B023
        assert found is None or BEGIN <= found < BEGIN + YEAR


def test_a_search_that_is_misled_each_time_ends() -> None:
    tries = list[int]()

    def fails(time: int) -> bool:
        # What the search finds never fails when it is tried again.
        tries.append(time)
        return tries.count(time) == 1

    find_unreadable(fails, BEGIN, BEGIN + 3000)
    assert len(tries) == 100


@pytest.mark.parametrize("denied", ["M", "N", "O"])
def test_a_denied_metric_is_named_and_the_others_are_read(denied: str) -> None:
    names = ["M", "N", "O"]
    memory = Memory([event for name in names for event in spread(25, name)], 10, denied=frozenset([denied]))
    reading = read_timeline(memory, names, BEGIN, BEGIN + YEAR)
    assert frozenset().union(*(batch.denied for batch in reading.batches)) == {denied}
    assert {id[0] for id in reading.ids} == set(names) - {denied}
    assert len(reading.ids) == 50


def test_the_only_metric_may_be_denied() -> None:
    (batch,) = read_timeline(Memory([], 10, denied=frozenset("M")), ["M"], BEGIN, BEGIN + YEAR).batches
    assert (batch.denied, batch.rows) == (frozenset("M"), 0)


@pytest.mark.parametrize("names", ["N", "MN"])
def test_a_metric_that_is_denied_midway_ends_the_stream(names: str) -> None:
    """It was there a moment before: counted as missing, it would have its whole history read again."""
    memory = Memory([event for name in names for event in spread(150, name)], 10)

    def deny() -> int:
        memory.denied = frozenset("N")
        return 5

    with pytest.raises(MetricDeniedError):
        read_timeline(memory, [*names], BEGIN, BEGIN + YEAR, idle=deny)


def test_an_event_without_a_time_that_is_later_than_its_page_shows_comes_once() -> None:
    first = [Event(BEGIN + 10 * number, f"M{number}", "M") for number in range(4)]
    blank = Event(BEGIN + 25, "blank", "N", has_timestamp=False)
    second = [Event(BEGIN + 5, "N0", "N"), blank, Event(BEGIN + 40, "N1", "N"), Event(BEGIN + 50, "N2", "N")]
    reading = read_timeline(Memory([*first, *second], 3), ["M", "N"], BEGIN, BEGIN + YEAR)
    assert sorted(reading.ids) == sorted(each.id for each in (*first, *second))
    assert reading.doubled == {}


def test_an_event_without_a_time_comes_once_though_it_is_later_than_several_pages_show() -> None:
    first = [Event(BEGIN + 10 * number, f"M{number}", "M") for number in range(9)]
    blank = Event(BEGIN + 65, "blank", "N", has_timestamp=False)
    second = [Event(BEGIN + 5, "N0", "N"), blank, Event(BEGIN + 70, "N1", "N"), Event(BEGIN + 80, "N2", "N")]
    reading = read_timeline(Memory([*first, *second], 3), ["M", "N"], BEGIN, BEGIN + YEAR)
    assert sorted(reading.ids) == sorted(each.id for each in (*first, *second))


class _Moody(Event):
    """An event with an attribute that no column has."""

    def as_json(self) -> dict[str, Any]:
        found = super().as_json()
        return {**found, "attributes": {**found["attributes"], "mood": "good"}}


@pytest.mark.parametrize("metrics", ["M", "MN"])
def test_attributes_without_a_column_are_counted_in_every_page(metrics: str) -> None:
    events = [_Moody(BEGIN + 60 * number, f"{name}{number}", name) for name in metrics for number in range(40)]
    reading = read_timeline(Memory(events, 100), [*metrics], BEGIN, BEGIN + YEAR)
    counted = [each.findings.unknown for each in reading.batches if each.rows]
    assert counted == [{("event", "mood"): 40 * len(metrics)}]


@pytest.mark.parametrize("metrics", ["M", "MN"])
def test_a_server_that_is_behind_midway_costs_only_the_last_seconds(metrics: str) -> None:
    end = BEGIN + 150 * 60
    memory = Memory([event for name in metrics for event in spread(150, name)], 10)

    def fall_behind() -> int:
        memory.now = end - 3
        return 10

    reading = read_timeline(memory, [*metrics], BEGIN, end, idle=fall_behind)
    assert len(reading.ids) == 150 * len(metrics)
    assert {each.bookmark_limit for each in reading.batches if each.bookmark_limit} == {end - 10}


class _Refusing(Memory):
    """Refuses the first request for a time in the middle of the range."""

    has_refused = False

    @contextmanager
    def page(self, endpoint: Endpoint, url: str, *arguments: Any, **options: Any) -> Iterator[Answer]:
        if not self.has_refused and json.loads(url)[1] > BEGIN and json.loads(url)[2] < BEGIN + 150 * 60:
            self.has_refused = True
            raise RequestError("Klaviyo answers 400: a bound is odd.", 400)
        with super().page(endpoint, url, *arguments, **options) as answer:
            yield answer


class _Asked(Memory):
    """Notes by request whether the page is said to have items."""

    @contextmanager
    def page(self, endpoint: Endpoint, url: str, *arguments: Any, **options: Any) -> Iterator[Answer]:
        self.__dict__.setdefault("said", {})[url] = options["has_items"]
        with super().page(endpoint, url, *arguments, **options) as answer:
            yield answer


def test_a_page_that_begins_with_a_row_of_the_page_before_cannot_be_empty() -> None:
    memory = _Asked([*spread(95), *spread(40, "N")], 10)
    read_timeline(memory, ["M", "N"], BEGIN, BEGIN + 100 * 60)
    said: dict[str, bool] = memory.__dict__["said"]
    firsts = [url for url in said if json.loads(url)[1] == BEGIN]
    assert [said[url] for url in firsts] == [False, False]
    assert all(is_said for url, is_said in said.items() if url not in firsts and json.loads(url)[0] == "M")


def test_a_bound_in_the_middle_of_the_range_is_never_lowered() -> None:
    with pytest.raises(RequestError):
        read_timeline(_Refusing(spread(150), 10), ["M"], BEGIN, BEGIN + 150 * 60, idle=lambda: 10)


class _RefusingOnce(Memory):
    """Refuses the first cursor, then the first bound in the middle of the range."""

    has_refused_cursor = has_refused_bound = False

    @contextmanager
    def page(self, endpoint: Endpoint, url: str, *arguments: Any, **options: Any) -> Iterator[Answer]:
        _, _, end, cursor = json.loads(url)
        if cursor and not self.has_refused_cursor:
            self.has_refused_cursor = True
            raise RequestError("Klaviyo answers 400: a bound is odd.", 400)
        if end < BEGIN + YEAR and not self.has_refused_bound:
            self.has_refused_bound = True
            raise RequestError("Klaviyo answers 400: a bound is odd.", 400)
        with super().page(endpoint, url, *arguments, **options) as answer:
            yield answer


def test_the_bound_before_a_counted_range_is_never_lowered() -> None:
    memory = _RefusingOnce(spread(150), 10)
    memory.counts = memory.count
    with pytest.raises(RequestError):
        read_timeline(memory, ["M"], BEGIN, BEGIN + YEAR)
    assert memory.has_refused_bound


@pytest.mark.parametrize(("days", "questions"), [(9, 0), (12, 1), (40, 1)])
@pytest.mark.parametrize("are_behind", [False, True])
def test_klaviyo_counts_a_range_of_more_than_ten_days_once(days: int, questions: int, are_behind: bool) -> None:
    events = [Event(BEGIN + 120 * number, f"M{number:05}", "M") for number in range(days * 720)]
    memory = Memory(events, 1000)
    # Counts that do not have the events yet leave a range as long as it is.
    memory.counts = lambda *asked: {} if (found := memory.count(*asked)) and are_behind else found
    reading = read_timeline(memory, ["M"], BEGIN, BEGIN + days * 86_400)
    assert (len(reading.ids), memory.questions) == (len(events), questions)


def test_counts_that_the_rate_limit_denies_are_asked_for_behind_the_next_page() -> None:
    """The streams begin together, and more of them ask than the limit allows."""
    memory = Memory(spread(40_000), 100)
    asked_behind: list[int] = []

    def count(metric: str, start: int, end: int, is_needed: bool = False) -> Mapping[int, int]:
        asked_behind.append(len(memory.requests))
        if len(asked_behind) < 4:
            raise RateLimitedError("Klaviyo's rate limit for counts is reached.")
        return memory.count(metric, start, end, is_needed)

    memory.counts = count
    reading = read_timeline(memory, ["M"], BEGIN, BEGIN + YEAR)
    assert (len(reading.ids), memory.questions, len(asked_behind)) == (40_000, 1, 4)
    assert len(set(asked_behind)) == 4
    assert sum(len(batch.counted) for batch in reading.batches) == 1


def test_counts_that_are_far_too_high_cut_a_range_into_some_hundred_slices() -> None:
    memory = Memory(spread(30), 10, counts=lambda *_: {BEGIN + 14_400 * place: 25 for place in range(2190)})
    assert len(read_timeline(memory, ["M"], BEGIN, BEGIN + YEAR).ids) == 30
    assert 200 < len(memory.requests) < 450


@pytest.mark.parametrize(
    ("timestamps", "datetimes", "expected"),
    [
        ([10, 20, 30], [0, 0, 0], [10, 20, 30]),
        ([10, 0, 30], [0, 25, 0], [10, 25, 30]),
        ([10, 0, 30], [0, 5, 0], [10, 10, 30]),
        ([10, 0, 30], [0, 99, 0], [10, 30, 30]),
        ([10, 0, 30], [0, 0, 0], [10, 10, 30]),
        ([0, 0], [0, 50], [1, 50]),
        ([10, 0], [0, 1000], [10, 99]),
        ([10, 100, 30], [0, 0, 0], [10, 10, 30]),
        ([10, 5000, 30], [0, 20, 0], [10, 20, 30]),
    ],
)
def test_where_events_lie_in_time(timestamps: list[int], datetimes: list[int], expected: list[int]) -> None:
    ids = [str(place) for place in range(len(timestamps))]
    rows = place_rows(ids, ids, timestamps, lambda: datetimes, 1, 100)
    assert list(rows.moments) == expected
    assert rows.last == max(each for each in timestamps if each < 100)


@pytest.mark.parametrize("date", [None, shown(BEGIN)])
def test_whole_pages_without_a_timestamp_are_never_read_second_by_second(date: str | None) -> None:
    blank = [Event(each.time, each.id, "M", False, date) for each in spread(100)]
    memory = Memory([*blank, *spread(100, "N")], 10)
    reading = read_timeline(memory, ["M", "N"], BEGIN, BEGIN + YEAR)
    assert (len(reading.ids), reading.doubled) == (200, {})
    # Each page of events without a time may cost some halvings of a year, but no steps of a second.
    assert len(memory.requests) < 20 * 2 * 25


def test_a_bound_ahead_of_the_server_is_lowered_and_the_bookmark_stays_behind_it() -> None:
    end = BEGIN + 100 * 60
    memory = Memory(spread(100), 10, now=end - 3)
    reading = read_timeline(memory, ["M"], BEGIN, end)
    assert len(reading.ids) == 100
    assert [each.bookmark_limit for each in reading.batches if each.bookmark_limit] == [end - 10]


class _RefusingBefore(Memory):
    """Refuses the first request for the events before one that cannot be read."""

    has_refused = False

    @contextmanager
    def page(self, endpoint: Endpoint, url: str, *arguments: Any, **options: Any) -> Iterator[Answer]:
        if not self.has_refused and json.loads(url)[2] == BEGIN + 600:
            self.has_refused = True
            raise RequestError("Klaviyo answers 400: a bound is odd.", 400)
        with super().page(endpoint, url, *arguments, **options) as answer:
            yield answer


def test_the_bound_before_an_event_that_cannot_be_read_is_never_lowered() -> None:
    events = [replace(each, is_readable=each.time != BEGIN + 600) for each in spread(20)]
    memory = _RefusingBefore(events, 10)
    with pytest.raises(RequestError, match="a bound is odd"):
        read_timeline(memory, ["M"], BEGIN, BEGIN + YEAR)
    assert memory.has_refused


class _Missing(Memory):
    """Answers the first request with 404."""

    has_answered = False

    @contextmanager
    def page(self, endpoint: Endpoint, url: str, *arguments: Any, **options: Any) -> Iterator[Answer]:
        if not self.has_answered:
            self.has_answered = True
            raise RequestError("Klaviyo answers 404.", 404)
        with super().page(endpoint, url, *arguments, **options) as answer:
            yield answer


def test_an_error_that_says_nothing_about_the_bound_ends_the_stream() -> None:
    with pytest.raises(RequestError):
        read_timeline(_Missing(spread(10), 10), ["M"], BEGIN, BEGIN + YEAR)


@pytest.mark.parametrize("seconds", [5, 10, YEAR])
def test_a_bound_that_is_refused_for_another_reason_is_an_error(seconds: int) -> None:
    with pytest.raises(RequestError):
        read_timeline(Memory([], 10, now=BEGIN), ["M"], BEGIN, BEGIN + seconds)


def test_a_page_that_ends_within_a_second_is_followed_and_the_bookmark_keeps_up() -> None:
    crowd = [Event(BEGIN + 5, f"{number:04}", "M") for number in range(95)]
    reading = read_timeline(Memory([*crowd, Event(BEGIN + 9, "last", "M")], 10), ["M"], BEGIN, BEGIN + YEAR)
    assert reading.ids == [*(each.id for each in crowd), "last"]
    assert [batch.newest for batch in reading.batches if batch.rows] == [BEGIN + 5] * 10 + [BEGIN + 9]


@pytest.mark.parametrize("idle", [0, 5, 15])
def test_an_event_without_a_time_at_a_cut_comes_once(idle: int) -> None:
    events = [Event(each.time, each.id, "M", number % 7 != 0) for number, each in enumerate(spread(200))]
    reading = read_timeline(Memory(events, 5), ["M"], BEGIN, BEGIN + 200 * 60, idle=lambda: idle)
    assert sorted(reading.ids) == sorted(each.id for each in events)


@pytest.mark.parametrize(
    ("counts", "parts"),
    [
        ({}, [None]),
        ({BEGIN + 3600 * hour: 100 for hour in range(200)}, [9600, 9600, 800]),
        ({BEGIN + 3600 * hour: 6000 for hour in range(9)}, [9600, 9600, 9600, 9600, 15_600]),
        ({BEGIN + 3600 * 50: 18_000}, [18_000]),
        ({BEGIN + 3600 * 50: 60_000}, [9600, 9600, 9600, 9600, 9600, 12_000]),
        ({BEGIN + 3600 * 50: 60_000, BEGIN + 3600 * 900: 5}, [9600, 9600, 9600, 9600, 9600, 12_005]),
        ({BEGIN + 3600 * 50: 10_000} | {BEGIN + 3600 * hour: 100 for hour in range(90, 98)}, [10_560, 240]),
        ({BEGIN - 1800: 60_000}, [9600, 9600, 9600, 9600, 9600, 12_000]),
        ({BEGIN - 3600: 60_000, BEGIN + YEAR: 60_000}, [None]),
        ({BEGIN + YEAR - 3: 60_000}, [20_000, 20_000, 20_000]),
        ({BEGIN + 10: -5, BEGIN + 7200: 0}, [None]),
    ],
    ids=[
        *("none", "even", "dense", "short burst", "burst", "burst and more", "burst and quiet hours"),
        *("across the start", "outside", "seconds", "nothing"),
    ],
)
def test_planned_slices_cover_the_range_and_fill_ten_pages_or_a_few_more(
    counts: dict[int, int], parts: list[int | None]
) -> None:
    found = plan_slices(Slice((), BEGIN, BEGIN + YEAR, is_last=True), [counts], 1000, 3600, 10)
    assert (found[0].start, found[-1].end) == (BEGIN, BEGIN + YEAR)
    assert all(one.start < one.end == other.start for one, other in pairwise(found))
    assert [each.is_last for each in found] == [False] * (len(found) - 1) + [True]
    assert [each.expected and round(each.expected) for each in found] == parts
    assert all(each.is_counted for each in found)


def test_an_hour_with_as_many_events_as_its_neighbours_is_cut_where_a_page_ends() -> None:
    counts = {BEGIN + 3600 * hour: 1000 for hour in range(30)}
    found = plan_slices(Slice((), BEGIN, BEGIN + YEAR), [counts], 1000, 3600, 10)
    assert [each.start - BEGIN for each in found] == [0, 34_560, 69_120, 103_680]


@pytest.mark.parametrize(
    ("expected", "parts"),
    [(None, 8), (5000.0, 8), (590.0, 1), (0.0, 2)],
    ids=["not counted", "fifty pages", "six pages", "all that was counted is read"],
)
def test_the_rest_of_a_planned_slice_is_cut_by_its_counts(expected: float | None, parts: int) -> None:
    """The density of its first page may be that of a burst, with quiet days behind it."""
    part = Slice(QUERIES, BEGIN, BEGIN + 86_400, expected=expected)
    found = cut_slice(part, density=1.0, full=100, idle=16)
    assert (len(found), {each.expected for each in found}) == (parts, {expected if parts == 1 else None})


def test_the_rows_that_were_read_are_not_expected_any_more() -> None:
    ids = [str(place) for place in range(30)]
    rows = place_rows(ids, ids, [BEGIN + place for place in range(30)], list, BEGIN, BEGIN + 100)
    part = Slice(QUERIES, BEGIN, BEGIN + 100, expected=40.0)
    assert [follow_page(replace(part, expected=each), rows).expected for each in (40.0, 20.0, None)] == [
        10.0,
        0.0,
        None,
    ]


@pytest.mark.parametrize("seed", range(40))
def test_any_counts_make_slices_that_cover_the_range_and_expect_all_rows(seed: int) -> None:
    chance = random.Random(seed)
    full, most, queries = chance.choice((1, 5, 7, 1000)), chance.choice((1, 30, 5000)), chance.randint(1, 3)
    hours = sorted(chance.sample(range(400), chance.choice((3, 100, 400))))
    counts = [{BEGIN + 3600 * hour: chance.randrange(most + 1) for hour in hours} for _ in range(queries)]
    found = plan_slices(Slice((), BEGIN, BEGIN + 400 * 3600), counts, full, 3600, chance.choice((3, 3.7, 10.1)))
    assert (found[0].start, found[-1].end) == (BEGIN, BEGIN + 400 * 3600)
    assert all(one.start < one.end == other.start for one, other in pairwise(found))
    expected, totals = sum(each.expected or 0 for each in found), [sum(each.values()) for each in counts]
    # The densest query of each slice counts.
    assert max(totals) - 0.01 <= expected <= sum(totals) + 0.01
    assert queries > 1 or expected == pytest.approx(totals[0])


def test_a_planned_slice_never_wants_less_than_it_has() -> None:
    """With these counts, the rows of the whole pages that a slice fills are rounded to a little less."""
    rows = [3, 10, 10, 5, 8, 10, 1, 9, 10, 10, 1, 9, 3, 9, 8, 6, 1, 8, 2, 9], [3, 9, 10, 8, 2, 9, 6, 0, 7, 9]
    counts = [{BEGIN + 3600 * hour: count for hour, count in enumerate(each)} for each in rows]
    found = plan_slices(Slice((), BEGIN, BEGIN + YEAR), counts, 5, 3600, 4)
    assert (found[0].start, found[-1].end) == (BEGIN, BEGIN + YEAR)


def test_the_densest_query_decides_where_a_planned_slice_ends() -> None:
    """It may be one query first and another one later."""
    first = {BEGIN + 3600 * hour: 50 for hour in range(200)} | {BEGIN + 3600 * hour: 5 for hour in range(200, 400)}
    other = {BEGIN + 3600 * hour: 5 for hour in range(200)} | {BEGIN + 3600 * hour: 100 for hour in range(200, 400)}
    found = plan_slices(Slice((), BEGIN, BEGIN + YEAR), [first, other], 1000, 3600, 5)
    assert [round((each.start - BEGIN) / 3600) for each in found] == [0, 96, 192, 248, 296, 344, 392]
    assert [each.expected and round(each.expected) for each in found] == [4800] * 6 + [840]


def test_batches_hold_what_their_bookmarks_say() -> None:
    check: Callable[[int | None], bool] = lambda mark: mark is None or BEGIN <= mark < BEGIN + YEAR  # noqa: E731
    reading = read_timeline(Memory(spread(50), 10), ["M"], BEGIN, BEGIN + YEAR)
    assert all(check(batch.newest) for batch in reading.batches)
    assert [id for batch in reading.batches for id in ids_in(batch)] == [each.id for each in spread(50)]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (TimeRange("datetime"), True),
        (TimeRange("updated", after="greater-than"), False),
        (TimeRange("updated", before="less-or-equal"), False),
    ],
)
def test_only_a_range_with_its_start_and_without_its_end_is_exact(span: TimeRange, expected: bool) -> None:
    assert span.is_exact == expected
