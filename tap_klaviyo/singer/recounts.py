"""What the state keeps of Klaviyo's counts, so that only hours whose count has changed are read again; pure.

    {"recounts": {"open": {"bookmark": "2026-11-20T12:00:00Z", "metrics": {"SkDfHe": {
        "start": "2026-10-21T00:00:00Z", "end": "2026-11-20T11:00:00Z",
        "days": ["9c3f1d02", "", …], "hours": [12, 7, -9, 3, …],
        "surplus": [-400, 1, -355], "open": {"2026-11-19T08:00:00Z": [11, 12, "2026-11-20T12:00:05Z"]}}}}}}

`hours` are the counts of the last week, `days` digests of those of each day before. In lists of numbers, a negative one
means that many zeros. `surplus` and `open` are as in `KnownCounts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, repeat
from typing import Any

from tap_klaviyo.errors import StateError
from tap_klaviyo.singer.state import State
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.times import DAY, HOUR, format_time, parse_time

_KEY = "recounts"
# Seconds for which counts are kept by hour. Older ones are kept by day, so that the state stays small.
_BY_HOUR = 7 * DAY


@dataclass(frozen=True)
class OpenHour:
    """An hour whose events do not match its count yet.

    Args:
        rows: how many events were read.
        count: how many were counted.
        since: since when both have been so, in epoch seconds.
    """

    rows: int
    count: int
    since: int


@dataclass(frozen=True)
class KnownCounts:
    """Klaviyo's counts of a metric's events with start <= time < end, as far as they were read.

    Args:
        start: in epoch seconds.
        end: a full hour, in epoch seconds.
        hours: the counts of the hours of the last week, by the second at which they begin, without empty ones.
        days: digests of the hourly counts of the days before, by the second at which they begin, without empty ones.
        surplus: by hour, how many more events can be read than are counted, if some.
        open: hours to read again, whatever their counts are.
    """

    start: int
    end: int
    hours: Mapping[int, int] = field(default_factory=dict)
    days: Mapping[int, str] = field(default_factory=dict)
    surplus: Mapping[int, int] = field(default_factory=dict)
    open: Mapping[int, OpenHour] = field(default_factory=dict)

    @property
    def hourly_start(self) -> int:
        """Where the counts by hour begin, in epoch seconds."""
        return hourly_start(self.start, self.end)


def hourly_start(start: int, end: int) -> int:
    """Return where the counts of a range are kept by hour instead of by day: a week before its end."""
    return max(start, (end - _BY_HOUR) // DAY * DAY)


def known_counts(state: State, stream: Stream) -> Mapping[str, KnownCounts]:
    """Return what the state knows of a stream's metrics, by id.

    Raises:
        StateError: it is not understood.
    """
    with _refuse_odd_entry(stream):
        return {
            metric: _read_counts(entry) for metric, entry in _recount_entry(state, stream).get("metrics", {}).items()
        }


def counted_bookmark(state: State, stream: Stream) -> int | None:
    """Return the bookmark that the counts were written with, in epoch seconds; None without one.

    Raises:
        StateError: it is not understood.
    """
    with _refuse_odd_entry(stream):
        mark = _recount_entry(state, stream).get("bookmark")
        return None if mark is None else parse_time(mark)


@contextmanager
def _refuse_odd_entry(stream: Stream) -> Iterator[None]:
    """Raise a StateError for an entry that has another form."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
        raise StateError(
            f'Invalid state: the entry of {stream.name} in "{_KEY}" is not understood. Remove it to read the days of '
            "the lookback again."
        ) from None


def with_known_counts(state: State, stream: Stream, known: Mapping[str, KnownCounts], mark: int | None) -> State:
    """Return a state that knows these counts of a stream's metrics.

    Args:
        state: the state.
        stream: the stream.
        known: by metric.
        mark: the stream's bookmark, in epoch seconds.
    """
    entry = {
        "bookmark": None if mark is None else format_time(mark),
        "metrics": {metric: _write_counts(each) for metric, each in sorted(known.items())},
    }
    return {**state, _KEY: {**(state.get(_KEY) or {}), stream.name: entry}}


def _recount_entry(state: State, stream: Stream) -> Mapping[str, Any]:
    entry: Mapping[str, Any] | None = (state.get(_KEY) or {}).get(stream.name)
    return entry or {}


def _write_counts(known: KnownCounts) -> Mapping[str, Any]:
    by_hour = known.hourly_start
    entry: dict[str, Any] = {
        "start": format_time(known.start),
        "end": format_time(known.end),
        "days": [known.days.get(day, "") for day in _days_between(known.start, by_hour)],
        "hours": list(_shorten_zeros(known.hours.get(hour, 0) for hour in _hours_between(by_hour, known.end))),
    }
    if known.surplus:
        entry["surplus"] = list(
            _shorten_zeros(known.surplus.get(hour, 0) for hour in _hours_between(known.start, known.end))
        )
    if known.open:
        entry["open"] = {
            format_time(hour): [each.rows, each.count, format_time(each.since)]
            for hour, each in sorted(known.open.items())
        }
    return entry


def _read_counts(entry: Mapping[str, Any]) -> KnownCounts:
    start, end = parse_time(entry["start"]), parse_time(entry["end"])
    if end % HOUR:
        raise ValueError("Counts end with a full hour.")
    by_hour = KnownCounts(start, end).hourly_start
    days = zip(_days_between(start, by_hour), entry["days"], strict=True)
    return KnownCounts(
        start,
        end,
        _number_hours(_hours_between(by_hour, end), entry["hours"]),
        {day: str(digest) for day, digest in days if digest},
        _number_hours(_hours_between(start, end), entry["surplus"]) if "surplus" in entry else {},
        {
            parse_time(hour): OpenHour(int(rows), int(count), parse_time(since))
            for hour, (rows, count, since) in entry.get("open", {}).items()
        },
    )


def _hours_between(start: int, end: int) -> range:
    return range(start // HOUR * HOUR, end, HOUR)


def _days_between(start: int, end: int) -> range:
    return range(start // DAY * DAY, end, DAY)


def _number_hours(hours: Sequence[int], numbers: Iterable[int]) -> dict[int, int]:
    return {hour: number for hour, number in zip(hours, _lengthen_zeros(numbers), strict=True) if number}


def _shorten_zeros(numbers: Iterable[int]) -> Iterator[int]:
    """Yield numbers, and each run of zeros as its negative length."""
    for is_zero, group in groupby(numbers, lambda number: number == 0):
        if is_zero:
            yield -len(list(group))
        else:
            yield from group


def _lengthen_zeros(numbers: Iterable[int]) -> Iterator[int]:
    for number in numbers:
        if number < 0:
            # Not a list: an odd state may have any number here.
            yield from repeat(0, -number)
        else:
            yield int(number)
