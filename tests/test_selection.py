"""A user's catalog: what it selects, overrides and leaves out, and that nothing in it is ignored in silence."""

from __future__ import annotations

import copy
import logging
import random
import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest

from tap_klaviyo.errors import CatalogError
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.entries import path_of, show_value
from tap_klaviyo.singer.selection import Selection, read_catalog

Json = dict[str, Any]


def entry_of(stream: str) -> Json:
    """Return a stream's entry as discovery gives it."""
    (entry,) = [each for each in discover_catalog()["streams"] if each["stream"] == stream]
    own: Json = copy.deepcopy(entry)
    return own


def read_entry(*entries: Json) -> Selection:
    (selection,) = read_catalog({"streams": list(entries)})
    return selection


def metadata_of(entry: Json, *path: str) -> Json:
    """Return the metadata of a field, or of the stream."""
    (found,) = [each["metadata"] for each in entry["metadata"] if path_of(each["breadcrumb"]) == path]
    metadata: Json = found
    return metadata


def chosen(stream: str, **selected: object) -> list[Selection]:
    """Return what an entry selects with `selected` at the named fields, "__" for a dot; `root` is the stream."""
    entry = entry_of(stream)
    for name, value in selected.items():
        metadata_of(entry, *([] if name == "root" else name.split("__")))["selected"] = value
    return read_catalog({"streams": [entry]})


def inner(definition: Json) -> Json:
    properties: Json = definition.get("items", definition)["properties"]
    return properties


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("tap_klaviyo")
    logger.addHandler(caplog.handler)
    with caplog.at_level("WARNING", "tap_klaviyo"):
        yield caplog
    logger.removeHandler(caplog.handler)


def test_discovery_as_it_is_has_no_warning(said: pytest.LogCaptureFixture) -> None:
    assert read_catalog(discover_catalog())
    assert said.messages == []


@pytest.mark.parametrize("no", [False, 0, "false", "False", "no", "off", "0", "N", " f "])
def test_a_deselected_stream_is_left_out(no: object) -> None:
    assert chosen("open", root=no) == []


@pytest.mark.parametrize("yes", [True, 1, "true", "TRUE", "yes", "on", "1"])
def test_a_field_off_by_default_can_be_selected(yes: object) -> None:
    (selection,) = chosen("open", root=yes, attributions=yes)
    assert "flow_id" in (selection.fields["attributions"] or {})


@pytest.mark.parametrize("unset", [None, "null"])
def test_null_leaves_the_default(unset: object) -> None:
    assert chosen("open", root=unset, uuid=unset, attributions=unset) == chosen("open")


@pytest.mark.parametrize("odd", ["", "maybe", 2, -1, 1.5, [], [True], {}, {"selected": True}, "None"])
@pytest.mark.parametrize("name", ["root", "uuid", "profile__email"])
@pytest.mark.parametrize("key", ["selected", "selected-by-default"])
def test_a_flag_that_is_neither_true_nor_false_is_refused_by_name(name: str, key: str, odd: object) -> None:
    entry, path = entry_of("open"), [] if name == "root" else name.split("__")
    metadata_of(entry, *path)[key] = odd
    with pytest.raises(CatalogError, match=re.escape(f'"{key}" of {".".join(["open", *path])} is ')):
        read_catalog({"streams": [entry]})


def test_a_flag_is_refused_in_a_stream_that_is_not_selected_too() -> None:
    with pytest.raises(CatalogError, match=r'"selected" of open.uuid is "ja"'):
        chosen("open", root=False, uuid="ja")


def test_automatic_fields_stay_even_if_deselected_as_meltano_writes_them(said: pytest.LogCaptureFixture) -> None:
    (selection,) = chosen("receive", **dict.fromkeys(entry_of("receive")["schema"]["properties"], False))
    assert selection.fields == {"id": None, "timestamp": None}
    assert list(selection.schema["properties"]) == ["id", "timestamp"]
    assert said.messages == []


