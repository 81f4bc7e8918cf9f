"""When Klaviyo's counts of a range are asked for, and what becomes of a metric that has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from tap_klaviyo.errors import RateLimitedError, UnavailableError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.reading.counted_range import count_again, count_range, late_counts
from tap_klaviyo.reading.slices import CountedRange, Slice
from tap_klaviyo.reading.timeline import Timeline
from tap_klaviyo.streams.table import BY_NAME

DAY = 86_400
BEGIN = 1_767_225_600
END = BEGIN + DAY


class Counts:
    """Counts one event in the first hour of every metric but X, up to a limit, and remembers whether it may wait."""

    def __init__(self, limit: int = 99) -> None:
        self.waits: list[bool] = []
        self.limit = limit

    def __call__(self, metric: str, start: int, end: int, is_needed: bool) -> Mapping[int, int]:
        if len(self.waits) == self.limit:
            raise RateLimitedError("Klaviyo's rate limit for counts is reached.")
        self.waits.append(is_needed)
        if metric == "X":
            raise UnavailableError("There are no counts.")
        return {start: 1}


def timeline_of(counts: Counts, is_checked: bool = False, mark: int = 0) -> Timeline:
    stream = BY_NAME["open"]
    return Timeline(stream, cast(Client, None), stream.endpoint, {}, count=counts, is_checked=is_checked, mark=mark)


def range_of(*metrics: str, days: int = 1) -> CountedRange:
    return CountedRange(BEGIN, BEGIN + days * DAY, metrics, is_compared=days > 10)


@pytest.mark.parametrize("is_checked", [False, True])
def test_a_metric_without_counts_costs_no_other(is_checked: bool) -> None:
    counts = Counts()
    batch = count_range(timeline_of(counts, is_checked), range_of("M", "X", "N"))
    assert [(each.metric, each.start, each.end, each.total) for each in batch.counted] == [
        ("M", BEGIN, END, 1),
        ("N", BEGIN, END, 1),
    ]
    # Only a user who wants the comparison waits for it, and is told why there is none.
    assert (batch.uncounted, counts.waits) == ("There are no counts." if is_checked else None, [is_checked] * 3)


def test_the_rate_limit_leaves_earlier_counts() -> None:
    """Without any count, Klaviyo is asked again later."""
    batch = count_range(timeline_of(Counts(limit=1)), range_of("M", "N"))
    assert [each.metric for each in batch.counted] == ["M"]
    with pytest.raises(RateLimitedError):
        count_range(timeline_of(Counts(limit=0)), range_of("M", "N"))


@pytest.mark.parametrize(
    ("is_checked", "mark", "days", "part", "rows", "is_counted"),
    [
        (False, 0, 1, {}, 0, False),
        (False, 0, 30, {}, 0, True),
        (False, 0, 30, {}, 5, False),
        (False, BEGIN, 1, {}, 0, True),
        (False, BEGIN, 1, {}, 5, False),
        (False, END, 1, {}, 0, False),
        (False, BEGIN, 1, {"is_first": False}, 0, False),
        (False, BEGIN, 1, {"is_last": False}, 0, False),
        (False, BEGIN, 1, {"is_counted": True}, 0, False),
        (True, 0, 1, {}, 5, True),
        (True, 0, 1, {"is_first": False}, 5, True),
        (True, 0, 1, {"is_last": False}, 5, False),
        (True, 0, 1, {"is_counted": True}, 5, False),
    ],
)
def test_a_range_is_counted_late_if_the_settings_say_so_or_nothing_came(
    is_checked: bool, mark: int, days: int, part: dict[str, Any], rows: int, is_counted: bool
) -> None:
    counts, whole = Counts(), range_of("M", days=days)
    read = replace(Slice((), BEGIN, whole.end, is_first=True, is_last=True, whole=whole), **part)
    fetches = late_counts(timeline_of(counts, is_checked, mark), read, rows)
    assert len(fetches) == is_counted
    for fetch in fetches:
        assert [each.metric for each in fetch().item.counted] == ["M"]
        assert counts.waits == [True]


def test_without_a_counted_range_nothing_is_counted_late() -> None:
    read = Slice((), BEGIN, END, is_first=True, is_last=True)
    assert late_counts(timeline_of(Counts(), is_checked=True, mark=BEGIN), read, 0) == []


def test_a_metric_is_counted_once_more_however_long_that_takes() -> None:
    counts = Counts()
    batch = count_again(timeline_of(counts), "M", BEGIN, END)().item
    assert ([each.metric for each in batch.counted], counts.waits) == (["M"], [True])
