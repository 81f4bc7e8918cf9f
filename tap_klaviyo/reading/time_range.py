"""An event stream's time range to slices to pages, in order of time.

A slice is a range [start, end) in whole seconds, read by cursor to its end. How dense the events lie is not known
ahead: each page tells it, and what is left of a dense slice is cut into slices of a few pages that are read side by
side, and a rest that is looked at in the same way. A sparse slice takes one request.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from itertools import pairwise, takewhile
from operator import itemgetter

from tap_klaviyo.client import Answer, Client, Made
from tap_klaviyo.errors import CursorError, RequestError
from tap_klaviyo.klaviyo.endpoints import EVENTS
from tap_klaviyo.klaviyo.filters import filter_between
from tap_klaviyo.klaviyo.jsonapi import Page, Resource
from tap_klaviyo.log import logger
from tap_klaviyo.pages import Pages
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.records.build import build_records
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.records.structs import Record
from tap_klaviyo.singer.messages import Batch, encode_records
from tap_klaviyo.streams.events import event_timestamps, project_metric
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.times import format_time

# Slices are of about so many pages: the last page of each is partly empty, so shorter ones waste more requests.
SLICE_PAGES = 10
# They are aimed a little under whole pages, so that the last is seldom a few events over.
_FILL = 0.97
# What looks like less than so many slices is read by its cursor; not all that looks dense is dense for long.
_WORTH_CUTTING = 1.5
# A half of this many pages is worth its own request where nothing else is to do.
_WORTH_HALVING = 4
# Cutting gives up the cursor, and reads the events of its second again: not worth it for more of a page than this.
_REREAD = 0.1
_MOST_CUTS = 8
_MOST_RESTARTS = 5

# An event's timestamp (epoch seconds, 0 where it has none) and its record.
Row = tuple[int, Record]


@dataclass(frozen=True)
class Timeline:
    """What the requests of one event stream have in common.

    Args:
        is_hungry: returns whether more requests could run side by side.
        version: of the rows of a full read; None for an incremental one.
    """

    stream: Stream
    client: Client
    parameters: Mapping[str, str]
    projection: Projection
    is_hungry: Callable[[], bool] = lambda: False
    version: int | None = None


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


def fetches(timeline: Timeline, metrics: Sequence[Resource], start: int, end: int) -> list[Fetch[Batch]]:
    """Return the fetches of a stream's events with start <= timestamp < end (epoch seconds)."""
    once = {metric.id: Metric(metric.id, project_metric(timeline.projection, metric)) for metric in metrics}
    # A metric that Klaviyo denies may count as one without events only if that removes no rows from the target.
    whole = Slice(tuple(once.values()), start, end, is_first=timeline.version is None)
    return [_fetch(timeline, whole)] if once and start < end else []


def _fetch(timeline: Timeline, part: Slice) -> Fetch[Batch]:
    if len(part.metrics) > 1:
        return partial(_read_merged, timeline, part)
    return partial(_read, timeline, part, _pages(timeline, part.metrics[0], part))


def _pages(timeline: Timeline, metric: Metric, part: Slice) -> Pages:
    within = {"filter": filter_between(part.start, part.end, metric.id)}
    return Pages(timeline.client, EVENTS, {**timeline.parameters, **within}, metric.projection.decoder, restarts=0)


def _read(timeline: Timeline, part: Slice, pages: Pages) -> Fetched[Batch]:
    """Read the next page of a slice of one metric."""
    try:
        answer = _page(pages, part, partial(_made, timeline, part))
    except CursorError as problem:
        if part.restarts == _MOST_RESTARTS:
            raise
        logger.warning("%s Events are read anew from %s.", problem, format_time(part.start))
        return _fetch(timeline, replace(part, restarts=part.restarts + 1))()
    if answer is None:
        return Fetched(Batch(b"", 0, 0), 0)
    batch, outline = answer.made
    then = [] if pages.ended else _rest(timeline, replace(part, is_first=False), pages, outline)
    return Fetched(batch, batch.size, then, answer.attempts, answer.queued)


def _page(pages: Pages, part: Slice, use: Callable[[Page], Made]) -> Answer[Made] | None:
    """Return what is made of the next page; None if Klaviyo denies from the start the metric that it listed."""
    try:
        return pages.read(use)
    except RequestError as problem:
        if "do not exist" not in str(problem) or not part.is_first:
            raise
        logger.warning("%s The metric counts as one without events.", problem)
        return None


def _made(timeline: Timeline, part: Slice, document: Page) -> tuple[Batch, Outline]:
    findings = Findings()
    rows = _rows(part.metrics[0], findings, document)
    fresh = [row for row in rows if row[1].id not in part.seen] if part.seen else rows
    return _batch(part, _encoded(timeline, fresh), [moment for moment, _ in fresh], findings), _outline(rows)