@pytest.mark.parametrize("between", [[], ["items"]])
def test_nested_fields_are_deselected_by_either_breadcrumb(between: list[str]) -> None:
    entry = entry_of("open")
    breadcrumb = ["properties", "profile", *between, "properties", "email"]
    entry["metadata"].append({"breadcrumb": breadcrumb, "metadata": {"selected": False}})
    selection = read_entry(entry)
    assert (selection.fields["profile"] or {}).keys() == inner(entry["schema"]["properties"]["profile"]).keys() - {
        "email"
    }
    assert "email" not in inner(selection.schema["properties"]["profile"])


@pytest.mark.parametrize("first", [True, False])
def test_a_field_that_two_breadcrumbs_differ_on_stays_out_and_is_named(
    first: bool, said: pytest.LogCaptureFixture
) -> None:
    entry = entry_of("open")
    metadata_of(entry, "profile", "email")["selected"] = first
    breadcrumb = ["properties", "profile", "items", "properties", "email"]
    entry["metadata"].append({"breadcrumb": breadcrumb, "metadata": {"selected": not first}})
    assert "email" not in (read_entry(entry).fields["profile"] or {})
    assert said.messages == ["Metadata given twice, with different values: open.profile.email: selected."]


def test_a_parent_none_of_whose_children_is_selected_is_left_out() -> None:
    names = inner(entry_of("open")["schema"]["properties"]["metric"])
    (selection,) = chosen("open", **{f"metric__{name}": False for name in names})
    assert "metric" not in selection.fields


def test_a_parent_off_by_default_has_just_the_children_that_are_selected() -> None:
    (selection,) = chosen("open", attributions__flow_id=True)
    assert selection.fields["attributions"] == {"flow_id": None}
    assert "attributions" not in chosen("open", attributions=False, attributions__flow_id=True)[0].fields


@pytest.mark.parametrize(("inclusion", "is_there"), [("unsupported", False), ("automatic", True), (None, True)])
def test_inclusion_is_used(inclusion: object, is_there: bool) -> None:
    entry = entry_of("open")
    metadata_of(entry, "uuid").update(inclusion=inclusion, selected=inclusion is None)
    assert ("uuid" in read_entry(entry).fields) is is_there
    metadata_of(entry, "uuid")["inclusion"] = "sometimes"
    with pytest.raises(CatalogError, match=r'"inclusion" of open\.uuid is "sometimes"; use available'):
        read_entry(entry)


def test_the_order_is_the_catalogs_and_a_stream_counts_once(said: pytest.LogCaptureFixture) -> None:
    catalog = {"streams": [entry_of("lists"), entry_of("open"), entry_of("lists")]}
    assert [each.stream.name for each in read_catalog(catalog)] == ["lists", "open"]
    assert said.messages == ["Of several catalog entries, the first that is selected counts for these streams: lists."]


@pytest.mark.parametrize("first", [False, True])
def test_a_second_entry_that_is_not_selected_is_named(first: bool, said: pytest.LogCaptureFixture) -> None:
    entries = [{**entry_of("lists"), "metadata": [], "selected": is_selected} for is_selected in (first, not first)]
    assert [each.stream.name for each in read_catalog({"streams": entries})] == ["lists"]
    assert said.messages == ["Of several catalog entries, the first that is selected counts for these streams: lists."]


@pytest.mark.parametrize("change", [{"selected": False}, {"selected": "no"}, {"inclusion": "unsupported"}])
def test_a_key_that_is_deselected_is_emitted_and_named(
    change: dict[str, object], said: pytest.LogCaptureFixture
) -> None:
    entry = entry_of("global_exclusions")
    metadata_of(entry, "email").update(change)
    with said.at_level("INFO", "tap_klaviyo"):
        assert "email" in read_entry(entry).fields
    named = "Emitted though the catalog deselects them, because they are keys: global_exclusions.email."
    assert said.messages == [named]


