"""A collection's queries to pages to batches, each query by its cursor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.filters import filter_changed
from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.pages import Pages
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.records.build import build_records
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.objects import attribute_text
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.streams.model import Filters, Stream
from tap_klaviyo.times import format_time

# A row, and the time of its last change as Klaviyo writes it.
Change = tuple[str, str]


@dataclass(frozen=True)
class FullTable:
    """What the requests of one stream that is read in full have in common.

    Args:
        stream: the stream.
        client: asks Klaviyo.
        endpoint: the stream's, with the limit that the selected fields are charged to.
        parameters: of every first page.
        projection: how resources become records.
        version: marks the rows of this run; None if they have no version.
        since: rows changed since then (epoch seconds) are noted in `Batch.changes`, if the stream's queries say by
            which field.
        seen: changes that were read already; their rows are left out.
    """

    stream: Stream
    client: Client
    endpoint: Endpoint
    parameters: Mapping[str, str]
    projection: Projection
    version: int | None
    since: int
    seen: frozenset[Change] = frozenset()

    @property
    def changed_by(self) -> str | None:
        """The field that says when a row changed, if rows can move between the stream's queries."""
        split = self.stream.split
        return split.changed_by if isinstance(split, Filters) else None


@dataclass(frozen=True)
class _Query:
    """One query of a stream: its name in `Batch.query`, its filter, and the projection with its constants."""

    name: str
    filter: str | None
    projection: Projection


def full_table_fetches(table: FullTable) -> Mapping[str, Fetch[Batch]]:
    """Return the first fetch of each of the stream's queries, by the query's name, in their order."""
    return {query.name: partial(_start, table, query) for query in _queries(table)}


def changed_fetches(table: FullTable) -> list[Fetch[Batch]]:
    """Return the fetches of the rows that changed since `table.since`, without the changes in `table.seen`."""
    changed_by = table.changed_by or ""
    changed = filter_changed(changed_by, table.since)
    return [
        partial(_start, table, replace(query, filter=f"and({query.filter},{changed})" if query.filter else changed))
        for query in _queries(table)
    ]


def _queries(table: FullTable) -> list[_Query]:
    split = table.stream.split
    each: Mapping[str, Mapping[str, Any]] = split.each if isinstance(split, Filters) else {}
    return [
        _Query(str(number), condition, table.projection.with_constants(constants))
        for number, (condition, constants) in enumerate(each.items())
    ] or [_Query("0", None, table.projection)]


def _start(table: FullTable, query: _Query) -> Fetched[Batch]:
    """Read the first page of a query; it can be started again."""
    condition = {"filter": query.filter} if query.filter else {}
    pages = Pages(table.client, table.endpoint, {**table.parameters, **condition}, query.projection.decoder)
    return _read(table, query, pages, frozenset())


def _read(table: FullTable, query: _Query, pages: Pages, seen: frozenset[str]) -> Fetched[Batch]:
    """Read the next page of a query, without the resources that the page before it contained."""
    with pages.next() as answer:
        batch, ids = _made(table, query, seen, answer.page)
    then = [] if pages.ended else [partial(_read, table, query, pages, ids)]
    return Fetched(batch, batch.size, then, answer.attempts, answer.queued)


def _made(table: FullTable, query: _Query, seen: frozenset[str], page: Page) -> tuple[Batch, frozenset[str]]:
    ids, findings = frozenset(resource.id for resource in page.data), Findings()
    page.data = [resource for resource in page.data if resource.id not in seen]
    changes = _changes(page.data, table)
    if table.seen:
        page.data = [each for each in page.data if (each.id, changes.get(each.id, "")) not in table.seen]
    records = build_records(page, query.projection, findings)
    lines = encode_records(table.stream.name, records, table.version)
    changed = frozenset(changes.items()) - table.seen
    return Batch(lines, len(lines), len(records), findings=findings, query=query.name, changes=changed), ids


def _changes(resources: list[Resource], table: FullTable) -> dict[str, str]:
    """Return the time of each resource's last change by id, for those changed since `table.since`."""
    if not table.changed_by:
        return {}
    # Klaviyo writes these times in UTC, so that a later time is a greater text.
    since = format_time(table.since).removesuffix("Z")
    moments = ((each.id, attribute_text(each, table.changed_by) or since) for each in resources)
    return {id: moment for id, moment in moments if moment >= since}
