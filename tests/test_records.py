"""Resources to records: what changes, what passes, what is counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import Raw

from tap_klaviyo.klaviyo.jsonapi import PLAIN, Page, parse_page
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.records.build import build_records
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Fields, Projection, to_utc
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.streams.events import is_native, project_metric
from tap_klaviyo.streams.table import BY_NAME

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
LISTED = {"data": {"type": "tag", "id": "t1"}}


def all_fields(stream: str) -> Fields:
    def fields(schema: dict[str, Any]) -> dict[str, Any]:
        inner = {name: each.get("items", each) for name, each in schema["properties"].items()}
        return {name: fields(each) if "properties" in each else None for name, each in inner.items()}

    return fields(BY_NAME[stream].schema)


def built(
    stream: str, data: list[Any], included: Sequence[Any] = (), fields: Fields | None = None, **constants: Any
) -> tuple[list[dict[str, Any]], Findings]:
    """Return the records of a page, as a target would read them, and what was noticed, whatever it is decoded by."""
    body = json.dumps({"data": data, "included": [*included], "links": {"self": "x"}}).encode()
    projection = BY_NAME[stream].project(all_fields(stream) if fields is None else fields)
    if stream == "open":
        metric = parse_page(json.dumps({"data": [METRIC], "links": {"self": "x"}}).encode()).data[0]
        projection = project_metric(projection, metric)
    projection = projection.with_constants(constants)
    results = [of_page(stream, parse_page(body, decoder), projection) for decoder in (projection.decoder, PLAIN)]
    assert results[0] == results[1]
    return results[0]


def of_page(stream: str, page: Page, projection: Projection) -> tuple[list[dict[str, Any]], Findings]:
    findings = Findings()
    found = build_records(page, projection, findings)
    return [json.loads(line)["record"] for line in encode_records(stream, found).splitlines()], findings


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


def test_only_what_is_selected_comes_out() -> None:
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
    assert findings.unknown == {"event.mood": 2, "profile.location.planet": 1}


@pytest.mark.parametrize("location", ["Boston", [3], 4.5])
def test_what_is_no_object_where_one_is_due_is_left_out_and_counted(location: object) -> None:
    ((record,), findings) = built("open", [EVENT], [changed(PROFILE, location=location)])
    assert record["profile"][0]["email"] == "a@example.org"
    assert record["profile"][0]["location"] in (None, [None])
    assert findings.unknown == {"profile.location": 1}


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
        ('"soon"', '"soon"'),
        ("5", "5"),
        ('"0001-01-01T00:00:00+14:00"', '"0001-01-01T00:00:00+14:00"'),
    ],
)
def test_date_times_become_rfc_3339_in_utc(given: str, expected: str) -> None:
    assert bytes(to_utc(Raw(given.encode()))).decode() == expected


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


def test_an_exclusion_tells_the_newest_of_its_suppressions_and_all() -> None:
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
    found, findings = built("global_exclusions", [suppressed(email=None)])
    assert found == []
    assert findings.unknown == {"profile without email": 1}


@pytest.mark.parametrize(
    ("integration", "native"),
    [
        (None, True),
        ({"key": "klaviyo", "name": "Klaviyo"}, True),
        ({"key": "x", "name": "KLAVIYO"}, True),
        ({"key": "api", "name": "API"}, False),
        ({}, False),
    ],
)
def test_which_metrics_are_klaviyos_own(integration: object, native: bool) -> None:
    metric = Resource("m", type="metric", attributes=Raw(json.dumps({"integration": integration}).encode()))
    assert is_native(metric) is native


def test_the_default_selection_is_emitted_whole() -> None:
    (selection,) = [each for each in read_catalog(discover_catalog()) if each.stream.name == "open"]
    ((record,), _) = built("open", [EVENT], [PROFILE], selection.fields)
    assert record.keys() == selection.fields.keys()