def test_a_schema_without_fields_is_named(said: pytest.LogCaptureFixture) -> None:
    read_entry({**entry_of("open"), "schema": {"properties": {}}})
    named = "Schemas of the catalog without fields; all fields are emitted, by their metadata: open."
    assert said.messages == [named]


def test_an_entry_by_hand_with_only_the_stream_selected_takes_the_defaults() -> None:
    entry = {"tap_stream_id": "open", "metadata": [{"breadcrumb": [], "metadata": {"selected": True}}]}
    assert read_entry(entry) == read_entry(entry_of("open"))
    assert read_entry({"tap_stream_id": "open", "selected": True}) == read_entry(entry_of("open"))


# The schema: fields taken out of it, and definitions of single fields.


@pytest.mark.parametrize("schema", [None, {}, {"type": "object"}, {"properties": {}}, {"properties": None}])
def test_an_entry_without_a_schema_or_with_an_empty_one_takes_the_defaults(schema: object) -> None:
    assert read_entry({**entry_of("open"), "schema": schema}) == read_entry(entry_of("open"))
    entry = entry_of("open")
    del entry["schema"]
    assert read_entry(entry) == read_entry(entry_of("open"))


@pytest.mark.parametrize("is_by_hand", [False, True])
def test_fields_taken_out_of_the_schema_are_not_emitted(is_by_hand: bool, said: pytest.LogCaptureFixture) -> None:
    entry = entry_of("open")
    properties = entry["schema"]["properties"]
    del properties["event_properties"]
    del properties["id"]
    del inner(properties["profile"])["email"]
    del inner(inner(properties["profile"])["location"])["ip"]
    if is_by_hand:
        entry = {"tap_stream_id": "open", "schema": entry["schema"], "selected": True}
    selection = read_entry(entry)
    assert said.messages == ["Emitted though the catalog's schema does not have them, because they are keys: open.id."]
    expected: Json = copy.deepcopy(dict(read_entry(entry_of("open")).fields))
    del expected["event_properties"]
    del expected["profile"]["email"]
    del expected["profile"]["location"]["ip"]
    assert selection.fields == expected
    assert selection.schema["properties"]["id"] == entry_of("open")["schema"]["properties"]["id"]
    assert "email" not in inner(selection.schema["properties"]["profile"])


def test_a_field_selected_but_not_in_the_schema_is_left_out_and_named(said: pytest.LogCaptureFixture) -> None:
    entry = entry_of("open")
    del entry["schema"]["properties"]["uuid"]
    metadata_of(entry, "uuid")["selected"] = True
    assert "uuid" not in read_entry(entry).fields
    assert said.messages == [
        "Left out because the catalog's schema does not have them, although they are selected: open.uuid."
    ]


def test_a_schema_with_unknown_fields_leaves_out_what_it_does_not_have_and_names_them(
    said: pytest.LogCaptureFixture,
) -> None:
    entry = entry_of("open")
    properties = entry["schema"]["properties"]
    del properties["profile"]
    properties["mood"] = {"type": ["null", "string"]}
    inner(properties["metric"])["colour"] = {"type": ["null", "string"]}
    properties["event_properties"] = {"type": ["null", "string"]}
    selection = read_entry(entry)
    assert "profile" not in selection.fields
    assert selection.schema["properties"]["event_properties"] == {"type": ["null", "string"]}
    assert said.messages == [
        "Ignored fields of the catalog, which this tap does not have: open.mood, open.metric.colour."
    ]


NULLABLE_TEXT = {"type": ["null", "string"]}


