"""Event streams of the user's choice, and the list of an account's metrics."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo.account_metrics import MetricRow, list_metrics, metrics_json, metrics_table
from tap_klaviyo.config import check_settings
from tap_klaviyo.errors import ApiError, ConfigError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.sandbox import Account, Fault, Sandbox
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.given_state import read_state
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.streams.metric_streams import read_metric_streams, streams_with
from tap_klaviyo.times import DAY, format_time
from tests.running import Run, sync

CHOSEN: list[Any] = [
    "placed order",
    {"metric": "Opened Email"},
    {"metric": "Clicked Email", "integration": "api", "stream": "clicked_elsewhere"},
]


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=3000, seed=7)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


def run_chosen(sandbox: Sandbox, chosen: object, names: str, state: object = None, lookback_days: int = 7) -> Run:
    """Run a sync of streams that the setting, or the table, names."""
    streams = streams_with(read_metric_streams(chosen))
    catalog = select_by_names(discover_catalog(streams), names, streams)
    return sync(sandbox, state, catalog, streams=streams, metric_streams=chosen, lookback_days=lookback_days)


def events_of(account: Account, name: str, now: float, integration: str | None = None) -> list[str]:
    timeline = account.timeline
    wanted = {
        place
        for place, metric in enumerate(account.metrics)
        if metric.kind.name.casefold() == name.casefold()
        and (integration is None or ((metric.kind.integration or {}).get("name") or "").casefold() == integration)
        and metric.kind.listed
    }
    numbers = [number for number, metric in enumerate(timeline.metrics) if metric in wanted]
    return [timeline.id(n).decode() for n in numbers if timeline.seconds[n] < now and timeline.is_visible(n, now)]


def test_streams_are_in_the_catalog_and_selected_by_default() -> None:
    streams = streams_with(read_metric_streams(CHOSEN))
    names = [each.stream.name for each in read_catalog(discover_catalog(streams), streams)]
    assert names[-3:] == ["placed_order", "opened_email", "clicked_elsewhere"]
    assert "events" not in names
    chosen = select_by_names(discover_catalog(streams), "metric_streams,!placed*", streams)
    assert [each.stream.name for each in read_catalog(chosen, streams)] == ["opened_email", "clicked_elsewhere"]


def test_a_stream_that_an_older_catalog_does_not_have_is_named(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("tap_klaviyo").addHandler(caplog.handler)
    read_catalog(discover_catalog(), streams_with(read_metric_streams(CHOSEN)))
    logging.getLogger("tap_klaviyo").removeHandler(caplog.handler)
    (line,) = caplog.messages
    assert line.startswith("Streams of metric_streams that the catalog does not have; run --discover again: clicked_")


def test_a_stream_has_the_events_of_all_metrics_of_its_name(sandbox: Sandbox) -> None:
    run = run_chosen(sandbox, CHOSEN, "metric_streams,open")
    assert run.error is None
    for stream, name, integration in (
        ("placed_order", "Placed Order", None),
        ("opened_email", "Opened Email", None),
        ("clicked_elsewhere", "Clicked Email", "api"),
    ):
        expected = events_of(sandbox.account, name, sandbox.now, integration)
        assert sorted(run.keys()[stream]) == sorted(expected), stream
    assert len(run.keys()["placed_order"]) > 10
    assert set(run.keys()["open"]) <= set(run.keys()["opened_email"])


def test_each_stream_keeps_a_bookmark(sandbox: Sandbox) -> None:
    """Another tap calls `open` opened_email: the user's stream of this name has its own bookmark all the same."""
    now = int(sandbox.now)
    marks = {"open": {"timestamp": format_time(now - 9 * DAY)}, "opened_email": {"timestamp": format_time(now - DAY)}}
    run = run_chosen(sandbox, ["Opened Email"], "open,opened_email", {"bookmarks": marks}, lookback_days=0)
    assert min(each["timestamp"] for each in run.records("open")) < now - 8 * DAY
    assert min(each["timestamp"] for each in run.records("opened_email")) >= now - DAY
    assert {"open", "opened_email"} <= read_state(run.state)["bookmarks"].keys()


def test_a_metric_that_the_account_lacks_is_told_once(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "tap_klaviyo"):
        run = run_chosen(sandbox, ["Placed Ordr"], "placed_ordr")
    assert run.error is None
    assert run.records("placed_ordr") == []
    assert 'no metric named Placed Ordr, so no records; did you mean "Placed Order"' in caplog.text
    assert [each.levelname for each in caplog.records if "no metric named" in each.getMessage()] == ["WARNING"]


