"""Parses a catalog into entries: checks their structure, and reads flags, breadcrumbs and names.

Everything in an entry is used, rejected with a CatalogError, or named in a warning (see `Ignored`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tap_klaviyo.errors import CatalogError
from tap_klaviyo.file_kinds import name_other_kind
from tap_klaviyo.singer.ignored import Ignored

# The path of a field, such as ("profile", "email"). The empty path is the stream.
FieldPath = tuple[str, ...]

_YES = frozenset({"true", "yes", "on", "y", "t", "1"})
_NO = frozenset({"false", "no", "off", "n", "f", "0"})
_INCLUSIONS = ("available", "automatic", "unsupported")

CATALOG_KEYS = frozenset({"streams"})
ENTRY_KEYS = frozenset(
    {
        *("tap_stream_id", "stream", "schema", "metadata", "selected"),
        *("key_properties", "replication_key", "replication_method"),
    }
)
ROOT_KEYS = frozenset(
    {
        *("selected", "selected-by-default", "inclusion", "replication-method", "replication-key"),
        *("forced-replication-method", "valid-replication-keys", "table-key-properties", "view-key-properties"),
    }
)
FIELD_KEYS = frozenset({"selected", "selected-by-default", "inclusion"})


@dataclass(frozen=True)
class Entry:
    """An entry of a user's catalog.

    Args:
        name: the name in messages: the name of the stream, its id, or its position in the catalog.
        names: the id and the name of the stream, as far as the entry has them.
        schema: the schema. Empty if the entry lacks it.
        metadata: the metadata by field path. `FieldPath()` is the path of the stream.
        values: the unparsed entry.
    """

    name: str
    names: tuple[str, ...]
    schema: Mapping[str, Any]
    metadata: Mapping[FieldPath, Mapping[str, Any]]
    values: Mapping[str, Any] = field(repr=False)

    @property
    def root(self) -> Mapping[str, Any]:
        """The metadata of the stream."""
        return self.metadata.get((), {})

    @property
    def properties(self) -> Mapping[str, Any]:
        """The schemas of the top-level fields. Empty if the entry lacks them."""
        return self.schema.get("properties") or {}


def read_entries(catalog: Any, ignored: Ignored) -> list[Entry]:
    """Return the entries of a catalog.

    Raises:
        CatalogError: the file is not a catalog, or an entry is malformed.
    """
    streams = catalog.get("streams") if isinstance(catalog, dict) else None
    if not isinstance(streams, list):
        if isinstance(catalog, dict) and (other := name_other_kind(catalog, "catalog")):
            raise CatalogError(f"Invalid catalog: this file {other}")
        raise CatalogError('Invalid catalog: "streams" must be an array. Create a catalog with --discover.')
    ignored.add("Ignored keys at the top of the catalog", *sorted(map(str, catalog.keys() - CATALOG_KEYS)))
    return [_read_entry(values, position, ignored) for position, values in enumerate(streams)]


def _read_entry(values: Any, position: int, ignored: Ignored) -> Entry:
    if not isinstance(values, dict):
        raise CatalogError(f"Invalid catalog: streams[{position}] must be an object, not {show_value(values)}.")
    given = [values.get("tap_stream_id"), values.get("stream")]
    names = tuple(each for each in given if isinstance(each, str) and each)
    if wrong := [each for each in given if each is not None and each not in names]:
        raise CatalogError(f"Invalid catalog: the name of streams[{position}] is {show_value(wrong[0])}, not text.")
    name = names[-1] if names else f"streams[{position}]"
    schema = _object_in(values.get("schema"), f"the schema of {name}")
    _object_in(schema.get("properties"), f"the schema's properties of {name}")
    without_effect = [key for key in values if key not in ENTRY_KEYS and values[key] is not None]
    ignored.add("Ignored keys of catalog entries", *(f"{name}: {key}" for key in without_effect))
    return Entry(name, names, schema, _read_metadata(values.get("metadata"), name, ignored), values)


def _object_in(value: Any, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CatalogError(f"Invalid catalog: {what} must be an object, not {show_value(value)}.")
    return value


def _read_metadata(listed: Any, name: str, ignored: Ignored) -> dict[FieldPath, dict[str, Any]]:
    if not isinstance(listed, list | None):
        raise CatalogError(f"Invalid catalog: the metadata of {name} must be an array, not {show_value(listed)}.")
    found: dict[FieldPath, dict[str, Any]] = {}
    for position, each in enumerate(listed or ()):
        where = f"metadata[{position}] of {name}"
        if not isinstance(each, dict) or not isinstance(each.get("metadata"), dict):
            raise CatalogError(f'Invalid catalog: {where} must be an object with "breadcrumb" and "metadata".')
        breadcrumb = each.get("breadcrumb")
        if not isinstance(breadcrumb, list) or not all(isinstance(part, str) for part in breadcrumb):
            raise CatalogError(
                f"Invalid catalog: the breadcrumb in {where} must be an array of texts, such as "
                f'["properties", "id"], not {show_value(breadcrumb)}.'
            )
        path = path_of(breadcrumb)
        if path is None:
            ignored.add("Ignored breadcrumbs, which name no field", f"{name}: {show_value(breadcrumb)}")
            continue
        known = FIELD_KEYS if path else ROOT_KEYS
        field_name = ".".join((name, *path))
        ignored.add("Ignored metadata keys", *(f"{field_name}: {key}" for key in each["metadata"] if key not in known))
        ignored.add("Ignored beside metadata", *(f"{name}: {key}" for key in each.keys() - {"breadcrumb", "metadata"}))
        found[path] = join_metadata(found.get(path, {}), each["metadata"], field_name, ignored)
    return found


def join_metadata(before: Mapping[str, Any], after: Mapping[str, Any], name: str, ignored: Ignored) -> dict[str, Any]:
    """Merge two metadata of a field. The later values win, but a deselected field stays deselected."""
    # "available" is ignored, because discovery writes it for every field.
    chosen = [{key: value for key, value in each.items() if value != "available"} for each in (before, after)]
    differing = [key for key in chosen[0].keys() & chosen[1].keys() if chosen[0][key] != chosen[1][key]]
    ignored.add("Metadata given twice, with different values", *(f"{name}: {key}" for key in differing))
    joined = {**before, **after, **chosen[0], **chosen[1]}
    if any(read_flag(each.get("selected"), name) is False for each in chosen):
        joined["selected"] = False
    return joined


def path_of(breadcrumb: Sequence[str]) -> FieldPath | None:
    """Return the path of the field in a breadcrumb. None if the breadcrumb is invalid.

    For fields in the objects of an array, "items" is optional: Singer tools write
    ["properties", "profile", "items", "properties", "email"], but the patterns of Meltano match only
    ["properties", "profile", "properties", "email"].
    """
    path: list[str] = []
    rest = list(breadcrumb)
    while rest:
        if rest[0] == "items" and path:
            rest = rest[1:]
        if len(rest) < 2 or rest[0] != "properties":
            return None
        path.append(rest[1])
        rest = rest[2:]
    return tuple(path)


def read_flag(value: Any, name: str, key: str = "selected") -> bool | None:
    """Parse a flag, such as true, 1, "true", "yes" or "on", or the opposite. None for null.

    Args:
        value: the value of the flag.
        name: the stream or field, for the message.
        key: the flag's name, for the message.

    Raises:
        CatalogError: the value is not a flag.
    """
    if value is None or isinstance(value, bool):
        return value
    text = str(value).strip().lower() if isinstance(value, str | int) else ""
    if text in _YES:
        return True
    if text in _NO:
        return False
    if text == "null":
        return None
    raise CatalogError(f'Invalid catalog: "{key}" of {name} is {show_value(value)}; use true or false.')


def read_inclusion(metadata: Mapping[str, Any], name: str) -> str | None:
    """Return the inclusion in the metadata. None if it is missing.

    Raises:
        CatalogError: Singer does not define this inclusion.
    """
    inclusion = metadata.get("inclusion")
    if inclusion is None or inclusion in _INCLUSIONS:
        return None if inclusion is None else str(inclusion)
    raise CatalogError(
        f'Invalid catalog: "inclusion" of {name} is {show_value(inclusion)}; use {", ".join(_INCLUSIONS)}.'
    )


def show_value(value: Any) -> str:
    """Return a value as JSON for a message. Long text is shortened."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
