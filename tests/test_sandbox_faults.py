"""Each fault of the sandbox is what a client sees, and schedules of faults can be repeated."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
import requests

from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox, faults

ACCOUNT = Account.build(events=600, seed=2)
EVENTS = "/api/events?page[size]=50&include=profile"


def get(sandbox: Sandbox, path: str = EVENTS, timeout: float = 5) -> requests.Response:
    headers = {"Authorization": f"Klaviyo-API-Key {sandbox.api_key}", "revision": "2026-07-15"}
    url = path if path.startswith("http") else sandbox.url + path
    return requests.get(url, headers=headers, timeout=timeout, allow_redirects=False)


def broken(fault: Fault, path: str = EVENTS) -> requests.Response:
    with Sandbox(ACCOUNT, faults=lambda _: fault) as sandbox:
        return get(sandbox, path)


def whole() -> dict[str, Any]:
    with Sandbox(ACCOUNT) as sandbox:
        found: dict[str, Any] = get(sandbox).json()
        return found


@pytest.mark.parametrize("code", [401, 403, 429, 500, 502, 503, 504, 520, 524])
def test_a_status_in_json(code: int) -> None:
    response = broken(faults.error_status(code, retry_after=7))
    assert (response.status_code, response.headers["Retry-After"]) == (code, "7")
    assert response.json()["errors"][0]["status"] == code
    assert "RateLimit-Limit" not in response.headers


def test_a_status_as_a_web_page() -> None:
    response = broken(faults.error_status(504, html=True))
    assert (response.status_code, "Retry-After" in response.headers) == (504, False)
    assert response.headers["Content-Type"].startswith("text/html")


def test_a_challenge() -> None:
    response = broken(Fault("challenge"))
    assert (response.status_code, response.headers["cf-mitigated"]) == (403, "challenge")


@pytest.mark.parametrize("kind", ["reset_before", "reset_headers", "reset_body", "cut_body", "cut_chunked"])
def test_a_connection_that_breaks(kind: Any) -> None:
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        broken(Fault(kind))


def test_a_request_reset_before_its_status_is_logged_without_one() -> None:
    with Sandbox(ACCOUNT, faults=faults.fail_first(1, Fault("reset_before"))) as sandbox:
        with pytest.raises(requests.ConnectionError):
            get(sandbox)
        assert get(sandbox).status_code == 200
    assert [(each.status, each.attempt) for each in sandbox.requests] == [(0, 1), (200, 2)]


@pytest.mark.parametrize("kind", ["cut_gzip", "cut_json", "html_200"])
def test_a_complete_answer_that_is_not_json(kind: Any) -> None:
    response = broken(Fault(kind))
    assert response.status_code == 200
    with pytest.raises(ValueError, match=r".*"):
        json.loads(response.content)


def test_links_and_resources_that_are_missing() -> None:
    page = broken(Fault("no_links")).json()
    assert "links" not in page
    assert 0 < len(page["data"]) < 50


def test_json_of_another_shape() -> None:
    page = broken(Fault("bad_shape")).json()
    assert not isinstance(page["data"], list)


@pytest.mark.parametrize(
    ("fault", "least"), [(Fault("slow", seconds=0.01, size=2000), 0.02), (Fault("stall", seconds=0.2), 0.2)]
)
def test_a_body_that_takes_its_time_is_complete(fault: Fault, least: float) -> None:
    began = time.monotonic()
    page = broken(fault).json()
    assert time.monotonic() - began >= least
    assert len(page["data"]) == 50


def test_a_sandbox_ends_at_once_though_a_body_stalls() -> None:
    began = time.monotonic()
    with (
        Sandbox(ACCOUNT, faults=lambda _: Fault("stall", seconds=60)) as sandbox,
        pytest.raises(requests.ConnectionError),
    ):
        get(sandbox, timeout=0.1)
    assert time.monotonic() - began < 5


def test_a_cursor_that_is_refused() -> None:
    assert broken(Fault("invalid_cursor")).status_code == 200
    with Sandbox(ACCOUNT) as sandbox:
        following = get(sandbox).json()["links"]["next"]
        sandbox.faults = lambda _: Fault("invalid_cursor")
        response = get(sandbox, following)
    assert response.json()["errors"][0]["detail"] == "Invalid cursor provided."


def test_a_metric_that_is_denied() -> None:
    metric = ACCOUNT.metrics[0].id
    response = broken(Fault("deny_metric"), f'/api/events?filter=equals(metric_id,"{metric}")')
    assert "do not exist" in response.json()["errors"][0]["detail"]
    assert broken(Fault("deny_metric")).status_code == 200


def test_pages_that_lead_astray() -> None:
    links = broken(Fault("loop")).json()["links"]
    assert links["next"] == links["self"]
    assert (
        broken(Fault("foreign", to="https://b.example"))
        .json()["links"]["next"]
        .startswith("https://b.example/api/events?page")
    )
    response = broken(Fault("redirect", to="https://b.example"), "/api/lists?include=tags")
    assert (response.status_code, response.headers["Location"]) == (
        302,
        "https://b.example/api/lists?include=tags",
    )


def test_an_item_that_comes_twice() -> None:
    with Sandbox(ACCOUNT, faults=lambda _: Fault("duplicate")) as sandbox:
        for path in (EVENTS, EVENTS + "&sort=datetime", "/api/lists"):
            page = get(sandbox, path).json()
            following = get(sandbox, page["links"]["next"]).json()
            assert following["data"][0] == page["data"][-1]
            assert following["data"][1]["id"] not in {each["id"] for each in page["data"]}


def test_a_huge_body() -> None:
    response = broken(Fault("huge", size=10**6))
    assert len(response.content) > 10**6
    assert len(response.json()["data"]) == 50


def test_a_refusal_that_repeats_the_key() -> None:
    response = broken(Fault("echo_key"))
    assert response.status_code == 400
    assert Sandbox.api_key in response.json()["errors"][0]["detail"]


def request(page: str, attempt: int = 1, index: int = 0) -> Request:
    return Request(index, attempt, "GET", page, {}, 0.0)


def test_a_seeded_schedule_knows_only_page_and_attempt() -> None:
    pages = [f"/api/events?page[size]=1000&n={number}" for number in range(300)]
    choose, again, other = faults.seeded_faults(1, 0.5), faults.seeded_faults(1, 0.5), faults.seeded_faults(2, 0.5)
    chosen = [choose(request(page)) for page in pages]
    assert chosen == [again(request(page, index=9)) for page in pages]
    assert chosen == [choose(request(page.replace("1000", "10"))) for page in pages]
    assert chosen != [other(request(page)) for page in pages]
    assert 100 < len(list(filter(None, chosen))) < 200
    assert set(chosen) - {None} == set(faults.PASSING)
    assert not any(choose(request(page, attempt=4)) for page in pages)
    assert not any(faults.seeded_faults(1, 0.0)(request(page)) for page in pages)
    assert all(faults.seeded_faults(1, 1.0)(request(page)) for page in pages)


def test_a_poisoned_page_comes_at_a_smaller_size() -> None:
    with Sandbox(ACCOUNT, faults=faults.time_out_above(100)) as sandbox:
        statuses = [get(sandbox, f"/api/events?page[size]={size}").status_code for size in (1000, 1000, 101, 100)]
        assert get(sandbox, "/api/events").status_code == 504
        assert get(sandbox, "/api/lists").status_code == 200
    assert statuses == [504, 504, 504, 200]


def test_faults_leave_no_trace_on_the_next_answer() -> None:
    expected = whole()
    with Sandbox(ACCOUNT) as sandbox:
        for fault in (*faults.PASSING, Fault("huge", size=100)):
            sandbox.faults = lambda _, fault=fault: fault
            with suppress(requests.RequestException):
                get(sandbox)
            sandbox.faults = None
            assert [each["id"] for each in get(sandbox).json()["data"]] == [each["id"] for each in expected["data"]]
