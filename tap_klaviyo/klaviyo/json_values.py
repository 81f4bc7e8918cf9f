"""Single JSON values, still as bytes, to Python's; pure."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Raw

Value = TypeVar("Value")

NULL = Raw(b"null")

_object = msgspec.json.Decoder(dict[str, Raw] | None)
_array = msgspec.json.Decoder(list[Raw] | None)
_text = msgspec.json.Decoder(str | None)
_integer = msgspec.json.Decoder(int | None)


def decode_object(value: Any) -> dict[str, Raw] | None:
    """Return a JSON object's members; None for anything else."""
    return _decode_as(_object, value)


def decode_array(value: Any) -> list[Raw] | None:
    """Return a JSON array's items; None for anything else."""
    return _decode_as(_array, value)


def decode_text(value: Any) -> str | None:
    """Return a JSON string's text; None for anything else."""
    return _decode_as(_text, value)


def decode_integer(value: Any) -> int | None:
    """Return a JSON integer; None for anything else."""
    return _decode_as(_integer, value)


def _decode_as(decoder: msgspec.json.Decoder[Value], value: Any) -> Value | None:
    try:
        return decoder.decode(value) if isinstance(value, Raw) else None
    except (msgspec.DecodeError, RecursionError):
        return None
