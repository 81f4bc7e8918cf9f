"""Slices of a stream's time range: what a page says of them, how they are cut, and how pages merge; pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import accumulate, pairwise
from operator import itemgetter

from tap_klaviyo.reading.query import Query
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.structs import Record
from tap_klaviyo.times import DAY

# The last page of each slice is partly empty, so short slices waste requests: half a page each on average.
SLICE_PAGES = 10
# If fetches could run in addition, time matters more. Of 150 even pages at 16 requests, parts of 1.5 pages cost 19 %
# more requests than the least, parts of 3 cost 9 %, and both take 14 to 15 page times (tests/test_speed.py).
FINE_PAGES = 3
# Parts are lengthened by this part of a page, then rounded to whole pages, and shortened a little: so the last page of
# a part is seldom a few rows over.
_ROUND_UP = 0.25
PAGE_FILL = 0.96
# Parts that a slice is cut into while enough other fetches wait. The first in order is what the consumer waits for, so
# it should be able to use every slot.
_MOST_CUTS = 16
# Parts if the density is a first guess: behind a burst, most of them are quiet.
_MOST_GUESSES = 8
# Seconds that a page of one second is taken to span: it shows only that it spans less than one.
_SHORTEST_SPAN = 0.2
# Ranges of at least this many seconds are planned by Klaviyo's counts.
LONG_RANGE = 10 * DAY
# Ids to remember of rows that a refused cursor would return again; beyond that, they are read twice.
_MOST_SEEN = 100_000


@dataclass(frozen=True)
class CountedRange:
    """A range of which Klaviyo counts the rows.

    Args:
        start: in epoch seconds.
        end: in epoch seconds.
        metrics: the ids of the metrics whose events it has.
        is_compared: whether the rows that are read are compared with the counts.
    """

    start: int
    end: int
    metrics: tuple[str, ...]
    is_compared: bool

    @property
    def is_long(self) -> bool:
        """Whether it is counted anyway: a usual run, which reads a week again, needs no counts."""
        return self.end - self.start >= LONG_RANGE


@dataclass(frozen=True)
class Slice:
    """The rows of some queries with start <= time < end (epoch seconds).

    Args:
        queries: whose rows they are.
        start: the time of the first row that may be missing.
        end: the time up to which to read.
        seen: ids of rows in the first second, or without a time, that were emitted already.
        emitted: ids of rows without a time that were emitted already; they may lie anywhere in the slice.
        density: the rows a second that the slice was cut by, 0 if nothing was known.
        expected: the rows from its start to its end by Klaviyo's counts, of the densest query; None if there are none.
        restarts: how often in a row it was read again from this start.
        retreats: how often Klaviyo refused the end of the range, so that it was lowered.
        is_first: whether nothing was read before.
        is_last: whether it reaches to the end of the range.
        is_open: whether the cursor that it is read by leads beyond its end.
        page_size: how many rows to ask for at first; None for as many as possible.
        is_counted: whether Klaviyo was asked how many rows lie where.
        whole: the range that it is a part of, if Klaviyo counts its rows; else None.
        known: by query, the time of a row that an earlier page had, at or behind the start.
    """

    queries: tuple[Query, ...]
    start: int
    end: int
    seen: frozenset[str] = field(default=frozenset(), repr=False)
    emitted: frozenset[str] = field(default=frozenset(), repr=False)
    density: float = 0.0
    expected: float | None = None
    restarts: int = 0
    retreats: int = 0
    is_first: bool = False
    is_last: bool = False
    is_open: bool = False
    page_size: int | None = None
    is_counted: bool = False
    whole: CountedRange | None = field(default=None, repr=False)
    known: Mapping[str, int] = field(default_factory=dict, repr=False)

    @property
    def is_compared(self) -> bool:
        """Whether its rows are compared with Klaviyo's counts."""
        return self.whole is not None and self.whole.is_compared

    def has_row(self, query: Query) -> bool:
        """Return whether an earlier page had a row of a query that lies in the slice, so that it cannot be empty."""
        return self.start <= self.known.get(query.name, 0) < self.end

    def expected_after(self, rows: int) -> float | None:
        """Return how many rows are expected after some more were read."""
        return None if self.expected is None else max(0.0, self.expected - rows)

    def knows(self, id: str) -> bool:
        """Return whether a row was emitted already."""
        return id in self.seen or id in self.emitted


