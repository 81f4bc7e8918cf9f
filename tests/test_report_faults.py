"""Reports through faults of the API: what passes is retried, and nothing is missing."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tap_klaviyo.errors import SyncError
from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox, Schedule, error_status, seeded_faults
from tests.reporting import ACCOUNT, SINCE
from tests.running import Run, catalog_of, sync

NAMES = ("flow_values_report", "form_series_report", "list_sizes")
SEVERAL_PAGES = Account.build(events=200, seed=3, scale=3)


def rows(run: Run) -> Counter[str]:
    return Counter(json.dumps([each["stream"], each["record"]], sort_keys=True) for each in run.of("RECORD"))


def read_with(faults: Schedule | None = None) -> Run:
    with Sandbox(SEVERAL_PAGES, limits=False, faults=faults) as sandbox:
        return sync(sandbox, catalog=catalog_of(*NAMES), start_date="2026-09-20")


@pytest.fixture(scope="module")
def undisturbed() -> Run:
    return read_with()


@pytest.mark.parametrize("seed", range(4))
def test_reports_come_whole_through_faults_that_pass(undisturbed: Run, seed: int) -> None:
    run = read_with(seeded_faults(seed, 0.3))
    assert run.error is None
    assert rows(run) == rows(undisturbed)
    assert run.state["bookmarks"] == undisturbed.state["bookmarks"]


def test_a_report_whose_cursor_is_refused_is_read_again_from_its_first_page(undisturbed: Run) -> None:
    refused: list[Request] = []

    def refuse(request: Request) -> Fault | None:
        # Twice: a cursor that is refused once is sent again.
        if "page_cursor" in request.url and len(refused) < 2:
            refused.append(request)
            return Fault("invalid_cursor")
        return None

    run = read_with(refuse)
    assert run.error is None
    assert rows(run).keys() == rows(undisturbed).keys()


def test_a_report_whose_cursor_is_always_refused_ends_in_an_error() -> None:
    refused: list[Request] = []

    def refuse(request: Request) -> Fault | None:
        if "page_cursor" not in request.url:
            return None
        refused.append(request)
        return Fault("invalid_cursor")

    run = read_with(refuse)
    assert isinstance(run.error, SyncError)
    # The window is read six times, and each time its cursor is sent twice.
    assert len(refused) == 12


def test_a_refusal_is_put_down_to_the_metric_only_if_it_names_one(caplog: pytest.LogCaptureFixture) -> None:
    run = read_with(lambda request: error_status(400) if request.path == "/api/flow-values-reports" else None)
    assert isinstance(run.error, SyncError)
    (line,) = [each.message for each in caplog.records if each.levelname == "ERROR"]
    assert "flow_values_report: Klaviyo answers 400" in line
    assert "conversion" not in line


def test_a_metric_that_klaviyo_lists_but_denies_is_named_and_costs_no_other() -> None:
    denied, *others = sorted(each.id for each in ACCOUNT.metrics if each.kind.listed)
    catalog = catalog_of("metric_aggregates", fields=("count",))

    def deny(request: Request) -> Fault | None:
        is_about = request.path == "/api/metric-aggregates" and denied.encode() in request.body
        return Fault("deny_metric") if is_about else None

    with Sandbox(ACCOUNT, limits=False, faults=deny) as sandbox:
        first = sync(sandbox, catalog=catalog, start_date=SINCE)
        assert isinstance(first.error, SyncError)
        assert {each["metric_id"] for each in first.records("metric_aggregates")} == set(others)
        assert first.state["bookmarks"]["metric_aggregates"]["metrics"] == others
        sandbox.faults = None
        second = sync(sandbox, first.state, catalog, start_date=SINCE)
    days = Counter(each["metric_id"] for each in second.records("metric_aggregates"))
    assert (second.error, days[denied]) == (None, 101)


def test_without_the_metrics_there_are_no_counts(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(request: Request) -> Fault | None:
        return error_status(400) if request.path == "/api/metrics" else None

    with Sandbox(ACCOUNT, limits=False, faults=refuse) as sandbox:
        run = sync(sandbox, catalog=catalog_of("metric_aggregates", fields=("count",)), start_date=SINCE)
    assert isinstance(run.error, SyncError)
    assert any("GET /api/metrics" in each.message for each in caplog.records)


def test_a_metric_that_fails_leaves_the_bookmark_where_it_was() -> None:
    *_, last = sorted(each.id for each in ACCOUNT.metrics if each.kind.listed)

    def fail(request: Request) -> Fault | None:
        return error_status(400) if request.path == "/api/metric-aggregates" and last.encode() in request.body else None

    with Sandbox(ACCOUNT, limits=False, faults=fail) as sandbox:
        run = sync(sandbox, catalog=catalog_of("metric_aggregates", fields=("count",)), start_date=SINCE)
    assert isinstance(run.error, SyncError)
    assert run.records("metric_aggregates")
    assert run.state["bookmarks"] == {}
