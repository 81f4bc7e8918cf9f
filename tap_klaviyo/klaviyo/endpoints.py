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
    Klaviyo sends on request only to the limit that such a request is charged to, None for the endpoint's own.
    `revision` is the API revision that the endpoint is written for, None for the one in the settings.
    """

    path: str
    scopes: tuple[str, ...]
    limit: Limit
    method: Literal["GET", "POST"] = "GET"
    page_size: int | None = None
    sort: str | None = None
    additional: Mapping[str, Limit | None] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    revision: str | None = None

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
) -> Endpoint:
    """Return the endpoint of a collection; `scopes` are the resources to read, separated by blanks."""
    needed = tuple(f"{each}:read" for each in scopes.split())
    return Endpoint(
        path=f"/api/{path}", scopes=needed, limit=limit, page_size=page_size, sort=sort, additional=additional
    )


METRICS = collection_endpoint("metrics", "metrics", M)
EVENTS = collection_endpoint("events", "events", XL, 1000, "datetime")
LISTS = collection_endpoint("lists", "lists", L, 10, "id")
CAMPAIGNS = collection_endpoint("campaigns", "campaigns", M, 100, "id")
PROFILES = collection_endpoint("profiles", "profiles", L, 100, "id", {"subscriptions": None, "predictive_analytics": M})
# Sorted by the time that the filter asks for, as other endpoints demand of a date filter.
SUPPRESSED_PROFILES = replace(PROFILES, sort="subscriptions.email.marketing.suppression.timestamp")
