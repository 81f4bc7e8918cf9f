"""Schemas to types: an object becomes a Struct of just the fields that its schema has, in the schema's order.

Values stay as they came, as `msgspec.Raw`, but for objects that have a schema of their own. A Struct takes a fraction
of the time and memory that a dict takes, and a whole page of them is parsed, and written, in one call. The Structs
refuse what the schema does not have; `read` tells what that is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from tap_klaviyo.streams.model import load_schema

# A Struct of a shape: its fields are known only by the schema. A field that did not come is UNSET, and not written.
Record = Any

_object = msgspec.json.Decoder(dict[str, Raw] | None)
_array = msgspec.json.Decoder(list[Raw])


@dataclass(frozen=True)
class Shape:
    """What an object is read as: the Struct, its fields, and the shapes of objects within it."""

    struct: type[Struct]
    names: frozenset[str]
    nested: Mapping[str, Shape]


@cache
def shape_of(schema_name: str) -> Shape:
    """Return the shape of one of the schema files."""
    return _shape(schema_name, load_schema(schema_name))


def _shape(name: str, schema: Mapping[str, Any]) -> Shape:
    properties: Mapping[str, Any] = schema["properties"]
    nested: dict[str, Shape] = {}
    types: dict[str, Any] = dict.fromkeys(properties, Raw)
    for field, definition in properties.items():
        inner = definition.get("items", definition)
        if inner.get("properties"):
            nested[field] = _shape(field, inner)
            within: Any = nested[field].struct
            types[field] = (list[within | None] if "items" in definition else within) | None
    fields = [(field, kind | UnsetType, UNSET) for field, kind in types.items()]
    return Shape(_struct(name, fields), frozenset(properties), nested)


def _struct(name: str, fields: Sequence[tuple[str, Any, Any]]) -> type[Struct]:
    return msgspec.defstruct(name, fields, gc=False, forbid_unknown_fields=True)


def with_defaults(shape: Shape, values: Mapping[str, Any]) -> Shape:
    """Return a shape whose fields have these values where they do not come; cheaper than to set them on each object."""
    fields = [
        (each.name, each.type, values.get(each.name, each.default)) for each in msgspec.structs.fields(shape.struct)
    ]
    return replace(shape, struct=_struct(shape.struct.__name__, fields))


def read(shape: Shape, values: Sequence[Record | Raw], where: str, unknown: Counter[str]) -> list[Record]:
    """Return objects as Structs of a shape.

    Args:
        shape: what they are read as.
        values: Structs of it, which stay, and JSON; what is no object becomes a Struct without values.
        where: what they are called when something is counted, such as "event".
        unknown: is added what the shape does not have, which is left out.
    """
    if set(map(type, values)) == {shape.struct}:
        return list(values)
    return [
        (_known(shape, value, where, unknown) or shape.struct()) if isinstance(value, Raw) else value
        for value in values
    ]


def _known(shape: Shape, value: Raw, where: str, unknown: Counter[str]) -> Record:
    """Return the known part of an object, None for null and, counted, for what is no object."""
    try:
        attributes = _object.decode(value)
    except msgspec.DecodeError:
        unknown[where] += 1
        return None
    if attributes is None:
        return None
    known: dict[str, Any] = {}
    for name, each in attributes.items():
        if name not in shape.names:
            unknown[f"{where}.{name}"] += 1
        elif name in shape.nested:
            known[name] = _nested(shape.nested[name], each, f"{where}.{name}", unknown)
        else:
            known[name] = each
    return shape.struct(**known)


def _nested(shape: Shape, value: Raw, where: str, unknown: Counter[str]) -> Record:
    try:
        return [_known(shape, each, where, unknown) for each in _array.decode(value)]
    except msgspec.DecodeError:
        return _known(shape, value, where, unknown)
