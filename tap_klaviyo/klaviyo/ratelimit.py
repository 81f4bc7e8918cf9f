"""Pacing by endpoint: requests start as fast as Klaviyo's windows allow, and pause when Klaviyo says so.

Klaviyo counts the requests to each endpoint in fixed windows of a second (burst), a minute (steady) and, for reports, a
day. It does not say when a window begins, so the pacer looks back from each start: whichever window a start falls
into, it never holds more than the allowed number of requests. Below the limit, requests start at once.
"""

from __future__ import annotations

import math
import re
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tap_klaviyo.klaviyo.endpoints import Endpoint, Limit
from tap_klaviyo.log import logger
from tap_klaviyo.times import Clock

# Seconds from which on a wait is worth a line; one thread at a time waits for an endpoint, so it is one line.
_LONG_WAIT = 5.0
# A little longer than Klaviyo's windows: requests that start this far apart can arrive a little closer together.
_SECOND, _MINUTE, _DAY = 1.05, 60.5, 86_460.0
_WINDOW = re.compile(r"\b(\d{1,9});w=(\d{1,9})\b")


@dataclass
class Window:
    """How many requests may start within some seconds."""

    seconds: float
    allowed: int

    def opens_at(self, starts: Sequence[float]) -> float:
        """Return when the next request may start, given all starts so far in order."""
        return starts[-self.allowed] + self.seconds if len(starts) >= self.allowed else -math.inf


class Pacer:
    """One endpoint's pace, shared by all threads."""

    def __init__(self, limit: Limit, clock: Clock, name: str = "") -> None:
        """Begin at the documented limits.

        Args:
            limit: the endpoint's limits.
            clock: where time comes from.
            name: the endpoint, for the log.
        """
        self._clock = clock
        self._name = name
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._starts: deque[float] = deque()
        self._limits = ""
        self._set_limits(limit)
        self._paused_until = clock.monotonic()

    def wait(self, slots: threading.Semaphore | None = None) -> float:
        """Wait until a request may start, count it as started, and return the seconds waited for the rate limit.

        Args:
            slots: limits the parallel requests. One is taken when the request may start, never before:
                an endpoint with a low limit must not hold a slot that another endpoint could use.
        """
        waited = 0.0
        # One thread at a time waits for the window, and the others for it: so requests start in the order they came.
        with self._turn:
            while True:
                waited += self._wait_for_window()
                if slots:
                    slots.acquire()
                # Waiting for a slot takes time, in which Klaviyo may have asked for a pause.
                if self._until_open() <= 0:
                    self._count_start()
                    return waited
                if slots:
                    slots.release()

    def _wait_for_window(self) -> float:
        waited = 0.0
        while (delay := self._until_open()) > 0:
            if delay > _LONG_WAIT:
                logger.info("Waiting %.0f s for Klaviyo's rate limit of %s.", delay, self._name)
            self._clock.sleep(delay)
            waited += delay
        return waited

    def _count_start(self) -> None:
        with self._lock:
            self._starts.append(self._clock.monotonic())
            while len(self._starts) > self._kept:
                self._starts.popleft()

    def pause(self, seconds: float) -> None:
        """Let no request start within these seconds from now."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)

    def remember(self, ages: Iterable[float]) -> None:
        """Count requests of earlier runs; `ages` are the seconds since each was sent."""
        with self._lock:
            now = self._clock.monotonic()
            starts = sorted([*self._starts, *(now - age for age in ages)])
            self._starts = deque(starts[-self._kept :])

    def ages(self) -> list[float]:
        """Return the seconds since each request of the last day, oldest first; as many as the limits need to know."""
        with self._lock:
            now = self._clock.monotonic()
            return [now - start for start in self._starts if now - start < _DAY]

    def day_wait(self, requests: int) -> float:
        """Return the seconds until the limit of a day allows that many more requests.

        0 if it does now, or if the endpoint has no such limit; more than the limit counts as all of it.
        """
        with self._lock:
            for window in self._windows:
                if window.seconds == _DAY and len(self._starts) + requests > window.allowed:
                    last = min(requests, window.allowed) - 1
                    place = last + len(self._starts) - window.allowed
                    return max(0.0, self._starts[place] + _DAY - self._clock.monotonic()) if place >= 0 else 0.0
        return 0.0

    def observe(self, headers: Mapping[str, str]) -> None:
        """Learn from an answer's `RateLimit-*` headers: the account's own limits, and a window that is used up.

        `RateLimit-Remaining` and `-Reset` speak of the window that is closest to its end, mostly the second's, and
        another program may use the same limit: so they only ever slow the pace.
        """
        limits = headers.get("RateLimit-Limit", "")
        if limits != self._limits:
            self._learn(limits)
        if headers.get("RateLimit-Remaining") == "0" and (reset := headers.get("RateLimit-Reset", "")).isdecimal():
            # Klaviyo rounds the seconds down, so 0 is a part of one.
            self.pause(min(max(float(reset), 1.0), 60.0))

    def _learn(self, limits: str) -> None:
        windows = {int(seconds): int(count) for count, seconds in _WINDOW.findall(limits)}
        with self._lock:
            self._limits = limits
            if windows.get(1) and windows.get(60):
                self._set_limits(Limit(windows[1], windows[60], windows.get(86_400) or None))

    def _set_limits(self, limit: Limit) -> None:
        self._windows = [Window(_SECOND, limit.burst), Window(_MINUTE, limit.steady)]
        if limit.daily:
            self._windows.append(Window(_DAY, limit.daily))
        self._kept = max(window.allowed for window in self._windows)

    def delay(self) -> float:
        """Return the seconds until a request may start; 0 if it may start now."""
        return max(0.0, self._until_open())

    def _until_open(self) -> float:
        """Return the seconds until a request may start; not positive if it may start now."""
        with self._lock:
            opens_at = max(self._paused_until, *(window.opens_at(self._starts) for window in self._windows))
        return opens_at - self._clock.monotonic()


class RateLimits:
    """The pacers of all endpoints."""

    def __init__(self, clock: Clock) -> None:
        """Begin with no endpoint seen."""
        self._clock = clock
        self._lock = threading.Lock()
        self._pacers: dict[tuple[str, str, Limit], Pacer] = {}

    def of(self, endpoint: Endpoint) -> Pacer:
        """Return the endpoint's pacer."""
        with self._lock:
            key = (endpoint.method, endpoint.path, endpoint.limit)
            if key not in self._pacers:
                self._pacers[key] = Pacer(endpoint.limit, self._clock, endpoint.path)
            return self._pacers[key]
