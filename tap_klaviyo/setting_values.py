"""How the value of a setting is read: each function takes a value, and raises ValueError with the expected form."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from tap_klaviyo.times import parse_time

# A start date may be ahead of a host whose clock is behind; Klaviyo's own clock decides later (sync.py).
_CLOCK_TOLERANCE = timedelta(days=1)
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9]{6}")
_REVISION = re.compile(r"(\d{4}-\d{2}-\d{2})(\.\w+)?", re.ASCII)
# A name has labels of up to 63 characters, and 253 in all; an IPv6 address has colons.
_HOST = re.compile(r"(?=.{1,253}\Z)([A-Za-z0-9-]{1,63})(\.[A-Za-z0-9-]{1,63})*\.?|[A-Fa-f0-9:.]+:[A-Fa-f0-9:.]*")
_NUMBER = re.compile(r"\s*[+-]?[0-9.]+([eE][+-]?[0-9]+)?\s*")
_KEY = re.compile(r"[!-~]+")


def parse_key(value: Any) -> str:
    """Return a private API key.

    Raises:
        ValueError: with the expected form.
    """
    text = _stripped_text(value)
    if _PUBLIC_KEY.fullmatch(text):
        raise ValueError(
            "a private API key (it begins with pk_), not the six-character public one: "
            "create one with read access in Klaviyo under Settings > API keys"
        )
    if not _KEY.fullmatch(text):
        raise ValueError("a private API key: one word of printable ASCII that begins with pk_")
    return text


def parse_word(value: Any) -> str:
    """Return one word of printable ASCII.

    Raises:
        ValueError: with the expected form.
    """
    text = _stripped_text(value)
    if not _KEY.fullmatch(text):
        raise ValueError("one word of printable ASCII")
    return text


def parse_past_time(value: Any) -> int:
    """Return a date that has passed, as epoch seconds.

    Raises:
        ValueError: with the expected form.
    """
    seconds = parse_time(value)
    if seconds > (datetime.now(timezone.utc) + _CLOCK_TOLERANCE).timestamp():
        raise ValueError("a date up to today")
    return seconds


def number_between(low: float, high: float) -> Callable[[Any], float]:
    """Return what reads a number within bounds, and raises ValueError with the expected form."""

    def parse_value(value: Any) -> float:
        expected = f"a number from {low:g} to {high:g}"
        # Python reads more as a number than a user means by one: true, "1_0", "nan".
        is_text = isinstance(value, str) and _NUMBER.fullmatch(value)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        try:
            number = float(value) if is_text or is_number else math.nan
        except (ValueError, OverflowError):
            raise ValueError(expected) from None
        if not low <= number <= high:
            raise ValueError(expected)
        return number

    return parse_value


def whole_number_between(low: int, high: int) -> Callable[[Any], int]:
    """Return what reads a whole number within bounds, and raises ValueError with the expected form."""
    number = number_between(low, high)

    def parse_value(value: Any) -> int:
        if number(value) % 1:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(number(value))

    return parse_value


def parse_flag(value: Any) -> bool:
    """Return true or false.

    Raises:
        ValueError: with the expected form.
    """
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        return known[str(value).strip().lower()]
    except KeyError:
        raise ValueError("true or false") from None


def choice_of(*words: str) -> Callable[[Any], str]:
    """Return what reads one of some words, in any case, and raises ValueError with all of them."""

    def parse_value(value: Any) -> str:
        text = value.strip().lower() if isinstance(value, str) else ""
        if text not in words:
            raise ValueError(" or ".join(words))
        return text

    return parse_value


def parse_text(value: Any) -> str:
    """Return text that is not empty.

    Raises:
        ValueError: with the expected form.
    """
    text = _stripped_text(value)
    if not text:
        raise ValueError("text")
    return text


def parse_header(value: Any) -> str:
    """Return text that fits an HTTP header.

    Raises:
        ValueError: with the expected form.
    """
    text = _stripped_text(value)
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("printable ASCII text")
    return text


def parse_revision(value: Any) -> str:
    """Return a revision of Klaviyo's API.

    Raises:
        ValueError: with the expected form.
    """
    found = _REVISION.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        date.fromisoformat(found[1] if found else "")
    except ValueError:
        raise ValueError("a revision date such as 2026-07-15") from None
    return str(value).strip()


def parse_base_url(value: Any) -> str:
    """Return an origin.

    Raises:
        ValueError: with the expected form.
    """
    expected = "an origin such as https://a.klaviyo.com (http only on loopback)"
    try:
        url = urlsplit(value.strip() if isinstance(value, str) else "")
        port = "" if url.port is None else f":{url.port}"
    except ValueError:
        raise ValueError(expected) from None
    host = url.hostname or ""
    secure = url.scheme == "https" or (url.scheme == "http" and _is_loopback(host))
    has_more = "@" in url.netloc or url.port == 0 or url.path.strip("/") or url.query or url.fragment
    if not secure or not _HOST.fullmatch(host) or has_more:
        raise ValueError(expected)
    return f"{url.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _stripped_text(value: Any) -> str:
    """Return a text without blanks around it; empty for anything else."""
    return value.strip() if isinstance(value, str) else ""
