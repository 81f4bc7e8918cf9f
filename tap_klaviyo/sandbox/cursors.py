"""Cursors: each holds the sort key and the id of the last item, so the server keeps no state."""

from __future__ import annotations

import base64
import binascii
import json

from tap_klaviyo.sandbox.refusals import RefusalError


def of_event(second: int, event_id: str) -> str:
    """Return the cursor behind an event: base64 of [second, id, true], as recorded."""
    return _encode_cursor(json.dumps([second, event_id, True]))


def event_of_cursor(cursor: str) -> tuple[int, str]:
    """Return the second and the id of a cursor's event.

    Raises:
        RefusalError: the cursor was not made for events.
    """
    try:
        second, event_id, _ = json.loads(_decode_cursor(cursor))
    except (ValueError, TypeError):
        raise refused_cursor() from None
    if not isinstance(second, int) or not isinstance(event_id, str):
        raise refused_cursor()
    return second, event_id


def of_item(sort: str, key: str, item_id: str) -> str:
    """Return the cursor behind an item: base64 of next::id::ID, and with the key before the id in other orders."""
    return _encode_cursor(f"next::{sort}::{item_id}" if sort == "id" else f"next::{sort}::{key}::{item_id}")


def item_of_cursor(cursor: str, sort: str) -> tuple[str, str]:
    """Return the sort key and the id of a cursor's item.

    Raises:
        RefusalError: the cursor was not made for this order.
    """
    # Ids of the catalog contain the separator, so only the parts before the id are split off.
    parts = _decode_cursor(cursor).split("::", 2 if sort == "id" else 3)
    if parts[:2] != ["next", sort] or len(parts) != (3 if sort == "id" else 4):
        raise refused_cursor()
    return parts[-2] if sort != "id" else parts[-1], parts[-1]


def refused_cursor() -> RefusalError:
    """Return the refusal of a cursor."""
    return RefusalError("invalid", "Invalid cursor provided.")


def _encode_cursor(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode_cursor(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise refused_cursor() from None
