"""Numbers by the hour, and ranges of time; pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from tap_klaviyo.times import DAY, HOUR

# Numbers of events by metric, and by the epoch second at which an hour begins.
HourCounts = Mapping[str, Mapping[int, int]]
Value = TypeVar("Value")


def count_by_hour(moments: Sequence[int]) -> dict[int, int]:
    """Return how many of some times (epoch seconds) lie in each hour, by the second at which the hour begins."""
    ordered, found, place = sorted(moments), dict[int, int](), 0
    while place < len(ordered):
        begin = ordered[place] // HOUR * HOUR
        behind = bisect_left(ordered, begin + HOUR, place)
        found[begin] = behind - place
        place = behind
    return found


def count_by_day(hours: Mapping[int, int]) -> Counter[int]:
    """Return the counts of hours, by the epoch second at which their day begins."""
    found: Counter[int] = Counter()
    for hour, count in hours.items():
        found[hour // DAY * DAY] += count
    return found


def counts_within(hours: Mapping[int, Value], start: int, end: int) -> dict[int, Value]:
    """Return those of some hours that reach into a range."""
    return {hour: value for hour, value in hours.items() if start - HOUR < hour < end}


def counts_outside(hours: Mapping[int, Value], start: int, end: int) -> dict[int, Value]:
    """Return those of some hours that do not reach into a range."""
    return {hour: value for hour, value in hours.items() if not start - HOUR < hour < end}


def join_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges with those that touch each other as one; they come in the order of their starts."""
    found: list[tuple[int, int]] = []
    for start, end in ranges:
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found
