"""The checks of --test: what they ask for, and what their lines say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tap_klaviyo.check import Access, check_access
from tap_klaviyo.config import check_settings
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.sandbox import SCOPES, Account, Fault, Sandbox
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.streams.metric_streams import read_metric_streams, streams_with
from tests.running import Time

ACCOUNT = Account.build(events=50)
DENIED = Fault("status", code=403)


def checked(
    *streams: str,
    faults: Mapping[str, Fault] | None = None,
    lacks: str = "",
    base_url: str | None = None,
    metric_streams: Sequence[str] = (),
) -> tuple[list[str], list[Mapping[str, str]]]:
    """Return the lines of a test of some streams, and the queries that it sent."""
    schedule = faults or {}
    with Sandbox(
        ACCOUNT, limits=False, scopes=set(SCOPES) - {lacks}, faults=lambda request: schedule.get(request.path)
    ) as sandbox:
        settings = check_settings({**sandbox.config, **({"base_url": base_url} if base_url else {})})
        client = Client(settings, Time().clock, Retries(total=1.0, local=1.0))
        table = streams_with(read_metric_streams(list(metric_streams)))
        catalog = select_by_names(discover_catalog(table), ",".join(streams), table)
        lines = [str(each) for each in check_access(client, read_catalog(catalog, table))]
        return lines, [request.query for request in sandbox.requests]


def test_each_request_is_checked_once_for_all_streams_that_need_it() -> None:
    lines, queries = checked("receive", "click", "open", "lists")
    events = "(receive, click, open)"
    assert lines == [
        "Account: Example (AbC123)",
        f"ok     metrics:read {events}",
        f"ok     events:read {events}",
        "ok     lists:read (lists)",
    ]
    assert len(queries) == 4


def test_a_check_asks_for_one_item() -> None:
    _, queries = checked("open", "lists")
    assert sorted(query["page[size]"] for query in queries if "page[size]" in query) == ["1", "1"]


def test_a_line_names_three_streams_and_counts_the_others() -> None:
    assert str(Access("events:read", ("a", "b", "c"))) == "ok     events:read (a, b, c)"
    assert str(Access("events:read", ("a", "b", "c", "d", "e"))) == "ok     events:read (a, b, c and 2 more)"
    assert str(Access("events:read", ("a",), "It is down.")) == "FAILS  events:read (a)  It is down."


def test_a_check_that_fails_leaves_the_others_as_they_are() -> None:
    lines, _ = checked("lists", "campaigns", lacks="lists:read")
    assert lines[1].startswith("FAILS  lists:read (lists)  Klaviyo answers 403")
    assert lines[2] == "ok     campaigns:read (campaigns)"


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (DENIED, "Account: unknown, because the key lacks the scope accounts:read (optional)."),
        (Fault("empty_page"), "Account: unnamed."),
        (Fault("status", code=404), None),
        (Fault("status", code=500), None),
    ],
)
def test_an_account_without_a_name_fails_no_check(fault: Fault, line: str | None) -> None:
    lines, _ = checked("lists", faults={"/api/accounts": fault})
    assert lines == [*([line] if line else []), "ok     lists:read (lists)"]


def test_a_refused_key_is_one_line() -> None:
    refused = Fault("status", code=401)
    paths = ("/api/accounts", "/api/lists", "/api/campaigns")
    lines, _ = checked("lists", "campaigns", faults=dict.fromkeys(paths, refused))
    assert [line.split("  Klaviyo answers 401")[0] for line in lines] == ["FAILS  the credentials (all streams)"]


def test_a_machine_that_is_offline_is_one_line() -> None:
    # Nothing can listen on this port.
    lines, _ = checked("lists", "campaigns", base_url="http://127.0.0.1:1")
    assert len(lines) == 1
    assert lines[0].startswith("FAILS  the connection (all streams)")


def test_a_stream_whose_metric_the_account_lacks_is_noted_as_in_a_sync() -> None:
    lines, _ = checked("placed_ordr", "opened_email", "lists", metric_streams=["Placed Ordr", "Opened Email"])
    assert lines[1:] == [
        "ok     lists:read (lists)",
        "ok     metrics:read (placed_ordr, opened_email)",
        "ok     events:read (placed_ordr, opened_email)",
        'note   placed_ordr: the account has no metric named Placed Ordr, so no records; did you mean "Placed Order" '
        "of Shopify?",
    ]


@pytest.mark.parametrize("fault", [DENIED, Fault("status", code=404)])
def test_a_metric_is_not_missing_if_metrics_cannot_be_read(fault: Fault) -> None:
    lines, _ = checked("placed_ordr", metric_streams=["Placed Ordr"], faults={"/api/metrics": fault})
    assert [line[:6] for line in lines[1:]] == ["FAILS ", "ok    "]
