"""Reads unusual but legal JSON:API resources one by one; only an id is required; pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from tap_klaviyo.klaviyo.json_values import NULL, decode_array, decode_object, decode_text
from tap_klaviyo.klaviyo.resources import Identifier, Relationship, Resource

_DIGITS = tuple("-0123456789")


class LinkError(Exception):
    """The link to the next page is neither a string nor a link object. No ValueError: the decoder's errors are."""


class Envelope(Struct):
    """A page with undecoded resources."""

    data: list[Raw]
    included: Raw = NULL
    links: Raw = NULL


def read_resource(
    value: Raw, typed: msgspec.json.Decoder[Resource], plain: msgspec.json.Decoder[Resource]
) -> Resource | None:
    """Return a resource, typed if it fits the decoder; None for an item without an id.

    Malformed relationships are ignored. A numeric id becomes its digits.

    Args:
        value: the resource as JSON.
        typed: decodes a resource that fits its schema.
        plain: decodes one with any attributes, of a type that `plain_resource` made.
    """
    for each in (typed, plain):
        try:
            return each.decode(value)
        except (msgspec.ValidationError, RecursionError):
            pass
    return _odd_resource(decode_object(value) or {}, plain.type)


def next_page(links: Raw) -> str | None:
    """Return the URL of the next page, or None after the last page, whichever empty value stands for that.

    Raises:
        LinkError: the link is neither a string nor a link object.
    """
    following = (decode_object(links) or {}).get("next", NULL)
    following = (decode_object(following) or {}).get("href", following)
    if not msgspec.json.decode(following):
        return None
    text = decode_text(following)
    if text is None:
        raise LinkError("links.next is not a URL")
    return text


def _odd_resource(members: dict[str, Raw], kind: type[Resource]) -> Resource | None:
    name = _id_text(members.get("id"))
    if name is None:
        return None
    resource = kind(name, decode_text(members.get("type")) or "", members.get("attributes", Raw(b"{}")))
    if kind.declared.struct:
        given = decode_object(members.get("relationships")) or {}
        found = {field: _lenient_relationship(given.get(each)) for each, field in kind.declared.fields.items()}
        resource.relationships = kind.declared.struct(**found)  # type: ignore[attr-defined]
    return resource


def _id_text(value: Any) -> str | None:
    """Return an id as text. A number becomes its digits; other types give no id."""
    if text := decode_text(value):
        return text
    number = bytes(value).decode() if isinstance(value, Raw) else ""
    return number if number.startswith(_DIGITS) else None


def _lenient_relationship(value: Any) -> Relationship | None:
    data = (decode_object(value) or {}).get("data")
    several = decode_array(data)
    if several is None:
        return Relationship(_lenient_identifier(data))
    return Relationship([found for each in several if (found := _lenient_identifier(each))])


def _lenient_identifier(value: Any) -> Identifier | None:
    name = _id_text((decode_object(value) or {}).get("id"))
    return Identifier(name) if name else None
