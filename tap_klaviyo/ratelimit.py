"""Pacing by endpoint: requests start no faster than Klaviyo's limits allow, and pause when it says so.

Klaviyo counts in fixed windows of a second (burst) and a minute (steady) for each endpoint; where a window begins
is not told. So requests are spread: a few at once, then at the steady rate, which no window of a minute can exceed.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.log import logger

_LONG_WAIT = 5.0
_WINDOW = re.compile(r"\b(\d{1,9});w=(\d{1,9})\b")


@dataclass(frozen=True)
class Clock:
    """Where time comes from; a test brings its own. All in seconds."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    wall: Callable[[], float] = time.time


class Pacer:
    """One endpoint's pace, shared by all threads."""

    def __init__(self, burst: int, steady: int, clock: Clock, name: str = "") -> None:
        """Begin at the documented limits.

        Args:
            burst: requests allowed in any window of one second.
            steady: requests allowed in any window of one minute.
            clock: where time comes from.
            name: what is paced, for the log.
        """
        self._clock = clock
        self._name = name
        self._lock = threading.Lock()
        self._limits = ""
        self._set_limits(burst, steady)
        self._paused_until = clock.monotonic()
        self._announced_until = self._paused_until
        self._next = self._paused_until - self._slack

    def wait(self) -> float:
        """Take the next place in the queue, wait for it, and return the seconds waited."""
        began = self._clock.monotonic()
        place = self._book(began)
        while (delay := max(place, self._paused_until) - self._clock.monotonic()) > 0:
            self._announce(delay)
            self._clock.sleep(delay)
        return self._clock.monotonic() - began

    def pause(self, seconds: float) -> None:
        """Let no request start before so many seconds from now."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)

    def observe(self, headers: Mapping[str, str]) -> None:
        """Learn from an answer's `RateLimit-*` headers: the account's own limits, and a window that is used up."""
        limits = headers.get("RateLimit-Limit", "")
        if limits != self._limits:
            self._learn(limits)
        if headers.get("RateLimit-Remaining") == "0" and (reset := headers.get("RateLimit-Reset", "")).isdecimal():
            self.pause(min(float(reset), 60))

    def _announce(self, delay: float) -> None:
        """Say that a wait will be long; once for all threads that wait for the same."""
        now = self._clock.monotonic()
        with self._lock:
            is_new = delay > _LONG_WAIT and now >= self._announced_until
            self._announced_until = now + delay if is_new else self._announced_until
        if is_new:
            logger.info("Waits %.0f s for Klaviyo's rate limit of %s.", delay, self._name)

    def _learn(self, limits: str) -> None:
        windows = {int(seconds): int(count) for count, seconds in _WINDOW.findall(limits)}
        with self._lock:
            self._limits = limits
            if windows.get(1) and windows.get(60):
                self._set_limits(windows[1], windows[60])

    def _set_limits(self, burst: int, steady: int) -> None:
        # What starts at once fills the steady window with a minute at the rate, and the burst one with a second.
        at_once = max(1, min(max(10, steady // 70), burst - -(-steady // 60)))
        self._interval = 60 / max(steady - at_once, 1)
        self._slack = (at_once - 1) * self._interval

    def _book(self, now: float) -> float:
        with self._lock:
            place = max(self._next, now - self._slack)
            self._next = place + self._interval
            return place


class RateLimits:
    """The pacers of all endpoints."""

    def __init__(self, clock: Clock) -> None:
        """Begin with no endpoint seen."""
        self._clock = clock
        self._lock = threading.Lock()
        self._pacers: dict[Endpoint, Pacer] = {}

    def of(self, endpoint: Endpoint) -> Pacer:
        """Return the endpoint's pacer."""
        with self._lock:
            if endpoint not in self._pacers:
                self._pacers[endpoint] = Pacer(endpoint.limit.burst, endpoint.limit.steady, self._clock, endpoint.path)
            return self._pacers[endpoint]
