"""The client against each thing that goes wrong: what it tries again, for how long, and how it gives up."""

from __future__ import annotations

import json
import logging
import re
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo import config, log
from tap_klaviyo.errors import (
    AuthError,
    ConfigError,
    CursorError,
    OfflineError,
    RequestError,
    ScopeError,
    UnavailableError,
    UnreadablePageError,
)
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import EVENTS, LISTS, METRICS, Endpoint
from tap_klaviyo.klaviyo.pages import Pages
from tap_klaviyo.klaviyo.retries import Budget, Retries, TryAgainError
from tap_klaviyo.sandbox import (
    PASSING,
    SCOPES,
    Account,
    Fault,
    Request,
    Sandbox,
    error_status,
    fail_first,
    time_out_above,
)
from tap_klaviyo.times import Clock
from tests.canned import Answer, answering

KEY = Sandbox.api_key
PAST = {"filter": "less-than(datetime,2026-11-23T00:00:00Z)", "sort": "datetime"}


# A self-signed certificate for 127.0.0.1.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgoQrruw0fm2M3PSLR
/2m0bdvmP5HMD8A3yT4l0/F5rTihRANCAASVgdRafHqHWXwcoJfh50duqxv/CNAt
Oiy3WBNQnFunjmSvsARrzh8EioB0/vy2/QT8nDk1CqZZhIH6qWnXjRch
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkDCCATagAwIBAgIUA23i9fFVIA8rzcqqC5lSZC6iTDIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzIxNTM0NloYDzIxMjYxMDMw
MjE1MzQ2WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASVgdRafHqHWXwcoJfh50duqxv/CNAtOiy3WBNQnFunjmSvsARrzh8E
ioB0/vy2/QT8nDk1CqZZhIH6qWnXjRcho2QwYjAdBgNVHQ4EFgQUMXQ73geEh/VN
RT21nDUGJCTRnXIwHwYDVR0jBBgwFoAUMXQ73geEh/VNRT21nDUGJCTRnXIwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUC
IQDMKPwkga2IGpI2Kxc9ahDrGOqWEAUnhsbW3LK7bT0bVwIgaBGd4A5HY4R20zkq
kGgX6RfGMFpHcvEHXdZfD3t1OhE=
-----END CERTIFICATE-----
"""


class Time:
    """A clock that moves only by sleeping; it records the sleeps."""

    def __init__(self, wall: float = 1_795_392_000.0) -> None:
        self.wall, self.naps = wall, list[float]()

    @property
    def slept(self) -> float:
        return sum(self.naps)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.slept, self.naps.append, lambda: self.wall + self.slept)


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=3000, burst=1200)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


def client_of(origin: str, time: Time | None = None, max_concurrency: int = 16, **more: Any) -> Client:
    values = {"api_key": KEY, "base_url": origin, "start_date": "2026-01-01", "max_concurrency": max_concurrency}
    settings = config.check_settings(values)
    return Client(settings, (time or Time()).clock, **more)


def ids(client: Client, endpoint: Endpoint = LISTS, parameters: Mapping[str, str] = {"sort": "id"}) -> list[str]:
    pages, found = Pages(client, endpoint, parameters), list[str]()
    while not pages.ended:
        found += next_ids(pages)
    return found


def next_ids(pages: Pages) -> list[str]:
    with pages.next() as answer:
        return [resource.id for resource in answer.page.data]


def sizes(sandbox: Sandbox) -> list[int]:
    return [int(request.query["page[size]"]) for request in sandbox.requests]


def body(*names: str, following: str | None = None) -> bytes:
    data = [{"type": "list", "id": name, "attributes": {}} for name in names]
    return json.dumps({"data": data, "links": {"self": "", "next": following}}).encode()


ODD = (
    *(error_status(code, html=html) for code in (408, 429, 500, 501, 502, 503, 504) for html in (False, True)),
    *(error_status(code, html=True) for code in (520, 521, 522, 523, 524, 525, 530)),
    Fault("slow", size=400, seconds=0.001),
    Fault("stall", seconds=0.01),
)


@pytest.mark.parametrize("fault", [*PASSING, *ODD], ids=lambda fault: f"{fault.kind}-{fault.code}-{fault.html}")
@pytest.mark.parametrize("times", [1, 3])
def test_what_passes_is_tried_again_and_nothing_is_missing(sandbox: Sandbox, fault: Fault, times: int) -> None:
    sandbox.faults = fail_first(times, fault)
    ledger = sandbox.account.ledger(sandbox.now)["lists"]
    found = ids(client_of(sandbox.url))
    assert sorted(set(found)) == sorted(ledger)
    assert len(found) == len(ledger) or fault.kind in ("duplicate", "invalid_cursor")


@pytest.mark.parametrize(("header", "least", "most"), [("1", 1, 2), ("60", 60, 62), ("0", 0, 2)])
def test_retry_after_is_waited_for(sandbox: Sandbox, header: str, least: float, most: float) -> None:
    time = Time()
    sandbox.faults = lambda request: error_status(429, retry_after=header) if request.index == 0 else None
    next_ids(Pages(client_of(sandbox.url, time), METRICS, {}))
    assert least <= time.slept <= most


def test_a_wait_of_hours_ends_the_request_at_once_and_is_named(sandbox: Sandbox) -> None:
    time = Time()
    sandbox.faults = fail_first(99, error_status(429, retry_after=7200))
    with pytest.raises(UnavailableError, match=r"GET /api/lists: HTTP 429 .*try 1, .* It asks to wait 7\d\d\d s\. Run"):
        ids(client_of(sandbox.url, time))
    assert (time.slept, len(sandbox.requests)) == (0, 1)


@pytest.mark.parametrize("wrong_by", [-3600, 0, 3600])
def test_a_retry_after_that_is_a_date_is_meant_by_klaviyos_clock(wrong_by: int) -> None:
    now, time = 1_795_392_000, Time(wall=1_795_392_000 + wrong_by)
    busy = {"Date": formatdate(now, usegmt=True), "Retry-After": formatdate(now + 30, usegmt=True)}
    answers = iter([Answer(status=429, headers=busy), Answer(body("A"))])
    with answering(lambda _: next(answers)) as origin:
        assert ids(client_of(origin, time)) == ["A"]
    assert 30 <= time.slept <= 31


def test_a_retry_after_in_the_past_means_no_wait() -> None:
    now, time = 1_795_392_000, Time()
    busy = {"Date": formatdate(now, usegmt=True), "Retry-After": formatdate(now - 3600, usegmt=True)}
    answers = iter([Answer(status=429, headers=busy), Answer(body("A"))])
    with answering(lambda _: next(answers)) as origin:
        assert ids(client_of(origin, time)) == ["A"]
    assert all(0 <= nap <= 2 for nap in time.naps)


def test_a_request_that_is_throttled_holds_back_the_others_to_its_endpoint(sandbox: Sandbox) -> None:
    first_waits, second_waits, naps, now = threading.Event(), threading.Event(), list[float](), [0.0]

    def sleep(seconds: float) -> None:
        if not first_waits.is_set():
            first_waits.set()
            assert second_waits.wait(10)
        else:
            naps.append(seconds)
            second_waits.set()
        now[0] += seconds

    sandbox.faults = lambda request: error_status(429, retry_after=30) if request.index == 0 else None
    settings = config.check_settings({**sandbox.config})
    client = Client(settings, Clock(lambda: now[0], sleep, lambda: 0.0))
    with ThreadPoolExecutor(1) as threads:
        throttled = threads.submit(ids, client)
        assert first_waits.wait(10)
        ids(client, METRICS, {})
        assert naps == []
        ids(client)
        throttled.result(10)
    assert 29 <= naps[0] <= 34


def test_retries_last_minutes_with_jitter_and_end_in_a_sentence(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time()
    sandbox.faults = fail_first(999, error_status(503))
    with caplog.at_level("WARNING", "tap_klaviyo"), pytest.raises(UnavailableError) as ended:
        ids(client_of(sandbox.url, time))
    assert 300 <= time.slept <= 600
    assert len(set(time.naps)) == len(time.naps)
    # Three times, the last and the first list are asked for instead.
    assert len(time.naps) <= len(sandbox.requests) - 1 <= len(time.naps) + 6
    assert re.fullmatch(
        r"Klaviyo gave no usable answer to GET /api/lists: HTTP 503 \(A server error occurred; error id [\w-]+\) "
        r"\(try \d+, after \d+ s\)\. Run the tap again later\.",
        str(ended.value),
    )
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == len(time.naps)
    assert all(
        re.fullmatch(r"GET /api/lists: HTTP 503 \(.*\); trying again in \d+\.\d s \(try \d+\)\.", line)
        for line in lines
    )


def test_the_time_that_tries_take_counts_as_much_as_the_waits() -> None:
    time = Time()
    budget = Budget(Retries(total=100), time.clock, "GET /api/lists")
    budget.begin_try()
    assert budget.left == float("inf")
    time.naps.append(90)
    wait = budget.next_wait(TryAgainError("HTTP 503", 503))
    budget.begin_try()
    assert budget.left == pytest.approx(100 - 90 - wait)
    time.naps.append(20)
    with pytest.raises(UnavailableError, match=r"\(try 2, after 11\d s\)"):
        budget.next_wait(TryAgainError("HTTP 503", 503))
    budget.begin_try()
    assert budget.left == 1


@pytest.mark.parametrize("kind", ["reset_before", "reset_body", "cut_body", "cut_gzip", "html_200", "loop"])
def test_what_never_passes_ends_in_a_sentence(sandbox: Sandbox, kind: Any) -> None:
    sandbox.faults = fail_first(999, Fault(kind))
    with pytest.raises(UnavailableError, match=r"^Klaviyo gave no usable answer to GET /api/lists: .* \(try \d+"):
        ids(client_of(sandbox.url, retries=Retries(total=5)))


def test_a_web_page_in_the_place_of_an_answer_is_named(sandbox: Sandbox) -> None:
    sandbox.faults = fail_first(999, Fault("html_200"))
    with pytest.raises(UnavailableError, match=r'something that isn\'t a page \(a web page titled "Maintenance"\)'):
        ids(client_of(sandbox.url, retries=Retries(total=5)))


def test_a_cursor_that_is_always_refused_ends(sandbox: Sandbox) -> None:
    sandbox.faults = fail_first(999, Fault("invalid_cursor"))
    with pytest.raises(CursorError, match=r"Invalid cursor provided\."):
        ids(client_of(sandbox.url))
    assert len(sandbox.requests) == 18


def test_a_missing_scope_is_named_at_once(account: Account) -> None:
    with Sandbox(account, scopes=set(SCOPES) - {"lists:read"}) as sandbox:
        with pytest.raises(ScopeError, match=r"lacks the scope lists:read\."):
            ids(client_of(sandbox.url))
        assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (401, AuthError, "Check that api_key is"),
        (404, RequestError, "Klaviyo answers 404 to GET /api/lists"),
        (410, RequestError, "Set api_revision"),
    ],
)
def test_what_cannot_pass_is_not_tried_again(sandbox: Sandbox, code: int, error: type[Exception], words: str) -> None:
    sandbox.faults = fail_first(99, replace(error_status(code), html=code == 404))
    with pytest.raises(error, match=words):
        ids(client_of(sandbox.url))
    assert len(sandbox.requests) == 1


def test_a_page_that_cannot_be_had_is_asked_for_at_half_the_size_and_the_size_recovers(sandbox: Sandbox) -> None:
    sandbox.faults = time_out_above(100)
    pages = Pages(client_of(sandbox.url), EVENTS, PAST)
    assert len(next_ids(pages)) == 62
    assert sizes(sandbox) == [1000, 1000, 500, 250, 125, 62]
    sandbox.faults = None
    while not pages.ended:
        next_ids(pages)
    assert sizes(sandbox)[6:12] == [62, 124, 248, 496, 992, 1000]


def test_the_first_page_can_be_smaller_than_the_endpoint_allows(sandbox: Sandbox) -> None:
    pages = Pages(client_of(sandbox.url), LISTS, {"sort": "id"}, size=3)
    assert pages.reduced_size == 3
    assert [len(next_ids(pages)) for _ in range(3)] == [3, 6, 10]
    assert sizes(sandbox) == [3, 6, 10]
    assert pages.reduced_size is None


def test_after_a_smaller_page_the_first_failure_halves_the_size(sandbox: Sandbox) -> None:
    sandbox.faults = time_out_above(100)
    pages = Pages(client_of(sandbox.url), EVENTS, PAST)
    assert [len(next_ids(pages)) for _ in range(5)] == [62] * 5
    assert sizes(sandbox)[5:] == [62, 62, 124, 62, 62, 124, 62]


@pytest.mark.parametrize("code", [500, 502, 503, 504, 520, 521, 522, 523, 524])
def test_errors_of_klaviyo_and_of_cloudflare_before_it_make_a_page_smaller(sandbox: Sandbox, code: int) -> None:
    sandbox.faults = lambda request: error_status(code) if int(request.query["page[size]"]) > 500 else None
    assert len(next_ids(Pages(client_of(sandbox.url), EVENTS, PAST))) == 500
    assert sizes(sandbox) == [1000, 1000, 500]


@pytest.mark.parametrize("code", [408, 429])
def test_what_says_nothing_about_a_page_leaves_its_size(sandbox: Sandbox, code: int) -> None:
    sandbox.faults = fail_first(4, error_status(code))
    next_ids(Pages(client_of(sandbox.url), EVENTS, PAST))
    assert sizes(sandbox) == [1000] * 5


def test_a_page_that_never_has_links_is_the_last() -> None:
    with answering(lambda _: Answer(b'{"data":[{"type":"list","id":"a"}]}')) as origin:
        assert ids(client_of(origin)) == ["a"]


def listed(names: Sequence[str], following: str | None = None) -> Answer:
    data = [{"type": "list", "id": name} for name in names]
    return Answer(json.dumps({"data": data, "links": {"next": following}}).encode())


@pytest.mark.parametrize("times", [1, 3])
def test_an_empty_page_behind_one_that_names_it_is_asked_for_again(times: int) -> None:
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        if "cursor" not in path:
            return listed(["a"], f"{origin}/api/lists?page%5Bcursor%5D=x")
        return listed([] if len(asked) <= times + 1 else ["b"])

    with answering(answer) as origin:
        assert ids(client_of(origin)) == ["a", "b"]


def test_an_empty_page_behind_another_is_the_last_if_it_stays_empty(caplog: pytest.LogCaptureFixture) -> None:
    def answer(path: str) -> Answer:
        return listed([]) if "cursor" in path else listed(["a"], f"{origin}/api/lists?page%5Bcursor%5D=x")

    with answering(answer) as origin:
        assert ids(client_of(origin)) == ["a"]
    assert "GET /api/lists: a page is still empty although more was announced; treating it as the last." in caplog.text


def test_a_connection_that_is_lost_after_an_answer_without_a_date_is_retried_for_minutes() -> None:
    """Until Klaviyo has answered, the reason is on this side, and the run ends within seconds."""
    time = Time()

    def answer_once(_: str) -> Answer:
        return replace(listed(["a"], f"{origin}/api/lists?page%5Bcursor%5D=x"), headers={"Connection": "close"})

    with answering(answer_once) as origin:
        pages = Pages(client_of(origin, time), LISTS, {})
        with pages.next() as answer:
            assert answer.page.data
    with pytest.raises(UnavailableError) as ended, pages.next():
        pass
    assert not isinstance(ended.value, OfflineError)
    assert time.slept > 60


def test_a_first_page_that_is_empty_is_asked_for_once() -> None:
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        return listed([])

    with answering(answer) as origin:
        assert (ids(client_of(origin)), len(asked)) == ([], 1)


def test_pages_that_lead_back_to_an_earlier_one_end_in_a_sentence() -> None:
    """Three pages form a circle, which a hundred requests would leave."""
    places, asked = {"a": "b", "b": "c", "c": "a"}, list[str]()

    def answer(url: str) -> Answer:
        asked.append(url.partition("at=")[2][:1])
        following = f"{origin}/api/lists?at={places[asked[-1]]}"
        return Answer(body(asked[-1], following=following if len(asked) < 100 else None))

    with answering(answer) as origin:
        client = client_of(origin, retries=Retries(total=5))
        with pytest.raises(UnavailableError, match="next page leads back to an earlier one"):
            ids(client, LISTS, {"at": "a"})
    assert asked[:2] == ["a", "b"]
    assert set(asked[2:]) == {"c"}


def test_a_page_that_fails_at_every_size_is_unreadable_if_klaviyo_answers_other_requests(sandbox: Sandbox) -> None:
    fails, time = time_out_above(0), Time()
    sandbox.faults = lambda request: fails(request) if "filter" in request.query else None
    with pytest.raises(UnreadablePageError, match=r"cannot serve an item .*HTTP 50\d.*/api/events\?.*filter="):
        ids(client_of(sandbox.url, time), EVENTS, PAST)
    assert sizes(sandbox) == [1000, 1000, 500, 250, 125, 62, 31, 15, 7, 3, 1, 1, 1, 1, 1]
    assert "filter" not in sandbox.requests[-1].query
    assert time.slept <= 60
    sandbox.faults = time_out_above(1)
    assert len(next_ids(Pages(client_of(sandbox.url), EVENTS, PAST))) == 1


def test_a_small_largest_page_goes_down_to_one_item_as_well(sandbox: Sandbox) -> None:
    sandbox.faults = time_out_above(1, path="/api/lists")
    assert len(next_ids(Pages(client_of(sandbox.url), LISTS, {"sort": "id"}))) == 1


def test_an_endpoint_that_is_down_is_not_taken_for_an_item_that_cannot_be_rendered(sandbox: Sandbox) -> None:
    sandbox.faults = lambda request: error_status(500)
    with pytest.raises(UnavailableError) as ended:
        ids(client_of(sandbox.url), EVENTS, PAST)
    assert not isinstance(ended.value, UnreadablePageError)


def test_all_events_come_whatever_size_their_pages_can_be_had_at(sandbox: Sandbox) -> None:
    all_of_them = ids(client_of(sandbox.url), EVENTS, PAST)
    sandbox.faults = time_out_above(333)
    assert ids(client_of(sandbox.url), EVENTS, PAST) == all_of_them


def test_a_body_beyond_the_limit_is_not_read_and_asked_for_in_parts(sandbox: Sandbox) -> None:
    all_of_them = ids(client_of(sandbox.url), EVENTS, PAST)
    sandbox.requests.clear()
    assert ids(client_of(sandbox.url, body_limit=2**18), EVENTS, PAST) == all_of_them
    assert 1000 in sizes(sandbox)
    assert min(sizes(sandbox)) < 500
    sandbox.faults = fail_first(999, Fault("huge", size=8 * 2**20))
    with pytest.raises(UnavailableError, match="a body of more than 1 MiB"):
        ids(client_of(sandbox.url, body_limit=2**20, retries=Retries(total=5)))


def test_the_client_calls_back_after_each_page(sandbox: Sandbox) -> None:
    sandbox.faults = fail_first(1, error_status(503))
    told = list[int]()
    ids(client_of(sandbox.url, after_page=lambda: told.append(len(sandbox.requests))))
    assert told == [2, 4, 6]


class Held(logging.Handler):
    """Counts the bodies received but not used yet; a page is used once six are held, or the last one is here."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self.came, self.used, self.most, self.total = 0, 0, 0, total
        self.changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self.changed:
            self.came += "http_request_duration" in record.getMessage()
            self.most = max(self.most, self.came - self.used)
            self.changed.notify_all()

    def use(self, _: object) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.came - self.used >= 6 or self.came == self.total, timeout=10)
            self.used += 1


