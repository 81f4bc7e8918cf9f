"""A Klaviyo that sends odd values: of other types than documented, without dates, with NUL, and unknown ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tap_klaviyo.sandbox import Account, Sandbox
from tests.canned import Answer, answering
from tests.targets.programs import Json

_METRIC = {
    "type": "metric",
    "id": "Mtrc01",
    "attributes": {"name": "Opened Email", "created": "0000-00-00 00:00:00", "updated": "", "integration": None},
}
# Attributes of an event, and of its profile; each event is ten seconds after the one before.
_ODD: list[tuple[Json, Json]] = [
    ({}, {}),
    ({"event_properties": []}, {"location": "Boston"}),
    ({"event_properties": {"$value": 10**30, "a\u0000b": "c\u0000"}}, {"location": {"zip": 25555, "latitude": 42.1}}),
    ({"event_properties": None}, {"title": True, "phone_number": 15550000111, "properties": "x"}),
    ({"event_properties": "text"}, {"created": 1700000000, "updated": "05/16/2021", "locale": {"a": [1]}}),
    ({"event_properties": {"half": "\ud83d"}}, {"created": "2026-06-23 00:15:23.918411+00:00", "image": ["x"]}),
    ({"uuid": 7, "mood": "good"}, {"first_name": 33.3, "last_name": "", "colour": "red"}),
    ({"uuid": "y" * 70_000}, {"email": None, "location": {"ip": None, "planet": "Earth"}}),
]


def _event(number: int, attributes: Json) -> Json:
    moment = {"timestamp": 1_780_000_000 + 10 * number, "datetime": f"2026-05-28 20:{26 + number}:40+00:00"}
    relationships = {name: {"data": {"type": name, "id": f"{name}{number}"}} for name in ("profile",)}
    relationships["metric"] = {"data": {"type": "metric", "id": "Mtrc01"}}
    return {
        "type": "event",
        "id": f"ev{number}",
        "attributes": {**moment, **attributes},
        "relationships": relationships,
    }


EVENTS = [_event(number, attributes) for number, (attributes, _) in enumerate(_ODD)]
_PROFILES = [
    {"type": "profile", "id": f"profile{number}", "attributes": attributes}
    for number, (_, attributes) in enumerate(_ODD)
]


@contextmanager
def odd_klaviyo() -> Iterator[Mapping[str, Any]]:
    """Serve the odd events, and yield the tap's config."""

    def answer(url: str) -> Answer:
        resources = {"/api/metrics": [_METRIC], "/api/events": EVENTS}.get(url.partition("?")[0], [])
        included = _PROFILES if resources is EVENTS else []
        document = {"data": resources, "included": included, "links": {"self": url, "next": None}}
        return Answer(json.dumps(document).encode(), headers={"Content-Type": "application/vnd.api+json"})

    # Only for its config, so that the key is one that the tap accepts.
    with Sandbox(Account.build(events=10)) as sandbox, answering(answer) as origin:
        yield {**sandbox.config, "base_url": origin, "start_date": "2026-01-01T00:00:00Z"}
