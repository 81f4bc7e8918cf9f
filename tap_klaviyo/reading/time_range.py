"""A stream's time range to slices to pages, in order of time.

A slice is a range [start, end) in whole seconds, read by cursor to its end. The density of rows is not known in
advance: each page shows it. If more fetches could run, the rest of a slice is cut into parts that are read in parallel;
the first part continues by the cursor. A sparse slice takes one request.

If several queries feed the stream, such as one for each metric, their first pages of a slice are fetched in parallel
and merged in order of time, up to the time that all of them reach. Later rows are read again by the next slices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

from tap_klaviyo.errors import ApiError, MetricDeniedError, RateLimitedError, RequestError, UnreadablePageError
from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.pages import Pages
from tap_klaviyo.reading.batch import NO_ROWS, Batch
from tap_klaviyo.reading.counted_range import count_range, hours_by_metric, late_counts, silent_counts
from tap_klaviyo.reading.hours import HourCounts, count_by_hour
from tap_klaviyo.reading.meeting import Meeting
from tap_klaviyo.reading.planned_slices import plan_slices
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.reading.query import Query
from tap_klaviyo.reading.recovery import Detour, go_around
from tap_klaviyo.reading.slices import (
    FINE_PAGES,
    LONG_RANGE,
    CountedRange,
    PlacedRows,
    Run,
    Slice,
    cut_slice,
    follow_page,
    merge_runs,
    moments_before,
    narrow_slice,
    place_rows,
)
from tap_klaviyo.reading.timeline import Timeline, slice_pages
from tap_klaviyo.records.build import build_records
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.structs import Record
from tap_klaviyo.records.times import epoch_seconds
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.times import HOUR

# Slices of a plan: each waits in memory for its turn.
_MOST_PLANNED = 400
# A page with fewer rows, because it was asked for in part, does not show how dense they are.
_FEWEST_ROWS = 10


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
        hours: how many of the rows lie in which hour, by metric, if they are compared with Klaviyo's counts.
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
    hours: HourCounts


def time_range_fetches(timeline: Timeline, queries: Sequence[Query], start: int, end: int) -> list[Fetch[Batch]]:
    """Return the fetches of a stream's rows with start <= time < end (epoch seconds)."""
    metrics = tuple(metric for query in queries for metric in query.metrics)
    is_planned = timeline.is_planned and end - start >= LONG_RANGE
    is_compared = is_planned or timeline.is_checked or timeline.is_tallied
    counted = CountedRange(start, end, metrics, is_compared) if timeline.count else None
    whole = Slice(tuple(queries), start, end, is_first=True, is_last=True, whole=counted)
    return _slice_fetches(timeline, whole) if queries and start < end else []


def _slice_fetches(timeline: Timeline, part: Slice) -> list[Fetch[Batch]]:
    """Return the fetches that read a slice: one, or one for each of its queries, which are merged."""
    part = replace(part, is_open=False)
    if len(part.queries) == 1:
        return [partial(_read_page, timeline, part, slice_pages(timeline, part.queries[0], part), part.end)]
    meeting = Meeting[Run | ApiError, Fetched[Batch]](len(part.queries), partial(_merge_queries, timeline, part))
    return [partial(_read_run, timeline, part, place, meeting) for place in range(len(part.queries))]


def _all_fetches(timeline: Timeline, parts: Sequence[Slice]) -> list[Fetch[Batch]]:
    return [fetch for part in parts for fetch in _slice_fetches(timeline, part)]


def _read_detour(timeline: Timeline, detour: Detour) -> Fetched[Batch]:
    return Fetched(detour.batch, 0, _all_fetches(timeline, detour.parts))


def _read_page(timeline: Timeline, part: Slice, pages: Pages, asked_end: int) -> Fetched[Batch]:
    """Read the next page of a slice of one query; the pages may lead beyond the slice, up to `asked_end`."""
    try:
        with pages.next() as answer:
            made = _page_read(timeline, part, asked_end, answer.page)
    except ApiError as problem:
        return _read_detour(timeline, go_around(timeline, part, problem))
    is_over = pages.ended
    if part.is_open:
        if not made.is_timed:
            # Only Klaviyo's filter knows whether a row without a time is before the slice's end.
            again = _slice_fetches(timeline, part)
            return Fetched(NO_ROWS, 0, again, answer.attempts, answer.queued)
        is_over = is_over or made.last >= part.end
    newest = made.newest if is_over else made.certain
    batch = _slice_batch(part, made.lines, made.rows, newest, made.findings, made.hours)
    full = _rows_of_full_page(timeline, made.count, answer.page_size)
    rest = None if is_over else partial(_rest_of_slice, timeline, part, pages, asked_end, made, full)
    then = late_counts(timeline, part, made.count) if is_over else []
    return Fetched(batch, batch.size, then, answer.attempts, answer.queued, rest=rest)


