"""JSON:API resources of odd but legal shape, one at a time: an item needs an id, and nothing else; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from tap_klaviyo.klaviyo.json_values import NULL, decode_array, decode_object, decode_text
from tap_klaviyo.klaviyo.resources import Identifier, Relationship, Relationships, Resource

_DIGITS = tuple("-0123456789")
_RELATIONSHIPS: Sequence[Any] = msgspec.structs.fields(Relationships)

_resource = msgspec.json.Decoder(Resource)


class Envelope(Struct):
    """A page whose resources are still JSON."""

    data: list[Raw]
    included: Raw = NULL
    links: Raw = NULL


def read_resource(value: Raw, decoder: msgspec.json.Decoder[Resource]) -> Resource | None:
    """Return a resource, typed if it fits the decoder; None for an item without an id.

    Relationships of another shape than JSON:API's count as absent, and a number as an id is its digits.
    """
    for each in (decoder, _resource):
        try:
            return each.decode(value)
        except (msgspec.ValidationError, RecursionError):
            pass
    return _odd_resource(decode_object(value) or {})


def next_page(links: Raw) -> str | None:
    """Return the URL of the next page, or None if there is none.

    Raises:
        ValueError: it is neither text nor a link object with a text.
    """
    following = (decode_object(links) or {}).get("next", NULL)
    following = (decode_object(following) or {}).get("href", following)
    if bytes(following) == b"null":
        return None
    text = decode_text(following)
    if text is None:
        raise ValueError("links.next is not a URL")
    return text or None


def _odd_resource(members: dict[str, Raw]) -> Resource | None:
    name = _id(members.get("id"))
    if name is None:
        return None
    kind = decode_text(members.get("type")) or ""
    return Resource(name, _relationships(members.get("relationships")), kind, members.get("attributes", Raw(b"{}")))


def _id(value: Any) -> str | None:
    """Return an id as text: a number is its digits, and anything else has none."""
    if text := decode_text(value):
        return text
    number = bytes(value).decode() if isinstance(value, Raw) else ""
    return number if number.startswith(_DIGITS) else None


def _relationships(value: Any) -> Relationships:
    members = decode_object(value) or {}
    found = {field.name: _relationship(members.get(field.encode_name)) for field in _RELATIONSHIPS}
    return Relationships(**found)


def _relationship(value: Any) -> Relationship | None:
    data = (decode_object(value) or {}).get("data")
    several = decode_array(data)
    if several is None:
        return Relationship(_identifier(data))
    return Relationship([found for each in several if (found := _identifier(each))])


def _identifier(value: Any) -> Identifier | None:
    name = _id((decode_object(value) or {}).get("id"))
    return Identifier(name) if name else None
