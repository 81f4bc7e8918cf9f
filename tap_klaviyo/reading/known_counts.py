"""The known counts of a metric's events: which hours to read again because of them, and the counts to keep; pure.

Events can become visible days after they happened. Klaviyo's count of an hour changes with them, so an hour is read
again if its count has changed. Counts can be minutes ahead of the events, or behind them, and may lack events that
Klaviyo returns, such as those of deleted profiles. So an hour is settled only when as many events were read as are
counted, or more by a number that stays the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tap_klaviyo.reading.hours import counts_within, join_ranges
from tap_klaviyo.singer.recounts import KnownCounts, OpenHour, hourly_start
from tap_klaviyo.times import DAY, HOUR

# Seconds by which Klaviyo's counts may be ahead of its events, or behind them. Younger hours are read again.
SETTLING = 900
# Hours that ended this many seconds before they were read: if there are more events than are counted, the counts are
# not behind, but lack them.
_OLD = HOUR
# Events that were read although none is counted, from which on Klaviyo does not count the metric. Fewer may be those of
# deleted profiles.
_ENOUGH = 20


@dataclass(frozen=True)
class Recounted:
    """The ranges to read because of a metric's counts, and the means to update the known counts afterwards.

    Args:
        known: the counts that were known before; None for a metric that was not counted yet.
        counts: Klaviyo's counts by hour.
        ranges: that are read.
        window: the range of which to keep the counts, in epoch seconds.
        now: the time of the counts, in epoch seconds.
    """

    known: KnownCounts | None
    counts: Mapping[int, int] = field(repr=False)
    ranges: Sequence[tuple[int, int]]
    window: tuple[int, int]
    now: int

    def known_then(self, read: Mapping[int, int]) -> KnownCounts | None:
        """Return the counts to keep when the ranges have been read; None for none.

        If Klaviyo counts nothing at all where many events were read, a late event would not change its counts either.

        Args:
            read: the events that were read, by hour.
        """
        start, end = self.window
        if sum(read.values()) >= _ENOUGH and not any(self.counts.values()):
            return self.known
        if start >= end or (self.known and end < self.known.end):
            return self.known
        return known_after(self.known, self.counts, read, self.ranges, (start, end), self.now)

    def unread(self, read: Mapping[int, int]) -> int:
        """Return how many events Klaviyo counts since the last run, if no event was read; else 0.

        Hours that were read before prove nothing: an event that is counted but not returned keeps its hour open. Nor do
        young hours, whose counts may be ahead of the events.

        Args:
            read: the events that were read, by hour.
        """
        start = self.known.end if self.known else min((low for low, _ in self.ranges), default=self.now)
        new = sum(counts_within(self.counts, start, self.window[1]).values())
        return 0 if any(read.values()) else new


def day_digests(counts: Mapping[int, int], start: int, end: int) -> dict[int, str]:
    """Return a digest of the hourly counts of each day in a range that has any, without the hours beyond the range."""
    within, found = counts_within(counts, start, end), {}
    for day in range(start // DAY * DAY, end, DAY):
        hours = [within.get(hour, 0) for hour in range(day, day + DAY, HOUR)]
        if any(hours):
            found[day] = f"{zlib.crc32(repr(hours).encode()):08x}"
    return found


def plan_recount(
    known: KnownCounts | None,
    start: int,
    mark: int | None,
    limits: tuple[int, int],
    seconds: int,
    count: Callable[[int, int], Mapping[int, int]],
) -> Recounted:
    """Return which ranges of a metric to read, because of Klaviyo's counts.

    Args:
        known: from the state; None for a metric that was not counted yet.
        start: from when on a metric is read that was not counted yet.
        mark: the bookmark, if the user moved it back to read the events after it again; else None.
        limits: the start date, and the end of the range.
        seconds: how late an event may become visible.
        count: asks for the counts of a range by hour. All times are epoch seconds.

    Raises:
        ApiError: there are no counts.
    """
    first, end = limits
    until = (end - SETTLING) // HOUR * HOUR
    # An event that became visible after the last run happened less than these seconds before the end of that run.
    counted_from = max(first, ((known.end if known else until) - seconds) // DAY * DAY)
    asked = min(counted_from, known.start) if known else counted_from
    counts = count(asked, end) if asked < end else {}
    # The start date bounds the hours to read again, but never skips events after the bookmark.
    changed = [(max(low, first), high) for low, high in changed_ranges(known, counts) if high > first] if known else []
    if known is None:
        begin = max(start // HOUR * HOUR, min(first, start))
    else:
        begin = known.end if mark is None else min(known.end, mark // HOUR * HOUR)
    ranges = join_ranges(sorted([*changed, (begin, end)]))
    window = max(first, (until - seconds) // DAY * DAY), until
    within = [(low, min(high, end)) for low, high in ranges if low < end]
    return Recounted(known, counts, within, window, end)


def changed_ranges(known: KnownCounts, counts: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return the ranges to read again, in order: the hours that are open or whose count has changed.

    Args:
        known: from the state.
        counts: Klaviyo's counts by hour now, from `known.start` on.
    """
    return join_ranges(
        (max(hour, known.start), hour + HOUR) for hour in sorted({*_changed_hours(known, counts), *known.open})
    )


