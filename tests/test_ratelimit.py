"""Pacing, on a clock of its own, against fixed windows of any phase."""

from __future__ import annotations

from collections import Counter

import pytest

from tap_klaviyo.klaviyo.endpoints import CAMPAIGNS, EVENTS, LISTS, METRICS, XS, Endpoint
from tap_klaviyo.ratelimit import Clock, Pacer, RateLimits


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
    """Return when each of so many requests starts."""
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
    moments = starts(Pacer(endpoint.limit.burst, endpoint.limit.steady, time.clock), time, endpoint.limit.steady * 4)
    for tenth in range(10):
        assert fullest(moments, 60, tenth * 6) <= endpoint.limit.steady
        assert fullest(moments, 1, tenth / 10) <= endpoint.limit.burst
    assert len(moments) / (moments[-1] - moments[0]) >= endpoint.limit.steady / 60 * 0.9


def test_events_reach_nineteen_twentieths_of_their_limit() -> None:
    time = Time()
    moments = starts(Pacer(EVENTS.limit.burst, EVENTS.limit.steady, time.clock), time, 35_000)
    assert 35_000 / (moments[-1] - moments[0]) >= 3500 / 60 * 0.95


def test_a_few_requests_wait_for_nothing() -> None:
    time = Time()
    assert starts(Pacer(CAMPAIGNS.limit.burst, CAMPAIGNS.limit.steady, time.clock), time, 6) == [1000.0] * 6


def test_a_pause_holds_everyone_back() -> None:
    time = Time()
    pacer = Pacer(350, 3500, time.clock)
    pacer.pause(30)
    pacer.pause(5)
    assert pacer.wait() == 30


def test_the_accounts_own_limits_are_learnt_from_the_headers() -> None:
    time = Time()
    pacer = Pacer(350, 3500, time.clock)
    pacer.observe({"RateLimit-Limit": "10, 10;w=1, 60;w=60", "RateLimit-Remaining": "9", "RateLimit-Reset": "0"})
    moments = starts(pacer, time, 240)
    assert fullest(moments, 60, 0) <= 60


def test_a_window_that_is_used_up_is_waited_out() -> None:
    time = Time()
    pacer = Pacer(350, 3500, time.clock)
    pacer.observe({"RateLimit-Limit": "", "RateLimit-Remaining": "0", "RateLimit-Reset": "12"})
    assert pacer.wait() == 12


@pytest.mark.parametrize("limit", ["", "x", "0, 0;w=1, 0;w=60", "1;w=1"])
def test_headers_that_say_nothing_change_nothing(limit: str) -> None:
    time = Time()
    pacer = Pacer(10, 150, time.clock)
    pacer.observe({"RateLimit-Limit": limit, "RateLimit-Remaining": "x", "RateLimit-Reset": "y"})
    assert pacer.wait() == 0


def test_endpoints_are_paced_apart() -> None:
    limits = RateLimits(Time().clock)
    assert limits.of(EVENTS) is limits.of(EVENTS)
    assert limits.of(EVENTS) is not limits.of(LISTS)