def lend(client: Client, url: str, held: Held) -> None:
    with client.page(LISTS, url, 10) as answer:
        held.use(answer)


def test_six_bodies_are_in_memory_at_once_and_the_others_wait(sandbox: Sandbox) -> None:
    client, held = client_of(sandbox.url), Held(total=48)
    level = log.logger.level
    log.logger.addHandler(held)
    log.logger.setLevel(logging.DEBUG)
    try:
        with ThreadPoolExecutor(16) as threads:
            url = client.url(LISTS, {"sort": "id"})
            list(threads.map(lambda _: lend(client, url, held), range(held.total)))
    finally:
        log.logger.setLevel(level)
        log.logger.removeHandler(held)
    assert (held.most, held.used) == (6, held.total)


def test_no_more_requests_are_under_way_than_the_setting_allows() -> None:
    lock, third, under_way, most = threading.Lock(), threading.Event(), 0, 0

    def answer(_: str) -> Answer:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        third.wait(0.2)
        with lock:
            under_way -= 1
        return Answer(body("a"))

    with answering(answer) as origin, ThreadPoolExecutor(6) as threads:
        client = client_of(origin, max_concurrency=2)
        assert [found for (found,) in threads.map(lambda _: ids(client), range(6))] == ["a"] * 6
    assert most == 2