@pytest.mark.parametrize(
    ("stream", "path", "definition"),
    [
        ("open", "event_properties", NULLABLE_TEXT),
        ("open", "event_properties", {"type": ["null", "object"], "description": "Other words.", "title": "P"}),
        ("open", "event_properties", {"type": ["string", "null"], "default": None}),
        ("open", "timestamp", {"type": ["null", "number"]}),
        ("open", "datetime", NULLABLE_TEXT),
        ("open", "id", {"type": "string"}),
        ("open", "id", {"type": ["null", "string"]}),
        ("open", "profile.properties", NULLABLE_TEXT),
        ("open", "profile", NULLABLE_TEXT),
        ("open", "profile.location", NULLABLE_TEXT),
        ("campaigns", "audiences", NULLABLE_TEXT),
        ("open", "profile.location.city", {"type": ["null", "string"], "maxLength": 40}),
        ("open", "metric.integration", {"type": ["null", "object"], "additionalProperties": True}),
        ("campaigns", "archived", NULLABLE_TEXT),
        ("lists", "name", {"type": ["null", "string"], "maxLength": 40}),
        ("reviews", "created", NULLABLE_TEXT),
    ],
)
def test_a_definition_that_records_can_fit_is_what_the_target_gets(stream: str, path: str, definition: Json) -> None:
    entry = entry_of(stream)
    metadata_of(entry)["selected"] = True
    *parents, name = path.split(".")
    override(entry, parents)[name] = definition
    found = read_entry(entry)
    given = entry_of(stream)["schema"]
    override({"schema": given}, parents)[name] = definition
    for each in ("attributions",):
        given["properties"].pop(each, None)
    assert found.schema == given


def test_the_choice_of_a_stream_in_its_schema_is_not_part_of_the_schema() -> None:
    entry = entry_of("lists")
    assert read_entry({**entry, "schema": {**entry["schema"], "selected": True}}).schema == entry["schema"]


@pytest.mark.parametrize(
    ("breadcrumb", "path"),
    [
        ([], ()),
        (["properties", "profile", "properties", "email"], ("profile", "email")),
        (["properties", "profile", "items", "properties", "email"], ("profile", "email")),
        (["items", "properties", "profile"], None),
        (["properties"], None),
        (["profile"], None),
        (["fields", "profile"], None),
        (["properties", "profile", "items"], None),
    ],
)
def test_a_breadcrumb_names_a_field_at_any_depth(breadcrumb: list[str], path: tuple[str, ...] | None) -> None:
    assert path_of(breadcrumb) == path


@pytest.mark.parametrize(
    ("value", "text"), [({"a": None}, '{"a": null}'), ("x" * 100, f'"{"x" * 56}...'), ({1: date(2026, 1, 31)}, "31")]
)
def test_a_value_in_a_message_is_json_and_short(value: object, text: str) -> None:
    assert text in show_value(value)
    assert len(show_value(value)) <= 60


def test_null_in_the_schema_is_no_choice(said: pytest.LogCaptureFixture) -> None:
    entry = entry_of("lists")
    metadata_of(entry, "name")["selected"] = True
    entry["schema"]["properties"]["name"]["selected"] = None
    assert "name" in read_entry(entry).schema["properties"]
    assert said.messages == []


@pytest.mark.parametrize("wrong", [{"selected": "maybe"}, {"inclusion": "perhaps"}])
def test_a_wrong_choice_in_the_schema_is_refused(wrong: Json) -> None:
    entry = entry_of("lists")
    entry["metadata"] = []
    entry["schema"]["properties"]["name"].update(wrong)
    with pytest.raises(CatalogError, match=rf'"{next(iter(wrong))}" of lists\.name is "'):
        read_catalog({"streams": [{**entry, "selected": True}]})


def override(entry: Json, parents: list[str]) -> Json:
    properties: Json = entry["schema"]["properties"]
    for parent in parents:
        properties = inner(properties[parent])
    return properties


