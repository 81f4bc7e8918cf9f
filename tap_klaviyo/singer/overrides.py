"""A user's schema over the stream's schema: fields left out, and definitions of single fields.

A definition may differ from ours only if every record can still fit it; pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tap_klaviyo.errors import CatalogError
from tap_klaviyo.records.structs import object_definition
from tap_klaviyo.singer.catalog import inner_properties
from tap_klaviyo.singer.entries import FieldPath, show_value
from tap_klaviyo.singer.ignored import Ignored

# Keywords that say nothing about values; they are passed on to the target.
_ANNOTATIONS = frozenset({"description", "title", "$comment", "default", "examples", "readOnly", "writeOnly"})
# What tools of old kept in a field's definition instead of metadata; the selection reads it.
_LEGACY_METADATA = frozenset({"selected", "inclusion"})
# What every value of a type fits without a change of its meaning.
_WIDER = {"integer": ("integer", "number", "string"), "number": ("number", "string"), "boolean": ("boolean", "string")}
UNKNOWN_FIELDS = "Ignored fields of the catalog, which this tap does not have"


def override_schema(
    stream: str, own: Mapping[str, Any], given: Mapping[str, Any], ignored: Ignored, replication_key: str | None = None
) -> dict[str, Any]:
    """Return a stream's schema with the user's definitions of its fields.

    Every field of the stream is in it, whether or not the user's schema has it; `omitted_fields` returns those.

    Raises:
        CatalogError: the records cannot fit a definition; the message names the field and the allowed forms.
    """
    wanted = (given.get("properties") or {}).get(replication_key)
    if replication_key and wanted is not None and isinstance(wanted, dict) and is_text(wanted):
        own_type = own["properties"][replication_key]["type"]
        if "string" not in own_type:
            raise _override_refusal(
                f"{stream}.{replication_key}", f"makes the replication key text; use {show_value(own_type)}"
            )
    # The choice of the stream in its schema is read by the selection.
    return _override_object(own, {key: value for key, value in given.items() if key != "selected"}, (stream,), ignored)


def omitted_fields(own: Mapping[str, Any], given: Mapping[str, Any]) -> set[FieldPath]:
    """Return the fields of a stream that the user's schema does not have."""
    properties: Mapping[str, Any] = given.get("properties") or {}
    omitted: set[FieldPath] = set()
    for name, definition in inner_properties(own).items():
        if name not in properties:
            omitted.add((name,))
        elif inner_properties(definition) and not is_text(properties[name]):
            inner = object_definition(properties[name])
            omitted.update((name, *path) for path in omitted_fields(object_definition(definition), inner))
    return omitted


def _override_object(
    own: Mapping[str, Any], given: Mapping[str, Any], path: FieldPath, ignored: Ignored
) -> dict[str, Any]:
    """Return the definition of an object with named fields."""
    name = ".".join(path)
    properties = given.get("properties")
    if not isinstance(properties, dict) or not properties:
        raise _override_refusal(
            name, f'must keep its "properties"; to leave the field out, set "selected": false for {name}'
        )
    own_properties: Mapping[str, Any] = own["properties"]
    ignored.add(UNKNOWN_FIELDS, *(".".join((*path, each)) for each in properties if each not in own_properties))
    if len(path) > 1 or "type" in given:
        _check_type(own, given, name)
    rest = {key: value for key, value in given.items() if key != "properties"}
    for key, value in rest.items():
        if not _fits_object(key, value):
            raise _override_refusal(name, f"cannot have {show_value({key: value})}: its records may not fit that")
    merged = {
        each: _override_field(own_properties[each], properties[each], (*path, each), ignored)
        if each in properties
        else own_properties[each]
        for each in own_properties
    }
    return {**({"type": own["type"]} if "type" in own else {}), **rest, "properties": merged}