def _page_read(timeline: Timeline, part: Slice, asked_end: int, document: Page) -> _PageRead:
    findings = Findings()
    whole = _place_records(timeline, part.queries[0], document, findings, part.start, asked_end)
    fresh = whole.without(part)
    return _PageRead(
        _encode_lines(timeline, fresh.records),
        len(fresh.records),
        max(fresh.moments, default=0),
        max(_certain_times(fresh), default=0),
        findings,
        len(whole.records),
        whole.last,
        whole.density,
        not whole.untimed,
        whole.ends_timed,
        follow_page(part, whole),
        hours_by_metric(part.queries[0], document, fresh) if part.is_compared else {},
    )


def _place_records(
    timeline: Timeline, query: Query, document: Page, findings: Findings, start: int, end: int
) -> PlacedRows:
    """Return the records of a page that was asked for by a range, and where they lie in time."""
    stream, span = timeline.stream, timeline.range
    records = build_records(document, query.projection, findings, query.parent)
    times = epoch_seconds(records, stream.replication_key or span.field)
    if not span.is_exact:
        inside = [place for place, moment in enumerate(times) if not moment or start <= moment < end]
        records, times = [records[place] for place in inside], [times[place] for place in inside]
    ids = list(map(attrgetter(stream.id_field), records))
    return place_rows(records, ids, times, partial(epoch_seconds, records, span.field), start, end)


def _certain_times(rows: PlacedRows) -> Sequence[int]:
    """Return the times that rows have by themselves: until a slice is over, a bookmark rests on these only."""
    if not rows.untimed:
        return rows.moments
    return [moment for place, moment in enumerate(rows.moments) if place not in rows.untimed]


def _rows_of_full_page(timeline: Timeline, count: int, page_size: int | None) -> int:
    """Return how many rows a full page has: as many as this one, unless it was asked for in part."""
    largest = timeline.endpoint.page_size or 1
    return count if page_size == largest else largest


def _rest_of_slice(
    timeline: Timeline, part: Slice, pages: Pages, asked_end: int, page: _PageRead, full: int, idle: int
) -> list[Fetch[Batch]]:
    """Return how a slice continues after a page: by its cursor, or the first of several parts by its cursor."""
    behind = page.behind
    shows_density = page.count >= min(full, _FEWEST_ROWS)
    if not page.ends_timed or not shows_density or part.end - page.last < 2:
        return [partial(_read_page, timeline, behind, pages, asked_end)]
    # The cursor leads through the second that the page ends in, so the cuts lie behind it.
    left = replace(behind, start=page.last)
    others: Sequence[Fetch[Batch]]
    if counted := _counted_part(left, page.density, full):
        first = replace(left, end=counted.start, is_last=False, is_counted=True)
        others = [partial(_plan_by_counts, timeline, counted, full)]
    else:
        first, *parts = cut_slice(left, page.density, full, idle)
        others = _all_fetches(timeline, parts)
    going_on = replace(
        behind,
        end=first.end,
        density=first.density,
        is_last=first.is_last,
        is_counted=first.is_counted,
        is_open=part.is_open or bool(others),
    )
    return [partial(_read_page, timeline, going_on, pages, asked_end), *others]


def _counted_part(part: Slice, density: float, full: int) -> Slice | None:
    """Return the rest of a slice after its next pages, if Klaviyo is to be asked how many rows are where in it."""
    if not part.is_compared or part.is_counted or part.end - part.start < LONG_RANGE:
        return None
    start = part.start + max(1, round(FINE_PAGES * full / density))
    left = replace(part, start=start, seen=frozenset(), restarts=0, page_size=None)
    return left if start < part.end else None


def _plan_by_counts(timeline: Timeline, part: Slice, full: int) -> Fetched[Batch]:
    """Plan a slice by Klaviyo's counts. Without them, its pages show how dense it is."""
    assert part.whole
    try:
        batch = count_range(timeline, part.whole)
    except RateLimitedError:
        # The streams begin together, so that many ask at once. Behind the next page of the slice, it asks again.
        return Fetched(NO_ROWS, 0, _slice_fetches(timeline, part))
    counts = [
        sum((Counter(each.hours) for each in batch.counted if each.metric in query.metrics), Counter[int]())
        for query in part.queries
    ]
    pages = max(counted.total() for counted in counts) / full
    parts = plan_slices(part, counts, full, HOUR, max(FINE_PAGES, pages / _MOST_PLANNED))
    expected = replace(batch, expected=sum(each.total for each in batch.counted))
    return Fetched(expected, 0, _all_fetches(timeline, parts))


