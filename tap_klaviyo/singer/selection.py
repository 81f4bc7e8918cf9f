"""A user's catalog to selections: the streams to sync, their fields and schemas, and how they are read; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from logging import INFO
from typing import Any

from tap_klaviyo.errors import CatalogError
from tap_klaviyo.log import logger
from tap_klaviyo.nearest import with_nearest_name
from tap_klaviyo.records.projection import Fields
from tap_klaviyo.singer.catalog import field_metadata, inner_properties
from tap_klaviyo.singer.entries import (
    Entry,
    FieldPath,
    join_metadata,
    read_entries,
    read_flag,
    read_inclusion,
    show_value,
)
from tap_klaviyo.singer.ignored import Ignored
from tap_klaviyo.singer.other_taps import known_names
from tap_klaviyo.singer.overrides import (
    UNKNOWN_FIELDS,
    legacy_metadata,
    omitted_fields,
    override_schema,
)
from tap_klaviyo.streams.model import FULL_TABLE, INCREMENTAL, METRIC_STREAMS, Stream
from tap_klaviyo.streams.table import STREAMS


@dataclass(frozen=True)
class Selection:
    """A stream to sync.

    Args:
        stream: the stream.
        fields: the fields to emit.
        definitions: the schema of all fields of the stream, with the user's definitions of single ones.
        replication_method: the user's choice, else the stream's own. FULL_TABLE reads an event stream from `start_date`
            and removes from the target the rows that were not read.
    """

    stream: Stream
    fields: Fields
    definitions: Mapping[str, Any]
    replication_method: str

    @cached_property
    def schema(self) -> Mapping[str, Any]:
        """The schema of the fields to emit."""
        return prune_schema(self.definitions, self.fields)

    @property
    def replication_key(self) -> str | None:
        """The field that the bookmark follows; None if the stream is read in full."""
        return self.stream.replication_key if self.replication_method == INCREMENTAL else None


def select_key(stream: Stream) -> Selection:
    """Return the selection of a stream's key and replication key alone."""
    return Selection(stream, dict.fromkeys(sorted(stream.automatic)), stream.schema, stream.replication_method)


def read_catalog(catalog: Any, streams: Sequence[Stream] = STREAMS) -> list[Selection]:
    """Return what a user's catalog selects, in its order; the first entry that selects a stream counts.

    Catalogs of other taps are understood: an entry is known by its `tap_stream_id`, which may be a metric's id, or
    else by its `stream`, each also under the names of `other_names`; MeltanoLabs' `events` means all event
    streams. Warnings name the parts that have no effect.

    Raises:
        CatalogError: it is not a catalog, or it asks for what cannot be.
    """
    ignored, known = Ignored(), known_names(streams)
    selections: dict[str, Selection] = {}
    absent = {stream.name for stream in streams if stream.group == METRIC_STREAMS}
    given = Counter[str]()
    for entry in read_entries(catalog, ignored):
        stream = next((known[name] for name in entry.names if name in known), None)
        if stream is None:
            sentence = f'Ignored a stream of the catalog that this tap does not have: "{entry.name}"'
            logger.warning(
                "%s", with_nearest_name(sentence, entry.name, {name: each.name for name, each in known.items()})
            )
            continue
        absent.discard(stream.name)
        if entry.name != stream.name:
            logger.info("The stream %s of the catalog is read and written as %s.", entry.name, stream.name)
        selection = _select_stream(stream, entry, ignored)
        given[stream.name] += 1
        if selection and stream.name not in selections:
            selections[stream.name] = selection
    several = [name for name in selections if given[name] > 1]
    ignored.add("Of several catalog entries, the first that is selected counts for these streams", *several)
    ignored.add("Streams of metric_streams that the catalog does not have; run --discover again", *sorted(absent))
    ignored.log()
    return list(selections.values())


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


