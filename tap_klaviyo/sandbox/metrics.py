"""The metrics of the sandbox's account: Klaviyo's own, each with its stream, and those of other integrations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SILENT_CUSTOM_METRICS = 190

NATIVE: Mapping[str, Any] = {
    "object": "integration",
    "id": "0rG4eQ",
    "key": "klaviyo",
    "name": "Klaviyo",
    "category": "Internal",
}
API: Mapping[str, Any] = {"object": "integration", "id": "7FtS4J", "key": "api", "name": "API", "category": "API"}
SHOPIFY: Mapping[str, Any] = {
    "object": "integration",
    "id": "0eMvjm",
    "key": "shopify",
    "name": "Shopify",
    "category": "eCommerce",
}
# The category of an application is an object; that of an integration is text.
APPLICATION: Mapping[str, Any] = {
    "object": "application",
    "id": "01HZX3J5Q8T4V6W7Y9A0B1C2D3",
    "key": "01HZX3J5Q8T4V6W7Y9A0B1C2D3",
    "name": "Ads of Klaviyo",
    "category": {"id": 15, "category": "Advertising"},
}


@dataclass(frozen=True)
class Kind:
    """A row of the table of metrics.

    Attributes:
        stream: the core stream that has its events, None if none of them has.
        weight: its share of the events.
        family: which event properties it has.
        listed: whether /api/metrics lists it; its events exist in either case.
    """

    stream: str | None
    name: str
    weight: float
    family: str
    integration: Mapping[str, Any] | None = None
    listed: bool = True


@dataclass(frozen=True)
class Metric:
    """A metric of an account."""

    id: str
    kind: Kind
    created: str
    updated: str | None

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes, as /api/metrics returns them."""
        integration = None if self.kind.integration is None else dict(self.kind.integration)
        return {"name": self.kind.name, "created": self.created, "updated": self.updated, "integration": integration}


def _native_kind(stream: str | None, name: str, weight: float, family: str, /, **other: str) -> Kind:
    return Kind(stream, name, weight, family, {**NATIVE, **other})


# Some SMS metrics have their name from before July 2026, some have the new name, some exist under both.
KINDS: tuple[Kind, ...] = (
    _native_kind("receive", "Received Email", 30, "email"),
    _native_kind("click", "Clicked Email", 6, "click"),
    _native_kind("open", "Opened Email", 24, "open"),
    _native_kind("bounce", "Bounced Email", 1.5, "bounce"),
    Kind("dropped_email", "Dropped Email", 0.8, "bounce"),
    _native_kind("mark_as_spam", "Marked Email as Spam", 0.02, "email"),
    _native_kind("unsubscribe", "Unsubscribed from Email Marketing", 1, "list"),
    _native_kind("unsubscribe", "Unsubscribed", 0.7, "list"),
    _native_kind("subscribe_list", "Subscribed to List", 2, "list"),
    _native_kind("unsub_list", "Unsubscribed from List", 0.6, "list", key="Klaviyo", name="KLAVIYO"),
    _native_kind("update_email_preferences", "updated EMAIL preferences", 0.5, "list"),
    _native_kind("clicked_sms", "Clicked Text Message", 1.2, "sms_click"),
    _native_kind("clicked_sms", "Clicked SMS", 1.2, "sms_click"),
    _native_kind("consented_to_receive", "Subscribed to Text Messaging Marketing", 0.6, "sms_consent"),
    _native_kind("consented_to_receive", "Subscribed to SMS Marketing", 0.5, "sms_consent"),
    _native_kind("consented_to_receive", "Consented to Receive SMS", 0.4, "sms_consent"),
    _native_kind("failed_to_deliver", "Failed to Deliver SMS", 0.5, "sms_failure"),
    _native_kind(
        "failed_to_deliver_automated_response",
        "Failed to Deliver Automated Response Text Message",
        0.1,
        "sms_failure",
    ),
    _native_kind("received_automated_response", "Received Automated Response SMS", 0.4, "sms", key="native"),
    _native_kind("received_sms", "Received Text Message", 4, "sms"),
    _native_kind("sent_sms", "Sent Text Message", 1, "sms"),
    _native_kind("unsubscribed_from_sms", "Unsubscribed from Text Messaging Marketing", 0.5, "sms_consent"),
    _native_kind(None, "Received Push", 0.3, "email"),
    _native_kind(None, "Merged Profile", 0.2, "list"),
    _native_kind(None, "Unsubscribed from Text Messaging Transactional", 0.2, "sms_consent"),
    Kind(None, "Opened Email", 3, "order", API),
    Kind(None, "Placed Order", 4, "order", SHOPIFY),
    Kind(None, "Placed Order", 1, "order", API),
    Kind(None, "Clicked Ad", 0.5, "order", APPLICATION),
    Kind(None, "Forgotten Metric", 0.2, "order", API, listed=False),
)

STREAMS: tuple[str, ...] = tuple(dict.fromkeys(kind.stream for kind in KINDS if kind.stream))


def build_metrics(random: Random, absent: Collection[str]) -> tuple[Metric, ...]:
    """Return an account's metrics, starting with those that have events; `absent` names streams without a metric.

    Raises:
        ValueError: `absent` has the name of an unknown stream.
    """
    if unknown := set(absent) - set(STREAMS):
        raise ValueError(f"No timeline is named {sorted(unknown)}; they are {', '.join(STREAMS)}.")
    silent = [Kind(None, f"Custom action {number:03}", 0, "order", API) for number in range(_SILENT_CUSTOM_METRICS)]
    kinds = [kind for kind in (*KINDS, *silent) if kind.stream not in absent]
    ids = short_ids(random, len(kinds))
    return tuple(_make_metric(*each) for each in enumerate(zip(kinds, ids, strict=True)))


def short_ids(random: Random, count: int) -> list[str]:
    """Return distinct ids of six characters, like those of Klaviyo's metrics and lists."""
    ids: dict[str, None] = {}
    while len(ids) < count:
        ids["".join(random.choices(BASE58, k=6))] = None
    return list(ids)


def _make_metric(number: int, pair: tuple[Kind, str]) -> Metric:
    kind, metric_id = pair
    created = f"2021-05-{number % 28 + 1:02}T08:{number % 60:02}:53+00:00"
    return Metric(metric_id, kind, created, None if number % 7 == 6 else f"2024{created[4:]}")
