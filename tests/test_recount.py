"""Late events by a recount: which events are read again, and that nothing is lost, whatever the counts say."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from tap_klaviyo import config
from tap_klaviyo.errors import ConfigError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.filters import filter_metric
from tap_klaviyo.reading.query import Query
from tap_klaviyo.reading.recount import Recount, metric_segments, recount_fetch
from tap_klaviyo.reading.timeline import Timeline
from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox, error_status
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.streams.table import BY_NAME
from tap_klaviyo.sync import Sync
from tap_klaviyo.times import format_time
from tests.running import Run, Time, catalog_of, hide_events, sync
from tests.timelines import Memory

COUNTS = "/api/metric-aggregates"
HOUR, DAY = 3600, 86_400


def run_of(sandbox: Sandbox, *streams: str, state: Any = None, **settings: Any) -> Run:
    given = {"late_events": "recount", **settings}
    return sync(sandbox, state, catalog_of(*streams), clock=Time(sandbox.now).clock, **given)


def counts_asked(sandbox: Sandbox) -> list[Request]:
    return [each for each in sandbox.requests if each.path == COUNTS]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.build(events=10_000, seed=7, days=60, late_days=0.01), limits=False) as sandbox:
        yield sandbox


@pytest.fixture
def busy_sandbox() -> Iterator[Sandbox]:
    """Serve an account whose hours have several events, and whose week has several pages."""
    with Sandbox(Account.build(events=40_000, seed=7, days=60, late_days=0.01), limits=False) as sandbox:
        yield sandbox


@pytest.mark.slow
def test_a_quiet_hour_costs_a_hundredth_of_a_weeks_lookback(busy_sandbox: Sandbox) -> None:
    first = run_of(busy_sandbox, "receive", "open", "unsubscribe")
    busy_sandbox.advance(HOUR)
    second = run_of(busy_sandbox, "receive", "open", "unsubscribe", state=first.state)
    busy_sandbox.advance(HOUR)
    third = run_of(busy_sandbox, "receive", "open", "unsubscribe", state=second.state)
    again = run_of(busy_sandbox, "receive", "open", "unsubscribe", state=second.state, late_events="lookback")
    known = {each["record"]["id"] for run in (first, second) for each in run.of("RECORD")}
    doubled = sum(each["record"]["id"] in known for each in third.of("RECORD"))
    lookback = sum(each["record"]["id"] in known for each in again.of("RECORD"))
    assert lookback > 2000
    assert doubled < lookback / 100
    assert len(counts_asked(busy_sandbox)) <= 4 * 4 + 2


def test_an_event_that_is_a_month_late_is_read_with_its_day_alone() -> None:
    account = Account.build(events=20_000, seed=3, days=90, late_days=0.01)
    (metric,) = [metric for metric in account.metrics if metric.kind.stream == "receive"]
    place = account.metrics.index(metric)
    now = account.now
    numbers = [n for n in account.events_of([place]) if now - 29 * DAY < account.timeline.seconds[n] < now - 28 * DAY]
    late = {numbers[0]: now + HOUR}
    account = replace(account, timeline=replace(account.timeline, late={**account.timeline.late, **late}))
    with Sandbox(account, limits=False) as sandbox:
        first = run_of(sandbox, "receive")
        id = account.timeline.id(numbers[0]).decode()
        assert id not in first.keys()["receive"]
        sandbox.advance(2 * HOUR)
        second = run_of(sandbox, "receive", state=first.state)
        day = account.timeline.seconds[numbers[0]] // DAY * DAY
        old = [each for each in second.records("receive") if each["timestamp"] < now - 2 * HOUR]
        assert id in [each["id"] for each in old]
        assert {each["timestamp"] // DAY * DAY for each in old} == {day}
        sandbox.advance(2 * HOUR)
        third = run_of(sandbox, "receive", state=second.state)
        assert not [each for each in third.records("receive") if each["timestamp"] < now - 2 * HOUR]


def test_an_event_that_is_a_day_late_is_read_with_its_hour_alone() -> None:
    account = Account.build(events=20_000, seed=3, days=90, late_days=0.01)
    (metric,) = [metric for metric in account.metrics if metric.kind.stream == "receive"]
    place, now = account.metrics.index(metric), account.now
    number = next(n for n in account.events_of([place]) if account.timeline.seconds[n] > now - DAY)
    account = replace(account, timeline=replace(account.timeline, late={**account.timeline.late, number: now + HOUR}))
    with Sandbox(account, limits=False) as sandbox:
        first = run_of(sandbox, "receive")
        sandbox.advance(2 * HOUR)
        second = run_of(sandbox, "receive", state=first.state)
        old = [each["timestamp"] for each in second.records("receive") if each["timestamp"] < now - 2 * HOUR]
        assert {each // HOUR for each in old} == {account.timeline.seconds[number] // HOUR}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_after_any_history_nothing_is_missing(seed: int) -> None:
    """Events come up to 30 days late, counts lag minutes either way, and profiles are deleted with their counts."""
    chance = random.Random(seed)
    account = Account.build(
        events=chance.choice((300, 3000)),
        seed=seed,
        days=chance.choice((40, 90)),
        late_days=30.0,
        counts_deleted=chance.random() < 0.5,
    )
    streams = ("receive", "unsubscribe", "bounce")
    profiles = [each["id"] for each in account.collection("/api/profiles", account.now)]
    target: set[str] = set()
    state: Any = None
    with Sandbox(account, limits=False) as sandbox:
        for _ in range(12):
            sandbox.account = account.with_lag(chance.choice((0, 600, -600, 45)))
            run = run_of(sandbox, *streams, state=state)
            state = run.state
            target |= {each["record"]["id"] for each in run.of("RECORD")}
            assert run.error is None
            sandbox.advance(chance.choice((300, HOUR, 7 * HOUR, DAY, 3 * DAY)))
            if chance.random() < 0.3:
                account = account.without_profiles(chance.sample(profiles, 3))
        # Without lag, the last events come.
        for _ in range(2):
            sandbox.account = account.with_lag(0)
            run = run_of(sandbox, *streams, state=state)
            state = run.state
            target |= {each["record"]["id"] for each in run.of("RECORD")}
            sandbox.advance(60)
        whole = sandbox.account.ledger(sandbox.now - 70)
        assert {each for stream in streams for each in whole[stream]} <= target


def test_ranges_of_several_metrics_are_read_side_by_side() -> None:
    found = metric_segments({"M": [(0, 10), (20, 30)], "N": [(5, 25)]})
    assert [(start, end, sorted(metrics)) for start, end, metrics in found] == [
        (0, 5, ["M"]),
        (5, 10, ["M", "N"]),
        (10, 20, ["N"]),
        (20, 25, ["M", "N"]),
        (25, 30, ["M"]),
    ]
    assert metric_segments({"M": [(0, 10)], "N": [(0, 10)]}) == [(0, 10, frozenset("MN"))]
    assert metric_segments({"M": [(0, 10)], "N": [(5, 10)], "O": [(0, 5)]}) == [
        (0, 5, frozenset("MO")),
        (5, 10, frozenset("MN")),
    ]


@pytest.mark.parametrize("code", [403, 500])
def test_without_counts_the_lookback_is_read_again(
    sandbox: Sandbox, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    first = run_of(sandbox, "receive")
    sandbox.advance(HOUR)
    sandbox.faults = lambda request: error_status(code) if request.path == COUNTS else None
    second = run_of(sandbox, "receive", state=first.state)
    again = run_of(sandbox, "receive", state=first.state, late_events="lookback")
    assert (second.error, second.keys()) == (None, again.keys())
    assert "are not available, so it is read again from " in caplog.text
    assert (
        second.state["recounts"]
        == first.state["recounts"]
        | {
            "receive": first.state["recounts"]["receive"]
            | {"bookmark": second.state["bookmarks"]["receive"]["timestamp"]}
        }
        or second.state["recounts"] == first.state["recounts"]
    )
    sandbox.faults = None
    sandbox.advance(HOUR)
    third = run_of(sandbox, "receive", state=second.state)
    assert {*first.keys()["receive"], *second.keys()["receive"], *third.keys()["receive"]} == set(
        sandbox.account.ledger(sandbox.now - 5)["receive"]
    )


def test_a_first_run_reads_all_and_a_state_of_lookbacks_is_taken_over(sandbox: Sandbox) -> None:
    whole = run_of(sandbox, "receive")
    assert sorted(whole.keys()["receive"]) == sorted(sandbox.account.ledger(sandbox.now - 5)["receive"])
    before = run_of(sandbox, "receive", late_events="lookback")
    assert "recounts" not in before.state
    taken = run_of(sandbox, "receive", state=before.state)
    week = [each for each in whole.records("receive") if each["timestamp"] >= sandbox.now - 7 * DAY - 2 * HOUR]
    assert abs(len(taken.records("receive")) - len(week)) < 30
    assert set(taken.state["recounts"]) == {"receive"}


def test_a_metric_that_joins_is_read_from_the_start_date(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "unsubscribe")
    metrics = first.state["bookmarks"]["unsubscribe"]["metrics"]
    state = {
        **first.state,
        "bookmarks": {"unsubscribe": {**first.state["bookmarks"]["unsubscribe"], "metrics": metrics[:1]}},
    }
    second = run_of(sandbox, "unsubscribe", state=state)
    joined = {each["id"] for each in first.records("unsubscribe") if each["metric_id"] == metrics[1]}
    assert joined <= {each["id"] for each in second.records("unsubscribe")}
    assert second.state["bookmarks"]["unsubscribe"]["metrics"] == metrics


def test_what_could_not_be_read_is_not_known(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "receive")
    sandbox.advance(2 * DAY)
    sandbox.faults = lambda request: error_status(500) if request.path == "/api/events" else None
    failed = run_of(sandbox, "receive", state=first.state)
    assert failed.error is not None
    assert failed.state["recounts"] == first.state["recounts"]
    sandbox.faults = None
    third = run_of(sandbox, "receive", state=failed.state)
    assert {*first.keys()["receive"], *third.keys()["receive"]} == set(
        sandbox.account.ledger(sandbox.now - 5)["receive"]
    )


@pytest.mark.slow
def test_the_events_of_all_metrics_are_read_by_the_lookback(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    first = run_of(sandbox, "events")
    assert "recounts" not in first.state
    assert "events: not every metric is counted, so the lookback is read again." in caplog.text


def test_recount_and_comparison_go_together(busy_sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    first = run_of(busy_sandbox, "receive", check_counts=True)
    busy_sandbox.advance(12 * HOUR)
    caplog.clear()
    second = run_of(busy_sandbox, "receive", state=first.state, check_counts=True)
    rows = len(second.records("receive"))
    assert rows
    assert f"receive: {rows:,} records; Klaviyo counts {rows:,}." in caplog.text


def test_recount_days_without_a_recount_is_named() -> None:
    assert config.odd_settings({"recount_days": 20}) == ["recount_days has no effect: late_events is not recount."]
    assert config.odd_settings({"recount_days": 20, "late_events": "recount"}) == []
    with pytest.raises(ConfigError, match="late_events must be lookback or recount"):
        config.check_settings({"api_key": "pk_1", "start_date": "2026-01-01", "late_events": "never"})


def test_an_event_that_is_counted_but_not_returned_ends_no_run(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Its hour stays open. When it is read again alone, the answer is empty, which shows nothing new."""
    records = sorted(run_of(sandbox, "unsubscribe").records("unsubscribe"), key=lambda each: each["timestamp"])
    hide_events(sandbox, [records[-1]["id"]])
    first = run_of(sandbox, "unsubscribe", check_counts=True)
    before = len(counts_asked(sandbox))
    second = run_of(sandbox, "unsubscribe", state=first.state, check_counts=True)
    assert (first.error, second.error) == (None, None)
    assert len(counts_asked(sandbox)) - before == 3
    assert second.state["bookmarks"] == first.state["bookmarks"]
    assert ": 0 read, 1 counted." in caplog.text


