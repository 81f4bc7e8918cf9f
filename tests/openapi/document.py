"""Klaviyo's OpenAPI document made fit for validation: cut to a few paths, closed, and corrected; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]


@dataclass(frozen=True)
class Deviation:
    """A known difference between live answers and the document: `schema` extends the definition at `path`."""

    component: str
    path: tuple[str, ...]
    schema: Mapping[str, Any]
    reason: str


_NULLABLE = {"nullable": True}

DEVIATIONS: tuple[Deviation, ...] = (
    Deviation("CollectionLinks", ("next",), _NULLABLE, "recorded: null behind the last page"),
    Deviation("CollectionLinks", ("prev",), _NULLABLE, "recorded: null before the first page"),
    Deviation(
        "EmailSendOptions",
        ("ignore_unsubscribes",),
        {"type": "boolean"},
        "dropped from the document in revision 2025-01-15, and still sent; the options of all channels are alike",
    ),
    Deviation(
        "EventResponseObjectResource",
        ("relationships", "profile", "data"),
        _NULLABLE,
        "seen by users: an event whose profile is gone",
    ),
    Deviation(
        "FlowMessageEncodedResponseObjectResource",
        ("relationships", "template", "data"),
        _NULLABLE,
        "recorded for messages of campaigns: null if there is no template",
    ),
    Deviation(
        "MessageDefinition",
        ("ab_test",),
        {"type": "object", "nullable": True},
        "the stable revision after the beta has it",
    ),
    Deviation("ObjectLinks", ("next",), {"type": "string", **_NULLABLE}, "recorded: reports have pages"),
    Deviation("ObjectLinks", ("prev",), {"type": "string", **_NULLABLE}, "recorded: reports have pages"),
    Deviation("VariationDefinition", ("details",), {"anyOf": [{}]}, "the stable revision has details of WhatsApp too"),
)


def fit(document: Schema, paths: Iterable[str]) -> Schema:
    """Return the part of the document that describes reading the paths, as strict as it can be.

    That is GET, or POST for reports, which have no GET.

    Objects are closed, so that a name which the document does not have is found. `oneOf` becomes `anyOf`,
    because the document's alternatives overlap: the send options of e-mail, SMS and push are the same.
    `nullable` is spelled out beside references, alternatives and enumerations, because OpenAPI 3.0 ignores it
    there.
    Errors stay open: live ones have more fields than the document's.
    """
    kept = {path: {verb: document["paths"][path][verb]} for path in paths for verb in [reading_verb(document, path)]}
    components = _needed(document, kept)
    schemas = {name: _strict(document, each) for name, each in components.pop("schemas", {}).items()}
    for deviation in DEVIATIONS:
        if deviation.component in schemas:
            _extend(schemas[deviation.component], deviation)
    return {
        **{name: document[name] for name in ("openapi", "info", "servers", "security")},
        "paths": kept,
        "components": {
            **components,
            "schemas": schemas,
            "securitySchemes": document["components"]["securitySchemes"],
        },
    }


def reading_verb(document: Schema, path: str) -> str:
    """Return the method by which a path is read."""
    return "get" if "get" in document["paths"][path] else "post"


def _needed(document: Schema, kept: Schema) -> dict[str, Schema]:
    """Return the components that the paths refer to, directly or through others, by kind and name."""
    components: dict[str, Schema] = {}
    pending = list(_references(kept))
    while pending:
        kind, name = pending.pop()
        if name not in components.setdefault(kind, {}):
            components[kind][name] = document["components"][kind][name]
            pending += _references(components[kind][name])
    return components


def _references(node: object) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            _, _, kind, name = node["$ref"].split("/")
            yield kind, name
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _strict(document: Schema, schema: Schema) -> Schema:
    """Return a schema closed, with `allOf` merged, `oneOf` as `anyOf`, and `nullable` in effect."""
    result = dict(schema)
    for part in result.pop("allOf", ()):
        result = _merged(result, _resolved(document, part))
    alternatives = [_strict(document, each) for each in result.pop("oneOf", ())]
    if "$ref" in result and _is_nullable(result):
        alternatives = [{"$ref": result.pop("$ref")}]
    if alternatives:
        result["anyOf"] = alternatives + [{"enum": [None], **_NULLABLE}] * _is_nullable(result)
    if "enum" in result and _is_nullable(result):
        result["enum"] = [*result["enum"], None]
    if "items" in result:
        result["items"] = _strict(document, result["items"])
    if "properties" in result:
        properties = {name: _strict(document, each) for name, each in result["properties"].items()}
        result |= {"properties": properties, "additionalProperties": False}
    return result


def _is_nullable(schema: Schema) -> bool:
    return schema.get("nullable") is True


def _resolved(document: Schema, schema: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    _, _, kind, name = schema["$ref"].split("/")
    resolved: Schema = document["components"][kind][name]
    return resolved


def _merged(first: Schema, second: Schema) -> Schema:
    """Return two schemas as one that means both, for objects that differ in their properties only."""
    result = {**first, **second}
    for name in first.keys() & second.keys():
        if isinstance(first[name], dict):
            result[name] = _merged(first[name], second[name])
        elif isinstance(first[name], list):
            result[name] = [*first[name], *second[name]]
    return result


def _extend(schema: Schema, deviation: Deviation) -> None:
    for name in deviation.path[:-1]:
        schema = schema["properties"][name]
    properties = schema["properties"]
    properties[deviation.path[-1]] = {**properties.get(deviation.path[-1], {}), **deviation.schema}
