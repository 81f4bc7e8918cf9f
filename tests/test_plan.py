"""What a run asks first, and the order of its streams."""

from __future__ import annotations

import pytest

from tap_klaviyo.reading.plan import first_requests, with_parents
from tap_klaviyo.singer.selection import select_key
from tap_klaviyo.streams.table import BY_NAME


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("lists", ["lists"]),
        ("open", ["metrics", "events"]),
        ("events", ["metrics", "events"]),
        # What belongs to the rows of another stream can be asked for only by their ids.
        ("list_members", ["lists"]),
        ("flow_messages", ["flows"]),
        # A report itself would count towards its limit of a day.
        ("flow_values_report", ["accounts", "metrics", "flows"]),
        ("form_values_report", ["accounts", "forms"]),
        ("metric_aggregates", ["accounts", "metrics"]),
        ("list_sizes", ["accounts", "lists", "segments"]),
    ],
)
def test_the_first_requests_show_whether_a_stream_can_be_read(name: str, paths: list[str]) -> None:
    found = [request.endpoint.path for request in first_requests(select_key(BY_NAME[name]))]
    assert found == [f"/api/{path}" for path in paths]


def test_the_first_request_of_a_stream_with_filters_has_one() -> None:
    (request,) = first_requests(select_key(BY_NAME["campaigns"]))
    assert "filter" in dict(request.parameters)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["lists", "list_members"], [("lists", False), ("list_members", False)]),
        (["list_members", "lists"], [("lists", False), ("list_members", False)]),
        (["flow_messages"], [("flows", True), ("flow_actions", True), ("flow_messages", False)]),
        (
            ["open", "flow_messages", "flow_actions"],
            [("open", False), ("flows", True), ("flow_actions", False), ("flow_messages", False)],
        ),
    ],
)
def test_each_parent_is_read_before_its_children(names: list[str], expected: list[tuple[str, bool]]) -> None:
    found = with_parents(map(select_key, map(BY_NAME.__getitem__, names)))
    assert [(selection.stream.name, is_silent) for selection, is_silent in found] == expected
