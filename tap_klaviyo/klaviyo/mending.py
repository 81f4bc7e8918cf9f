"""A response body to bytes that can be decoded, any part of which can be written to a line of output; pure."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator

import msgspec

# Deeper structures become JSON text: Python's decoder, which most targets use, gives up at about a thousand levels.
DEEPEST = 500

_PART = 2**12
# Also matches an escaped backslash, so that the text after it is not taken for the escape of NUL.
_NUL = re.compile(rb"\\(?:\\|u0000)")
_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.",
    re.DOTALL,
)
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_NOT_A_NUMBER = re.compile(_STRING + rb"|-?(?:NaN|Infinity)\b", re.DOTALL)
_BRACKET = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)


def clean_body(body: bytes | bytearray) -> bytes | bytearray:
    """Return a body as UTF-8 on one line, without a byte order mark and without NUL."""
    if body.startswith(codecs.BOM_UTF8):
        body = body[len(codecs.BOM_UTF8) :]
    if not (body.isascii() or _is_utf8(body)):
        body = body.decode("utf-8", "replace").encode()
    if b"\n" in body or b"\r" in body:
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    return _NUL.sub(_without_nul, body)


def mend_body(body: bytes | bytearray, too_deep: bool) -> tuple[bytes | bytearray, Counter[str]]:
    """Return a body that the decoder refused, with what it refuses mended, and a count of the values that changed.

    Half of a surrogate pair, which Klaviyo passes on if a sender cut an emoji in two, becomes U+FFFD. NaN and Infinity,
    which many JSON writers emit although JSON has neither, become null. Structures below `DEEPEST` levels become text.

    Args:
        body: as `clean_body` returns it.
        too_deep: the decoder gave up because of its depth.
    """
    changed: Counter[str] = Counter()
    body = _SURROGATE.sub(_mend_surrogate, body)
    if b"NaN" in body or b"Infinity" in body:
        body, found = _without_nan(body)
        changed["NaN or Infinity"] += found
    if too_deep:
        body, found = _flatten_deep(body)
        changed[f"nested deeper than {DEEPEST} levels"] += found
    return body, +changed


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


def _without_nan(body: bytes | bytearray) -> tuple[bytes, int]:
    found = 0

    def mend_token(token: re.Match[bytes]) -> bytes:
        nonlocal found
        if token[0].startswith(b'"'):
            return token[0]
        found += 1
        return b"null"

    return _NOT_A_NUMBER.sub(mend_token, body), found


def _flatten_deep(body: bytes | bytearray) -> tuple[bytes, int]:
    """Return the body with each structure below DEEPEST levels as JSON text, and the number of them."""
    parts, end = [], 0
    for start, stop in _too_deep(body):
        parts += [body[end:start], msgspec.json.encode(body[start:stop].decode())]
        end = stop
    return b"".join([*parts, body[end:]]), len(parts) // 2


def _too_deep(body: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each structure that begins below DEEPEST levels; nothing behind one that is cut."""
    depth = start = 0
    for token in _BRACKET.finditer(body):
        if token[0] in b"[{":
            depth += 1
            start = token.start() if depth == DEEPEST + 1 else start
        elif token[0] in b"]}":
            if depth == DEEPEST + 1:
                yield start, token.end()
            depth -= 1
