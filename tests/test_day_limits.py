"""What the state keeps of a limit of a day, and what of it is understood."""

from __future__ import annotations

from typing import Any

import pytest

from tap_klaviyo.singer.day_limits import pages_of_period, request_times, with_requests
from tap_klaviyo.times import parse_time

PATH, OTHER = "/api/flow-values-reports", "/api/form-values-reports"
NOON = parse_time("2026-11-20T12:00:00Z")


def limits_of(entry: object) -> dict[str, Any]:
    return {"bookmarks": {}, "day_limits": {PATH: entry}}


def test_requests_come_back_evenly_spread() -> None:
    times = [NOON, NOON + 30, NOON + 60, NOON + 5000]
    state = with_requests({"bookmarks": {}}, PATH, times, 3)
    assert state["day_limits"][PATH] == {
        "requests": [["2026-11-20T12:00:00Z", "2026-11-20T12:01:00Z", 3], ["2026-11-20T13:23:20Z"] * 2 + [1]],
        "pages": 3,
    }
    assert request_times(state, PATH) == times
    assert pages_of_period(state, PATH) == 3


def test_the_limits_of_other_endpoints_stay() -> None:
    state = with_requests(with_requests({}, OTHER, [NOON], 1), PATH, [NOON], 2)
    assert state["day_limits"].keys() == {PATH, OTHER}


@pytest.mark.parametrize(
    "requests",
    [
        None,
        5,
        [5],
        [["a", "b", 1]],
        [["2026-11-20T12:00:00Z"]],
        [["2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z", "x"]],
    ],
)
def test_spans_that_the_tap_did_not_write_count_as_no_requests(requests: object) -> None:
    assert request_times(limits_of({"requests": requests}), PATH) == []


def test_a_span_of_more_requests_than_a_day_allows_is_cut() -> None:
    span = ["2026-11-20T12:00:00Z", "2026-11-20T13:00:00Z", 10_000]
    assert len(request_times(limits_of({"requests": [span]}), PATH)) == 1000


@pytest.mark.parametrize("pages", [None, 0, -1, True, "3", 2.5])
def test_a_number_of_pages_that_is_none_is_one(pages: object) -> None:
    assert pages_of_period(limits_of({"pages": pages}), PATH) == 1


@pytest.mark.parametrize("limits", [None, [], "x", {PATH: []}])
def test_limits_of_another_form_say_nothing(limits: object) -> None:
    state = {"bookmarks": {}, "day_limits": limits}
    assert (request_times(state, PATH), pages_of_period(state, PATH)) == ([], 1)
    assert with_requests(state, PATH, [NOON], 1)["day_limits"].keys() == {PATH}
