"""The queries that a stream is divided into, and the parameters of their requests; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.records.projection import Fields, Projection
from tap_klaviyo.streams.model import Stream

# A small attribute of a resource of which only the id is selected: an empty list would ask for all.
_LEAST = {"profile": "email", "metric": "name", "catalog-variant": "sku"}


@dataclass(frozen=True)
class Query:
    """One of the queries that a stream is divided into.

    Args:
        name: tells it from the stream's other queries: a metric's id, or a number.
        projection: how the resources that it finds become records.
        condition: its filter, without the range of time; None if it finds all.
        parent: the ids that fill the endpoint's path and the records' fields of these names.
        metrics: the ids of the metrics whose events it finds, if it finds events.
    """

    name: str
    projection: Projection = field(repr=False)
    condition: str | None = None
    parent: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    metrics: tuple[str, ...] = field(default=(), repr=False)

    @property
    def parent_ids(self) -> frozenset[str]:
        """The ids of the parent that it asks for the rows of; empty if it has none."""
        return frozenset(self.parent.values())

    @property
    def is_looked_up(self) -> bool:
        """Whether each row names its metric, because the query finds the events of several."""
        return self.projection.source.lookup is not None


def query_parameters(stream: Stream, fields: Fields, riders: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the parameters that every first page of the stream has: sort, include and sparse fieldsets.

    Args:
        stream: the stream.
        fields: the selected ones: they decide what Klaviyo is asked for.
        riders: relationships to include for other streams.
    """
    query = {"sort": stream.endpoint.sort} if stream.endpoint.sort else {}
    related = [each for each in stream.related if each.field in fields]
    wanted = [each.relationship for each in related if each.shape != "id" or each.is_named]
    if include := [*wanted, *riders]:
        query["include"] = ",".join(include)
    for each in related:
        if each.is_sparse and (within := fields[each.field]):
            query[f"fields[{each.type}]"] = ",".join(name for name in within if name != "id") or _LEAST[each.type]
    if stream.endpoint.additional:
        query |= _additional_fields(stream, fields)
    return query


def charged_endpoint(stream: Stream, fields: Fields) -> Endpoint:
    """Return the endpoint with the limit that the selected fields are charged to."""
    return stream.endpoint.charged_for(frozenset(fields))


def _additional_fields(stream: Stream, fields: Fields) -> dict[str, str]:
    """Return the sparse fieldset of a resource that has fields which Klaviyo sends on request only."""
    own = {stream.id_field, *([stream.parent.key] if stream.parent else [])}
    sources = {source for attributes in stream.derived.values() for source in attributes}
    attributes = fields.keys() - stream.derived.keys() - own
    asked = sorted(attributes | sources)
    query = {f"fields[{stream.endpoint.resource}]": ",".join(asked)} if asked else {}
    if additional := [name for name in stream.endpoint.additional if name in asked]:
        query[f"additional-fields[{stream.endpoint.resource}]"] = ",".join(additional)
    return query
