"""The bodies of POST requests, checked against their schemas in contract.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tap_klaviyo.sandbox.endpoints import SCHEMAS, Endpoint, Schema
from tap_klaviyo.sandbox.refusals import RefusalError
from tap_klaviyo.sandbox.traffic import MEDIA_TYPE, Request

_KINDS: Mapping[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}


def read_attributes(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """Return the attributes that a request's body holds.

    Raises:
        RefusalError: the body is not JSON, or the endpoint does not take it.
    """
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
    if media_type not in (MEDIA_TYPE, "application/json"):
        raise RefusalError("unsupported_media_type", f'Unsupported media type "{media_type}" in request.')
    try:
        body = json.loads(request.body)
    except ValueError:
        raise RefusalError("invalid", "Invalid JSON in the request body.", pointer="/data") from None
    _check_value(body, endpoint.body, SCHEMAS[endpoint.revision], "")
    attributes: dict[str, Any] = body["data"]["attributes"]
    return attributes


def refuse_attribute(detail: str, name: str) -> RefusalError:
    """Return the refusal of an attribute of the body."""
    return RefusalError("invalid", detail, pointer=f"/data/attributes/{name}")


def _check_value(value: object, schema: Schema, components: Mapping[str, Schema], pointer: str) -> None:
    nullable = schema.get("nullable")
    if "$ref" in schema:
        schema = components[schema["$ref"]]
    if value is None and (nullable or schema.get("nullable")):
        return
    if alternatives := schema.get("oneOf"):
        _check_alternatives(value, alternatives, components, pointer)
        return
    expected = _KINDS[schema.get("type", "object")]
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        raise RefusalError("invalid", f"Invalid type for '{_attribute_name(pointer)}'.", pointer=pointer)
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(map(str, schema["enum"]))
        raise RefusalError(
            "invalid", f"'{_attribute_name(pointer)}' must be one of: {known} (got {value})", pointer=pointer
        )
    if isinstance(value, dict) and "properties" in schema:
        _check_object(value, schema, components, pointer)
    if isinstance(value, list) and "items" in schema:
        for place, each in enumerate(value):
            _check_value(each, schema["items"], components, f"{pointer}/{place}")


def _check_object(value: dict[str, Any], schema: Schema, components: Mapping[str, Schema], pointer: str) -> None:
    properties = schema["properties"]
    for name in value:
        if name not in properties:
            detail = f"'{name}' is not a valid field for the resource."
            raise RefusalError("invalid", detail, pointer=f"{pointer}/{name}")
    for name in schema.get("required", ()):
        if name not in value:
            raise RefusalError("invalid", f"'{name}' is a required field.", pointer=f"{pointer}/{name}")
    for name, each in value.items():
        _check_value(each, properties[name], components, f"{pointer}/{name}")


def _check_alternatives(
    value: object, alternatives: list[Schema], components: Mapping[str, Schema], pointer: str
) -> None:
    refusals = []
    for each in alternatives:
        try:
            _check_value(value, each, components, pointer)
        except RefusalError as refusal:
            refusals.append(refusal)
        else:
            return
    raise refusals[0]


def _attribute_name(pointer: str) -> str:
    return next((part for part in reversed(pointer.split("/")) if part and not part.isdigit()), "data")
