"""The table of streams: a stream is a row here and a schema file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

INCREMENTAL = "INCREMENTAL"
FULL_TABLE = "FULL_TABLE"


@dataclass(frozen=True)
class Endpoint:
    """One of Klaviyo's collections. Limits stand in its OpenAPI document under `x-klaviyo-ratelimit`.

    `page_size` is the largest that the endpoint takes, None where it takes no size;
    `burst` counts requests a second, `steady` requests a minute.
    """

    path: str
    scope: str
    page_size: int | None
    burst: int
    steady: int
    sort: str | None = None


METRICS = Endpoint("/api/metrics", "metrics:read", None, 10, 150)
EVENTS = Endpoint("/api/events", "events:read", 1000, 350, 3500, sort="datetime")
LISTS = Endpoint("/api/lists", "lists:read", 10, 75, 750, sort="id")
CAMPAIGNS = Endpoint("/api/campaigns", "campaigns:read", 100, 10, 150, sort="id")
PROFILES = Endpoint("/api/profiles", "profiles:read", 100, 75, 750, sort="id")
# Asking for predictive analytics is charged to a lower limit (klaviyo-api: parameter-dependent limits).
PREDICTIVE_PROFILES = Endpoint("/api/profiles", "profiles:read", 100, 10, 150, sort="id")


@dataclass(frozen=True)
class Partition:
    """One filter of a full-table stream, and the fields that all its rows have by it."""

    filter: str | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """One row of the table of streams.

    `metric_names` are the names of the metrics that feed a timeline, newest first, in Klaviyo's spelling;
    `partitions` are the filters that a full table is read by; `default_off` are fields not selected by default.
    """

    tap_stream_id: str
    schema_name: str
    key: str
    endpoint: Endpoint
    metric_names: tuple[str, ...] = ()
    partitions: tuple[Partition, ...] = ()
    default_off: frozenset[str] = frozenset()

    @property
    def replication_key(self) -> str | None:
        """The field that bookmarks follow; None for a full table."""
        return "timestamp" if self.metric_names else None

    @property
    def replication_method(self) -> str:
        """INCREMENTAL for timelines, FULL_TABLE for the rest."""
        return INCREMENTAL if self.metric_names else FULL_TABLE

    @property
    def automatic(self) -> frozenset[str]:
        """The fields that are always emitted: the key and the replication key."""
        return frozenset(filter(None, (self.key, self.replication_key)))

    @property
    def schema(self) -> dict[str, Any]:
        """The stream's JSON schema, every field of it."""
        return load_schema(self.schema_name)


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return one of the schema files; treat it as frozen."""
    text = resources.files("tap_klaviyo").joinpath("schemas").joinpath(f"{name}.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _timeline(tap_stream_id: str, *metric_names: str) -> Stream:
    return Stream(tap_stream_id, "event", "id", EVENTS, metric_names, default_off=frozenset({"attributions"}))


def _campaigns(channel: str, archived: bool) -> Partition:
    condition = f'and(equals(messages.channel,"{channel}"),equals(archived,{str(archived).lower()}))'
    return Partition(condition, {"channel": channel})


def _suppressed(reason: str) -> Partition:
    return Partition(f'equals(subscriptions.email.marketing.suppression.reason,"{reason}")')


# The names before and after Klaviyo called SMS "Text Message" (July 2026) feed one stream, so no table is split.
STREAMS: tuple[Stream, ...] = (
    _timeline("receive", "Received Email"),
    _timeline("click", "Clicked Email"),
    _timeline("open", "Opened Email"),
    _timeline("bounce", "Bounced Email"),
    _timeline("dropped_email", "Dropped Email"),
    _timeline("mark_as_spam", "Marked Email as Spam"),
    _timeline("unsubscribe", "Unsubscribed from Email Marketing", "Unsubscribed"),
    _timeline("subscribe_list", "Subscribed to List"),
    _timeline("unsub_list", "Unsubscribed from List"),
    _timeline("update_email_preferences", "Updated Email Preferences"),
    _timeline("clicked_sms", "Clicked Text Message", "Clicked SMS"),
    _timeline(
        "consented_to_receive",
        "Subscribed to Text Messaging Marketing",
        "Subscribed to SMS Marketing",
        "Consented to Receive SMS",
    ),
    _timeline("failed_to_deliver", "Failed to Deliver Text Message", "Failed to Deliver SMS"),
    _timeline(
        "failed_to_deliver_automated_response",
        "Failed to Deliver Automated Response Text Message",
        "Failed to deliver Automated Response SMS",
    ),
    _timeline(
        "received_automated_response",
        "Received Automated Response Text Message",
        "Received Automated Response SMS",
    ),
    _timeline("received_sms", "Received Text Message", "Received SMS"),
    _timeline("sent_sms", "Sent Text Message", "Sent SMS"),
    _timeline(
        "unsubscribed_from_sms",
        "Unsubscribed from Text Messaging Marketing",
        "Unsubscribed from SMS Marketing",
        "Unsubscribed from SMS",
    ),
    Stream("lists", "list", "id", LISTS, partitions=(Partition(),)),
    Stream(
        "campaigns",
        "campaign",
        "id",
        CAMPAIGNS,
        partitions=tuple(
            _campaigns(channel, archived) for channel in ("email", "sms", "mobile_push") for archived in (False, True)
        ),
    ),
    Stream(
        "global_exclusions",
        "global_exclusion",
        "email",
        PROFILES,
        partitions=tuple(
            map(
                _suppressed,
                ("HARD_BOUNCE", "INVALID_EMAIL", "SPAM_COMPLAINT", "UNSUBSCRIBE", "USER_SUPPRESSED"),
            )
        ),
        default_off=frozenset({"predictive_analytics"}),
    ),
)

BY_ID: Mapping[str, Stream] = MappingProxyType({stream.tap_stream_id: stream for stream in STREAMS})
