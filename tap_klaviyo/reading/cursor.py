"""A full-table stream's partitions to pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import msgspec

from tap_klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.pages import Pages
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.records.build import build_records
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.records.structs import Record
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.streams.model import Filters, Stream


@dataclass(frozen=True)
class FullTable:
    """What the requests of one full-table stream have in common; `version` marks the rows of this run."""

    stream: Stream
    client: Client
    endpoint: Endpoint
    parameters: Mapping[str, str]
    projection: Projection
    version: int | None


def full_table_fetches(table: FullTable) -> list[Fetch[Batch]]:
    """Return the fetches of the stream's queries, in their order."""
    split = table.stream.split
    queries = split.each.items() if isinstance(split, Filters) else [(None, {})]
    return [
        partial(_read, table, table.projection.with_constants(constants), _pages(table, condition), frozenset())
        for condition, constants in queries
    ]


def _pages(table: FullTable, filtered_by: str | None) -> Pages:
    condition = {"filter": filtered_by} if filtered_by else {}
    return Pages(table.client, table.endpoint, {**table.parameters, **condition}, table.projection.decoder)


def _read(table: FullTable, projection: Projection, pages: Pages, seen: frozenset[str]) -> Fetched[Batch]:
    """Read the next page of a partition, but for the resources that the page before gave already."""
    answer = pages.read(partial(_made, table, projection, seen))
    batch, ids = answer.made
    then = [] if pages.ended else [partial(_read, table, projection, pages, ids)]
    return Fetched(batch, batch.size, then, answer.attempts, answer.queued)


def _made(
    table: FullTable, projection: Projection, seen: frozenset[str], document: Page
) -> tuple[Batch, frozenset[str]]:
    ids, findings = frozenset(resource.id for resource in document.data), Findings()
    document.data = [resource for resource in document.data if resource.id not in seen]
    records = build_records(document, projection, findings)
    return _batch(table, records, findings), ids


def _batch(table: FullTable, records: list[Record], findings: Findings) -> Batch:
    name = table.stream.name
    keys = [_key(getattr(record, table.stream.key[0])) for record in records] if findings.recurring else []
    once = (
        [record for record, key in zip(records, keys, strict=True) if key not in findings.recurring]
        if keys
        else records
    )
    shared = {
        key: encode_records(name, [record], table.version)
        for record, key in zip(records, keys, strict=False)
        if key in findings.recurring
    }
    lines = encode_records(name, once, table.version)
    return Batch(lines, len(lines), len(once), shared=shared, findings=findings)


def _key(value: str | msgspec.Raw) -> str:
    return value if isinstance(value, str) else msgspec.json.decode(value, type=str)
