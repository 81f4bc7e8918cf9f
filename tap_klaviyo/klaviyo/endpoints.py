"""Klaviyo's endpoints: their paths, scopes, page sizes and limits.

All facts are from Klaviyo's OpenAPI document: `x-klaviyo-ratelimit`, `x-klaviyo-scopes` and the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class Limit:
    """Requests allowed in a second, in a minute and, for reports, in a day."""

    burst: int
    steady: int
    daily: int | None = None


# Klaviyo's tiers of limits.
XS, S, M, L, XL = Limit(1, 15), Limit(3, 60), Limit(10, 150), Limit(75, 750), Limit(350, 3500)
REPORTING = Limit(1, 2, 225)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One of Klaviyo's collections or reports.

    `page_size` is the largest that the endpoint takes, None if it takes no size. `additional` maps a field that
    Klaviyo sends on request only to the limit that such a request is charged to, None for the endpoint's own;
    `resource` is the JSON:API type that has such fields.
    `is_optional` says that Klaviyo refuses the endpoint to accounts without a feature, such as webhooks.
    `revision` is the API revision that the endpoint is written for, None for the one in the settings.
    """

    path: str
    scopes: tuple[str, ...]
    limit: Limit
    method: Literal["GET", "POST"] = "GET"
    page_size: int | None = None
    sort: str | None = None
    additional: Mapping[str, Limit | None] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    resource: str = ""
    revision: str | None = None
    is_optional: bool = False

    def charged_for(self, fields: frozenset[str]) -> Endpoint:
        """Return the endpoint with the limit that a request for these fields is charged to."""
        limits = [limit for name, limit in self.additional.items() if limit and name in fields]
        return replace(self, limit=min(limits, key=lambda limit: limit.steady)) if limits else self


def collection_endpoint(
    path: str,
    scopes: str,
    limit: Limit,
    page_size: int | None = None,
    sort: str | None = None,
    additional: Mapping[str, Limit | None] = MappingProxyType({}),
    resource: str = "",
    revision: str | None = None,
    is_optional: bool = False,
) -> Endpoint:
    """Return the endpoint of a collection; `scopes` are the resources to read, separated by blanks.

    A collection that belongs to a parent has the parent's id as `{name}` in its path.
    """
    return Endpoint(
        path=f"/api/{path}",
        scopes=tuple(f"{each}:read" for each in scopes.split()),
        limit=limit,
        page_size=page_size,
        sort=sort,
        additional=additional,
        resource=resource,
        revision=revision,
        is_optional=is_optional,
    )


def report_endpoint(path: str, scope: str, limit: Limit = REPORTING) -> Endpoint:
    """Return the endpoint of a report, which is asked for with a POST; `scope` is the resource to read."""
    return Endpoint(path=f"/api/{path}", scopes=(f"{scope}:read",), limit=limit, method="POST")


# The revision that made campaigns omnichannel, and the first to list messages, audiences, variations and translations.
OMNICHANNEL = "2026-10-15"

# Fields of a profile that Klaviyo sends on request; each request for predictions is charged to a lower limit.
_ON_REQUEST: Mapping[str, Limit | None] = MappingProxyType({"subscriptions": None, "predictive_analytics": M})

METRICS = collection_endpoint("metrics", "metrics", M)
METRIC_PROPERTIES = collection_endpoint(
    "metrics/{metric_id}/metric-properties",
    "metrics",
    XS,
    additional={"sample_values": None},
    resource="metric-property",
)
CUSTOM_METRICS = collection_endpoint("custom-metrics", "metrics", S)
MAPPED_METRICS = collection_endpoint("mapped-metrics", "metrics", S)
EVENTS = collection_endpoint("events", "events", XL, 1000, "datetime")

PROFILES = collection_endpoint("profiles", "profiles", L, 100, "id", _ON_REQUEST, "profile")
PROFILES_BY_UPDATE = replace(PROFILES, sort="updated")
# Sorted by the time that the filter asks for, as other endpoints demand of a date filter.
SUPPRESSED_PROFILES = replace(PROFILES, sort="subscriptions.email.marketing.suppression.timestamp")
PUSH_TOKENS = collection_endpoint("push-tokens", "push-tokens profiles", M, 100, is_optional=True)

