"""The settings: one table that feeds validation, the help, the README and the sample, and becomes a frozen Config."""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from tap_klaviyo.errors import ConfigError
from tap_klaviyo.log import mask_secrets
from tap_klaviyo.streams.metric_streams import MetricStream, read_metric_streams
from tap_klaviyo.times import DAY, parse_time

# A start date may be ahead of a host whose clock is behind; Klaviyo's own clock decides later (sync.py).
_CLOCK_TOLERANCE = timedelta(days=1)
_PUBLIC_KEY = re.compile(r"[A-Za-z0-9]{6}")
_KEY = re.compile(r"[!-~]+")
_REVISION = re.compile(r"(\d{4}-\d{2}-\d{2})(\.\w+)?")
_NUMBER = re.compile(r"\s*[+-]?[0-9.]+([eE][+-]?[0-9]+)?\s*")
DEFAULT_REVISION = "2026-07-15"
DEFAULT_BASE_URL = "https://a.klaviyo.com"
OAUTH = ("client_id", "client_secret", "refresh_token")
_LOOKBACK, _RECOUNT = "lookback", "recount"
SAMPLE_KEY = "pk_your_private_key"


@dataclass(frozen=True)
class Config:
    """The settings, checked and typed. Times are epoch seconds in UTC."""

    api_key: str | None = field(repr=False)
    start_date: int
    end_date: int | None
    lookback_days: float
    user_agent: str
    request_timeout: float
    max_concurrency: int
    activate_version: bool
    check_counts: bool
    late_events: str
    recount_days: float
    conversion_metric: str | None
    report_lookback_days: float
    base_url: str
    api_revision: str
    metric_streams: tuple[MetricStream, ...] = ()
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)

    @property
    def recount_seconds(self) -> int | None:
        """How late an event may be, if late events are found by a recount; else None."""
        return int(self.recount_days * DAY) if self.late_events == _RECOUNT else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that no message may show."""
        return tuple(filter(None, (self.api_key, self.client_secret, self.refresh_token)))


@dataclass(frozen=True)
class Setting:
    """One row of the table of settings; `parse` raises ValueError with the expected form."""

    name: str
    parse: Callable[[Any], Any]
    kind: str
    description: str
    default: Any = None
    required: bool = False
    secret: bool = False
    aliases: tuple[str, ...] = ()
    # A required setting may be left out if these are set.
    unless: tuple[str, ...] = ()


def _key(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if _PUBLIC_KEY.fullmatch(text):
        raise ValueError(
            "a private API key (it begins with pk_), not the six-character public one: "
            "make one with read access in Klaviyo under Settings > API keys"
        )
    if not _KEY.fullmatch(text):
        raise ValueError("a private API key: one word of printable ASCII that begins with pk_")
    return text


def _word(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not _KEY.fullmatch(text):
        raise ValueError("one word of printable ASCII")
    return text


def _past_time(value: Any) -> int:
    seconds = parse_time(value)
    if seconds > (datetime.now(timezone.utc) + _CLOCK_TOLERANCE).timestamp():
        raise ValueError("a date that is not in the future")
    return seconds


def _number(low: float, high: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
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

    return parse


def _whole(low: int, high: int) -> Callable[[Any], int]:
    number = _number(low, high)

    def parse(value: Any) -> int:
        if number(value) % 1:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(number(value))

    return parse


def _flag(value: Any) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        return known[str(value).strip().lower()]
    except KeyError:
        raise ValueError("true or false") from None


def _choice(*words: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        text = value.strip().lower() if isinstance(value, str) else ""
        if text not in words:
            raise ValueError(" or ".join(words))
        return text

    return parse


def _text(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise ValueError("text")
    return text


def _header(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("printable ASCII text")
    return text


def _revision(value: Any) -> str:
    found = _REVISION.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        date.fromisoformat(found[1] if found else "")
    except ValueError:
        raise ValueError("a revision date such as 2026-07-15") from None
    return str(value).strip()


def _base_url(value: Any) -> str:
    expected = "an origin such as https://a.klaviyo.com (http only on loopback)"
    try:
        url = urlsplit(value.strip() if isinstance(value, str) else "")
        port = "" if url.port is None else f":{url.port}"
    except ValueError:
        raise ValueError(expected) from None
    host = url.hostname or ""
    secure = url.scheme == "https" or (url.scheme == "http" and _is_loopback(host))
    has_more = "@" in url.netloc or url.port == 0 or url.path.strip("/") or url.query or url.fragment
    if not secure or not re.fullmatch(r"[A-Za-z0-9.:-]+", host) or has_more:
        raise ValueError(expected)
    return f"{url.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "api_key",
        _key,
        "text",
        "Private API key with read access to events, metrics, lists, campaigns, profiles and tags.",
        required=True,
        secret=True,
        aliases=("auth_token",),
        unless=OAUTH,
    ),
    Setting(
        "start_date",
        _past_time,
        "date",
        'Read events from this date on if there is no bookmark, such as "2026-01-01" (UTC; RFC 3339 or MM/DD/YYYY).',
        required=True,
    ),
    Setting(
        "end_date",
        parse_time,
        "date",
        "Read events before this date only; by default, up to the start of the run.",
    ),
    Setting(
        "lookback_days",
        _number(0, 3650),
        "number",
        "Read this many days before the bookmark again, to catch late events.",
        default=7,
    ),
    Setting("user_agent", _header, "text", "User-Agent header.", default="tap-klaviyo"),
    Setting(
        "request_timeout",
        _number(1, 3600),
        "number",
        "Seconds before a request is cancelled and retried.",
        default=300,
    ),
    Setting(
        "max_concurrency",
        _whole(1, 128),
        "whole number",
        "Maximum number of parallel requests.",
        default=16,
    ),
    Setting(
        "activate_version",
        _flag,
        "true or false",
        "Write ACTIVATE_VERSION after full-table streams, so that targets can remove rows that Klaviyo has deleted.",
        default=True,
    ),
    Setting(
        "check_counts",
        _flag,
        "true or false",
        "Compare the events that were read with Klaviyo's own count, by metric and day. Without it, only ranges of "
        "more than ten days are compared.",
        default=False,
    ),
    Setting(
        "late_events",
        _choice(_LOOKBACK, _RECOUNT),
        "text",
        "How late events are found: `lookback` reads the days before the bookmark again; `recount` asks for Klaviyo's "
        "counts of the last weeks, and reads again only the hours whose count has changed.",
        default=_LOOKBACK,
    ),
    Setting(
        "recount_days",
        _number(1, 365),
        "number",
        "With `late_events` recount: how many days after they happened events are still looked for.",
        default=30,
    ),
    Setting(
        "conversion_metric",
        _text,
        "text",
        "Name or id of the metric that counts as a conversion in reports; by default the metric that Klaviyo maps to "
        "revenue, else Placed Order.",
    ),
    Setting(
        "report_lookback_days",
        _number(0, 3650),
        "number",
        "Ask again for the reports of periods that ended within this many days: Klaviyo still attributes conversions.",
        default=30,
    ),
    Setting(
        "base_url",
        _base_url,
        "URL",
        "Klaviyo's address; the key is sent only there.",
        default=DEFAULT_BASE_URL,
    ),
    Setting(
        "api_revision",
        _revision,
        "text",
        "Revision of Klaviyo's API.",
        default=DEFAULT_REVISION,
    ),
    Setting(
        "metric_streams",
        read_metric_streams,
        "array",
        'Event streams by the name of their metric: `["Placed Order", {"metric": "Placed Order", "integration": '
        '"Shopify", "stream": "shopify_orders"}]`. `tap-klaviyo --metrics` lists the metrics of the account.',
        default=[],
    ),
    Setting("client_id", _word, "text", "Id of an OAuth app that the account has installed, instead of api_key."),
    Setting("client_secret", _word, "text", "Secret of the OAuth app.", secret=True),
    Setting("refresh_token", _word, "text", "Refresh token of the OAuth app's installation.", secret=True),
)


def check_settings(values: Mapping[str, Any]) -> Config:
    """Return the settings checked and typed, with defaults for those that are absent, null or empty.

    Raises:
        ConfigError: with every missing and wrong setting at once.
    """
    problems: list[str] = []
    settings: dict[str, Any] = {}
    for setting in SETTINGS:
        try:
            settings[setting.name] = _read(setting, values)
        except ValueError as problem:
            problems.append(str(problem))
    start, end = settings.get("start_date"), settings.get("end_date")
    if start is not None and end is not None and end <= start:
        problems.append("end_date must come after start_date.")
    problems += _wrong_credentials(values)
    if problems:
        raise ConfigError(problems)
    return Config(**settings)


def _wrong_credentials(values: Mapping[str, Any]) -> list[str]:
    """Return a sentence if the settings of OAuth are incomplete, or given beside the API key."""
    given = [name for name in OAUTH if values.get(name) not in (None, "")]
    missing = [name for name in OAUTH if name not in given]
    if given and _given(SETTINGS[0], values)[1] is not None:
        return [f"Set either api_key or {', '.join(OAUTH[:2])} and {OAUTH[2]}, not both."]
    if given and missing:
        return [f"OAuth also needs {' and '.join(missing)}."]
    return []


def read_setting(name: str, values: Mapping[str, Any]) -> Any:
    """Return one setting, checked, where the others are not needed.

    Raises:
        ConfigError: it is wrong.
    """
    (setting,) = (each for each in SETTINGS if each.name == name)
    try:
        return _read(setting, values)
    except ValueError as problem:
        raise ConfigError([str(problem)]) from None


def setting_names() -> list[str]:
    """Return the names of all settings, and their aliases."""
    return [name for setting in SETTINGS for name in (setting.name, *setting.aliases)]


def odd_settings(values: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each setting that is ignored or looks wrong: unknown names, doubled ones, an odd key."""
    known, sentences = setting_names(), list[str]()
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            sentences.append(f"'{name}' is not a setting" + (f"; did you mean '{near[0]}'?" if near else "."))
    for setting in SETTINGS:
        given = [name for name in (setting.name, *setting.aliases) if values.get(name) not in (None, "")]
        if len({str(values[name]) for name in given}) > 1:
            sentences.append(f"{given[0]} is used; {' and '.join(given[1:])} has another value and is ignored.")
    try:
        end_date, revision = values.get("end_date"), values.get("api_revision")
        if end_date and parse_time(end_date) > datetime.now(timezone.utc).timestamp():
            sentences.append("end_date is in the future; events are read up to now.")
    except ValueError:
        pass  # `check_settings` refuses it.
    if revision and revision != DEFAULT_REVISION:
        sentences.append(f"api_revision {revision} is not the one this version is written for ({DEFAULT_REVISION}).")
    if values.get("recount_days") not in (None, "") and values.get("late_events") in (None, "", _LOOKBACK):
        sentences.append("recount_days has no effect: late_events is not recount.")
    key = str(_given(SETTINGS[0], values)[1] or "").strip()
    if key == SAMPLE_KEY:
        sentences.append("api_key is still the one from the sample; create your own in Klaviyo.")
    elif key and not key.startswith("pk_") and _KEY.fullmatch(key):
        sentences.append("api_key does not begin with pk_, as Klaviyo's private keys do.")
    return sentences


def _read(setting: Setting, values: Mapping[str, Any]) -> Any:
    name, value = _given(setting, values)
    if value in (None, "", []):
        if setting.required and not any(values.get(name) for name in setting.unless):
            also = "".join(f" (or {alias})" for alias in setting.aliases)
            raise ValueError(f"{setting.name}{also} is missing: {setting.description}")
        return setting.parse(setting.default) if setting.default is not None else None
    try:
        return setting.parse(value)
    except ValueError as expected:
        shown = "" if setting.secret else f", not {mask_secrets(json.dumps(value, default=str))[:80]}"
        raise ValueError(f"{name} must be {expected}{shown}.") from None


def _given(setting: Setting, values: Mapping[str, Any]) -> tuple[str, Any]:
    for name in (setting.name, *setting.aliases):
        if values.get(name) not in (None, ""):
            return name, values[name]
    return setting.name, None
