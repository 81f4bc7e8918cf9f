"""A stream's time range to slices to pages, in order of time.

A slice is a range [start, end) in whole seconds, read by cursor to its end. The density of rows is not known in
advance: each page shows it. If more fetches could run, the rest of a slice is cut into parts that are read in parallel;
the first part continues by the cursor. A sparse slice takes one request.

If several queries feed the stream, such as one for each metric, their first pages of a slice are fetched in parallel
and merged in order of time, up to the time that all of them reach. Later rows are read again by the next slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

from tap_klaviyo.errors import ApiError, CursorError, GoneError, MetricDeniedError, RequestError, UnreadablePageError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.filters import filter_all, filter_between
from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.pages import Pages
from tap_klaviyo.log import logger
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.meeting import Meeting
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.reading.query import Query
from tap_klaviyo.reading.slices import (
    PlacedRows,
    Run,
    Slice,
    cut_slice,
    follow_page,
    merge_runs,
    narrow_slice,
    place_rows,
    split_by_query,
)
from tap_klaviyo.reading.unreadable import cut_around, find_unreadable
from tap_klaviyo.records.build import build_records
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.structs import Record
from tap_klaviyo.records.times import epoch_seconds
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.streams.model import Stream, TimeRange
from tap_klaviyo.times import format_time

_MOST_RESTARTS = 5
# Seconds by which the end of the range is lowered, time after time, if Klaviyo refuses it: the clocks of its servers
# differ by seconds, and a time that is ahead of the server that answers is an error.
_RETREATS = (10, 60)
# A page with fewer rows, because it was asked for in part, does not show how dense they are.
_FEWEST_ROWS = 10
_NOTHING = Batch(b"", 0, 0)


@dataclass(frozen=True)
class Timeline:
    """What the requests of one stream that is read by time have in common.

    Args:
        stream: the stream.
        client: asks Klaviyo.
        endpoint: the stream's, with the limit that the selected fields are charged to.
        parameters: of every first page.
        version: marks the rows of a full read; None for an incremental one.
    """

    stream: Stream
    client: Client
    endpoint: Endpoint
    parameters: Mapping[str, str]
    version: int | None = None

    @property
    def range(self) -> TimeRange:
        """The time that the stream is read by."""
        assert self.stream.range, f"{self.stream.name} has no time range"
        return self.stream.range


@dataclass(frozen=True)
class _PageRead:
    """What remains of a page of a slice of one query: its lines, and what decides how the slice goes on.

    The records themselves are given up with the page: they take several times the memory, and it takes longer to give
    them up later, when they have left the processor's cache.

    Args:
        lines: the RECORD lines of the rows that were not emitted already.
        rows: how many these are.
        newest: the greatest of their times, 0 if there is none.
        certain: the greatest of the times that they have by themselves.
        findings: what the page has beside its records.
        count: the rows of the page.
        last: the greatest time of the page.
        density: rows a second.
        is_timed: whether every row of the page has a time.
        ends_timed: whether the last row has one.
        behind: the rest of the slice.
    """

    lines: bytes
    rows: int
    newest: int
    certain: int
    findings: Findings
    count: int
    last: int
    density: float
    is_timed: bool
    ends_timed: bool
    behind: Slice


def time_range_fetches(timeline: Timeline, queries: Sequence[Query], start: int, end: int) -> list[Fetch[Batch]]:
    """Return the fetches of a stream's rows with start <= time < end (epoch seconds)."""
    whole = Slice(tuple(queries), start, end, is_first=True, is_last=True)
    return _slice_fetches(timeline, whole) if queries and start < end else []


def _slice_fetches(timeline: Timeline, part: Slice) -> list[Fetch[Batch]]:
    """Return the fetches that read a slice: one, or one for each of its queries, which are merged."""
    part = replace(part, is_open=False)
    if len(part.queries) == 1:
        return [partial(_read_page, timeline, part, _pages(timeline, part.queries[0], part), part.end)]
    meeting = Meeting[Run | ApiError, Fetched[Batch]](len(part.queries), partial(_merge, timeline, part))
    return [partial(_read_run, timeline, part, place, meeting) for place in range(len(part.queries))]


