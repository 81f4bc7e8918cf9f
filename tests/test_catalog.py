"""The catalog: discovery, and the meaning of a user's selection."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo.singer.catalog import discover_catalog, select_defaults
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.streams.model import CORE
from tap_klaviyo.streams.table import GROUPS, STREAMS

ROOT = Path(__file__).parent.parent
EVENT_STREAMS = {
    "receive", "click", "open", "bounce", "dropped_email", "mark_as_spam", "unsubscribe", "subscribe_list",
    "unsub_list", "update_email_preferences", "clicked_sms", "consented_to_receive", "failed_to_deliver",
    "failed_to_deliver_automated_response", "received_automated_response", "received_sms", "sent_sms",
    "unsubscribed_from_sms",
}  # fmt: skip
KEYS = dict.fromkeys(EVENT_STREAMS, "id") | {"lists": "id", "campaigns": "id", "global_exclusions": "email"}


def metadata_of(entry: dict[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(each["breadcrumb"]): each["metadata"] for each in entry["metadata"]}


def is_default(entry: dict[str, Any]) -> bool:
    return bool(metadata_of(entry)[()]["selected-by-default"])


def test_the_streams_their_keys_and_methods() -> None:
    streams = {each["tap_stream_id"]: each for each in discover_catalog()["streams"] if is_default(each)}
    assert {name: entry["key_properties"] for name, entry in streams.items()} == {n: [k] for n, k in KEYS.items()}
    for name, entry in streams.items():
        root = metadata_of(entry)[()]
        incremental = name in EVENT_STREAMS
        assert entry["stream"] == name
        assert re.fullmatch("[a-z_]+", name)
        assert root["table-key-properties"] == entry["key_properties"]
        assert root["forced-replication-method"] == ("INCREMENTAL" if incremental else "FULL_TABLE")
        assert root.get("valid-replication-keys") == (["timestamp"] if incremental else None)


def test_streams_beyond_the_core_are_not_selected_by_default() -> None:
    others = [each for each in discover_catalog()["streams"] if not is_default(each)]
    assert len(others) > 30
    for entry in others:
        root = metadata_of(entry)[()]
        assert root["selected-by-default"] is False
        assert root["table-key-properties"] == entry["key_properties"]
        assert root["forced-replication-method"] == ("INCREMENTAL" if entry.get("replication_key") else "FULL_TABLE")


def test_no_group_has_the_name_of_a_stream() -> None:
    assert not {*GROUPS, "all"} & {stream.name for stream in STREAMS}
    assert {stream.group for stream in STREAMS} == set(GROUPS)


def test_each_field_has_one_metadata_entry_and_keys_alone_are_automatic() -> None:
    for entry in discover_catalog()["streams"]:
        breadcrumbs = [tuple(each["breadcrumb"]) for each in entry["metadata"]]
        assert len(breadcrumbs) == len(set(breadcrumbs))
        properties = entry["schema"]["properties"]
        assert {each for each in breadcrumbs if len(each) <= 2} == {()} | {("properties", name) for name in properties}
        assert {each for each in breadcrumbs if len(each) > 2} == set(nested(("properties",), properties))
        automatic = {path[1] for path, each in metadata_of(entry).items() if path and each["inclusion"] == "automatic"}
        assert automatic == set(filter(None, [*entry["key_properties"], entry.get("replication_key")]))


def nested(breadcrumb: tuple[str, ...], properties: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the breadcrumbs of the fields within fields, as Meltano writes them: without "items"."""
    for name, definition in properties.items():
        for inner in definition.get("items", definition).get("properties", {}):
            yield (*breadcrumb, name, "properties", inner)
        yield from nested((*breadcrumb, name, "properties"), definition.get("items", definition).get("properties", {}))


def walk(definition: dict[str, Any]) -> list[dict[str, Any]]:
    inner = definition.get("items", definition)
    nested = [each for name in inner.get("properties", {}) for each in walk(inner["properties"][name])]
    return [definition, *nested]


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_schemas_are_such_that_every_target_loads_them(stream: Any) -> None:
    for name, field in stream.schema["properties"].items():
        for definition in walk(field):
            kinds = [kind for kind in definition["type"] if kind != "null"]
            assert len(kinds) == 1, (name, definition)
            assert ("items" in definition) == (kinds == ["array"])
            assert not {"anyOf", "oneOf", "allOf", "$ref"} & definition.keys()
            assert definition.get("description", "").strip() or "items" in definition, (name, definition)
    assert stream.schema["properties"][stream.key[0]]["type"] == ["string"]


def test_the_committed_catalog_is_discovery_with_the_core_selected() -> None:
    assert json.loads((ROOT / "catalog.json").read_text()) == select_defaults(discover_catalog())


def test_without_a_selection_the_core_streams_are_synced_without_the_costly_fields() -> None:
    selections = read_catalog(discover_catalog())
    assert [each.stream.name for each in selections] == [stream.name for stream in STREAMS if stream.group == CORE]
    fields = {each.stream.name: set(each.fields) for each in selections}
    for stream in (each.stream for each in selections):
        assert fields[stream.name] == stream.schema["properties"].keys() - stream.off
    assert "attributions" not in fields["open"]
    assert "predictive_analytics" not in fields["global_exclusions"]
