"""The parameters of a stream's first page: what Klaviyo is asked for follows from the selected fields."""

from __future__ import annotations

import pytest

from tap_klaviyo.reading.query import charged_endpoint, query_parameters
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.singer.selection import Selection, read_catalog
from tap_klaviyo.streams.table import STREAMS


def selected(names: str) -> Selection:
    (selection,) = read_catalog(select_by_names(discover_catalog(), names), STREAMS)
    return selection


def parameters_of(names: str, riders: tuple[str, ...] = ()) -> dict[str, str]:
    selection = selected(names)
    return query_parameters(selection.stream, selection.fields, riders)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("open.profile.email,open.profile.id", {"fields[profile]": "email"}),
        # An empty list would ask for all attributes.
        ("open.profile.id", {"fields[profile]": "email"}),
        ("custom_metrics.metrics.id", {"fields[metric]": "name"}),
        ("catalog_items.variants.id", {"fields[catalog-variant]": "sku"}),
        ("open.profile_id", {}),
    ],
)
def test_related_resources_are_asked_for_their_selected_attributes(names: str, expected: dict[str, str]) -> None:
    found = parameters_of(names)
    assert {name: value for name, value in found.items() if name.startswith("fields[")} == expected


@pytest.mark.parametrize(
    ("names", "riders", "expected"),
    [
        ("open.profile.email", (), "profile"),
        ("open.uuid", (), None),
        # Klaviyo shows the id without the resource.
        ("open.profile_id", (), None),
        # Klaviyo shows the id with the resource only.
        ("push_tokens.profile_id", (), "profile"),
        ("flows.name", ("flow-actions",), "flow-actions"),
        ("open.profile.email", ("metric",), "profile,metric"),
    ],
)
def test_what_is_selected_and_what_rides_along_is_included(
    names: str, riders: tuple[str, ...], expected: str | None
) -> None:
    assert parameters_of(names, riders).get("include") == expected


@pytest.mark.parametrize("name", ["email", "predictive_analytics"])
def test_a_request_for_some_fields_is_charged_to_a_stricter_limit(name: str) -> None:
    selection = selected(f"profiles.{name}")
    charged = charged_endpoint(selection.stream, selection.fields)
    assert (charged.limit != selection.stream.endpoint.limit) == (name == "predictive_analytics")
