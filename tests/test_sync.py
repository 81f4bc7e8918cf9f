"""Whole runs against the sandbox: what Singer's standard tap tests ask, and what the design promises."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any, BinaryIO, cast

import pytest

from tap_klaviyo.config import check_settings
from tap_klaviyo.errors import AuthError, ScopeError, SyncError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.sandbox import SCOPES, Account, Sandbox
from tap_klaviyo.singer.catalog import discover_catalog, select_defaults
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.streams.model import CORE
from tap_klaviyo.streams.table import BY_NAME
from tap_klaviyo.streams.table import STREAMS as TABLE
from tap_klaviyo.sync import Sync
from tap_klaviyo.times import DAY, Clock, format_time, parse_time
from tests.running import Chunks, Run, catalog_of, sync
from tests.validity import validator_of

STREAMS = [stream for stream in TABLE if stream.group == CORE]
EVENTS = [stream.name for stream in STREAMS if stream.metric_names]
FULL = [stream.name for stream in STREAMS if not stream.metric_names]


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=4000, seed=3, burst=1300)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def whole(account: Account) -> Run:
    """Return a run over the core streams, every field selected."""
    with Sandbox(account, limits=False) as sandbox:
        return sync(sandbox, catalog=everything())


def everything() -> dict[str, Any]:
    catalog = select_defaults(discover_catalog())
    chosen = [entry for entry in catalog["streams"] if entry["metadata"][0]["metadata"]["selected"]]
    for entry in chosen:
        for each in entry["metadata"]:
            each["metadata"] = {**each["metadata"], "selected": True}
    return {"streams": chosen}


def ledger(sandbox: Sandbox, start: int | None = None) -> dict[str, list[str]]:
    return sandbox.account.ledger(sandbox.now, start)


def assert_same(found: dict[str, list[str]], expected: dict[str, list[str]]) -> None:
    """Compare keys: full tables in any order, timelines in order of time, each key once."""
    assert found.keys() == expected.keys()
    for stream, keys in expected.items():
        assert sorted(found[stream]) == sorted(keys), stream
        assert len(set(keys)) == len(keys)


def test_every_stream_has_exactly_the_ledgers_rows(account: Account, whole: Run) -> None:
    assert whole.error is None
    assert_same(whole.keys(), account.ledger(account.now))
    assert all(whole.records(stream.name) for stream in STREAMS)


def test_timelines_come_in_order_of_time(whole: Run) -> None:
    for stream in EVENTS:
        times = [record["timestamp"] for record in whole.records(stream)]
        assert times == sorted(times)


def test_each_record_is_valid_against_its_schema(whole: Run) -> None:
    validators = {each["stream"]: validator_of(each["schema"]) for each in whole.of("SCHEMA")}
    records = whole.of("RECORD")
    for message in records:
        validators[message["stream"]](message["record"])
    assert {message["stream"] for message in records} <= validators.keys()


def test_date_times_are_rfc_3339_in_utc(whole: Run) -> None:
    def check(schema: dict[str, Any], value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                check(schema["items"], each)
        elif isinstance(value, dict):
            for name, definition in schema.get("properties", {}).items():
                check(definition, value.get(name))
        elif schema.get("format") == "date-time" and value is not None:
            assert value[10] == "T", value
            assert datetime.fromisoformat(value.replace("Z", "+00:00")).utcoffset() == timedelta(0), value

    def check_record(stream: str, record: dict[str, Any]) -> None:
        for name, definition in BY_NAME[stream].schema["properties"].items():
            check(definition, record.get(name))

    for message in whole.of("RECORD"):
        check_record(message["stream"], message["record"])


def test_all_fields_of_the_catalog_are_emitted(whole: Run) -> None:
    for stream in STREAMS:
        emitted = {name for record in whole.records(stream.name) for name in record}
        assert emitted == set(stream.schema["properties"]), stream.name


def test_values_pass_as_klaviyo_sent_them(account: Account, whole: Run) -> None:
    def stripped(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace("\0", "")
        if isinstance(value, dict):
            return {stripped(name): stripped(each) for name, each in value.items()}
        return [stripped(each) for each in value] if isinstance(value, list) else value

    for stream in ("open", "received_sms"):
        found = {record["id"]: record for record in whole.records(stream)}
        for resource in account.resources(stream, account.now):
            record, profile = found[resource["id"]], resource["profile"]
            assert record["event_properties"] == stripped(resource["attributes"]["event_properties"])
            assert record["uuid"] == resource["attributes"]["uuid"]
            assert record["metric_name"] == resource["metric"]["attributes"]["name"]
            if profile:
                assert record["profile"][0]["email"] == profile["attributes"]["email"]
                assert record["profile"][0]["properties"] == stripped(profile["attributes"]["properties"])


def test_a_schema_precedes_its_records_and_a_state_follows_the_records_it_covers(whole: Run) -> None:
    described: set[str] = set()
    newest: dict[str, int] = {}
    for message in whole.messages:
        if message["type"] == "SCHEMA":
            described.add(message["stream"])
        elif message["type"] == "RECORD":
            assert message["stream"] in described
            if message["stream"] in EVENTS:
                newest[message["stream"]] = max(newest.get(message["stream"], 0), message["record"]["timestamp"])
        elif message["type"] == "STATE":
            for stream, entry in message["value"]["bookmarks"].items():
                assert entry["timestamp"] == format_time(newest[stream])


def test_bookmarks_are_the_newest_timestamps_and_full_tables_have_none(whole: Run) -> None:
    newest = {stream: max(record["timestamp"] for record in whole.records(stream)) for stream in EVENTS}
    assert {name: entry["timestamp"] for name, entry in whole.state["bookmarks"].items()} == {
        stream: format_time(newest[stream]) for stream in EVENTS
    }
    assert whole.state["full_tables"].keys() == set(FULL)


def test_full_tables_carry_a_version_and_end_in_its_activation(whole: Run) -> None:
    for stream in FULL:
        (activation,) = whole.of("ACTIVATE_VERSION", stream)
        assert {each["version"] for each in whole.of("RECORD", stream)} == {activation["version"]}
    assert {each["stream"] for each in whole.of("ACTIVATE_VERSION")} == set(FULL)
    assert all("version" not in each for stream in EVENTS for each in whole.of("RECORD", stream))


def test_versions_can_be_turned_off(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of("lists"), activate_version="false")
    assert run.of("ACTIVATE_VERSION") == []
    assert all("version" not in each for each in run.of("RECORD"))


def test_only_automatic_fields(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of(*(stream.name for stream in STREAMS), fields=()))
    for stream in STREAMS:
        records = run.records(stream.name)
        assert {frozenset(record) for record in records} == {stream.automatic}
    assert_same(run.keys(), ledger(sandbox))


def test_unselected_streams_are_not_requested(sandbox: Sandbox) -> None:
    sync(sandbox, catalog=catalog_of("open", "lists", "global_exclusions", fields=("datetime",)))
    queries = {request.path: request.query for request in sandbox.requests}
    assert "include" not in queries["/api/events"]
    assert "include" not in queries["/api/lists"]
    assert "predictive_analytics" not in queries["/api/profiles"]["additional-fields[profile]"]
    assert queries["/api/events"]["page[size]"] == "1000"


def test_only_the_selected_profile_fields_are_asked_for(sandbox: Sandbox) -> None:
    catalog = catalog_of("open")
    profile = catalog["streams"][0]["schema"]["properties"]["profile"]["items"]["properties"]
    catalog["streams"][0] = {
        **catalog["streams"][0],
        "metadata": catalog["streams"][0]["metadata"]
        + [
            {"breadcrumb": ["properties", "profile", "items", "properties", name], "metadata": {"selected": False}}
            for name in profile
            if name not in ("email", "id")
        ],
    }
    run = sync(sandbox, catalog=catalog)
    (query,) = {request.query.get("fields[profile]") for request in sandbox.requests if request.path == "/api/events"}
    assert query == "email"
    assert {key for record in run.records("open") for each in record["profile"] for key in each} == {"id", "email"}


def test_a_second_run_reads_the_lookback_window_and_new_events(sandbox: Sandbox) -> None:
    first = sync(sandbox)
    sandbox.advance(2 * DAY)
    second = sync(sandbox, first.state)
    later = ledger(sandbox)
    for stream in EVENTS:
        mark = parse_time(first.state["bookmarks"][stream]["timestamp"])
        again = [record["timestamp"] for record in second.records(stream)]
        assert min(again) >= mark - 7 * DAY
        assert set(first.keys()[stream]) | set(second.keys()[stream]) == set(later[stream])
        assert len(again) <= len(first.keys()[stream]) + 200
        assert parse_time(second.state["bookmarks"][stream]["timestamp"]) >= mark


def test_late_and_future_events_come_in_a_later_run(sandbox: Sandbox) -> None:
    first = sync(sandbox)
    sandbox.advance(7 * DAY)
    second = sync(sandbox, first.state)
    late = {stream: set(keys) - set(first.keys()[stream]) for stream, keys in ledger(sandbox).items()}
    assert sum(len(late[stream]) for stream in EVENTS) > 10
    for stream in EVENTS:
        assert late[stream] <= set(second.keys()[stream])


def test_states_of_other_taps_are_resumed(sandbox: Sandbox, account: Account) -> None:
    metric = next(each for each in account.metrics if each.kind.stream == "open")
    mark = account.now - 30 * DAY
    run = sync(sandbox, {"bookmarks": {metric.id: {"since": format_time(mark)}, "x": 1}}, catalog_of("open"))
    assert run.keys()["open"] == ledger(sandbox, mark - 7 * DAY)["open"]
    assert run.state["bookmarks"]["x"] == 1
    assert metric.id not in run.state["bookmarks"]


def test_the_bookmark_of_all_events_is_not_that_of_a_metrics_stream(sandbox: Sandbox, account: Account) -> None:
    """MeltanoLabs' tap, and this one, keep all metrics in `events`; a stream of one metric has its own bookmark."""
    bookmarks = {
        "events": {"replication_key": "datetime", "replication_key_value": format_time(account.now - 90 * DAY)},
        "open": {"timestamp": format_time(account.now - 2 * DAY)},
    }
    run = sync(sandbox, {"bookmarks": bookmarks}, catalog_of("open", "click"), lookback_days=0)
    assert run.keys()["open"] == ledger(sandbox, account.now - 2 * DAY)["open"]
    assert run.keys()["click"] == ledger(sandbox)["click"]
    assert run.state["bookmarks"]["events"] == {"timestamp": format_time(account.now - 90 * DAY)}


