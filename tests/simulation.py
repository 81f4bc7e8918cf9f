"""The prefetcher on a simulated clock, without threads."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.prefetch import Fetch, Pipeline

# As in a run: fetches beyond the maximum of parallel requests.
AT_WORK = 3


class SimulatedWorkers:
    """Workers whose calls take `latency` simulated seconds each, `slots` of them at once.

    The first call takes `first` seconds, if that is given.
    """

    def __init__(self, slots: int, latency: float = 1.0, first: float | None = None) -> None:
        self.now = 0.0
        self._latency = latency
        self._first = first or latency
        self._free = [0.0] * slots
        self._running: list[tuple[float, int, Any, Callable[[], Any]]] = []
        self._numbers = itertools.count()

    def start_call(self, key: Any, call: Callable[[], Any]) -> None:
        end = max(self.now, heapq.heappop(self._free)) + self._first
        self._first = self._latency
        heapq.heappush(self._free, end)
        heapq.heappush(self._running, (end, next(self._numbers), key, call))

    def next_outcome(self, timeout: float) -> tuple[Any, Callable[[], Any], Any] | None:
        self.now, _, key, call = heapq.heappop(self._running)
        return key, call, call()

    def interrupt(self, reason: BaseException) -> None:
        raise NotImplementedError

    def has_outcome(self) -> bool:
        return bool(self._running) and self._running[0][0] <= self.now

    def stop(self) -> None:
        pass


@dataclass(frozen=True)
class Simulated:
    """What a simulated run gave, and the seconds that it took."""

    batches: Sequence[Batch]
    seconds: float


def simulate(groups: Sequence[Sequence[Fetch[Batch]]], slots: int = 16) -> Simulated:
    """Run groups of fetches one after the other in the order, all of them ahead as far as there is room."""
    workers = SimulatedWorkers(slots)
    with Pipeline[Batch](slots + AT_WORK, lambda batch: batch, workers=workers) as pipeline:
        for number, fetches in enumerate(groups):
            pipeline.add(number, fetches)
        batches = [batch for number in range(len(groups)) for batch in pipeline.take(number)]
    return Simulated(batches, workers.now)
