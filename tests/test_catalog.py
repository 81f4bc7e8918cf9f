"""The catalog: what is discovered, and what a user's selection means."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo.errors import CatalogError
from tap_klaviyo.singer.catalog import discover_catalog, select_all
from tap_klaviyo.singer.selection import Selection, read_catalog
from tap_klaviyo.streams.table import STREAMS

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


def chosen(stream: str, **selected: object) -> list[Selection]:
    """Return what a catalog selects that has one stream, with `selected` at the named fields (`root` the stream)."""
    (entry,) = [copy.deepcopy(each) for each in discover_catalog()["streams"] if each["stream"] == stream]
    for name, value in selected.items():
        breadcrumb = [] if name == "root" else ["properties", *name.split("__")]
        entry["metadata"] = [each for each in entry["metadata"] if each["breadcrumb"] != breadcrumb] + [
            {"breadcrumb": breadcrumb, "metadata": {**metadata_of(entry).get(tuple(breadcrumb), {}), "selected": value}}
        ]
    return read_catalog({"streams": [entry]})


def test_the_streams_their_keys_and_methods() -> None:
    streams = {entry["tap_stream_id"]: entry for entry in discover_catalog()["streams"]}
    assert {name: entry["key_properties"] for name, entry in streams.items()} == {n: [k] for n, k in KEYS.items()}
    for name, entry in streams.items():
        root = metadata_of(entry)[()]
        incremental = name in EVENT_STREAMS
        assert entry["stream"] == name
        assert re.fullmatch("[a-z_]+", name)
        assert root["table-key-properties"] == entry["key_properties"]
        assert root["forced-replication-method"] == ("INCREMENTAL" if incremental else "FULL_TABLE")
        assert root.get("valid-replication-keys") == (["timestamp"] if incremental else None)
        assert root["selected-by-default"] is True


def test_each_field_has_one_metadata_entry_and_keys_alone_are_automatic() -> None:
    for entry in discover_catalog()["streams"]:
        breadcrumbs = [tuple(each["breadcrumb"]) for each in entry["metadata"]]
        assert len(breadcrumbs) == len(set(breadcrumbs))
        assert set(breadcrumbs) == {()} | {("properties", name) for name in entry["schema"]["properties"]}
        automatic = {path[1] for path, each in metadata_of(entry).items() if path and each["inclusion"] == "automatic"}
        assert automatic == set(filter(None, [*entry["key_properties"], entry.get("replication_key")]))


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


def test_the_committed_catalog_is_discovery_with_all_streams_selected() -> None:
    assert json.loads((ROOT / "catalog.json").read_text()) == select_all(discover_catalog())


def test_without_a_choice_all_streams_are_synced_but_for_the_costly_fields() -> None:
    selections = read_catalog(discover_catalog())
    assert [each.stream.name for each in selections] == [stream.name for stream in STREAMS]
    fields = {each.stream.name: set(each.fields) for each in selections}
    for stream in STREAMS:
        assert fields[stream.name] == stream.schema["properties"].keys() - stream.off
    assert "attributions" not in fields["open"]
    assert "predictive_analytics" not in fields["global_exclusions"]


@pytest.mark.parametrize("no", [False, "false", "False"])
def test_a_deselected_stream_is_left_out(no: object) -> None:
    assert chosen("open", root=no) == []
    assert chosen("open", root=True) != []


def test_automatic_fields_stay_even_if_deselected_as_meltano_writes_them() -> None:
    names = discover_catalog()["streams"][0]["schema"]["properties"]
    (selection,) = chosen("receive", **dict.fromkeys(names, False))
    assert selection.fields == {"id": None, "timestamp": None}
    assert list(selection.schema["properties"]) == ["id", "timestamp"]


@pytest.mark.parametrize("path", ["profile__items__properties__email", "profile__properties__email"])
def test_nested_fields_are_deselected_by_either_breadcrumb(path: str) -> None:
    (selection,) = chosen("open", **{path: False})
    profile = selection.fields["profile"]
    assert profile is not None
    assert "email" not in profile
    assert "first_name" in profile
    assert "email" not in selection.schema["properties"]["profile"]["items"]["properties"]


def test_a_parent_none_of_whose_children_is_selected_is_left_out() -> None:
    children = discover_catalog()["streams"][0]["schema"]["properties"]["metric"]["items"]["properties"]
    (selection,) = chosen("open", **{f"metric__items__properties__{name}": False for name in children})
    assert "metric" not in selection.fields


def test_fields_off_by_default_can_be_selected() -> None:
    (selection,) = chosen("open", attributions=True)
    assert "flow_id" in (selection.fields["attributions"] or {})


def test_the_order_is_the_catalogs_and_a_stream_counts_once() -> None:
    entries = {entry["stream"]: entry for entry in discover_catalog()["streams"]}
    catalog = {"streams": [entries["lists"], entries["open"], entries["lists"]]}
    assert [each.stream.name for each in read_catalog(catalog)] == ["lists", "open"]


def test_an_entry_by_hand_with_only_the_stream_selected_takes_the_defaults() -> None:
    entry = {"tap_stream_id": "open", "metadata": [{"breadcrumb": [], "metadata": {"selected": True}}]}
    assert read_catalog({"streams": [entry]}) == [
        each for each in read_catalog(discover_catalog()) if each.stream.name == "open"
    ]
    assert read_catalog({"streams": [{"tap_stream_id": "open", "selected": True}]}) != []


def test_a_users_definition_of_a_field_is_what_the_target_gets() -> None:
    (entry,) = [copy.deepcopy(each) for each in discover_catalog()["streams"] if each["stream"] == "lists"]
    entry["schema"]["properties"]["name"] = {"type": ["null", "string"], "maxLength": 40}
    (selection,) = read_catalog({"streams": [entry]})
    assert selection.schema["properties"]["name"] == {"type": ["null", "string"], "maxLength": 40}


def test_unknown_streams_are_passed_over() -> None:
    assert read_catalog({"streams": [{"tap_stream_id": "nothing"}, {"tap_stream_id": None}]}) == []


@pytest.mark.parametrize(
    "catalog",
    [None, [], {}, "x", {"streams": {}}, {"streams": [1]}, {"streams": [{"tap_stream_id": "open", "metadata": 1}]}],
)
def test_what_is_no_catalog_is_refused(catalog: object) -> None:
    with pytest.raises(CatalogError, match="The catalog is not one"):
        read_catalog(catalog)
