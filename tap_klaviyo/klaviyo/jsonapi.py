"""JSON:API documents: a response body to typed resources, with the attributes left as bytes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar, cast

import msgspec
from msgspec import NODEFAULT, Raw, Struct

from tap_klaviyo.errors import TapError

# What a page's resources are decoded as, and those that are included.
Own = TypeVar("Own")
Related = TypeVar("Related")
Value = TypeVar("Value")

_EMPTY = Raw(b"{}")
NULL = Raw(b"null")
_LONGEST_DETAIL = 1000
_PART = 2**12
# With a backslash that is escaped itself, so that what follows it is not taken for the escape of NUL.
_NUL = re.compile(rb"\\(?:\\|u0000)")
_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.",
    re.DOTALL,
)


class Identifier(Struct, gc=False):
    """A resource's id, as relationships name it."""

    id: str


class Relationship(Struct, gc=False):
    """The resources that a relationship points at; None where the API gives only links."""

    data: Identifier | list[Identifier] | None = None


class Relationships(Struct, rename="kebab", gc=False):
    """The relationships that records are made by, of all kinds of resources."""

    profile: Relationship | None = None
    attributions: Relationship | None = None
    tags: Relationship | None = None
    campaign_messages: Relationship | None = None
    template: Relationship | None = None
    image: Relationship | None = None
    event: Relationship | None = None
    attributed_event: Relationship | None = None
    campaign: Relationship | None = None
    campaign_message: Relationship | None = None
    flow: Relationship | None = None
    flow_message: Relationship | None = None
    flow_message_variation: Relationship | None = None


class Resource(Struct, gc=False):
    """One resource of `data` or `included`; what it does not have of attributes is empty."""

    id: str
    type: str
    attributes: Raw = _EMPTY
    relationships: Relationships | None = None

    def one(self, name: str) -> str | None:
        """Return the id that a to-one relationship points at."""
        try:
            found: str = getattr(self.relationships, name).data.id
        except AttributeError:
            return None
        return found

    def ids(self, name: str) -> list[str]:
        """Return the ids that a relationship points at, to one or to many."""
        data = getattr(getattr(self.relationships, name, None), "data", None)
        if isinstance(data, list):
            return [each.id for each in data]
        return [data.id] if data else []


class Links(Struct):
    """A collection's links; Klaviyo writes an explicit null where there is no next page."""

    self: str
    next: str | None = None


class Document(Struct, Generic[Own, Related]):
    """One page of a collection."""

    data: list[Own]
    links: Links
    included: list[Related] = []


Page = Document[Resource, Resource]
PageDecoder = msgspec.json.Decoder[Page]


class ErrorDetail(Struct):
    """One element of `errors`."""

    detail: str = ""
    title: str = ""
    code: str = ""


class ErrorDocument(Struct):
    """The body of a refusal."""

    errors: list[ErrorDetail]


class MalformedError(TapError):
    """A body is not the JSON:API document that it should be."""


PLAIN: PageDecoder = msgspec.json.Decoder(Page)
_error = msgspec.json.Decoder(ErrorDocument)
_object = msgspec.json.Decoder(dict[str, Raw] | None)
_array = msgspec.json.Decoder(list[Raw] | None)
_text = msgspec.json.Decoder(str | None)
_integer = msgspec.json.Decoder(int | None)


def typed_resource(kinds: Sequence[str], attributes: Any) -> type[Resource]:
    """Return the type of resources of some kinds with attributes of a type: for where they are very many."""
    fields: list[tuple[str, Any, Any]] = [
        ("type", Literal[tuple(kinds)], NODEFAULT),
        ("attributes", attributes, _EMPTY),
    ]
    return cast(type[Resource], msgspec.defstruct("TypedResource", fields, bases=(Resource,), gc=False))


def page_decoder(own: type[Resource], related: type[Resource]) -> PageDecoder:
    """Return what decodes pages of these types of resources, and pages that do not fit them as PLAIN does."""
    return msgspec.json.Decoder(Document[own, related])  # type: ignore[valid-type]


def parse_page(body: bytes | bytearray, decoder: PageDecoder = PLAIN) -> Page:
    """Return the body as a document.

    Args:
        body: of an answer.
        decoder: its types of resources; if any of the body's do not fit, all of them are plain ones.

    Raises:
        MalformedError: the body is cut, is no JSON, or has another shape.
    """
    body = _writable(body)
    try:
        return _decode(body, decoder)
    except msgspec.DecodeError as error:
        # msgspec refuses half of a surrogate pair, which Klaviyo passes on where a sender cut an emoji in two.
        mended = _SURROGATE.sub(_mend_surrogate, body)
        if mended == body:
            raise MalformedError(str(error)) from None
    except RecursionError:
        raise MalformedError("it is nested too deep") from None
    try:
        return _decode(mended, decoder)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedError(str(error)) from None


def _decode(body: bytes | bytearray, decoder: PageDecoder) -> Page:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        return PLAIN.decode(body)


def error_detail(body: bytes | bytearray) -> str:
    """Return Klaviyo's own words from the body of a refusal, on one line; empty where it has none."""
    try:
        errors = _error.decode(body.decode("utf-8", "replace")).errors
    except (msgspec.DecodeError, RecursionError):
        return ""
    said = " ".join(dict.fromkeys(error.detail or error.title or error.code for error in errors))
    return " ".join(said.split())[:_LONGEST_DETAIL]


def _writable(body: bytes | bytearray) -> bytes | bytearray:
    """Return the body such that any part of it can stand in a line of output: UTF-8, one line, no NUL."""
    if not (body.isascii() or _is_utf8(body)):
        body = body.decode("utf-8", "replace").encode()
    if b"\n" in body or b"\r" in body:
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    return _NUL.sub(_without_nul, body)


def _is_utf8(body: bytes | bytearray) -> bool:
    """Return whether a body is UTF-8, by small parts: one emoji makes a string of the whole four times as large."""
    view, start = memoryview(body), 0
    try:
        while start < len(view):
            end = start + _PART
            start += codecs.utf_8_decode(view[start:end], "strict", end >= len(view))[1]
    except UnicodeDecodeError:
        return False
    return True


def _without_nul(escape: re.Match[bytes]) -> bytes:
    return escape[0] if len(escape[0]) == 2 else b""


def _mend_surrogate(escape: re.Match[bytes]) -> bytes:
    lone = len(escape[0]) == 6
    return rb"\ufffd" if lone else escape[0]


def decode_object(value: Any) -> dict[str, Raw] | None:
    """Return a JSON object's members; None for anything else."""
    return _decoded(_object, value)


def decode_array(value: Any) -> list[Raw] | None:
    """Return a JSON array's items; None for anything else."""
    return _decoded(_array, value)


def decode_text(value: Any) -> str | None:
    """Return a JSON string's text; None for anything else."""
    return _decoded(_text, value)


def decode_integer(value: Any) -> int | None:
    """Return a JSON integer; None for anything else."""
    return _decoded(_integer, value)


def _decoded(decoder: msgspec.json.Decoder[Value], value: Any) -> Value | None:
    try:
        return decoder.decode(value) if isinstance(value, Raw) else None
    except (msgspec.DecodeError, RecursionError):
        return None
