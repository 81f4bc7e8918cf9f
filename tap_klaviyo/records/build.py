"""A page of resources to records, by a stream's projection: one builder for all streams; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from itertools import chain
from typing import Any

import msgspec
from msgspec import Raw

from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.resources import related_ids
from tap_klaviyo.records.conversion import convert_objects
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.objects import read_objects
from tap_klaviyo.records.projection import Projection, Related
from tap_klaviyo.records.structs import Record, RecordType

# The ids that a relationship of one resource points at.
Ids = Sequence[str]


def build_records(page: Page, projection: Projection, findings: Findings) -> list[Record]:
    """Return the records of a page's resources; a related resource that was not sent leaves its id."""
    name, kind = projection.source.name, projection.record_type
    found = Findings(
        changed=Counter({(reason,): count for reason, count in page.changed.items()}),
        set_aside=Counter({name if place == "data" else place: n for place, n in page.set_aside.items()}),
    )
    records = read_objects(kind, [resource.attributes for resource in page.data], (name,), found)
    for record, resource in zip(records, page.data, strict=True):
        record.id = resource.id
    ids = {name: related_ids(page.data, name) for name in projection.relationships}
    for each in projection.related:
        if each.shape == "id":
            _add_ids(each, kind, records, ids[each.relationship])
        else:
            _relate(page, each, kind.nested[each.field], records, ids[each.relationship], found)
    if projection.source.finish:
        records = projection.source.finish(records, projection, found)
    convert_objects(kind, records, (name,), found, projection.made)
    if found.unknown or found.changed:
        projection.learn(found)
    findings.add(found)
    findings.add(projection.take_noticed())
    return records


def _relate(
    page: Page, related: Related, part: RecordType, records: Sequence[Record], ids: Sequence[Ids], findings: Findings
) -> None:
    """Fill a field of the records with the resources that a relationship points at."""
    wanted = set(chain.from_iterable(ids))
    found = _included(page, related, part, wanted, findings)
    convert_objects(part, list(found.values()), (related.type,), findings)
    for name in wanted - found.keys():
        found[name] = part.struct() if "id" in part.dropped else part.struct(id=name)
    for record, names in zip(records, ids, strict=True):
        objects = list(map(found.__getitem__, names))
        setattr(record, related.field, objects if related.shape == "array" else next(iter(objects), None))


def _included(
    page: Page, related: Related, part: RecordType, wanted: Set[str], findings: Findings
) -> dict[str, Record]:
    """Return by id the included resources that a field is made of, before their values are converted.

    One without a type counts as of the type that it is pointed at as.
    """
    resources = [each for each in page.included if each.type == related.type or (not each.type and each.id in wanted)]
    found = read_objects(part, [each.attributes for each in resources], (related.type,), findings)
    for record, resource in zip(found, resources, strict=True):
        record.id = resource.id
    for each in related.related:
        _add_ids(each, part, found, related_ids(resources, each.relationship))
    if related.finish:
        for record in found:
            related.finish(part, record, findings)
    return {resource.id: record for record, resource in zip(found, resources, strict=True)}


def _add_ids(related: Related, kind: RecordType, records: Sequence[Record], ids: Sequence[Ids]) -> None:
    """Fill a field of the records with the id that a relationship points at, or null."""
    values: list[Any] = [names[0] if names else None for names in ids]
    column = kind.columns.get(related.field)
    if column and column.types != {"string"}:
        values = [column.fit(Raw(msgspec.json.encode(value)))[0] for value in values]
    for record, value in zip(records, values, strict=True):
        setattr(record, related.field, value)