def test_a_client_that_is_closed_does_not_try_again(sandbox: Sandbox) -> None:
    client = client_of(sandbox.url)

    def close(_: Request) -> Fault:
        client.close()
        return error_status(503)

    sandbox.faults = close
    with pytest.raises(UnavailableError, match=r"^The run has ended\.$"):
        ids(client)
    assert len(sandbox.requests) == 1


def test_a_page_is_given_up_when_its_block_ends(sandbox: Sandbox) -> None:
    client = client_of(sandbox.url)
    with client.page(EVENTS, client.url(EVENTS, {"include": "profile"}), 10) as answer:
        assert len(answer.page.data) == 10
        assert answer.page.included
    assert (answer.page.data, answer.page.included) == ([], [])


def test_one_page_is_lent_at_a_time(sandbox: Sandbox) -> None:
    client, entered = client_of(sandbox.url), threading.Event()

    def lend_another() -> None:
        with client.page(LISTS, client.url(LISTS, {"sort": "id"}), 10):
            entered.set()

    with ThreadPoolExecutor(1) as threads:
        with client.page(LISTS, client.url(LISTS, {"sort": "name"}), 10):
            other = threads.submit(lend_another)
            assert not entered.wait(0.5)
            assert len(sandbox.requests) == 2
        other.result(10)
    assert entered.is_set()


