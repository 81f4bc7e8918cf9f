"""The catalog: discovery, and a user's catalog to what is synced and with which fields; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tap_klaviyo.errors import CatalogError
from tap_klaviyo.log import logger
from tap_klaviyo.streams import BY_ID, STREAMS, Stream

Breadcrumb = tuple[str, ...]
Metadata = Mapping[Breadcrumb, Mapping[str, Any]]

# The selected fields: name -> the selected fields within it, None for a value that is taken whole.
Fields = Mapping[str, "Fields | None"]


@dataclass(frozen=True)
class Selection:
    """A stream to sync: the fields to emit, and the schema that describes just them."""

    stream: Stream
    fields: Fields
    schema: Mapping[str, Any]


def discover() -> dict[str, Any]:
    """Return the catalog: all streams, whatever the account has. Needs no network."""
    return {"streams": [_entry(stream) for stream in STREAMS]}


def select_all(catalog: Mapping[str, Any]) -> dict[str, Any]:
    """Return the catalog with every stream selected."""
    return {
        "streams": [
            {**entry, "metadata": [_chosen(each) for each in entry["metadata"]]} for entry in catalog["streams"]
        ]
    }


def read_catalog(catalog: Any) -> list[Selection]:
    """Return what a user's catalog selects, in its order.

    An entry whose stream is unknown is passed over with a warning.

    Raises:
        CatalogError: it is no catalog.
    """
    entries = catalog.get("streams") if isinstance(catalog, dict) else None
    if not isinstance(entries, list):
        raise CatalogError('The catalog is not one: it has no list "streams". Make one with --discover.')
    selections: dict[str, Selection] = {}
    for position, entry in enumerate(entries):
        stream = _known(entry, position)
        selection = _select(stream, entry) if stream else None
        if stream and selection:
            selections.setdefault(stream.tap_stream_id, selection)
    return list(selections.values())


def _entry(stream: Stream) -> dict[str, Any]:
    root: dict[str, Any] = {
        "inclusion": "available",
        "selected-by-default": True,
        "table-key-properties": [stream.key],
        "forced-replication-method": stream.replication_method,
    }
    entry = {
        "tap_stream_id": stream.tap_stream_id,
        "stream": stream.tap_stream_id,
        "schema": stream.schema,
        "key_properties": [stream.key],
        "replication_method": stream.replication_method,
    }
    if stream.replication_key:
        root["valid-replication-keys"] = [stream.replication_key]
        entry["replication_key"] = stream.replication_key
    fields = [
        {"breadcrumb": ["properties", name], "metadata": _field_metadata(stream, name)}
        for name in stream.schema["properties"]
    ]
    return {**entry, "metadata": [{"breadcrumb": [], "metadata": root}, *fields]}


def _field_metadata(stream: Stream, name: str) -> dict[str, Any]:
    return {
        "inclusion": "automatic" if name in stream.automatic else "available",
        "selected-by-default": name not in stream.default_off,
    }


def _chosen(entry: Mapping[str, Any]) -> dict[str, Any]:
    metadata = dict(entry["metadata"])
    return {**entry, "metadata": metadata if entry["breadcrumb"] else {**metadata, "selected": True}}


def _known(entry: Any, position: int) -> Stream | None:
    if not isinstance(entry, dict):
        raise CatalogError(f"The catalog is not one: entry {position} of its streams is no JSON object.")
    name = entry.get("tap_stream_id") or entry.get("stream")
    stream = BY_ID.get(name) if isinstance(name, str) else None
    if stream is None:
        logger.warning("The catalog names a stream that this tap does not have: %s. It is passed over.", name)
    return stream


def _select(stream: Stream, entry: Mapping[str, Any]) -> Selection | None:
    metadata = _metadata_of(entry)
    chosen = _selected(metadata.get((), {}), {}, inherited=_is_true(entry.get("selected")))
    if not chosen:
        return None
    schema = _schema_of(stream, entry)
    fields: dict[str, Any] = {}
    for name, definition in schema["properties"].items():
        breadcrumb = ("properties", name)
        default = _field_metadata(stream, name) if name in stream.schema["properties"] else {}
        if name in stream.automatic or _selected(metadata.get(breadcrumb, {}), default, inherited=True):
            _add(fields, name, definition, metadata, breadcrumb)
    return Selection(stream, fields, prune(schema, fields))


def _add(fields: dict[str, Any], name: str, definition: Any, metadata: Metadata, breadcrumb: Breadcrumb) -> None:
    """Add a selected field and what is selected within it; nothing if that is nothing."""
    inner, path = _object_in(definition, breadcrumb)
    if inner is None:
        fields[name] = None
        return
    nested: dict[str, Any] = {}
    for child, child_definition in inner.items():
        child_path = (*path, "properties", child)
        chosen = metadata.get(child_path) or metadata.get((*breadcrumb, "properties", child), {})
        if _selected(chosen, {}, inherited=True):
            _add(nested, child, child_definition, metadata, child_path)
    if nested:
        fields[name] = nested


def _object_in(definition: Any, breadcrumb: Breadcrumb) -> tuple[Mapping[str, Any] | None, Breadcrumb]:
    """Return the properties of an object, or of an array's objects, and the breadcrumb that they hang on."""
    items = definition.get("items")
    if isinstance(items, dict):
        definition, breadcrumb = items, (*breadcrumb, "items")
    return definition.get("properties") or None, breadcrumb


