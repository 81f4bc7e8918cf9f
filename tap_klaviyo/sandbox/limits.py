"""Rate limits: fixed windows of a second, a minute and a day for each endpoint, and the headers that report them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, floor

from tap_klaviyo.sandbox.endpoints import Limit
from tap_klaviyo.sandbox.refusals import throttled_request

Clock = Callable[[], float]


@dataclass
class Window:
    """A window of `length` seconds: how many requests it allows, and how many it has had."""

    length: int
    allowed: int
    number: int = 0
    used: int = 0

    def turn(self, now: float) -> None:
        """Start counting again if a new window has begun."""
        number = floor(now / self.length)
        if number != self.number:
            self.number, self.used = number, 0

    def left(self, now: float) -> float:
        """Return the seconds until the window ends."""
        return (self.number + 1) * self.length - now

    @property
    def remaining(self) -> int:
        """How many more requests it allows."""
        return self.allowed - self.used


@dataclass
class Limits:
    """The windows of all endpoints; the clock counts seconds, from any beginning."""

    clock: Clock
    _windows: dict[str, list[Window]] = field(default_factory=dict)

    def charge(self, name: str, limit: Limit) -> dict[str, str]:
        """Count a request and return the headers of its answer.

        Args:
            name: what the request is charged to.
            limit: of that.

        Raises:
            RefusalError: a window is full. Refused requests do not count.
        """
        now = self.clock()
        windows = self._windows.setdefault(name, _make_windows(limit))
        for window in windows:
            window.turn(now)
        full = [window for window in windows if not window.remaining]
        if full:
            raise throttled_request(max(1, ceil(max(window.left(now) for window in full))))
        for window in windows:
            window.used += 1
        binding = min(windows, key=lambda window: window.remaining)
        policy = "".join(f", {window.allowed};w={window.length}" for window in windows)
        return {
            "RateLimit-Limit": f"{binding.allowed}{policy}",
            "RateLimit-Remaining": str(binding.remaining),
            "RateLimit-Reset": str(floor(binding.left(now))),
        }


def _make_windows(limit: Limit) -> list[Window]:
    windows = [Window(1, limit.burst), Window(60, limit.steady)]
    return windows if limit.daily is None else [*windows, Window(86_400, limit.daily)]