@pytest.mark.parametrize(
    ("path", "definition", "sentence"),
    [
        ("event_properties", {"type": "object"}, '["null", "object"] or ["null", "string"]'),
        ("event_properties", {"type": ["null", "array"]}, '["null", "object"] or ["null", "string"]'),
        ("event_properties", {"type": ["null", "object", "string"]}, '["null", "object"] or ["null", "string"]'),
        ("event_properties", {}, "has no type; use"),
        ("event_properties", {"type": 5}, "has the type 5; use"),
        ("event_properties", {"type": [["string"]]}, "use"),
        ("event_properties", {"type": ["null", "strng"]}, "use"),
        ("event_properties", {"type": ["null"]}, "use"),
        ("event_properties", None, "not null"),
        ("event_properties", "string", 'not "string"'),
        ("event_properties", True, "not true"),
        ("event_properties", {"type": ["null", "object"], "properties": {"a": {}}}, '{"properties": {"a": {}}}'),
        ("event_properties", {"type": ["null", "object"], "additionalProperties": False}, "additionalProperties"),
        ("event_properties", {"type": ["null", "object"], "required": ["x"]}, "required"),
        ("timestamp", NULLABLE_TEXT, 'makes the replication key text; use ["null", "integer"].'),
        ("uuid", {"type": ["null", "integer"]}, 'use ["null", "string"].'),
        ("uuid", {"type": ["null", "string", 5]}, 'use ["null", "string"].'),
        ("uuid", {"type": ["null", "string"], "format": "date-time"}, '{"format": "date-time"}'),
        ("uuid", {"type": ["null", "string"], "enum": ["a"]}, '{"enum": ["a"]}'),
        ("uuid", {"type": ["null", "string"], "pattern": "^a"}, '{"pattern": "^a"}'),
        ("uuid", {"type": ["null", "string"], "minLength": 1}, '{"minLength": 1}'),
        ("uuid", {"type": ["null", "string"], "maxLength": 0}, '{"maxLength": 0}'),
        ("uuid", {"type": ["null", "string"], "maxLength": "9"}, '{"maxLength": "9"}'),
        ("uuid", {"type": ["null", "string"], "maxLength": True}, '{"maxLength": true}'),
        ("uuid", {"$ref": "#/definitions/x"}, "has no type"),
        ("uuid", {"anyOf": [{"type": "string"}]}, "has no type"),
        ("datetime", {"type": ["null", "string"], "format": "date"}, '{"format": "date"}'),
        ("datetime", {"type": ["null", "string"], "maxLength": 10}, '{"maxLength": 10}'),
        ("timestamp", {"type": ["null", "integer"], "minimum": 0}, '{"minimum": 0}'),
        ("timestamp", {"type": ["null", "integer"], "multipleOf": 2}, '{"multipleOf": 2}'),
        ("profile", {"type": ["null", "object"]}, 'use ["null", "array"] or ["null", "string"].'),
        ("profile", {**NULLABLE_TEXT, "maxLength": 9}, '{"maxLength": 9}'),
        ("profile", {"type": ["null", "array"]}, 'must keep its "items"'),
        ("profile", {**entry_of("open")["schema"]["properties"]["profile"], "minItems": 1}, '{"minItems": 1}'),
        ("profile", {"type": ["null", "array"], "items": {}}, 'must keep its "properties"'),
        ("profile.location", {"type": ["null", "object"]}, 'must keep its "properties"'),
        ("profile.location", {"type": ["null", "object"], "properties": {}}, 'must keep its "properties"'),
        ("profile.location.zip", {"type": ["null", "number"]}, 'use ["null", "string"].'),
    ],
)
def test_a_definition_that_records_cannot_fit_is_refused_by_name(path: str, definition: object, sentence: str) -> None:
    entry = entry_of("open")
    *parents, name = path.split(".")
    override(entry, parents)[name] = definition
    with pytest.raises(CatalogError, match=rf"^Invalid catalog: the schema of open\.{path} .*{re.escape(sentence)}"):
        read_entry(entry)


def test_a_field_within_one_that_the_schema_makes_text_cannot_be_left_out() -> None:
    entry = entry_of("open")
    entry["schema"]["properties"]["profile"] = NULLABLE_TEXT
    for name in inner(entry_of("open")["schema"]["properties"]["profile"]):
        metadata_of(entry, "profile", name)["selected"] = True
    assert read_entry(entry).schema["properties"]["profile"] == NULLABLE_TEXT
    metadata_of(entry, "profile", "location", "ip")["selected"] = False
    with pytest.raises(
        CatalogError, match=r"open\.profile\.location\.ip cannot be left out, .* makes open\.profile text"
    ):
        read_entry(entry)


