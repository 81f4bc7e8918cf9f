"""Reports as whole runs: which periods are asked for, and what becomes of the figures."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tap_klaviyo import config
from tap_klaviyo.check import Access, check_access
from tap_klaviyo.errors import SyncError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.sandbox import Account, Sandbox, error_status
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.streams.table import BY_NAME
from tap_klaviyo.times import DAY, format_time
from tests.reporting import (
    ACCOUNT,
    GROUP,
    MONTHS,
    NOW,
    REPORTS,
    SINCE,
    ZONE,
    asked,
    is_about_september,
    keys_of,
    starts_of,
)
from tests.running import Run, catalog_of, sync
from tests.validity import is_local_date_time, validator_of

NOT_GROUPS = ("conversion_metric_id", "period_start", "period_end")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(ACCOUNT, limits=False) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def whole() -> Run:
    """Return a run over all streams of the group."""
    with Sandbox(ACCOUNT, limits=False) as sandbox:
        return sync(sandbox, catalog=catalog_of(*GROUP), start_date=SINCE)


@pytest.mark.parametrize("name", GROUP)
def test_records_fit_the_schema_and_fill_every_column(whole: Run, name: str) -> None:
    assert whole.error is None
    validate = validator_of(whole.of("SCHEMA", name)[0]["schema"], is_local_date_time)
    records = whole.records(name)
    for record in records:
        validate(record)
        assert record.keys() == BY_NAME[name].schema["properties"].keys()
    assert len(keys_of(whole, name)) == len(records) > 5
    assert {each for record in records for each, value in record.items() if value is None} == set()


@pytest.mark.parametrize("name", [name for name in REPORTS if "values" in name])
def test_values_are_by_calendar_month_of_the_account(whole: Run, name: str) -> None:
    periods = {(record["period_start"], record["period_end"]) for record in whole.records(name)}
    months = list(pairwise(MONTHS))
    # No campaign was sent in some of them.
    assert sorted(periods) == [month for month in months if month in periods or name != "campaign_values_report"]


@pytest.mark.parametrize("name", [*(name for name in REPORTS if "series" in name), "metric_aggregates"])
def test_series_are_by_day_of_the_account_also_when_its_clocks_change(whole: Run, name: str) -> None:
    # 2026-08-15 in UTC begins in the evening of the 14th.
    days = [datetime(2026, 8, 14, tzinfo=ZONE) + timedelta(days=place) for place in range(101)]
    assert (days[79].isoformat(), days[80].isoformat()) == ("2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00")
    assert days[-1].date() == NOW.date()
    periods = {(record["period_start"], record["period_end"]) for record in whole.records(name)}
    assert sorted(periods) == [(day.isoformat(), (day + timedelta(days=1)).isoformat()) for day in days]


@pytest.mark.parametrize("kind", ["flow", "form"])
def test_the_days_of_a_month_add_up_to_its_values(whole: Run, kind: str) -> None:
    group = "flow_message_id" if kind == "flow" else "form_id"
    statistics = ("recipients", "delivered", "conversion_value") if kind == "flow" else ("viewed_form", "submits")
    sums: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for record in whole.records(f"{kind}_series_report"):
        sums[record[group], record["period_start"][:7]].update({name: record[name] for name in statistics})
    compared = 0
    for record in whole.records(f"{kind}_values_report"):
        month = record["period_start"][:7]
        # The series begins in the middle of August.
        if month != "2026-08":
            assert {name: record[name] for name in statistics} == pytest.approx(dict(sums[record[group], month]))
            compared += record[statistics[0]] > 0
    assert compared > 20


def test_segments_have_the_members_of_the_ledger(whole: Run) -> None:
    joined = defaultdict(list)
    for each in ACCOUNT.collection("/api/segments/{id}/profiles", ACCOUNT.now):
        joined[each["parent_id"]].append(datetime.fromisoformat(each["attributes"]["joined_group_at"]))
    records = [each for each in whole.records("segment_values_report") if each["segment_id"] in joined]
    assert len(records) > 20
    for record in records:
        end = datetime.fromisoformat(record["period_end"])
        assert record["total_members"] == sum(time < end for time in joined[record["segment_id"]])


def test_reports_of_several_pages_are_read_whole() -> None:
    account = Account.build(events=200, seed=3, scale=3)
    with Sandbox(account, limits=False) as sandbox:
        run = sync(sandbox, catalog=catalog_of("flow_series_report", "flow_values_report"), start_date="2026-10-10")
        second_pages = [each for each in sandbox.requests if "page_cursor" in each.url]
    assert run.error is None
    assert len(second_pages) >= 3
    messages = {each["flow_message_id"] for each in run.records("flow_values_report")}
    assert len(messages) > 100
    assert {each["flow_message_id"] for each in run.records("flow_series_report")} == messages
    assert len(keys_of(run, "flow_series_report")) == len(run.records("flow_series_report"))


def test_a_window_of_a_series_has_up_to_60_days(sandbox: Sandbox) -> None:
    sync(sandbox, catalog=catalog_of("form_series_report"), start_date=SINCE)
    assert asked(sandbox, "form_series_report") == [("2026-08-14", "2026-10-13"), ("2026-10-13", "2026-11-22")]


def test_only_selected_statistics_are_asked_for(sandbox: Sandbox) -> None:
    catalog = catalog_of("flow_values_report", fields=("opens", "open_rate"))
    run = sync(sandbox, catalog=catalog, start_date=SINCE)
    bodies = [json.loads(each.body) for each in sandbox.requests if each.method == "POST"]
    assert {tuple(body["data"]["attributes"]["statistics"]) for body in bodies} == {("open_rate", "opens")}
    fields = {*BY_NAME["flow_values_report"].key, "opens", "open_rate"}
    assert {frozenset(record) for record in run.records("flow_values_report")} == {frozenset(fields)}


def test_the_key_alone_can_be_selected(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of("form_values_report", fields=()), start_date=SINCE)
    key = frozenset({"form_id", "period_start", "period_end"})
    assert {frozenset(each) for each in run.records("form_values_report")} == {key}


# Settled periods, and the lookback.


def test_a_settled_month_is_asked_for_once_and_a_later_one_by_each_run(sandbox: Sandbox) -> None:
    first = sync(sandbox, catalog=catalog_of("form_values_report"), start_date=SINCE)
    # On 2026-11-22, October has ended within 30 days, and September has not.
    assert first.state["bookmarks"]["form_values_report"] == {"period_start": "2026-09-01T04:00:00Z"}
    sandbox.requests.clear()
    second = sync(sandbox, first.state, catalog_of("form_values_report"), start_date=SINCE)
    assert starts_of(second, "form_values_report") == MONTHS[2:4]
    assert asked(sandbox, "form_values_report") == [("2026-10-01", "2026-11-01"), ("2026-11-01", "2026-11-22")]
    assert second.state["bookmarks"] == first.state["bookmarks"]


def test_a_month_that_was_open_in_the_last_run_is_asked_for_again_however_long_ago_that_was(sandbox: Sandbox) -> None:
    first = sync(sandbox, catalog=catalog_of("form_values_report"), start_date=SINCE)
    sandbox.advance(70 * DAY)
    later = sync(sandbox, first.state, catalog_of("form_values_report"), start_date=SINCE)
    assert starts_of(later, "form_values_report") == [*MONTHS[2:], "2027-01-01T00:00:00-05:00"]
    assert later.state["bookmarks"]["form_values_report"] == {"period_start": "2026-12-01T05:00:00Z"}


def test_each_run_asks_again_for_the_days_of_the_lookback(sandbox: Sandbox) -> None:
    catalog = catalog_of("flow_series_report", fields=("opens",))
    first = sync(sandbox, catalog=catalog, start_date=SINCE, report_lookback_days=10)
    assert first.state["bookmarks"]["flow_series_report"]["period_start"] == "2026-11-11T05:00:00Z"
    sandbox.advance(2 * DAY)
    second = sync(sandbox, first.state, catalog, start_date=SINCE, report_lookback_days=10)
    assert starts_of(second, "flow_series_report") == [f"2026-11-{day}T00:00:00-05:00" for day in range(12, 25)]
    # A longer lookback applies to days that were settled by the shorter one.
    sandbox.requests.clear()
    sync(sandbox, second.state, catalog, start_date=SINCE, report_lookback_days=30)
    assert asked(sandbox, "flow_series_report") == [("2026-10-25", "2026-11-24")]
    # The start date bounds the lookback.
    sandbox.requests.clear()
    sync(sandbox, second.state, catalog, start_date="2026-11-05T12:00:00Z", report_lookback_days=30)
    assert asked(sandbox, "flow_series_report") == [("2026-11-05", "2026-11-24")]


def test_figures_that_change_within_the_lookback_reach_the_target(sandbox: Sandbox) -> None:
    catalog = catalog_of("flow_series_report", fields=("opens", "clicks"))
    first = sync(sandbox, catalog=catalog, start_date=SINCE)
    sandbox.advance(6 * DAY)
    second = sync(sandbox, first.state, catalog, start_date=SINCE)
    at_once = sync(sandbox, catalog=catalog, start_date=SINCE)

    def table(*runs: Run) -> dict[tuple[str, ...], Any]:
        records = [record for run in runs for record in run.records("flow_series_report")]
        return {tuple(record[name] for name in BY_NAME["flow_series_report"].key): record for record in records}

    before, expected = table(first), table(at_once)
    assert table(first, second) == expected
    assert before != {key: record for key, record in expected.items() if key in before}


def test_a_report_ends_with_the_period_of_the_end_date(sandbox: Sandbox) -> None:
    names = ("form_values_report", "form_series_report", "metric_aggregates", "list_sizes")
    run = sync(sandbox, catalog=catalog_of(*names), start_date=SINCE, end_date="2026-10-10T12:00:00Z")
    assert starts_of(run, "form_values_report") == MONTHS[:3]
    assert starts_of(run, "form_series_report")[-1] == "2026-10-10T00:00:00-04:00"
    assert starts_of(run, "metric_aggregates")[-1] == "2026-10-10T00:00:00-04:00"
    assert run.records("list_sizes") == []
    # The whole month is asked for, so that its figures do not depend on the end date.
    assert asked(sandbox, "form_values_report")[-1] == ("2026-10-01", "2026-11-01")


def test_an_end_date_in_the_future_adds_no_period(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of("form_values_report"), start_date=SINCE, end_date="2040-01-01")
    assert starts_of(run, "form_values_report") == MONTHS[:4]
    assert asked(sandbox, "form_values_report")[-1] == ("2026-11-01", "2026-11-22")


@pytest.mark.parametrize("name", [name for name in REPORTS if "campaign" in name or "flow" in name])
def test_a_report_is_grouped_by_the_columns_of_its_key(sandbox: Sandbox, name: str) -> None:
    sync(sandbox, catalog=catalog_of(name), start_date="2026-11-01")
    bodies = [json.loads(each.body) for each in sandbox.requests if each.path == BY_NAME[name].endpoint.path]
    groups = [column for column in BY_NAME[name].key if column not in NOT_GROUPS]
    assert {tuple(body["data"]["attributes"]["group_by"]) for body in bodies} == {tuple(groups)}


def test_segments_are_asked_for_from_the_first_day_that_has_figures(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of("segment_values_report"), start_date="2020-01-01")
    assert run.error is None
    assert asked(sandbox, "segment_values_report")[0] == ("2023-06-01", "2023-07-01")


def test_a_run_that_fails_midway_is_resumed_after_the_last_settled_month(sandbox: Sandbox) -> None:
    sandbox.faults = lambda request: error_status(400) if is_about_september(request) else None
    failed = sync(sandbox, catalog=catalog_of("form_values_report", "lists"), start_date="2026-06-10")
    assert isinstance(failed.error, SyncError)
    assert failed.records("lists")
    assert failed.state["bookmarks"]["form_values_report"] == {"period_start": "2026-08-01T04:00:00Z"}
    sandbox.faults = None
    sandbox.requests.clear()
    rest = sync(sandbox, failed.state, catalog_of("form_values_report"), start_date="2026-06-10")
    assert asked(sandbox, "form_values_report")[0] == ("2026-09-01", "2026-10-01")
    starts = starts_of(failed, "form_values_report") + starts_of(rest, "form_values_report")
    assert starts == ["2026-06-01T00:00:00-04:00", "2026-07-01T00:00:00-04:00", *MONTHS[:4]]


def test_a_bookmark_in_the_future_is_dropped(sandbox: Sandbox) -> None:
    state = {"bookmarks": {"form_values_report": {"period_start": "2030-01-01T00:00:00Z"}}}
    run = sync(sandbox, state, catalog_of("form_values_report"), start_date=SINCE)
    assert starts_of(run, "form_values_report") == MONTHS[:4]
    assert run.state["bookmarks"]["form_values_report"] == {"period_start": "2026-09-01T04:00:00Z"}


# Counts of events.


def test_daily_counts_are_those_of_the_ledger(whole: Run) -> None:
    expected: Counter[tuple[str, str]] = Counter()
    timeline = ACCOUNT.timeline
    for number, second in enumerate(timeline.seconds):
        if timeline.is_visible(number, ACCOUNT.now):
            day = datetime.fromtimestamp(second, ZONE).date().isoformat()
            expected[ACCOUNT.metrics[timeline.metrics[number]].id, day] += 1
    records = whole.records("metric_aggregates")
    counts = {(each["metric_id"], each["period_start"][:10]): each["count"] for each in records}
    assert {metric for metric, _ in counts} == {each.id for each in ACCOUNT.metrics if each.kind.listed}
    assert counts == {key: expected[key] for key in counts}
    assert sum(counts.values()) > 300


@pytest.mark.slow
def test_a_year_of_a_metric_takes_one_request(sandbox: Sandbox) -> None:
    start = format_time(ACCOUNT.now - 364 * DAY)
    sync(sandbox, catalog=catalog_of("metric_aggregates", fields=("count",)), start_date=start)
    requests = [each for each in sandbox.requests if each.path == "/api/metric-aggregates"]
    assert len(requests) == len([each for each in ACCOUNT.metrics if each.kind.listed])


def test_a_metric_that_joins_later_is_counted_from_the_start_date(sandbox: Sandbox) -> None:
    catalog = catalog_of("metric_aggregates", fields=("count",))
    first = sync(sandbox, catalog=catalog, start_date=SINCE)
    joined = first.state["bookmarks"]["metric_aggregates"]["metrics"].pop()
    second = sync(sandbox, first.state, catalog, start_date=SINCE)
    days = Counter(record["metric_id"] for record in second.records("metric_aggregates"))
    assert days.pop(joined) == 101
    assert set(days.values()) == {31}
    assert joined in second.state["bookmarks"]["metric_aggregates"]["metrics"]


# What the key allows.


def test_a_key_without_the_scope_for_the_time_zone_ends_in_an_error_that_names_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Sandbox(ACCOUNT, limits=False, scopes={"forms:read", "metrics:read"}) as sandbox:
        run = sync(sandbox, catalog=catalog_of("form_values_report"), start_date=SINCE)
    assert isinstance(run.error, SyncError)
    assert any("accounts:read" in each.message for each in caplog.records)
    assert run.records("form_values_report") == []


def test_the_check_of_a_key_costs_none_of_a_days_requests(sandbox: Sandbox) -> None:
    selections = read_catalog(catalog_of(*GROUP))
    client = Client(config.check_settings(sandbox.config))
    results = [each for each in check_access(client, selections) if isinstance(each, Access)]
    assert [each.problem for each in results] == [""] * len(results)
    assert {each.method for each in sandbox.requests} == {"GET"}
    of = ("accounts", "metrics", "campaigns", "flows", "forms", "segments", "lists")
    assert {each.scopes for each in results} >= {f"{name}:read" for name in of}
