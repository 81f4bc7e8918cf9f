"""The user's replication method: FULL_TABLE on an event stream, and the methods that are refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tap_klaviyo.errors import CatalogError, SyncError
from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox, error_status
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.times import DAY, format_time, parse_time
from tests.running import catalog_of, sync


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=20_000, seed=11)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


def read_as(method: object, *streams: str) -> dict[str, Any]:
    """Return a catalog that has these streams read by a method."""
    catalog = catalog_of(*streams)
    for entry in catalog["streams"]:
        entry["metadata"] = [
            {**each, "metadata": {**each["metadata"], "replication-method": method}} if not each["breadcrumb"] else each
            for each in entry["metadata"]
        ]
    return catalog


def state_of(sandbox: Sandbox, days: int) -> dict[str, Any]:
    """Return a state whose bookmark for `open` is some days old."""
    return {"bookmarks": {"open": {"timestamp": format_time(int(sandbox.now) - days * DAY)}}}


def test_full_table_reads_an_event_stream_from_start_date_and_removes_the_rest(sandbox: Sandbox) -> None:
    run = sync(sandbox, state_of(sandbox, 3), read_as("FULL_TABLE", "open"))
    (activation,) = run.of("ACTIVATE_VERSION")
    assert run.error is None
    assert run.keys()["open"] == sandbox.account.ledger(sandbox.now)["open"]
    assert {message["version"] for message in run.of("RECORD")} == {activation["version"]}
    assert run.messages.index(activation) > max(map(run.messages.index, run.of("RECORD")[-1:]))
    assert "bookmark_properties" not in run.of("SCHEMA")[0]


def test_incremental_run_resumes_from_a_full_one(sandbox: Sandbox) -> None:
    full = sync(sandbox, catalog=read_as("FULL_TABLE", "open"))
    newest = max(record["timestamp"] for record in full.records("open") if record["timestamp"] <= sandbox.now)
    assert parse_time(full.state["bookmarks"]["open"]["timestamp"]) == newest
    sandbox.advance(2 * DAY)
    run = sync(sandbox, full.state, read_as("INCREMENTAL", "open"))
    assert run.keys()["open"] == sandbox.account.ledger(sandbox.now, newest - 7 * DAY)["open"]
    assert run.of("ACTIVATE_VERSION") == []
    assert not any("version" in message for message in run.of("RECORD"))


@pytest.mark.parametrize("given", [None, 3])
def test_full_run_that_fails_leaves_the_bookmark_and_removes_no_row(sandbox: Sandbox, given: int | None) -> None:
    state = {"bookmarks": {}} if given is None else state_of(sandbox, given)

    def fail(request: Request) -> Fault | None:
        is_later = request.path == "/api/events" and len(sandbox.requests) > 4
        return error_status(400) if is_later else None

    sandbox.faults = fail
    run = sync(sandbox, state, read_as("FULL_TABLE", "open"), max_concurrency=1)
    assert isinstance(run.error, SyncError)
    assert len(run.records("open")) > 200
    assert all(each["bookmarks"] == state["bookmarks"] for each in run.states)
    assert run.of("ACTIVATE_VERSION") == []


def test_full_run_removes_no_row_if_klaviyo_denies_the_metric(sandbox: Sandbox) -> None:
    sandbox.faults = lambda request: Fault("deny_metric") if request.path == "/api/events" else None
    run = sync(sandbox, catalog=read_as("FULL_TABLE", "open"))
    assert isinstance(run.error, SyncError)
    assert run.of("ACTIVATE_VERSION") == []


def test_full_run_reads_the_other_metrics_if_klaviyo_denies_one(sandbox: Sandbox) -> None:
    whole = sync(sandbox, catalog=read_as("FULL_TABLE", "unsubscribe")).records("unsubscribe")
    denied = whole[0]["metric_id"]
    sandbox.faults = lambda request: Fault("deny_metric") if denied in request.query.get("filter", "") else None
    run = sync(sandbox, catalog=read_as("FULL_TABLE", "unsubscribe"))
    assert isinstance(run.error, SyncError)
    assert run.records("unsubscribe") == [each for each in whole if each["metric_id"] != denied]
    assert run.of("ACTIVATE_VERSION") == []


def test_full_run_removes_no_row_if_the_account_lacks_the_metric(sandbox: Sandbox) -> None:
    sandbox.account = Account.build(events=500, absent=("open",))
    run = sync(sandbox, catalog=read_as("FULL_TABLE", "open"))
    assert run.error is None
    assert run.of("ACTIVATE_VERSION") == []


def test_full_run_up_to_an_end_date_removes_no_row_and_says_so(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    end = int(sandbox.now) - 20 * DAY
    logging.getLogger("tap_klaviyo").addHandler(caplog.handler)
    run = sync(sandbox, catalog=read_as("FULL_TABLE", "open"), end_date=format_time(end))
    logging.getLogger("tap_klaviyo").removeHandler(caplog.handler)
    assert run.keys()["open"] == sandbox.account.ledger(sandbox.now, None, end)["open"]
    assert run.of("ACTIVATE_VERSION") == []
    assert not any("version" in message for message in run.of("RECORD"))
    assert "open: end_date" in caplog.text


def test_full_run_without_versions_reads_all(sandbox: Sandbox) -> None:
    run = sync(sandbox, state_of(sandbox, 3), read_as("FULL_TABLE", "open"), activate_version=False)
    assert run.keys()["open"] == sandbox.account.ledger(sandbox.now)["open"]
    assert run.of("ACTIVATE_VERSION") == []


@pytest.mark.parametrize(
    ("method", "stream", "allowed"),
    [
        ("INCREMENTAL", "lists", "use FULL_TABLE"),
        ("LOG_BASED", "open", "use FULL_TABLE or INCREMENTAL"),
        ("full_table_", "open", "use FULL_TABLE or INCREMENTAL"),
        (["FULL_TABLE"], "open", "use FULL_TABLE or INCREMENTAL"),
        (True, "campaigns", "use FULL_TABLE"),
    ],
)
def test_a_method_that_a_stream_cannot_have_is_refused(method: object, stream: str, allowed: str) -> None:
    with pytest.raises(CatalogError, match=f"replication-method of {stream} .*{allowed}"):
        read_catalog(read_as(method, stream))