def _all_fetches(timeline: Timeline, parts: Sequence[Slice]) -> list[Fetch[Batch]]:
    return [fetch for part in parts for fetch in _slice_fetches(timeline, part)]


def _pages(timeline: Timeline, query: Query, part: Slice) -> Pages:
    return Pages(
        timeline.client,
        timeline.endpoint,
        _parameters(timeline, query, part.start, part.end),
        query.projection.decoder,
        restarts=0,
        ids=query.parent,
        size=part.page_size,
    )


def _parameters(timeline: Timeline, query: Query, start: int, end: int) -> Mapping[str, str]:
    span = timeline.range
    bounds = filter_between(span.field, start, end, span.after, span.before)
    return {**timeline.parameters, "filter": filter_all(query.condition, *bounds) or ""}


def _read_page(timeline: Timeline, part: Slice, pages: Pages, asked_end: int) -> Fetched[Batch]:
    """Read the next page of a slice of one query; the pages may lead beyond the slice, up to `asked_end`."""
    try:
        with pages.next() as answer:
            made = _page_read(timeline, part, asked_end, answer.page)
    except ApiError as problem:
        return _go_around(timeline, part, problem)
    is_over = pages.ended
    if part.is_open:
        if not made.is_timed:
            # Only Klaviyo's filter knows whether a row without a time is before the slice's end.
            again = _slice_fetches(timeline, part)
            return Fetched(_NOTHING, 0, again, answer.attempts, answer.queued)
        is_over = is_over or made.last >= part.end
    batch = _batch(part, made.lines, made.rows, made.newest if is_over else made.certain, made.findings)
    full = _full(timeline, made.count, answer.page_size)
    rest = None if is_over else partial(_rest, timeline, part, pages, asked_end, made, full)
    return Fetched(batch, batch.size, (), answer.attempts, answer.queued, rest=rest)


def _page_read(timeline: Timeline, part: Slice, asked_end: int, document: Page) -> _PageRead:
    findings = Findings()
    whole = _placed(timeline, part.queries[0], document, findings, part.start, asked_end)
    fresh = whole.without(part)
    return _PageRead(
        _encoded(timeline, fresh.records),
        len(fresh.records),
        max(fresh.moments, default=0),
        max(_certain(fresh), default=0),
        findings,
        len(whole.records),
        whole.last,
        whole.density,
        not whole.untimed,
        whole.ends_timed,
        follow_page(part, whole),
    )


def _placed(timeline: Timeline, query: Query, document: Page, findings: Findings, start: int, end: int) -> PlacedRows:
    """Return the records of a page that was asked for by a range, and where they lie in time."""
    stream, span = timeline.stream, timeline.range
    records = build_records(document, query.projection, findings, query.parent)
    times = epoch_seconds(records, stream.replication_key or span.field)
    if not span.is_exact:
        inside = [place for place, moment in enumerate(times) if not moment or start <= moment < end]
        records, times = [records[place] for place in inside], [times[place] for place in inside]
    ids = list(map(attrgetter(stream.id_field), records))
    return place_rows(records, ids, times, partial(epoch_seconds, records, span.field), start, end)


def _certain(rows: PlacedRows) -> Sequence[int]:
    """Return the times that rows have by themselves: until a slice is over, a bookmark rests on these only."""
    if not rows.untimed:
        return rows.moments
    return [moment for place, moment in enumerate(rows.moments) if place not in rows.untimed]


def _full(timeline: Timeline, count: int, page_size: int | None) -> int:
    """Return how many rows a full page has: as many as this one, unless it was asked for in part."""
    largest = timeline.endpoint.page_size or 1
    return count if page_size == largest else largest


def _rest(
    timeline: Timeline, part: Slice, pages: Pages, asked_end: int, page: _PageRead, full: int, idle: int
) -> list[Fetch[Batch]]:
    """Return how a slice goes on behind a page: by its cursor, or the first of several parts by its cursor."""
    behind = page.behind
    shows_density = page.count >= min(full, _FEWEST_ROWS)
    if not page.ends_timed or not shows_density or part.end - page.last < 2:
        return [partial(_read_page, timeline, behind, pages, asked_end)]
    # The cursor leads through the second that the page ends in, so the cuts lie behind it.
    first, *others = cut_slice(replace(behind, start=page.last), page.density, full, idle)
    going_on = replace(
        behind,
        end=first.end,
        density=first.density,
        is_last=first.is_last,
        is_open=part.is_open or bool(others),
    )
    return [partial(_read_page, timeline, going_on, pages, asked_end), *_all_fetches(timeline, others)]


