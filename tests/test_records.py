"""Resources to records: changed, unchanged and counted values."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec import Raw

from tap_klaviyo.klaviyo.jsonapi import PLAIN, Page, parse_page
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.records.build import build_records
from tap_klaviyo.records.dates import to_utc
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.objects import attribute_text
from tap_klaviyo.records.projection import Fields, Projection, Related
from tap_klaviyo.records.times import epoch_seconds
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.singer.selection import prune_schema, read_catalog
from tap_klaviyo.streams.events import belongs_to, metric_name, metrics_of, project_metric
from tap_klaviyo.streams.table import BY_NAME
from tests.decoding import plain_decoder
from tests.validity import validator_of

METRIC: dict[str, Any] = {
    "type": "metric",
    "id": "SkDfHe",
    "attributes": {
        "name": "Opened Email",
        "created": "2020-01-01T00:00:00+00:00",
        "integration": {"category": {"id": 15}},
    },
}
EVENT: dict[str, Any] = {
    "type": "event",
    "id": "e1",
    "attributes": {
        "timestamp": 10,
        "datetime": "1970-01-01T00:00:10+00:00",
        "uuid": None,
        "event_properties": {"a": [1]},
    },
    "relationships": {
        "profile": {"data": {"type": "profile", "id": "p1"}},
        "attributions": {"data": [{"type": "attribution", "id": "a1"}]},
    },
}
PROFILE: dict[str, Any] = {
    "type": "profile",
    "id": "p1",
    "attributes": {
        "email": "a@example.org",
        "created": "2020-01-01 02:00:00+02:00",
        "location": {"latitude": 1.50, "longitude": "2"},
    },
}
_NEW_WITHIN = (Related("name", "as-new", "name", "id"),)
LISTED = {"data": {"type": "tag", "id": "t1"}}


def all_fields(stream: str) -> Fields:
    def fields(schema: dict[str, Any]) -> dict[str, Any]:
        inner = {name: each.get("items", each) for name, each in schema["properties"].items()}
        return {name: fields(each) if "properties" in each else None for name, each in inner.items()}

    return fields(BY_NAME[stream].schema)


def built(
    stream: str,
    data: list[Any],
    included: Sequence[Any] = (),
    fields: Fields | None = None,
    emitted: Mapping[str, Any] | None = None,
    **constants: Any,
) -> tuple[list[dict[str, Any]], Findings]:
    """Return the records of a page, as a target would read them, and the findings, whichever decoder reads it."""
    body = json.dumps({"data": data, "included": [*included], "links": {"self": "x"}}).encode()
    schema = BY_NAME[stream].schema
    projection = BY_NAME[stream].project(
        emitted or prune_schema(schema, all_fields(stream) if fields is None else fields)
    )
    if stream == "open":
        metric = parse_page(json.dumps({"data": [METRIC], "links": {"self": "x"}}).encode()).data[0]
        projection = project_metric(projection, metric)
    projection = projection.with_constants(constants)
    # The third page is decoded with what the first one taught.
    decoders = (projection.decoder, plain_decoder(projection), projection.decoder)
    results = [of_page(stream, parse_page(body, decoder), projection) for decoder in decoders]
    assert results[0] == results[1] == results[2]
    return results[0]


def of_page(stream: str, page: Page, projection: Projection) -> tuple[list[dict[str, Any]], Findings]:
    findings = Findings()
    found = build_records(page, projection, findings)
    records = [json.loads(line)["record"] for line in encode_records(stream, found).splitlines()]
    validate = validator_of(projection.source.emitted)
    for record in records:
        validate(record)
    return records, findings


def changed(resource: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {**resource, "attributes": {**resource["attributes"], **attributes}}


def test_an_event_with_everything() -> None:
    attribution = {
        "type": "attribution",
        "id": "a1",
        "relationships": {
            "flow": {"data": {"type": "flow", "id": "f1"}},
            "event": {"data": {"type": "event", "id": "e1"}},
        },
    }
    ((record,), findings) = built("open", [EVENT], [PROFILE, attribution])
    nothing = dict.fromkeys(
        ("attributed_event_id", "campaign_id", "campaign_message_id", "flow_message_id", "flow_message_variation_id")
    )
    assert record == {
        "id": "e1",
        "type": "event",
        **EVENT["attributes"],
        "metric_id": "SkDfHe",
        "metric_name": "Opened Email",
        "metric": [{"id": "SkDfHe", **METRIC["attributes"]}],
        "profile_id": "p1",
        "profile": [
            {
                "id": "p1",
                "email": "a@example.org",
                "created": "2020-01-01T00:00:00+00:00",
                "location": {"latitude": "1.5", "longitude": "2"},
            }
        ],
        "attributions": [{"id": "a1", "event_id": "e1", "flow_id": "f1", **nothing}],
    }
    assert not findings.unknown


def test_a_deleted_profile_leaves_its_id_and_no_profile_leaves_nothing() -> None:
    orphan = {**EVENT, "relationships": {"profile": {"data": None}}}
    unrelated = {**EVENT, "relationships": {}}
    found, _ = built("open", [EVENT, orphan, unrelated])
    assert [(each["profile_id"], each["profile"]) for each in found] == [("p1", [{"id": "p1"}]), (None, []), (None, [])]


def test_only_selected_fields_are_emitted() -> None:
    fields: Fields = {"id": None, "timestamp": None, "profile": {"email": None, "location": {"latitude": None}}}
    ((record,), _) = built("open", [EVENT], [PROFILE], fields)
    assert record == {
        "id": "e1",
        "timestamp": 10,
        "profile": [{"email": "a@example.org", "location": {"latitude": "1.5"}}],
    }


def test_the_older_fields_of_a_message_can_be_selected_without_its_definition() -> None:
    campaign = {
        "type": "campaign",
        "id": "c1",
        "attributes": {"name": "Sale"},
        "relationships": {"campaign-messages": {"data": [{"type": "campaign-message", "id": "m1"}]}},
    }
    message = {
        "type": "campaign-message",
        "id": "m1",
        "attributes": {"definition": {"label": "Hi", "channel": "email"}},
    }
    fields: Fields = {"id": None, "campaign_messages": {"label": None}}
    ((record,), _) = built("campaigns", [campaign], [message], fields)
    assert record == {"id": "c1", "campaign_messages": [{"label": "Hi"}]}


def test_an_included_resource_that_no_field_is_made_of_changes_nothing() -> None:
    segment = {"type": "segment", "id": "p1", "attributes": {"email": "b@example.org"}}
    alone, _ = built("open", [EVENT], [PROFILE])
    beside, findings = built("open", [EVENT], [PROFILE, segment])
    assert beside == alone
    assert not findings.unknown


def test_events_of_one_profile_carry_it_alike() -> None:
    first, second = built("open", [EVENT, {**EVENT, "id": "e2"}], [PROFILE])[0]
    assert first["profile"] == second["profile"]
    assert first["profile"][0]["location"] == {"latitude": "1.5", "longitude": "2"}


def test_unknown_attributes_are_left_out_and_counted() -> None:
    event = changed(EVENT, mood="good")
    found, findings = built("open", [event, event], [changed(PROFILE, location={"planet": 3})])
    assert all("mood" not in each for each in found)
    assert findings.unknown == {("event", "mood"): 2, ("profile", "location", "planet"): 1}


ZIP = ("profile", "location", "zip")


@pytest.mark.parametrize(
    ("attributes", "expected", "where"),
    [
        ({"location": {"zip": 25555}}, {"location": {"zip": "25555"}}, ZIP),
        ({"location": {"zip": 1.50}}, {"location": {"zip": "1.5"}}, ZIP),
        ({"location": {"zip": [1, "a"]}}, {"location": {"zip": '[1, "a"]'}}, ZIP),
        ({"location": {"latitude": True}}, {"location": {"latitude": "true"}}, ("profile", "location", "latitude")),
        ({"location": "Boston"}, {"location": None}, ("profile", "location")),
        ({"location": [3]}, {"location": None}, ("profile", "location")),
        ({"title": True}, {"title": "true"}, ("profile", "title")),
        ({"phone_number": 15550000111}, {"phone_number": "15550000111"}, ("profile", "phone_number")),
        ({"title": {"a": None}}, {"title": '{"a": null}'}, ("profile", "title")),
        ({"properties": [1]}, {"properties": None}, ("profile", "properties")),
        ({"created": "soon"}, {"created": None}, ("profile", "created")),
        ({"created": 0}, {"created": None}, ("profile", "created")),
        ({"created": {}}, {"created": None}, ("profile", "created")),
        ({"created": 1700000000}, {"created": "2023-11-14T22:13:20+00:00"}, ("profile", "created")),
    ],
)
def test_a_value_of_another_type_fits_its_column_and_is_counted(
    attributes: dict[str, Any], expected: dict[str, Any], where: tuple[str, ...]
) -> None:
    other = {**PROFILE, "id": "p2"}
    event = {**EVENT, "id": "e2", "relationships": {"profile": {"data": {"type": "profile", "id": "p2"}}}}
    found, findings = built("open", [EVENT, event], [changed(PROFILE, **attributes), other])
    assert {name: found[0]["profile"][0][name] for name in expected} == expected
    assert found[1]["profile"][0]["location"] == {"latitude": "1.5", "longitude": "2"}
    assert findings.changed == {where: 1}


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("1700000000", 1700000000),
        ("-007", -7),
        ("000", 0),
        (17.0, 17),
        (17.5, None),
        ("soon", None),
        (True, None),
        ([1], None),
    ],
)
def test_an_integer_column_holds_exact_integers(timestamp: Any, expected: int | None) -> None:
    ((record,), findings) = built("open", [changed(EVENT, timestamp=timestamp)])
    assert (record["timestamp"], type(record["timestamp"])) == (expected, type(expected))
    assert findings.changed == {("event", "timestamp"): 1}


@pytest.mark.parametrize("timestamp", [10**30, -(2**64), 0, None])
def test_integers_pass_whatever_their_size(timestamp: int | None) -> None:
    ((record,), findings) = built("open", [changed(EVENT, timestamp=timestamp)])
    assert record["timestamp"] == timestamp
    assert not findings.changed


@pytest.mark.parametrize("properties", [[], "x", 5, True])
def test_event_properties_are_an_object_or_null(properties: Any) -> None:
    found, findings = built("open", [EVENT, {**changed(EVENT, event_properties=properties), "id": "e2"}])
    assert [each["event_properties"] for each in found] == [{"a": [1]}, None]
    assert findings.changed == {("event", "event_properties"): 1}


def test_timestamps_of_events_are_read_as_they_are_written() -> None:
    given: list[Any] = [5, "6", None, "x", 10**20]
    page = {"data": [{**changed(EVENT, timestamp=each), "id": str(n)} for n, each in enumerate(given)]}
    projection = BY_NAME["open"].project(BY_NAME["open"].schema)
    page_of = parse_page(json.dumps(page).encode(), projection.decoder)
    assert epoch_seconds(build_records(page_of, projection, Findings()), "timestamp") == [5, 6, 0, 0, 10**20]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"name": 5}, {"name": "5"}),
        ({"send_strategy": {"throttle_percentage": 33.3}}, {"send_strategy": {"throttle_percentage": None}}),
        ({"send_strategy": {"throttle_percentage": "33"}}, {"send_strategy": {"throttle_percentage": 33}}),
        ({"send_strategy": []}, {"send_strategy": None}),
        ({"archived": "true"}, {"archived": True}),
        ({"archived": 1}, {"archived": None}),
        ({"audiences": {"included": ["a", 5]}}, {"audiences": {"included": ["a", "5"]}}),
        ({"audiences": {"included": "a"}}, {"audiences": {"included": ["a"]}}),
        (
            {"tracking_options": {"custom_tracking_params": {"type": "x"}}},
            {"tracking_options": {"custom_tracking_params": [{"type": "x"}]}},
        ),
        (
            {"tracking_options": {"custom_tracking_params": [{"type": "x"}, 5, None]}},
            {"tracking_options": {"custom_tracking_params": [{"type": "x"}, None, None]}},
        ),
    ],
)
def test_a_campaign_with_values_of_other_types(attributes: dict[str, Any], expected: dict[str, Any]) -> None:
    ((record,), findings) = built("campaigns", [{"type": "campaign", "id": "c1", "attributes": attributes}])
    assert {name: record[name] for name in expected} == expected
    assert findings.changed.total() == 1


def test_numbers_pass_with_all_their_digits_and_texts_of_numbers_become_numbers() -> None:
    body = json.dumps({"data": [suppressed(predictive_analytics="X")]}).replace(
        '"X"', '{"historic_clv": 12345678901234567.890123, "total_clv": "1.50", "predicted_clv": "1,5"}'
    )
    projection = BY_NAME["global_exclusions"].project(BY_NAME["global_exclusions"].schema)
    findings = Findings()
    (record,) = build_records(parse_page(body.encode(), projection.decoder), projection, findings)
    line = encode_records("global_exclusions", [record])
    assert b'{"historic_clv":12345678901234567.890123,"predicted_clv":null,"total_clv":1.50}' in line
    assert findings.changed.total() == 2


def test_a_metric_fits_its_columns_and_is_counted_with_the_first_page() -> None:
    metric = {**METRIC, "attributes": {"name": 5, "created": "05/16/2021", "integration": "x"}}
    (resource,) = parse_page(json.dumps({"data": [metric]}).encode()).data
    projection = project_metric(BY_NAME["open"].project(BY_NAME["open"].schema), resource)
    page = json.dumps({"data": [EVENT]}).encode()
    (first, findings), (_, later) = (of_page("open", parse_page(page, projection.decoder), projection) for _ in "ab")
    assert first[0]["metric_name"] == "5"
    assert first[0]["metric"] == [{"id": "SkDfHe", "name": "5", "created": None, "integration": None}]
    assert findings.changed == {("metric", name): 1 for name in ("name", "created", "integration")}
    assert not later.changed


def test_a_metric_that_is_not_selected_is_not_counted() -> None:
    (resource,) = parse_page(
        json.dumps({"data": [{**METRIC, "attributes": {"name": 5, "mood": "good"}}]}).encode()
    ).data
    schema = BY_NAME["open"].schema
    emitted = {**schema, "properties": {name: each for name, each in schema["properties"].items() if name != "metric"}}
    projection = project_metric(BY_NAME["open"].project(emitted), resource)
    assert not projection.take_noticed().summary()


@pytest.mark.parametrize(
    ("attributes", "profile"),
    [
        ({"mood": "good"}, {}),
        ({}, {"gender": None}),
        ({}, {"location": {"planet": 3, "a-b c": 4}}),
        ({"timestamp": "5"}, {}),
        ({}, {"title": 5}),
        ({}, {"location": {"zip": 25555}}),
    ],
)
def test_a_page_with_what_an_earlier_one_had_is_decoded_whole(attributes: Any, profile: Any) -> None:
    projection = BY_NAME["open"].project(BY_NAME["open"].schema)
    page = {"data": [changed(EVENT, **attributes)], "included": [changed(PROFILE, **profile)]}
    body = json.dumps(page).encode()

    def is_whole() -> bool:
        page = parse_page(body, projection.decoder)
        return not any(isinstance(each.attributes, Raw) for each in page.data + page.included)

    assert not is_whole()
    found = of_page("open", parse_page(body, projection.decoder), projection)
    assert is_whole()
    assert of_page("open", parse_page(body, projection.decoder), projection) == found


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "\u00e9" * 200, ""])
def test_an_attribute_of_a_name_that_no_struct_can_have_is_ignored_page_after_page(name: str) -> None:
    found, findings = built("open", [changed(EVENT, **{name: 1})])
    assert (len(found), findings.unknown) == (1, {("event", name): 1})


def test_a_page_may_be_built_after_a_later_one_taught_something() -> None:
    projection = BY_NAME["open"].project(BY_NAME["open"].schema)
    early = parse_page(json.dumps({"data": [EVENT], "included": [PROFILE]}).encode(), projection.decoder)
    later = {"data": [changed(EVENT, mood=1)], "included": [changed(PROFILE, gender=1)]}
    expected, _ = of_page("open", parse_page(json.dumps(later).encode(), projection.decoder), projection)
    assert of_page("open", early, projection) == (expected, Findings())


def test_a_resource_that_was_not_sent_leaves_no_id_if_that_is_not_selected() -> None:
    ((record,), _) = built("open", [EVENT], [], {"id": None, "profile": {"email": None}})
    assert record == {"id": "e1", "profile": [{}]}


def test_values_that_json_does_not_have_are_counted() -> None:
    projection = BY_NAME["open"].project(BY_NAME["open"].schema)
    body = json.dumps({"data": [changed(EVENT, event_properties={"a": float("nan")})]}).encode()
    ((record,), findings) = of_page("open", parse_page(body, projection.decoder), projection)
    assert record["event_properties"] == {"a": None}
    assert findings.changed == {("NaN or Infinity",): 1}


def test_text_of_lists_stays_as_it_was_spelled() -> None:
    spelled = rb'"\u00fcml\u00e4ut \/ \ud83c\udf89"'
    body = b'{"data":[{"type":"list","id":"a","attributes":{"name":%b,"created":null}}]}' % spelled
    projection = BY_NAME["lists"].project(BY_NAME["lists"].schema)
    records = build_records(parse_page(body, projection.decoder), projection, Findings())
    assert b'"name":' + spelled in encode_records("lists", records)


@pytest.mark.parametrize("stream", ["open", "campaigns"])
def test_the_text_of_an_attribute_whatever_it_was_decoded_as(stream: str) -> None:
    name = "uuid" if stream == "open" else "updated_at"
    body = json.dumps({"data": [{"type": "x", "id": "a", "attributes": {name: "2026"}}, {"id": "b"}]}).encode()
    for decoder in (PLAIN, BY_NAME[stream].project(BY_NAME[stream].schema).decoder):
        assert [attribute_text(each, name) for each in parse_page(body, decoder).data] == ["2026", None]


def test_a_metrics_name_is_text_or_empty() -> None:
    for name, expected in (("Opened EMAIL", "Opened EMAIL"), (None, ""), (5, "")):
        assert metric_name(Resource("m", attributes=Raw(json.dumps({"name": name}).encode()))) == expected


def test_metrics_are_found_by_name_in_any_case() -> None:
    metric = Resource("m", attributes=Raw(b'{"name": "OPENED email"}'))
    assert metrics_of(BY_NAME["open"].split, [metric]) == [metric]


def test_a_field_that_a_message_has_of_itself_is_not_replaced_by_its_definition() -> None:
    campaign = {"type": "campaign", "id": "c1", "relationships": {"campaign-messages": {"data": [{"id": "m1"}]}}}
    attributes = {"label": "own", "definition": {"label": "other", "channel": "sms"}}
    message = {"type": "campaign-message", "id": "m1", "attributes": attributes}
    ((record,), _) = built("campaigns", [campaign], [message])
    (found,) = record["campaign_messages"]
    assert (found["label"], found["channel"]) == ("own", "sms")


def test_unselected_fields_need_not_fit() -> None:
    fields: Fields = {"id": None, "profile": {"email": None}}
    profile = changed(PROFILE, location="x", title=5, created="soon", properties=[])
    ((record,), findings) = built("open", [changed(EVENT, timestamp="x", event_properties=[])], [profile], fields)
    assert record == {"id": "e1", "profile": [{"email": "a@example.org"}]}
    assert not findings.changed


def with_definition(stream: str, definition: Any, *path: str) -> dict[str, Any]:
    """Return a stream's schema with another definition of a field, as a user's catalog may have it."""
    schema: dict[str, Any] = copy.deepcopy(BY_NAME[stream].schema)
    place = schema
    for name in path[:-1]:
        place = place["properties"][name]
        place = place.get("items", place)
    place["properties"][path[-1]] = definition
    return schema


NULLABLE_TEXT = {"type": ["null", "string"]}


@pytest.mark.parametrize(
    ("path", "definition", "expected"),
    [
        (("event_properties",), NULLABLE_TEXT, '{"a": [1]}'),
        (("event_properties",), {}, {"a": [1]}),
        (("event_properties",), {"type": ["null", "string", "object"]}, {"a": [1]}),
        (("timestamp",), NULLABLE_TEXT, "10"),
        (("timestamp",), {"type": ["null", "number"]}, 10),
        (("timestamp",), {"type": ["null", "string"], "format": "date-time"}, None),
        (("datetime",), NULLABLE_TEXT, "1970-01-01T00:00:10+00:00"),
        (("profile_id",), {"type": ["null", "integer"]}, None),
        (("metric_name",), {"type": ["null", "boolean"]}, None),
        (("metric",), {"type": ["null", "object"]}, None),
    ],
)
def test_records_fit_a_schema_that_the_user_changed(path: tuple[str, ...], definition: Any, expected: Any) -> None:
    ((record,), _) = built("open", [EVENT], [PROFILE], emitted=with_definition("open", definition, *path))
    assert record[path[-1]] == expected


def test_a_field_of_related_resources_can_be_text() -> None:
    for field in ("profile", "metric", "attributions"):
        ((record,), _) = built("open", [EVENT], [PROFILE], emitted=with_definition("open", NULLABLE_TEXT, field))
        assert json.loads(record[field])[0]["id"] == {"profile": "p1", "metric": "SkDfHe", "attributions": "a1"}[field]


def test_coordinates_can_be_numbers() -> None:
    number = {"type": ["null", "number"]}
    ((record,), _) = built(
        "open", [EVENT], [PROFILE], emitted=with_definition("open", number, "profile", "location", "longitude")
    )
    assert record["profile"][0]["location"] == {"latitude": "1.5", "longitude": 2}


NOT_DATES = (
    *('"soon"', '""', '"0000-00-00 00:00:00"', '"05/16/2021"', '"2026-06-23T24:00:00Z"', '"10000-01-01T00:00:00Z"'),
    *('"2026-02-29T00:00:00Z"', '"2026-06-23T00:60:00Z"', '"2026-06-23T23:59:60Z"', '"2026-06-23T00:00:00+24:00"'),
    *('"0001-01-01T00:00:00+14:00"', '"20260623"', "5", "0", "-1", "1700000000000", "true", "{}", "[]"),
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('"2026-09-04T13:38:55+00:00"', '"2026-09-04T13:38:55+00:00"'),
        ('"2026-09-04T13:38:55Z"', '"2026-09-04T13:38:55Z"'),
        ('"2026-09-04T13:38:44.935203+00:00"', '"2026-09-04T13:38:44.935203+00:00"'),
        ('"2026-09-04 13:38:55+00:00"', '"2026-09-04T13:38:55+00:00"'),
        ('"2026-09-04T13:38:55"', '"2026-09-04T13:38:55+00:00"'),
        ('"2026-09-04T13:38:55-05:00"', '"2026-09-04T18:38:55+00:00"'),
        ("null", "null"),
        ('"2026-06-23 00:15:23.918411+00:00"', '"2026-06-23T00:15:23.918411+00:00"'),
        ('"2026-06-23t00:15:23z"', '"2026-06-23T00:15:23+00:00"'),
        ('"2026-06-23T00:15:23+0530"', '"2026-06-22T18:45:23+00:00"'),
        ('"2026-06-23T00:15:23.123456789Z"', '"2026-06-23T00:15:23.123456789Z"'),
        ('"2026-06-23 00:15:23.5"', '"2026-06-23T00:15:23.500000+00:00"'),
        ('"2026-06-23T00:15"', '"2026-06-23T00:15:00+00:00"'),
        ('"2026-06-23"', '"2026-06-23T00:00:00+00:00"'),
        ("1700000000", '"2023-11-14T22:13:20+00:00"'),
        ('"1700000000"', '"2023-11-14T22:13:20+00:00"'),
        *((text, "null") for text in NOT_DATES),
    ],
)
def test_date_times_become_rfc_3339_in_utc(given: str, expected: str) -> None:
    assert bytes(to_utc(Raw(given.encode()))).decode() == expected


OTHER_DATES = (
    *('"2026-06-23 00:15:23+00:00"', '"2026-06-23T00:15:23-05:00"', '"2026-06-23T00:15:23"', "1700000000"),
    *('"2026-06-23t00:15:23Z"', '"2026-06-23T00:15:23z"', '"2026-06-23T00:15:23-00:00"'),
)


@pytest.mark.parametrize("text", [*NOT_DATES, *OTHER_DATES])
def test_one_odd_date_among_others_is_found(text: str) -> None:
    dates = ["2026-09-04T13:38:55+00:00", json.loads(text), "2026-09-04T13:38:55+00:00"]
    lists = [{"type": "list", "id": str(n), "attributes": {"created": date}} for n, date in enumerate(dates)]
    found, findings = built("lists", lists)
    expected = json.loads(bytes(to_utc(Raw(text.encode()))))
    assert [each["created"] for each in found] == ["2026-09-04T13:38:55+00:00", expected, "2026-09-04T13:38:55+00:00"]
    assert findings.changed == ({("list", "created"): 1} if text in NOT_DATES or text == "1700000000" else {})


def test_a_list_with_tags() -> None:
    resource: dict[str, Any] = {
        "type": "list",
        "id": "l1",
        "attributes": {"name": None, "created": "2020-01-01T00:00:00+00:00"},
        "relationships": {"tags": {"data": [{"type": "tag", "id": "t1"}, {"type": "tag", "id": "gone"}]}},
    }
    tag = {"type": "tag", "id": "t1", "attributes": {"name": "vip"}}
    ((record,), _) = built("lists", [resource], [tag])
    assert record == {"id": "l1", **resource["attributes"], "tags": [{"id": "t1", "name": "vip"}, {"id": "gone"}]}


def test_the_row_is_the_only_place_that_names_a_relationship() -> None:
    row = replace(BY_NAME["lists"], related=(Related("tags", "brand-new", "thing", related=_NEW_WITHIN),))
    projection = row.project(row.schema)
    data = [{"type": "list", "id": "l1", "relationships": {"brand-new": {"data": {"type": "thing", "id": "t1"}}}}]
    thing = {"type": "thing", "id": "t1", "relationships": {"as-new": {"data": {"type": "name", "id": "n1"}}}}
    body = json.dumps({"data": data, "included": [thing], "links": {}}).encode()
    for decoder in (projection.decoder, plain_decoder(projection)):
        (record,) = build_records(parse_page(body, decoder), projection, Findings())
        assert [(each.id, each.name) for each in record.tags] == [("t1", "n1")]


def test_a_campaign_carries_its_messages_with_the_older_fields_beside_the_definition() -> None:
    definition = {"channel": "email", "label": "Hi", "content": {"subject": "Hello"}, "extra": 1}
    campaign = {
        "type": "campaign",
        "id": "c1",
        "attributes": {"name": "Sale", "send_strategy": {"method": "static", "datetime": "2026-01-01 00:00:00"}},
        "relationships": {"campaign-messages": {"data": [{"type": "campaign-message", "id": "m1"}]}},
    }
    message = {
        "type": "campaign-message",
        "id": "m1",
        "attributes": {"definition": definition, "created_at": "2026-01-01T00:00:00+00:00"},
        "relationships": {"template": {"data": {"type": "template", "id": "tp"}}},
    }
    ((record,), findings) = built("campaigns", [campaign], [message], channel="email")
    assert record["channel"] == "email"
    assert record["send_strategy"]["datetime"] == "2026-01-01T00:00:00+00:00"
    assert record["campaign_messages"] == [
        {
            "id": "m1",
            "definition": definition,
            "channel": "email",
            "label": "Hi",
            "content": {"subject": "Hello"},
            "template_id": "tp",
            "image_id": None,
            "created_at": "2026-01-01T00:00:00+00:00",
        }
    ]
    assert not findings.unknown


def suppressed(*suppressions: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    marketing = {"suppression": list(suppressions), "list_suppressions": []}
    subscriptions = {"email": {"marketing": marketing}}
    return {
        "type": "profile",
        "id": "p1",
        "attributes": {"email": "a@example.org", "subscriptions": subscriptions, **attributes},
    }


def test_an_exclusion_has_its_newest_suppression_and_all_of_them() -> None:
    old = {"reason": "USER_SUPPRESSED", "timestamp": "2021-05-18T01:29:51.999999+00:00"}
    new = {"reason": "HARD_BOUNCE", "timestamp": "2021-05-18T01:29:52+00:00"}
    ((record,), _) = built("global_exclusions", [suppressed(new, old)])
    assert (record["reason"], record["timestamp"]) == ("HARD_BOUNCE", new["timestamp"])
    assert record["suppressions"] == [new, old]


def test_an_exclusion_with_odd_subscriptions_is_still_a_row() -> None:
    for subscriptions in (None, {}, {"email": None}, {"email": {"marketing": None}}, {"email": 5}):
        ((record,), _) = built("global_exclusions", [suppressed(subscriptions=subscriptions)])
        assert (record["email"], record["reason"], record["suppressions"]) == ("a@example.org", None, None)


def test_a_profile_without_an_address_has_no_key_and_is_counted() -> None:
    for email in (None, ""):
        found, findings = built("global_exclusions", [suppressed(email=email)])
        assert found == []
        assert findings.set_aside == {"profile without email": 1}


def test_a_number_as_an_address_is_its_digits() -> None:
    twice = {"reason": "HARD_BOUNCE", "timestamp": "2021-05-18T01:29:52+00:00"}
    ((record,), findings) = built("global_exclusions", [suppressed(twice, twice, email=5)])
    assert (record["email"], findings.changed.total()) == ("5", 1)


def test_suppressions_of_odd_shape() -> None:
    odd = {"reason": 5, "timestamp": "0000-00-00 00:00:00", "mood": 1}
    ((record,), findings) = built("global_exclusions", [suppressed(odd)])
    assert (record["reason"], record["timestamp"]) == ("5", None)
    assert record["suppressions"] == [{"reason": "5", "timestamp": None}]
    assert findings.unknown == {("global_exclusion", "suppressions", "mood"): 1}


def test_a_resource_that_was_not_sent_leaves_its_id_in_every_field() -> None:
    campaign = {
        "type": "campaign",
        "id": "c1",
        "relationships": {
            "campaign-messages": {"data": [{"type": "campaign-message", "id": "m1"}]},
            "tags": {"data": [{"type": "tag", "id": "t1"}]},
        },
    }
    ((record,), _) = built("campaigns", [campaign])
    assert record == {"id": "c1", "campaign_messages": [{"id": "m1"}], "tags": [{"id": "t1"}]}


def test_a_message_fits_its_columns() -> None:
    campaign = {
        "type": "campaign",
        "id": "c1",
        "relationships": {"campaign-messages": {"data": [{"type": "campaign-message", "id": "m1"}]}},
    }
    definition: dict[str, Any] = {"label": 5, "channel": None, "content": "x", "render_options": {}}
    message = {"type": "campaign-message", "id": "m1", "attributes": {"definition": definition, "send_times": {}}}
    ((record,), findings) = built("campaigns", [campaign], [message])
    (found,) = record["campaign_messages"]
    assert [found[name] for name in definition] == ["5", None, None, {}]
    assert found["send_times"] == [{}]
    assert findings.changed.keys() == {("campaign-message", name) for name in ("label", "content", "send_times")}


@pytest.mark.parametrize(
    ("integration", "native"),
    [
        (None, True),
        ({"key": "klaviyo", "name": "Klaviyo"}, True),
        ({"key": "x", "name": "KLAVIYO"}, True),
        ({"key": "api", "name": "API"}, False),
        ({}, False),
        ("Klaviyo", True),
        ("Shopify", False),
        ("", False),
        (7, False),
        (["Shopify"], False),
        ([{"key": "klaviyo"}], True),
        ([], False),
    ],
)
def test_which_metrics_are_klaviyos_own(integration: object, native: bool) -> None:
    metric = Resource("m", type="metric", attributes=Raw(json.dumps({"integration": integration}).encode()))
    assert belongs_to(metric, "klaviyo") is native


def test_the_default_selection_is_emitted_whole() -> None:
    (selection,) = [each for each in read_catalog(discover_catalog()) if each.stream.name == "open"]
    ((record,), _) = built("open", [EVENT], [PROFILE], selection.fields)
    assert record.keys() == selection.fields.keys()