@dataclass(frozen=True)
class PlacedRows:
    """The rows of a page in their order, with the time of each (epoch seconds).

    Args:
        records: the rows.
        ids: their ids.
        moments: the time of each; a row without one is placed by a guess, else beside the row before.
        floors: the earliest time that each may have: its own, or that of the latest row with a time before it.
        untimed: the places of rows without a time.
        first: the least timestamp, 0 if no row has one.
        last: the greatest timestamp: the page reaches so far. 0 if no row has one.
    """

    records: Sequence[Record]
    ids: Sequence[str]
    moments: Sequence[int]
    floors: Sequence[int]
    untimed: frozenset[int]
    first: int
    last: int

    @property
    def density(self) -> float:
        """Rows a second."""
        return len(self.records) / max(self.last - self.first, _SHORTEST_SPAN)

    @property
    def ends_timed(self) -> bool:
        """Whether the last row has a time, so that all rows after it are at least as late."""
        return bool(self.records) and len(self.records) - 1 not in self.untimed

    def without(self, part: Slice) -> PlacedRows:
        """Return the rows of a slice that were not emitted already and do not lie behind it."""
        if self.last < part.end and part.seen.isdisjoint(self.ids) and part.emitted.isdisjoint(self.ids):
            return self
        wanted = [
            place
            for place, (id, floor) in enumerate(zip(self.ids, self.floors, strict=True))
            if floor < part.end and not part.knows(id)
        ]
        return replace(
            self,
            records=[self.records[place] for place in wanted],
            ids=[self.ids[place] for place in wanted],
            moments=[self.moments[place] for place in wanted],
            floors=[self.floors[place] for place in wanted],
            untimed=frozenset(new for new, place in enumerate(wanted) if place in self.untimed),
        )

    def tail(self) -> int:
        """Return the place of the first of the rows that may be as late as the greatest timestamp."""
        for place in range(len(self.records) - 1, -1, -1):
            if place not in self.untimed and self.moments[place] < self.last:
                return place + 1
        return 0


@dataclass(frozen=True)
class Run:
    """A query's first page of a slice that other queries feed as well, without the rows emitted already.

    `lines` are the RECORD lines, in one piece: parsed, a page would take several times the memory, and thousands of
    small blocks that wait for the other queries' pages would lie all over it. `ids`, `moments`, `floors` and `untimed`
    are those of the lines; `last`, `density` and the `count` of rows those of the page, as in PlacedRows; `findings`
    are what the page has beside its records; `is_whole` means that no page follows; `page_size` is how many rows to ask
    for in the next page.
    """

    query: Query
    lines: bytes
    ids: Sequence[str]
    moments: Sequence[int]
    floors: Sequence[int]
    untimed: frozenset[int]
    last: int
    density: float
    count: int
    findings: Findings
    is_whole: bool = True
    page_size: int | None = None

    def reaches(self, horizon: int) -> bool:
        """Return whether there may be rows of this query at or behind a horizon; no unfinished page ends before it."""
        return self.last >= horizon

    def untimed_before(self, horizon: int) -> frozenset[str]:
        """Return the ids of rows without a time that may be before a horizon."""
        return frozenset(self.ids[place] for place in self.untimed if self.floors[place] < horizon)


def place_rows(
    records: Sequence[Record],
    ids: Sequence[str],
    times: Sequence[int],
    guesses: Callable[[], Sequence[int]],
    start: int,
    end: int,
) -> PlacedRows:
    """Return where rows lie in time.

    Args:
        records: the rows, in Klaviyo's order.
        ids: their ids.
        times: of each in epoch seconds, 0 if it has none.
        guesses: returns other times of each, for rows without one, 0 if a row has none of these either; asked only if
            needed.
        start: the start that Klaviyo was asked for; it keeps to it, so that an earlier time is an error.
        end: the end that Klaviyo was asked for.
    """
    if not records:
        return PlacedRows((), (), (), (), frozenset(), 0, 0)
    least, most = min(times), max(times)
    if least >= start and most < end:
        return PlacedRows(records, ids, times, times, frozenset(), least, most)
    own = [moment if start <= moment < end else None for moment in times]
    floors, ceilings = _carry_times(own, start), _carry_times(own[::-1], end - 1)[::-1]
    moments = [
        floor if moment is not None or not guess else max(floor, min(guess, ceiling))
        for moment, guess, floor, ceiling in zip(own, guesses(), floors, ceilings, strict=True)
    ]
    timed = [moment for moment in own if moment is not None]
    untimed = frozenset(place for place, moment in enumerate(own) if moment is None)
    return PlacedRows(records, ids, moments, floors, untimed, min(timed, default=0), max(timed, default=0))


def _carry_times(own: Sequence[int | None], last: int) -> list[int]:
    """Return each time, or the latest one before it if there is none."""
    return [last := last if moment is None else moment for moment in own]


def follow_page(part: Slice, rows: PlacedRows) -> Slice:
    """Return the rest of a one-query slice after a page, in the form that reads on by time instead of by cursor."""
    tail = rows.tail()
    seen = frozenset(rows.ids[tail:])
    if not tail and len(part.seen) < _MOST_SEEN:
        # Rows without a time at the end of the pages before may lie in the last second of this one.
        seen |= part.seen
    if not rows.last or rows.last == part.start:
        return replace(part, seen=seen, is_first=False)
    known, expected = {part.queries[0].name: rows.last}, part.expected_after(len(rows.records))
    return replace(part, start=rows.last, seen=seen, expected=expected, restarts=0, is_first=False, known=known)