def _select_stream(stream: Stream, entry: Entry, ignored: Ignored) -> Selection | None:
    if not _is_selected(stream.name, _root_metadata(entry, ignored), default=None):
        for path, metadata in entry.metadata.items():
            _is_selected(".".join((stream.name, *path)), metadata, default=False)
        return None
    _name_keys_without_effect(stream, entry, ignored)
    is_own = _is_own(stream, entry)
    if not is_own and entry.name == stream.name:
        ignored.add("Another tap wrote these catalog entries, so their schemas are not used", stream.name, level=INFO)
    omitted: set[FieldPath] = set()
    definitions: Mapping[str, Any] = stream.schema
    if is_own:
        if entry.schema.get("properties") == {}:
            ignored.add("Schemas of the catalog without fields; all fields are emitted, by their metadata", stream.name)
        given = {**entry.schema, "properties": entry.properties or stream.schema["properties"]}
        definitions = override_schema(stream.name, stream.schema, given, ignored, stream.replication_key)
        omitted = omitted_fields(stream.schema, given)
        kept = sorted(f"{stream.name}.{path[0]}" for path in omitted if len(path) == 1 and path[0] in stream.automatic)
        ignored.add("Emitted though the catalog's schema does not have them, because they are keys", *kept)
    elif entry.properties:
        unknown = [name for name in entry.properties if name not in stream.schema["properties"]]
        ignored.add(UNKNOWN_FIELDS, *(f"{stream.name}.{name}" for name in unknown))
    _name_unknown_metadata(stream, entry, omitted, ignored)
    choices = _Choices(stream, entry, definitions, frozenset(omitted), ignored)
    return Selection(stream, choices.fields(), definitions, _replication_method(stream, entry, is_own))


def _is_own(stream: Stream, entry: Entry) -> bool:
    """Return whether this tap discovered the entry, or the user wrote it; its schema counts then.

    Entries of other taps can have our name. Their metadata gives fields an inclusion but no default, which ours does.
    """
    if entry.names[0] != stream.name:
        return False
    if entry.properties.keys() <= stream.schema["properties"].keys():
        return True
    keys = set().union(*(metadata.keys() for path, metadata in entry.metadata.items() if path))
    return "selected-by-default" in keys or "inclusion" not in keys


@dataclass(frozen=True)
class _Choices:
    """What an entry chooses of a stream's fields."""

    stream: Stream
    entry: Entry
    definitions: Mapping[str, Any]
    omitted: frozenset[FieldPath]
    ignored: Ignored

    def fields(self) -> Fields:
        """Return the selected fields."""
        return self._within((), self.definitions["properties"], self.entry.properties, inherited=True)

    def _within(
        self, path: FieldPath, properties: Mapping[str, Any], given: Mapping[str, Any], inherited: bool
    ) -> dict[str, Any]:
        """Return the selected fields of an object; `inherited` is the choice for fields that have none."""
        fields: dict[str, Any] = {}
        for name, definition in properties.items():
            found = self._field((*path, name), definition, given.get(name), inherited)
            if found is not False:
                fields[name] = found or None
        return fields

    def _field(self, path: FieldPath, definition: Mapping[str, Any], given: Any, inherited: bool) -> Any:
        """Return the selected fields within a field, empty for one that is taken whole; False if it is left out."""
        is_automatic = len(path) == 1 and path[0] in self.stream.automatic
        name = ".".join((self.stream.name, *path))
        metadata = self.entry.metadata.get(path, {})
        if legacy := legacy_metadata(given):
            metadata = join_metadata(legacy, metadata, name, self.ignored)
        default = field_metadata(self.stream, path[0])["selected-by-default"] if len(path) == 1 else inherited
        chosen = _is_selected(name, metadata, default=default)
        if is_automatic:
            if _is_refused(metadata, name):
                # Tools that deselect every field with a pattern deselect the keys with them.
                self.ignored.add("Emitted though the catalog deselects them, because they are keys", name, level=INFO)
            return {}
        inner = inner_properties(definition)
        if path in self.omitted or (not chosen and (not inner or _is_refused(metadata, name))):
            return False
        if not inner:
            self._require_whole(path, name)
            return {}
        return self._within(path, inner, _definitions_in(given), inherited=chosen) or False

    def _require_whole(self, path: FieldPath, name: str) -> None:
        """Refuse to leave out fields within a field that the user's schema makes text."""
        within = [each for each in self.entry.metadata if each[: len(path)] == path and each != path]
        for each in filter(partial(_has_field, self.stream), within):
            inner_name = ".".join((self.stream.name, *each))
            if not _is_selected(inner_name, self.entry.metadata[each], default=True):
                raise CatalogError(
                    f"Invalid catalog: {inner_name} cannot be left out, because the schema makes {name} text; "
                    f"keep its type, or leave out {name}."
                )


def _definitions_in(given: Any) -> Mapping[str, Any]:
    """Return the definitions of the fields within a field; empty if another tap's schema has none there."""
    inner = given.get("items", given) if isinstance(given, dict) else None
    properties = inner.get("properties") if isinstance(inner, dict) else None
    return properties if isinstance(properties, dict) else {}