LISTS = collection_endpoint("lists", "lists", L, 10, "id")
LIST_MEMBERS = collection_endpoint(
    "lists/{list_id}/profiles", "lists profiles", L, 100, "joined_group_at", _ON_REQUEST, "profile"
)
# One list at a time; only so does Klaviyo say how many members it has.
LIST = collection_endpoint("lists/{list_id}", "lists", L, additional={"profile_count": XS}, resource="list")
SEGMENTS = collection_endpoint("segments", "segments", L, 10, "id")
SEGMENT_MEMBERS = collection_endpoint(
    "segments/{segment_id}/profiles", "segments profiles", L, 100, "joined_group_at", _ON_REQUEST, "profile"
)
TAGS = collection_endpoint("tags", "tags", S, 50, "id")
TAG_GROUPS = collection_endpoint("tag-groups", "tags", S, 25, "id")

CAMPAIGNS = collection_endpoint("campaigns", "campaigns", M, 100, "id")
OMNICHANNEL_CAMPAIGNS = replace(CAMPAIGNS, revision=OMNICHANNEL)
CAMPAIGN_MESSAGES = collection_endpoint("campaign-messages", "campaigns", M, 100, "id", revision=OMNICHANNEL)
CAMPAIGN_AUDIENCES = collection_endpoint(
    "campaigns/{campaign_id}/campaign-audiences", "campaigns", M, revision=OMNICHANNEL
)
CAMPAIGN_VARIATIONS = collection_endpoint(
    "campaign-messages/{campaign_message_id}/campaign-variations", "campaigns", M, revision=OMNICHANNEL
)

FLOWS = collection_endpoint("flows", "flows", S, 50, "id")
FLOW_ACTIONS = collection_endpoint("flows/{flow_id}/flow-actions", "flows", S, 50, "id")
FLOW_MESSAGES = collection_endpoint("flow-actions/{flow_action_id}/flow-messages", "flows", S, 50, "id")

TEMPLATES = collection_endpoint("templates", "templates", L, 10, "updated", {"definition": None}, "template")
UNIVERSAL_CONTENT = collection_endpoint("template-universal-content", "templates", L, 100, "id")
IMAGES = collection_endpoint("images", "images", M, 100, "updated_at")
TRANSLATIONS = collection_endpoint("translations", "translations", M, 100, "id", revision=OMNICHANNEL)
WEB_FEEDS = collection_endpoint("web-feeds", "web-feeds", XS, 20, "created")

# Klaviyo sorts forms and catalogs by time only; in the order of creation, nothing that is changed meanwhile moves.
FORMS = collection_endpoint("forms", "forms", S, 100, "created_at")
FORM_VERSIONS = collection_endpoint("forms/{form_id}/form-versions", "forms", S, 100, "created_at")
REVIEWS = collection_endpoint("reviews", "reviews", M, 100, "created")

CATALOG_ITEMS = collection_endpoint("catalog-items", "catalogs", XL, 100, "created")
CATALOG_VARIANTS = collection_endpoint("catalog-variants", "catalogs", XL, 100, "created")
CATALOG_CATEGORIES = collection_endpoint("catalog-categories", "catalogs", XL, 100, "created")
CATALOG_CATEGORY_ITEMS = collection_endpoint(
    "catalog-categories/{catalog_category_id}/relationships/items", "catalogs", XL, 100, "created"
)
COUPONS = collection_endpoint("coupons", "coupons", L, 100)
COUPON_CODES = collection_endpoint("coupon-codes", "coupon-codes", XL, 100)

DATA_SOURCES = collection_endpoint("data-sources", "custom-objects", S, 100, is_optional=True)
OBJECT_TYPES = collection_endpoint("object-types", "custom-objects", S, is_optional=True)
OBJECT_RECORDS = collection_endpoint(
    "object-types/{object_type_id}/object-records", "custom-objects", S, 100, is_optional=True
)

ACCOUNTS = collection_endpoint("accounts", "accounts", XS)
TRACKING_SETTINGS = collection_endpoint("tracking-settings", "tracking-settings", M, 1)
WEBHOOKS = collection_endpoint("webhooks", "webhooks", XS, is_optional=True)
BILLING_USAGE = collection_endpoint("billing-usage", "usage", M, revision=OMNICHANNEL)

CAMPAIGN_VALUES = report_endpoint("campaign-values-reports", "campaigns")
FLOW_VALUES = report_endpoint("flow-values-reports", "flows")
FLOW_SERIES = report_endpoint("flow-series-reports", "flows")
FORM_VALUES = report_endpoint("form-values-reports", "forms")
FORM_SERIES = report_endpoint("form-series-reports", "forms")
SEGMENT_VALUES = report_endpoint("segment-values-reports", "segments")
SEGMENT_SERIES = report_endpoint("segment-series-reports", "segments")
METRIC_AGGREGATES = report_endpoint("metric-aggregates", "metrics", S)
