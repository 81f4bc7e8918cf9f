"""The table of endpoints: what each takes, by Klaviyo's OpenAPI document of revision 2026-07-15."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "moment", "number", "flag", "none"]

_RANGE = ("greater-or-equal", "greater-than", "less-or-equal", "less-than")
_IS = ("equals",)
_IS_OR_ANY = ("any", "equals")


@dataclass(frozen=True)
class Limit:
    """Requests that are allowed in a second and in a minute."""

    burst: int
    steady: int


@dataclass(frozen=True)
class Filterable:
    """A field that can be filtered: the sort of its values, the operators, and the values if they are few."""

    kind: Kind
    operators: tuple[str, ...]
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """A collection.

    `sizes` are the usual and the largest page, None where a size is not taken; `fields` names by resource type
    what a sparse fieldset may name, where `x.*` takes anything within x.
    """

    path: str
    type: str
    scope: str
    limit: Limit
    fields: Mapping[str, frozenset[str]]
    sizes: tuple[int, int] | None = None
    sort: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    filters: Mapping[str, Filterable] = field(default_factory=dict)
    additional: tuple[str, ...] = ()
    fixed_size: int = 200


_SMALL, _MEDIUM, _LARGE, _HUGE = Limit(1, 15), Limit(10, 150), Limit(75, 750), Limit(350, 3500)
PREDICTIVE = _MEDIUM
SUPPRESSION = "subscriptions.email.marketing.suppression"
LIST_SUPPRESSIONS = "subscriptions.email.marketing.list_suppressions"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_METRIC = _names("created id integration name updated")
_FLOW = _names("archived created id name status trigger_type updated")
_TAG = _names("id name")
_PROFILE = _names(
    "created email external_id first_name id image last_event_date last_name locale location organization phone_number"
    " properties title updated location.address1 location.address2 location.city location.country location.ip"
    " location.latitude location.longitude location.region location.timezone location.zip"
)

EVENTS = Endpoint(
    "/api/events",
    "event",
    "events:read",
    _HUGE,
    {
        "event": _names("datetime event_properties id timestamp uuid"),
        "metric": _METRIC,
        "profile": _PROFILE,
        "attribution": frozenset({"id"}),
    },
    sizes=(200, 1000),
    sort=("datetime", "timestamp"),
    include=("attributions", "metric", "profile"),
    filters={
        "metric_id": Filterable("text", _IS),
        "profile_id": Filterable("text", _IS),
        "profile": Filterable("none", ("has",)),
        "metric": Filterable("none", ("has",)),
        "datetime": Filterable("moment", _RANGE),
        "timestamp": Filterable("number", _RANGE),
    },
)
METRICS = Endpoint(
    "/api/metrics",
    "metric",
    "metrics:read",
    _MEDIUM,
    {"metric": _METRIC, "flow": _FLOW},
    include=("flow-triggers",),
    filters={"integration.name": Filterable("text", _IS), "integration.category": Filterable("text", _IS)},
)
LISTS = Endpoint(
    "/api/lists",
    "list",
    "lists:read",
    _LARGE,
    {"list": _names("created id name opt_in_process updated"), "flow": _FLOW, "tag": _TAG},
    sizes=(10, 10),
    sort=("created", "id", "name", "updated"),
    include=("flow-triggers", "tags"),
    filters={
        "name": Filterable("text", _IS_OR_ANY),
        "id": Filterable("text", _IS_OR_ANY),
        "created": Filterable("moment", ("greater-than",)),
        "updated": Filterable("moment", ("greater-than",)),
    },
)
CAMPAIGNS = Endpoint(
    "/api/campaigns",
    "campaign",
    "campaigns:read",
    _MEDIUM,
    {
        "campaign": _names(
            "archived audiences audiences.* created_at id name scheduled_at send_options send_options.* send_strategy"
            " send_strategy.* send_time status tracking_options tracking_options.* updated_at"
        ),
        "campaign-message": _names("created_at definition definition.* id send_times updated_at"),
        "tag": _TAG,
    },
    sizes=(100, 100),
    sort=("created_at", "id", "name", "scheduled_at", "updated_at"),
    include=("campaign-messages", "tags"),
    filters={
        "id": Filterable("text", ("any",)),
        "messages.channel": Filterable("text", _IS, ("email", "sms", "mobile_push")),
        "name": Filterable("text", ("contains",)),
        "status": Filterable("text", _IS_OR_ANY),
        "archived": Filterable("flag", _IS),
        "created_at": Filterable("moment", _RANGE),
        "scheduled_at": Filterable("moment", _RANGE),
        "updated_at": Filterable("moment", _RANGE),
    },
)
PROFILES = Endpoint(
    "/api/profiles",
    "profile",
    "profiles:read",
    _LARGE,
    {
        "profile": _PROFILE
        | _names("predictive_analytics predictive_analytics.* subscriptions subscriptions.email subscriptions.*"),
        "conversation": _names("channel id"),
        "push-token": _names(
            "background created enablement_status id metadata metadata.* platform recorded_date token"
        ),
    },
    sizes=(20, 100),
    sort=("created", "email", "id", f"{LIST_SUPPRESSIONS}.timestamp", f"{SUPPRESSION}.timestamp", "updated"),
    include=("conversations", "push-tokens"),
    filters={
        **{name: Filterable("text", _IS_OR_ANY) for name in ("id", "email", "phone_number", "external_id")},
        "_kx": Filterable("text", _IS),
        "created": Filterable("moment", ("greater-than", "less-than")),
        "updated": Filterable("moment", ("greater-than", "less-than")),
        f"{LIST_SUPPRESSIONS}.reason": Filterable("text", _IS),
        f"{LIST_SUPPRESSIONS}.timestamp": Filterable("moment", _RANGE),
        f"{LIST_SUPPRESSIONS}.list_id": Filterable("text", _IS),
        f"{SUPPRESSION}.reason": Filterable("text", _IS),
        f"{SUPPRESSION}.timestamp": Filterable("moment", _RANGE),
    },
    additional=("subscriptions", "predictive_analytics"),
)
ACCOUNTS = Endpoint(
    "/api/accounts",
    "account",
    "accounts:read",
    _SMALL,
    {"account": _names("contact_information contact_information.* id industry locale timezone test_account")},
)

ENDPOINTS: Mapping[str, Endpoint] = {
    endpoint.path: endpoint for endpoint in (EVENTS, METRICS, LISTS, CAMPAIGNS, PROFILES, ACCOUNTS)
}
SCOPES = frozenset({endpoint.scope for endpoint in ENDPOINTS.values()} | {"tags:read"})
