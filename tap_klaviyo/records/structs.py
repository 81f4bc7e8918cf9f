"""A schema's objects as types: each becomes a Struct with just the schema's fields, in the schema's order.

A Struct takes a fraction of the time and memory of a dict. A page of them is decoded, and encoded, in one call, which
also checks the types of most columns; the rest stay as they came, as `msgspec.Raw`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from tap_klaviyo.records.columns import Column, column_of
from tap_klaviyo.records.findings import Path

# A Struct of a record type: its fields are known only by the schema. A field that did not come is UNSET, not written.
Record = Any

# Klaviyo's document gives coordinates two types, text or number; a column has one.
_COORDINATES = frozenset({"latitude", "longitude"})
_OBJECT, _NUMBER = frozenset({"object"}), frozenset({"number"})


@dataclass(frozen=True)
class Seen:
    """What earlier pages had that the schema does not expect, so that later ones are decoded as fast as any.

    Args:
        unknown: attributes that the schema does not define.
        loose: columns with values of other types.
    """

    unknown: frozenset[Path] = frozenset()
    loose: frozenset[Path] = frozenset()

    def within(self, name: str) -> Seen:
        """Return the attributes seen within a field."""
        return Seen(*(frozenset(path[1:] for path in paths if path[0] == name and path[1:]) for paths in self._all))

    @property
    def _all(self) -> tuple[frozenset[Path], frozenset[Path]]:
        return self.unknown, self.loose


@dataclass(frozen=True)
class RecordType:
    """What an object is decoded as, and what its values must be.

    Args:
        struct: the type.
        columns: the selected fields that have no schema within.
        nested: the types of the objects within, selected or not.
        arrays: the nested fields that hold arrays of objects.
        dropped: the fields that are not selected.
        refitted: nested fields that the schema of the output describes as something else, such as text.
        unknown: attributes that the schema does not define, by their names on the Struct.
    """

    struct: type[Struct]
    columns: Mapping[str, Column]
    nested: Mapping[str, RecordType]
    arrays: frozenset[str]
    dropped: frozenset[str]
    refitted: Mapping[str, Column] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """The names on the Struct, by the attributes' names."""
        return {each.encode_name: each.name for each in msgspec.structs.fields(self.struct)}

    @cached_property
    def dates(self) -> tuple[str, ...]:
        """The columns of date-times and nothing else."""
        return tuple(name for name, each in self.columns.items() if each.is_date and each.types == {"string"})

    @cached_property
    def objects(self) -> tuple[str, ...]:
        """The columns of objects that pass whole."""
        return self._of(_OBJECT)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """The columns of numbers."""
        return self._of(_NUMBER)

    @cached_property
    def spelled(self) -> tuple[str, ...]:
        """The text columns that Klaviyo also sends numbers for."""
        return tuple(name for name, each in self.columns.items() if each.takes_numbers)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The columns of text of any length that stay bytes."""
        return tuple(
            name
            for name, each in self.columns.items()
            if each.types == {"string"}
            and each.max_length is None
            and each.decoded_as is Raw
            and name not in self.dates + self.spelled
        )

    @cached_property
    def others(self) -> tuple[str, ...]:
        """The columns that stay bytes, and of which each value has to be looked at."""
        together = {*self.dates, *self.objects, *self.numbers, *self.spelled, *self.texts}
        return tuple(
            name
            for name, each in self.columns.items()
            if each.types and each.decoded_as is Raw and name not in together
        )

    def _of(self, types: frozenset[str]) -> tuple[str, ...]:
        return tuple(name for name, each in self.columns.items() if each.types == types)


def record_type_of(
    schema: Mapping[str, Any],
    emitted: Mapping[str, Any] | None,
    name: str = "Record",
    constants: Mapping[str, Any] | None = None,
    seen: Seen = Seen(),
    keeps_text: bool = False,
) -> RecordType:
    """Return the type of the objects that a schema describes.

    Args:
        schema: of the objects as Klaviyo sends them.
        emitted: the schema that they have to fit, with the selected fields only; None if they are dropped.
        name: of the type.
        constants: values of fields that are the same for all objects.
        seen: what earlier pages had that the schema does not expect.
        keeps_text: text stays as it was spelled, instead of being decoded, which is faster.
    """
    selected: Mapping[str, Any] = emitted.get("properties") or {} if emitted else {}
    columns: dict[str, Column] = {}
    nested: dict[str, RecordType] = {}
    refitted: dict[str, Column] = {}
    types: dict[str, Any] = {}
    for attribute, own in schema["properties"].items():
        wanted = selected.get(attribute)
        if _objects_in(own):
            is_like_own = wanted is not None and _objects_in(wanted) and ("items" in own) == ("items" in wanted)
            if wanted is not None and not is_like_own:
                refitted[attribute] = column_of(wanted)
                wanted = own
            inner = object_definition(wanted) if wanted is not None else None
            nested[attribute] = record_type_of(
                object_definition(own), inner, attribute, seen=seen.within(attribute), keeps_text=keeps_text
            )
            within: Any = nested[attribute].struct
            types[attribute] = (list[within | None] if "items" in own else within) | None
        elif wanted is not None:
            columns[attribute] = column_of(wanted, attribute in _COORDINATES, keeps_text or (attribute,) in seen.loose)
            types[attribute] = columns[attribute].decoded_as
    unknown = {f"unknown_{n}": path[0] for n, path in enumerate(sorted(seen.unknown)) if len(path) == 1}
    all_types = {each: types.get(each, Raw) for each in schema["properties"]}
    return RecordType(
        _define_struct(name, all_types, constants or {}, unknown),
        columns,
        nested,
        frozenset(each for each in nested if "items" in schema["properties"][each]),
        frozenset(schema["properties"]) - selected.keys(),
        refitted,
        unknown,
    )


def object_definition(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the JSON schema of an object, or of the objects of an array."""
    inner: Mapping[str, Any] = definition.get("items", definition)
    return inner


def _objects_in(definition: Mapping[str, Any]) -> bool:
    """Return whether a field holds an object, or an array of objects, with its own schema."""
    return bool(object_definition(definition).get("properties"))


def _define_struct(
    name: str, types: Mapping[str, Any], constants: Mapping[str, Any], unknown: Mapping[str, str]
) -> type[Struct]:
    known = [(field, kind | UnsetType, constants.get(field, UNSET)) for field, kind in types.items()]
    extra = [
        (field, Raw | UnsetType, msgspec.field(default=UNSET, name=attribute)) for field, attribute in unknown.items()
    ]
    return msgspec.defstruct(name, [*known, *extra], gc=False, forbid_unknown_fields=True)