def _go_around(timeline: Timeline, part: Slice, problem: ApiError, query: Query | None = None) -> Fetched[Batch]:
    """Return the fetches that continue a slice despite an error.

    Args:
        timeline: the stream's.
        part: the slice.
        problem: the error.
        query: the query that failed; None if the slice has one only.

    Raises:
        ApiError: it cannot.
    """
    where = f"{timeline.stream.name}: {problem}"
    if part.restarts < _MOST_RESTARTS and (isinstance(problem, CursorError) or _is_refused_beyond(part, problem)):
        logger.warning("%s Rows are read again from %s.", where, format_time(part.start))
        again = replace(part, restarts=part.restarts + 1)
    elif isinstance(problem, MetricDeniedError):
        return Fetched(replace(_NOTHING, denied=frozenset(query.name for query in part.queries)), 0)
    elif isinstance(problem, GoneError) and part.queries[0].parent:
        return Fetched(replace(_NOTHING, parents_gone=1), 0)
    elif isinstance(problem, UnreadablePageError):
        return _around_unreadable(timeline, part, problem, query or part.queries[0])
    elif _is_refused_end(part, problem):
        again = replace(part, end=part.end - _RETREATS[part.retreats], retreats=part.retreats + 1)
        logger.warning("%s Rows are read up to %s only; the next run reads the rest.", where, format_time(again.end))
        return Fetched(replace(_NOTHING, bookmark_limit=again.end), 0, _slice_fetches(timeline, again))
    else:
        raise problem
    return Fetched(_NOTHING, 0, _slice_fetches(timeline, again))


def _is_refused_end(part: Slice, problem: ApiError) -> bool:
    """Return whether Klaviyo may have refused a request because its clock is behind the end of the range."""
    can_retreat = part.is_last and part.retreats < len(_RETREATS) and part.end - _RETREATS[part.retreats] > part.start
    return can_retreat and _is_refused(problem)


def _is_refused_beyond(part: Slice, problem: ApiError) -> bool:
    """Return whether Klaviyo may have refused a cursor because its clock is behind the end that the cursor leads to."""
    return part.is_open and _is_refused(problem)


def _is_refused(problem: ApiError) -> bool:
    is_other = isinstance(problem, CursorError | MetricDeniedError)
    return not is_other and isinstance(problem, RequestError) and problem.status == 400


def _around_unreadable(timeline: Timeline, part: Slice, problem: UnreadablePageError, query: Query) -> Fetched[Batch]:
    """Find the second with the row that Klaviyo cannot render, and continue around it.

    Raises:
        UnreadablePageError: there is no such row, but the slice cannot be read.
    """
    second = part.start if part.end - part.start == 1 else _unreadable_second(timeline, part, query)
    if second is None:
        # A cursor may fail although the filter finds the rows behind it.
        if part.restarts == _MOST_RESTARTS:
            raise problem
        again = replace(part, restarts=part.restarts + 1)
        return Fetched(_NOTHING, 0, _slice_fetches(timeline, again))
    before, own, after = cut_around(part, second)
    behind = [after] if after else []
    if before or len(part.queries) > 1:
        # Within a second, the order of the queries is free.
        parts = [*([before] if before else []), *split_by_query(own), *behind]
        return Fetched(_NOTHING, 0, _all_fetches(timeline, parts))
    text = (
        f"Rows of {format_time(second)}{f' ({query.name})' if query.name else ''} cannot be read and were skipped; the "
        f"bookmark stays there until they can. {problem}"
    )
    return Fetched(replace(_NOTHING, problem=text, bookmark_limit=second), 0, _all_fetches(timeline, behind))


