"""Slices of an event stream's time range: what a page says of them, how they are cut, and how pages merge; pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import pairwise, takewhile
from operator import itemgetter

from tap_klaviyo.klaviyo.endpoints import EVENTS
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.records.structs import Record

# Slices are of about so many pages: the last page of each is partly empty, so shorter ones waste more requests.
SLICE_PAGES = 10
# They are aimed a little under whole pages, so that the last is seldom a few events over.
_FILL = 0.97
# What looks like less than so many slices is read by its cursor; not all that looks dense is dense for long.
_WORTH_CUTTING = 1.5
# A half of this many pages is worth its own request where nothing else is to do.
_WORTH_HALVING = 4
# Cutting gives up the cursor, and reads the events of its second again: not worth it for more of a page than this.
MOST_REREAD = 0.1
_MOST_CUTS = 8


# An event's timestamp (epoch seconds, 0 where it has none) and its record.
Row = tuple[int, Record]


@dataclass(frozen=True)
class Metric:
    """A metric that feeds the stream, and how its events become records."""

    id: str
    projection: Projection = field(repr=False)


@dataclass(frozen=True)
class Slice:
    """The events of some metrics with start <= timestamp < end (epoch seconds), but for the ids in `seen`.

    `density`, in events a second, is what the slice was cut by, 0 where nothing is known;
    `cuts` is into how many slices, and a rest, the range before it was cut;
    `restarts` counts how often in a row it was read anew from this start; `is_first` is that nothing was read before.
    """

    metrics: tuple[Metric, ...]
    start: int
    end: int
    seen: frozenset[str] = field(default=frozenset(), repr=False)
    density: float = 0.0
    cuts: int = 1
    restarts: int = 0
    is_first: bool = False


@dataclass(frozen=True)
class Outline:
    """What of a page decides how its slice goes on: the times of its first and last event, and its ids.

    Times are epoch seconds, 0 where there are none; `straddling` are the ids of the last second.
    """

    first: int
    last: int
    ids: frozenset[str]
    straddling: frozenset[str]

    @property
    def density(self) -> float:
        """Events a second."""
        return len(self.ids) / max(self.last - self.first, 1)


@dataclass(frozen=True)
class Run:
    """A metric's first page of a slice that other metrics feed as well.

    `lines` are the RECORD lines, in one piece: parsed, a page would take several times the memory, and thousands of
    small blocks that wait for the other metrics' pages would lie all over it. `moments` are their timestamps.
    """

    metric: Metric
    lines: bytes
    moments: Sequence[int]
    outline: Outline


def outline_page(rows: Sequence[Row]) -> Outline:
    """Return what of a page decides how its slice goes on."""
    first, last = (rows[0][0], rows[-1][0]) if rows else (0, 0)
    straddling = takewhile(lambda row: row[0] == last, reversed(rows))
    return Outline(
        first, last, frozenset([record.id for _, record in rows]), frozenset(row[1].id for row in straddling)
    )


def cut_slice(part: Slice, density: float) -> list[Slice]:
    """Cut a slice into some of SLICE_PAGES pages and a rest, by the events a second at its start.

    One slice at first, and twice as many each time that the rest turns out to be about as dense as was thought:
    a burst is soon over, and what was cut behind it wasted.
    """
    full = SLICE_PAGES * (EVENTS.page_size or 1)
    if (part.end - part.start) * density <= full * _WORTH_CUTTING:
        return [replace(part, seen=frozenset())]
    as_thought = part.density / 2 <= density <= part.density * 2
    count = min(part.cuts * 2, _MOST_CUTS) if as_thought else 1
    step = max(1, int(full * _FILL / density))
    cuts = [part.start + step * number for number in range(1, count + 1)]
    bounds = pairwise((part.start, *(cut for cut in cuts if cut < part.end), part.end))
    return [Slice(part.metrics, start, end, density=density, cuts=count) for start, end in bounds]


def halve_slice(part: Slice, density: float) -> list[Slice]:
    """Cut a slice in two, so that more can run side by side, if each half is worth a request of its own."""
    middle = (part.start + part.end) // 2
    if (middle - part.start) * density < _WORTH_HALVING * (EVENTS.page_size or 1):
        return [part]
    return [replace(part, end=middle), replace(part, start=middle)]


def merge_runs(runs: Sequence[Run], horizon: int) -> tuple[bytes, list[int]]:
    """Return the lines of runs, and their timestamps, in order of time, up to the horizon."""
    rows = heapq.merge(*map(_views, runs), key=itemgetter(0))
    merged = list(takewhile(lambda row: row[0] < horizon, rows))
    return b"".join(line for _, line in merged), [moment for moment, _ in merged]


def _views(run: Run) -> Iterator[tuple[int, memoryview]]:
    """Yield the timestamp and the line of each event; views of lines, since copies of them would double the memory."""
    lines, end = memoryview(run.lines), 0
    for moment, line in zip(run.moments, BytesIO(run.lines), strict=True):
        start, end = end, end + len(line)
        yield moment, lines[start:end]
