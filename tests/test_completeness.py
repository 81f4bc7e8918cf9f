"""The rows that the tap read, compared with Klaviyo's own counts: equal, more, fewer, or none at all."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tap_klaviyo import config
from tap_klaviyo.completeness import difference_line, differences_of, totals_line
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.comparison import (
    Counted,
    Difference,
    add_counts,
    compare_counts,
    counted_again,
    unread_metrics,
)
from tap_klaviyo.reading.hours import count_by_hour
from tap_klaviyo.reading.tally import Tally
from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox, error_status
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.streams.metric_streams import streams_with
from tap_klaviyo.sync import Sync
from tap_klaviyo.times import format_time
from tests.running import Run, Time, all_events, catalog_of, sync

PATH = "/api/metric-aggregates"
DAY, HOUR = 86_400, 3600
BEGIN = 1_767_225_600


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=6000, seed=4)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


def run_of(sandbox: Sandbox, *streams: str, state: Any = None, **settings: Any) -> Run:
    """Sync some streams on a clock that shows the sandbox's time, with all logs kept."""
    return sync(sandbox, state, catalog_of(*streams), clock=Time(sandbox.now).clock, **settings)


def questions(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [json.loads(each.body)["data"]["attributes"] for each in sandbox.requests if each.path == PATH]


def ids_of(account: Account, stream: str) -> list[str]:
    return [metric.id for metric in account.metrics if metric.kind.stream == stream]


@pytest.mark.parametrize("stream", ["receive", "open", "unsubscribe", "consented_to_receive", "mark_as_spam"])
def test_as_many_events_are_read_as_klaviyo_counts(
    sandbox: Sandbox, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    run = run_of(sandbox, stream, check_counts=True)
    rows = len(run.records(stream))
    assert f"{stream}: {rows:,} records; Klaviyo counts {rows:,}." in caplog.text
    assert (run.error, "differ" in caplog.text) == (None, False)
    assert sorted(run.keys()[stream]) == sorted(sandbox.account.ledger(sandbox.now - 5)[stream])


def test_a_range_that_was_planned_by_counts_is_compared_with_them(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    sandbox.account = Account.build(events=9000, seed=4)
    run = run_of(sandbox, "receive")
    rows = len(run.records("receive"))
    assert f"receive: {rows:,} records; Klaviyo counts {rows:,}." in caplog.text
    assert len(questions(sandbox)) == 1


def test_a_usual_run_is_compared_only_if_the_settings_say_so(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    first = run_of(sandbox, "receive")
    asked = len(questions(sandbox))
    caplog.clear()
    run_of(sandbox, "receive", state=first.state)
    assert (len(questions(sandbox)), "Klaviyo counts" in caplog.text) == (asked, False)
    checked = run_of(sandbox, "receive", state=first.state, check_counts=True)
    rows = len(checked.records("receive"))
    assert f"receive: {rows} records; Klaviyo counts {rows}." in caplog.text


@pytest.mark.slow
def test_all_events_are_compared_by_metric_as_far_as_klaviyo_lists_it(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    run = run_of(sandbox, "events", check_counts=True)
    records, listed = run.records("events"), sandbox.account.metric_places
    assert len(records) == len(all_events(sandbox.account, sandbox.now - 5))
    counted = sum(each["metric_id"] in listed for each in records)
    assert 0 < counted < len(records)
    assert f"events: {len(records):,} records; Klaviyo counts {counted:,} for {counted:,} of them." in caplog.text
    assert "differ" not in caplog.text


def test_all_events_are_not_counted_unless_the_settings_say_so(sandbox: Sandbox) -> None:
    assert run_of(sandbox, "events").records("events")
    assert questions(sandbox) == []


def test_metric_streams_are_compared(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    given = ["Placed Order"]
    streams = streams_with(sync_setting(given))
    catalog = {"streams": [entry for entry in catalog_with(given) if entry["stream"] == "placed_order"]}
    run = sync(
        sandbox,
        catalog=catalog,
        streams=streams,
        metric_streams=given,
        check_counts=True,
        clock=Time(sandbox.now).clock,
    )
    rows = len(run.records("placed_order"))
    assert rows
    assert f"placed_order: {rows} records; Klaviyo counts {rows}." in caplog.text


def sync_setting(given: Sequence[str]) -> Any:
    return config.read_setting("metric_streams", {"metric_streams": list(given)})


def catalog_with(given: Sequence[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = discover_catalog(streams_with(sync_setting(given)))["streams"]
    return found


def test_a_day_that_differs_is_counted_once_more_and_named(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """Klaviyo counts two events that it does not return: those of a page that it cut short."""
    whole = run_of(sandbox, "receive").records("receive")
    lost = whole[200:202]
    hidden = sandbox.account.without_events([each["id"] for each in lost])
    behind, asked = sandbox.account, len(questions(sandbox))

    def serve(request: Request) -> Fault | None:
        sandbox.account = behind if request.path == PATH else hidden
        return None

    sandbox.faults = serve
    caplog.clear()
    run = run_of(sandbox, "receive", check_counts=True)
    assert len(run.records("receive")) == len(whole) - 2
    (metric,) = ids_of(sandbox.account, "receive")
    days = {each["timestamp"] // DAY * DAY for each in lost}
    warning = next(each.getMessage() for each in caplog.records if "counts differ" in each.getMessage())
    assert warning.startswith("receive: Klaviyo's counts differ. ")
    assert f", Received Email ({metric}): " in warning
    assert len(re.findall(r"\d{4}-\d\d-\d\d, ", warning)) == len(days)
    assert "no longer returns" in warning
    again = questions(sandbox)[asked + 1 :]
    assert len(again) == 1
    assert run.error is None


def test_counts_that_are_a_few_seconds_behind_are_waited_for(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    crowd = Account.build(events=3000, seed=5, days=1)
    sandbox.account = crowd
    now, clock = sandbox.now, Time(sandbox.now)

    def serve(request: Request) -> Fault | None:
        sandbox.account = crowd.with_lag(0 if clock.now > now + 5 else 2 * HOUR)
        return None

    sandbox.faults = serve
    run = sync(sandbox, None, catalog_of("receive"), clock=clock.clock, check_counts=True)
    rows = len(run.records("receive"))
    assert f"receive: {rows:,} records; Klaviyo counts {rows:,}." in caplog.text
    assert "differ" not in caplog.text
    assert len(questions(sandbox)) == 2
    assert 10 <= clock.now - now <= 30


def test_counts_of_days_that_are_long_over_are_not_waited_for(sandbox: Sandbox) -> None:
    now, clock = sandbox.now, Time(sandbox.now)
    records = run_of(sandbox, "receive").records("receive")
    old = next(each["id"] for each in records if each["timestamp"] < now - 5 * DAY)
    whole = sandbox.account
    hidden = whole.without_events([old])

    def serve(request: Request) -> Fault | None:
        sandbox.account = whole if request.path == PATH else hidden
        return None

    sandbox.faults = serve
    sync(sandbox, None, catalog_of("receive"), clock=clock.clock, check_counts=True)
    assert clock.now - now < 10


def test_a_signal_ends_the_wait_for_counts(sandbox: Sandbox) -> None:
    """Nothing is being written while the tap waits, so it ends at once, with a state."""
    time, output = Time(sandbox.now), io.BytesIO()
    checked = config.check_settings({**sandbox.config, "check_counts": True})

    went_on = list[bool]()

    def end(_: float) -> None:
        tap.interrupt(KeyboardInterrupt())
        went_on.append(True)

    sandbox.account = sandbox.account.with_lag(DAY)
    client = Client(checked, time.clock)
    tap = Sync(client, checked, Writer(output), replace(time.clock, sleep=end))
    with pytest.raises(KeyboardInterrupt):
        tap.run(read_catalog(catalog_of("receive")), {})
    assert json.loads(output.getvalue().splitlines()[-1])["value"]["currently_syncing"] == "receive"
    assert not went_on


def test_a_signal_after_the_wait_for_counts_cuts_no_message_short(sandbox: Sandbox) -> None:
    time, waited = Time(sandbox.now), list[float]()
    checked = config.check_settings({**sandbox.config, "check_counts": True})

    class Interrupted(io.BytesIO):
        def write(self, data: Any, /) -> int:
            if waited:
                tap.interrupt(KeyboardInterrupt())
            return super().write(data)

    def wait(seconds: float) -> None:
        waited.append(seconds)

    output = Interrupted()
    sandbox.account = sandbox.account.with_lag(DAY)
    tap = Sync(Client(checked, time.clock), checked, Writer(output), replace(time.clock, sleep=wait))
    with pytest.raises(KeyboardInterrupt):
        tap.run(read_catalog(catalog_of("receive", "unsubscribe")), {})
    assert waited
    assert json.loads(output.getvalue().splitlines()[-1])["type"] == "STATE"


def test_counts_that_stay_behind_are_named_with_the_cause(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    sandbox.account = sandbox.account.with_lag(20 * DAY)
    run = run_of(sandbox, "receive", check_counts=True)
    assert run.error is None
    assert "can be minutes behind" in caplog.text
    assert re.search(r"; and \d+ more days\. ", caplog.text)


def test_nothing_is_written_twice_for_a_difference(sandbox: Sandbox) -> None:
    sandbox.account = sandbox.account.with_lag(20 * DAY)
    found = run_of(sandbox, "receive", check_counts=True).keys()["receive"]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("code", [400, 403, 500])
def test_counts_that_cannot_be_had_are_named_if_they_are_wanted(
    sandbox: Sandbox, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.faults = lambda request: error_status(code) if request.path == PATH else None
    run = run_of(sandbox, "receive", check_counts=True)
    assert run.error is None
    assert sorted(run.keys()["receive"]) == sorted(sandbox.account.ledger(sandbox.now - 5)["receive"])
    assert "receive: the records were not compared with Klaviyo's counts. Klaviyo " in caplog.text
    assert str(code) in caplog.text


def empty_events(request: Request) -> Fault | None:
    return Fault("empty_page") if request.path == "/api/events" else None


def test_an_empty_answer_of_all_events_is_an_error_after_the_first_count(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "events")
    assert questions(sandbox) == []
    sandbox.faults = empty_events
    second = run_of(sandbox, "events", state=first.state)
    assert second.error is not None
    assert second.state["bookmarks"] == first.state["bookmarks"]
    metrics = [each["metric_id"] for each in questions(sandbox)]
    assert len(metrics) == len(set(metrics)) + 1 < len(sandbox.account.metric_places)


@pytest.mark.parametrize("stream", ["receive", "unsubscribe"])
def test_an_empty_answer_where_klaviyo_counts_events_is_an_error(
    sandbox: Sandbox, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.faults = empty_events
    run = run_of(sandbox, stream)
    assert run.error is not None
    assert "but returned none" in caplog.text
    assert "differ" not in caplog.text
    assert run.state["bookmarks"] == {}
    sandbox.faults = None
    again = run_of(sandbox, stream, state=run.state)
    assert sorted(again.keys()[stream]) == sorted(sandbox.account.ledger(sandbox.now - 5)[stream])


def test_an_empty_answer_behind_a_bookmark_has_all_read_again(sandbox: Sandbox) -> None:
    first = run_of(sandbox, "receive")
    sandbox.faults = empty_events
    second = run_of(sandbox, "receive", state=first.state)
    assert second.error is not None
    assert second.state["bookmarks"]["receive"] == {**first.state["bookmarks"]["receive"], "metrics": []}
    sandbox.faults = None
    third = run_of(sandbox, "receive", state=second.state)
    assert sorted(set(third.keys()["receive"])) == sorted(first.keys()["receive"])


def test_a_stream_without_events_may_end_well(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    everything = all_events(sandbox.account, sandbox.now + 30 * DAY)
    sandbox.account = sandbox.account.without_events(everything)
    run = run_of(sandbox, "receive", "unsubscribe")
    assert run.error is None
    assert "receive: 0 records; Klaviyo counts 0." in caplog.text


def test_an_empty_week_without_a_bookmark_costs_no_counts(sandbox: Sandbox) -> None:
    everything = all_events(sandbox.account, sandbox.now + 30 * DAY)
    sandbox.account = sandbox.account.without_events(everything)
    run_of(sandbox, "receive", start_date=format_time(int(sandbox.now) - 7 * DAY))
    assert questions(sandbox) == []


def test_a_metric_that_returns_nothing_beside_another_is_an_error(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Two metrics feed the stream; all of one has gone from /events, though Klaviyo counts it."""
    whole = run_of(sandbox, "unsubscribe").records("unsubscribe")
    gone = whole[0]["metric_id"]
    behind = sandbox.account
    hidden = behind.without_events([each["id"] for each in whole if each["metric_id"] == gone])

    def serve(request: Request) -> Fault | None:
        sandbox.account = behind if request.path == PATH else hidden
        return None

    sandbox.faults = serve
    run = run_of(sandbox, "unsubscribe", check_counts=True)
    assert run.error is not None
    assert f"({gone}), but returned none" in caplog.text
    assert gone not in run.state["bookmarks"]["unsubscribe"]["metrics"]
    sandbox.faults, sandbox.account = None, behind
    again = run_of(sandbox, "unsubscribe", state=run.state)
    assert {each["id"] for each in again.records("unsubscribe")} >= {
        each["id"] for each in whole if each["metric_id"] == gone
    }


@pytest.mark.parametrize("settings", [{}, {"late_events": "recount", "recount_days": 30}])
def test_a_first_answer_of_one_metric_that_is_empty_beside_another_is_an_error(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, settings: dict[str, Any]
) -> None:
    """The stream has too few events for a plan by counts, and a recount counts none of the metric's old ones."""
    whole = run_of(sandbox, "unsubscribe").records("unsubscribe")
    gone = whole[0]["metric_id"]
    recent = [each["id"] for each in whole if each["timestamp"] > sandbox.now - 60 * DAY]
    sandbox.account = sandbox.account.without_events(recent)
    sandbox.requests.clear()
    sandbox.faults = lambda request: Fault("empty_page") if gone in request.query.get("filter", "") else None
    run = run_of(sandbox, "unsubscribe", **settings)
    assert run.error is not None
    assert f"({gone}), but returned none" in caplog.text
    assert "differ" not in caplog.text
    assert gone in {each["metric_id"] for each in questions(sandbox)}
    sandbox.faults = None
    again = run_of(sandbox, "unsubscribe", state=run.state, **settings)
    assert again.error is None
    assert {each["id"] for each in again.records("unsubscribe")} >= {
        each["id"] for each in whole if each["metric_id"] == gone and each["id"] not in recent
    }


def test_a_metric_without_events_beside_another_may_end_well(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    whole = run_of(sandbox, "unsubscribe").records("unsubscribe")
    gone = whole[0]["metric_id"]
    sandbox.account = sandbox.account.without_events([each["id"] for each in whole if each["metric_id"] == gone])
    run = run_of(sandbox, "unsubscribe")
    assert run.error is None
    assert f"unsubscribe: {len(run.records('unsubscribe'))} records." in caplog.text


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([], {}),
        ([BEGIN], {BEGIN: 1}),
        ([BEGIN + 3599, BEGIN + 3600, BEGIN], {BEGIN: 2, BEGIN + HOUR: 1}),
        ([BEGIN - 1, BEGIN - 1, BEGIN + 5 * HOUR], {BEGIN - HOUR: 2, BEGIN + 5 * HOUR: 1}),
    ],
)
def test_times_are_counted_by_hour(moments: list[int], expected: dict[int, int]) -> None:
    assert count_by_hour(moments) == expected


def counted(start: int, end: int, hours: dict[int, int], metric: str = "M") -> Counted:
    return Counted(metric, start, end, hours)


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        ({BEGIN: 3, BEGIN + DAY: 4}, []),
        ({BEGIN: 3}, [Difference("M", BEGIN + DAY, BEGIN + 2 * DAY - HOUR, 0, 4)]),
        # Within a day, an event may be an hour off: only days are compared.
        ({BEGIN + HOUR: 3, BEGIN + DAY: 4}, []),
        ({BEGIN: 3, BEGIN + DAY: 4, BEGIN + 2 * DAY: 9, BEGIN - DAY: 9}, []),
        ({BEGIN: 5, BEGIN + DAY: 2}, [
            Difference("M", BEGIN + 60, BEGIN + DAY, 5, 3),
            Difference("M", BEGIN + DAY, BEGIN + 2 * DAY - HOUR, 2, 4),
        ]),
    ],
)  # fmt: skip
def test_days_that_differ_are_found_within_the_counted_range(read: dict[int, int], expected: list[Difference]) -> None:
    counts = [counted(BEGIN + 60, BEGIN + 2 * DAY - HOUR, {BEGIN: 3, BEGIN + DAY: 4})]
    assert compare_counts({"M": read}, counts) == expected


def test_hours_behind_a_limit_are_not_compared() -> None:
    counts = [counted(BEGIN, BEGIN + DAY, {BEGIN: 3, BEGIN + 5 * HOUR: 1})]
    assert compare_counts({"M": {BEGIN: 3}}, counts, BEGIN + 5 * HOUR + 7) == []
    assert len(compare_counts({"M": {BEGIN: 3}}, counts, BEGIN + 6 * HOUR)) == 1


def test_a_stream_is_compared_up_to_the_limit_of_its_bookmark() -> None:
    """Behind a row that could not be read, events come with the next run."""
    tally = Tally(
        read={"M": Counter({BEGIN: 3})}, counted=[counted(BEGIN, BEGIN + DAY, {BEGIN: 3, BEGIN + 5 * HOUR: 1})]
    )
    assert len(differences_of(tally)) == 1
    tally.add(Batch(b"", 0, 0, bookmark_limit=BEGIN + 5 * HOUR))
    assert differences_of(tally) == []


def test_newer_counts_replace_those_of_their_hours_only() -> None:
    old = counted(BEGIN, BEGIN + 2 * DAY, {BEGIN: 3, BEGIN + DAY: 4, BEGIN + DAY + HOUR: 1})
    new = counted(BEGIN + DAY, BEGIN + 2 * DAY, {BEGIN + DAY: 5})
    assert add_counts([old], new) == [replace(old, hours={BEGIN: 3, BEGIN + DAY: 5})]
    other = counted(BEGIN, BEGIN + DAY, {}, "N")
    assert add_counts([old], other) == [old, other]
    # Of several ranges, only the one that has the newer range changes.
    assert add_counts([other, old], new) == [other, replace(old, hours={BEGIN: 3, BEGIN + DAY: 5})]


def test_the_hours_at_the_edges_of_a_range_are_compared_as_far_as_they_lie_in_it() -> None:
    hours = {BEGIN - HOUR: 1, BEGIN: 2, BEGIN + 2 * HOUR: 4, BEGIN + 3 * HOUR: 8}

    def compared(start: int, end: int) -> int:
        return sum(each.read for each in compare_counts({"M": hours}, [counted(start, end, {BEGIN: 100})]))

    assert compared(BEGIN, BEGIN + 3 * HOUR) == 2 + 4
    assert compared(BEGIN + 1, BEGIN + 2 * HOUR + 1) == 2 + 4
    assert compared(BEGIN - 1, BEGIN + 2 * HOUR) == 1 + 2


def test_a_metric_is_counted_again_from_its_first_day_that_differs_to_its_last() -> None:
    days = [Difference("M", BEGIN + day * DAY, BEGIN + (day + 1) * DAY, 0, 1) for day in (4, 1, 2)]
    other = Difference("N", BEGIN, BEGIN + DAY, 0, 1)
    assert counted_again([*days, other]) == [("M", BEGIN + DAY, BEGIN + 5 * DAY), ("N", BEGIN, BEGIN + DAY)]


def test_a_metric_is_unread_if_klaviyo_counts_events_and_none_came() -> None:
    counts = [counted(BEGIN, BEGIN + DAY, {BEGIN: 3}, name) for name in "MNO"] + [counted(BEGIN, BEGIN + DAY, {}, "P")]
    assert unread_metrics({"M": {BEGIN: 1}, "N": {BEGIN: 0}}, counts) == {"N": 3, "O": 3}


def test_lines_say_how_many_rows_were_compared() -> None:
    tally = Tally()
    assert totals_line(tally) == "0 records."
    tally.add(Batch(b"", 0, 1, read={"M": {BEGIN: 1}}))
    assert totals_line(tally) == "1 record."
    tally.add(Batch(b"", 0, 1000, read={"N": {BEGIN: 1000}}, counted=[counted(BEGIN, BEGIN + DAY, {BEGIN: 1002}, "N")]))
    assert totals_line(tally) == "1,001 records; Klaviyo counts 1,002 for 1,000 of them."
    tally.add(Batch(b"", 0, 4, read={"N": {BEGIN - HOUR: 1, BEGIN + DAY: 3}}))
    assert totals_line(tally) == "1,005 records; Klaviyo counts 1,002 for 1,000 of them."


def test_a_line_of_differences_is_bounded_and_names_both_causes() -> None:
    days = [
        Difference("M", BEGIN + day * DAY, BEGIN + (day + 1) * DAY, 1000, 1000 + day - 3) for day in (1, 2, 4, 5, 6, 7)
    ]
    line = difference_line(days, {"M": "Opened Email"})
    assert line.startswith(
        "Klaviyo's counts differ. 2026-01-02, Opened Email (M): 1,000 read, 998 counted; 2026-01-03, "
    )
    assert "; and 1 more day. Klaviyo may count events that it no longer returns" in line
    assert "Klaviyo's counts can be minutes behind" in line
    assert "2026-01-02, M: 1,000 read" in difference_line(days, {"M": ""})