def _fits_object(key: str, value: Any) -> bool:
    return (
        key == "type"
        or key in _ANNOTATIONS
        or (key == "additionalProperties" and isinstance(value, bool))
        or (key == "required" and value == [])
    )


def _override_field(own: Mapping[str, Any], given: Any, path: FieldPath, ignored: Ignored) -> Mapping[str, Any]:
    """Return the user's definition of a field."""
    name = ".".join(path)
    if not isinstance(given, dict):
        raise _override_refusal(name, f"must be an object with a type, not {show_value(given)}")
    if given == own:
        return own
    if inner_properties(own) and not is_text(given):
        telling = {key: value for key, value in given.items() if key not in _LEGACY_METADATA}
        return (
            _override_array(own, telling, path, ignored)
            if "items" in own
            else _override_object(own, telling, path, ignored)
        )
    _check_type(own, given, name)
    for key, value in given.items():
        if not _fits_value(key, value, own, given):
            raise _override_refusal(name, f"cannot have {show_value({key: value})}: its values may not fit that")
    return {key: value for key, value in given.items() if key not in _LEGACY_METADATA}


def _override_array(
    own: Mapping[str, Any], given: Mapping[str, Any], path: FieldPath, ignored: Ignored
) -> Mapping[str, Any]:
    """Return the user's definition of an array of objects."""
    name = ".".join(path)
    _check_type(own, given, name)
    if not isinstance(given.get("items"), dict):
        raise _override_refusal(
            name, f'must keep its "items"; to leave the field out, set "selected": false for {name}'
        )
    for key, value in given.items():
        if key not in ("type", "items") and key not in _ANNOTATIONS:
            raise _override_refusal(name, f"cannot have {show_value({key: value})}: its values may not fit that")
    return {**given, "items": _override_object(own["items"], given["items"], path, ignored)}


def _fits_value(key: str, value: Any, own: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Return whether all values of a field fit a keyword of its definition."""
    return (
        key == "type"
        or key in _ANNOTATIONS
        or key in _LEGACY_METADATA
        or (key == "format" and value is not None and value == own.get("format"))
        or (key == "items" and value == own.get("items", {}))
        or (key == "additionalProperties" and value is True)
        or (key == "properties" and value == {})
        or (key == "required" and value == [])
        or (key == "maxLength" and is_text(own) and "format" not in own and type(value) is int and value > 0)
    )


def is_text(definition: Mapping[str, Any]) -> bool:
    """Return whether a definition is one of text."""
    return "string" in _types_of(definition)


def _check_type(own: Mapping[str, Any], given: Mapping[str, Any], name: str) -> None:
    own_types, types = _types_of(own), _types_of(given)
    (own_type,) = own_types - {"null"}
    allowed = _WIDER.get(own_type, (own_type, "string") if own_type != "string" else ("string",))
    is_nullable = "null" in own_types
    if len(types - {"null"}) == 1 and types <= {*allowed, "null"} and ("null" in types or not is_nullable):
        return
    choices = [show_value(["null", each] if is_nullable else each) for each in allowed]
    what = f"has the type {show_value(given['type'])}" if "type" in given else "has no type"
    raise _override_refusal(name, f"{what}; use {' or '.join(choices)}")


def _types_of(definition: Mapping[str, Any]) -> set[str]:
    """Return the types of a definition; empty if they are malformed."""
    given = definition.get("type")
    listed = given if isinstance(given, list) else [given]
    types = {each for each in listed if isinstance(each, str)}
    return types if len(types) == len(listed) else set()


def _override_refusal(name: str, sentence: str) -> CatalogError:
    return CatalogError(f"Invalid catalog: the schema of {name} {sentence}.")


def legacy_metadata(definition: Any) -> dict[str, Any]:
    """Return the selection that a definition holds itself, as catalogs without metadata do."""
    if not isinstance(definition, Mapping):
        return {}
    return {key: definition[key] for key in _LEGACY_METADATA if definition.get(key) is not None}
