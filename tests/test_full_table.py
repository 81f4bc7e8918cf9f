"""Full reads: versions, what moves while it is read, empty answers, and metrics that join a stream later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from tap_klaviyo.errors import SyncError
from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox
from tap_klaviyo.times import DAY, format_time
from tests.running import Run, catalog_of, sync

YEAR = 365 * DAY


@pytest.fixture
def sandbox() -> Any:
    with Sandbox(Account.build(events=300, seed=3, campaigns=60), limits=False) as sandbox:
        yield sandbox


def version_of(run: Run, stream: str) -> int:
    """Return the version that a run activated."""
    (activation,) = run.of("ACTIVATE_VERSION", stream)
    version: int = activation["version"]
    return version


def test_the_version_is_the_time_by_klaviyos_clock(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of("lists"))
    assert version_of(run, "lists") == int(sandbox.now) * 1000


@pytest.mark.parametrize("ahead", [0, YEAR * 1000])
def test_a_version_never_goes_back(sandbox: Sandbox, ahead: int) -> None:
    last = int(sandbox.now) * 1000 + ahead
    state = {"bookmarks": {}, "full_tables": {"lists": {"version": last, "rows": {}}}}
    run = sync(sandbox, state, catalog_of("lists"))
    assert version_of(run, "lists") == last + 1
    assert run.state["full_tables"]["lists"]["version"] == last + 1
    assert {each["version"] for each in run.of("RECORD")} == {last + 1}


def test_each_campaign_has_the_channel_of_its_messages(sandbox: Sandbox) -> None:
    """Klaviyo does not say it of a campaign: it is the filter that lists it."""
    campaigns = sync(sandbox, catalog=catalog_of("campaigns")).records("campaigns")
    found = {(each["channel"], message.get("channel")) for each in campaigns for message in each["campaign_messages"]}
    one = {pair for pair in found if pair[0] not in ("omnichannel", None)}
    assert one >= {("email", "email"), ("sms", "sms"), ("mobile_push", "mobile_push")}
    assert all(message in (campaign, None) for campaign, message in one)


def test_a_campaign_archived_between_two_queries_is_read(sandbox: Sandbox) -> None:
    """It leaves the query for open campaigns before that is sent, and joins the one for archived ones after that."""
    catalog = catalog_of("campaigns")
    moving = next(item.id for item in sandbox.account.campaigns if item.attributes["archived"])

    def move(request: Request) -> Fault | None:
        condition = request.query.get("filter", "")
        if "archived,true" in condition and "updated_at" not in condition:
            account = sandbox.account.with_archived([moving], sandbox.now, archived=False)
            sandbox.account = account
        return None

    sandbox.faults = move
    run = sync(sandbox, catalog=catalog, max_concurrency=1)
    # If the query for archived ones is sent first, the other one finds it, and it comes again as a change.
    assert set(run.keys()["campaigns"]) == set(sandbox.account.ledger(sandbox.now)["campaigns"])
    assert version_of(run, "campaigns")


def test_a_parent_that_moves_while_it_is_read_silently_keeps_its_children(sandbox: Sandbox) -> None:
    flows = sandbox.account.collection("/api/flows", sandbox.now)
    moving = next(each["id"] for each in flows if each["attributes"]["archived"] and each["flow_actions"])

    def move(request: Request) -> Fault | None:
        condition = request.query.get("filter", "")
        if request.path == "/api/flows" and "archived,true" in condition and "updated" not in condition:
            now = format_time(int(sandbox.now)).replace("Z", "+00:00")
            sandbox.account = sandbox.account.with_changed(moving, archived=False, updated=now)
        return None

    sandbox.faults = move
    run = sync(sandbox, catalog=catalog_of("flow_actions"), max_concurrency=1)
    assert moving in {each["flow_id"] for each in run.records("flow_actions")}


def test_an_account_that_never_settles_keeps_the_targets_rows(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    def change(request: Request) -> Fault | None:
        moving = sandbox.account.campaigns[request.index % len(sandbox.account.campaigns)].id
        sandbox.account = sandbox.account.with_archived([moving], sandbox.now + request.index)
        return None

    sandbox.faults = change
    run = sync(sandbox, catalog=catalog_of("campaigns"))
    assert run.error is None
    assert run.of("ACTIVATE_VERSION") == []
    assert "rows keep changing" in caplog.text


def empties(path: str, times: int) -> Callable[[Request], Fault | None]:
    """Return a schedule by which a path's first answers are empty pages."""
    left = [times]

    def choose(request: Request) -> Fault | None:
        if request.path == path and left[0]:
            left[0] -= 1
            return Fault("empty_page")
        return None

    return choose