def _changed_hours(known: KnownCounts, counts: Mapping[int, int]) -> Iterator[int]:
    by_hour = known.hourly_start
    digests = day_digests(counts, known.start, by_hour)
    for day in digests.keys() | known.days.keys():
        if digests.get(day) != known.days.get(day):
            # Only the day is known to have changed.
            yield from (hour for hour in range(day, day + DAY, HOUR) if hour > known.start - HOUR)
    for hour in range(by_hour // HOUR * HOUR, known.end, HOUR):
        if counts.get(hour, 0) != known.hours.get(hour, 0):
            yield hour


def known_after(
    known: KnownCounts | None,
    counts: Mapping[int, int],
    read: Mapping[int, int],
    ranges: Iterable[tuple[int, int]],
    window: tuple[int, int],
    now: int,
) -> KnownCounts:
    """Return the counts to keep after some ranges were read.

    Args:
        known: the counts that were known before; None for a metric that was not counted yet.
        counts: Klaviyo's counts by hour, from before the ranges were read.
        read: how many events were read by hour.
        ranges: that were read to their ends.
        window: the range of which to keep the counts, in epoch seconds; its end is a full hour.
        now: the time of the counts, in epoch seconds.
    """
    start, end = window
    surplus = dict(known.surplus) if known else {}
    still_open = dict(known.open) if known else {}
    for hour in _hours_in(ranges, start, end):
        rows, count = read.get(hour, 0), counts.get(hour, 0)
        before, own = still_open.pop(hour, None), surplus.pop(hour, 0)
        is_same = before is not None and (before.rows, before.count) == (rows, count)
        since = before.since if before and is_same else now
        if _is_settled(hour, rows, count, own, since, now):
            surplus |= {hour: rows - count} if rows > count else {}
        else:
            still_open[hour] = OpenHour(rows, count, since)
            surplus |= {hour: own} if own else {}
    by_hour = hourly_start(start, end)
    return KnownCounts(
        start,
        end,
        {hour: count for hour, count in counts_within(counts, by_hour, end).items() if count},
        day_digests(counts, start, by_hour),
        counts_within(surplus, start, end),
        counts_within(still_open, start, end),
    )


def _hours_in(ranges: Iterable[tuple[int, int]], start: int, end: int) -> Iterator[int]:
    """Yield the hours that ranges cover, as far as they lie in a window."""
    for first, last in ranges:
        yield from range(max(first, start) // HOUR * HOUR, min(last, end), HOUR)


def _is_settled(hour: int, rows: int, count: int, surplus: int, since: int, now: int) -> bool:
    """Return whether no event of an hour can be on its way without its count changing.

    Fewer events than are counted are on their way, so the hour stays open. More may be counted later, or never.
    """
    if rows - count == surplus:
        return True
    if rows < count:
        return False
    return now - since >= SETTLING if surplus else hour + HOUR + _OLD <= now
