"""The catalog that discovery returns, and the default choice for each field; needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import singer

from tap_klaviyo.records.structs import object_definition
from tap_klaviyo.streams.model import DEFAULT_GROUPS, Stream
from tap_klaviyo.streams.table import STREAMS


def discover_catalog(streams: Sequence[Stream] = STREAMS) -> dict[str, Any]:
    """Return the catalog of the streams, whatever the account has. Needs no network."""
    return {"streams": [_stream_entry(stream) for stream in streams]}


def select_defaults(catalog: Mapping[str, Any]) -> dict[str, Any]:
    """Return the catalog with just the streams selected that are selected by default."""
    return {
        "streams": [
            {**entry, "metadata": [_select_by_default(each) for each in entry["metadata"]]}
            for entry in catalog["streams"]
        ]
    }


def _stream_entry(stream: Stream) -> dict[str, Any]:
    entry = {
        "tap_stream_id": stream.name,
        "stream": stream.name,
        "schema": stream.schema,
        "key_properties": list(stream.key),
        "replication_method": stream.replication_method,
        "metadata": _metadata_for(stream),
    }
    return entry | ({"replication_key": stream.replication_key} if stream.replication_key else {})


def _metadata_for(stream: Stream) -> list[dict[str, Any]]:
    known = singer.metadata.to_map(
        singer.metadata.get_standard_metadata(
            schema=stream.schema,
            key_properties=list(stream.key),
            valid_replication_keys=[stream.replication_key] if stream.replication_key else None,
            replication_method=stream.replication_method,
        )
    )
    singer.metadata.write(known, (), "selected-by-default", stream.group in DEFAULT_GROUPS)
    for name in stream.schema["properties"]:
        for key, value in field_metadata(stream, name).items():
            singer.metadata.write(known, ("properties", name), key, value)
    listed = [{**each, "breadcrumb": list(each["breadcrumb"])} for each in singer.metadata.to_list(known)]
    return listed + [
        {"breadcrumb": breadcrumb, "metadata": {"inclusion": "available"}}
        for name, definition in stream.schema["properties"].items()
        for breadcrumb in _nested_breadcrumbs(["properties", name], definition)
    ]


def _nested_breadcrumbs(breadcrumb: list[str], definition: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the breadcrumbs of the fields within a field.

    Those within an array's objects come without "items": Meltano looks up the pattern `open.profile.email` as
    properties.profile.properties.email, and knows only the breadcrumbs that the catalog has.
    """
    for name, inner in inner_properties(definition).items():
        nested = [*breadcrumb, "properties", name]
        yield nested
        yield from _nested_breadcrumbs(nested, inner)


def inner_properties(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the definitions of the fields within an object or an array's objects; empty if it is taken whole."""
    properties: Mapping[str, Any] | None = object_definition(definition).get("properties")
    return properties or {}


def field_metadata(stream: Stream, name: str) -> dict[str, Any]:
    """Return the metadata of a top-level field: whether it can be left out, and whether it is selected by default."""
    return {
        "inclusion": "automatic" if name in stream.automatic else "available",
        "selected-by-default": name not in stream.off,
    }


def _select_by_default(entry: Mapping[str, Any]) -> dict[str, Any]:
    selected = {} if entry["breadcrumb"] else {"selected": entry["metadata"]["selected-by-default"]}
    return {**entry, "metadata": {**entry["metadata"], **selected}}
