"""Klaviyo's counts of events: asked for where a range is long, and never trusted for what is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from tap_klaviyo import config
from tap_klaviyo.errors import UnavailableError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.reading.counts import count_events, read_counts
from tap_klaviyo.sandbox import Account, Request, Sandbox, error_status
from tests.running import Time, catalog_of, sync

PATH = "/api/metric-aggregates"
BEGIN, HOUR = 1_767_225_600, 3600
HOURS = ("2026-01-01T00:00:00", "2026-01-01T01:00:00")


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=9000, seed=4)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


def client_of(sandbox: Sandbox) -> Client:
    return Client(config.check_settings(sandbox.config), Time().clock)


def questions(sandbox: Sandbox) -> list[Request]:
    return [each for each in sandbox.requests if each.path == PATH]


def test_counts_are_those_of_the_events_by_hour(sandbox: Sandbox) -> None:
    records = sync(sandbox, catalog=catalog_of("receive")).records("receive")
    start, end = min(each["timestamp"] for each in records), max(each["timestamp"] for each in records) + 1
    found = count_events(client_of(sandbox), records[0]["metric_id"], start, end)
    assert dict(found) == dict(Counter(each["timestamp"] // 3600 * 3600 for each in records))


def test_a_range_of_years_is_asked_for_year_by_year(sandbox: Sandbox, account: Account) -> None:
    now = int(sandbox.now)
    metric = next(each.id for each in account.metrics if each.kind.stream == "receive")
    count_events(client_of(sandbox), metric, now - 800 * 86_400, now)
    filters = [json.loads(each.body)["data"]["attributes"]["filter"] for each in questions(sandbox)]
    assert len(filters) == 3
    assert [each[0].partition(",")[2] for each in filters[1:]] == [each[1].partition(",")[2] for each in filters[:-1]]


@pytest.mark.parametrize(("is_needed", "least", "most"), [(False, 0, 10), (True, 30, 120)])
def test_counts_are_given_up_soon_unless_the_user_wants_them(
    sandbox: Sandbox, is_needed: bool, least: int, most: int
) -> None:
    sandbox.faults = lambda request: error_status(503) if request.path == PATH else None
    time = Time()
    began = time.now
    client = Client(config.check_settings(sandbox.config), time.clock)
    with pytest.raises(UnavailableError):
        count_events(client, "MetricA", int(began) - 7200, int(began) - 3600, is_needed)
    assert least <= time.now - began <= most


def test_counts_that_have_to_wait_for_the_rate_limit_are_done_without(sandbox: Sandbox, account: Account) -> None:
    now = int(account.now)
    metric = next(each.id for each in account.metrics if each.kind.stream == "receive")
    client = client_of(sandbox)
    for _ in range(60):
        count_events(client, metric, now - 7200, now - 3600)
    with pytest.raises(UnavailableError, match="rate limit for counts"):
        count_events(client, metric, now - 7200, now - 3600)
    assert len(questions(sandbox)) == 60


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"dates":["2026-01-01T00:00:00Z","2026-01-01T01:00:00+00:00"],"data":[{"measurements":{"count":[1.0,2]}}]}',
            3,
        ),
        (
            b'{"dates":["2026-01-01T00:00:00Z"],"data":[{"measurements":{"count":[1]}},{"measurements":{"count":[4]}}]}',
            5,
        ),
        (b'{"dates":[],"data":[]}', 0),
    ],
)
def test_counts_of_all_rows_of_an_answer_add_up(body: bytes, expected: int) -> None:
    hours = body.count(b":00:00")
    assert sum(read_counts(b'{"data":{"attributes":%b}}' % body, BEGIN, BEGIN + hours * HOUR).values()) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"data":{"attributes":{"dates":["x"],"data":[{"measurements":{"count":[1]}}]}}}',
        b'{"data":{"attributes":{"dates":["2026-01-01"],"data":[{"measurements":{"count":[1,2]}}]}}}',
        b'{"data":{"attributes":{"dates":["2026-01-01"],"data":[{"measurements":{"count":[1e400]}}]}}}',
        b'{"data":{"attributes":{"dates":null,"data":[]}}}',
    ],
)
def test_an_answer_without_counts_is_an_error_in_words(body: bytes) -> None:
    with pytest.raises(UnavailableError, match="isn't a count of events"):
        read_counts(body, BEGIN, BEGIN + HOUR)


def answer_of(dates: Sequence[str], counts: Sequence[object]) -> bytes:
    attributes = {"dates": dates, "data": [{"measurements": {"count": counts}}]}
    return json.dumps({"data": {"attributes": attributes}}).encode()


@pytest.mark.parametrize(
    ("start", "dates", "counts"),
    [
        (BEGIN, ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"], [1, 2]),
        (BEGIN, ["2026-01-01T01:00:00Z", "2026-01-01T00:00:00Z"], [2, 1]),
        (BEGIN, ["2026-01-01T05:30:00+05:30", "2026-01-01T06:30:00+05:30"], [1, 2.0]),
        (BEGIN + 60, ["2026-01-01T00:01:00Z", "2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"], [1, 2, 0]),
        (BEGIN + 60, ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"], [1, 2]),
        # Hours that nobody asked for belong to another answer.
        (BEGIN, [f"{day}Z" for day in ("2025-12-31T23:00:00", *HOURS, "2026-01-01T02:00:00")], [7, 1, 2, 9]),
    ],
)
def test_counts_belong_to_their_hours(start: int, dates: list[str], counts: list[float]) -> None:
    found = read_counts(answer_of(dates, counts), start, BEGIN + 2 * HOUR)
    assert {hour: count for hour, count in found.items() if count} == {BEGIN: 1, BEGIN + HOUR: 2}


@pytest.mark.parametrize(
    ("dates", "counts"),
    [
        (["2026-01-01T00:30:00Z", "2026-01-01T01:30:00Z"], [1, 2]),
        (["2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"], [1, 2]),
        (["2026-01-01T00:00:00Z"], [1]),
        (["2026-01-01T01:00:00Z"], [1]),
        ([], []),
        (["2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"], [1, 1, 1]),
        (["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"], [-1, 1]),
        (["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"], [1e300, 1]),
        (["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"], [None, 1]),
        (["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"], ["1", 1]),
    ],
)
def test_counts_of_other_hours_or_of_no_events_are_an_error(dates: list[str], counts: list[object]) -> None:
    with pytest.raises(UnavailableError, match="isn't a count of events"):
        read_counts(answer_of(dates, counts), BEGIN, BEGIN + 2 * HOUR)


@pytest.mark.parametrize("lag", [0, 86_400 * 200, -86_400])
@pytest.mark.parametrize("stream", ["receive", "unsubscribe"])
def test_counts_do_not_decide_what_is_read(sandbox: Sandbox, stream: str, lag: int) -> None:
    whole = set(sandbox.account.ledger(sandbox.now)[stream])
    sandbox.account = sandbox.account.with_lag(lag)
    assert set(sync(sandbox, catalog=catalog_of(stream)).keys()[stream]) == whole


@pytest.mark.parametrize("code", [400, 403, 500, 429])
def test_a_stream_is_read_whole_without_counts(sandbox: Sandbox, code: int) -> None:
    whole = sync(sandbox, catalog=catalog_of("receive")).keys()
    assert questions(sandbox)
    sandbox.faults = lambda request: error_status(code) if request.path == PATH else None
    ended = sync(sandbox, catalog=catalog_of("receive"))
    assert (ended.error, ended.keys()) == (None, whole)


def test_a_usual_run_and_a_small_stream_ask_for_no_counts(sandbox: Sandbox) -> None:
    catalog = catalog_of("receive", "mark_as_spam")
    first = sync(sandbox, catalog=catalog)
    assert {json.loads(each.body)["data"]["attributes"]["metric_id"] for each in questions(sandbox)} == {
        first.records("receive")[0]["metric_id"]
    }
    asked = len(questions(sandbox))
    sync(sandbox, first.state, catalog)
    assert len(questions(sandbox)) == asked
