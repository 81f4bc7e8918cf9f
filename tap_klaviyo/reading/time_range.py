"""An event stream's time range to slices to pages, in order of time.

A slice is a range [start, end) in whole seconds, read by cursor to its end. How dense the events lie is not known
ahead: each page tells it, and what is left of a dense slice is cut into slices of a few pages that are read side by
side, and a rest that is looked at in the same way. A sparse slice takes one request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tap_klaviyo.client import Answer, Client, Made
from tap_klaviyo.errors import CursorError, RequestError
from tap_klaviyo.klaviyo.endpoints import EVENTS
from tap_klaviyo.klaviyo.filters import filter_between
from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.log import logger
from tap_klaviyo.pages import Pages
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.reading.slices import (
    MOST_REREAD,
    Metric,
    Outline,
    Row,
    Run,
    Slice,
    cut_slice,
    halve_slice,
    merge_runs,
    outline_page,
)
from tap_klaviyo.records.build import build_records
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.streams.events import event_timestamps, project_metric
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.times import format_time

_MOST_RESTARTS = 5


@dataclass(frozen=True)
class Timeline:
    """What the requests of one event stream have in common.

    `version` marks the rows of a full read; None for an incremental one.
    """

    stream: Stream
    client: Client
    parameters: Mapping[str, str]
    projection: Projection
    version: int | None = None


def time_range_fetches(timeline: Timeline, metrics: Sequence[Resource], start: int, end: int) -> list[Fetch[Batch]]:
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
        return Fetched(Batch(b"", 0, 0, denied=frozenset([part.metrics[0].id])), 0)
    batch, outline = answer.made
    rest = None if pages.ended else partial(_rest, timeline, replace(part, is_first=False), pages, outline)
    return Fetched(batch, batch.size, (), answer.attempts, answer.queued, rest=rest)


def _page(pages: Pages, part: Slice, use: Callable[[Page], Made]) -> Answer[Made] | None:
    """Return what is made of the next page; None if Klaviyo denies from the start the metric that it listed."""
    try:
        return pages.read(use)
    except RequestError as problem:
        if "do not exist" not in str(problem) or not part.is_first:
            raise
        return None


def _made(timeline: Timeline, part: Slice, document: Page) -> tuple[Batch, Outline]:
    findings = Findings()
    rows = _rows(part.metrics[0], findings, document)
    fresh = [row for row in rows if row[1].id not in part.seen] if part.seen else rows
    return _batch(part, _encoded(timeline, fresh), [moment for moment, _ in fresh], findings), outline_page(rows)


def _rows(metric: Metric, findings: Findings, document: Page) -> list[Row]:
    records = build_records(document, metric.projection, findings)
    return list(zip(event_timestamps(records), records, strict=True))


def _rest(timeline: Timeline, part: Slice, pages: Pages, page: Outline, idle: int) -> list[Fetch[Batch]]:
    """Return how a slice goes on behind a page: by its cursor, or cut by the density that the page shows."""
    if not page.last:
        return [partial(_read, timeline, part, pages)]
    rest = cut_slice(replace(part, start=page.last), page.density)
    if len(rest) == 1 and idle:
        rest = halve_slice(rest[0], page.density)
    if page.last == page.first or len(rest) == 1 or len(page.straddling) > len(page.ids) * MOST_REREAD:
        restarts = part.restarts if page.last == part.start else 0
        return [partial(_read, timeline, replace(part, start=page.last, seen=page.ids, restarts=restarts), pages)]
    return [_fetch(timeline, each) for each in (replace(rest[0], seen=page.straddling), *rest[1:])]


def _read_merged(timeline: Timeline, part: Slice) -> Fetched[Batch]:
    """Read a slice of several metrics as far as all of their first pages reach, in order of time.

    The events behind the horizon, where the first of the unfinished pages ends, are read again by what follows.
    """
    findings = Findings()
    asked = [(_pages(timeline, each, part), partial(_run, timeline, each, findings)) for each in part.metrics]
    tried = [_page(pages, part, use) for pages, use in asked]
    answers = [answer for answer in tried if answer]
    denied = frozenset(metric.id for metric, answer in zip(part.metrics, tried, strict=True) if not answer)
    runs, unfinished = [each.made for each in answers], [each.made for each in answers if each.next is not None]
    attempts, queued = max((each.attempts for each in answers), default=1), any(each.queued for each in answers)
    horizon = min((run.outline.last or part.start for run in unfinished), default=part.end)
    behind = replace(part, metrics=tuple(run.metric for run in runs), is_first=False)
    if horizon <= part.start:
        return Fetched(Batch(b"", 0, 0, denied=denied), 0, _one_second(timeline, behind), attempts, queued)
    batch = replace(_batch(part, *merge_runs(runs, horizon), findings), denied=denied)
    live = [run for run in runs if run in unfinished or run.outline.last >= horizon]
    density = max((run.outline.density for run in unfinished), default=0.0)
    rest = cut_slice(replace(behind, metrics=tuple(run.metric for run in live), start=horizon), density) if live else []
    return Fetched(batch, batch.size, [_fetch(timeline, each) for each in rest], attempts, queued)


def _run(timeline: Timeline, metric: Metric, findings: Findings, document: Page) -> Run:
    rows = _rows(metric, findings, document)
    return Run(metric, _encoded(timeline, rows), [moment for moment, _ in rows], outline_page(rows))


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
    return Batch(lines, len(lines), len(moments), bookmark, findings=findings)
