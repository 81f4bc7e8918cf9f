"""Handles errors while a slice is read: chooses the slices to read instead and the message to log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tap_klaviyo.errors import ApiError, CursorError, MetricDeniedError, RequestError, UnreadablePageError
from tap_klaviyo.log import logger
from tap_klaviyo.reading.batch import NO_ROWS, Batch
from tap_klaviyo.reading.lost_parents import without_parent
from tap_klaviyo.reading.query import Query
from tap_klaviyo.reading.slices import Slice, split_by_query
from tap_klaviyo.reading.timeline import Timeline, range_parameters
from tap_klaviyo.reading.unreadable import cut_around, find_unreadable
from tap_klaviyo.times import format_time

_MOST_RESTARTS = 5
# Each time Klaviyo refuses the end of the range, the end is lowered by these seconds. The clocks of its servers differ
# by seconds, and a server refuses a time ahead of its own clock.
_RETREATS = (10, 60)


@dataclass(frozen=True)
class Detour:
    """Replaces a failed page: an empty batch that names the skipped rows, and the slices to read next."""

    batch: Batch = NO_ROWS
    parts: Sequence[Slice] = ()


def go_around(timeline: Timeline, part: Slice, problem: ApiError, query: Query | None = None) -> Detour:
    """Return the detour around an error.

    Args:
        timeline: the stream's.
        part: the slice.
        problem: the error.
        query: the query that failed; None if the slice has a single query.

    Raises:
        ApiError: no detour is possible.
    """
    try:
        return _go_around(timeline, part, problem, query or part.queries[0])
    except (RequestError, UnreadablePageError) as lasting:
        return Detour(without_parent(part.queries[0], lasting))


def _go_around(timeline: Timeline, part: Slice, problem: ApiError, query: Query) -> Detour:
    where = f"{timeline.stream.name}: {problem}"
    if part.restarts < _MOST_RESTARTS and (isinstance(problem, CursorError) or _is_refused_beyond(part, problem)):
        logger.warning("%s Rows are read again from %s.", where, format_time(part.start))
        return _restarted_detour(part)
    if isinstance(problem, MetricDeniedError) and part.is_first:
        return Detour(replace(NO_ROWS, denied=frozenset(query.name for query in part.queries)))
    if isinstance(problem, UnreadablePageError):
        return _around_unreadable(timeline, part, problem, query)
    if _is_refused_end(part, problem):
        again = replace(part, end=part.end - _RETREATS[part.retreats], retreats=part.retreats + 1)
        logger.warning("%s Rows are read up to %s only; the next run reads the rest.", where, format_time(again.end))
        return Detour(replace(NO_ROWS, bookmark_limit=again.end), [again])
    raise problem


def _restarted_detour(part: Slice) -> Detour:
    return Detour(parts=[replace(part, restarts=part.restarts + 1)])


def _is_refused_end(part: Slice, problem: ApiError) -> bool:
    """Return whether a refusal may be due to a Klaviyo server whose clock is behind the end of the range."""
    can_retreat = part.is_last and part.retreats < len(_RETREATS) and part.end - _RETREATS[part.retreats] > part.start
    return can_retreat and _is_refused(problem)


def _is_refused_beyond(part: Slice, problem: ApiError) -> bool:
    """Return whether a refusal may be due to a cursor that leads past Klaviyo's clock."""
    return part.is_open and _is_refused(problem)


def _is_refused(problem: ApiError) -> bool:
    is_other = isinstance(problem, CursorError | MetricDeniedError)
    return not is_other and isinstance(problem, RequestError) and problem.status == 400


def _around_unreadable(timeline: Timeline, part: Slice, problem: UnreadablePageError, query: Query) -> Detour:
    """Find the second with the row that Klaviyo cannot render, and continue around it.

    Raises:
        UnreadablePageError: there is no such row, but the slice cannot be read.
    """
    second = part.start if part.end - part.start == 1 else _unreadable_second(timeline, part, query)
    if second is None:
        # A cursor can fail even though the filter finds the rows after it.
        if part.restarts == _MOST_RESTARTS:
            raise problem
        return _restarted_detour(part)
    before, own, after = cut_around(part, second)
    behind = [after] if after else []
    if before or len(part.queries) > 1:
        # Within a second, the order of the queries is free.
        return Detour(parts=[*([before] if before else []), *split_by_query(own), *behind])
    text = (
        f"Rows of {format_time(second)}{f' ({query.name})' if query.name else ''} cannot be read and were skipped; the "
        f"bookmark stays there until they can. {problem}"
    )
    return Detour(replace(NO_ROWS, problem=text, bookmark_limit=second), behind)


def _unreadable_second(timeline: Timeline, part: Slice, query: Query) -> int | None:
    # The page must be large enough to reach past the rows that were already emitted.
    size = min(len(part.seen) + len(part.emitted) + 1, timeline.endpoint.page_size or 1)

    def fails_from(start: int) -> bool:
        parameters = range_parameters(timeline, query, start, part.end)
        url = timeline.client.url(timeline.endpoint, parameters, **query.parent)
        return not timeline.client.answers(timeline.endpoint, url, size)

    return find_unreadable(fails_from, part.start, part.end)
