"""What a strict target checks: JSON Schema, draft 7, with date-times."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import fastjsonschema

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\d*(Z|\+00:00)", re.ASCII)


def validator_of(schema: Mapping[str, Any], is_date_time: Callable[[str], bool] | None = None) -> Callable[[Any], Any]:
    """Return a function that raises for a record which is not valid against a schema, or has a date not in UTC.

    `is_date_time` is asked instead about dates that need not be in UTC.
    """
    draft_7 = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
    validate: Callable[[Any], Any] = fastjsonschema.compile(
        draft_7, formats={"date-time": is_date_time or is_utc_date_time}
    )
    return validate


def is_local_date_time(text: str) -> bool:
    """Return whether a text is an RFC 3339 date-time with an offset, as the bounds of a report's period are."""
    with suppress(ValueError):
        return len(text) == len("2026-03-01T00:00:00-05:00") and datetime.fromisoformat(text).tzinfo is not None
    return False


def is_utc_date_time(text: str) -> bool:
    """Return whether a text is an RFC 3339 date-time in UTC that exists."""
    found = _DATE_TIME.fullmatch(text)
    with suppress(ValueError):
        return bool(found) and datetime.fromisoformat(f"{text[:19]}+00:00").utcoffset() == timedelta(0)
    return False
