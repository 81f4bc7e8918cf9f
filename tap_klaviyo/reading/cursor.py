"""Reads the queries of a collection page by page, and converts the pages to batches."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tap_klaviyo.errors import RequestError, UnreadablePageError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.filters import filter_all, filter_from
from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.pages import Pages
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.lost_parents import without_parent
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.reading.query import Query
from tap_klaviyo.records.build import build_records
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.objects import attribute_text
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.streams.model import Filters, Stream
from tap_klaviyo.times import format_time

# The id of a row, and the time of its last change in Klaviyo's format.
Change = tuple[str, str]
# Returns the fetches of a child stream for the rows of a page.
Children = Callable[[Page], Sequence[Fetch[Batch]]]


@dataclass(frozen=True)
class FullTable:
    """The settings of all requests for a stream that is read in full.

    Args:
        stream: the stream.
        client: sends the requests.
        endpoint: the endpoint, with the rate limit for the selected fields.
        parameters: the query parameters of each first page.
        projection: converts resources to records.
        version: the version of the rows in this run. None for rows without a version.
        condition: a filter for all queries.
        since: an epoch second. `Batch.changes` has the rows that changed later, if the stream has a field with the
            time of the last change.
        seen: changes that were read before. Their rows are left out.
        notes_ids: whether `Batch.ids` has the ids of the rows.
        is_silent: whether the rows are read only for the child streams, and are not written.
        children: returns the fetches for the rows of a page, by child stream.
        digests: returns digests of the definitions of rows, such as the filter of a segment, for `Batch.definitions`.
    """

    stream: Stream
    client: Client
    endpoint: Endpoint
    parameters: Mapping[str, str]
    projection: Projection
    version: int | None
    since: int
    condition: str | None = None
    seen: frozenset[Change] = frozenset()
    notes_ids: bool = False
    is_silent: bool = False
    children: Mapping[str, Children] = field(default_factory=dict)
    digests: Callable[[Sequence[Resource]], Mapping[str, str]] | None = None

    @property
    def changed_by(self) -> str | None:
        """The field with the time of the last change, if rows can move between the queries."""
        split = self.stream.split
        return split.changed_by if isinstance(split, Filters) else None


def full_table_fetches(table: FullTable) -> Mapping[str, Fetch[Batch]]:
    """Return the first fetch of each query, by the name and in the order of the queries."""
    return {query.name: partial(_start_query, table, query) for query in _narrowed_queries(table)}


def changed_fetches(table: FullTable) -> list[Fetch[Batch]]:
    """Return the fetches of the rows that changed since `table.since`, without the changes in `table.seen`."""
    changed = filter_from(table.changed_by or "", table.since)
    # Klaviyo requires the same field in a date filter and in the sort order.
    table = replace(table, parameters={**table.parameters, "sort": table.changed_by or ""})
    return [
        partial(_start_query, table, replace(query, condition=filter_all(query.condition, changed)))
        for query in _narrowed_queries(table)
    ]


def child_fetch(table: FullTable, query: Query) -> Fetch[Batch]:
    """Return the first fetch of the rows of one parent. A deleted parent has no rows."""
    return partial(_start_child, table, query)


def included_fetch(table: FullTable, groups: Sequence[tuple[Query, Sequence[Resource]]]) -> Fetch[Batch]:
    """Return a fetch of rows that were included with their parents. It does not send a request."""
    return partial(_read_included, table, groups)


def table_queries(stream: Stream, projection: Projection) -> list[Query]:
    """Return the queries of a stream: one for each filter, or one for all rows."""
    each: Mapping[str, Mapping[str, Any]] = stream.split.each if isinstance(stream.split, Filters) else {}
    return [
        Query(str(number), projection.with_constants(constants), condition)
        for number, (condition, constants) in enumerate(each.items())
    ] or [Query("0", projection)]


def _narrowed_queries(table: FullTable) -> list[Query]:
    return [
        replace(query, condition=filter_all(query.condition, table.condition))
        for query in table_queries(table.stream, table.projection)
    ]


def _start_query(table: FullTable, query: Query) -> Fetched[Batch]:
    """Read the first page of a query."""
    condition = {"filter": query.condition} if query.condition else {}
    parameters = {**table.parameters, **condition}
    pages = Pages(table.client, table.endpoint, parameters, query.projection.decoder, ids=query.parent)
    return _continue_query(table, query, pages, frozenset())


def _start_child(table: FullTable, query: Query) -> Fetched[Batch]:
    started = _start_query(table, query)
    is_lost = started.item.parents_gone or started.item.parents_refused
    return started if is_lost else replace(started, item=replace(started.item, parents=1))


def _read_next_page(table: FullTable, query: Query, pages: Pages, seen: frozenset[str]) -> Fetched[Batch]:
    """Read the next page of a query, without the resources of the previous page."""
    with pages.next() as answer:
        page = answer.page
        ids = frozenset(resource.id for resource in page.data)
        page.data = [resource for resource in page.data if resource.id not in seen]
        children = _child_fetches(table, page)
        batch = _page_batch(table, query, page)
    then = [] if pages.ended else [partial(_continue_query, table, query, pages, ids)]
    return Fetched(batch, batch.size, then, answer.attempts, answer.queued, children)


def _continue_query(table: FullTable, query: Query, pages: Pages, seen: frozenset[str]) -> Fetched[Batch]:
    try:
        return _read_next_page(table, query, pages, seen)
    except (RequestError, UnreadablePageError) as problem:
        return Fetched(without_parent(query, problem), 0)


def _read_included(table: FullTable, groups: Sequence[tuple[Query, Sequence[Resource]]]) -> Fetched[Batch]:
    pages = [(query, Page(list(resources), [], None)) for query, resources in groups]
    children = _child_fetches(table, Page([each for _, page in pages for each in page.data], [], None))
    return _join_batches([_page_batch(table, query, page) for query, page in pages], children)


def _join_batches(batches: Sequence[Batch], children: Mapping[Hashable, Sequence[Fetch[Batch]]]) -> Fetched[Batch]:
    findings = Findings()
    for batch in batches:
        findings.add(batch.findings)
    lines = b"".join(batch.read_lines() for batch in batches)
    rows = sum(batch.rows for batch in batches)
    silent_rows = sum(batch.silent_rows for batch in batches)
    whole = Batch(lines, len(lines), rows, silent_rows=silent_rows, findings=findings, query="0", parents=len(batches))
    return Fetched(whole, whole.size, children=children)


def _child_fetches(table: FullTable, page: Page) -> dict[Hashable, Sequence[Fetch[Batch]]]:
    return {stream: fetches(page) for stream, fetches in table.children.items()}


def _page_batch(table: FullTable, query: Query, page: Page) -> Batch:
    changes = changes_of(page.data, table)
    if table.seen:
        page.data = [each for each in page.data if (each.id, changes.get(each.id, "")) not in table.seen]
    digests = table.digests(page.data) if table.digests else {}
    ids = frozenset(each.id for each in page.data) if table.notes_ids else frozenset[str]()
    noticed = Batch(b"", 0, 0, query=query.name, ids=ids, changes=frozenset(changes.items()), definitions=digests)
    if table.is_silent:
        return replace(noticed, silent_rows=len(page.data))
    findings = Findings()
    records = build_records(page, query.projection, findings, query.parent)
    lines = encode_records(table.stream.name, records, table.version)
    return replace(noticed, lines=lines, size=len(lines), rows=len(records), findings=findings)


def changes_of(resources: list[Resource], table: FullTable) -> dict[str, str]:
    """Return the time of the last change by id, for the resources that changed since `table.since`."""
    if not table.changed_by:
        return {}
    # These times are in UTC and in one format, so the text of a later time is greater.
    since = format_time(table.since).removesuffix("Z")
    moments = ((each.id, attribute_text(each, table.changed_by)) for each in resources)
    return {id: moment for id, moment in moments if moment is not None and moment >= since}
