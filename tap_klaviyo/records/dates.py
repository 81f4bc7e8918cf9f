"""Date-times as Klaviyo sends them to RFC 3339 in UTC; pure."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone

import msgspec
from msgspec import Raw

from tap_klaviyo.klaviyo.json_values import NULL, decode_text

_UTC = re.compile(rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)"')
_DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6})\d*)?)? ?(?:(?:Z|z|UTC)|([+-])(\d\d)(?::?(\d\d))?)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"\d{1,12}(?:\.\d+)?", re.ASCII)
# Numbers count as epoch seconds, as in Klaviyo's `timestamp`, from 1973 to 9999. Smaller ones are rather a code, or 0
# for a missing date; larger ones are milliseconds, or no date at all.
_EPOCH_SECONDS = (10**8, 253_402_300_799)
_date_times = msgspec.json.Decoder(list[datetime | None])


def are_utc(text: bytes, count: int) -> bool:
    """Return whether all of some JSON values, joined by commas, are RFC 3339 date-times in UTC, or null."""
    try:
        _date_times.decode(b"[%b]" % text)
    except msgspec.DecodeError:
        return False
    # The decoder also accepts other zones, none, and a space or a small letter between date and time.
    in_utc = text.count(b'+00:00"') + (text.count(b'Z"') if b"Z" in text else 0)
    return in_utc + text.count(b"null") == count and not (b" " in text or b"t" in text or b"z" in text)


def to_utc(value: Raw) -> Raw:
    """Return a JSON date-time as RFC 3339 in UTC, and null for anything that is not a date.

    A date without a time is its calendar_day, a time without a zone is in UTC, and a number is epoch seconds.
    """
    text = bytes(value)
    if _UTC.fullmatch(text) and are_utc(text, 1):
        return value
    moment = _parse_moment(decode_text(value) or text.decode())
    return Raw(msgspec.json.encode(moment.isoformat())) if moment else NULL


def _parse_moment(text: str) -> datetime | None:
    try:
        if found := _DATE_TIME.fullmatch(text):
            return _in_utc(*found.groups())
        if _NUMBER.fullmatch(text) and _EPOCH_SECONDS[0] <= float(text) <= _EPOCH_SECONDS[1]:
            return datetime.fromtimestamp(float(text), timezone.utc)
    except (ValueError, OverflowError):
        pass
    return None


def _in_utc(*parts: str | None) -> datetime:
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = parts
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    if abs(offset) >= timedelta(days=1) or int(minutes or 0) > 59:
        raise ValueError("an offset of more than a day")
    micros = int((fraction or "0").ljust(6, "0"))
    calendar_day = date(int(year or 0), int(month or 0), int(day or 0))
    clock = time(int(hour or 0), int(minute or 0), int(second or 0), micros)
    return datetime.combine(calendar_day, clock, timezone.utc) - offset