def test_the_start_date_holds_and_a_later_one_gives_a_subset(sandbox: Sandbox) -> None:
    start = sandbox.account.now - 20 * DAY
    run = sync(sandbox, start_date=format_time(start))
    assert_same(run.keys(), ledger(sandbox, start))


def test_the_end_date_holds(sandbox: Sandbox) -> None:
    end = sandbox.account.now - 20 * DAY
    run = sync(sandbox, catalog=catalog_of("open"), end_date=format_time(end))
    assert run.keys()["open"] == sandbox.account.ledger(sandbox.now, None, end)["open"]


def test_only_a_reset_stream_starts_over(sandbox: Sandbox) -> None:
    first = sync(sandbox, catalog=catalog_of("open", "click"))
    del first.state["bookmarks"]["open"]
    second = sync(sandbox, first.state, catalog_of("open", "click"))
    assert second.keys()["open"] == first.keys()["open"]
    assert len(second.keys()["click"]) < len(first.keys()["click"])


def test_an_interrupted_run_resumes_with_its_stream_and_ends_in_the_same_state(sandbox: Sandbox, whole: Run) -> None:
    state = {**whole.state, "currently_syncing": "lists"}
    run = sync(sandbox, state)
    order = [each["stream"] for each in run.of("SCHEMA")]
    names = [stream.name for stream in STREAMS]
    assert order == names[names.index("lists") :] + names[: names.index("lists")]
    assert run.state["bookmarks"] == whole.state["bookmarks"]


