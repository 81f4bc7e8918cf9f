"""Pacing on a simulated clock, against fixed windows of any phase."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from tap_klaviyo.klaviyo.endpoints import (
    CAMPAIGNS,
    EVENTS,
    LISTS,
    METRICS,
    PROFILES_BY_UPDATE,
    REPORTING,
    SEGMENTS,
    XL,
    XS,
    Endpoint,
    Limit,
    M,
)
from tap_klaviyo.klaviyo.ratelimit import Pacer, RateLimits
from tap_klaviyo.times import Clock


class Time:
    """A clock that moves only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep, lambda: self.now)


def starts(pacer: Pacer, time: Time, count: int) -> list[float]:
    """Return when each of `count` requests starts."""
    moments = []
    for _ in range(count):
        pacer.wait()
        moments.append(time.now)
    return moments


def fullest(moments: list[float], window: float, phase: float) -> int:
    return max(Counter(int((moment - phase) // window) for moment in moments).values())


@pytest.mark.parametrize("endpoint", [EVENTS, LISTS, CAMPAIGNS, METRICS, Endpoint(path="/x", scopes=("x",), limit=XS)])
def test_no_window_of_any_phase_is_overfull_and_the_limit_is_used(endpoint: Endpoint) -> None:
    time = Time()
    moments = starts(Pacer(endpoint.limit, time.clock), time, endpoint.limit.steady * 4)
    for tenth in range(10):
        assert fullest(moments, 60, tenth * 6) <= endpoint.limit.steady
        assert fullest(moments, 1, tenth / 10) <= endpoint.limit.burst
    assert len(moments) / (moments[-1] - moments[0]) >= endpoint.limit.steady / 60 * 0.9


def test_events_reach_nineteen_twentieths_of_their_limit() -> None:
    time = Time()
    moments = starts(Pacer(EVENTS.limit, time.clock), time, 35_000)
    assert 35_000 / (moments[-1] - moments[0]) >= 3500 / 60 * 0.95


def test_half_a_million_profiles_reach_nineteen_twentieths_of_their_limit() -> None:
    """5,000 pages of 100: six minutes' worth of 750 requests, and 500 that the seventh minute takes in a burst."""
    time = Time()
    moments = starts(Pacer(PROFILES_BY_UPDATE.limit, time.clock), time, 500_000 // 100)
    assert 4500 / (moments[4500] - moments[0]) >= 750 / 60 * 0.95
    assert moments[-1] - moments[4500] < 8


def test_a_burst_waits_for_nothing() -> None:
    time = Time()
    assert starts(Pacer(CAMPAIGNS.limit, time.clock), time, 10) == [1000.0] * 10


def test_twelve_thousand_campaigns_take_what_the_windows_allow() -> None:
    """120 requests at 10 a second and 150 a minute: twelve bursts, the last of which starts 11 windows later."""
    time = Time()
    moments = starts(Pacer(CAMPAIGNS.limit, time.clock), time, 120)
    assert moments[-1] - moments[0] == pytest.approx(11 * 1.05)


def test_the_limit_of_a_day_holds() -> None:
    time = Time()
    moments = starts(Pacer(REPORTING, time.clock), time, 500)
    assert fullest(moments, 86_400, 0) <= 225
    assert fullest(moments, 86_400, 43_200) <= 225


class FixedWindows:
    """Klaviyo's counting of one endpoint's requests, whoever sends them."""

    def __init__(self, limit: Limit) -> None:
        self.allowed = {1: limit.burst, 60: limit.steady}
        self.used = Counter[tuple[int, int]]()

    def count(self, now: float) -> dict[str, str] | None:
        """Return the headers of an answer at a moment, None for a refusal."""
        windows = [(length, int(now // length)) for length in self.allowed]
        if any(self.is_full(length, now) for length in self.allowed):
            return None
        self.used.update(windows)
        left, length = min((self.allowed[each[0]] - self.used[each], each[0]) for each in windows)
        return {"RateLimit-Remaining": str(left), "RateLimit-Reset": str(int(length - now % length))}

    def is_full(self, length: int, now: float) -> bool:
        """Return whether the window of this length around a moment is full."""
        return self.used[length, int(now // length)] >= self.allowed[length]

    def retry_after(self, now: float) -> float:
        """Return the seconds until all windows are open again."""
        return max(length - now % length for length in self.allowed if self.is_full(length, now))


@pytest.mark.parametrize("share", [2, 3, 5])
def test_another_program_that_spends_the_same_limit_costs_no_request(share: int) -> None:
    """Another program sends a request before every `share`-th of ours; all of ours are answered in the end."""
    time, server, answered = Time(), FixedWindows(M), 0
    refused = 0
    pacer = Pacer(M, time.clock)
    while answered < 600:
        if answered % share == 0:
            server.count(time.now)
        pacer.wait()
        time.sleep(0.01)
        headers = server.count(time.now)
        if headers is None:
            refused += 1
            pacer.pause(server.retry_after(time.now))
        else:
            pacer.observe(headers)
            answered += 1
    assert refused <= 600 * 0.1
    assert time.now - 1000 <= 60 * 600 * (1 + 1 / share) / M.steady + 70


def test_a_pause_holds_everyone_back() -> None:
    time = Time()
    pacer = Pacer(XL, time.clock)
    pacer.pause(30)
    pacer.pause(5)
    assert pacer.wait() == 30


def test_the_accounts_own_limits_are_learnt_from_the_headers() -> None:
    time = Time()
    pacer = Pacer(XL, time.clock)
    pacer.observe({"RateLimit-Limit": "10, 10;w=1, 60;w=60", "RateLimit-Remaining": "9", "RateLimit-Reset": "0"})
    moments = starts(pacer, time, 240)
    assert fullest(moments, 60, 0) <= 60


@pytest.mark.parametrize(("reset", "seconds"), [("12", 12), ("0", 1), ("7200", 60)])
def test_a_window_that_is_used_up_is_waited_out_for_up_to_a_minute(reset: str, seconds: float) -> None:
    pacer = Pacer(XL, Time().clock)
    pacer.observe({"RateLimit-Limit": "", "RateLimit-Remaining": "0", "RateLimit-Reset": reset})
    assert pacer.wait() == seconds


@pytest.mark.parametrize("limit", ["", "x", "0, 0;w=1, 0;w=60", "1;w=1"])
def test_headers_that_say_nothing_change_nothing(limit: str) -> None:
    time = Time()
    pacer = Pacer(M, time.clock)
    pacer.observe({"RateLimit-Limit": limit, "RateLimit-Remaining": "x", "RateLimit-Reset": "y"})
    assert pacer.wait() == 0


def test_endpoints_are_paced_apart() -> None:
    limits = RateLimits(Time().clock)
    assert limits.of(EVENTS) is limits.of(EVENTS)
    assert limits.of(LISTS) is not limits.of(SEGMENTS)
    assert LISTS.limit == SEGMENTS.limit


class BusySlots(threading.Semaphore):
    """One slot, which is free only when an answer to another request has asked for a pause."""

    def __init__(self, pacer: Pacer) -> None:
        super().__init__(1)
        self.pacer = pacer
        self.taken = 0

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        if not self.taken:
            self.pacer.pause(30)
        self.taken += 1
        assert super().acquire(blocking=False), "the slot was kept while the request waited"
        return True


def test_a_pause_that_begins_while_a_request_waits_for_a_slot_holds_it_back() -> None:
    pacer = Pacer(XL, Time().clock)
    slots = BusySlots(pacer)
    assert pacer.wait(slots) == 30
    assert slots.taken == 2


def test_a_long_wait_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tap_klaviyo")
    pacer = Pacer(XL, Time().clock, "/api/lists")
    pacer.pause(5)
    pacer.wait()
    assert caplog.messages == []
    pacer.pause(30)
    pacer.wait()
    assert caplog.messages == ["Waiting 30 s for Klaviyo's rate limit of /api/lists."]


def test_requests_of_earlier_runs_count_towards_the_limit_of_a_day() -> None:
    time = Time()
    pacer = Pacer(REPORTING, time.clock)
    pacer.remember([3600.0 + 30 * place for place in range(225)])
    oldest = 3600.0 + 30 * 224
    assert pacer.day_wait(1) == pytest.approx(86_460 - oldest)
    assert pacer.day_wait(3) == pytest.approx(86_460 - oldest + 60)
    assert len(pacer.ages()) == 225
    assert max(pacer.ages()) == pytest.approx(oldest)
    pacer.wait()
    assert time.now == pytest.approx(1000 + 86_460 - oldest)
    assert min(pacer.ages()) == 0


def test_requests_of_the_last_minute_of_another_run_count_towards_the_limit_of_a_minute() -> None:
    time = Time()
    pacer = Pacer(REPORTING, time.clock)
    pacer.remember([50.0, 20.0])
    pacer.wait()
    assert time.now == pytest.approx(1010.5)


def test_an_endpoint_without_a_limit_of_a_day_has_none_to_wait_for() -> None:
    pacer = Pacer(METRICS.limit, Time().clock)
    pacer.remember([1.0] * 150)
    assert pacer.day_wait(1000) == 0


def test_requests_older_than_a_day_are_forgotten() -> None:
    pacer = Pacer(REPORTING, Time().clock)
    pacer.remember([86_461.0, 86_459.0])
    assert pacer.ages() == [pytest.approx(86_459.0)]
    assert pacer.day_wait(225) == pytest.approx(1.0)
