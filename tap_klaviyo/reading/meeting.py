"""Fetches that run side by side and make one thing together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Part = TypeVar("Part")
Whole = TypeVar("Whole")


class Meeting(Generic[Part, Whole]):
    """Where the results of several fetches meet; safe to use from many threads.

    The fetches are neighbours in the prefetcher's order, so whichever comes last, what it gives is in the right place.
    """

    def __init__(self, count: int, combine: Callable[[Sequence[Part]], Whole]) -> None:
        """Wait for a number of parts, to be combined in the order of their places."""
        self._count = count
        self._combine = combine
        self._parts: dict[int, Part] = {}
        self._lock = threading.Lock()

    def arrive(self, place: int, part: Part) -> Whole | None:
        """Keep a part; return what all of them make if it is the last to come, else None."""
        with self._lock:
            self._parts[place] = part
            if len(self._parts) < self._count:
                return None
            parts, self._parts = [self._parts[place] for place in range(self._count)], {}
        return self._combine(parts)
