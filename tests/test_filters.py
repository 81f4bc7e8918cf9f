"""Klaviyo's filters and the URLs of its pages."""

from __future__ import annotations

import pytest

from tap_klaviyo.klaviyo.filters import filter_all, filter_between, filter_from, filter_metric
from tap_klaviyo.klaviyo.urls import place_of, resized_url

ORIGIN = "https://a.klaviyo.com"


def test_a_range_has_its_start_and_not_its_end() -> None:
    assert filter_between("datetime", 60, 3600) == (
        "greater-or-equal(datetime,1970-01-01T00:01:00Z)",
        "less-than(datetime,1970-01-01T01:00:00Z)",
    )


def test_an_operator_that_leaves_out_its_second_begins_a_second_before() -> None:
    assert filter_from("updated", 60, "greater-than") == "greater-than(updated,1970-01-01T00:00:59Z)"
    assert filter_between("updated", 60, 3600, "greater-than", "less-or-equal")[1].startswith("less-or-equal(updated,")


@pytest.mark.parametrize(
    ("conditions", "text"),
    [((), None), ((None, None), None), (("a", None), "a"), (("a", "b"), "and(a,b)"), ((None, "a", "b"), "and(a,b)")],
)
def test_conditions_are_joined(conditions: tuple[str | None, ...], text: str | None) -> None:
    assert filter_all(*conditions) == text


def test_a_metric_is_named_by_its_id() -> None:
    assert filter_metric("SkDfHe") == 'equals(metric_id,"SkDfHe")'


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (f"{ORIGIN}/api/lists", "/api/lists"),
        (
            f"{ORIGIN}/api/events?filter=equals%28a%2C1%29&page%5Bsize%5D=5",
            "/api/events?filter=equals(a,1)&page[size]=5",
        ),
    ],
)
def test_a_page_is_named_by_its_path_and_query(url: str, place: str) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize(
    ("query", "size", "resized"),
    [
        ("a=&page%5Bsize%5D=10&b=2", 5, "a=&b=2&page%5Bsize%5D=5"),
        ("a=", 5, "a=&page%5Bsize%5D=5"),
        ("a=&page[size]=5", 5, "a=&page[size]=5"),
        ("a=&page[size]=5", None, "a=&page[size]=5"),
        ("a=", None, "a="),
    ],
)
def test_a_page_of_another_size_differs_in_that_alone(query: str, size: int | None, resized: str) -> None:
    assert resized_url(f"{ORIGIN}/api/lists?{query}", size) == f"{ORIGIN}/api/lists?{resized}"
