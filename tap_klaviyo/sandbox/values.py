"""Attributes of resources, generated from their schemas: odd, but legal.

Every nullable attribute is null in some resources and present in others. Texts hold Unicode, numbers are whole or
broken, arrays and free objects are sometimes empty. The same arguments give the same attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tap_klaviyo.sandbox.endpoints import SCHEMAS, ResourceType, Schema
from tap_klaviyo.sandbox.templates import time_stamp

_YEAR = 365 * 86_400
# Conditions of segments and blocks of templates can contain each other without end.
_DEEPEST = 9
_TEXTS = ("Autumn 🍂", "Zoë & O'Hara", "", "two\nlines", "名前", 'a "quoted" text', "50 %", "VIP")
_FREE: tuple[Mapping[str, Any], ...] = (
    {},
    {"color": "blue", "Größe": 42.5, "in stock": True, "note": None},
    {"nested": {"list": [1, "two", {"three": 3.0}], "empty": []}, "$big": 123456789012345678901234567890},
    {"text with\u0000NUL": "a\u0000b", "escape": "\\u0000"},
)
# By the last word of an attribute's name.
_BY_NAME: Mapping[str, tuple[str, ...]] = {
    "background": ("AVAILABLE", "RESTRICTED"),
    "channel": ("Email", "SMS", "Push"),
    "color": ("#1d2d3d", "rgb(0, 0, 0)"),
    "date": ("2026-03-01T08:07:04+00:00", "2026-03-01 08:07:04"),
    "format": ("png", "jpeg", "gif"),
    "locale": ("en-US", "da-DK"),
    "namespace": ("custom-objects", "shop"),
    "status": ("live", "draft", "manual"),
    "vendor": ("APNS", "FCM"),
    "email": ("ada@shop.example", "José+news@mail.example"),
    "html": ("<html><body><h1>Autumn 🍂</h1>{% unsubscribe %}</body></html>", "<html></html>"),
    "timezone": ("US/Eastern", "Europe/Copenhagen"),
    "url": ("https://shop.example/a?b=c&d=%20", "https://shop.example/ü"),
}
_DATE_FORMATS = ("seconds", "milliseconds", "microseconds")


@dataclass(frozen=True)
class Moments:
    """When a resource was created and last updated, in epoch seconds."""

    created: int
    updated: int


def make_attributes(
    resource_type: ResourceType, revision: str, number: int, now: int, random: Random
) -> dict[str, Any]:
    """Return the attributes of one resource.

    Args:
        resource_type: has the schema of the attributes.
        revision: whose components the schema refers to.
        number: the resource's place in its collection; decides which attributes are null.
        now: epoch seconds; the resource was made in the two years before.
        random: chooses the rest.
    """
    schema = resource_type.attributes
    if "properties" not in schema and "$ref" not in schema:
        return {}
    created = now - random.randrange(86_400, 2 * _YEAR)
    generator = Generator(
        SCHEMAS[revision],
        resource_type.name.replace("-", " ").capitalize(),
        number,
        Moments(created, random.randrange(created, now - 3600)),
        # An API writes all dates of one type in the same precision.
        _DATE_FORMATS[sum(map(ord, resource_type.name)) % 3],
        random,
    )
    made: dict[str, Any] = generator.value("", schema)
    return made


def make_component(name: str, revision: str, number: int, now: int, random: Random) -> dict[str, Any]:
    """Return a value of a component of the document; the arguments are those of `make_attributes`."""
    return make_attributes(ResourceType(name, {"$ref": name}, {}), revision, number, now, random)


@dataclass(frozen=True)
class Generator:
    """Makes the values of one resource."""

    schemas: Mapping[str, Schema]
    label: str
    number: int
    moments: Moments
    precision: str
    random: Random

    def value(self, name: str, schema: Schema, depth: int = 0) -> Any:
        """Return a value for an attribute; its name decides between texts."""
        if "$ref" in schema:
            schema = {**self.schemas[schema["$ref"]], **({"nullable": True} if schema.get("nullable") else {})}
        if alternatives := schema.get("oneOf"):
            return self.value(name, self._turn(alternatives), depth)
        if values := schema.get("enum"):
            return self._turn(values)
        make = self._makers().get(schema.get("type", "object"), self._object)
        return make(name, schema, depth)

    def _turn(self, values: Sequence[Any]) -> Any:
        # The second term keeps a value from falling together with null, which comes every fifth time.
        return values[(self.number + self.number // 5) % len(values)]

    def _makers(self) -> Mapping[str, Callable[[str, Schema, int], Any]]:
        return {
            "array": self._array,
            "boolean": lambda *_: self.random.random() < 0.5,
            "integer": lambda *_: self.random.choice((0, 1, 7, 250, 100_000)),
            "number": lambda *_: self.random.choice((0, 3, 3.0, 19.99, 1e-07, 1250000.5)),
            "string": self._text,
        }

    def _object(self, name: str, schema: Schema, depth: int) -> Any:
        properties: Mapping[str, Schema] = schema.get("properties", {})
        if not properties:
            return dict(_FREE[self.number % len(_FREE)])
        required = schema.get("required", ())
        made = {}
        for place, (inner, described) in enumerate(properties.items()):
            if inner not in required and depth > _DEEPEST:
                continue
            # Below the first level, a third of the optional attributes are missing.
            if inner not in required and depth and self.random.random() < 0.33:
                continue
            empty = self._is_nullable(described) and (self.number + place) % 5 == 3
            made[inner] = None if empty else self.value(inner, described, depth + 1)
        return made

    def _is_nullable(self, schema: Schema) -> bool:
        return bool(schema.get("nullable") or self.schemas.get(schema.get("$ref", ""), {}).get("nullable"))

    def _array(self, name: str, schema: Schema, depth: int) -> Any:
        count = 0 if depth > _DEEPEST else (self.number + depth) % 3
        return [self.value(name, schema["items"], depth + 1) for _ in range(count)]

    def _text(self, name: str, schema: Schema, depth: int) -> str:
        match schema.get("format"):
            case "date-time":
                return self._moment(name)
            case "date":
                return self._moment(name)[:10]
            case "time":
                return "09:30:00"
        words = name.split("_")
        for word in reversed(words):
            if word in _BY_NAME:
                return self.random.choice(_BY_NAME[word])
        if "name" in words or "title" in words or "label" in words:
            return f"{self.label} {self.number} {self.random.choice(_TEXTS)}".strip()
        return self.random.choice(_TEXTS)

    def _moment(self, name: str) -> str:
        second = self.moments.updated if name.startswith("updated") else self.moments.created
        if not name.startswith(("created", "updated")):
            second += self.random.randrange(_YEAR)
        text = time_stamp(second).decode()
        digits = {"seconds": 0, "milliseconds": 3, "microseconds": 6}[self.precision]
        fraction = f".{self.random.randrange(10**digits):0{digits}}" if digits else ""
        return f"{text[:19]}{fraction}{text[19:]}"