def cut_slice(part: Slice, density: float, full: int, idle: int) -> list[Slice]:
    """Cut a slice into parts that are read side by side; they do not remember the rows seen.

    Args:
        part: the slice.
        density: rows a second at its start.
        full: rows in a full page.
        idle: how many more fetches could run than there are.
    """
    page_seconds = max(full, 1) / density
    pages = (part.end - part.start) / page_seconds
    if part.expected:
        pages = part.expected / max(full, 1)
    elif part.expected == 0:
        # Klaviyo counted fewer rows than there are. The density of a burst is not that of the rest.
        idle = 0
    is_known = part.density / 2 <= density <= part.density * 2
    fine = min(idle // len(part.queries) + 1, int(pages / FINE_PAGES)) if idle else 1
    coarse = min(_MOST_CUTS if is_known else 2, int(pages / SLICE_PAGES))
    count = min(max(fine, coarse), part.end - part.start, _MOST_CUTS if is_known else _MOST_GUESSES)
    if count < 2:
        return [part]
    lengths = _part_lengths(FINE_PAGES if fine >= coarse else SLICE_PAGES, count, pages, is_known)
    steps = [max(1, round(step * page_seconds)) for step in accumulate(lengths[:-1])]
    cuts = sorted({part.start + step for step in steps if part.start + step < part.end})
    return [
        replace(
            part,
            start=start,
            end=end,
            seen=frozenset(),
            density=density,
            expected=None,
            restarts=0,
            page_size=part.page_size if start == part.start else None,
            is_last=part.is_last and end == part.end,
        )
        for start, end in pairwise((part.start, *cuts, part.end))
    ]


def _part_lengths(first: float, count: int, whole: float, is_known: bool) -> list[float]:
    """Return the lengths of the parts of a slice in pages.

    If the density is what the slice was cut by, the parts are even. Otherwise it may soon change, as at a burst, so
    the parts grow from a small first one to the slice's end. They are a little shorter than whole pages, so that the
    last page is seldom a few rows over.
    """
    steps = [whole * number / count for number in range(count)] if is_known else _growing_steps(first, count, whole)
    return [max(1, round(end - start + _ROUND_UP)) * PAGE_FILL for start, end in pairwise((*steps, whole))]


def _growing_steps(first: float, count: int, whole: float) -> list[float]:
    """Return where the parts of a length begin, of which each is longer than the one before by the same ratio."""
    if first * count >= whole:
        return [whole * number / count for number in range(count)]
    low, high = 1.0, whole / first
    for _ in range(60):
        ratio = (low + high) / 2
        low, high = (ratio, high) if first * (ratio**count - 1) / (ratio - 1) < whole else (low, ratio)
    return [first * (high**number - 1) / (high - 1) for number in range(count)]


def narrow_slice(part: Slice, runs: Sequence[Run], horizon: int) -> list[Slice]:
    """Return the parts of a slice of which a first page does not show how far it reaches beyond the slice's start."""
    if part.end - part.start == 1:
        return split_by_query(part)
    if horizon:
        # More rows lie in the first second than fit a page; within a second, the order of the queries is free.
        second = replace(part, end=part.start + 1, is_last=False)
        return [*split_by_query(second), replace(part, start=part.start + 1, seen=frozenset())]
    # A whole page of rows without a time: if the guesses do not help, half of the slice is tried.
    guess = min(max(run.moments, default=0) for run in runs if not run.is_whole and not run.last)
    middle = guess if part.start < guess < part.end else (part.start + part.end) // 2
    return [replace(part, end=middle, is_last=False), replace(part, start=middle, seen=frozenset())]


def split_by_query(part: Slice) -> list[Slice]:
    """Return a slice for each query of one."""
    return [replace(part, queries=(query,)) for query in part.queries]


def moments_before(run: Run, horizon: int) -> list[int]:
    """Return the times of a run's rows that are merged up to a horizon."""
    return [min(moment, horizon - 1) for moment, floor in zip(run.moments, run.floors, strict=True) if floor < horizon]


def merge_runs(runs: Sequence[Run], horizon: int) -> tuple[bytes, list[int]]:
    """Return the lines of runs in order of time up to a horizon, and their times.

    A row without a time is among them unless one with a time at or behind the horizon comes before it.
    """
    merged = list(heapq.merge(*(_line_views(run, horizon) for run in runs), key=itemgetter(0)))
    return b"".join(line for _, line in merged), [moment for moment, _ in merged]


def _line_views(run: Run, horizon: int) -> Iterator[tuple[int, memoryview]]:
    """Yield the time and the line of each row before a horizon; views, since copies would double the memory."""
    lines, end = memoryview(run.lines), 0
    for moment, floor, line in zip(run.moments, run.floors, BytesIO(run.lines), strict=True):
        start, end = end, end + len(line)
        if floor < horizon:
            yield min(moment, horizon - 1), lines[start:end]
