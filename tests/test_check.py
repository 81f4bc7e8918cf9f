"""The checks of --test: what they ask for, and what their lines say."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tap_klaviyo.check import Access, check_access
from tap_klaviyo.config import check_settings
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.sandbox import SCOPES, Account, Fault, Sandbox
from tap_klaviyo.singer.selection import read_catalog
from tests.running import Time, catalog_of

ACCOUNT = Account.build(events=50)
DENIED = Fault("status", code=403)


def checked(
    *streams: str, faults: Mapping[str, Fault] | None = None, lacks: str = "", base_url: str | None = None
) -> tuple[list[str], list[Mapping[str, str]]]:
    """Return the lines of a test of some streams, and the queries that it sent."""
    schedule = faults or {}
    with Sandbox(
        ACCOUNT, limits=False, scopes=set(SCOPES) - {lacks}, faults=lambda request: schedule.get(request.path)
    ) as sandbox:
        settings = check_settings({**sandbox.config, **({"base_url": base_url} if base_url else {})})
        client = Client(settings, Time().clock, Retries(total=1.0, local=1.0))
        lines = [str(each) for each in check_access(client, read_catalog(catalog_of(*streams)))]
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
