"""Campaigns of revision 2026-10-15 as the flat rows of the ones before, part by part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.streams.omnichannel import Omnichannel, flat_page

Json = dict[str, Any]


def resource(kind: str, id: str, definition: Mapping[str, Any] | None = None, **attributes: Any) -> Resource:
    given = {"definition": definition, **attributes} if definition is not None else attributes
    return Resource(id, kind, Raw(msgspec.json.encode(given)))


def variation(id: str, **details: Any) -> Resource:
    return resource("campaign-variation", id, {"details": details})


def flat(
    messages: Sequence[Resource] = (),
    variations: Mapping[str, Sequence[Resource]] | None = None,
    audiences: Sequence[Resource] = (),
    tags: Sequence[Resource] = (),
) -> tuple[Json, list[Json]]:
    """Return the flat campaign of these parts, and what is included with it."""
    campaign = resource("campaign", "c", {"name": "Spring", "archived": False}, created_at="a", updated_at="b")
    ids = [["gone", *(each.id for each in parts)] for parts in (messages, tags)]
    document = json.loads(flat_page([Omnichannel(campaign, audiences, messages, variations or {}, tags, *ids)]))
    (found,) = document["data"]
    return found, document["included"]


def test_a_campaign_without_parts_has_its_own_attributes() -> None:
    found, included = flat()
    attributes = found["attributes"]
    assert {name: attributes[name] for name in ("name", "archived", "created_at", "updated_at")} == {
        "name": "Spring",
        "archived": False,
        "created_at": "a",
        "updated_at": "b",
    }
    assert (attributes["status"], attributes["channel"], attributes["tracking_options"]) == (None, None, None)
    assert included == []


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (["sent"], "Sent"),
        (["sent", "draft"], "Draft"),
        (["cancelled", "sent"], "Sent"),
        (["sent", "sending", "scheduled"], "Sending"),
        (["paused"], "Paused"),
        (["paused", "sent"], "Sent"),
        ([None], None),
    ],
)
def test_of_messages_in_several_states_the_first_counts(states: list[str | None], status: str | None) -> None:
    messages = [resource("campaign-message", str(n), {"status": state}) for n, state in enumerate(states)]
    assert flat(messages)[0]["attributes"]["status"] == status


@pytest.mark.parametrize(
    ("channels", "channel"),
    [
        ([["email"]], "email"),
        ([["push"]], "mobile_push"),
        ([["text", "sms"]], "sms"),
        ([["carrier_pigeon"]], "carrier_pigeon"),
        ([["email", "push"]], "omnichannel"),
        ([["email"], ["text"]], "omnichannel"),
        ([[]], None),
    ],
)
def test_the_channel_is_that_of_all_variations(channels: list[list[str]], channel: str | None) -> None:
    messages = [resource("campaign-message", str(n), {"status": "sent"}) for n in range(len(channels))]
    variations = {
        str(n): [variation(f"{n}-{place}", channel=each) for place, each in enumerate(given)]
        for n, given in enumerate(channels)
    }
    assert flat(messages, variations)[0]["attributes"]["channel"] == channel


def test_the_groups_of_all_audiences_come_once() -> None:
    audiences = [
        resource("campaign-audience", "1", {"included": ["A", "B"], "excluded": ["X"]}),
        resource("campaign-audience", "2", {"included": ["B", "C"]}),
    ]
    assert flat(audiences=audiences)[0]["attributes"]["audiences"] == {"included": ["A", "B", "C"], "excluded": ["X"]}


def test_how_a_campaign_is_sent_is_that_of_its_first_message() -> None:
    sends = {"send_strategy": "immediate", "send_time": "2026-11-20T08:00:00Z", "is_ignoring_unsubscribes": True}
    tracks = {"is_add_utm": True, "is_tracking_clicks": True, "is_tracking_opens": False}
    first = resource("campaign-message", "1", {"send_options": sends, "tracking_options": tracks})
    attributes = flat([first, resource("campaign-message", "2", {})])[0]["attributes"]
    assert attributes["send_time"] == "2026-11-20T08:00:00Z"
    assert attributes["send_strategy"] == {"method": "immediate", "datetime": "2026-11-20T08:00:00Z"}
    assert attributes["send_options"] == {"ignore_unsubscribes": True}
    assert attributes["tracking_options"] == {
        "add_tracking_params": True,
        "is_tracking_clicks": True,
        "is_tracking_opens": False,
    }


def test_messages_and_tags_are_included() -> None:
    message = resource("campaign-message", "m", {"name": "First"}, created="d", updated="e")
    bare = resource("campaign-message", "n", {})
    variations = {"m": [variation("v", channel="push", template_id="t", subject="Hi"), variation("w", subject="No")]}
    tag = resource("tag", "g", name="Spring")
    campaign, (first, second, third) = flat([message, bare], variations, tags=[tag])
    assert campaign["relationships"]["campaign-messages"]["data"] == [
        {"type": "campaign-message", "id": "gone"},
        {"type": "campaign-message", "id": "m"},
        {"type": "campaign-message", "id": "n"},
    ]
    assert campaign["relationships"]["tags"]["data"] == [{"type": "tag", "id": "gone"}, {"type": "tag", "id": "g"}]
    assert first == {
        "type": "campaign-message",
        "id": "m",
        "attributes": {
            "definition": {"channel": "mobile_push", "label": "First", "content": {"subject": "Hi"}},
            "created_at": "d",
            "updated_at": "e",
        },
        "relationships": {"template": {"data": {"type": "template", "id": "t"}}},
    }
    assert (second["attributes"]["definition"]["channel"], second["relationships"]) == (None, {})
    assert third == {"type": "tag", "id": "g", "attributes": {"name": "Spring"}, "relationships": {}}
