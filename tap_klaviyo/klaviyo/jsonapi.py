"""Decodes a response body into JSON:API resources. An invalid item does not affect the other items of a page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import reduce
from html import unescape
from operator import or_
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from tap_klaviyo.errors import TapError
from tap_klaviyo.klaviyo.json_values import decode_array, decode_object
from tap_klaviyo.klaviyo.lenient import Envelope, LinkError, next_page, read_resource
from tap_klaviyo.klaviyo.mending import clean_body, mend_body
from tap_klaviyo.klaviyo.resources import Resource, plain_resource

# The types of the primary and of the included resources of a page.
Own = TypeVar("Own")
Included = TypeVar("Included")

_LONGEST_DETAIL = 1000
_LONGEST_ID = 80
# The title of a web page is searched within this number of bytes.
_LONGEST_HEAD = 20_000
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)


class MalformedError(TapError):
    """A response body is not a valid JSON:API document."""


@dataclass
class Page:
    """One page of a collection.

    Args:
        data: the primary resources.
        included: the included resources.
        next: the URL of the next page. None for the last page.
        has_links: whether the page has links. A page without links may be incomplete.
        set_aside: the number of items without an id in "data" and "included". They are left out.
        changed: the number of values that were changed for the decoder, by reason.
    """

    data: list[Resource]
    included: list[Resource]
    next: str | None
    has_links: bool = True
    set_aside: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)


class _Links(Struct):
    next: str | None = None


class _Document(Struct, Generic[Own, Included]):
    data: list[Own]
    links: _Links | None = None
    included: list[Included] = []


@dataclass(frozen=True)
class _Decoders:
    """The decoders of one resource: one for its type, and one that accepts any attributes."""

    typed: msgspec.json.Decoder[Resource]
    plain: msgspec.json.Decoder[Resource]

    @classmethod
    def of(cls, kind: Any, relationships: Collection[str]) -> _Decoders:
        return cls(msgspec.json.Decoder(kind), msgspec.json.Decoder(plain_resource(relationships)))


class PageDecoder:
    """Decodes a page as a whole if all resources have the expected types; otherwise item by item."""

    def __init__(self, own: type[Resource] = Resource, *included: type[Resource]) -> None:
        """Expect these types. `Resource` accepts any attributes and keeps them as bytes."""
        self.expect(own, *included)

    def expect(self, own: type[Resource], *included: type[Resource]) -> None:
        """Expect other types from now on."""
        related: Any = reduce(or_, included or (Resource,))
        # An invalid resource may lack its type, so it is decoded with the relationships of all types.
        relationships = {name for kind in included for name in kind.declared.fields}
        self._whole = msgspec.json.Decoder(_Document[own, related])  # type: ignore[valid-type]
        self._own = _Decoders.of(own, own.declared.fields)
        self._included = _Decoders.of(related, relationships)

    def decode(self, body: bytes | bytearray) -> Page:
        """Decode a page.

        Raises:
            MalformedError: the body is valid JSON but not a JSON:API collection.
            msgspec.DecodeError, RecursionError: the body cannot be decoded as JSON.
        """
        try:
            document = self._whole.decode(body)
            links = document.links
            return Page(document.data, document.included, (links and links.next) or None, links is not None)
        except msgspec.ValidationError:
            return _by_item(body, self._own, self._included)


PLAIN = PageDecoder()
_envelope = msgspec.json.Decoder(Envelope)


def _by_item(body: bytes | bytearray, own: _Decoders, included: _Decoders) -> Page:
    try:
        envelope = _envelope.decode(body)
        following = next_page(envelope.links)
    except (msgspec.ValidationError, LinkError) as problem:
        raise MalformedError(str(problem)) from None
    page = Page([], [], following, decode_object(envelope.links) is not None)
    related = decode_array(envelope.included)
    page.set_aside["included"] += related is None and bytes(envelope.included) != b"null"
    for values, decoders, found, name in (
        (envelope.data, own, page.data, "data"),
        (related or [], included, page.included, "included"),
    ):
        resources = [read_resource(value, decoders.typed, decoders.plain) for value in values]
        found += [each for each in resources if each is not None]
        page.set_aside[name] += len(resources) - len(found)
    page.set_aside = +page.set_aside
    return page


def parse_page(body: bytes | bytearray, decoder: PageDecoder = PLAIN) -> Page:
    """Decode a response body, after a repair if the decoder rejects it.

    Raises:
        MalformedError: the body is incomplete, invalid JSON, or not a JSON:API collection.
    """
    body, changed = clean_body(body), Counter[str]()
    while True:
        try:
            page = decoder.decode(body)
            page.changed = changed
            return page
        except (msgspec.DecodeError, RecursionError) as problem:
            mended, found = mend_body(body, isinstance(problem, RecursionError))
            if mended == body:
                raise MalformedError(str(problem)) from None
            body, changed = mended, changed + found


@dataclass(frozen=True)
class ErrorWords:
    """Klaviyo's error message in one line, and the id that Klaviyo's support can look up."""

    detail: str = ""
    id: str = ""


class _ErrorDetail(Struct):
    id: str = ""
    detail: str = ""
    title: str = ""
    code: str = ""


class _ErrorDocument(Struct):
    errors: list[_ErrorDetail]


_errors = msgspec.json.Decoder(_ErrorDocument)


def read_errors(body: bytes | bytearray) -> ErrorWords:
    """Return the error message in a response body. Empty without a message."""
    try:
        errors = _errors.decode(body.decode("utf-8", "replace")).errors
    except (msgspec.DecodeError, RecursionError):
        return ErrorWords()
    said = " ".join(dict.fromkeys(error.detail or error.title or error.code for error in errors))
    number = next((error.id for error in errors if error.id), "")
    return ErrorWords(" ".join(said.split())[:_LONGEST_DETAIL], "".join(number.split())[:_LONGEST_ID])


def describe_body(body: bytes | bytearray) -> str:
    """Describe a body that is not a page, by its errors or by the title of a web page. Empty for other bodies."""
    if detail := read_errors(body).detail:
        return f"it says: {detail}"
    if not body.lstrip().startswith(b"<"):
        return ""
    found = _TITLE.search(body, 0, _LONGEST_HEAD)
    text = unescape(found[1].decode("utf-8", "replace")) if found else ""
    title = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return f'a web page titled "{title}"' if title else "a web page"
