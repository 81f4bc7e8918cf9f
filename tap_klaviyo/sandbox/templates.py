"""Templates: JSON that is filled in by formatting bytes, so that an event costs only microseconds."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import date
from functools import lru_cache
from typing import Any

_EPOCH = date(1970, 1, 1).toordinal()
_SLOT = re.compile(rb'"<<<(\w+)>>>"|<<(\w+)>>')


def text_slot(name: str) -> str:
    """Return a placeholder for text in a template, alone or within other text."""
    return f"<<{name}>>"


def value_slot(name: str) -> str:
    """Return a placeholder for a whole JSON value in a template; it is filled with JSON."""
    return f"<<<{name}>>>"


def compile_template(template: Any) -> bytes:
    """Return a template as bytes; format them with a mapping from bytes to bytes."""
    encoded = json.dumps(template, ensure_ascii=False, separators=(",", ":")).encode().replace(b"%", b"%%")
    return _SLOT.sub(lambda found: b"%%(%b)b" % (found[1] or found[2]), encoded)


def restrict_fields(attributes: Mapping[str, Any], fields: Collection[str] | None) -> dict[str, Any]:
    """Return the attributes that a sparse fieldset names, such as `name` or `location.city`; None returns all."""
    if fields is None:
        return dict(attributes)
    kept = {}
    for name, each in attributes.items():
        inner = [field.removeprefix(f"{name}.") for field in fields if field.startswith(f"{name}.")]
        if name in fields:
            kept[name] = each
        elif inner and isinstance(each, Mapping):
            kept[name] = restrict_fields(each, inner)
    return kept


def time_stamp(second: int) -> bytes:
    """Return an epoch second as the API writes it: 2026-11-23T00:00:00+00:00."""
    day, rest = divmod(second, 86_400)
    return b"%bT%b+00:00" % (_date_bytes(day), _time_bytes(rest))


@lru_cache(maxsize=4096)
def _date_bytes(day: int) -> bytes:
    return date.fromordinal(_EPOCH + day).isoformat().encode()


@lru_cache(maxsize=86_400)
def _time_bytes(second: int) -> bytes:
    return b"%02d:%02d:%02d" % (second // 3600, second // 60 % 60, second % 60)


def mixed_bits(number: int) -> int:
    """Return 64 bits that look random but depend only on the number."""
    number = number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    return (number ^ number >> 32) * 0xD6E8FEB86659FD93 & 0xFFFFFFFFFFFFFFFF
