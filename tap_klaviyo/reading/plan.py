"""How streams are read in this run: their plans, what a run asks first, and their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from tap_klaviyo.errors import ApiError
from tap_klaviyo.klaviyo.endpoints import METRICS, Endpoint
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.cursor import Change
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.reading.query import charged_endpoint, query_parameters
from tap_klaviyo.singer.selection import Selection, select_key
from tap_klaviyo.streams.model import AllMetrics, DailyCounts, Filters, Metrics, Report, Sizes, Stream
from tap_klaviyo.streams.table import BY_NAME

# Fetches that find the rows changed since a time, except those that were read already.
ChangedFetches = Callable[[int, frozenset[Change]], Sequence[Fetch[Batch]]]
# Fetches that find the rows that are not among those of some ids.
MissedFetches = Callable[[frozenset[str]], Sequence[Fetch[Batch]]]
# The fetch of the counts of a metric between two epoch seconds.
CountFetch = Callable[[str, int, int], Fetch[Batch]]


@dataclass(frozen=True)
class Plan:
    """How one stream is read in this run.

    Args:
        selection: the stream, and what of it.
        lane: the path of the endpoint, whose limit its requests share.
        queries: the first fetch of each query, by the query's name, in their order; none for a stream whose fetches
            follow from its parent's pages.
        version: marks the rows of a stream that is read in full, and is activated at its end; None for others.
        metrics: the ids of the metrics that the bookmark covers when all is read; None for a stream without metrics.
        covered: the ids of the metrics that the bookmark covers now.
        mark: the bookmark at the run's start, in epoch seconds.
        drops_bookmark: whether the bookmark is in the future, so that it must go back.
        is_ordered: whether the bookmark may move with each batch; else it moves at the stream's end.
        is_silent: whether it is read for its children only, and not written.
        changed: finds what changed during the run, if rows can move between the queries; else None.
        missed: finds the rows that the queries cannot, by the ids of those that they found; else None.
        count_again: asks for Klaviyo's counts once more; None if Klaviyo counts no rows of this stream.
    """

    selection: Selection
    lane: str
    queries: Mapping[str, Fetch[Batch]] = field(default_factory=dict)
    version: int | None = None
    metrics: frozenset[str] | None = None
    covered: frozenset[str] = frozenset()
    mark: int = 0
    drops_bookmark: bool = False
    is_ordered: bool = True
    is_silent: bool = False
    changed: ChangedFetches | None = None
    missed: MissedFetches | None = None
    count_again: CountFetch | None = None

    @property
    def stream(self) -> Stream:
        """The stream."""
        return self.selection.stream


@dataclass(frozen=True)
class FirstRequest:
    """A request that a sync of a stream begins with."""

    endpoint: Endpoint
    parameters: tuple[tuple[str, str], ...]


def first_requests(selection: Selection) -> list[FirstRequest]:
    """Return the requests that show whether a stream can be read, with the includes and fields that a sync asks for.

    What belongs to the rows of another stream is asked for by their ids, so that only the first of these can be asked.
    For a report, what it is about is asked for, with the same scope: a report would count towards its limit of a day.
    """
    stream, split = selection.stream, selection.stream.split
    if stream.parent:
        return first_requests(select_key(BY_NAME[stream.parent.stream]))
    if isinstance(split, Report | DailyCounts | Sizes):
        return [request for name in _needed_for(split) for request in first_requests(select_key(BY_NAME[name]))]
    parameters = query_parameters(stream, selection.fields)
    if isinstance(stream.split, Filters):
        parameters["filter"] = next(iter(stream.split.each))
    request = FirstRequest(charged_endpoint(stream, selection.fields), tuple(parameters.items()))
    return [FirstRequest(METRICS, ()), request] if isinstance(stream.split, Metrics | AllMetrics) else [request]


def _needed_for(split: Report | DailyCounts | Sizes) -> list[str]:
    """Return the streams that have to be readable for a report: what it is about, and the account's time zone."""
    match split:
        case Report():
            return ["accounts", *(["metrics"] if split.has_conversions else []), split.about]
        case DailyCounts():
            return ["accounts", "metrics"]
        case Sizes():
            return ["accounts", "lists", "segments"]


def with_parents(selections: Iterable[Selection]) -> list[tuple[Selection, bool]]:
    """Return selections in an order that has each parent before its children, and whether each is read silently.

    A parent that is not selected is read all the same, but only its key.
    """
    by_name = {selection.stream.name: selection for selection in selections}
    found: dict[str, tuple[Selection, bool]] = {}

    def add_stream(name: str) -> None:
        if name in found:
            return
        selection = by_name.get(name) or select_key(BY_NAME[name])
        if selection.stream.parent:
            add_stream(selection.stream.parent.stream)
        found[name] = selection, name not in by_name

    for name in by_name:
        add_stream(name)
    return list(found.values())


def failing_fetches(problem: ApiError) -> Mapping[str, Fetch[Batch]]:
    """Return the fetches of a stream that cannot be read: the problem ends the stream when its turn comes."""
    return {"": partial(_raise_problem, problem)}


def _raise_problem(problem: ApiError) -> Fetched[Batch]:
    raise problem
