"""A page of resources to records, by a stream's projection: one builder for all streams; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Projection, Related, convert
from tap_klaviyo.records.structs import Record, RecordType, read_objects


def build_records(page: Page, projection: Projection, findings: Findings) -> list[Record]:
    """Return the records of a page's resources; a related resource that was not sent leaves its id."""
    findings.changed.update(page.changed)
    findings.set_aside.update({projection.name if name == "data" else name: n for name, n in page.set_aside.items()})
    attributes = [resource.attributes for resource in page.data]
    records = read_objects(projection.record_type, attributes, projection.name, findings.unknown)
    for record, resource in zip(records, page.data, strict=True):
        record.id = resource.id
    for each in projection.related:
        _relate(page, each, projection, records, findings)
    if projection.finish:
        records = projection.finish(records, projection, findings)
    convert(projection.conversions, records)
    return records


def _relate(
    page: Page, related: Related, projection: Projection, records: Sequence[Record], findings: Findings
) -> None:
    """Fill a field of the records with the resources that a relationship points at."""
    if related.shape == "id":
        _add_ids(related, records, page.data)
        return
    part = projection.record_type.nested[related.field]
    found = _included(page, related, part, findings)
    convert(projection.conversions_of[related.field], list(found.values()))
    has_id = "id" not in projection.conversions_of[related.field].dropped
    for record, resource in zip(records, page.data, strict=True):
        objects = [found.get(id) or _stub(part, id, has_id) for id in resource.ids(related.attribute)]
        setattr(record, related.field, objects if related.shape == "array" else next(iter(objects), None))


def _included(page: Page, related: Related, part: RecordType, findings: Findings) -> Mapping[str, Record]:
    """Return by id the included resources that a field is made of, before their values are converted."""
    resources = [resource for resource in page.included if resource.type == related.type]
    found = read_objects(part, [each.attributes for each in resources], related.type, findings.unknown)
    for record, resource in zip(found, resources, strict=True):
        record.id = resource.id
    for each in related.related:
        _add_ids(each, found, resources)
    if related.finish:
        for record in found:
            related.finish(record)
    return {resource.id: record for record, resource in zip(found, resources, strict=True)}


def _add_ids(related: Related, records: Sequence[Record], resources: Sequence[Resource]) -> None:
    for record, resource in zip(records, resources, strict=True):
        setattr(record, related.field, resource.one(related.attribute))


def _stub(part: RecordType, id: str, has_id: bool) -> Record:
    """Return what is known of a related resource that was not sent: its id."""
    return part.struct(id=id) if has_id else part.struct()