def _read_run(
    timeline: Timeline, part: Slice, place: int, meeting: Meeting[Run | ApiError, Fetched[Batch]]
) -> Fetched[Batch]:
    """Read a query's first page of a slice; the last of the queries' pages to come gives what all of them make."""
    query, attempts, queued = part.queries[place], 1, False
    came: Run | ApiError
    try:
        pages = slice_pages(timeline, query, part)
        with pages.next() as answer:
            run = _make_run(timeline, part, query, answer.page)
            came = replace(run, is_whole=pages.ended, page_size=pages.reduced_size)
            attempts, queued = answer.attempts, answer.queued
    except (UnreadablePageError, RequestError) as problem:
        came = problem
    merged = meeting.arrive(place, came)
    return replace(merged or Fetched(NO_ROWS, 0), attempts=attempts, queued=queued)


def _make_run(timeline: Timeline, part: Slice, query: Query, document: Page) -> Run:
    findings = Findings()
    rows = _place_records(timeline, query, document, findings, part.start, part.end)
    fresh = rows.without(part)
    lines = _encode_lines(timeline, fresh.records)
    times = (fresh.moments, fresh.floors, fresh.untimed)
    return Run(query, lines, fresh.ids, *times, rows.last, rows.density, len(rows.records), findings)


def _merge_queries(timeline: Timeline, part: Slice, came: Sequence[Run | ApiError]) -> Fetched[Batch]:
    """Return the rows of several queries up to the horizon: the end of the first unfinished page."""
    denied = [place for place, each in enumerate(came) if isinstance(each, MetricDeniedError) and part.is_first]
    for place, each in enumerate(came):
        if isinstance(each, ApiError) and place not in denied:
            return _read_detour(timeline, go_around(timeline, part, each, part.queries[place]))
    names = frozenset(part.queries[place].name for place in denied)
    merged = _merge_runs(timeline, part, [each for each in came if isinstance(each, Run)])
    return replace(merged, item=replace(merged.item, denied=names))


def _merge_runs(timeline: Timeline, whole: Slice, runs: Sequence[Run]) -> Fetched[Batch]:
    part = replace(whole, is_first=False)
    unfinished = [run for run in runs if not run.is_whole]
    horizon = min((run.last for run in unfinished), default=part.end)
    if horizon <= part.start:
        left = replace(part, queries=tuple(run.query for run in runs))
        return Fetched(NO_ROWS, 0, _all_fetches(timeline, narrow_slice(left, runs, horizon)))
    lines, moments = merge_runs(runs, horizon)
    findings = Findings()
    for run in runs:
        findings.add(run.findings)
    newest = max(moments, default=0)
    before = {run.query.name: moments_before(run, horizon) for run in runs if part.is_compared}
    hours = {metric: count_by_hour(times) for metric, times in before.items()}
    batch = _slice_batch(part, lines, len(moments), newest, findings, hours)
    then = silent_counts(timeline, whole, [run.query for run in runs if not run.count]) if moments else []
    live = [run for run in runs if run.reaches(horizon)]
    if not live or horizon >= part.end:
        return Fetched(batch, batch.size, [*then, *late_counts(timeline, whole, len(moments))])
    untimed = frozenset[str]().union(*(run.untimed_before(horizon) for run in live))
    queries, emitted = tuple(run.query for run in live), part.emitted | untimed
    page_size = min((run.page_size for run in live if run.page_size), default=None)
    behind = replace(
        part,
        queries=queries,
        start=horizon,
        seen=frozenset(),
        emitted=emitted,
        page_size=page_size,
        known={run.query.name: run.last for run in live},
        expected=part.expected_after(max(map(len, before.values()), default=0)),
    )
    return Fetched(batch, batch.size, then, rest=partial(_merged_rest, timeline, behind, unfinished))


def _merged_rest(timeline: Timeline, behind: Slice, unfinished: Sequence[Run], idle: int) -> list[Fetch[Batch]]:
    densest = max(unfinished, key=lambda run: run.density)
    full = _rows_of_full_page(timeline, densest.count, densest.page_size or timeline.endpoint.page_size)
    if densest.count < min(full, _FEWEST_ROWS):
        return _slice_fetches(timeline, behind)
    counted = _counted_part(behind, densest.density, full)
    if counted is None:
        return _all_fetches(timeline, cut_slice(behind, densest.density, full, idle))
    near = replace(behind, end=counted.start, is_last=False, is_counted=True)
    return [*_slice_fetches(timeline, near), partial(_plan_by_counts, timeline, counted, full)]


def _encode_lines(timeline: Timeline, records: Sequence[Record]) -> bytes:
    return encode_records(timeline.stream.name, records, timeline.version)


def _slice_batch(part: Slice, lines: bytes, rows: int, newest: int, findings: Findings, hours: HourCounts) -> Batch:
    parents = int(part.is_first and bool(part.queries[0].parent))
    found = part.queries[0].parent_ids if rows else frozenset[str]()
    return Batch(
        lines, len(lines), rows, newest or None, findings=findings, parents=parents, read=hours, parents_found=found
    )
