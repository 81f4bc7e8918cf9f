"""Late events without a lookback: only hours whose count has changed since the last run are read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

from tap_klaviyo.errors import ApiError
from tap_klaviyo.log import logger
from tap_klaviyo.reading.batch import NO_ROWS, Batch
from tap_klaviyo.reading.comparison import Counted
from tap_klaviyo.reading.hours import counts_within
from tap_klaviyo.reading.known_counts import Recounted, plan_recount
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.reading.query import Query
from tap_klaviyo.reading.slices import LONG_RANGE
from tap_klaviyo.reading.time_range import time_range_fetches
from tap_klaviyo.reading.timeline import Timeline
from tap_klaviyo.singer.recounts import KnownCounts
from tap_klaviyo.times import format_time


@dataclass(frozen=True)
class Recount:
    """How one metric is read where the settings ask for a recount.

    Args:
        query: finds its events.
        start: from when on its events are read without counts: the bookmark less the lookback, or the start date.
        mark: the bookmark if it was moved back by hand, in epoch seconds: its events are read again; else None.
        known: what the state knows; None for a metric that has not been counted yet, or is not covered by the bookmark.
    """

    query: Query
    start: int
    mark: int | None = None
    known: KnownCounts | None = field(default=None, repr=False)


def recount_fetch(timeline: Timeline, recounts: Sequence[Recount], end: int, seconds: int, first: int) -> Fetch[Batch]:
    """Return the fetch that counts a stream's metrics; the ranges to read follow from the counts.

    Args:
        timeline: the stream's.
        recounts: how each of its metrics is read.
        end: the end of the range that is read, in epoch seconds.
        seconds: how late an event may become visible.
        first: the start date, in epoch seconds: no event before it is read.
    """
    return partial(_count_all, timeline, recounts, end, seconds, first)


def _count_all(timeline: Timeline, recounts: Sequence[Recount], end: int, seconds: int, first: int) -> Fetched[Batch]:
    found: dict[str, Recounted] = {}
    ranges: dict[str, Sequence[tuple[int, int]]] = {}
    for each in recounts:
        metric = each.query.name
        try:
            count = partial(_count_hours, timeline, metric)
            found[metric] = plan_recount(each.known, each.start, each.mark, (first, end), seconds, count)
            ranges[metric] = found[metric].ranges
        except ApiError as problem:
            ranges[metric] = [(each.start, end)]
            logger.warning(
                "%s: Klaviyo's counts of the metric %s are not available, so it is read again from %s. %s",
                timeline.stream.name,
                metric,
                format_time(each.start),
                problem,
            )
    counted = [
        Counted(metric, start, stop, counts_within(each.counts, start, stop))
        for metric, each in found.items()
        for start, stop in each.ranges
    ]
    batch = replace(
        NO_ROWS,
        recounted=found,
        counted=counted if timeline.is_checked else (),
        # A long range is expected once its reading is planned.
        expected=sum(each.total for each in counted if each.end - each.start < LONG_RANGE),
    )
    # The counts are there already, so no range is counted for itself, and an empty one is judged by them.
    tallied = replace(timeline, is_checked=False, is_tallied=True, mark=0)
    fetches = [
        fetch
        for start, stop, metrics in metric_segments(ranges)
        for fetch in time_range_fetches(
            tallied, [each.query for each in recounts if each.query.name in metrics], start, stop
        )
    ]
    return Fetched(batch, 0, fetches)


def _count_hours(timeline: Timeline, metric: str, start: int, end: int) -> Mapping[int, int]:
    assert timeline.count
    return timeline.count(metric, start, end, True)


def metric_segments(ranges: Mapping[str, Sequence[tuple[int, int]]]) -> list[tuple[int, int, frozenset[str]]]:
    """Return ranges of several metrics as ranges that follow each other, each with the metrics to read in it."""
    bounds = sorted({bound for each in ranges.values() for span in each for bound in span})
    found: list[tuple[int, int, frozenset[str]]] = []
    for start, end in pairwise(bounds):
        metrics = frozenset(
            metric for metric, spans in ranges.items() if any(a <= start and end <= b for a, b in spans)
        )
        if found and found[-1][1:] == (start, metrics):
            found[-1] = found[-1][0], end, metrics
        elif metrics:
            found.append((start, end, metrics))
    return found
