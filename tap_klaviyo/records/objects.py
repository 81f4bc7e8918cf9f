"""JSON objects to Structs of a record type, one by one, if the decoder of the whole page refused them; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from tap_klaviyo.klaviyo.json_values import decode_array, decode_object, decode_text
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.records.findings import Findings, Path
from tap_klaviyo.records.structs import Record, RecordType


def read_objects(kind: RecordType, values: Sequence[Any], where: Path, findings: Findings) -> list[Record]:
    """Return objects as Structs of a type, whose values fit.

    Args:
        kind: what they become.
        values: Structs of it, which stay, and JSON; anything but an object becomes a Struct without values.
        where: the objects' place, such as ("event",).
        findings: counts attributes that the type does not define, which are left out, and values that had to change.
    """
    if set(map(type, values)) == {kind.struct}:
        return list(values)
    return [
        value if type(value) is kind.struct else _known_part(kind, _as_json(value), where, findings) or kind.struct()
        for value in values
    ]


def set_value(kind: RecordType, record: Record, name: str, value: Any, where: Path, findings: Findings) -> None:
    """Set a field of a record to a JSON value, made to fit."""
    setattr(record, name, _fit_value(kind, name, _as_json(value), (*where, name), findings))


def attribute_text(resource: Resource, name: str) -> str | None:
    """Return the text of a resource's attribute, whatever its attributes were decoded as; None if it is not text."""
    value = attribute_value(resource, name)
    return value if isinstance(value, str) else decode_text(value)


def attribute_value(resource: Resource, name: str) -> Any:
    """Return a resource's attribute as it was decoded, such as `Raw`; None if it has none of this name."""
    attributes: Any = resource.attributes
    if isinstance(attributes, Raw):
        return (decode_object(attributes) or {}).get(name)
    return getattr(attributes, name, None)


def _as_json(value: Any) -> Raw:
    """Return a value as JSON; a Struct may be of the type that an earlier page was decoded as."""
    return value if isinstance(value, Raw) else Raw(msgspec.json.encode(value))


def _known_part(kind: RecordType, value: Raw, where: Path, findings: Findings) -> Record:
    """Return the known part of an object, None for null and, counted, for anything else."""
    attributes = decode_object(value)
    if attributes is None:
        if bytes(value) != b"null":
            findings.changed[where] += 1
        return None
    known: dict[str, Any] = {}
    for name, each in attributes.items():
        place = (*where, name)
        if name in kind.names:
            known[kind.names[name]] = _fit_value(kind, name, each, place, findings)
        else:
            findings.unknown[place] += 1
    return kind.struct(**known)


def _fit_value(kind: RecordType, name: str, value: Raw, where: Path, findings: Findings) -> Any:
    if name in kind.nested:
        inner = kind.nested[name]
        heard = Findings() if name in kind.dropped else findings
        if name in kind.arrays:
            return _known_parts(inner, value, where, heard)
        return _known_part(inner, value, where, heard)
    if name not in kind.columns:
        return value
    fitted, is_remarkable = kind.columns[name].fit(value)
    if is_remarkable:
        findings.changed[where] += 1
    return fitted


def _known_parts(kind: RecordType, value: Raw, where: Path, findings: Findings) -> list[Record] | None:
    """Return the objects of an array; a single object counts as an array of one."""
    several = decode_array(value)
    if several is not None:
        return [_known_part(kind, each, where, findings) for each in several]
    single = _known_part(kind, value, where, findings)
    if single is None:
        return None
    findings.changed[where] += 1
    return [single]
