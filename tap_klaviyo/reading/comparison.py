"""Compares the events that were read with Klaviyo's counts, by metric and day; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tap_klaviyo.reading.hours import HourCounts, count_by_day, counts_outside, counts_within
from tap_klaviyo.times import DAY, HOUR


@dataclass(frozen=True)
class Counted:
    """Klaviyo's count of a metric's events with start <= time < end.

    Args:
        metric: its id.
        start: in epoch seconds.
        end: in epoch seconds.
        hours: the number of events by the epoch second at which an hour begins; a missing hour counts as 0.
    """

    metric: str
    start: int
    end: int
    hours: Mapping[int, int] = field(repr=False)

    @property
    def total(self) -> int:
        """The number of events in the range."""
        return sum(self.hours.values())

    def is_within(self, other: Counted) -> bool:
        """Return whether this range is part of another range of the same metric."""
        return self.metric == other.metric and other.start <= self.start and self.end <= other.end


@dataclass(frozen=True)
class Difference:
    """A day on which Klaviyo's count of a metric differs from the number of events that were read.

    Args:
        metric: its id.
        start: the beginning of the day, or of the range if that is later, in epoch seconds.
        end: the end of the day, or of the range if that is earlier.
        read: how many events were read.
        counted: how many Klaviyo counts.
    """

    metric: str
    start: int
    end: int
    read: int
    counted: int


def compare_counts(read: HourCounts, counted: Iterable[Counted], until: int | None = None) -> list[Difference]:
    """Return the days that differ, by metric and in order of time.

    Args:
        read: the events that were read, some perhaps outside the counted ranges.
        counted: Klaviyo's counts.
        until: in epoch seconds. The hour of this time and later hours are not compared, because they are incomplete.
    """
    return [
        difference
        for each in counted
        for difference in _day_differences(read.get(each.metric, {}), each, until)
        if difference.read != difference.counted
    ]


def _day_differences(read: Mapping[int, int], counted: Counted, until: int | None) -> Iterator[Difference]:
    limit = counted.end if until is None else min(counted.end, until // HOUR * HOUR)
    seen, expected = (count_by_day(counts_within(hours, counted.start, limit)) for hours in (read, counted.hours))
    for day in sorted(seen.keys() | expected.keys()):
        start, end = max(day, counted.start), min(day + DAY, limit)
        yield Difference(counted.metric, start, end, seen[day], expected[day])


def counted_again(differences: Iterable[Difference]) -> list[tuple[str, int, int]]:
    """Return the range to count again for each metric that differs: from the first such day to the last."""
    found: dict[str, tuple[int, int]] = {}
    for each in differences:
        start, end = found.get(each.metric, (each.start, each.end))
        found[each.metric] = min(start, each.start), max(end, each.end)
    return [(metric, start, end) for metric, (start, end) in found.items()]


def add_counts(counted: Sequence[Counted], new: Counted) -> list[Counted]:
    """Add the counts of a range. They replace older counts of the same hours."""
    if any(map(new.is_within, counted)):
        return [_refresh_counts(old, new) if new.is_within(old) else old for old in counted]
    return [*counted, new]


def _refresh_counts(old: Counted, new: Counted) -> Counted:
    kept = counts_outside(old.hours, new.start, new.end)
    return replace(old, hours=kept | dict(new.hours))


def unread_metrics(read: HourCounts, counted: Iterable[Counted]) -> Mapping[str, int]:
    """Return Klaviyo's counts of the metrics that it counts events of but returned no events of."""
    return {each.metric: each.total for each in counted if each.total and not any(read.get(each.metric, {}).values())}
