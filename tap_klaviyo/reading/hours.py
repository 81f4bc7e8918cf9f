"""Counts by hour, and time ranges; pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from tap_klaviyo.times import DAY, HOUR

# Event counts by metric and hour. The key of an hour is the epoch second of its beginning.
HourCounts = Mapping[str, Mapping[int, int]]
Value = TypeVar("Value")


def count_by_hour(moments: Sequence[int]) -> dict[int, int]:
    """Count times (epoch seconds) by hour. The key of an hour is the epoch second of its beginning."""
    ordered, found, place = sorted(moments), dict[int, int](), 0
    while place < len(ordered):
        begin = ordered[place] // HOUR * HOUR
        behind = bisect_left(ordered, begin + HOUR, place)
        found[begin] = behind - place
        place = behind
    return found


def count_by_day(hours: Mapping[int, int]) -> Counter[int]:
    """Add up the counts by day (UTC). The key of a day is the epoch second of its beginning."""
    found: Counter[int] = Counter()
    for hour, count in hours.items():
        found[hour // DAY * DAY] += count
    return found


def counts_within(hours: Mapping[int, Value], start: int, end: int) -> dict[int, Value]:
    """Return the hours that overlap a range (epoch seconds), with their values."""
    return {hour: value for hour, value in hours.items() if start - HOUR < hour < end}


def counts_outside(hours: Mapping[int, Value], start: int, end: int) -> dict[int, Value]:
    """Return the hours that do not overlap a range (epoch seconds), with their values."""
    return {hour: value for hour, value in hours.items() if not start - HOUR < hour < end}


def join_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges that touch or overlap. The ranges must be sorted by start."""
    found: list[tuple[int, int]] = []
    for start, end in ranges:
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found
