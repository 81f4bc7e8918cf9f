"""Pages of odd but legal data: every item with a key becomes a record, and every record fits its schema."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest

from tap_klaviyo.klaviyo.jsonapi import parse_page
from tap_klaviyo.records.build import build_records
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.records.times import epoch_seconds
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.streams.events import project_metric
from tap_klaviyo.streams.table import BY_NAME
from tests.decoding import plain_decoder
from tests.validity import validator_of

SEEDS = range(60)
NAMES = ("open", "lists", "campaigns", "global_exclusions")
RELATIONSHIPS = ("profile", "attributions", "tags", "campaign-messages", "template", "flow", "event")

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 5, 33.3, 1e300, 10**30, -(2**63), 1_700_000_000, 1_700_000_000_000),
    *(
        "",
        "x",
        "5",
        "-007",
        "1.50",
        "true",
        "null",
        "NaN",
        "\u0000",
        '"\\',
        "\N{PARTY POPPER}",
        "\u00e9/\u2028",
        "a\r\nb",
    ),
    *("2026-06-23T00:15:23+00:00", "2026-06-23 00:15:23", "0000-00-00 00:00:00", "05/16/2021", "2026-06-23T24:00:00Z"),
    *([], {}, [1], [[]], [None, "x", {"a": 1}], {"a": {"b": None}}, {"": 0}, {"id": 5}, [{"datetime": "soon"}]),
)
CONFORMING: Mapping[str, Any] = {
    "string": "text",
    "integer": 7,
    "number": 1.5,
    "boolean": True,
    "object": {"a": 1},
    "date-time": "2026-06-23T00:15:23+00:00",
}


class Oddity:
    """Values and items drawn by a seed: most conform, some do not."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def happens(self, chance: float = 0.12) -> bool:
        return self.dice.random() < chance

    def value(self) -> Any:
        return self.dice.choice(ODD)

    def of(self, definition: Mapping[str, Any]) -> Any:
        """Return a value for a field: of its type, or of any other."""
        if self.happens():
            return self.value()
        if "items" in definition:
            return [self.of(definition["items"]) for _ in range(self.dice.randrange(3))]
        if "properties" in definition:
            return self.attributes(definition)
        types = [each for each in definition["type"] if each != "null"]
        return CONFORMING[definition.get("format", types[0])]

    def attributes(self, schema: Mapping[str, Any]) -> Any:
        if self.happens(0.03):
            return self.value()
        found = {name: self.of(each) for name, each in schema["properties"].items() if not self.happens(0.05)}
        return {**found, "mood": self.value()} if self.happens(0.1) else found

    def relationships(self) -> Any:
        if self.happens(0.03):
            return self.value()
        names = {name: [{"type": name, "id": f"{name}{self.dice.randrange(4)}"}] for name in RELATIONSHIPS}
        return {
            name: self.value() if self.happens(0.05) else {"data": self.value() if self.happens(0.05) else data}
            for name, data in names.items()
        }

    def item(self, name: Any, kind: Any, schema: Mapping[str, Any]) -> Any:
        if self.happens(0.03):
            return self.value()
        whole = {"type": kind, "id": name, "attributes": self.attributes(schema), "relationships": self.relationships()}
        return {key: value for key, value in whole.items() if not self.happens(0.02)}

    def id(self, number: int) -> Any:
        return self.value() if self.happens(0.05) else f"id{number}"

    def page(self, stream: str) -> dict[str, Any]:
        schema = BY_NAME[stream].schema
        own = [self.item(self.id(n), "x", {**schema, "properties": self.own(stream)}) for n in range(12)]
        included = [
            self.item(f"{each.relationship}{n}", each.type, inner.get("items", inner))
            for each in BY_NAME[stream].related
            for inner in [schema["properties"][each.field]]
            if each.shape != "id"
            for n in range(3)
        ]
        return {"data": own, "included": self.value() if self.happens(0.1) else included, "links": {"next": None}}

    def own(self, stream: str) -> dict[str, Any]:
        """Return the fields that the resources' own attributes fill."""
        made = {"id", "type", "metric", *(each.field for each in BY_NAME[stream].related)}
        return {name: each for name, each in BY_NAME[stream].schema["properties"].items() if name not in made}


def ids_of(page: Mapping[str, Any]) -> list[str]:
    """Return the ids of a page's items that have one, as Klaviyo wrote them."""
    found = [item["id"] for item in page["data"] if isinstance(item, dict) and "id" in item]
    return [
        each.replace("\u0000", "") if isinstance(each, str) else json.dumps(each)
        for each in found
        if (isinstance(each, str) and each.replace("\u0000", "")) or type(each) in (int, float)
    ]


def records_of(
    stream: str, body: bytes, projection: Projection, plain: bool = False
) -> tuple[list[dict[str, Any]], Findings]:
    findings = Findings()
    page = parse_page(body, plain_decoder(projection) if plain else projection.decoder)
    records = build_records(page, projection, findings)
    lines = encode_records(stream, records).splitlines()
    if stream == "open":
        assert len(epoch_seconds(records, "timestamp")) == len(records)
    return [json.loads(line)["record"] for line in lines], findings


def projection_of(stream: str, oddity: Oddity) -> Projection:
    projection = BY_NAME[stream].project(BY_NAME[stream].schema)
    if not BY_NAME[stream].metric_names:
        return projection
    metric = {
        "type": "metric",
        "id": "m",
        "attributes": oddity.attributes(BY_NAME[stream].schema["properties"]["metric"]["items"]),
    }
    return project_metric(projection, parse_page(json.dumps({"data": [metric]}).encode()).data[0])


@pytest.mark.parametrize("stream", NAMES)
@pytest.mark.parametrize("seed", SEEDS)
def test_odd_pages_become_valid_records_of_all_items_with_a_key(stream: str, seed: int) -> None:
    oddity = Oddity(seed)
    projection = projection_of(stream, oddity)
    validate = validator_of(projection.source.emitted)
    for _ in range(4):
        page = oddity.page(stream)
        body = json.dumps(page).encode()
        records, findings = records_of(stream, body, projection)
        for record in records:
            validate(record)
        if stream == "global_exclusions":
            assert len(records) + findings.set_aside.total() >= len(page["data"])
        else:
            assert [record["id"] for record in records] == ids_of(page)
            assert findings.set_aside[projection.source.name] == len(page["data"]) - len(records)
        again, counted = records_of(stream, body, projection)
        plainly, _ = records_of(stream, body, projection, plain=True)
        assert again == plainly == records
        assert len(counted.summary()) <= 1100
        assert "\n" not in counted.summary()


@pytest.mark.parametrize("stream", NAMES)
def test_a_page_that_conforms_has_nothing_to_report(stream: str) -> None:
    class Even(Oddity):
        def happens(self, chance: float = 0.12) -> bool:
            return False

    body = json.dumps(Even(0).page(stream)).encode()
    records, findings = records_of(stream, body, projection_of(stream, Even(0)))
    assert (len(records), findings.summary()) == (12, "")
