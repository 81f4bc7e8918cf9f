"""Time: zones, wrong clocks, changes to and from summer time, events late, in bursts, or ahead of their time."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tap_klaviyo.sandbox import Account, Fault, Sandbox, Timeline, fail_first
from tap_klaviyo.streams.model import CORE
from tap_klaviyo.streams.table import STREAMS
from tap_klaviyo.times import parse_time
from tests.chaos.harness import Run, Target, as_sets, run, selected

HOUR, DAY = 3600, 86_400
TIMELINES = [stream.name for stream in STREAMS if stream.group == CORE and stream.replication_key]
ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Pago_Pago")


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that moves this host into a time zone until the test ends."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=700, seed=5)


def sync(sandbox: Sandbox, state: Any = None, **more: Any) -> Run:
    """Run the tap over the timelines."""
    return run(sandbox, state, selections=selected(TIMELINES), **more)


def ledger(sandbox: Sandbox, start: int | None = None) -> dict[str, set[str]]:
    """Return what the timelines have to hold."""
    found = sandbox.account.ledger(sandbox.now, start)
    return as_sets({name: found[name] for name in TIMELINES})


def last_state(result: Run) -> Any:
    return result.emitted[result.states[-1]].value


@pytest.mark.parametrize("date", ["2026-07-01T00:00:00Z", "2026-07-01T00:00:00", "2026-07-01", "07/01/2026"])
def test_dates_are_in_utc_whatever_the_hosts_zone_is(account: Account, in_zone: Any, date: str) -> None:
    start = parse_time("2026-07-01T00:00:00Z")
    states = []
    with Sandbox(account, limits=False) as sandbox:
        for zone in ZONES:
            in_zone(zone)
            result = sync(sandbox, start_date=date)
            assert as_sets(result.keys()) == ledger(sandbox, start), zone
            states.append(last_state(result))
    assert states == [states[0]] * len(ZONES)


@pytest.mark.parametrize("change", ["2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z"])
def test_nothing_is_lost_when_clocks_are_changed(in_zone: Any, change: str) -> None:
    in_zone("America/New_York")
    before = parse_time(change) - 2 * HOUR
    target = Target()
    with Sandbox(Account.build(events=400, seed=9, now=before, days=2), limits=False) as sandbox:
        for _ in range(6):
            result = sync(sandbox, target.state, lookback_days=7, api_revision="2025-10-15")
            target.load(result.emitted)
            assert result.problem is None
            assert target.keys() == ledger(sandbox)
            sandbox.advance(HOUR)


@pytest.mark.parametrize("wrong_by", [-HOUR, HOUR, -400 * DAY])
def test_klaviyos_clock_rules_where_the_hosts_is_wrong(account: Account, wrong_by: int) -> None:
    target = Target()
    with Sandbox(account, limits=False) as sandbox:
        for _ in range(2):
            result = sync(sandbox, target.state, wall=sandbox.now + wrong_by)
            assert result.problem is None
            assert all(mark < sandbox.now for marks in result.bookmarks() for mark in marks.values())
            target.load(result.emitted)
            assert target.keys() == ledger(sandbox)
            sandbox.advance(9 * HOUR)


@pytest.mark.parametrize("wrong_by", [-HOUR, 0, HOUR])
def test_without_a_date_header_the_hosts_clock_serves(account: Account, wrong_by: int) -> None:
    target = Target()
    with Sandbox(account, limits=False, faults=fail_first(10**9, Fault("no_date"))) as sandbox:
        result = sync(sandbox, wall=sandbox.now + wrong_by)
        target.load(result.emitted)
        assert (result.problem is None) == (wrong_by <= 0)
        assert wrong_by or target.keys() == ledger(sandbox)
        sandbox.faults = None
        target.load(sync(sandbox, target.state).emitted)
        assert target.keys() == ledger(sandbox)


@pytest.mark.parametrize(("stream", "metrics"), [("receive", 1), ("unsubscribe", 2), ("consented_to_receive", 3)])
def test_a_second_may_have_more_events_than_a_page(stream: str, metrics: int) -> None:
    crowd = Account.build(events=1500 * metrics, seed=2, burst=1300 * metrics, burst_stream=stream)
    with Sandbox(crowd, limits=False) as sandbox:
        result = run(sandbox, selections=selected([stream]))
        whole = crowd.ledger(sandbox.now)[stream]
        assert sorted(result.keys()[stream]) == sorted(whole)
        stamps = [each.record.timestamp for each in result.emitted if each.record and each.type == "RECORD"]
        assert max(Counter(stamps).values()) >= 1300 * metrics
        assert stamps == sorted(stamps, key=int)


@pytest.mark.parametrize("each", [2, 3, 7])
def test_a_dense_stretch_may_be_cut_within_a_second(account: Account, each: int) -> None:
    """A page ends between events of one second, and the rest of the stretch is cut into slices."""
    place = next(place for place, metric in enumerate(account.metrics) if metric.kind.stream == "receive")
    begin, count = account.now - 3 * HOUR, 5000
    seconds = array("q", (begin + number // each for number in range(count)))
    dense = replace(account, timeline=Timeline(seconds, array("B", [place] * count), {}), start=begin)
    with Sandbox(dense, limits=False, largest_page=100) as sandbox:
        result = run(sandbox, selections=selected(["receive"]))
        assert result.keys()["receive"] == dense.ledger(sandbox.now)["receive"]
        assert len({request.query.get("filter") for request in sandbox.requests}) > 2


def test_two_metrics_end_as_one_stream_in_order_of_time_with_one_bookmark(account: Account) -> None:
    with Sandbox(account, limits=False, largest_page=10) as sandbox:
        result = sync(sandbox)
    for name in ("unsubscribe", "sent_sms", "consented_to_receive"):
        stamps = [each.record.timestamp for each in result.emitted if each.record and each.stream == name]
        assert stamps == sorted(stamps, key=int)
        assert parse_time(last_state(result)["bookmarks"][name]["timestamp"]) == stamps[-1]


def test_future_dated_events_are_emitted_once_their_date_has_passed(account: Account) -> None:
    target = Target()
    with Sandbox(account, limits=False) as sandbox:
        horizon = sandbox.now + 365 * DAY
        ahead = {name: len(keys) for name, keys in account.ledger(horizon).items()}
        for _ in range(8):
            result = sync(sandbox, target.state)
            assert all(mark < sandbox.now for marks in result.bookmarks() for mark in marks.values())
            target.load(result.emitted)
            assert target.keys() == ledger(sandbox)
            sandbox.advance(60 * DAY)
        assert sum(map(len, target.keys().values())) >= sum(ahead[name] for name in TIMELINES)


def test_late_events_come_within_the_lookback_window_and_not_without(account: Account) -> None:
    held = {}
    for days in (0, 7):
        target = Target()
        with Sandbox(account, limits=False) as sandbox:
            for _ in range(16):
                target.load(sync(sandbox, target.state, lookback_days=days).emitted)
                sandbox.advance(12 * HOUR)
            target.load(sync(sandbox, target.state, lookback_days=days).emitted)
            held[days] = target.keys() == ledger(sandbox)
    assert held == {0: False, 7: True}
