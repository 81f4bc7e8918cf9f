"""`--verify`: events and counts by day, up to a bookmark; what differs, and what cannot be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo import config
from tap_klaviyo.cli import main
from tap_klaviyo.display import run_status
from tap_klaviyo.errors import AuthError, ConfigError, ScopeError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.reading.comparison import Difference
from tap_klaviyo.reading.hours import join_ranges
from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox, error_status
from tap_klaviyo.singer.given_state import read_state
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.times import format_time, parse_time
from tap_klaviyo.verify import Verdict, Verification, parse_days, verdicts_json
from tests.running import Time, catalog_of, hide_events, sync

COUNTS = "/api/metric-aggregates"
DAY = 86_400
BEGIN = 1_767_225_600


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=6000, seed=4)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


def verify(
    sandbox: Sandbox, *streams: str, state: Any = None, days: tuple[int, int] | None = None, **settings: Any
) -> list[Verdict]:
    clock = Time(sandbox.now).clock
    checked = config.check_settings({**sandbox.config, **settings})
    verification = Verification(Client(checked, clock), checked, clock)
    return list(verification.verdicts(read_catalog(catalog_of(*streams)), read_state(state), days))


def asked(sandbox: Sandbox, path: str) -> list[Request]:
    return [each for each in sandbox.requests if each.path == path]


def test_each_metric_of_each_event_stream_is_compared(sandbox: Sandbox) -> None:
    found = verify(sandbox, "receive", "unsubscribe", "lists")
    assert [each.stream for each in found] == ["receive", "unsubscribe", "unsubscribe"]
    assert all(each.is_good for each in found)
    rows = len(sandbox.account.ledger(sandbox.now - 5)["receive"])
    assert str(found[0]).startswith(f"ok       receive: {rows:,} events of Received Email (")
    assert sum(day.events for day in found[0].days) == sum(day.counted for day in found[0].days) == rows


def test_progress_of_a_comparison_does_not_mention_records(sandbox: Sandbox) -> None:
    clock, checked = Time(sandbox.now).clock, config.check_settings(sandbox.config)
    verification = Verification(Client(checked, clock), checked, clock)
    verdicts = verification.verdicts(read_catalog(catalog_of("receive", "events")), {})
    receive = next(verdicts).days
    place, rows, fetched, *_ = run_status(verification.progress, 5)
    compared = sum(day.events for day in receive)
    assert re.fullmatch(r"comparison 1 of 2: receive/\w+", place)
    assert rows == f"{compared:,} events compared"
    assert int(re.sub(r"\D", "", fetched)) >= compared
    for _ in verdicts:
        pass
    assert run_status(verification.progress, 5)[0] == "comparison 2 of 2: events"


def test_pages_hold_only_the_times_of_events(sandbox: Sandbox) -> None:
    verify(sandbox, "receive")
    assert all(each.query["fields[event]"] == "datetime,timestamp" for each in asked(sandbox, "/api/events"))
    assert not any("include" in each.query for each in asked(sandbox, "/api/events"))


@pytest.mark.slow
def test_all_events_are_compared_by_metric(sandbox: Sandbox) -> None:
    found = verify(sandbox, "events")
    assert all(each.is_good for each in found)
    assert len(found) > 20
    assert all(each.days for each in found)


def test_a_state_bounds_the_comparison_to_its_bookmarks(sandbox: Sandbox) -> None:
    whole = sync(sandbox, catalog=catalog_of("receive"), clock=Time(sandbox.now).clock)
    mark = whole.records("receive")[1000]["timestamp"]
    state = {"bookmarks": {"receive": {"timestamp": format_time(mark)}}}
    (found,) = verify(sandbox, "receive", "open", state=state)
    assert sum(day.events for day in found.days) == sum(each["timestamp"] <= mark for each in whole.records("receive"))
    assert found.is_good


def test_only_the_days_asked_for_are_read(sandbox: Sandbox) -> None:
    now = int(sandbox.now)
    days = (now // DAY * DAY - 3 * DAY, now // DAY * DAY - DAY)
    (found,) = verify(sandbox, "receive", days=days)
    assert {day.day for day in found.days} <= {format_time(each)[:10] for each in range(*days, DAY)}
    assert (len(asked(sandbox, "/api/events")), len(asked(sandbox, COUNTS))) == (1, 1)


def test_days_that_differ_are_read_again_and_named(sandbox: Sandbox) -> None:
    records = sync(sandbox, catalog=catalog_of("receive"), clock=Time(sandbox.now).clock).records("receive")
    day = records[200]["timestamp"] // DAY * DAY
    hide_events(sandbox, [records[200]["id"]])
    before = len(asked(sandbox, "/api/events"))
    (found,) = verify(sandbox, "receive")
    number = sum(each["timestamp"] // DAY * DAY == day for each in records)
    assert found.differences == [
        f"{format_time(day)[:10]}, Received Email ({records[0]['metric_id']}): {number - 1} read, {number} counted"
    ]
    assert str(found) == f"DIFFERS  receive: {found.differences[0]}"
    again = asked(sandbox, "/api/events")[before:][-1]
    assert format_time(day) in again.query["filter"]


@pytest.fixture
def small() -> Iterator[Sandbox]:
    with Sandbox(Account.build(events=900, seed=4), limits=False) as sandbox:
        yield sandbox


def test_events_behind_the_end_date_are_not_compared(small: Sandbox) -> None:
    end = int(small.now) // DAY * DAY - 5 * DAY
    (found,) = verify(small, "receive", end_date=format_time(end))
    assert found.is_good
    assert max(day.day for day in found.days) < format_time(end)[:10]


def test_bookmarks_of_other_taps_bound_the_comparison(small: Sandbox) -> None:
    mark = int(small.now) // DAY * DAY - 5 * DAY
    (found,) = verify(small, "receive", state={"bookmarks": {"received_email": {"since": format_time(mark)}}})
    assert max(day.day for day in found.days) <= format_time(mark)[:10]


def test_without_metrics_nothing_can_be_compared(small: Sandbox) -> None:
    small.faults = lambda request: error_status(403) if request.path == "/api/metrics" else None
    with pytest.raises(ScopeError):
        verify(small, "receive")


def test_a_refused_key_ends_the_comparison(small: Sandbox) -> None:
    small.faults = lambda request: error_status(401) if request.path == "/api/events" else None
    with pytest.raises(AuthError):
        verify(small, "receive")


def test_a_metric_whose_events_cannot_be_read_ends_no_other(small: Sandbox) -> None:
    (metric,) = [each.id for each in small.account.metrics if each.kind.stream == "receive"]
    small.faults = lambda request: (
        error_status(400) if request.path == "/api/events" and metric in request.query["filter"] else None
    )
    first, *others = verify(small, "receive", "unsubscribe")
    assert str(first).startswith("FAILS    receive: ")
    assert others
    assert all(each.is_good for each in others)


def test_an_event_that_cannot_be_read_fails_the_comparison(small: Sandbox) -> None:
    """The days behind it are not compared, so that they show no difference."""
    second = events_of(small, "receive")[-1]["timestamp"]

    def serve(request: Request) -> Fault | None:
        bounds = re.findall(r"\(datetime,([^)]+)\)", request.query.get("filter", ""))
        is_within = len(bounds) == 2 and parse_time(bounds[0]) <= second < parse_time(bounds[1])
        return error_status(500) if is_within and request.path == "/api/events" else None

    small.faults = serve
    (found,) = verify(small, "receive")
    assert str(found).startswith("FAILS    receive: ")
    assert format_time(second) in found.problem


def events_of(sandbox: Sandbox, *streams: str) -> list[dict[str, Any]]:
    return sync(sandbox, catalog=catalog_of(*streams), clock=Time(sandbox.now).clock).records(streams[0])


def test_only_the_metric_that_is_counted_but_not_returned_differs(small: Sandbox) -> None:
    """It is counted again without the others, in its own days."""
    days = int(small.now) // DAY * DAY - 6 * DAY, int(small.now)
    records = [each for each in events_of(small, "receive") if each["timestamp"] >= days[0]]
    hide_events(small, [each["id"] for each in records])
    before = len(asked(small, COUNTS))
    found = verify(small, "events", days=days)
    (bad,) = [each for each in found if not each.is_good]
    assert (bad.days[0].metric_id, len(found) > 1) == (records[0]["metric_id"], True)
    assert sum(day.counted for day in bad.days) == len([each for each in records if each["timestamp"] < days[1]])
    assert sum(day.events for day in bad.days) == 0
    metrics = [json.loads(each.body)["data"]["attributes"]["metric_id"] for each in asked(small, COUNTS)[before:]]
    assert set(metrics[len(set(metrics)) :]) == {records[0]["metric_id"]}


def test_metrics_that_are_only_read_differ(small: Sandbox) -> None:
    small.account = small.account.with_lag(4000 * DAY)
    found = verify(small, "events", days=(int(small.now) // DAY * DAY - 3 * DAY, int(small.now)))
    assert len(found) > 1
    assert all(each.differences and each.days for each in found)
    assert all(day.events and not day.counted for each in found for day in each.days)


def test_counts_that_were_behind_make_no_difference(small: Sandbox) -> None:
    whole, counted = small.account, []

    def serve(request: Request) -> Fault | None:
        if request.path == COUNTS:
            counted.append(request)
        small.account = whole.with_lag(2 * DAY if len(counted) < 2 else 0)
        return None

    small.faults = serve
    (found,) = verify(small, "receive")
    assert found.is_good
    assert len(counted) == 2


def test_many_days_that_differ_are_not_read_again(small: Sandbox) -> None:
    """Every third day lacks its events: these are too many ranges for late events to be the cause."""
    records = events_of(small, "receive")
    hide_events(small, [each["id"] for each in records if each["timestamp"] // DAY % 3 == 0])
    before = len(asked(small, "/api/events"))
    (found,) = verify(small, "receive")
    assert len(found.differences) > 10
    assert {each.query["filter"].count("greater") for each in asked(small, "/api/events")[before:]} == {1}
    assert len({each.query["filter"] for each in asked(small, "/api/events")[before:]}) == 1


def test_an_event_that_comes_in_between_makes_no_difference(sandbox: Sandbox) -> None:
    """It is not there when its page is read, but when Klaviyo counts."""
    records = sync(sandbox, catalog=catalog_of("receive"), clock=Time(sandbox.now).clock).records("receive")
    whole = sandbox.account
    sandbox.account = whole.without_events([records[200]["id"]])

    def serve(request: Request) -> Fault | None:
        if request.path == COUNTS:
            sandbox.account = whole
        return None

    sandbox.faults = serve
    (found,) = verify(sandbox, "receive")
    assert found.is_good
    assert sum(day.events for day in found.days) == len(records)


def test_days_without_counts_or_events_cannot_be_compared(sandbox: Sandbox) -> None:
    sandbox.faults = lambda request: error_status(403) if request.path == COUNTS else None
    (found,) = verify(sandbox, "receive")
    assert not found.is_good
    assert str(found).startswith("FAILS    receive: There are no counts to compare with. Klaviyo answers 403")
    sandbox.faults = lambda request: Fault("deny_metric") if request.path == "/api/events" else None
    (found,) = verify(sandbox, "receive")
    assert "but says that it does not exist" in found.problem


def test_nothing_to_compare_is_an_error(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError, match=r"only, but the selection has only lists, campaigns\.$"):
        verify(sandbox, "lists", "campaigns")
    with pytest.raises(ConfigError, match=r"Days count from start_date \(20..-..-..\) to the bookmark, or to now \(20"):
        verify(sandbox, "receive", days=(BEGIN - 4000 * DAY, BEGIN - 3999 * DAY))


def test_streams_that_are_not_compared_are_named(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    assert len(verify(sandbox, "lists", "receive")) == 1
    assert "--verify compares event streams only; it leaves out lists." in caplog.text


def test_all_days_are_listed_for_programs(sandbox: Sandbox) -> None:
    listed = json.loads(verdicts_json(verify(sandbox, "receive")))
    assert {"stream", "metric", "metric_id", "day", "events", "counted"} == listed[0].keys()
    assert sum(each["events"] for each in listed) == len(sandbox.account.ledger(sandbox.now - 5)["receive"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01", (BEGIN, BEGIN + DAY)),
        ("2026-01-01..2026-01-03", (BEGIN, BEGIN + 3 * DAY)),
        ("01/01/2026..2026-01-01", (BEGIN, BEGIN + DAY)),
    ],
)
def test_days_are_read(text: str, expected: tuple[int, int]) -> None:
    assert parse_days(text) == expected


@pytest.mark.parametrize("text", ["x", "2026-01-03..2026-01-01", "2026-01-01T05:00:00Z", "2026-01-01..", "..", "2026"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f'--verify takes a day .* not "{re.escape(text)}"'):
        parse_days(text)


def test_days_that_follow_each_other_are_one_range() -> None:
    days = [Difference("M", BEGIN + n * DAY, BEGIN + (n + 1) * DAY, 1, 2) for n in (0, 1, 1, 5)]
    assert join_ranges(sorted({(each.start, each.end) for each in days})) == [
        (BEGIN, BEGIN + 2 * DAY),
        (BEGIN + 5 * DAY, BEGIN + 6 * DAY),
    ]


def command(sandbox: Sandbox, folder: Path, *arguments: str) -> int:
    path = folder / "config.json"
    path.write_text(json.dumps({**sandbox.config, "start_date": format_time(int(sandbox.now) - 20 * DAY)}))
    path.chmod(0o600)
    mode = [] if "--verify" in arguments else ["--verify"]
    return main(["--config", str(path), *mode, "--quiet", *arguments])


def test_the_command_ends_with_0_if_all_is_equal(
    sandbox: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(sandbox, tmp_path, "--select", "receive") == 0
    assert capfd.readouterr().out.startswith("ok       receive: ")


def test_the_command_ends_with_1_if_a_day_differs(
    sandbox: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sandbox.account = sandbox.account.with_lag(10 * DAY)
    assert command(sandbox, tmp_path, "--select", "receive,unsubscribe") == 1
    shown = capfd.readouterr()
    assert shown.out.startswith("DIFFERS  receive: ")
    assert "comparisons failed or show a difference. docs/completeness.md explains the causes." in shown.err


def test_the_command_lists_all_days_as_json(
    sandbox: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(sandbox, tmp_path, "--select", "receive", "--format", "json") == 0
    assert json.loads(capfd.readouterr().out)[0]["stream"] == "receive"


def test_the_command_refuses_a_text_that_is_no_day(
    sandbox: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(sandbox, tmp_path, "--select", "receive", "--verify", "tomorrow") == 2
    assert "--verify" in capfd.readouterr().err
