"""What becomes of a stream's attributes: the selected fields, date-times in UTC, coordinates as text; pure.

Only what must change is looked at, and over all objects of a page at once. What that is follows from the schema and the
selection, and is worked out once, as a Projection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw

from tap_klaviyo.klaviyo.json_values import decode_text
from tap_klaviyo.klaviyo.jsonapi import PLAIN, PageDecoder
from tap_klaviyo.klaviyo.resources import typed_resource
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.structs import Record, RecordType, record_type_of, with_defaults

# The selected fields: name -> the selected fields within it, None for a value that is taken whole.
Fields = Mapping[str, "Fields | None"]
# Completes the records of a page before their values are converted, and may leave some out.
Finish = Callable[[list[Record], "Projection", "Findings"], list[Record]]

_COORDINATES = frozenset({"latitude", "longitude"})


@dataclass(frozen=True)
class Related:
    """A field that is made of the resources that a relationship points at.

    Args:
        field: the field of the record.
        relationship: the relationship's name, as JSON:API has it.
        type: the resources' JSON:API type.
        shape: an "array" and an "object" hold the resources' attributes, an "id" only the id.
        related: fields of these resources that come from their own relationships.
        finish: completes these resources before their values are converted.
    """

    field: str
    relationship: str
    type: str
    shape: Literal["array", "object", "id"] = "array"
    related: tuple[Related, ...] = ()
    finish: Callable[[Record], None] | None = None

    @cached_property
    def attribute(self) -> str:
        """The relationship's name on `jsonapi.Relationships`."""
        return self.relationship.replace("-", "_")


@dataclass(frozen=True)
class Conversions:
    """What changes in an object: fields that are dropped, date-times, numbers that become text, and objects within."""

    dropped: tuple[str, ...]
    dates: tuple[str, ...]
    texts: tuple[str, ...]
    nested: Mapping[str, Conversions]


_UNCHANGED = Conversions((), (), (), {})


@dataclass(frozen=True)
class Projection:
    """How a stream's pages become records.

    Args:
        name: what the resources are called in messages, such as "event".
        fields: the selected fields.
        record_type: what the attributes are decoded as.
        conversions: of the resources of the page.
        related: the selected fields that are made of related resources.
        conversions_of: the conversions of the resources in such a field; they are made once for each resource,
            however many records have it.
        finish: what only this stream needs.
    """

    name: str
    fields: Fields
    record_type: RecordType
    conversions: Conversions
    related: tuple[Related, ...] = ()
    conversions_of: Mapping[str, Conversions] = field(default_factory=dict)
    finish: Finish | None = None

    @cached_property
    def decoder(self) -> PageDecoder:
        """The decoder of the stream's pages: events, by far the most rows, are decoded straight to records."""
        if "profile" not in self.record_type.nested:
            return PLAIN
        parts = [typed_resource(each.type, self.record_type.nested[each.field].struct) for each in self._parts]
        return PageDecoder(typed_resource("event", self.record_type.struct), *parts)

    @property
    def _parts(self) -> list[Related]:
        return [each for each in self.related if each.shape != "id"]

    def with_constants(self, values: Mapping[str, Any]) -> Projection:
        """Return the projection of records that all have these values, as far as their fields are selected."""
        chosen = {name: value for name, value in values.items() if name in self.fields}
        return replace(self, record_type=with_defaults(self.record_type, chosen))


def project(
    name: str,
    schema: Mapping[str, Any],
    fields: Fields,
    related: Sequence[Related] = (),
    made: Sequence[str] = (),
    finish: Finish | None = None,
) -> Projection:
    """Return how resources become records with the selected fields.

    Args:
        name: what the resources are called in messages, such as "event".
        schema: of the records, with every field that the resources may have.
        fields: the selected fields.
        related: the fields that are made of related resources.
        made: other fields that are made, and converted, elsewhere.
        finish: what only this stream needs.
    """
    conversions = _conversions(schema, fields)
    elsewhere = {each.field for each in related}.union(made)
    own = {field: inner for field, inner in conversions.nested.items() if field not in elsewhere}
    return Projection(
        name,
        fields,
        record_type_of(schema, name),
        replace(conversions, nested=own),
        tuple(each for each in related if each.field in fields),
        {field: conversions.nested.get(field, _UNCHANGED) for field in elsewhere},
        finish,
    )


def _conversions(schema: Mapping[str, Any], fields: Fields) -> Conversions:
    properties: Mapping[str, Any] = schema["properties"]
    chosen = {name: properties[name] for name in properties if name in fields}
    inner = {
        name: _conversions(definition.get("items", definition), fields[name] or {})
        for name, definition in chosen.items()
        if definition.get("items", definition).get("properties")
    }
    return Conversions(
        dropped=tuple(name for name in properties if name not in fields),
        dates=tuple(name for name, definition in chosen.items() if definition.get("format") == "date-time"),
        # Klaviyo's document gives coordinates two types, text or number; a column has one.
        texts=tuple(name for name in chosen if name in _COORDINATES),
        nested={name: found for name, found in inner.items() if found != _UNCHANGED},
    )


def convert(conversions: Conversions, objects: Sequence[Record]) -> None:
    """Change a page's objects in place, each field over all of them at once."""
    for name in conversions.dropped:
        for each in objects:
            setattr(each, name, UNSET)
    if conversions.dates and not _are_utc(objects, conversions.dates):
        _date(objects, conversions.dates)
    for name in conversions.texts:
        _quote(objects, name)
    for name, inner in conversions.nested.items():
        convert(inner, _within(objects, name))


def _within(objects: Sequence[Record], name: str) -> list[Record]:
    """Return the objects in a field that holds one each, or an array of them."""
    values = [value for value in map(attrgetter(name), objects) if value]
    if list in set(map(type, values)):
        return [each for value in values for each in (value if isinstance(value, list) else [value]) if each]
    return values


def _are_utc(objects: Sequence[Record], names: Sequence[str]) -> bool:
    """Return whether the JSON date-times of the fields are RFC 3339 in UTC, or null, by their marks in the whole."""
    try:
        text = b",".join(chain.from_iterable(map(attrgetter(name), objects) for name in names))
    except TypeError:  # one of them is not set
        return False
    marks = text.count(b'+00:00"') + (text.count(b'Z"') if b"Z" in text else 0)
    return text.count(b"T") == marks == len(objects) * len(names) - text.count(b"null")


def _date(objects: Sequence[Record], names: Sequence[str]) -> None:
    """Make the JSON date-times of the fields RFC 3339 in UTC."""
    for name in names:
        for each in objects:
            value = getattr(each, name)
            if value is not UNSET:
                setattr(each, name, to_utc(value))


def _quote(objects: Sequence[Record], name: str) -> None:
    """Make the JSON numbers of a field texts of the same digits."""
    for each in objects:
        value = getattr(each, name)
        if value is not UNSET and b"-" <= (text := bytes(value)) < b":":
            setattr(each, name, text.decode())


def to_utc(value: Raw) -> Raw:
    """Return a JSON date-time as RFC 3339 in UTC; a naive one counts as UTC, anything else passes as it is."""
    text = bytes(value)
    if (text.endswith(b'+00:00"') or text.endswith(b'Z"')) and text[11:12] == b"T":
        return value
    try:
        moment = datetime.fromisoformat((decode_text(value) or "").replace("Z", "+00:00"))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return Raw(msgspec.json.encode(moment.astimezone(timezone.utc).isoformat()))
    except (ValueError, OverflowError):
        return value