def _is_refused(metadata: Mapping[str, Any], name: str) -> bool:
    """Return whether a field is left out with all that is in it, whatever that says."""
    return read_flag(metadata.get("selected"), name) is False or metadata.get("inclusion") == "unsupported"


def _is_selected(name: str, metadata: Mapping[str, Any], default: bool | None) -> bool:
    """Return whether a stream or field is selected: by the user, else by the catalog's default, else by ours."""
    inclusion = read_inclusion(metadata, name)
    choices = (
        read_flag(metadata.get("selected"), name),
        read_flag(metadata.get("selected-by-default"), name, "selected-by-default"),
        default,
    )
    chosen = next((each for each in choices if each is not None), False)
    return inclusion != "unsupported" and (chosen or (inclusion == "automatic" and name.count(".") > 0))


def _root_metadata(entry: Entry, ignored: Ignored) -> Mapping[str, Any]:
    """Return the stream's metadata, with the choice that catalogs have beside the schema, or in it, joined to it."""
    root = entry.root
    for each in (entry.schema, entry.values):
        selected = read_flag(each.get("selected"), entry.name)
        if selected is not None:
            root = join_metadata({"selected": selected}, root, entry.name, ignored)
    return root


def _replication_method(stream: Stream, entry: Entry, is_own: bool) -> str:
    """Return how a stream is read: as the user's catalog says, else as it is read by default."""
    chosen = entry.root.get("replication-method")
    if chosen is None and is_own:
        # Discovery gives these two, so that they are a choice only where they differ.
        given = (entry.values.get("replication_method"), entry.root.get("forced-replication-method"))
        chosen = next((each for each in given if each not in (None, stream.replication_method)), None)
    if chosen is None:
        return stream.replication_method
    allowed = sorted({stream.replication_method, FULL_TABLE})
    if chosen in allowed:
        return str(chosen)
    raise CatalogError(
        f"Invalid catalog: the replication-method of {stream.name} is {show_value(chosen)}; use {' or '.join(allowed)}."
    )


def _name_keys_without_effect(stream: Stream, entry: Entry, ignored: Ignored) -> None:
    """Add the keys of an entry that would make the stream another, if they differ from ours.

    Raises:
        CatalogError: the user's metadata asks for a replication key that the stream does not have.
    """
    chosen = entry.root.get("replication-key")
    if chosen is not None and chosen != stream.replication_key:
        allowed = f'use "{stream.replication_key}"' if stream.replication_key else "it has none; leave it out"
        raise CatalogError(f"Invalid catalog: the replication-key of {stream.name} is {show_value(chosen)}; {allowed}.")
    keys = list(stream.key)
    replication_keys = [stream.replication_key] if stream.replication_key else None
    ours: Iterable[tuple[str, Any, Any]] = (
        ("key_properties", entry.values.get("key_properties"), keys),
        ("table-key-properties", entry.root.get("table-key-properties"), keys),
        ("view-key-properties", entry.root.get("view-key-properties"), keys),
        ("replication_key", entry.values.get("replication_key"), stream.replication_key),
        ("valid-replication-keys", entry.root.get("valid-replication-keys"), replication_keys),
    )
    for key, given, own in ours:
        if given is not None and given != own and given != (own or []) and [given] != own:
            ignored.add(
                "The keys of a stream are fixed, so these have no effect",
                f"{stream.name}: {key} is {show_value(given)}, ours {show_value(own)}",
            )


def _name_unknown_metadata(stream: Stream, entry: Entry, omitted: set[FieldPath], ignored: Ignored) -> None:
    """Add the fields that only an entry's metadata has: unknown ones, and ones selected but not in its schema."""
    for path, metadata in entry.metadata.items():
        name = ".".join((stream.name, *path))
        if path and not _has_field(stream, path):
            ignored.add(UNKNOWN_FIELDS, name)
        elif metadata.get("selected") is not None and _is_within(path, omitted) and _is_selected(name, metadata, None):
            ignored.add("Left out because the catalog's schema does not have them, although they are selected", name)


def _is_within(path: FieldPath, omitted: set[FieldPath]) -> bool:
    return any(path[:length] in omitted for length in range(1, len(path) + 1))


def _has_field(stream: Stream, path: FieldPath) -> bool:
    properties: Mapping[str, Any] = stream.schema["properties"]
    for name in path:
        if name not in properties:
            return False
        properties = inner_properties(properties[name])
    return True