@pytest.mark.parametrize("removed", ["lists", "open"])
def test_a_stream_removed_or_added_between_runs_does_no_harm(sandbox: Sandbox, whole: Run, removed: str) -> None:
    kept = [stream.name for stream in STREAMS if stream.name != removed]
    run = sync(sandbox, {**whole.state, "currently_syncing": removed}, catalog_of(*kept))
    assert [each["stream"] for each in run.of("SCHEMA")] == kept
    assert run.state["bookmarks"] == whole.state["bookmarks"]


@pytest.mark.slow
def test_any_state_on_the_way_completes_the_data(sandbox: Sandbox, whole: Run) -> None:
    states = [place for place, each in enumerate(whole.messages) if each["type"] == "STATE"]
    for place in states[:: len(states) // 4]:
        before = Run(whole.messages[: place + 1])
        after = sync(sandbox, before.state)
        for stream, keys in ledger(sandbox).items():
            assert set(before.keys().get(stream, ())) | set(after.keys()[stream]) == set(keys)


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_order_and_state_are_those_of_one_worker(sandbox: Sandbox, workers: int) -> None:
    def lines(run: Run) -> list[Any]:
        return [{**each, "time_extracted": None, "version": None} for each in run.messages if each["type"] != "STATE"]

    alone, beside = sync(sandbox, max_concurrency=1), sync(sandbox, max_concurrency=workers)
    assert lines(alone) == lines(beside)
    assert alone.state == beside.state


def test_a_state_is_written_every_ten_seconds_between_two_pages_and_rows_are_counted(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tap_klaviyo")

    def states_of(seconds: float) -> int:
        """Return how many states a stream gets if its clock moves on each time that it is looked at."""
        ticks, output = count(time.time(), seconds), Chunks()
        with Sandbox(account, limits=False, largest_page=50) as sandbox:
            settings = check_settings(sandbox.config)
            clock = Clock(lambda: next(ticks), wall=lambda: sandbox.now)
            tap = Sync(Client(settings), settings, Writer(cast(BinaryIO, output)), clock)
            tap.run(read_catalog(catalog_of("receive")), {})
        return sum(json.loads(line)["type"] == "STATE" for line in b"".join(output.written).splitlines())

    at_the_ends = 2
    assert states_of(0.001) == at_the_ends
    assert caplog.text.count('"record_count"') == 1
    assert at_the_ends < states_of(0.5) < states_of(10.0)
    assert caplog.text.count('"record_count"') > 5


def test_a_bookmark_whose_name_is_misspelt_is_named(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    run = sync(sandbox, {"bookmarks": {"receved": {"timestamp": "2026-01-01T00:00:00Z"}}}, catalog_of("lists"))
    assert run.error is None
    assert [each.levelname for each in caplog.records if "receved" in each.getMessage()] == ["WARNING"]


def test_a_missing_scope_costs_only_the_streams_that_need_it(account: Account) -> None:
    with Sandbox(account, limits=False, scopes=set(SCOPES) - {"campaigns:read"}) as sandbox:
        run = sync(sandbox)
        assert isinstance(run.error, SyncError)
        assert "campaigns" in str(run.error)
        expected = {**ledger(sandbox), "campaigns": []}
        assert_same(run.keys(), expected)
        assert {each["stream"] for each in run.of("ACTIVATE_VERSION")} == {"lists", "global_exclusions"}
        assert len(run.state["bookmarks"]) == len(EVENTS)
        assert "currently_syncing" not in run.state


def test_without_the_metrics_scope_the_full_tables_are_still_read(account: Account) -> None:
    with Sandbox(account, limits=False, scopes=set(SCOPES) - {"metrics:read"}) as sandbox:
        run = sync(sandbox, {"bookmarks": {"open": {"timestamp": "2026-01-01T00:00:00Z"}}})
        assert isinstance(run.error, SyncError)
        assert all(run.keys()[stream] for stream in FULL)
        assert run.state["bookmarks"] == {"open": {"timestamp": "2026-01-01T00:00:00Z"}}


def test_a_wrong_key_ends_the_run(sandbox: Sandbox) -> None:
    run = sync(sandbox, api_key="pk_wrong")
    assert isinstance(run.error, AuthError)
    assert not isinstance(run.error, ScopeError)
    assert run.of("RECORD") == []


def test_a_stream_whose_metric_the_account_lacks_is_empty(sandbox: Sandbox) -> None:
    sandbox.account = Account.build(events=500, absent=("mark_as_spam",))
    run = sync(sandbox, catalog=catalog_of("mark_as_spam"))
    assert run.error is None
    assert run.keys() == {"mark_as_spam": []}
    assert run.state == {"bookmarks": {}}


def test_a_bookmark_in_the_future_is_read_again_from_the_start(sandbox: Sandbox) -> None:
    run = sync(sandbox, {"bookmarks": {"open": {"timestamp": "2030-01-01T00:00:00Z"}}}, catalog_of("open"))
    assert run.keys()["open"] == ledger(sandbox)["open"]
    assert parse_time(run.state["bookmarks"]["open"]["timestamp"]) <= sandbox.now


@pytest.mark.parametrize("end", [None, "2040-01-01"])
def test_no_event_of_the_last_seconds_is_asked_for(sandbox: Sandbox, end: str | None) -> None:
    sync(sandbox, catalog=catalog_of("open"), end_date=end)
    bound = re.compile(r"less-than\(datetime,([^)]+)")
    bounds = [found[1] for each in sandbox.requests if (found := bound.search(each.query.get("filter", "")))]
    assert max(map(parse_time, bounds)) == int(sandbox.now) - 5


def test_nothing_selected_writes_an_empty_state(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog={"streams": []})
    assert run.messages == [{"type": "STATE", "value": {"bookmarks": {}}}]
    assert sandbox.requests == []