def _unreadable_second(timeline: Timeline, part: Slice, query: Query) -> int | None:
    # The row comes after those that were emitted already, so the page has to reach beyond them.
    size = min(len(part.seen) + len(part.emitted) + 1, timeline.endpoint.page_size or 1)

    def fails(start: int) -> bool:
        parameters = _parameters(timeline, query, start, part.end)
        url = timeline.client.url(timeline.endpoint, parameters, **query.parent)
        return not timeline.client.answers(timeline.endpoint, url, size)

    return find_unreadable(fails, part.start, part.end)


def _read_run(
    timeline: Timeline, part: Slice, place: int, meeting: Meeting[Run | ApiError, Fetched[Batch]]
) -> Fetched[Batch]:
    """Read a query's first page of a slice; the last of the queries' pages to come gives what all of them make."""
    query, attempts, queued = part.queries[place], 1, False
    came: Run | ApiError
    try:
        pages = _pages(timeline, query, part)
        with pages.next() as answer:
            run = _run(timeline, part, query, answer.page)
            came = replace(run, is_whole=pages.ended, page_size=pages.reduced_size)
            attempts, queued = answer.attempts, answer.queued
    except (UnreadablePageError, RequestError) as problem:
        came = problem
    merged = meeting.arrive(place, came)
    return replace(merged or Fetched(_NOTHING, 0), attempts=attempts, queued=queued)


def _run(timeline: Timeline, part: Slice, query: Query, document: Page) -> Run:
    findings = Findings()
    rows = _placed(timeline, query, document, findings, part.start, part.end)
    fresh = rows.without(part)
    lines = _encoded(timeline, fresh.records)
    times = (fresh.moments, fresh.floors, fresh.untimed)
    return Run(query, lines, fresh.ids, *times, rows.last, rows.density, len(rows.records), findings)


def _merge(timeline: Timeline, part: Slice, came: Sequence[Run | ApiError]) -> Fetched[Batch]:
    """Return the rows of several queries up to the horizon: the end of the first unfinished page."""
    denied = [place for place, each in enumerate(came) if isinstance(each, MetricDeniedError)]
    for place, each in enumerate(came):
        if isinstance(each, ApiError) and place not in denied:
            return _go_around(timeline, part, each, part.queries[place])
    names = frozenset(part.queries[place].name for place in denied)
    merged = _merged(timeline, replace(part, is_first=False), [each for each in came if isinstance(each, Run)])
    return replace(merged, item=replace(merged.item, denied=names))


def _merged(timeline: Timeline, part: Slice, runs: Sequence[Run]) -> Fetched[Batch]:
    unfinished = [run for run in runs if not run.is_whole]
    horizon = min((run.last for run in unfinished), default=part.end)
    if horizon <= part.start:
        left = replace(part, queries=tuple(run.query for run in runs))
        return Fetched(_NOTHING, 0, _all_fetches(timeline, narrow_slice(left, runs, horizon)))
    lines, moments = merge_runs(runs, horizon)
    findings = Findings()
    for run in runs:
        findings.add(run.findings)
    newest = max(moments, default=0)
    batch = _batch(replace(part, end=horizon), lines, len(moments), newest, findings)
    live = [run for run in runs if run.reaches(horizon)]
    if not live or horizon >= part.end:
        return Fetched(batch, batch.size)
    untimed = frozenset[str]().union(*(run.untimed_before(horizon) for run in live))
    queries, emitted = tuple(run.query for run in live), part.emitted | untimed
    page_size = min((run.page_size for run in live if run.page_size), default=None)
    behind = replace(part, queries=queries, start=horizon, seen=frozenset(), emitted=emitted, page_size=page_size)
    return Fetched(batch, batch.size, rest=partial(_merged_rest, timeline, behind, unfinished))


def _merged_rest(timeline: Timeline, behind: Slice, unfinished: Sequence[Run], idle: int) -> list[Fetch[Batch]]:
    densest = max(unfinished, key=lambda run: run.density)
    return _all_fetches(timeline, cut_slice(behind, densest.density, densest.count, idle))


def _encoded(timeline: Timeline, records: Sequence[Record]) -> bytes:
    return encode_records(timeline.stream.name, records, timeline.version)


def _batch(part: Slice, lines: bytes, rows: int, newest: int, findings: Findings) -> Batch:
    parents = int(part.is_first and bool(part.queries[0].parent))
    return Batch(lines, len(lines), rows, newest or None, findings=findings, parents=parents)
