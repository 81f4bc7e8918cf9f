"""What is selected decides what is asked: the query parameters of a stream's requests; pure."""

from __future__ import annotations

from collections.abc import Mapping

from tap_klaviyo.catalog import Fields
from tap_klaviyo.streams import CAMPAIGNS, EVENTS, LISTS, PREDICTIVE_PROFILES, PROFILES, Endpoint, Stream
from tap_klaviyo.times import format_time

# A field of the record -> the relationship whose resources it is made of.
_INCLUDES: Mapping[str, Mapping[str, str]] = {
    EVENTS.path: {"profile": "profile", "attributions": "attributions"},
    LISTS.path: {"tags": "tags"},
    CAMPAIGNS.path: {"campaign_messages": "campaign-messages", "tags": "tags"},
}
_NOT_PROFILE_ATTRIBUTES = frozenset({"id", "reason", "timestamp", "suppressions", "list_suppressions"})


def parameters(stream: Stream, fields: Fields) -> dict[str, str]:
    """Return the parameters that every first page of the stream has: sort, include and sparse fieldsets."""
    query = {"sort": stream.endpoint.sort or ""}
    includes = _INCLUDES.get(stream.endpoint.path, {})
    if wanted := [name for field, name in includes.items() if field in fields]:
        query["include"] = ",".join(wanted)
    if stream.endpoint is EVENTS and (profile := fields.get("profile")):
        query["fields[profile]"] = ",".join(name for name in profile if name != "id") or "email"
    if stream.endpoint is PROFILES:
        query |= _profile_parameters(fields)
    return query


def endpoint(stream: Stream, fields: Fields) -> Endpoint:
    """Return the endpoint with the limits that the selected fields are charged to."""
    return PREDICTIVE_PROFILES if "predictive_analytics" in fields else stream.endpoint


def between(start: int, end: int, metric_id: str) -> str:
    """Return the filter for a metric's events with start <= timestamp < end (epoch seconds)."""
    bounds = f"greater-or-equal(datetime,{format_time(start)}),less-than(datetime,{format_time(end)})"
    return f'and(equals(metric_id,"{metric_id}"),{bounds})'


def _profile_parameters(fields: Fields) -> dict[str, str]:
    # Suppressions are part of `subscriptions`, which comes only on request, so it is asked for in any case.
    additional = ["subscriptions"] + ["predictive_analytics"] * ("predictive_analytics" in fields)
    asked = {name for name in fields if name not in _NOT_PROFILE_ATTRIBUTES} | {"email", *additional}
    return {"additional-fields[profile]": ",".join(additional), "fields[profile]": ",".join(sorted(asked))}
