"""The settings: one table that feeds validation, the help, the README and the sample, and becomes a frozen Config."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from tap_klaviyo.errors import ConfigError
from tap_klaviyo.files import PREFIX
from tap_klaviyo.log import mask_secrets
from tap_klaviyo.nearest import with_nearest_name
from tap_klaviyo.setting_values import (
    choice_of,
    number_between,
    parse_base_url,
    parse_flag,
    parse_header,
    parse_key,
    parse_past_time,
    parse_revision,
    parse_text,
    parse_word,
    whole_number_between,
)
from tap_klaviyo.streams.metric_streams import MetricStream, read_metric_streams
from tap_klaviyo.times import DAY, parse_time

DEFAULT_REVISION = "2026-07-15"
DEFAULT_BASE_URL = "https://a.klaviyo.com"
OAUTH = ("client_id", "client_secret", "refresh_token")
# The settings that give access to an account.
ACCESS = ("api_key", "auth_token", *OAUTH, "base_url")
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
        """The seconds within which a recount finds late events. None without recounts."""
        return int(self.recount_days * DAY) if self.late_events == _RECOUNT else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values to mask in messages."""
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
    # These settings together replace a required one.
    unless: tuple[str, ...] = ()
    # For the message that a required setting is missing, and where to get its value.
    example: str = ""
    source: str = ""


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "api_key",
        parse_key,
        "text",
        "Private API key with read access to events, metrics, lists, campaigns, profiles and tags.",
        required=True,
        secret=True,
        aliases=("auth_token",),
        unless=OAUTH,
        example="pk_...",
        source=" Create a private key in Klaviyo under Settings > API keys.",
    ),
    Setting(
        "start_date",
        parse_past_time,
        "date",
        'Read events from this date on if there is no bookmark, such as "2026-01-01" (UTC; RFC 3339 or MM/DD/YYYY).',
        required=True,
        example="2026-01-01",
    ),
    Setting(
        "end_date",
        parse_time,
        "date",
        "Read events before this date only; by default, up to the start of the run.",
    ),
    Setting(
        "lookback_days",
        number_between(0, 3650),
        "number",
        "Read this many days before the bookmark again, to catch late events.",
        default=7,
    ),
    Setting("user_agent", parse_header, "text", "User-Agent header.", default="tap-klaviyo"),
    Setting(
        "request_timeout",
        number_between(1, 3600),
        "number",
        "Seconds before a request is cancelled and retried.",
        default=300,
    ),
    Setting(
        "max_concurrency",
        whole_number_between(1, 128),
        "whole number",
        "Maximum number of parallel requests.",
        default=16,
    ),
    Setting(
        "activate_version",
        parse_flag,
        "true or false",
        "Write ACTIVATE_VERSION after full-table streams, so that targets can remove rows that Klaviyo has deleted.",
        default=True,
    ),
    Setting(
        "check_counts",
        parse_flag,
        "true or false",
        "Compare the events that were read with Klaviyo's own count, by metric and day. Without it, only ranges of "
        "more than ten days are compared.",
        default=False,
    ),
    Setting(
        "late_events",
        choice_of(_LOOKBACK, _RECOUNT),
        "text",
        "How late events are found: `lookback` reads the days before the bookmark again; `recount` asks for Klaviyo's "
        "counts of the last weeks, and reads again only the hours whose count has changed.",
        default=_LOOKBACK,
    ),
    Setting(
        "recount_days",
        number_between(1, 365),
        "number",
        "With `late_events` recount: how many days after they happened events are still looked for.",
        default=30,
    ),
    Setting(
        "conversion_metric",
        parse_text,
        "text",
        "Name or id of the metric that counts as a conversion in reports; by default the metric that Klaviyo maps to "
        "revenue, else Placed Order.",
    ),
    Setting(
        "report_lookback_days",
        number_between(0, 3650),
        "number",
        "Ask again for the reports of periods that ended within this many days: Klaviyo still attributes conversions.",
        default=30,
    ),
    Setting(
        "base_url",
        parse_base_url,
        "URL",
        "Klaviyo's address; the key is sent only there.",
        default=DEFAULT_BASE_URL,
    ),
    Setting(
        "api_revision",
        parse_revision,
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
    Setting("client_id", parse_word, "text", "Id of an OAuth app that the account has installed, instead of api_key."),
    Setting("client_secret", parse_word, "text", "Secret of the OAuth app.", secret=True),
    Setting("refresh_token", parse_word, "text", "Refresh token of the OAuth app's installation.", secret=True),
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
            settings[setting.name] = _read_one(setting, values)
        except ValueError as problem:
            problems.append(str(problem))
    start, end = settings.get("start_date"), settings.get("end_date")
    if start is not None and end is not None and end <= start:
        problems.append("end_date must come after start_date.")
    problems += _wrong_credentials(values)
    if settings.get("api_key") == SAMPLE_KEY and settings.get("base_url") == DEFAULT_BASE_URL:
        problems.append(
            "api_key is still the sample's; create a private key in Klaviyo under Settings > API keys, and use that."
        )
    if problems:
        raise ConfigError(problems)
    return Config(**settings)


def _wrong_credentials(values: Mapping[str, Any]) -> list[str]:
    """Return a sentence if the settings of OAuth are incomplete, or given beside the API key."""
    given = [name for name in OAUTH if values.get(name) not in (None, "")]
    missing = [name for name in OAUTH if name not in given]
    if given and _given_value(SETTINGS[0], values)[1] is not None:
        return [f"Set either api_key or {', '.join(OAUTH[:2])} and {OAUTH[2]}, not both."]
    if given and missing:
        return [f"OAuth also needs {' and '.join(missing)}."]
    return []


def read_setting(name: str, values: Mapping[str, Any]) -> Any:
    """Return one setting, without a check of the others.

    Raises:
        ConfigError: it is wrong.
    """
    (setting,) = (each for each in SETTINGS if each.name == name)
    try:
        return _read_one(setting, values)
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
            sentences.append(with_nearest_name(f'"{name}" is not a setting', str(name), {each: each for each in known}))
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
        sentences.append(
            f"api_revision {revision} is not the revision that this version supports ({DEFAULT_REVISION})."
        )
    if values.get("recount_days") not in (None, "") and values.get("late_events") in (None, "", _LOOKBACK):
        sentences.append("recount_days has no effect: late_events is not recount.")
    name, key = _given_value(SETTINGS[0], values)
    try:
        if key is not None and not parse_key(key).startswith("pk_"):
            sentences.append(f"{name} does not begin with pk_, as Klaviyo's private keys do.")
    except ValueError:
        pass  # `check_settings` refuses it.
    return sentences


def _read_one(setting: Setting, values: Mapping[str, Any]) -> Any:
    name, value = _given_value(setting, values)
    if value is None:
        if setting.required and not any(values.get(name) for name in setting.unless):
            raise ValueError(
                f'{setting.name} is missing. Add "{setting.name}": "{setting.example}" to the config, or pass --config '
                f"ENV and set {PREFIX}{setting.name.upper()}.{setting.source}"
            )
        return setting.parse(setting.default) if setting.default is not None else None
    try:
        return setting.parse(value)
    except ValueError as expected:
        shown = "" if setting.secret else f", not {mask_secrets(json.dumps(value, default=str))[:80]}"
        raise ValueError(f"{name} must be {expected}{shown}.") from None


def _given_value(setting: Setting, values: Mapping[str, Any]) -> tuple[str, Any]:
    for name in (setting.name, *setting.aliases):
        if values.get(name) not in (None, ""):
            return name, values[name]
    return setting.name, None
