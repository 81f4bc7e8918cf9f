"""Klaviyo's counts of a range that is read: when the tap asks for them, and how it reads without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tap_klaviyo.errors import ApiError, RateLimitedError
from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.resources import related_ids
from tap_klaviyo.log import logger
from tap_klaviyo.reading.batch import NO_ROWS, Batch
from tap_klaviyo.reading.comparison import Counted
from tap_klaviyo.reading.hours import HourCounts, count_by_hour
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.reading.query import Query
from tap_klaviyo.reading.slices import CountedRange, PlacedRows, Slice
from tap_klaviyo.reading.timeline import Timeline


def count_range(timeline: Timeline, whole: CountedRange, is_needed: bool = False, is_empty: bool = False) -> Batch:
    """Return a batch with Klaviyo's counts of a range, of as many of its metrics as there are counts for.

    Args:
        timeline: the stream's.
        whole: the range.
        is_needed: whether to wait for the rate limit.
        is_empty: whether the range was found to be empty: then the first metric that has events says enough.

    Raises:
        RateLimitedError: Klaviyo may be asked later, and counted no metric yet.
    """
    assert timeline.count
    counted, problem = list[Counted](), None
    for metric in whole.metrics:
        try:
            hours = timeline.count(metric, whole.start, whole.end, is_needed or timeline.is_checked)
            counted.append(Counted(metric, whole.start, whole.end, hours))
            if hours and is_empty:
                break
        except ApiError as error:
            if isinstance(error, RateLimitedError) and not counted:
                raise
            problem = str(error)
            logger.debug("%s: reading without counts. %s", timeline.stream.name, problem)
    return replace(NO_ROWS, counted=counted, uncounted=problem if timeline.is_checked else None)


def late_counts(timeline: Timeline, part: Slice, rows: int) -> list[Fetch[Batch]]:
    """Return the fetch of the counts of a range that was read to its end without them, if they are wanted after all.

    They are if the settings say so, or if nothing was found where there should be rows: an empty answer may be wrong.

    Args:
        timeline: the stream's.
        part: the slice that has been read.
        rows: how many rows its last page has.
    """
    if part.whole is None or part.is_counted or not part.is_last:
        return []
    has_mark = part.start <= timeline.mark < part.end
    is_suspicious = part.is_first and not rows and (part.whole.is_long or has_mark)
    if not timeline.is_checked and not is_suspicious:
        return []
    return [partial(_count_late, timeline, part.whole, is_empty=not timeline.is_checked)]


def silent_counts(timeline: Timeline, part: Slice, silent: Sequence[Query]) -> list[Fetch[Batch]]:
    """Return the fetch of the counts of metrics without a row in a long range that others have rows in.

    Args:
        timeline: the stream's.
        part: the slice that was read first, which is the whole range.
        silent: the queries that found nothing in it.
    """
    whole = part.whole
    if whole is None or not silent or not (part.is_first and part.is_last and whole.is_long):
        return []
    if timeline.is_checked:
        # All metrics are counted for the comparison. A recount has counted only the last weeks of each.
        return []
    metrics = tuple(metric for query in silent for metric in query.metrics)
    return [partial(_count_silent, timeline, replace(whole, metrics=metrics))]


def _count_silent(timeline: Timeline, whole: CountedRange) -> Fetched[Batch]:
    batch = count_range(timeline, whole, is_needed=True)
    return Fetched(replace(batch, counted=[each for each in batch.counted if each.total]), 0)


def _count_late(timeline: Timeline, whole: CountedRange, is_empty: bool = False) -> Fetched[Batch]:
    return Fetched(count_range(timeline, whole, is_needed=True, is_empty=is_empty), 0)


def count_again(timeline: Timeline, metric: str, start: int, end: int) -> Fetch[Batch]:
    """Return the fetch of the counts of a metric between two epoch seconds."""
    return partial(_count_late, timeline, CountedRange(start, end, (metric,), is_compared=True))


def hours_by_metric(query: Query, document: Page, rows: PlacedRows) -> HourCounts:
    """Return how many events of a page lie in which hour, by metric."""
    lookup = query.projection.source.lookup
    if lookup is None:
        return {query.name: count_by_hour(rows.moments)}
    names = related_ids(document.data, lookup.relationship)
    metric_of = {resource.id: next(iter(ids), "") for resource, ids in zip(document.data, names, strict=True)}
    moments: dict[str, list[int]] = {}
    for id, moment in zip(rows.ids, rows.moments, strict=True):
        moments.setdefault(metric_of[id], []).append(moment)
    return {metric: count_by_hour(times) for metric, times in moments.items()}
