"""The page of costs: its formula gives the requests that a run sends, and the figures known from Klaviyo's limits."""

from __future__ import annotations

import re
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo.sandbox import Account, Sandbox
from tap_klaviyo.streams.model import Filters, Report, Sizes, Stream
from tap_klaviyo.streams.table import BY_NAME, STREAMS
from tests.running import catalog_of, sync

ROOT = Path(__file__).parents[1]
COSTS = runpy.run_path(str(ROOT / "scripts" / "stream_costs.py"))
# The sandbox takes seconds to work these out.
SLOW = ("flow_series_report", "metric_aggregates")
# Every other stream with an endpoint that no stream shares.
COUNTED = [
    stream
    for stream in STREAMS
    if stream.name not in SLOW
    and (stream.name in COSTS["ROWS"] or stream.group == "reports")
    and sum(each.endpoint.path == stream.endpoint.path for each in STREAMS) == 1
]

LOOKED_UP = ("metrics", "accounts", "mapped_metrics")
# Days less than a year before the sandbox's time.
START = "2025-11-27T00:00:00Z"


@pytest.fixture(scope="module")
def sent() -> tuple[Counter[str], Counter[str]]:
    """Return by stream the rows that a run emits, and the requests that it sends."""
    rows, requests = Counter[str](), Counter[str]()
    with Sandbox(Account.build(events=500, scale=2), limits=False) as sandbox:
        rest = [stream.name for stream in COUNTED if stream.name not in ("campaigns", "list_sizes")]
        for names in (["campaigns"], ["list_sizes"], rest):
            begun = len(sandbox.requests)
            run = sync(sandbox, catalog=catalog_of(*names), start_date=START)
            rows.update({name: len(run.records(name)) for name in names})
            paths = [each.path for each in sandbox.requests[begun:]]
            requests.update({name: sum(map(bool, map(pattern_of(BY_NAME[name]).fullmatch, paths))) for name in names})
        definitions = [
            each["attributes"]["definition"]
            for each in sandbox.account.collection("/api/flows/{id}/flow-actions", sandbox.now)
        ]
    # The formula takes these for the number of actions that send.
    rows["flow_messages"] = sum(each is None or each["type"].startswith("send-") for each in definitions)
    rows["omnichannel_campaigns"] = rows["campaigns"]
    return rows, requests


def pattern_of(stream: Stream) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(stream.endpoint.path)) + "/?")


@pytest.mark.parametrize("stream", COUNTED, ids=lambda stream: stream.name)
def test_the_formula_gives_the_requests_of_a_run(sent: tuple[Counter[str], Counter[str]], stream: Stream) -> None:
    rows, requests = sent
    computed, found = COSTS["count_requests"](stream, lambda name: rows[name]), requests[stream.name]
    if stream.parent and stream.parent.included:
        assert found <= 0.05 * rows[stream.parent.stream]
    elif stream.parent:
        # The last page of each parent is not full. The sandbox has a few big parents and many small ones.
        parents = rows[stream.name if stream.parent.only else stream.parent.stream]
        assert 0.8 * computed <= found <= rows[stream.name] / (stream.endpoint.page_size or 100) + parents * 1.1
    elif isinstance(stream.split, Filters):
        assert computed - 2 * len(stream.split.each) <= found <= computed + 2 * len(stream.split.each)
    elif isinstance(stream.split, Report) and stream.split.has_conversions:
        # In the sandbox, a page has the figures of all messages that were sent in a window.
        assert 7 <= found <= computed
    elif isinstance(stream.split, Sizes):
        # One of them is the report that has the sizes of all segments.
        assert found == computed - 1
    elif stream.name in LOOKED_UP:
        # These are looked up at the start of a run, too.
        assert found == computed * 2
    else:
        assert found == computed


@pytest.mark.parametrize(
    ("name", "requests", "time"),
    [
        ("`profiles`", 5_000, "6.7 min"),
        ("`profiles` with `predictive_analytics`", 5_000, "33.3 min"),
        ("`list_members`", 50_000, "66.7 min"),
        ("`segment_members`", 150_000, "3.3 h"),
        ("`lists`", 20, "< 1 s"),
        ("`segments`", 30, "< 1 s"),
        ("`flow_actions`", 0, "< 1 s"),
        ("`flow_messages`", 2_400, "40.0 min"),
        ("`metric_properties`", 200, "13.3 min"),
        ("`object_records`", 10_000, "2.8 h"),
        ("`events`", 50_000, "14.3 min"),
        ("`campaigns`", 43, "4 s"),
        ("`list_sizes`", 201, "13.4 min"),
        ("`metric_aggregates`", 200, "3.3 min"),
        ("`campaign_values_report`", 13, "6.5 min"),
        ("`flow_values_report`", 312, "2 days"),
    ],
)
def test_the_large_account_costs_what_klaviyos_limits_allow(name: str, requests: int, time: str) -> None:
    (line,) = [each for each in COSTS["lines"]() if each.name == name]
    assert (line.requests[-1], COSTS["format_time"](requests, line.endpoint)) == (requests, time)


def test_counts_of_events_cost_a_request_for_each_metric() -> None:
    (line,) = [each for each in COSTS["lines"]() if each.name == "`metric_aggregates`"]
    assert line.requests == COSTS["ROWS"]["metrics"]


def test_a_later_run_reads_parents_whole_and_few_of_the_members() -> None:
    (line,) = [each for each in COSTS["lines"]() if each.name == "`list_members`"]
    assert 200 <= line.later < line.requests[-1] / 20


def test_a_stream_without_a_number_of_rows_is_named() -> None:
    with pytest.raises(KeyError, match="how many rows moods has"):
        COSTS["_rows"]("moods")


def test_every_stream_has_a_line() -> None:
    names: Any = [each.name for each in COSTS["lines"]()]
    for stream in STREAMS:
        assert f"`{stream.name}`" in names or stream.metric_names, stream.name