def test_a_body_that_never_ends_is_cut_off_by_the_timeout(sandbox: Sandbox) -> None:
    ticks = iter(range(10**6))
    sandbox.faults = fail_first(1, Fault("slow", size=100, seconds=0.001))
    clock = Clock(lambda: next(ticks) * 100.0, lambda _: None, lambda: 0.0)
    settings = config.check_settings({**sandbox.config, "request_timeout": 300})
    assert len(ids(Client(settings, clock, Retries(total=1e9)))) == 25
    assert len(sandbox.requests) > 3


@pytest.mark.parametrize("fault", [Fault("echo_key"), error_status(400), Fault("redirect")], ids=lambda each: each.kind)
def test_the_key_is_in_no_error_and_no_log(sandbox: Sandbox, fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    sandbox.faults = fail_first(99, fault)
    with caplog.at_level("DEBUG"), pytest.raises(RequestError) as refusal:
        ids(client_of(sandbox.url))
    said = f"{refusal.value} {refusal.value!r} {refusal.value.args} {caplog.text}"
    assert KEY not in said
    assert "pk_***" in said or fault.kind != "echo_key"
    assert KEY not in repr(config.check_settings(sandbox.config))


def test_the_key_goes_to_no_other_origin(account: Account, sandbox: Sandbox) -> None:
    with Sandbox(account) as other:
        sandbox.faults = fail_first(99, Fault("redirect", to=other.url))
        with pytest.raises(RequestError):
            ids(client_of(sandbox.url, retries=Retries(total=2)))
        assert other.requests == []


def test_behind_a_gateway_the_next_page_is_asked_for_there(account: Account, sandbox: Sandbox) -> None:
    """The links name Klaviyo itself; their path and query are followed at base_url, and the key goes nowhere else."""
    with Sandbox(account) as klaviyo:
        sandbox.faults = fail_first(2, Fault("foreign", to=klaviyo.url))
        assert sorted(ids(client_of(sandbox.url))) == sorted(sandbox.account.ledger(sandbox.now)["lists"])
        assert klaviyo.requests == []


@pytest.mark.parametrize(
    "following",
    [
        "//127.0.0.1:1/api/lists",
        "http://user@127.0.0.1:1/",
        "http://127.0.0.1:1\\@{host}/api/lists",
        "http://127.0.0.1:1#@{host}/",
        "http://[::1",
        "http://{host}:99999999/",
        "ftp://{host}/api/lists",
        "javascript:alert(1)",
    ],
)
def test_a_next_page_at_no_proper_place_is_not_followed(following: str) -> None:
    asked = list[str]()

    def answer(url: str) -> Answer:
        asked.append(url)
        return Answer(body("A", following=following.replace("{host}", origin.removeprefix("http://"))))

    with answering(answer) as origin, pytest.raises(Exception, match=r"Klaviyo|origin") as ended:
        ids(client_of(origin, retries=Retries(total=1)))
    assert isinstance(ended.value, UnavailableError) or "an origin other than base_url" in str(ended.value)
    assert all(url.startswith("/api/lists?") for url in asked)


def test_a_proxy_of_the_environment_does_not_see_a_key_that_is_not_encrypted(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[str]()
    with answering(lambda url: seen.append(url) or Answer(body("A"))) as proxy:  # type: ignore[func-returns-value]
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        assert len(ids(client_of(sandbox.url))) == 25
    assert seen == []


@pytest.mark.parametrize(
    "url", ["http://a.klaviyo.com", "http://10.0.0.1", "http://127.0.0.1.example.com", "ftp://127.0.0.1"]
)
def test_plain_http_is_refused_off_loopback(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url must be an origin"):
        client_of(url)


@pytest.mark.parametrize(
    "headers",
    [
        {
            "RateLimit-Reset": "9" * 5000,
            "RateLimit-Remaining": "0",
            "RateLimit-Limit": "1, " + "9" * 5000 + ";w=1, 7;w=60",
        },
        {"RateLimit-Limit": "0, 0;w=1, 0;w=60"},
        {"Date": "Mon, 23 Nov 99999999999999999999 10:00:00 GMT", "Retry-After": "soon"},
        {"Date": "", "Retry-After": "-1", "Content-Type": "\x80"},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br, zstd, gzip"},
    ],
)
@pytest.mark.parametrize("code", [200, 429])
def test_hostile_headers(headers: Mapping[str, str], code: int) -> None:
    answers = iter([Answer(body("A"), code, headers)] * 2)
    with answering(lambda _: next(answers, Answer(body("A")))) as origin:
        assert ids(client_of(origin)) == ["A"]


def test_the_time_is_that_of_the_date_header_in_utc() -> None:
    dates = (
        "Mon, 23 Nov 2026 10:00:00 GMT",
        "Mon, 23 Nov 2026 10:00:00 -0000",
        "Mon, 23 Nov 2026 12:00:00 +0200",
        "",
        "soon",
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Wed, 31 Dec 1969 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    )
    answers = iter([Answer(body(), headers={"Date": date}) for date in dates])
    with answering(lambda _: next(answers)) as origin:
        times = list[int | None]()
        for _ in dates:
            with Pages(client_of(origin), LISTS, {}).next() as answer:
                times.append(answer.server_time)
    assert times == [1795428000] * 3 + [None] * 5


@pytest.mark.parametrize("setting", [{}, {"verify": False}, {"verify_ssl": "false"}])
def test_an_untrusted_certificate_is_refused(tmp_path: Path, setting: Mapping[str, Any]) -> None:
    (tmp_path / "server.pem").write_text(CERTIFICATE)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    asked = list[str]()
    with answering(lambda url: asked.append(url) or Answer(body("A")), tls) as origin:  # type: ignore[func-returns-value]
        settings = config.check_settings({"api_key": KEY, "base_url": origin, "start_date": "2026-01-01", **setting})
        with pytest.raises(UnavailableError, match=r"the TLS certificate of 127\.0\.0\.1:\d+ cannot be verified"):
            ids(Client(settings, Time().clock))
    assert asked == []
