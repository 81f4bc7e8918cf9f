"""A user's catalog to selections: the streams to sync, and the fields of each; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tap_klaviyo.errors import CatalogError
from tap_klaviyo.log import logger
from tap_klaviyo.records.projection import Fields
from tap_klaviyo.singer.catalog import field_metadata
from tap_klaviyo.singer.other_taps import STREAMS_BY_NAME
from tap_klaviyo.streams.model import FULL_TABLE, INCREMENTAL, Stream

Breadcrumb = tuple[str, ...]
Metadata = Mapping[Breadcrumb, Mapping[str, Any]]


@dataclass(frozen=True)
class Selection:
    """A stream to sync.

    Args:
        stream: the stream.
        fields: the fields to emit.
        schema: describes exactly these fields.
        replication_method: the user's choice, else the stream's own. FULL_TABLE reads an event stream from `start_date`
            and removes from the target the rows that were not read.
    """

    stream: Stream
    fields: Fields
    schema: Mapping[str, Any]
    replication_method: str

    @property
    def replication_key(self) -> str | None:
        """The field that the bookmark follows; None if the stream is read in full."""
        return self.stream.replication_key if self.replication_method == INCREMENTAL else None


def read_catalog(catalog: Any) -> list[Selection]:
    """Return what a user's catalog selects, in its order; of entries for the same stream, the first that selects it.

    Catalogs of other taps are understood: an entry is known by its `tap_stream_id`, which may be a metric's id, or
    else by its `stream`, each also under the names of `other_names`; MeltanoLabs' `events` stands for all timelines.
    An entry that is unknown is passed over with a warning.

    Raises:
        CatalogError: it is no catalog.
    """
    entries = catalog.get("streams") if isinstance(catalog, dict) else None
    if not isinstance(entries, list):
        raise CatalogError('The catalog is not one: it has no list "streams". Make one with --discover.')
    selections: dict[str, Selection] = {}
    for position, entry in enumerate(entries):
        for stream in _known(entry, position):
            selection = _select(stream, entry)
            if selection:
                selections.setdefault(stream.name, selection)
    return list(selections.values())


def _known(entry: Any, position: int) -> Sequence[Stream]:
    if not isinstance(entry, dict):
        raise CatalogError(f"The catalog is not one: entry {position} of its streams is no JSON object.")
    names = [name for name in (entry.get("tap_stream_id"), entry.get("stream")) if isinstance(name, str)]
    known: Sequence[Stream] = next((STREAMS_BY_NAME[name] for name in names if name in STREAMS_BY_NAME), ())
    ids = [stream.name for stream in known]
    name = names[-1] if names else None
    if not known:
        logger.warning("The catalog names a stream that this tap does not have: %s. It is passed over.", name)
    elif name not in ids:
        logger.info("What the catalog calls %s is read and written as %s.", name, ", ".join(ids))
    return known


def _select(stream: Stream, entry: Mapping[str, Any]) -> Selection | None:
    metadata = _metadata_of(entry)
    chosen = _selected(metadata.get((), {}), {}, inherited=_selected_outside(entry))
    if not chosen:
        return None
    schema = _schema_of(stream, entry)
    fields: dict[str, Any] = {}
    for name, definition in schema["properties"].items():
        breadcrumb = ("properties", name)
        default = field_metadata(stream, name) if name in stream.schema["properties"] else {}
        if name in stream.automatic or _selected(metadata.get(breadcrumb, {}), default, inherited=True):
            _add(fields, name, definition, metadata, breadcrumb)
    return Selection(stream, fields, prune_schema(schema, fields), replication_method_of(stream, metadata.get((), {})))


def replication_method_of(stream: Stream, root: Mapping[str, Any]) -> str:
    """Return how a stream is read, by the `replication-method` in its root metadata, else as it is read by default.

    Raises:
        CatalogError: the stream cannot be read like this.
    """
    allowed = sorted({stream.replication_method, FULL_TABLE})
    method = root.get("replication-method")
    if method is None:
        return stream.replication_method
    if method in allowed:
        return str(method)
    raise CatalogError(
        f"Invalid catalog: the replication-method of {stream.name} is {json.dumps(method)}; use {' or '.join(allowed)}."
    )


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


def prune_schema(schema: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """Return the schema of an object with the selected fields only."""
    properties = {}
    for name, inner in fields.items():
        definition = schema["properties"][name]
        if inner is not None and "items" in definition:
            definition = {**definition, "items": prune_schema(definition["items"], inner)}
        elif inner is not None:
            definition = prune_schema(definition, inner)
        properties[name] = definition
    return {**schema, "properties": properties}


def _schema_of(stream: Stream, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the stream's schema, with the definitions that the user's catalog has for single fields."""
    given = entry.get("schema")
    properties = given.get("properties") if isinstance(given, dict) else None
    if not isinstance(properties, dict) or _is_foreign(stream, entry, properties):
        return stream.schema
    own = stream.schema["properties"]
    merged = {name: _merged(own[name], properties.get(name)) for name in own}
    return {**stream.schema, "properties": merged}


def _is_foreign(stream: Stream, entry: Mapping[str, Any], properties: Mapping[str, Any]) -> bool:
    """Return whether another tap wrote the entry: it has another name for the stream, or fields that are not ours."""
    name = entry.get("tap_stream_id") or entry.get("stream")
    return name != stream.name or not properties.keys() <= stream.schema["properties"].keys()


def _merged(own: Mapping[str, Any], given: Any) -> Mapping[str, Any]:
    return given if _fits(given, own) else own


def _fits(given: Any, own: Mapping[str, Any]) -> bool:
    """Return whether a user's definition of a field may stand for the tap's: it has the same fields within."""
    if not isinstance(given, dict) or ("items" in given) != ("items" in own):
        return False
    if "items" in own:
        return _fits(given["items"], own["items"])
    theirs, properties = given.get("properties"), own.get("properties")
    if not properties or not isinstance(theirs, dict):
        return not properties and not theirs
    return theirs.keys() == properties.keys() and all(_fits(theirs[name], properties[name]) for name in properties)


def _metadata_of(entry: Mapping[str, Any]) -> Metadata:
    listed = [] if entry.get("metadata") is None else entry["metadata"]
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


def _selected_outside(entry: Mapping[str, Any]) -> bool | None:
    """Return whether an entry is selected where catalogs without metadata say so: beside its schema, or within."""
    schema = entry.get("schema")
    flags = (entry.get("selected"), schema.get("selected") if isinstance(schema, dict) else None)
    return next((each for each in map(_is_true, flags) if each is not None), None)


def _is_true(value: Any) -> bool | None:
    """Return a flag as it stands in catalogs: true and false, also as text; None for none."""
    return {"true": True, "false": False}.get(str(value).lower())
