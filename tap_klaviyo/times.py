"""Moments as epoch seconds in UTC, whatever the host's time zone is, and the clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

HOUR = 3600
DAY = 86_400
_UTC = ("Z", "+00:00")
_MM_DD_YYYY = re.compile(r"\d{1,2}/\d{1,2}/\d{4}")
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?")


@dataclass(frozen=True)
class Clock:
    """Where time comes from; a test brings its own. All in seconds."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    wall: Callable[[], float] = time.time


def parse_time(value: Any) -> int:
    """Return a date or date-time (RFC 3339, a date, or MM/DD/YYYY; UTC where it names no zone) as epoch seconds.

    Raises:
        ValueError: the value has another form.
    """
    import pendulum

    text = str(value).strip()
    try:
        if _MM_DD_YYYY.fullmatch(text):
            month, day, year = map(int, text.split("/"))
            return _within_years(pendulum.datetime(year, month, day).timestamp())
        if _ISO_DATE.fullmatch(text):
            parsed = pendulum.parse(text, tz="UTC", strict=True)
            return _within_years(parsed.timestamp())  # type: ignore[union-attr]
    except (ValueError, AttributeError, OverflowError):
        pass
    raise ValueError("a date such as 2026-01-31, 2026-01-31T08:00:00Z or 01/31/2026")


def parse_utc(text: str) -> int:
    """Return a date-time as epoch seconds: many times faster than `parse_time` if it is in UTC, as Klaviyo's are.

    Raises:
        ValueError: it is not a date.
    """
    if text.endswith(_UTC):
        return int(datetime.fromisoformat(text[:19]).replace(tzinfo=timezone.utc).timestamp())
    return parse_time(text)


def format_time(seconds: int) -> str:
    """Return epoch seconds as RFC 3339 in UTC, the form of bookmarks and of API filters."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def format_duration(seconds: float) -> str:
    """Return a duration in words, to two units, such as "51 s", "3 min 5 s" and "2 h 10 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _within_years(seconds: float) -> int:
    """Return whole seconds; a zone can move a date out of the years that can be written, 1 to 9999."""
    format_time(int(seconds))
    return int(seconds)
