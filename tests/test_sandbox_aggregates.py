"""POST /api/metric-aggregates of the sandbox counts what /api/events gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from tap_klaviyo.sandbox import Account, Sandbox

DAY = 86_400
ACCOUNT = Account.build(events=3000, seed=5, burst=300)
PATH = "/api/metric-aggregates"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(ACCOUNT, limits=False) as running:
        yield running


def metric(stream: str) -> str:
    return next(each.id for each in ACCOUNT.metrics if each.kind.stream == stream)


def text(second: float) -> str:
    return datetime.fromtimestamp(second, timezone.utc).isoformat()


def ask(sandbox: Sandbox, start: str, end: str, **attributes: Any) -> requests.Response:
    headers = {
        "Authorization": f"Klaviyo-API-Key {sandbox.api_key}",
        "revision": "2026-07-15",
        "Content-Type": "application/vnd.api+json",
    }
    bounds = [f"greater-or-equal(datetime,{start})", f"less-than(datetime,{end})"]
    asked = {"metric_id": metric("receive"), "measurements": ["count"], "filter": bounds, **attributes}
    body = {"data": {"type": "metric-aggregate", "attributes": asked}}
    return requests.post(sandbox.url + PATH, json=body, headers=headers, timeout=5)


def answer(sandbox: Sandbox, start: str, end: str, **attributes: Any) -> dict[str, Any]:
    response = ask(sandbox, start, end, **attributes)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["data"]["attributes"]
    return found


def detail(response: requests.Response) -> str:
    assert response.status_code == 400
    found: str = response.json()["errors"][0]["detail"]
    return found


def events(sandbox: Sandbox, stream: str, start: float, end: float) -> list[dict[str, Any]]:
    """Return the events of the stream's first metric that the API shows."""
    account = sandbox.account
    wanted = metric(stream)
    found = account.resources(stream, sandbox.now, int(start), int(end))
    return [each for each in found if each["relationships"]["metric"]["data"]["id"] == wanted]


