"""A page of resources to records, by a stream's projection: one builder for all streams; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from itertools import chain
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Raw

from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.resources import related_ids
from tap_klaviyo.records.conversion import convert_objects
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.objects import read_objects
from tap_klaviyo.records.projection import Lookup, Projection, Related
from tap_klaviyo.records.structs import Record, RecordType

# The ids that a relationship of one resource points at.
Ids = Sequence[str]


def build_records(
    page: Page, projection: Projection, findings: Findings, parent: Mapping[str, str] = MappingProxyType({})
) -> list[Record]:
    """Return the records of a page's resources; a related resource that was not sent leaves its id.

    Args:
        page: the page.
        projection: how its resources become records.
        findings: counts what the page has beside them.
        parent: the ids of what the resources belong to, by the fields that hold them.
    """
    source, kind = projection.source, projection.record_type
    name = source.name
    found = Findings(
        changed=Counter({(reason,): count for reason, count in page.changed.items()}),
        set_aside=Counter({name if place == "data" else place: n for place, n in page.set_aside.items()}),
    )
    records = read_objects(kind, [resource.attributes for resource in page.data], (name,), found)
    _set_ids(source.id_field, kind, records, [resource.id for resource in page.data])
    for field, value in parent.items():
        _set_ids(field, kind, records, [value] * len(records))
    ids = {name: related_ids(page.data, name) for name in projection.relationships}
    for each in projection.related:
        if each.shape == "id":
            _set_ids(each.field, kind, records, _first_ids(ids[each.relationship]))
        else:
            _fill_related(page, each, kind.nested[each.field], records, ids[each.relationship], found)
    if source.lookup:
        _look_up(source.lookup, records, _first_ids(ids[source.lookup.relationship]))
    if source.finish:
        records = source.finish(records, projection, found)
    convert_objects(kind, records, (name,), found, projection.made)
    if found.unknown or found.changed:
        projection.learn(found)
    findings.add(found)
    findings.add(projection.take_noticed())
    return records


def _fill_related(
    page: Page, related: Related, part: RecordType, records: Sequence[Record], ids: Sequence[Ids], findings: Findings
) -> None:
    """Fill a field of the records with the resources that a relationship points at."""
    wanted = set(chain.from_iterable(ids))
    found = _related_records(page, related, part, wanted, findings)
    convert_objects(part, list(found.values()), (related.type,), findings)
    for name in wanted - found.keys():
        found[name] = part.struct() if "id" in part.dropped else part.struct(id=name)
    for record, names in zip(records, ids, strict=True):
        objects = list(map(found.__getitem__, names))
        setattr(record, related.field, objects if related.shape == "array" else next(iter(objects), None))


def _related_records(
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
        _set_ids(each.field, part, found, _first_ids(related_ids(resources, each.relationship)))
    if related.finish:
        for record in found:
            related.finish(part, record, findings)
    return {resource.id: record for record, resource in zip(found, resources, strict=True)}


def _look_up(lookup: Lookup, records: Sequence[Record], ids: Sequence[str | None]) -> None:
    """Fill the fields of the records that follow from an id; a record without the id has none of them."""
    nothing = dict.fromkeys(lookup.fields)
    for record, id in zip(records, ids, strict=True):
        for name, value in (lookup.values(id) if id else nothing).items():
            setattr(record, name, value)


def _set_ids(field: str, kind: RecordType, records: Sequence[Record], ids: Sequence[str | None]) -> None:
    """Fill a field of the records with ids, as whatever the schema of the output makes of it."""
    values: Sequence[Any] = ids
    column = kind.columns.get(field)
    if column and column.types != {"string"}:
        values = [column.fit(Raw(msgspec.json.encode(value)))[0] for value in values]
    for record, value in zip(records, values, strict=True):
        setattr(record, field, value)


def _first_ids(ids: Sequence[Ids]) -> list[str | None]:
    """Return the id that a relationship of each resource points at, None if it points at nothing."""
    return [names[0] if names else None for names in ids]
