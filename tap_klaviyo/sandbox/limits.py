"""Rate limits: fixed windows of a second and of a minute for each endpoint, and the headers that tell of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, floor

from tap_klaviyo.sandbox.endpoints import Limit
from tap_klaviyo.sandbox.refusals import throttled

Clock = Callable[[], float]


@dataclass
class Window:
    """What is used up of a window of so many seconds."""

    length: int
    allowed: int
    number: int = 0
    used: int = 0

    def turn(self, now: float) -> None:
        """Begin anew if another window has begun."""
        number = floor(now / self.length)
        if number != self.number:
            self.number, self.used = number, 0

    def left(self, now: float) -> float:
        """Return the seconds to the window's end."""
        return (self.number + 1) * self.length - now

    @property
    def remaining(self) -> int:
        """The requests that it still allows."""
        return self.allowed - self.used


@dataclass
class Limits:
    """The windows of all endpoints; the clock counts seconds from anywhere."""

    clock: Clock
    _windows: dict[str, list[Window]] = field(default_factory=dict)

    def charge(self, name: str, limit: Limit) -> dict[str, str]:
        """Count a request to what bears the name, and return the headers of its answer.

        Raises:
            RefusalError: one request too many; a request that is refused does not count.
        """
        now = self.clock()
        windows = self._windows.setdefault(name, [Window(1, limit.burst), Window(60, limit.steady)])
        for window in windows:
            window.turn(now)
        full = [window for window in windows if not window.remaining]
        if full:
            raise throttled(max(1, ceil(max(window.left(now) for window in full))))
        for window in windows:
            window.used += 1
        binding = min(windows, key=lambda window: window.remaining)
        policy = "".join(f", {window.allowed};w={window.length}" for window in windows)
        return {
            "RateLimit-Limit": f"{binding.allowed}{policy}",
            "RateLimit-Remaining": str(binding.remaining),
            "RateLimit-Reset": str(floor(binding.left(now))),
        }