@pytest.mark.parametrize(
    ("key", "value"), [("required", ["uuid"]), ("minProperties", 20), ("type", "array"), ("anyOf", []), ("x", 1)]
)
@pytest.mark.parametrize("path", ["", "profile", "profile.location"])
def test_a_keyword_of_an_object_that_records_cannot_fit_is_refused(path: str, key: str, value: object) -> None:
    entry = entry_of("open")
    schema = entry["schema"]
    for name in filter(None, path.split(".")):
        schema = schema["properties"][name]
        schema = schema.get("items", schema)
    schema[key] = value
    with pytest.raises(CatalogError, match=".".join(filter(None, ("the schema of open", path)))):
        read_entry(entry)


def test_what_an_object_says_to_the_target_is_passed_on() -> None:
    entry = entry_of("lists")
    entry["schema"]["additionalProperties"] = False
    entry["schema"]["properties"]["tags"]["items"]["additionalProperties"] = False
    schema = read_entry(entry).schema
    assert schema["additionalProperties"] is schema["properties"]["tags"]["items"]["additionalProperties"] is False


def test_selection_within_the_schema_as_old_catalogs_have_it() -> None:
    entry = entry_of("open")
    entry["schema"]["properties"]["uuid"]["selected"] = "false"
    entry["schema"]["properties"]["metric_id"]["selected"] = True
    inner(entry["schema"]["properties"]["profile"])["email"]["inclusion"] = "unsupported"
    selection = read_entry(entry)
    assert "uuid" not in selection.fields
    assert "email" not in (selection.fields["profile"] or {})
    assert "selected" not in str(selection.schema)


# Keys, methods, names.


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ("entry", "key_properties", ["uuid"]),
        ("entry", "key_properties", []),
        ("root", "table-key-properties", ["id", "uuid"]),
        ("root", "view-key-properties", "uuid"),
        ("root", "valid-replication-keys", ["datetime"]),
        ("entry", "replication_key", "datetime"),
    ],
)
def test_keys_that_are_not_ours_are_named(where: str, key: str, value: object, said: pytest.LogCaptureFixture) -> None:
    entry = entry_of("open")
    (entry if where == "entry" else metadata_of(entry))[key] = value
    assert read_entry(entry) == read_entry(entry_of("open"))
    assert len(said.messages) == 1
    assert re.match(f"The keys of a stream are fixed, .*: open: {key} is .*, ours ", said.messages[0])


@pytest.mark.parametrize(("stream", "allowed"), [("open", 'use "timestamp"'), ("lists", "it has none; leave it out")])
def test_another_replication_key_is_refused(stream: str, allowed: str) -> None:
    entry = entry_of(stream)
    metadata_of(entry)["replication-key"] = "datetime"
    with pytest.raises(CatalogError, match=f'the replication-key of {stream} is "datetime"; {allowed}'):
        read_entry(entry)