def test_a_metric_whose_events_are_written_to_two_streams_is_named(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = ["Opened Email", "Placed Order", {"metric": "clicked email", "integration": "api", "stream": "clicked"}]
    with caplog.at_level("INFO", "tap_klaviyo"):
        run_chosen(sandbox, chosen, "core,metric_streams,events")
    said = [message for message in caplog.messages if "two streams" in message]
    assert said == ["The events of these metrics are written to two streams: open and opened_email (Opened Email)."]
    caplog.clear()
    with caplog.at_level("INFO", "tap_klaviyo"):
        run_chosen(sandbox, chosen, "core,placed_order")
    assert "two streams" not in caplog.text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('["A b"]', "a_b"),
        (["Ünï 5!"], "n_5"),
        ([{"metric": "A", "stream": "my_orders"}], "my_orders"),
    ],
)
def test_the_stream_is_named_after_the_metric_or_as_given(given: object, expected: str) -> None:
    assert [each.stream for each in read_metric_streams(given)] == [expected]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["Open"], '"open" is taken'),
        (["Events"], '"events" is taken'),
        (["Core"], '"core" is taken'),
        (["A b", "a-B"], '"a_b" is taken'),
        (["!!"], '"!!" does not'),
        (["1st"], '"1st" does not'),
        ([""], "array of metric names"),
        ("Placed Order", "as JSON"),
        ({"metric": "A"}, "array of metric names"),
        ([{"name": "A"}], "array of metric names"),
        ([{"metric": "A", "name": "B"}], "array of metric names"),
        ([{"metric": "A", "integration": 5}], "array of metric names"),
        ([5], "array of metric names"),
    ],
)
def test_a_wrong_choice_is_refused_before_the_run(given: object, said: str) -> None:
    values = {"api_key": "pk_0123456789", "start_date": "2026-01-01", "metric_streams": given}
    with pytest.raises(ConfigError, match="metric_streams must be") as problem:
        check_settings(values)
    assert said in str(problem.value)


def test_the_metrics_of_the_account_are_listed(tmp_path: Path) -> None:
    with Sandbox(Account.build(events=10, seed=7), limits=False) as sandbox:
        config = tmp_path / "config.json"
        config.write_text(json.dumps({**sandbox.config, "metric_streams": ["Placed Order"]}))
        config.chmod(0o600)
        command = [sys.executable, "-m", "tap_klaviyo", "--config", str(config), "--metrics"]
        table = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = json.loads(subprocess.run([*command, "--format", "json"], capture_output=True, check=True).stdout)
    assert table.stderr == ""
    head, *lines = table.stdout.splitlines()
    assert head.split() == ["metric", "integration", "id", "streams"]
    assert len(lines) == len(rows) == len([each for each in sandbox.account.metrics if each.kind.listed])
    placed = [each for each in rows if each["name"] == "Placed Order"]
    assert all(each["streams"] == ["events", "placed_order"] for each in placed)
    assert len(placed) > 1
    assert all("events" in each["streams"] for each in rows)


def test_metrics_are_listed_by_name_whatever_their_case() -> None:
    account = Account.build(events=10, seed=7)
    # Klaviyo lists metrics in no order that helps, and a shop may spell one in small letters.
    metrics = [
        replace(each, kind=replace(each.kind, name=each.kind.name.lower()))
        if each.kind.name == "Placed Order"
        else each
        for each in reversed(account.metrics)
    ]
    with Sandbox(replace(account, metrics=tuple(metrics)), limits=False) as sandbox:
        client = Client(check_settings(sandbox.config))
        rows = list_metrics(client, streams_with(read_metric_streams(["Opened Email"])))
        sandbox.faults = lambda request: Fault("status", code=404) if request.path == "/api/metrics" else None
        with pytest.raises(ApiError, match="404"):
            list_metrics(client, streams_with(()))
    order = [(row.name.casefold(), row.integration.casefold(), row.id) for row in rows]
    assert order == sorted(order)
    names = [row.name for row in rows]
    assert names != sorted(names)
    opened = next(row for row in rows if row.name == "Opened Email" and row.integration == "Klaviyo")
    assert opened.streams == ("open", "events", "opened_email")


def test_a_list_of_metrics_warns_of_a_stream_without_one(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "tap_klaviyo"):
        list_metrics(
            Client(check_settings(sandbox.config)), streams_with(read_metric_streams(["Placed Order", "Nothing"]))
        )
    assert caplog.messages == ["nothing: the account has no metric named Nothing, so no records."]


def test_a_table_of_metrics_is_aligned_and_its_json_keeps_all_letters() -> None:
    rows = [MetricRow("Pedido ñ", "API", "a", ()), MetricRow("Opened Email", "Klaviyo", "bcdef", ("open", "events"))]
    assert metrics_table(rows).splitlines() == [
        "metric        integration  id     streams",
        "Pedido ñ      API          a",
        "Opened Email  Klaviyo      bcdef  open, events",
    ]
    assert metrics_table(rows, 80).split("\n") == metrics_table(rows).split("\n")
    fitted = metrics_table(rows, 42)
    assert max(map(len, fitted.splitlines())) <= 42
    assert {"Pedido", "Email", "Klaviyo", "bcdef", "open,", "events"} < set(fitted.split())
    assert '"name": "Pedido ñ"' in metrics_json(rows)
    assert json.loads(metrics_json(rows))[1]["streams"] == ["open", "events"]