def prune(schema: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """Return the schema of an object with the selected fields only."""
    properties = {}
    for name, inner in fields.items():
        definition = schema["properties"][name]
        if inner is not None and "items" in definition:
            definition = {**definition, "items": prune(definition["items"], inner)}
        elif inner is not None:
            definition = prune(definition, inner)
        properties[name] = definition
    return {**schema, "properties": properties}


def _schema_of(stream: Stream, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the stream's schema, with the definitions that the user's catalog has for single fields."""
    given = entry.get("schema")
    properties = given.get("properties") if isinstance(given, dict) else None
    if not isinstance(properties, dict):
        return stream.schema
    own = stream.schema["properties"]
    merged = {name: _merged(own[name], properties.get(name)) for name in own}
    return {**stream.schema, "properties": merged}


def _merged(own: Mapping[str, Any], given: Any) -> Mapping[str, Any]:
    usable = isinstance(given, dict) and _shape(given) == _shape(own)
    return given if usable else own


def _shape(definition: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what must agree before a user's definition of a field may stand for the tap's."""
    items = definition.get("items")
    inner = items if isinstance(items, dict) else definition
    properties = inner.get("properties")
    return isinstance(items, dict), sorted(properties) if isinstance(properties, dict) else None


def _metadata_of(entry: Mapping[str, Any]) -> Metadata:
    listed = entry.get("metadata", [])
    if not isinstance(listed, list):
        raise CatalogError(f"The catalog is not one: the metadata of {entry.get('tap_stream_id')} is no list.")
    return {tuple(map(str, each["breadcrumb"])): each["metadata"] for each in listed if _is_metadata(each)}


def _is_metadata(each: Any) -> bool:
    return (
        isinstance(each, dict)
        and isinstance(each.get("breadcrumb"), Sequence)
        and not isinstance(each.get("breadcrumb"), str)
        and isinstance(each.get("metadata"), dict)
    )


def _selected(metadata: Mapping[str, Any], default: Mapping[str, Any], *, inherited: bool | None) -> bool:
    """Return whether a breadcrumb is selected: by the user, else by default, else as what it is part of."""
    choices = (
        metadata.get("selected"),
        metadata.get("selected-by-default"),
        default.get("selected-by-default"),
    )
    known: Iterable[bool | None] = (*map(_is_true, choices), inherited)
    return metadata.get("inclusion") != "unsupported" and next((each for each in known if each is not None), False)


def _is_true(value: Any) -> bool | None:
    """Return a flag as it stands in catalogs: true and false, also as text; None for none."""
    return {"true": True, "false": False}.get(str(value).lower())