def _rows(metric: Metric, findings: Findings, document: Page) -> list[Row]:
    records = build_records(document, metric.projection, findings)
    return list(zip(event_timestamps(records), records, strict=True))


def _outline(rows: Sequence[Row]) -> Outline:
    first, last = (rows[0][0], rows[-1][0]) if rows else (0, 0)
    straddling = takewhile(lambda row: row[0] == last, reversed(rows))
    return Outline(
        first, last, frozenset([record.id for _, record in rows]), frozenset(row[1].id for row in straddling)
    )


def _rest(timeline: Timeline, part: Slice, pages: Pages, page: Outline) -> list[Fetch[Batch]]:
    """Return how a slice goes on behind a page: by its cursor, or cut by the density that the page shows."""
    if not page.last:
        return [partial(_read, timeline, part, pages)]
    rest = _cut(replace(part, start=page.last), page.density)
    if len(rest) == 1 and timeline.is_hungry():
        rest = _halved(rest[0], page.density)
    if page.last == page.first or len(rest) == 1 or len(page.straddling) > len(page.ids) * _REREAD:
        restarts = part.restarts if page.last == part.start else 0
        return [partial(_read, timeline, replace(part, start=page.last, seen=page.ids, restarts=restarts), pages)]
    return [_fetch(timeline, each) for each in (replace(rest[0], seen=page.straddling), *rest[1:])]


def _cut(part: Slice, density: float) -> list[Slice]:
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


def _halved(part: Slice, density: float) -> list[Slice]:
    """Cut a slice in two, so that more can run side by side, if each half is worth a request of its own."""
    middle = (part.start + part.end) // 2
    if (middle - part.start) * density < _WORTH_HALVING * (EVENTS.page_size or 1):
        return [part]
    return [replace(part, end=middle), replace(part, start=middle)]


def _read_merged(timeline: Timeline, part: Slice) -> Fetched[Batch]:
    """Read a slice of several metrics as far as all of their first pages reach, in order of time.

    The events behind the horizon, where the first of the unfinished pages ends, are read again by what follows.
    """
    findings = Findings()
    asked = [(_pages(timeline, each, part), partial(_run, timeline, each, findings)) for each in part.metrics]
    answers = [answer for pages, use in asked if (answer := _page(pages, part, use))]
    runs, unfinished = [each.made for each in answers], [each.made for each in answers if each.next is not None]
    attempts, queued = max((each.attempts for each in answers), default=1), any(each.queued for each in answers)
    horizon = min((run.outline.last or part.start for run in unfinished), default=part.end)
    behind = replace(part, metrics=tuple(run.metric for run in runs), is_first=False)
    if horizon <= part.start:
        return Fetched(Batch(b"", 0, 0), 0, _one_second(timeline, behind), attempts, queued)
    batch = _batch(part, *_merged(runs, horizon), findings)
    live = [run for run in runs if run in unfinished or run.outline.last >= horizon]
    density = max((run.outline.density for run in unfinished), default=0.0)
    rest = _cut(replace(behind, metrics=tuple(run.metric for run in live), start=horizon), density) if live else []
    return Fetched(batch, batch.size, [_fetch(timeline, each) for each in rest], attempts, queued)


def _merged(runs: Sequence[Run], horizon: int) -> tuple[bytes, list[int]]:
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


def _run(timeline: Timeline, metric: Metric, findings: Findings, document: Page) -> Run:
    rows = _rows(metric, findings, document)
    return Run(metric, _encoded(timeline, rows), [moment for moment, _ in rows], _outline(rows))


def _one_second(timeline: Timeline, part: Slice) -> list[Fetch[Batch]]:
    """Return the fetches of a slice that begins with more events in one second than fit a page."""
    burst = [Slice((metric,), part.start, part.start + 1) for metric in part.metrics]
    rest = [replace(part, start=part.start + 1)] if part.start + 1 < part.end else []
    return [_fetch(timeline, each) for each in (*burst, *rest)]


def _encoded(timeline: Timeline, rows: Sequence[Row]) -> bytes:
    return encode_records(timeline.stream.name, [record for _, record in rows], timeline.version)


def _batch(part: Slice, lines: bytes, moments: Sequence[int], findings: Findings) -> Batch:
    # Klaviyo gives events in order of time; the bounds keep a bookmark from ever passing the run's start.
    newest = moments[-1] if moments else 0
    bookmark = max(part.start, min(newest, part.end - 1)) if newest else None
    return Batch(lines, len(lines), len(moments), bookmark, unknown=findings.unknown)
