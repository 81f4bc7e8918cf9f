"""How many fetches run at once in each lane, and how that number adapts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Concurrency:
    """How many fetches may run at once.

    A fetch that took several tries lowers the limit by a third; one that came well while the limit was reached raises
    it by one. A fetch that was queued halves it: pages that come faster than they can be worked on only have to be
    parked. From then on the limit grows by one for each round of fetches, until it is back at the maximum.
    """

    highest: int
    limit: float = field(init=False)
    _is_crowded: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Begin at half of the maximum."""
        self.limit = max(1, self.highest / 2)

    def observe(self, attempts: int, queued: bool = False, at_limit: bool = True) -> None:
        """Learn from how one fetch went, and from whether as many ran as were allowed to."""
        if queued:
            self._is_crowded = True
            self.limit = max(1, self.limit / 2)
        elif attempts > 1:
            self.limit = max(1, self.limit * 2 / 3)
        elif at_limit:
            self.limit = min(self.highest, self.limit + (1 / self.limit if self._is_crowded else 1))
            self._is_crowded = self._is_crowded and self.limit < self.highest


@dataclass(eq=False)
class Lane:
    """The fetches that share a rate limit: how many of them run, and how many wait to be started."""

    concurrency: Concurrency
    running: int = 0
    waiting: int = 0
    is_at_limit: bool = False

    @property
    def is_open(self) -> bool:
        """Whether one more fetch may run."""
        return self.running < int(self.concurrency.limit)

    @property
    def idle(self) -> int:
        """How many more fetches could run than there are."""
        return max(0, int(self.concurrency.limit) - self.running - self.waiting)