@pytest.mark.parametrize("stream", ["receive", "unsubscribe"])
def test_an_empty_answer_where_events_are_counted_since_the_last_run_is_an_error(
    sandbox: Sandbox, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The last event of the quieter stream is so old that it is not among those to read again."""
    first = run_of(sandbox, stream)
    sandbox.advance(3 * DAY)
    sandbox.faults = lambda request: Fault("empty_page") if request.path == "/api/events" else None
    second = run_of(sandbox, stream, state=first.state)
    assert second.error is not None
    assert "but returned none" in caplog.text
    assert second.state["recounts"] == first.state["recounts"]
    sandbox.faults = None
    third = run_of(sandbox, stream, state=second.state)
    assert third.error is None
    assert {*first.keys()[stream], *third.keys()[stream]} == set(sandbox.account.ledger(sandbox.now - 5)[stream])


def test_a_first_answer_without_the_events_before_the_recounted_days_is_an_error(sandbox: Sandbox) -> None:
    sandbox.faults = lambda request: Fault("empty_page") if request.path == "/api/events" else None
    run = run_of(sandbox, "mark_as_spam", recount_days=1)
    assert run.error is not None
    assert run.state["bookmarks"] == {}


def test_metrics_are_counted_once_a_run(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "unsubscribe")
    before = len(counts_asked(sandbox))
    sandbox.advance(300)
    run_of(sandbox, "unsubscribe", state=first.state, check_counts=True)
    assert len(counts_asked(sandbox)) == before + 2


def moved(state: Any, stream: str, mark: int) -> Any:
    """Return a state with the bookmark of a stream at an epoch second."""
    bookmarks = state["bookmarks"]
    return {**state, "bookmarks": {**bookmarks, stream: {**bookmarks[stream], "timestamp": format_time(mark)}}}


def test_events_behind_a_bookmark_that_was_moved_back_are_read_again(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "receive")
    mark = int(sandbox.now) - 20 * DAY
    second = run_of(sandbox, "receive", state=moved(first.state, "receive", mark))
    assert {each["id"] for each in second.records("receive")} >= {
        each["id"] for each in first.records("receive") if each["timestamp"] >= mark
    }
    third = run_of(sandbox, "receive", state=second.state)
    assert len(third.records("receive")) < len(second.records("receive")) / 10


def test_a_stream_without_a_bookmark_is_read_whole_whatever_is_known_of_its_counts(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "receive")
    again = run_of(sandbox, "receive", state={**first.state, "bookmarks": {}})
    assert sorted(again.keys()["receive"]) == sorted(first.keys()["receive"])


def test_a_recount_ends_at_the_end_date(sandbox: Sandbox) -> None:
    end = int(sandbox.now) - 5 * DAY
    first = run_of(sandbox, "receive", end_date=format_time(end))
    assert max(each["timestamp"] for each in first.records("receive")) < end
    second = run_of(sandbox, "receive", state=first.state)
    assert {*first.keys()["receive"], *second.keys()["receive"]} == set(
        sandbox.account.ledger(sandbox.now - 5)["receive"]
    )


def test_a_full_read_counts_nothing(sandbox: Sandbox) -> None:
    catalog = catalog_of("receive")
    catalog["streams"][0]["replication_method"] = "FULL_TABLE"
    first = sync(sandbox, None, catalog, clock=Time(sandbox.now).clock, late_events="recount")
    second = sync(sandbox, first.state, catalog, clock=Time(sandbox.now).clock, late_events="recount")
    assert sorted(second.keys()["receive"]) == sorted(first.keys()["receive"])
    assert all("version" in each for each in second.of("RECORD"))


def test_a_metric_without_counts_keeps_those_that_are_known(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "unsubscribe")
    other, failing = first.state["bookmarks"]["unsubscribe"]["metrics"]
    sandbox.advance(2 * DAY)
    sandbox.faults = lambda request: (
        error_status(403) if request.path == COUNTS and failing in str(request.body) else None
    )
    second = run_of(sandbox, "unsubscribe", state=first.state)
    before, after = (run.state["recounts"]["unsubscribe"]["metrics"] for run in (first, second))
    assert (after[failing], after[other]["end"] > before[other]["end"]) == (before[failing], True)


def test_the_counts_of_a_metric_that_does_not_exist_are_not_known(sandbox: Sandbox) -> None:
    denied, other = run_of(sandbox, "unsubscribe").state["bookmarks"]["unsubscribe"]["metrics"]
    sandbox.faults = lambda request: (
        Fault("deny_metric") if request.path == "/api/events" and denied in request.query["filter"] else None
    )
    run = run_of(sandbox, "unsubscribe")
    assert run.error is not None
    assert set(run.state["recounts"]["unsubscribe"]["metrics"]) == {other}


@pytest.mark.parametrize("has_counts", [True, False])
def test_a_start_date_after_the_bookmark_skips_nothing_with_a_recount(sandbox: Sandbox, has_counts: bool) -> None:
    first = run_of(sandbox, "receive")
    state = first.state if has_counts else {"bookmarks": first.state["bookmarks"]}
    sandbox.advance(5 * DAY)
    second = run_of(sandbox, "receive", state=state, start_date=format_time(int(sandbox.now) - DAY))
    whole = set(sandbox.account.ledger(sandbox.now - 5)["receive"])
    assert {*first.keys()["receive"], *second.keys()["receive"]} == whole


def test_only_the_metric_whose_count_has_changed_is_read_again() -> None:
    account = Account.build(events=20_000, seed=3, days=20, late_days=0.01)
    places = [place for place, metric in enumerate(account.metrics) if metric.kind.stream == "unsubscribe"]
    timeline, now = account.timeline, account.now
    number = next(n for n in account.events_of(places[:1]) if timeline.seconds[n] > now - DAY)
    account = replace(account, timeline=replace(timeline, late={**timeline.late, number: now + HOUR}))
    with Sandbox(account, limits=False) as sandbox:
        first = run_of(sandbox, "unsubscribe")
        sandbox.advance(2 * HOUR)
        second = run_of(sandbox, "unsubscribe", state=first.state)
        old = [each for each in second.records("unsubscribe") if each["timestamp"] < now - 2 * HOUR]
        assert timeline.id(number).decode() in [each["id"] for each in old]
        assert {each["metric_id"] for each in old} == {account.metrics[places[0]].id}


def test_the_bookmarks_event_is_not_read_again_in_each_run(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "mark_as_spam")
    assert first.records("mark_as_spam")[-1]["timestamp"] < sandbox.now - 2 * HOUR
    assert run_of(sandbox, "mark_as_spam", state=first.state).records("mark_as_spam") == []


def test_a_recount_without_a_comparison_names_no_difference(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    first = run_of(sandbox, "receive")
    sandbox.advance(3 * DAY)
    sandbox.account = sandbox.account.with_lag(DAY)
    run_of(sandbox, "receive", state=first.state)
    assert "counts differ" not in caplog.text


def test_the_progress_expects_as_many_rows_as_are_counted_in_the_ranges_to_read(busy_sandbox: Sandbox) -> None:
    state: dict[str, Any] = {}
    for _ in range(2):
        clock, output = Time(busy_sandbox.now).clock, io.BytesIO()
        checked = config.check_settings({**busy_sandbox.config, "late_events": "recount"})
        tap = Sync(Client(checked, clock), checked, Writer(output), clock)
        tap.run(read_catalog(catalog_of("receive")), state)
        state = json.loads(output.getvalue().splitlines()[-1])["value"]
        assert tap.progress.expected == {"receive": tap.progress.rows}
        busy_sandbox.advance(DAY)


def test_counts_of_a_recount_are_worth_a_wait() -> None:
    asked = []

    def count(metric: str, start: int, end: int, is_needed: bool) -> dict[int, int]:
        asked.append(is_needed)
        return {}

    stream, now = BY_NAME["receive"], 1_795_392_000
    projection = stream.project(stream.schema)
    timeline = Timeline(stream, cast(Client, Memory([], 10)), stream.endpoint, {}, count=count)
    recount_fetch(
        timeline, [Recount(Query("M", projection, filter_metric("M")), now - DAY)], now, 30 * DAY, now - 60 * DAY
    )()
    assert asked == [True]
