"""The seven reporting endpoints of the sandbox: their groupings, periods, checks, pages and limits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
import requests

from tap_klaviyo.sandbox import ENDPOINTS, Account, Sandbox

ACCOUNT = Account.build(events=600, seed=5)
DAY = 86_400
REPORTS = [each.type for each in ENDPOINTS if each.type.endswith("-report")]
SERIES = [each for each in REPORTS if "series" in each]
STATISTICS = {
    "campaign": ["recipients", "opens", "open_rate", "conversion_value", "average_order_value"],
    "flow": ["recipients", "opens", "open_rate", "conversion_value", "average_order_value"],
    "form": ["viewed_form", "submits", "submit_rate"],
    "segment": ["total_members", "members_added", "members_removed", "net_members_changed"],
}
MONTH = {"start": "2026-08-01T00:00:00+00:00", "end": "2026-09-01T00:00:00+00:00"}
ORDERS = next(each.id for each in ACCOUNT.metrics if each.kind.name == "Placed Order")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(ACCOUNT, limits=False) as running:
        yield running


def ask(sandbox: Sandbox, report: str, /, path: str = "", **attributes: Any) -> requests.Response:
    headers = {"Authorization": f"Klaviyo-API-Key {sandbox.api_key}", "revision": "2026-07-15"}
    kind = report.split("-")[0]
    asked: dict[str, Any] = {"statistics": STATISTICS[kind], "timeframe": MONTH}
    asked |= {"conversion_metric_id": ORDERS} if kind in ("campaign", "flow") else {}
    asked |= {"interval": "daily"} if "series" in report else {}
    asked = {name: each for name, each in {**asked, **attributes}.items() if each is not None}
    body = {"data": {"type": report, "attributes": asked}}
    url = path or f"{sandbox.url}/api/{report}s"
    headers["Content-Type"] = "application/vnd.api+json"
    return requests.post(url, json=body, headers=headers, timeout=5)


def rows(sandbox: Sandbox, report: str, **attributes: Any) -> list[dict[str, Any]]:
    """Return the results of all pages."""
    found: list[dict[str, Any]] = []
    response = ask(sandbox, report, **attributes)
    while True:
        assert response.status_code == 200, response.text
        answer = response.json()
        found += answer["data"]["attributes"]["results"]
        if not answer["links"].get("next"):
            return found
        response = ask(sandbox, report, answer["links"]["next"], **attributes)


def detail(response: requests.Response) -> str:
    assert response.status_code == 400, response.text
    found: str = response.json()["errors"][0]["detail"]
    return found


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_has_a_row_for_each_group(sandbox: Sandbox, report: str) -> None:
    found = rows(sandbox, report)
    groups = [tuple(row["groupings"].items()) for row in found]
    assert len(set(groups)) == len(groups) > 2
    assert {tuple(row["statistics"]) for row in found} == {tuple(STATISTICS[report.split("-")[0]])}
    assert found == rows(sandbox, report)


@pytest.mark.parametrize("report", SERIES)
def test_the_sums_of_a_series_are_the_values(sandbox: Sandbox, report: str) -> None:
    values = {str(row["groupings"]): row["statistics"] for row in rows(sandbox, report.replace("series", "values"))}
    series = {str(row["groupings"]): row["statistics"] for row in rows(sandbox, report)}
    assert values.keys() == series.keys()
    for name in {"recipients", "opens", "viewed_form", "submits", "members_added"} & set(
        STATISTICS[report.split("-")[0]]
    ):
        assert {group: sum(each[name]) for group, each in series.items()} == {
            group: each[name] for group, each in values.items()
        }


def test_a_series_has_local_midnights_written_as_utc(sandbox: Sandbox) -> None:
    dates = ask(sandbox, "flow-series-report").json()["data"]["attributes"]["date_times"]
    assert dates[0] == "2026-08-01T00:00:00+00:00"
    assert dates[-1] == "2026-08-31T00:00:00+00:00"
    assert len(dates) == 31
    week = ask(sandbox, "flow-series-report", timeframe={"key": "last_7_days"}).json()["data"]["attributes"]
    assert len(week["date_times"]) == 8


@pytest.mark.parametrize(
    "key",
    [
        *("last_12_months", "last_30_days", "last_365_days", "last_3_months", "last_7_days", "last_90_days"),
        *("last_month", "last_week", "last_year", "this_month", "this_week", "this_year", "today", "yesterday"),
    ],
)
def test_each_named_time_frame_is_taken(sandbox: Sandbox, key: str) -> None:
    assert ask(sandbox, "form-values-report", timeframe={"key": key}).status_code == 200


def test_a_named_month_is_the_month(sandbox: Sandbox) -> None:
    october = {"start": "2026-10-01T00:00:00+00:00", "end": "2026-11-01T00:00:00+00:00"}
    quarter = {"start": "2026-08-01T00:00:00+00:00", "end": "2026-11-01T00:00:00+00:00"}
    for key, timeframe in (("last_month", october), ("last_3_months", quarter)):
        named = rows(sandbox, "form-values-report", timeframe={"key": key})
        assert named == rows(sandbox, "form-values-report", timeframe=timeframe)


def test_segments_count_their_members(sandbox: Sandbox) -> None:
    now = datetime.fromtimestamp(ACCOUNT.now, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S+00:00")
    found = rows(sandbox, "segment-values-report", timeframe={"start": "2026-08-01T00:00:00+00:00", "end": now})
    members = ACCOUNT.collection("/api/segments/{id}/profiles", ACCOUNT.now)
    gone = {each["id"] for each in ACCOUNT.collection("/api/segments", ACCOUNT.now)} - {
        each["parent_id"] for each in members
    }
    for row in found:
        segment = row["groupings"]["segment_id"]
        if segment not in gone:
            assert row["statistics"]["total_members"] == sum(each["parent_id"] == segment for each in members)
    assert len(found) == len(ACCOUNT.collection("/api/segments", ACCOUNT.now))


def test_rows_name_campaigns_and_flows_that_exist(sandbox: Sandbox) -> None:
    year = {"start": "2025-11-23T00:00:00+00:00", "end": "2026-11-23T00:00:00+00:00"}
    campaigns = {each["id"] for each in ACCOUNT.collection("/api/campaigns", ACCOUNT.now, revision="2026-10-15")}
    messages = {each["id"] for each in ACCOUNT.collection("/api/campaign-messages", ACCOUNT.now, revision="2026-10-15")}
    sent = rows(sandbox, "campaign-values-report", timeframe=year)
    assert {each["groupings"]["campaign_id"] for each in sent} <= campaigns
    assert {each["groupings"]["campaign_message_id"] for each in sent} <= messages
    assert {each["groupings"]["send_channel"] for each in sent} == {"email", "sms", "push-notification", "whatsapp"}
    flows = {each["id"] for each in ACCOUNT.collection("/api/flows", ACCOUNT.now)}
    assert {each["groupings"]["flow_id"] for each in rows(sandbox, "flow-values-report")} <= flows


def test_other_groupings_and_filters(sandbox: Sandbox) -> None:
    year = {"start": "2025-11-23T00:00:00+00:00", "end": "2026-11-23T00:00:00+00:00"}
    group_by = ["campaign_id", "campaign_message_id", "tag_name"]
    tagged = rows(sandbox, "campaign-values-report", timeframe=year, group_by=group_by)
    assert {tuple(each["groupings"]) for each in tagged} == {tuple(group_by)}
    assert len({each["groupings"]["tag_name"] for each in tagged}) > 2
    only = rows(sandbox, "campaign-values-report", timeframe=year, filter='equals(send_channel,"sms")')
    assert {each["groupings"]["send_channel"] for each in only} == {"sms"}
    first, second = (each["id"] for each in ACCOUNT.collection("/api/segments", ACCOUNT.now)[:2])
    some = rows(sandbox, "segment-values-report", filter=f'any(segment_id,["{first}","{second}"])')
    assert {each["groupings"]["segment_id"] for each in some} == {first, second}
    of_campaign: dict[str, list[str]] = {}
    for row in rows(sandbox, "campaign-values-report", timeframe=year, group_by=[*group_by[:2], "tag_id"]):
        of_campaign.setdefault(row["groupings"]["campaign_message_id"], []).append(row["groupings"]["tag_id"])
    tags = next(each for each in of_campaign.values() if len(each) > 1)
    by_tag = {"timeframe": year, "group_by": ["campaign_id", "campaign_message_id"]}
    either = rows(sandbox, "campaign-values-report", filter=f'contains-any(tag_id,["{tags[0]}","{tags[1]}"])', **by_tag)
    all_of = rows(sandbox, "campaign-values-report", filter=f'contains-all(tag_id,["{tags[0]}","{tags[1]}"])', **by_tag)
    assert 0 < len(all_of) < len(either)
    both = ["form_id", "form_version_id"]
    assert {tuple(row["groupings"]) for row in rows(sandbox, "form-values-report", group_by=both)} == {tuple(both)}


def test_figures_of_the_last_days_grow(sandbox: Sandbox) -> None:
    week = {"start": "2026-11-18T00:00:00+00:00", "end": "2026-11-22T00:00:00+00:00"}

    def opens(at: Sandbox) -> float:
        return float(sum(row["statistics"]["opens"] for row in rows(at, "flow-values-report", timeframe=week)))

    with Sandbox(ACCOUNT, limits=False) as later:
        later.advance(10 * DAY)
        assert opens(later) > opens(sandbox)
        old = rows(later, "flow-values-report")
    assert old == rows(sandbox, "flow-values-report")


def test_conversions_depend_on_the_metric(sandbox: Sandbox) -> None:
    others = [each.id for each in ACCOUNT.metrics if each.kind.listed and each.kind.name.startswith("Custom action")]
    usual = rows(sandbox, "flow-values-report")
    assert any(rows(sandbox, "flow-values-report", conversion_metric_id=each) != usual for each in others[:8])


def test_long_reports_have_pages(sandbox: Sandbox) -> None:
    year = {"start": "2025-11-23T00:00:00+00:00", "end": "2026-11-23T00:00:00+00:00"}
    by = ["flow_id", "flow_message_id", "tag_name"]
    first = ask(sandbox, "flow-values-report", timeframe=year, group_by=by).json()
    assert first["links"]["next"]
    assert len(first["data"]["attributes"]["results"]) == 100
    assert len(rows(sandbox, "flow-values-report", timeframe=year, group_by=by)) > len(
        first["data"]["attributes"]["results"]
    )
    assert {each["type"] for each in first["data"]["relationships"]["flow-messages"]["data"]} == {"flow-message"}


def test_what_klaviyo_refuses(sandbox: Sandbox) -> None:
    received = next(each.id for each in ACCOUNT.metrics if each.kind.stream == "receive")
    two_years = {"start": "2024-08-01T00:00:00+00:00", "end": "2026-09-01T00:00:00+00:00"}
    quarter = {"start": "2026-06-01T00:00:00+00:00", "end": "2026-09-01T00:00:00+00:00"}
    assert "1 year" in detail(ask(sandbox, "campaign-values-report", timeframe=two_years))
    assert "60 days" in detail(ask(sandbox, "flow-series-report", timeframe=quarter))
    assert "7 days" in detail(ask(sandbox, "form-series-report", interval="hourly"))
    assert ask(sandbox, "form-series-report", interval="weekly", timeframe=quarter).status_code == 200
    early = {"start": "2023-05-01T00:00:00+00:00", "end": "2023-06-02T00:00:00+00:00"}
    assert "June 1st, 2023" in detail(ask(sandbox, "segment-values-report", timeframe=early))
    assert "'statistics' is a required field." in detail(ask(sandbox, "form-values-report", statistics=[]))
    assert "'statistics' is a required field." in detail(ask(sandbox, "form-values-report", statistics=None))
    assert "must be one of" in detail(ask(sandbox, "form-values-report", statistics=["opens"]))
    assert "'conversion_metric_id' is a required field." in detail(
        ask(sandbox, "flow-values-report", conversion_metric_id=None)
    )
    assert "does not exist" in detail(ask(sandbox, "flow-values-report", conversion_metric_id="XXXXXX"))
    assert "does not support querying" in detail(ask(sandbox, "flow-values-report", conversion_metric_id=received))
    assert "campaign_message_id" in detail(ask(sandbox, "campaign-values-report", group_by=["campaign_id"]))
    assert "not a filterable field" in detail(ask(sandbox, "segment-values-report", filter='equals(form_id,"a")'))
    doubled = 'equals(form_id,"a"),equals(form_id,"b")'
    assert "Only one filter" in detail(ask(sandbox, "form-values-report", filter=doubled))
    assert "'interval' is a required field." in detail(ask(sandbox, "flow-series-report", interval=None))
    path = f"{sandbox.url}/api/form-values-reports?page_cursor=1"
    assert "not an allowed parameter" in detail(ask(sandbox, "form-values-report", path))


@pytest.mark.slow
def test_a_report_has_a_limit_for_the_day() -> None:
    time = [86_400.0 * 20_000]
    with Sandbox(ACCOUNT, clock=lambda: time[0]) as sandbox:
        first = ask(sandbox, "form-values-report")
        assert first.headers["RateLimit-Limit"] == "1, 1;w=1, 2;w=60, 225;w=86400"
        for _ in range(224):
            time[0] += 30
            assert ask(sandbox, "form-values-report").status_code == 200
        time[0] += 30
        refused = ask(sandbox, "form-values-report")
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) == 86_400 - 225 * 30
        assert ask(sandbox, "flow-values-report").status_code == 200
        time[0] = 86_400.0 * 20_001
        assert ask(sandbox, "form-values-report").status_code == 200
