"""Reports: the bodies that ask for them, and their answers, which are one JSON:API resource instead of many; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tap_klaviyo.klaviyo.json_values import NULL, decode_array, decode_object, decode_text
from tap_klaviyo.klaviyo.jsonapi import MalformedError, Page, PageDecoder
from tap_klaviyo.klaviyo.lenient import LinkError, next_page
from tap_klaviyo.klaviyo.resources import Resource


@dataclass(frozen=True)
class ReportQuery:
    """The statistics and groups that a report is asked for.

    Args:
        type: the JSON:API type of the request, such as "flow-series-report".
        statistics: the statistics that are asked for; at least one.
        group_by: the groupings; empty if the report takes none.
        interval: the length of the periods of a series; None for values of the whole time.
        conversion_metric_id: the metric that counts as a conversion, for reports that need one.
    """

    type: str
    statistics: tuple[str, ...]
    group_by: tuple[str, ...] = ()
    interval: str | None = None
    conversion_metric_id: str | None = None

    @property
    def arrays(self) -> tuple[str, ...]:
        """The attributes of an answer that are arrays."""
        return ("results", "date_times") if self.interval else ("results",)

    def body(self, start: str, end: str) -> bytes:
        """Return the body of the request for a time; both bounds are local times of the account, written as UTC."""
        attributes: dict[str, Any] = {"statistics": self.statistics, "timeframe": {"start": start, "end": end}}
        if self.group_by:
            attributes["group_by"] = self.group_by
        if self.interval:
            attributes["interval"] = self.interval
        if self.conversion_metric_id:
            attributes["conversion_metric_id"] = self.conversion_metric_id
        return _report_body(self.type, attributes)


def aggregates_body(metric: str, measurements: Sequence[str], start: str, end: str, zone: str) -> bytes:
    """Return the body that asks for a metric's counts by day; the bounds are in RFC 3339, with up to a year between.

    Klaviyo fails on any `sort`.
    """
    bounds = [f"greater-or-equal(datetime,{start})", f"less-than(datetime,{end})"]
    attributes = {
        "metric_id": metric,
        "measurements": measurements,
        "interval": "day",
        "timezone": zone,
        "filter": bounds,
    }
    return _report_body("metric-aggregate", attributes)


def _report_body(kind: str, attributes: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({"data": {"type": kind, "attributes": attributes}})


class _Document(Struct):
    data: Raw
    links: Raw = NULL


_document = msgspec.json.Decoder(_Document)


class ResourceDecoder(PageDecoder):
    """Decodes an answer whose `data` is one resource: the page has it alone, with the attributes as bytes."""

    def __init__(self, is_paged: bool = False, arrays: Collection[str] = ()) -> None:
        """Decode answers of one form.

        Args:
            is_paged: whether the answer has pages: one without pages needs no links.
            arrays: the attributes that must be arrays. Without them, a report would count as one without figures.
        """
        super().__init__()
        self._is_paged = is_paged
        self._arrays = arrays

    def decode(self, body: bytes | bytearray) -> Page:
        """Return a body as a page of one resource; a report has no id, so the id may be empty.

        Raises:
            MalformedError: the body is JSON, but `data` is not a resource, or lacks an array.
            msgspec.DecodeError, RecursionError: the body cannot be decoded as JSON.
        """
        try:
            document = _document.decode(body)
            following = next_page(document.links) if self._is_paged else None
        except (msgspec.ValidationError, LinkError) as problem:
            raise MalformedError(str(problem)) from None
        members = decode_object(document.data) or {}
        attributes = members.get("attributes", NULL)
        found = decode_object(attributes)
        if found is None:
            raise MalformedError("the resource has no attributes")
        for name in self._arrays:
            if decode_array(found.get(name)) is None:
                raise MalformedError(f'"{name}" is not an array')
        resource = Resource(decode_text(members.get("id")) or "", decode_text(members.get("type")) or "", attributes)
        return Page([resource], [], following, not self._is_paged or decode_object(document.links) is not None)


@dataclass(frozen=True)
class Figures:
    """The figures of one group: of the whole time, or one for each label of a series.

    Args:
        groupings: what the group has in common, by grouping.
        statistics: the figures by statistic; in a series an array.
    """

    groupings: Mapping[str, Raw]
    statistics: Mapping[str, Raw]


def report_figures(page: Page) -> Iterator[Figures | None]:
    """Yield the figures of a report's page; None for an item that is not an object with groupings and statistics."""
    for item in decode_array(_page_attribute(page, "results")) or ():
        members = decode_object(item) or {}
        groupings, statistics = (decode_object(members.get(name)) for name in ("groupings", "statistics"))
        yield None if groupings is None or statistics is None else Figures(groupings, statistics)


def report_labels(page: Page) -> list[str]:
    """Return the labels of a series: local midnights of the account, which Klaviyo writes as if they were in UTC."""
    return _texts_in(_page_attribute(page, "date_times"))


def aggregate_dates(page: Page) -> list[str]:
    """Return when the days of a metric's counts begin, in RFC 3339."""
    return _texts_in(_page_attribute(page, "dates"))


def aggregate_measurements(page: Page) -> list[Mapping[str, Raw]]:
    """Return the measurements of a metric, one array for each; one item, since no dimension is asked for."""
    items = decode_array(_page_attribute(page, "data")) or ()
    return [decode_object((decode_object(item) or {}).get("measurements")) or {} for item in items]


def _page_attribute(page: Page, name: str) -> Raw | None:
    return (decode_object(page.data[0].attributes) or {}).get(name)


def _texts_in(value: Raw | None) -> list[str]:
    return [decode_text(item) or "" for item in decode_array(value) or ()]
