"""How a stream's pages become records: the selected fields, their types, and attributes learned from pages; pure.

All of it follows from the schema, the selection and the row of the stream, and is worked out once, as a Projection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec
from msgspec import Raw

from tap_klaviyo.klaviyo.jsonapi import PageDecoder
from tap_klaviyo.klaviyo.resources import plain_resource, typed_resource
from tap_klaviyo.records.findings import Findings, Path
from tap_klaviyo.records.structs import Record, RecordType, Seen, record_type_of

# The selected fields: name -> the selected fields within it, None for a value that is taken whole.
Fields = Mapping[str, "Fields | None"]
# Completes the records of a page before their values are converted, and may leave some out.
Finish = Callable[[list[Record], "Projection", Findings], list[Record]]

# An account with more attributes than these beside the schema has something wrong with it; its pages stay slow.
_MOST_SEEN = 100
# Names that a Struct can have; it refuses quotes, backslashes and control characters.
_PLAIN = re.compile(r"[\w $.:/@-]{1,100}")


@dataclass(frozen=True)
class Related:
    """A field that is made of the resources that a relationship points at.

    Args:
        field: the field of the record.
        relationship: the relationship's name, as JSON:API has it.
        type: the resources' JSON:API type.
        shape: an "array" and an "object" hold the resources' attributes, an "id" only the id.
        is_sparse: whether Klaviyo is asked for the selected attributes of the resources only: where they are large, or
            where the schema has few of them. Klaviyo leaves out the resources' own relationships then.
        is_named: whether an "id" is in the relationship only if the resources are included.
        related: fields of these resources that come from their own relationships.
        finish: completes these resources before their values are converted.
    """

    field: str
    relationship: str
    type: str
    shape: Literal["array", "object", "id"] = "array"
    is_sparse: bool = False
    is_named: bool = False
    related: tuple[Related, ...] = ()
    finish: Callable[[RecordType, Record, Findings], None] | None = None


@dataclass(frozen=True)
class Lookup:
    """Fields that follow from the id that a relationship points at, because the resources are known already.

    Args:
        relationship: the relationship's name, as JSON:API has it.
        fields: all fields that it fills.
        values: returns the fields' values for an id; null is not asked for.
    """

    relationship: str
    fields: tuple[str, ...]
    values: Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a projection follows from.

    Args:
        name: what the resources are called in messages, such as "event".
        schema: of the records, with every field that the resources may have.
        emitted: the schema that the records have to fit, with the selected fields only.
        related: the fields that are made of related resources.
        finish: what only this stream needs.
        constants: values of fields that are the same for all records.
        keeps_text: text stays as Klaviyo spelled it, escapes included; decoded, it is checked faster.
        id_field: the field that holds a resource's id.
        lookup: fields that follow from the id of a resource which is known already.
        riders: relationships whose resources come with the pages, though no field of these records is made of them.
    """

    name: str
    schema: Mapping[str, Any]
    emitted: Mapping[str, Any]
    related: tuple[Related, ...] = ()
    finish: Finish | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    keeps_text: bool = False
    id_field: str = "id"
    lookup: Lookup | None = None
    riders: tuple[Related, ...] = ()


class Projection:
    """How a stream's pages become records. It learns from each page what the next ones may have."""

    def __init__(self, source: Source, noticed: Findings | None = None) -> None:
        """Work out the types that pages are decoded as; `noticed` is reported with the first page."""
        self.source = source
        self.noticed = noticed or Findings()
        self.decoder = PageDecoder()
        self._seen = Seen()
        self._lay_out()

    @property
    def related(self) -> list[Related]:
        """The selected fields that are made of related resources."""
        return [each for each in self.source.related if each.field in self.source.emitted["properties"]]

    @property
    def relationships(self) -> frozenset[str]:
        """The relationships of the resources that records are made by, as far as their fields are selected."""
        looked_up = {self.source.lookup.relationship} if self.source.lookup else frozenset[str]()
        return frozenset(each.relationship for each in (*self.related, *self.source.riders)).union(looked_up)

    @property
    def made(self) -> frozenset[str]:
        """The fields whose objects are converted where they are made, once for all records that have them."""
        looked_up = self.source.lookup.fields if self.source.lookup else ()
        return frozenset(each.field for each in self.source.related).union(self.source.constants, looked_up)

    def with_constants(self, values: Mapping[str, Any], noticed: Findings | None = None) -> Projection:
        """Return the projection of records that all have these values, as far as their fields are selected."""
        constants = {**self.source.constants, **self.fit_values(values)}
        return Projection(replace(self.source, constants=constants), noticed)

    def with_lookup(self, lookup: Lookup) -> Projection:
        """Return the projection of records whose fields follow from the id of a known resource."""
        return Projection(replace(self.source, lookup=lookup))

    def fit_values(self, values: Mapping[str, Any]) -> dict[str, Raw]:
        """Return values of fields as JSON that fits the schema, without the fields that are not selected."""
        selected = self.source.emitted["properties"]
        return {name: self._fitted(name, value) for name, value in values.items() if name in selected}

    def learn(self, findings: Findings) -> None:
        """Decode the next pages with what this one had beside the schema, as fast as if it were in it."""
        seen = Seen(
            self._seen.unknown.union(filter(None, map(self._place, findings.unknown))),
            self._seen.loose.union(filter(None, map(self._place, findings.changed))),
        )
        if seen != self._seen and len(seen.unknown) + len(seen.loose) <= _MOST_SEEN:
            self._seen = seen
            self._lay_out()

    def take_noticed(self) -> Findings:
        """Return the findings from before the first page, once."""
        noticed, self.noticed = self.noticed, Findings()
        return noticed

    def _lay_out(self) -> None:
        source = self.source
        self.record_type = record_type_of(
            source.schema, source.emitted, source.name, source.constants, self._seen, source.keeps_text
        )
        nested = self.record_type.nested
        parts = [
            typed_resource(nested[each.field].struct, each.type, {inner.relationship for inner in each.related})
            for each in self.related
            if each.shape != "id"
        ]
        parts += [plain_resource((), each.type) for each in source.riders]
        self.decoder.expect(typed_resource(self.record_type.struct, relationships=self.relationships), *parts)

    def _fitted(self, name: str, value: Any) -> Raw:
        text = Raw(msgspec.json.encode(value))
        column = self.record_type.columns.get(name) or self.record_type.refitted.get(name)
        return column.fit(text)[0] if column else text

    def _place(self, path: Path) -> Path | None:
        """Return a counted place, from a resource down, as one from the record down; None if it cannot be learned."""
        fields = {self.source.name: (), **{each.type: (each.field,) for each in self.related if each.shape != "id"}}
        if path[0] not in fields or len(path) == 1 or not all(map(_PLAIN.fullmatch, path)):
            return None
        return (*fields[path[0]], *path[1:])