@pytest.mark.parametrize(("where", "key"), [("entry", "replication_method"), ("root", "forced-replication-method")])
def test_the_replication_method_of_an_entry_is_used_or_refused(where: str, key: str) -> None:
    entry = entry_of("open")
    (entry if where == "entry" else metadata_of(entry))[key] = "FULL_TABLE"
    assert read_entry(entry).replication_method == "FULL_TABLE"
    metadata_of(entry)["replication-method"] = "INCREMENTAL"
    assert read_entry(entry).replication_method == "INCREMENTAL"
    lists = entry_of("lists")
    (lists if where == "entry" else metadata_of(lists))[key] = "INCREMENTAL"
    with pytest.raises(CatalogError, match='the replication-method of lists is "INCREMENTAL"; use FULL_TABLE'):
        read_entry(lists)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda entry: entry.update(stream_alias="opens"), "Ignored keys of catalog entries: open: stream_alias."),
        (lambda entry: metadata_of(entry).update(slected=True), "Ignored metadata keys: open: slected."),
        (
            lambda entry: metadata_of(entry, "profile", "email").update({"sql-datatype": "text"}),
            "Ignored metadata keys: open.profile.email: sql-datatype.",
        ),
        (
            lambda entry: entry["metadata"].append({"breadcrumb": ["properties", "mood"], "metadata": {}}),
            "Ignored fields of the catalog, which this tap does not have: open.mood.",
        ),
        (
            lambda entry: entry["metadata"].append({"breadcrumb": ["profile"], "metadata": {"selected": False}}),
            'Ignored breadcrumbs, which name no field: open: ["profile"].',
        ),
        (
            lambda entry: entry["metadata"][0].update(selected=False),
            "Ignored beside metadata: open: selected.",
        ),
    ],
)
def test_parts_without_effect_are_named(
    change: Callable[[Json], object], sentence: str, said: pytest.LogCaptureFixture
) -> None:
    entry = entry_of("open")
    change(entry)
    assert read_entry(entry) == read_entry(entry_of("open"))
    assert said.messages == [sentence]


def test_a_warning_is_one_line_however_many_names_it_has(said: pytest.LogCaptureFixture) -> None:
    entry = entry_of("open")
    entry["schema"]["properties"].update({f"x{number}": NULLABLE_TEXT for number in range(100)})
    read_entry(entry)
    (sentence,) = said.messages
    assert sentence.endswith("open.x10, open.x11 and 88 more.")
    assert len(sentence) < 300


def test_unknown_streams_are_named_with_the_nearest(said: pytest.LogCaptureFixture) -> None:
    names = ["Opens", "opened_emails", None]
    assert read_catalog({"streams": [{"tap_stream_id": each} for each in names], "version": 1}) == []
    assert said.messages == [
        'Ignored a stream of the catalog that this tap does not have: "Opens"; did you mean "open"?',
        'Ignored a stream of the catalog that this tap does not have: "opened_emails"; did you mean "open"?',
        'Ignored a stream of the catalog that this tap does not have: "streams[2]".',
        "Ignored keys at the top of the catalog: version.",
    ]


@pytest.mark.parametrize(
    ("value", "kind"),
    [({"bookmarks": {}}, "state"), ({"api_key": "pk_secret"}, "config"), ({"start_date": 1}, "config")],
)
def test_another_file_is_not_a_catalog(value: Json, kind: str) -> None:
    with pytest.raises(CatalogError, match=f"this file is a {kind}. Pass it with --{kind}.$"):
        read_catalog(value)


BREADCRUMBS: list[object] = ["x", [1], None, {}]
METADATA: list[object] = [1, {}, ["x"], [{"breadcrumb": []}], [{"metadata": {}}], [{"breadcrumb": [], "metadata": []}]]
SCHEMAS: list[object] = [[], "x", {"properties": []}]
NAMES: list[object] = [5, ["open"], ""]
MALFORMED: list[Json] = [
    *({"metadata": value} for value in METADATA),
    *({"metadata": [{"breadcrumb": value, "metadata": {}}]} for value in BREADCRUMBS),
    *({"schema": value} for value in SCHEMAS),
    *({"stream": value} for value in NAMES),
]


@pytest.mark.parametrize(
    "catalog",
    [
        *(None, [], {}, "x", {"streams": {}}, {"streams": [1]}, {"streams": [None]}),
        *({"streams": [{"tap_stream_id": "open", **wrong}]} for wrong in MALFORMED),
    ],
)
def test_invalid_catalogs_are_refused(catalog: object) -> None:
    with pytest.raises(CatalogError, match="Invalid catalog"):
        read_catalog(catalog)


# No silence: a change of a selected stream's entry changes the selection, is refused, or is named.

Place = tuple[Any, ...]


def places(value: Any, place: Place = ()) -> list[Place]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [each for key, inner in pairs for each in [(*place, key), *places(inner, (*place, key))]]


