"""JSON:API documents: a response body to typed resources, with attribute values left as bytes.

Attributes stay `msgspec.Raw`, so values that the tap does not look at (event properties above all) are
neither parsed nor written again, and integers of any length come out as they went in.
"""

from __future__ import annotations

import codecs
import re

import msgspec
from msgspec import Raw, Struct

from tap_klaviyo.errors import TapError

Attributes = dict[str, Raw]
_LONGEST_DETAIL = 1000

_PART = 2**12
_NUL = rb"\u0000"
_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.",
    re.DOTALL,
)


class Identifier(Struct, gc=False):
    """A resource's type and id, as relationships name it."""

    id: str
    type: str = ""


class Relationship(Struct, gc=False):
    """The resources that a relationship points at; None where the API gives only links."""

    data: Identifier | list[Identifier] | None = None


class Resource(Struct, gc=False):
    """One resource of `data` or `included`."""

    id: str
    type: str
    attributes: Attributes = {}
    relationships: dict[str, Relationship | None] | None = None

    def one(self, name: str) -> str | None:
        """Return the id that a to-one relationship points at."""
        data = self._related(name)
        return data.id if isinstance(data, Identifier) else None

    def many(self, name: str) -> list[str]:
        """Return the ids that a to-many relationship points at."""
        data = self._related(name)
        return [each.id for each in data] if isinstance(data, list) else []

    def _related(self, name: str) -> Identifier | list[Identifier] | None:
        relationship = self.relationships.get(name) if self.relationships else None
        return relationship.data if relationship else None


class Links(Struct):
    """A collection's links; Klaviyo writes an explicit null where there is no next page."""

    self: str
    next: str | None = None


class Document(Struct):
    """One page of a collection."""

    data: list[Resource]
    links: Links
    included: list[Resource] = []


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


_document = msgspec.json.Decoder(Document)
_error = msgspec.json.Decoder(ErrorDocument)


def parse(body: bytes | bytearray) -> Document:
    """Return the body as a document.

    Raises:
        MalformedError: the body is cut, is no JSON, or has another shape.
    """
    body = _writable(body)
    try:
        return _document.decode(body)
    except msgspec.DecodeError as error:
        # msgspec refuses half of a surrogate pair, which Klaviyo passes on where a sender cut an emoji in two.
        mended = _SURROGATE.sub(_mend_surrogate, body)
        if mended == body:
            raise MalformedError(str(error)) from None
    except RecursionError:
        raise MalformedError("it is nested too deep") from None
    try:
        return _document.decode(mended)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedError(str(error)) from None


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
    return _without_nul(body) if _NUL in body else body


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


def _without_nul(body: bytes | bytearray) -> bytes:
    """Return the body without the escapes of NUL; behind a backslash that is escaped itself, it is none."""
    before, *rest = body.split(_NUL)
    parts = [before]
    for part in rest:
        if before.endswith(b"\\") and (len(before) - len(before.rstrip(b"\\"))) % 2:
            parts.append(_NUL)
        parts.append(part)
        before = part
    return b"".join(parts)


def _mend_surrogate(escape: re.Match[bytes]) -> bytes:
    lone = len(escape[0]) == 6
    return rb"\ufffd" if lone else escape[0]
