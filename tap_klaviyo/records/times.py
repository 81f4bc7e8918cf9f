"""The times of records, as numbers; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tap_klaviyo.klaviyo.json_values import decode_integer, decode_text
from tap_klaviyo.records.structs import Record
from tap_klaviyo.times import parse_utc


def epoch_seconds(records: Sequence[Record], field: str) -> list[int]:
    """Return a field of records that holds epoch seconds, or a date-time as text, as epoch seconds.

    A record without the field, or with something else in it, gives 0.
    """
    values: list[Any] = [getattr(each, field, None) for each in records]
    return values if set(map(type, values)) <= {int} else list(map(_seconds_of, values))


def _seconds_of(value: object) -> int:
    if type(value) is int:
        return value
    text = value if isinstance(value, str) else decode_text(value)
    if not text:
        return decode_integer(value) or 0
    try:
        return parse_utc(text)
    except (ValueError, OverflowError):
        return 0