def changed(entry: Json, place: Place, change: str, key: str, value: object) -> Json:
    """Return an entry with something else, or nothing, at a place, or with something more there."""
    entry = copy.deepcopy(entry)
    container: Any = entry
    for each in place[:-1]:
        container = container[each]
    if change == "set":
        container[place[-1]] = value
    elif change == "delete":
        del container[place[-1]]
    elif isinstance(container[place[-1]], dict):
        container[place[-1]].setdefault(key, value)
    elif isinstance(container[place[-1]], list):
        container[place[-1]].append(value)
    return entry


def outcome(entry: Json) -> object:
    """Return all that an entry brings about: the selections and the log, or the error."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tap_klaviyo")
    logger.addHandler(handler)
    try:
        found = read_catalog({"streams": [entry]})
        return [(each.fields, each.schema, each.replication_method) for each in found], lines
    except CatalogError as problem:
        return str(problem)
    finally:
        logger.removeHandler(handler)


def says_nothing(entry: Json, place: Place, change: str, key: str, value: object) -> bool:
    """Return whether a change leaves the entry with the meaning that it had."""
    where, name = place[0], place[-1]
    keys = [*entry["key_properties"], entry.get("replication_key")]
    if name == "selected-by-default" and len(place) > 2 and "selected" in entry["metadata"][place[1]]["metadata"]:
        return True
    if change == "delete" or value is None:
        # An absent or null value means the default, so nothing changes; except for fields taken out of the schema.
        is_whole = place in (("schema",), ("schema", "properties"), ("schema", "type"))
        return where != "schema" or is_whole or (change == "add" and key == "selected")
    if (place, value) == (("schema",), {}) or (place, value) == (("metadata",), []):
        return True
    is_selected = str(value).lower() in ("true", "1")
    if where == "metadata" and len(place) > 1:
        if "breadcrumb" in place and change == "set":
            # It is the breadcrumb of another field now, which says the same.
            return value in ([], "id", "uuid")
        path = path_of(entry["metadata"][place[1]]["breadcrumb"])
        if place[2:] == ("metadata",) and change == "set" and value == {}:
            return True
        if path and len(path) == 1 and path[0] in keys and (change == "add" or name != "inclusion"):
            return "selected" in str(key if change == "add" else name)
    chosen = key if change == "add" else name
    if chosen == "selected" and place[:3] in [("schema", "properties", each) for each in keys]:
        return True
    if str(name).replace("_", "-") in ("key-properties", "table-key-properties") and [value] == entry["key_properties"]:
        return True
    if "replication-method" in (key, str(name).replace("_", "-")) and value == entry["replication_method"]:
        return True
    return (is_selected or value is None) and chosen in ("selected", "selected-by-default")


ODD: list[object] = [
    None,
    True,
    False,
    0,
    1,
    2,
    "",
    "x",
    "false",
    "id",
    "uuid",
    [],
    {},
    ["uuid"],
    {"a": 1},
    "FULL_TABLE",
    "INCREMENTAL",
]
KEYS = ["selected", "selected-by-default", "type", "format", "x", "replication-method", "stream", "items", "required"]


@pytest.mark.parametrize("stream", ["open", "lists", "global_exclusions"])
def test_no_change_of_an_entry_is_silent(stream: str) -> None:
    """Tried: a thousand changes, the same in each run."""
    entry = entry_of(stream)
    for name in ("attributions", "predictive_analytics"):
        if name in entry["schema"]["properties"]:
            metadata_of(entry, name)["selected"] = True
    as_it_was, found = outcome(entry), places(entry)
    chance = random.Random(stream)
    for _ in range(1000):
        place, change = chance.choice(found), chance.choice(["set", "delete", "add"])
        key, value = chance.choice(KEYS), chance.choice(ODD)
        after = changed(entry, place, change, key, value)
        if after != entry and not says_nothing(entry, place, change, key, value):
            assert outcome(after) != as_it_was, (place, change, key, value)