def test_an_empty_answer_is_read_again(sandbox: Sandbox) -> None:
    first = sync(sandbox, catalog=catalog_of("lists"))
    sandbox.faults = empties("/api/lists", 1)
    second = sync(sandbox, first.state, catalog_of("lists"))
    assert second.keys() == first.keys()
    assert version_of(second, "lists") > version_of(first, "lists")


def test_rows_are_removed_only_when_two_runs_find_none(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    first = sync(sandbox, catalog=catalog_of("lists"))
    sandbox.account = sandbox.account.without([item.id for item in sandbox.account.lists])
    second = sync(sandbox, first.state, catalog_of("lists"))
    assert (second.error, second.of("ACTIVATE_VERSION")) == (None, [])
    assert "returned no rows for a query that found 25 in the last run" in caplog.text
    third = sync(sandbox, second.state, catalog_of("lists"))
    assert version_of(third, "lists") > version_of(first, "lists")


@pytest.mark.parametrize("streams", [["flow_actions"], ["flow_messages"], ["flows", "flow_actions", "flow_messages"]])
def test_an_empty_answer_of_a_parent_removes_none_of_its_children(sandbox: Sandbox, streams: list[str]) -> None:
    first = sync(sandbox, catalog=catalog_of(*streams))
    sandbox.faults = lambda request: (
        Fault("empty_page") if request.path == "/api/flows" and "archived,false" in request.query["filter"] else None
    )
    second = sync(sandbox, first.state, catalog_of(*streams))
    assert second.error is None
    assert 0 < len(second.records(streams[-1])) < len(first.records(streams[-1]))
    assert second.of("ACTIVATE_VERSION") == []
    third = sync(sandbox, second.state, catalog_of(*streams))
    assert version_of(third, streams[-1]) > version_of(first, streams[-1])


def test_an_empty_answer_of_a_parent_that_is_read_silently_is_read_again(sandbox: Sandbox) -> None:
    first = sync(sandbox, catalog=catalog_of("flow_messages"))
    sandbox.faults = empties("/api/flows", 1)
    second = sync(sandbox, first.state, catalog_of("flow_messages"))
    assert sorted(second.keys()["flow_messages"]) == sorted(first.keys()["flow_messages"])
    assert version_of(second, "flow_messages") > version_of(first, "flow_messages")


def test_what_a_run_keeps_of_its_silent_parents_is_not_odd(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    first = sync(sandbox, catalog=catalog_of("campaign_audiences"))
    assert "omnichannel_campaigns" in first.state["full_tables"]
    sync(sandbox, first.state, catalog_of("campaign_audiences"))
    assert "Ignored" not in caplog.text


def test_a_row_that_two_pages_in_a_row_contain_comes_once() -> None:
    with Sandbox(Account.build(events=100, seed=3), limits=False, largest_page=10) as sandbox:
        sandbox.faults = lambda request: Fault("duplicate") if "page[cursor]" in request.query else None
        run = sync(sandbox, catalog=catalog_of("lists"))
        assert sorted(run.keys()["lists"]) == sorted(sandbox.account.ledger(sandbox.now)["lists"])


def test_a_stream_that_was_always_empty_is_activated(sandbox: Sandbox) -> None:
    sandbox.account = sandbox.account.without([item.id for item in sandbox.account.lists])
    assert version_of(sync(sandbox, catalog=catalog_of("lists")), "lists")


# Metrics that join a stream later: all of its events are read, those before the bookmark too.


def without_metric(account: Account, metric_id: str) -> Account:
    """Return an account whose list of metrics lacks one."""
    metrics = (
        replace(metric, kind=replace(metric.kind, listed=False)) if metric.id == metric_id else metric
        for metric in account.metrics
    )
    return replace(account, metrics=tuple(metrics))


def ids_of(account: Account, stream: str) -> list[str]:
    """Return the ids of the metrics that feed a stream."""
    return [metric.id for metric in account.metrics if metric.kind.stream == stream]


def test_a_metric_that_joins_a_stream_later_is_read_from_the_start_date(sandbox: Sandbox) -> None:
    whole, (late, *others) = sandbox.account, ids_of(sandbox.account, "unsubscribe")
    sandbox.account = without_metric(whole, late)
    first = sync(sandbox, catalog=catalog_of("unsubscribe"))
    assert first.state["bookmarks"]["unsubscribe"]["metrics"] == sorted(others)
    sandbox.account = whole
    second = sync(sandbox, first.state, catalog_of("unsubscribe"), lookback_days=0)
    assert second.state["bookmarks"]["unsubscribe"]["metrics"] == sorted([late, *others])
    assert len(second.keys()["unsubscribe"]) == len(set(second.keys()["unsubscribe"]))
    found = {*first.keys()["unsubscribe"], *second.keys()["unsubscribe"]}
    assert found == set(whole.ledger(sandbox.now)["unsubscribe"])
    third = sync(sandbox, second.state, catalog_of("unsubscribe"), lookback_days=0)
    assert len(third.keys()["unsubscribe"]) < len(second.keys()["unsubscribe"])


def test_a_metric_that_was_denied_is_read_once_klaviyo_serves_it(sandbox: Sandbox) -> None:
    late, *others = ids_of(sandbox.account, "unsubscribe")
    sandbox.faults = lambda request: Fault("deny_metric") if late in request.query.get("filter", "") else None
    first = sync(sandbox, catalog=catalog_of("unsubscribe"))
    assert isinstance(first.error, SyncError)
    assert first.state["bookmarks"]["unsubscribe"]["metrics"] == sorted(others)
    sandbox.faults = None
    second = sync(sandbox, first.state, catalog_of("unsubscribe"), lookback_days=0)
    found = {*first.keys()["unsubscribe"], *second.keys()["unsubscribe"]}
    assert found == set(sandbox.account.ledger(sandbox.now)["unsubscribe"])
    assert second.error is None


def test_a_run_that_fails_behind_a_denied_metric_leaves_it_uncovered() -> None:
    account = Account.build(events=900, seed=3)
    late, *others = ids_of(account, "unsubscribe")
    asked = list[Request]()

    def deny_then_fail(request: Request) -> Fault | None:
        if late in request.query.get("filter", ""):
            return Fault("deny_metric")
        asked.extend([request] if request.path == "/api/events" else [])
        return Fault("status", code=404) if len(asked) > len(others) else None

    with Sandbox(account, limits=False, largest_page=3) as sandbox:
        sandbox.faults = deny_then_fail
        run = sync(sandbox, catalog=catalog_of("unsubscribe"), max_concurrency=1)
    assert len(asked) > len(others)
    assert run.error is not None
    assert run.records("unsubscribe")
    assert run.state["bookmarks"]["unsubscribe"]["metrics"] == sorted(others)


def test_a_run_that_fails_behind_the_history_of_a_metric_reads_it_again(sandbox: Sandbox) -> None:
    whole, (late, *others) = sandbox.account, ids_of(sandbox.account, "unsubscribe")
    sandbox.account = without_metric(whole, late)
    first = sync(sandbox, catalog=catalog_of("unsubscribe"))
    sandbox.account = whole
    mark = first.state["bookmarks"]["unsubscribe"]["timestamp"]
    newer = f"greater-or-equal(datetime,{mark})"
    sandbox.faults = lambda request: Fault("status", code=404) if newer in request.query.get("filter", "") else None
    second = sync(sandbox, first.state, catalog_of("unsubscribe"), lookback_days=0)
    assert second.error is not None
    assert second.records("unsubscribe")
    assert second.state["bookmarks"]["unsubscribe"] == {"timestamp": mark, "metrics": sorted(others)}


def test_a_bookmark_that_names_no_metrics_covers_all(sandbox: Sandbox) -> None:
    mark = {"timestamp": format_time(int(sandbox.now) - DAY)}
    run = sync(sandbox, {"bookmarks": {"unsubscribe": mark}}, catalog_of("unsubscribe"), lookback_days=0)
    start = int(sandbox.now) - DAY
    assert set(run.keys()["unsubscribe"]) == set(sandbox.account.ledger(sandbox.now, start)["unsubscribe"])


def test_a_start_date_after_the_bookmark_skips_nothing(sandbox: Sandbox) -> None:
    mark = int(sandbox.now) - 100 * DAY
    state = {"bookmarks": {"receive": {"timestamp": format_time(mark)}}}
    run = sync(sandbox, state, catalog_of("receive"), start_date=format_time(int(sandbox.now) - DAY))
    assert set(run.keys()["receive"]) >= set(sandbox.account.ledger(sandbox.now, mark)["receive"])


def test_an_end_date_before_the_bookmark_leaves_a_metric_that_joins_uncovered(sandbox: Sandbox) -> None:
    late, *others = ids_of(sandbox.account, "unsubscribe")
    mark = {"timestamp": format_time(int(sandbox.now) - DAY), "metrics": others}
    ended = format_time(int(sandbox.now) - 100 * DAY)
    first = sync(sandbox, {"bookmarks": {"unsubscribe": mark}}, catalog_of("unsubscribe"), end_date=ended)
    assert late not in first.state["bookmarks"]["unsubscribe"]["metrics"]
    assert max(each["timestamp"] for each in first.records("unsubscribe")) < int(sandbox.now) - 100 * DAY
    second = sync(sandbox, first.state, catalog_of("unsubscribe"), lookback_days=0)
    events = sandbox.account.timeline
    (place,) = (at for at, metric in enumerate(sandbox.account.metrics) if metric.id == late)
    own = {events.id(number).decode() for number in sandbox.account.events_of([place])}
    assert own & set(sandbox.account.ledger(sandbox.now)["unsubscribe"]) <= set(second.keys()["unsubscribe"])
    assert late in second.state["bookmarks"]["unsubscribe"]["metrics"]


def in_full(stream: str) -> dict[str, Any]:
    """Return a catalog in which a stream of events is read in full."""
    catalog = catalog_of(stream)
    for entry in catalog["streams"]:
        for each in entry["metadata"]:
            if not each["breadcrumb"]:
                each["metadata"]["replication-method"] = "FULL_TABLE"
    return catalog


def test_a_full_read_of_events_moves_the_bookmark_at_its_end_only() -> None:
    account = Account.build(events=900, seed=3)
    with Sandbox(account, limits=False, largest_page=10) as sandbox:
        events = list[Request]()

        def fail_in_the_middle(request: Request) -> Fault | None:
            events.extend([request] if request.path == "/api/events" else [])
            return Fault("status", code=404) if len(events) == 6 else None

        sandbox.faults = fail_in_the_middle
        failed = sync(sandbox, catalog=in_full("receive"), max_concurrency=1)
        assert failed.error is not None
        assert failed.records("receive")
        assert failed.state["bookmarks"] == {}
        sandbox.faults = None
        whole = sync(sandbox, failed.state, in_full("receive"))
    newest = max(each["timestamp"] for each in whole.records("receive"))
    assert whole.state["bookmarks"]["receive"]["timestamp"] == format_time(newest)


def test_an_incremental_read_without_rows_says_nothing_of_the_full_read_before(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    first = sync(sandbox, catalog=in_full("receive"))
    assert first.state["full_tables"]["receive"]["rows"]
    first.state["bookmarks"]["receive"]["timestamp"] = format_time(int(sandbox.now))
    second = sync(sandbox, first.state, catalog_of("receive"), lookback_days=0)
    assert (second.error, second.keys()["receive"]) == (None, [])
    assert "returned no rows" not in caplog.text


def test_a_full_read_of_events_without_those_of_a_denied_metric_removes_no_row(sandbox: Sandbox) -> None:
    late, *_ = ids_of(sandbox.account, "unsubscribe")
    sandbox.faults = lambda request: Fault("deny_metric") if late in request.query.get("filter", "") else None
    run = sync(sandbox, catalog=in_full("unsubscribe"))
    assert run.records("unsubscribe")
    assert run.of("ACTIVATE_VERSION") == []


def test_an_empty_full_read_of_events_removes_no_row_at_once(sandbox: Sandbox) -> None:
    catalog = in_full("receive")
    first = sync(sandbox, catalog=catalog)
    assert version_of(first, "receive")
    sandbox.faults = empties("/api/events", 10**6)
    second = sync(sandbox, first.state, catalog)
    assert (second.keys()["receive"], second.of("ACTIVATE_VERSION")) == ([], [])


def test_a_row_that_changed_is_written_in_its_newest_form_last() -> None:
    """Archived campaigns are read ahead of their turn; then they are reopened, and the query before finds them too."""
    account = Account.build(events=300, seed=3, campaigns=200)
    archived = [item.id for item in account.campaigns if item.attributes["archived"]]
    ahead, restless = Event(), Sandbox(account, limits=False, largest_page=10)

    def reopen(request: Request) -> Fault | None:
        condition = request.query.get("filter", "")
        if "updated_at" in condition:
            return None
        if "sms" in condition:
            ahead.set()
        if "page[cursor]" in request.query and "archived,false" in condition and "email" in condition:
            assert ahead.wait(10)
            if restless.account is account:
                restless.account = account.with_archived(archived, restless.now, archived=False)
        return None

    restless.faults = reopen
    with restless:
        run = sync(restless, catalog=catalog_of("campaigns"), max_concurrency=16)
    assert ahead.is_set()
    last = {each["record"]["id"]: each["record"]["archived"] for each in run.of("RECORD")}
    assert not any(last[item.id] for item in account.campaigns)
    assert version_of(run, "campaigns")
