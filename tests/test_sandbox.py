"""The sandbox answers as Klaviyo does, and its ledger is what it serves."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
import requests

from tap_klaviyo.sandbox import SCOPES, Account, Sandbox

ACCOUNT = Account.build(events=3000, seed=5, burst=1100)
CHANNEL = 'equals(messages.channel,"email")'
SUPPRESSED = "subscriptions.email.marketing.suppression"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(ACCOUNT, limits=False) as running:
        yield running


def get(
    sandbox: Sandbox, path: str, headers: dict[str, str | None] | None = None, /, **query: str
) -> requests.Response:
    """Ask with key and revision, except for headers set to None; a path may be a whole URL."""
    usual = {"Authorization": f"Klaviyo-API-Key {sandbox.api_key}", "revision": "2026-07-15"}
    given = {name: value for name, value in {**usual, **(headers or {})}.items() if value is not None}
    url = path if path.startswith("http") else sandbox.url + path
    return requests.get(url, params=query, headers=given, timeout=5)


def error(response: requests.Response) -> dict[str, Any]:
    found: dict[str, Any] = response.json()["errors"][0]
    assert found["status"] == response.status_code
    return found


def pages(sandbox: Sandbox, path: str, **query: str) -> Iterator[dict[str, Any]]:
    response = get(sandbox, path, **query)
    while True:
        assert response.status_code == 200, response.text
        page = response.json()
        yield page
        if page["links"]["next"] is None:
            return
        response = get(sandbox, page["links"]["next"])


def ids(sandbox: Sandbox, path: str, **query: str) -> list[str]:
    return [each["id"] for page in pages(sandbox, path, **query) for each in page["data"]]


def metric_ids(stream: str) -> list[str]:
    return [metric.id for metric in ACCOUNT.metrics if metric.kind.stream == stream]


# Who may ask, and for what


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": None}, 401, "not_authenticated"),
        ({"Authorization": "Bearer pk_sandbox"}, 401, "not_authenticated"),
        ({"Authorization": "Klaviyo-API-Key pk_other"}, 401, "authentication_failed"),
        ({"revision": None}, 400, "invalid"),
        ({"revision": "soon"}, 400, "invalid"),
        ({"revision": "2026-02-30"}, 400, "invalid"),
        ({"revision": "2026-11-24"}, 404, "not_found"),
        ({"revision": "2023-02-22", "X-Klaviyo-Revision-Fall-Forward-Opt-Out": "1"}, 410, "gone"),
    ],
)
def test_without_a_key_and_a_revision_nothing_is_answered(
    sandbox: Sandbox, headers: dict[str, str | None], status: int, code: str
) -> None:
    response = get(sandbox, "/api/metrics", headers)
    assert (response.status_code, error(response)["code"]) == (status, code)


@pytest.mark.parametrize("revision", ["2026-07-15", "2026-05-01", "2026-07-15.pre", "2023-02-22"])
def test_a_retired_revision_falls_forward(sandbox: Sandbox, revision: str) -> None:
    assert get(sandbox, "/api/metrics", {"revision": revision}).status_code == 200


def test_each_endpoint_needs_its_scope() -> None:
    with Sandbox(ACCOUNT, scopes=SCOPES - {"lists:read"}) as sandbox:
        assert get(sandbox, "/api/metrics").status_code == 200
        response = get(sandbox, "/api/lists")
    assert (response.status_code, error(response)["code"]) == (403, "permission_denied")


def test_unknown_paths_and_methods(sandbox: Sandbox) -> None:
    assert error(get(sandbox, "/api/v1/lists"))["code"] == "not_found"
    response = requests.post(f"{sandbox.url}/api/lists", timeout=5)
    assert error(response)["detail"] == 'Method "POST" not allowed.'


REFUSED = [
    ("/api/events?color=blue", "'color' is not an allowed parameter", {"parameter": "color"}),
    ("/api/events?sort=datetime&sort=-datetime", "only once", {"parameter": "query"}),
    ("/api/events?include=profiles", "'profiles' is not an allowed include", {"parameter": "include"}),
    ("/api/events?sort=uuid", "'uuid' is not an allowed sort", {"parameter": "sort"}),
    ("/api/events?fields[profile]=email,shoe", "'shoe' is not a valid field", {"parameter": "fields[profile]"}),
    ("/api/events?fields[list]=name", "not an allowed parameter", {"parameter": "fields[list]"}),
    ("/api/events?page[size]=1001", "between 1 and 1000", {"parameter": "page[size]"}),
    ("/api/events?page[size]=0", "between 1 and 1000", {"parameter": "page[size]"}),
    ("/api/lists?page[size]=11", "between 1 and 10", {"parameter": "page[size]"}),
    (
        "/api/metrics?page[size]=50",
        "'page_size' is not a valid field for the resource 'metric'.",
        {"pointer": "/data/attributes/page_size"},
    ),
    ("/api/events?page[cursor]=garbage", "Invalid cursor provided.", {"pointer": "/data/"}),
    ("/api/lists?page[cursor]=WzEsICJhIiwgdHJ1ZV0=", "Invalid cursor provided.", {"pointer": "/data/"}),
    ("/api/events?page[cursor]=bmV4dDo6aWQ6OmE=", "Invalid cursor provided.", {"pointer": "/data/"}),
    ("/api/campaigns", "'messages.channel' is required", {"parameter": "filter"}),
    ("/api/campaigns?filter=equals(archived,true)", "'messages.channel' is required", {"parameter": "filter"}),
    ('/api/campaigns?filter=equals(messages.channel,"fax")', "(got fax)", {"parameter": "filter"}),
    ('/api/events?filter=equals(metric_id,"XXXXXX")', "Metric IDs ['XXXXXX'] do not exist.", {"parameter": "filter"}),
]


@pytest.mark.parametrize(("path", "detail", "source"), REFUSED)
def test_parameters_are_strict(sandbox: Sandbox, path: str, detail: str, source: dict[str, str]) -> None:
    response = get(sandbox, path)
    assert response.status_code == 400
    assert detail in error(response)["detail"]
    assert error(response)["source"] == source


METRIC = metric_ids("open")[0]
TIME = "2026-06-01T00:00:00Z"
TAKEN = {
    "/api/events": [
        f'equals(metric_id,"{METRIC}")',
        f"equals(metric_id,'{METRIC}')",
        f'equals(metric_id,["{METRIC}"])',
        f'and(equals(metric_id,"{METRIC}"),greater-or-equal(datetime,{TIME}),less-than(datetime,{TIME}))',
        f'equals(metric_id,"{METRIC}"),greater-than(datetime,{TIME})',
        f'and(equals(metric_id,"{METRIC}"),and(less-or-equal(datetime,{TIME})))',
        "has(profile)",
        "has(metric)",
        "greater-or-equal(timestamp,1790000000)",
        "greater-or-equal(datetime,2026-01-01)",
        "greater-or-equal(datetime,2026-01-01T10:00:00)",
        "greater-or-equal(datetime,2026-01-01T10:00:00.5%2B00:00)",
        "less-than(datetime,2026-11-23T00:00:00Z)",
    ],
    "/api/campaigns": [CHANNEL, f'and({CHANNEL},any(status,["Sent","Draft"]),contains(name,"1"))'],
    "/api/lists": ['any(id,["a","b"])', 'equals(name,["a"])', f"greater-than(updated,{TIME})"],
    "/api/profiles": [
        'equals(email,"it\'s@mail.example")',
        'equals(email,"a\\"b@mail.example")',
        f'and(equals({SUPPRESSED}.reason,"HARD_BOUNCE"),greater-than({SUPPRESSED}.timestamp,{TIME}))',
    ],
}
NOT_TAKEN = {
    "/api/events": [
        "",
        "metric_id",
        f"equals(metric_id,{METRIC})",
        f'equals(metric_id,"{METRIC}"',
        f'equals(metric_id,"{METRIC}"))',
        f'equals("metric_id","{METRIC}")',
        f'or(equals(metric_id,"{METRIC}"),has(profile))',
        f'contains(metric_id,"{METRIC}")',
        'equals(uuid,"a")',
        "equals(metric_id)",
        "has(profile,true)",
        f'less-than(datetime,"{TIME}")',
        "less-than(datetime,yesterday)",
        "less-than(datetime,2026-13-01)",
        "less-than(datetime,2026-01-01T10:00:00+00:00)",
        "less-than(timestamp,2026-01-01)",
        "less-than(datetime,2026-11-23T00:00:01Z)",
        "greater-than(timestamp,1795392001)",
    ],
    "/api/campaigns": [f'and({CHANNEL},equals(archived,"true"))', f"and({CHANNEL},equals(created_at,{TIME}))"],
    "/api/lists": [f"greater-or-equal(created,{TIME})"],
    "/api/profiles": [
        f"less-or-equal(updated,{TIME})",
        'equals(subscriptions.email.marketing.list_suppressions.reason,"UNSUBSCRIBE")',
    ],
}


@pytest.mark.parametrize(("path", "text"), [(path, text) for path, texts in TAKEN.items() for text in texts])
def test_filters_that_are_taken(sandbox: Sandbox, path: str, text: str) -> None:
    response = get(sandbox, f"{path}?filter={text}")
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(("path", "text"), [(path, text) for path, texts in NOT_TAKEN.items() for text in texts])
def test_filters_that_are_not_taken(sandbox: Sandbox, path: str, text: str) -> None:
    response = get(sandbox, f"{path}?filter={text}")
    assert response.status_code == 400
    assert error(response)["source"] == {"parameter": "filter"}


def test_bounds_are_inclusive_or_strict_as_they_say(sandbox: Sandbox) -> None:
    first = ACCOUNT.resources("open", ACCOUNT.now)[0]["attributes"]["timestamp"]

    def count(operator: str) -> int:
        text = f'and(equals(metric_id,"{METRIC}"),{operator}(timestamp,{first}))'
        return len(ids(sandbox, "/api/events", filter=text))

    same = len(ACCOUNT.ledger(ACCOUNT.now, first, first + 1)["open"])
    assert same
    assert count("less-than") == 0
    assert count("less-or-equal") == same
    assert count("greater-or-equal") - count("greater-than") == same


# Pages


@pytest.mark.parametrize("stream", ["receive", "open", "clicked_sms", "mark_as_spam"])
@pytest.mark.parametrize("size", [7, 400, 1000])
def test_walking_a_timeline_gives_the_ledger(sandbox: Sandbox, stream: str, size: int) -> None:
    expected = set(ACCOUNT.ledger(ACCOUNT.now)[stream])
    size = max(size, len(expected) // 10)
    until = f"less-than(timestamp,{ACCOUNT.now})"
    found: list[str] = []
    for metric in metric_ids(stream):
        query = {"filter": f'and(equals(metric_id,"{metric}"),{until})', "page[size]": str(size)}
        ascending = ids(sandbox, "/api/events", sort="datetime", **query)
        assert ids(sandbox, "/api/events", sort="-datetime", **query) == ascending[::-1]
        found += ascending
    assert len(found) == len(expected)
    assert set(found) == expected


def test_a_page_is_ordered_by_second_and_id_and_its_cursor_is_the_last_of_both(sandbox: Sandbox) -> None:
    burst, _ = Counter(ACCOUNT.timeline.seconds).most_common(1)[0]
    text = f"greater-or-equal(timestamp,{burst})"
    response = get(sandbox, "/api/events", sort="timestamp", filter=text, **{"page[size]": "1000"})
    page = response.json()
    keys = [(event["attributes"]["timestamp"], event["id"]) for event in page["data"]]
    assert keys == sorted(keys)
    assert {second for second, _ in keys} == {burst}
    following = page["links"]["next"]
    path, _, cursor = following.rpartition("&page%5Bcursor%5D=")
    assert path == page["links"]["self"] == response.url
    assert json.loads(base64.b64decode(unquote(cursor))) == [burst, keys[-1][1], True]


def test_events_come_newest_first_and_metrics_by_id(sandbox: Sandbox) -> None:
    seconds = [event["attributes"]["timestamp"] for event in get(sandbox, "/api/events").json()["data"]]
    assert len(seconds) == 200
    assert seconds == sorted(seconds, reverse=True)
    metrics = ids(sandbox, "/api/metrics")
    assert metrics == sorted(metrics)
    assert len(metrics) > 200


def test_small_collections_are_complete(sandbox: Sandbox) -> None:
    ledger = ACCOUNT.ledger(ACCOUNT.now)
    assert ids(sandbox, "/api/lists", include="tags") == ledger["lists"]
    descending = ids(sandbox, "/api/lists", sort="-updated")
    assert descending == sorted(ledger["lists"], key=lambda each: (updated_of(each) or "", each), reverse=True)
    campaigns = [
        each
        for channel in ("email", "sms", "mobile_push")
        for archived in ("true", "false")
        for each in ids(
            sandbox,
            "/api/campaigns",
            filter=f'and(equals(messages.channel,"{channel}"),equals(archived,{archived}))',
        )
    ]
    assert sorted(campaigns) == [item.id for item in ACCOUNT.campaigns]
    # Only a later revision lists the others.
    assert set(campaigns) < set(ledger["campaigns"])
    assert len(list(pages(sandbox, "/api/campaigns", filter=CHANNEL))) > 1
    assert ids(sandbox, "/api/profiles", filter=f'equals(email,"{ledger["global_exclusions"][0]}")')


def updated_of(list_id: str) -> str | None:
    found: str | None = next(each.attributes["updated"] for each in ACCOUNT.lists if each.id == list_id)
    return found


def test_every_suppressed_profile_is_found_by_each_of_its_reasons(sandbox: Sandbox) -> None:
    found: dict[str, list[str]] = {}
    reasons = {"HARD_BOUNCE", "INVALID_EMAIL", "SPAM_COMPLAINT", "UNSUBSCRIBE", "USER_SUPPRESSED"}
    for reason in reasons:
        query = {"additional-fields[profile]": "subscriptions", "page[size]": "100"}
        for page in pages(sandbox, "/api/profiles", filter=f'equals({SUPPRESSED}.reason,"{reason}")', **query):
            for profile in page["data"]:
                suppression = profile["attributes"]["subscriptions"]["email"]["marketing"]["suppression"]
                assert reason in {each["reason"] for each in suppression}
                found.setdefault(profile["attributes"]["email"], []).append(reason)
    assert found.keys() == set(ACCOUNT.ledger(ACCOUNT.now)["global_exclusions"])
    assert {len(each) for each in found.values()} == {1, 2, 3}


def test_a_cursor_outlives_the_item_it_names() -> None:
    with Sandbox(ACCOUNT) as sandbox:
        first = get(sandbox, "/api/lists").json()
        gone = first["data"][-1]["id"]
        sandbox.account = ACCOUNT.without(list_ids=[gone])
        rest = get(sandbox, first["links"]["next"]).json()["data"]
    assert [each["id"] for each in rest] == ACCOUNT.ledger(ACCOUNT.now)["lists"][10:20]


def test_deletions() -> None:
    ledger = ACCOUNT.ledger(ACCOUNT.now)
    email = ledger["global_exclusions"][0]
    account = ACCOUNT.without(ledger["lists"][:3], ledger["campaigns"][:2], [email])
    after = account.ledger(ACCOUNT.now)
    assert after["lists"] == ledger["lists"][3:]
    assert after["campaigns"] == ledger["campaigns"][2:]
    assert after["global_exclusions"] == ledger["global_exclusions"][1:]


# What a page holds


def test_sparse_fieldsets_and_includes(sandbox: Sandbox) -> None:
    query = {"include": "profile,metric", "fields[profile]": "email,location.city", "fields[metric]": "name"}
    page = get(sandbox, "/api/events", **query).json()
    shapes = {(each["type"], *sorted(each["attributes"]), "relationships" in each) for each in page["included"]}
    assert shapes == {("profile", "email", "location", False), ("metric", "name", False)}
    assert {tuple(each["attributes"]["location"]) for each in page["included"] if each["type"] == "profile"} == {
        ("city",)
    }
    assert len({each["id"] for each in page["included"]}) == len(page["included"])
    event = get(sandbox, "/api/events", **{"fields[event]": "timestamp"}).json()["data"][0]
    assert event.keys() == {"type", "id", "attributes", "links"}
    assert get(sandbox, "/api/events").json().keys() == {"data", "links"}


def test_an_empty_page_has_an_empty_included(sandbox: Sandbox) -> None:
    page = get(sandbox, "/api/events", include="profile", filter="less-than(datetime,2001-01-01)").json()
    assert (page["data"], page["included"], page["links"]["next"]) == ([], [], None)


def test_tags_and_analytics_come_only_on_request(sandbox: Sandbox) -> None:
    plain, tagged = (get(sandbox, "/api/lists", **query).json() for query in ({}, {"include": "tags"}))
    assert {each["type"] for each in tagged["included"]} == {"tag"}
    assert not any("data" in each["relationships"]["tags"] for each in plain["data"])
    assert all("data" in each["relationships"]["tags"] for each in tagged["data"])
    query = {"additional-fields[profile]": "predictive_analytics"}
    assert (
        "churn_probability"
        in get(sandbox, "/api/profiles", **query).json()["data"][0]["attributes"]["predictive_analytics"]
    )
    assert (
        not {"predictive_analytics", "subscriptions"}
        & get(sandbox, "/api/profiles").json()["data"][0]["attributes"].keys()
    )


def test_resources_are_what_the_api_gives(sandbox: Sandbox) -> None:
    until = f'and(equals(metric_id,"{METRIC}"),less-than(timestamp,{ACCOUNT.now}))'
    query = {"sort": "datetime", "include": "profile,metric,attributions", "page[size]": "1000", "filter": until}
    page = get(sandbox, "/api/events", **query).json()
    included = {(each["type"], each["id"]): each for each in page["included"]}
    expected = ACCOUNT.resources("open", ACCOUNT.now, origin=sandbox.url)
    assert len(expected) == len(page["data"]) > 100
    for event, resource in zip(page["data"], expected, strict=True):
        assert event.items() <= resource.items()
        profile = (event["relationships"].get("profile") or {}).get("data") or {}
        assert resource["profile"] == included.get(("profile", profile.get("id")))
        assert resource["metric"] == included["metric", METRIC]
    tags = {each["id"]: each for each in get(sandbox, "/api/lists", include="tags").json()["included"]}
    resource = next(each for each in ACCOUNT.resources("lists", ACCOUNT.now, origin=sandbox.url)[:10] if each["tags"])
    assert all(tag == tags[tag["id"]] for tag in resource["tags"])


def test_the_data_have_what_real_data_have() -> None:
    names = [name for name in ACCOUNT.ledger(0) if name not in ("lists", "campaigns", "global_exclusions")]
    events = [event for name in names for event in ACCOUNT.resources(name, ACCOUNT.now)]
    named = [event for event in events if (event["relationships"].get("profile") or {}).get("data")]
    texts = [json.dumps(event["attributes"]["event_properties"]) for event in events]
    attributes = [event["attributes"] for event in events]
    assert len({event["id"] for event in events}) == len(events)
    assert {len(event["id"]) for event in events} == {11}
    assert [event for event in named if event["profile"] is None], "deleted profiles"
    assert [event for event in events if event["relationships"].get("profile", {"data": 1})["data"] is None], "null"
    assert [event for event in events if "profile" not in event["relationships"]], "no profile at all"
    assert [each for each in attributes if each["uuid"] is None]
    assert [each for each in attributes if each["event_properties"] is None]
    assert any("\\u0000" in text.replace("\\\\", "") for text in texts), "NUL"
    assert any("\\\\u0000" in text for text in texts), "the text of an escape"
    assert any("123456789012345678901234567890" in text for text in texts)
    integrations = [metric.kind.integration for metric in ACCOUNT.metrics]
    assert None in integrations
    assert any(each and isinstance(each["category"], dict) for each in integrations)
    assert len(metric_ids("clicked_sms")) == 2


def test_an_event_is_its_own_every_time() -> None:
    again = Account.build(events=3000, seed=5, burst=1100)
    assert again.ledger(ACCOUNT.now) == ACCOUNT.ledger(ACCOUNT.now)
    assert again.resources("click", ACCOUNT.now) == ACCOUNT.resources("click", ACCOUNT.now)
    assert Account.build(events=3000, seed=6, burst=1100).ledger(ACCOUNT.now) != ACCOUNT.ledger(ACCOUNT.now)


@pytest.mark.parametrize("events", [60, 600, 20_000])
def test_all_streams_have_rows_unless_they_are_absent(events: int) -> None:
    assert all(Account.build(events=events).ledger(ACCOUNT.now).values())
    account = Account.build(events=events, absent=("mark_as_spam",))
    assert [stream for stream, keys in account.ledger(ACCOUNT.now).items() if not keys] == ["mark_as_spam"]


def test_a_skewed_account_has_half_of_its_events_in_one_day() -> None:
    account = Account.build(events=4000, shape="skewed", burst=0)
    seconds = [second for second in account.timeline.seconds if second < account.now]
    days = Counter(second // 86_400 for second in seconds)
    best, _ = days.most_common(1)[0]
    # The day need not begin at midnight.
    assert days[best - 1] + days[best] + days[best + 1] > 0.45 * len(seconds)


def test_events_are_padded_to_a_size() -> None:
    account = Account.build(events=2000, event_bytes=6000)
    with Sandbox(account) as sandbox:
        body = get(sandbox, "/api/events", include="profile", **{"page[size]": "200"}).content
    assert 5000 < len(body) / 200 < 7000


# Time


def test_late_events_appear_when_time_passes_and_are_missed_behind_a_cursor() -> None:
    week = 7 * 86_400
    account = Account.build(events=3000, days=30)
    metric = next(each.id for each in account.metrics if each.kind.stream == "receive")
    text = f'and(equals(metric_id,"{metric}"),greater-or-equal(timestamp,{account.now - week}))'
    query = {"sort": "datetime", "page[size]": "50", "filter": f"{text},less-than(timestamp,{account.now})"}
    with Sandbox(account, limits=False) as sandbox:
        first = get(sandbox, "/api/events", **query).json()
        before = set(ids(sandbox, "/api/events", **query))
        sandbox.advance(week)
        behind = {each["id"] for page in pages(sandbox, first["links"]["next"]) for each in page["data"]}
        after = set(ids(sandbox, "/api/events", **query))
        assert get(sandbox, "/api/lists").headers["Date"] == "Mon, 30 Nov 2026 00:00:00 GMT"
    late = after - before
    assert before < after
    assert late == set(account.ledger(sandbox.now, account.now - week, account.now)["receive"]) - before
    missed = late - behind
    assert missed
    assert missed < late


def test_some_events_are_dated_to_the_future_and_there_already(sandbox: Sandbox) -> None:
    newest = get(sandbox, "/api/events").json()["data"][0]["attributes"]
    assert ACCOUNT.now + 60 * 86_400 < newest["timestamp"] < ACCOUNT.now + 366 * 86_400


# Rate limits


def test_a_burst_ends_with_its_second() -> None:
    time = [600.25]
    with Sandbox(ACCOUNT, clock=lambda: time[0]) as sandbox:
        burst = [get(sandbox, "/api/metrics") for _ in range(11)]
        other = get(sandbox, "/api/lists")
        time[0] = 601.0
        after = get(sandbox, "/api/metrics")
    assert [each.status_code for each in burst] == [200] * 10 + [429]
    assert burst[0].headers["RateLimit-Limit"] == "10, 10;w=1, 150;w=60"
    assert [each.headers["RateLimit-Remaining"] for each in burst[:10]] == [str(left) for left in range(9, -1, -1)]
    assert burst[-1].headers["Retry-After"] == "1"
    assert not [name for name in burst[-1].headers if name.lower().startswith("ratelimit")]
    assert error(burst[-1])["detail"] == "Request was throttled. Expected available in 1 second."
    assert (other.status_code, after.status_code) == (200, 200)


def test_a_minute_has_its_own_limit() -> None:
    time = [600.0]
    with Sandbox(ACCOUNT, clock=lambda: time[0]) as sandbox:
        for second in range(600, 615):
            time[0] = float(second)
            steady = get(sandbox, "/api/accounts")
        time[0] = 620.5
        refused = get(sandbox, "/api/accounts")
        time[0] = 660.0
        again = get(sandbox, "/api/accounts")
    assert steady.status_code == 200
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "40")
    assert (again.status_code, again.headers["RateLimit-Limit"]) == (200, "1, 1;w=1, 15;w=60")


def test_predictive_analytics_has_a_separate_limit() -> None:
    query = {"additional-fields[profile]": "predictive_analytics"}
    with Sandbox(ACCOUNT, clock=lambda: 60.0) as sandbox:
        assert get(sandbox, "/api/profiles").headers["RateLimit-Limit"] == "75, 75;w=1, 750;w=60"
        assert get(sandbox, "/api/profiles", **query).headers["RateLimit-Limit"] == "10, 10;w=1, 150;w=60"


# Transport


def test_gzip_is_for_those_who_accept_it(sandbox: Sandbox) -> None:
    plain = get(sandbox, "/api/events", {"Accept-Encoding": "identity"})
    packed = get(sandbox, "/api/events", {"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 4
    assert plain.json() == packed.json()
    assert plain.headers["Content-Type"] == "application/vnd.api+json"
    with Sandbox(ACCOUNT, gzip=False) as other:
        assert "Content-Encoding" not in get(other, "/api/events", {"Accept-Encoding": "gzip"}).headers


def test_requests_and_exchanges_are_recorded() -> None:
    with Sandbox(ACCOUNT, record=True, clock=lambda: 7.0) as sandbox:
        get(sandbox, "/api/lists?include=tags&page[size]=3")
        get(sandbox, "/api/lists?page[size]=4&include=tags")
        get(sandbox, "/api/nothing")
    first, second, third = sandbox.requests
    assert (first.method, first.path, first.query) == ("GET", "/api/lists", {"include": "tags", "page[size]": "3"})
    assert (first.status, second.status, third.status) == (200, 200, 404)
    assert (first.attempt, second.attempt, second.index, third.at) == (1, 2, 1, 7.0)
    assert first.headers["revision"] == "2026-07-15"
    exchange = sandbox.exchanges[0]
    assert exchange.url == sandbox.url + first.url
    assert exchange.response_headers["Content-Encoding"] == "gzip"
    assert len(json.loads(exchange.body)["data"]) == 3


def test_alone_it_prints_a_config_and_ends_quietly() -> None:
    command = [sys.executable, "-m", "tap_klaviyo.sandbox", "--events", "50", "--seed", "3", "--no-limits"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        config = json.loads(process.stdout.readline())
        headers = {"Authorization": f"Klaviyo-API-Key {config['api_key']}", "revision": "2026-07-15"}
        response = requests.get(f"{config['base_url']}/api/lists", headers=headers, timeout=5)
        process.send_signal(signal.SIGTERM)
        assert (process.wait(timeout=5), process.stdout.read(), process.stderr.read()) == (0, "", "")
    assert response.status_code == 200
    assert "RateLimit-Limit" not in response.headers
    assert config["start_date"] == "2025-11-23T00:00:00Z"
