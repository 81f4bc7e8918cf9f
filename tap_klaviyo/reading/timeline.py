"""What the requests of one stream that is read by time have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.filters import filter_all, filter_between
from tap_klaviyo.klaviyo.pages import Pages
from tap_klaviyo.reading.query import Query
from tap_klaviyo.reading.slices import Slice
from tap_klaviyo.streams.model import Stream, TimeRange

# A metric, a range in epoch seconds, and whether to wait for the rate limit, to the number of events by hour.
CountRows = Callable[[str, int, int, bool], Mapping[int, int]]


@dataclass(frozen=True)
class Timeline:
    """What the requests of one stream that is read by time have in common.

    Args:
        stream: the stream.
        client: asks Klaviyo.
        endpoint: the stream's, with the limit that the selected fields are charged to.
        parameters: of every first page.
        version: marks the rows of a full read; None for an incremental one.
        count: returns how many events a metric has, by the epoch second at which each hour begins; None for a stream
            whose rows are not counted.
        is_planned: whether counts plan how a long range is read. They do not if each metric of the account would have
            to be counted for that.
        is_checked: whether to compare with the counts however short the range is.
        is_tallied: whether to note how many events were read in which hour, however short the range is.
        mark: the bookmark, in epoch seconds: a row of this time was read before. 0 without one.
    """

    stream: Stream
    client: Client
    endpoint: Endpoint
    parameters: Mapping[str, str]
    version: int | None = None
    count: CountRows | None = None
    is_planned: bool = True
    is_checked: bool = False
    is_tallied: bool = False
    mark: int = 0

    @property
    def range(self) -> TimeRange:
        """The time that the stream is read by."""
        assert self.stream.range, f"{self.stream.name} has no time range"
        return self.stream.range


def slice_pages(timeline: Timeline, query: Query, part: Slice) -> Pages:
    """Return the pages of a slice that one of its queries finds."""
    return Pages(
        timeline.client,
        timeline.endpoint,
        range_parameters(timeline, query, part.start, part.end),
        query.projection.decoder,
        restarts=0,
        ids=query.parent,
        size=part.page_size,
        has_items=part.has_row(query),
    )


def range_parameters(timeline: Timeline, query: Query, start: int, end: int) -> Mapping[str, str]:
    """Return the parameters of a request for the rows that a query finds with start <= time < end (epoch seconds)."""
    span = timeline.range
    bounds = filter_between(span.field, start, end, span.after, span.before)
    return {**timeline.parameters, "filter": filter_all(query.condition, *bounds) or ""}
