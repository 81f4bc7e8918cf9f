"""What the table of endpoints says: which limit a request is charged to, and what is asked of the key."""

from __future__ import annotations

import pytest

from tap_klaviyo.klaviyo import endpoints as at
from tap_klaviyo.klaviyo.endpoints import XL, XS, Endpoint, Limit, M

BOTH = Endpoint(path="/x", scopes=("x:read",), limit=XL, additional={"a": M, "b": XS, "c": None})


@pytest.mark.parametrize(
    ("endpoint", "fields", "limit"),
    [
        (BOTH, (), XL),
        (BOTH, ("a",), M),
        (BOTH, ("a", "b"), XS),
        (BOTH, ("c",), XL),
        (at.PROFILES, ("subscriptions",), at.L),
        (at.PROFILES, ("predictive_analytics", "subscriptions"), M),
        (at.LIST, ("profile_count",), XS),
    ],
)
def test_a_request_is_charged_to_the_lowest_limit_of_its_fields(
    endpoint: Endpoint, fields: tuple[str, ...], limit: Limit
) -> None:
    assert endpoint.charged_for(frozenset(fields)).limit == limit


def test_every_scope_of_an_endpoint_is_named() -> None:
    assert at.PUSH_TOKENS.scopes == ("push-tokens:read", "profiles:read")
    assert at.LIST_MEMBERS.scopes == ("lists:read", "profiles:read")


def test_reports_are_posts_with_a_limit_of_a_day() -> None:
    for endpoint in (at.CAMPAIGN_VALUES, at.FLOW_VALUES, at.FLOW_SERIES, at.FORM_SERIES, at.SEGMENT_VALUES):
        assert (endpoint.method, endpoint.limit) == ("POST", Limit(1, 2, 225))
    assert (at.METRIC_AGGREGATES.method, at.METRIC_AGGREGATES.limit.daily) == ("POST", None)


def test_what_is_filtered_by_time_is_sorted_by_it() -> None:
    assert at.EVENTS.sort == "datetime"
    assert at.PROFILES_BY_UPDATE.sort == "updated"
    assert at.SUPPRESSED_PROFILES.sort == "subscriptions.email.marketing.suppression.timestamp"


def test_an_account_may_lack_just_these() -> None:
    found = {name for name, each in vars(at).items() if isinstance(each, Endpoint) and each.is_optional}
    assert found == {"PUSH_TOKENS", "DATA_SOURCES", "OBJECT_TYPES", "OBJECT_RECORDS", "WEBHOOKS"}