@pytest.mark.parametrize("stream", ["receive", "clicked_sms", "mark_as_spam"])
@pytest.mark.parametrize("interval", ["hour", "day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "US/Eastern", "Asia/Kolkata"])
def test_counts_are_those_of_the_events(sandbox: Sandbox, stream: str, interval: str, zone: str) -> None:
    start, end = ACCOUNT.now - 200 * DAY - 5000, ACCOUNT.now - 1000
    given = {"metric_id": metric(stream), "interval": interval, "timezone": zone}
    found = answer(sandbox, text(start), text(end), **given)
    counts = dict(zip(found["dates"], found["data"][0]["measurements"]["count"], strict=True))
    expected: Counter[str] = Counter()
    for event in events(sandbox, stream, start, end):
        expected[begin(event["attributes"]["timestamp"], interval, zone)] += 1
    assert expected
    assert {date: count for date, count in counts.items() if count} == expected
    assert found["data"][0]["dimensions"] == []
    assert list(counts) == sorted(counts)


def begin(second: int, interval: str, zone: str) -> str:
    moment = datetime.fromtimestamp(second, ZoneInfo(zone)).replace(minute=0, second=0)
    if interval != "hour":
        moment = moment.replace(hour=0)
    if interval == "week":
        moment = datetime.fromordinal(moment.toordinal() - moment.weekday()).replace(tzinfo=moment.tzinfo)
    if interval == "month":
        moment = moment.replace(day=1)
    return moment.astimezone(timezone.utc).isoformat()


def test_late_and_early_events_count_when_they_become_visible() -> None:
    account = Account.build(events=3000, seed=5)
    with Sandbox(account, limits=False) as sandbox:
        for days in (0, 3, 7):
            sandbox.now = account.now + days * DAY
            start, end = account.now - 10 * DAY, account.now + 20 * DAY
            count = sum(answer(sandbox, text(start), text(end))["data"][0]["measurements"]["count"])
            assert count == len(events(sandbox, "receive", start, end))


def test_counts_can_be_behind_the_events_or_ahead_of_them() -> None:
    account = Account.build(events=20_000, seed=5)
    start, end = account.now - 5 * DAY, account.now + DAY

    def count(sandbox: Sandbox) -> int:
        return sum(answer(sandbox, text(start), text(end))["data"][0]["measurements"]["count"])

    with Sandbox(account, limits=False) as sandbox:
        usual = count(sandbox)
        sandbox.account = account.with_lag(DAY)
        behind = count(sandbox)
        sandbox.account = account.with_lag(-DAY)
        ahead = count(sandbox)
        sandbox.now += DAY
        sandbox.account = account
        assert count(sandbox) == ahead
    assert behind < usual < ahead


def test_events_that_went_are_no_longer_counted(sandbox: Sandbox) -> None:
    start, end = text(ACCOUNT.now - 300 * DAY), text(ACCOUNT.now)
    found = events(sandbox, "receive", ACCOUNT.now - 300 * DAY, ACCOUNT.now)
    with Sandbox(ACCOUNT.without_events([each["id"] for each in found[:5]]), limits=False) as other:
        counts = answer(other, start, end)["data"][0]["measurements"]["count"]
    assert sum(counts) == len(found) - 5


def test_events_of_deleted_profiles_can_be_left_out() -> None:
    account = Account.build(events=3000, seed=5, counts_deleted=False)
    with Sandbox(account, limits=False) as sandbox:
        start, end = account.now - 300 * DAY, account.now
        found = events(sandbox, "receive", start, end)
        gone = [
            each
            for each in found
            if each["profile"] is None and (each["relationships"].get("profile") or {}).get("data")
        ]
        counts = answer(sandbox, text(start), text(end))["data"][0]["measurements"]["count"]
    assert gone
    assert sum(counts) == len(found) - len(gone)


def test_events_can_become_visible_weeks_late() -> None:
    account = Account.build(events=3000, seed=5, late_days=30)
    usual = Account.build(events=3000, seed=5)

    def latest(timeline: Any) -> int:
        # Events that are dated ahead are visible before their date.
        return max(int(visible - timeline.seconds[number]) for number, visible in timeline.late.items())

    assert 20 * DAY < latest(account.timeline) <= 30 * DAY
    assert latest(usual.timeline) <= 6.5 * DAY
    assert account.timeline.seconds[:3000] == usual.timeline.seconds[:3000]


def test_groups_by_properties_add_up(sandbox: Sandbox) -> None:
    start, end = text(ACCOUNT.now - 300 * DAY), text(ACCOUNT.now)
    whole = answer(sandbox, start, end, interval="month")["data"][0]["measurements"]["count"]
    rows = answer(sandbox, start, end, interval="month", by=["$flow", "$variation"])["data"]
    assert len(rows) > 3
    assert {row["dimensions"][0] for row in rows} == {"", "XyZ123"}
    assert [sum(each) for each in zip(*(row["measurements"]["count"] for row in rows), strict=True)] == whole


def test_unique_counts_profiles_and_sum_value_adds_values(sandbox: Sandbox) -> None:
    order = next(each for each in ACCOUNT.metrics if each.kind.name == "Placed Order")
    start, end = text(ACCOUNT.now - 300 * DAY), text(ACCOUNT.now)
    measured = answer(
        sandbox, start, end, metric_id=order.id, interval="month", measurements=["count", "unique", "sum_value"]
    )["data"][0]["measurements"]
    assert sum(measured["count"]) > 20
    assert all(unique <= count for unique, count in zip(measured["unique"], measured["count"], strict=True))
    assert sum(measured["sum_value"]) > 0
    opened = answer(sandbox, start, end, metric_id=metric("open"), interval="month", measurements=["count", "unique"])
    counted = opened["data"][0]["measurements"]
    named = [
        each["relationships"].get("profile") for each in events(sandbox, "open", ACCOUNT.now - 300 * DAY, ACCOUNT.now)
    ]
    assert max(counted["unique"]) < max(counted["count"])
    assert max(counted["unique"]) <= len({str(each) for each in named})


def test_a_time_without_a_zone_is_in_the_querys_zone(sandbox: Sandbox) -> None:
    naive = answer(sandbox, "2026-06-01T00:00:00", "2026-06-03", timezone="US/Eastern")
    aware = answer(sandbox, "2026-06-01T04:00:00Z", "2026-06-03T04:00:00+00:00", timezone="US/Eastern")
    assert naive == aware
    assert naive["dates"] == ["2026-06-01T04:00:00+00:00", "2026-06-02T04:00:00+00:00"]


def test_what_klaviyo_refuses(sandbox: Sandbox) -> None:
    start, end = text(ACCOUNT.now - 300 * DAY), text(ACCOUNT.now)
    assert detail(ask(sandbox, start, end, sort="count")) == "unsupported operand type(s) for +"
    assert "one year" in detail(ask(sandbox, text(ACCOUNT.now - 400 * DAY), end))
    assert "do not exist" in detail(ask(sandbox, start, end, metric_id="XXXXXX"))
    assert "timezone" in detail(ask(sandbox, start, end, timezone="Europe/Kyiv"))
    assert "at least 500" in detail(ask(sandbox, start, end, page_size=10))
    assert "must be one of: day, hour" in detail(ask(sandbox, start, end, interval="year"))
    assert "must be one of" in detail(ask(sandbox, start, end, by=["ProductID"]))
    assert "required" in detail(ask(sandbox, start, end, measurements=[]))
    assert "Invalid filter" in detail(ask(sandbox, start, end, filter=["greater-than(datetime,2026-01-01)"]))
    assert "time range" in detail(ask(sandbox, start, end, filter=["less-than(datetime,2026-01-01)"]))
    assert "not a valid field" in detail(ask(sandbox, start, end, color="blue"))
    assert requests.get(sandbox.url + PATH, timeout=5).status_code == 405


def test_a_body_must_be_json_of_a_known_type(sandbox: Sandbox) -> None:
    headers = {"Authorization": f"Klaviyo-API-Key {sandbox.api_key}", "revision": "2026-07-15"}
    url = sandbox.url + PATH
    assert requests.post(url, data="a=b", headers=headers, timeout=5).status_code == 415
    headers["Content-Type"] = "application/json"
    assert "Invalid JSON" in detail(requests.post(url, data="{", headers=headers, timeout=5))
    assert "required" in detail(requests.post(url, json={}, headers=headers, timeout=5))


def test_counts_have_their_own_limits() -> None:
    with Sandbox(ACCOUNT, clock=lambda: 60.0) as sandbox:
        answers = [ask(sandbox, "2026-06-01", "2026-06-02") for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert answers[0].headers["RateLimit-Limit"] == "3, 3;w=1, 60;w=60"


def test_other_bodies_are_other_pages() -> None:
    with Sandbox(ACCOUNT, limits=False) as sandbox:
        for end in ("2026-06-02", "2026-06-03", "2026-06-02"):
            ask(sandbox, "2026-06-01", end)
    assert [each.attempt for each in sandbox.requests] == [1, 1, 2]
    first, second, third = (each.page for each in sandbox.requests)
    assert first == third != second
