"""What is read for each row of another stream: a parent's page to the fetches of what belongs to its rows."""

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
    """Return what reads a stream in full for each row of a parent's page."""
    if parent.included:
        return partial(_included_fetches, parent, parent.included, table)
    return partial(_table_fetches, parent, table)


def range_children(parent: Parent, timeline: Timeline, projection: Projection, start_of: StartOf, end: int) -> Children:
    """Return what reads a stream by time for each row of a parent's page, up to an end in epoch seconds."""
    return partial(_range_fetches, parent, timeline, projection, start_of, end)


def definition_digests(rows: Sequence[Resource]) -> Mapping[str, str]:
    """Return the digests of rows by id, without those that have none yet."""
    found = {row.id: _definition_digest(row) for row in rows}
    return {id: digest for id, digest in found.items() if digest is not None}


def _definition_digest(row: Resource) -> str | None:
    """Return a digest of what decides which rows belong to a parent: a segment's conditions. A list has none.

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
        found += time_range_fetches(timeline, [_query(parent, projection, row)], start, end)
    return found


def _table_fetches(parent: Parent, table: FullTable, page: Page) -> list[Fetch[Batch]]:
    """Return a request for each row that can have others; the rows of all of them count as one query's."""
    wanted = [row for row in page.data if parent.only is None or parent.only(row)]
    return [child_fetch(table, _query(parent, table.projection, row)) for row in wanted]


def _included_fetches(parent: Parent, related: Related, table: FullTable, page: Page) -> list[Fetch[Batch]]:
    """Return a fetch of what came with the page, and a request for each row whose others did not all come."""
    came = {each.id: each for each in page.included if each.type == related.type}
    whole, cut = [], list[Fetch[Batch]]()
    for row, ids in zip(page.data, related_ids(page.data, related.relationship), strict=True):
        query = _query(parent, table.projection, row)
        if came.keys() >= set(ids):
            whole.append((query, [came[id] for id in ids]))
        else:
            cut.append(child_fetch(table, query))
    return [included_fetch(table, whole), *cut]


def _query(parent: Parent, projection: Projection, row: Resource) -> Query:
    condition = parent.filter.format(**{parent.key: row.id}) if parent.filter else None
    return Query("0", projection, condition, {parent.key: row.id})
