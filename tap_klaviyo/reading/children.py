"""Streams that are read for each row of another: a parent's page to the fetches for its rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from msgspec import Raw

from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.resources import Resource, related_ids
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.cursor import Children, FullTable, child_fetch, included_fetch
from tap_klaviyo.reading.prefetch import Fetch
from tap_klaviyo.reading.query import Query
from tap_klaviyo.reading.time_range import time_range_fetches
from tap_klaviyo.reading.timeline import Timeline
from tap_klaviyo.records.objects import attribute_value
from tap_klaviyo.records.projection import Projection, Related
from tap_klaviyo.streams.model import Parent

# Returns where to begin for a parent's id and the digest of its definition, in epoch seconds.
StartOf = Callable[[str, str | None], int]


def table_children(parent: Parent, table: FullTable) -> Children:
    """Return the function that reads a child in full for each row of a parent's page."""
    if parent.included:
        return partial(_included_fetches, parent, parent.included, table)
    return partial(_table_fetches, parent, table)


def range_children(parent: Parent, timeline: Timeline, projection: Projection, start_of: StartOf, end: int) -> Children:
    """Return the function that reads a child by time for each row of a parent's page, up to an end in epoch seconds."""
    return partial(_range_fetches, parent, timeline, projection, start_of, end)


def definition_digests(rows: Sequence[Resource]) -> Mapping[str, str]:
    """Return the digests of rows by id. Rows without a digest are left out."""
    found = {row.id: _definition_digest(row) for row in rows}
    return {id: digest for id, digest in found.items() if digest is not None}


def _definition_digest(row: Resource) -> str | None:
    """Return a digest of a segment's conditions, which decide who belongs to it. All lists have the same digest.

    A segment that Klaviyo still works out has no digest, so that the next run reads it in full again.
    """
    is_processing, definition = attribute_value(row, "is_processing"), attribute_value(row, "definition")
    if is_processing is True or (isinstance(is_processing, Raw) and bytes(is_processing) == b"true"):
        return None
    return hashlib.blake2b(bytes(definition) if isinstance(definition, Raw) else b"", digest_size=6).hexdigest()


def _range_fetches(
    parent: Parent, timeline: Timeline, projection: Projection, start_of: StartOf, end: int, page: Page
) -> list[Fetch[Batch]]:
    found: list[Fetch[Batch]] = []
    for row in page.data:
        start = start_of(row.id, _definition_digest(row))
        found += time_range_fetches(timeline, [_parent_query(parent, projection, row)], start, end)
    return found


def _table_fetches(parent: Parent, table: FullTable, page: Page) -> list[Fetch[Batch]]:
    """Return a fetch for each parent that can have children. All their rows count as one query's."""
    wanted = [row for row in page.data if parent.only is None or parent.only(row)]
    return [child_fetch(table, _parent_query(parent, table.projection, row)) for row in wanted]


def _included_fetches(parent: Parent, related: Related, table: FullTable, page: Page) -> list[Fetch[Batch]]:
    """Return one fetch for the included children, and a request for each parent whose children were cut short."""
    came = {each.id: each for each in page.included if each.type == related.type}
    whole, cut = [], list[Fetch[Batch]]()
    for row, ids in zip(page.data, related_ids(page.data, related.relationship), strict=True):
        query = _parent_query(parent, table.projection, row)
        if came.keys() >= set(ids):
            whole.append((query, [came[id] for id in ids]))
        else:
            cut.append(child_fetch(table, query))
    return [included_fetch(table, whole), *cut]


def _parent_query(parent: Parent, projection: Projection, row: Resource) -> Query:
    condition = parent.filter.format(**{parent.key: row.id}) if parent.filter else None
    return Query("0", projection, condition, {parent.key: row.id})
