"""The metric that counts as a conversion in reports: which one it is, and what becomes of a wrong one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from msgspec import Raw

from tap_klaviyo import config
from tap_klaviyo.errors import SyncError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.reading.account import Account
from tap_klaviyo.reading.report_account import read_report_account
from tap_klaviyo.sandbox import Sandbox, error_status
from tap_klaviyo.streams.table import BY_NAME
from tests.reporting import ACCOUNT, MONTHS, SINCE, ZONE, is_about_september, keys_of, starts_of
from tests.running import catalog_of, sync

OTHER = "Custom action 000"
(OTHER_ID,) = (each.id for each in ACCOUNT.metrics if each.kind.name == OTHER)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(ACCOUNT, limits=False) as sandbox:
        yield sandbox


def metrics_asked_for(sandbox: Sandbox) -> set[str]:
    bodies = [json.loads(each.body) for each in sandbox.requests if each.method == "POST"]
    return {body["data"]["attributes"]["conversion_metric_id"] for body in bodies}


def test_the_metric_mapped_to_revenue_counts_by_default(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of("campaign_values_report"), start_date=SINCE)
    (mapped,) = [each for each in ACCOUNT.collection("/api/mapped-metrics", ACCOUNT.now) if each["id"] == "revenue"]
    metric = mapped["relationships"]["metric"]["data"]["id"]
    assert metrics_asked_for(sandbox) == {metric}
    assert {record["conversion_metric_id"] for record in run.records("campaign_values_report")} == {metric}
    assert run.state["bookmarks"]["campaign_values_report"]["metrics"] == [metric]


def test_placed_order_counts_if_no_metric_is_mapped_to_revenue(sandbox: Sandbox) -> None:
    sandbox.faults = lambda request: error_status(404) if request.path == "/api/mapped-metrics" else None
    order = Resource("PLACED", "metric", Raw(b'{"name": "Placed Order"}'))
    client, streams = Client(config.check_settings(sandbox.config)), [BY_NAME["flow_values_report"]]
    known = read_report_account(client, Account({}, ACCOUNT.now, all_metrics=[order]), streams, None)
    assert (known.zone, known.conversion_metric) == (ZONE, "PLACED")


@pytest.mark.parametrize("wanted", [OTHER, "CUSTOM action 000", OTHER_ID])
def test_the_setting_names_a_metric_by_its_name_or_id(sandbox: Sandbox, wanted: str) -> None:
    sync(sandbox, catalog=catalog_of("campaign_values_report"), start_date=SINCE, conversion_metric=wanted)
    assert metrics_asked_for(sandbox) == {OTHER_ID}
    assert not any(each.path == "/api/mapped-metrics" for each in sandbox.requests)


RECEIVED = next(each.id for each in ACCOUNT.metrics if each.kind.name == "Received Email")
SHOPIFYS, APIS = (each.id for each in ACCOUNT.metrics if each.kind.name == "Placed Order")
ORDERS = ", ".join(sorted([f"{SHOPIFYS} (Shopify)", f"{APIS} (API)"]))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("Received Email", f"does not support querying for values data. The metric {RECEIVED} counts as a conversion"),
        ("Nothing of the Kind", "has no metric with the name or id Nothing of the Kind"),
        ("Placed Order", f"conversion_metric to the id of one of them: {ORDERS}."),
    ],
)
def test_a_metric_that_cannot_count_is_an_error_that_names_the_setting(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, wanted: str, said: str
) -> None:
    catalog = catalog_of("flow_series_report", "form_values_report")
    run = sync(sandbox, catalog=catalog, start_date=SINCE, conversion_metric=wanted)
    assert isinstance(run.error, SyncError)
    assert "flow_series_report" in str(run.error)
    assert "form_values_report" not in str(run.error)
    (line,) = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    assert said in line
    assert "conversion_metric" in line
    assert run.records("flow_series_report") == []
    assert "flow_series_report" not in run.state["bookmarks"]
    assert run.records("form_values_report")


def test_another_metric_is_read_from_the_start_date_and_its_rows_are_others(sandbox: Sandbox) -> None:
    catalog = catalog_of("flow_values_report")
    first = sync(sandbox, catalog=catalog, start_date=SINCE)
    second = sync(sandbox, first.state, catalog, start_date=SINCE, conversion_metric=OTHER)
    assert starts_of(second, "flow_values_report") == MONTHS[:4]
    assert not keys_of(first, "flow_values_report") & keys_of(second, "flow_values_report")
    assert second.state["bookmarks"]["flow_values_report"]["metrics"] == [OTHER_ID]
    third = sync(sandbox, second.state, catalog, start_date=SINCE, conversion_metric=OTHER)
    assert starts_of(third, "flow_values_report") == MONTHS[2:4]


def test_a_run_for_another_metric_that_fails_midway_is_resumed_where_it_ended(sandbox: Sandbox) -> None:
    catalog = catalog_of("flow_values_report")
    first = sync(sandbox, catalog=catalog, start_date=SINCE)
    sandbox.faults = lambda request: error_status(400) if is_about_september(request) else None
    second = sync(sandbox, first.state, catalog, start_date=SINCE, conversion_metric=OTHER)
    assert isinstance(second.error, SyncError)
    assert starts_of(second, "flow_values_report") == MONTHS[:1]
    sandbox.faults = None
    third = sync(sandbox, second.state, catalog, start_date=SINCE, conversion_metric=OTHER)
    assert starts_of(third, "flow_values_report") == MONTHS[1:4]
