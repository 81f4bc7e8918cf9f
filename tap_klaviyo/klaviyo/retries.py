"""How long a request is retried: waits between tries, within a budget that counts all time."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import backoff

from tap_klaviyo.errors import OfflineError, UnavailableError
from tap_klaviyo.log import logger
from tap_klaviyo.times import Clock

# Seconds before a smaller page is asked for, at the longest: Klaviyo may well serve it at once, and it takes ten tries
# from a thousand items down to one.
_LONGEST_FOR_OTHER = 4.0


@dataclass(frozen=True)
class Retries:
    """How long failed requests are retried. All in seconds.

    The wait before the n-th retry is drawn from 0 to `factor` x 2^n, but not above `longest`. `total` bounds the tries
    and the waits of one request together; a `Retry-After` beyond the rest of it ends the request at once. `local`
    bounds the same if a name cannot be resolved or a port refuses before Klaviyo has answered once: that recovers in
    seconds or not at all.
    """

    factor: float = 1.0
    longest: float = 60.0
    total: float = 600.0
    local: float = 15.0


class TryAgainError(Exception):
    """One try failed in a way that may pass.

    Args:
        what: the problem, as a phrase.
        status: the HTTP status, None without one.
        retry_after: the seconds that Klaviyo asks to wait.
        is_local: whether the cause is on this side.
    """

    def __init__(
        self, what: str, status: int | None = None, retry_after: float | None = None, is_local: bool = False
    ) -> None:
        """Keep the facts beside the words."""
        super().__init__(what)
        self.status = status
        self.retry_after = retry_after
        self.is_local = is_local


class IncompletePageError(TryAgainError):
    """A page seems incomplete: it does not say whether another follows, or has no items although there are some."""


@dataclass
class Budget:
    """One request's tries and waits.

    Args:
        retries: the bounds.
        clock: where time comes from.
        where: the request, for messages, such as "GET /api/lists".
    """

    retries: Retries
    clock: Clock
    where: str
    attempt: int = 0
    _spent: float = 0.0
    _began: float = 0.0
    _waits: Iterator[float] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing spent."""
        self._waits = backoff.expo(factor=self.retries.factor, max_value=self.retries.longest)
        next(self._waits)

    def begin_try(self) -> None:
        """Count a try, which begins now: waiting for a rate limit before it is not part of the budget."""
        self.attempt += 1
        self._began = self.clock.monotonic()

    @property
    def left(self) -> float:
        """The seconds that a try may take: any time for the first, and at least one second for the others."""
        return math.inf if self.attempt == 1 else max(self.retries.total - self._spent, 1.0)

    def next_wait(self, trouble: TryAgainError, is_other: bool = False) -> float:
        """Return the seconds to wait before the next try.

        Args:
            trouble: how the last try failed.
            is_other: whether the next try asks for a smaller page, or for a lone item: the wait is short then.

        Raises:
            UnavailableError: the budget is spent, or does not suffice for the wait.
        """
        self._spent += self.clock.monotonic() - self._began
        wait = backoff.full_jitter(next(self._waits))
        if is_other:
            wait = min(wait, random.uniform(0, _LONGEST_FOR_OTHER))
        # A server that asks for no wait at all, again and again, must not be asked without end.
        if trouble.retry_after:
            wait = trouble.retry_after + random.uniform(0, min(1.0, trouble.retry_after / 10))
        if self._spent + wait > (self.retries.local if trouble.is_local else self.retries.total):
            raise self._given_up(trouble, wait)
        logger.warning("%s: %s; trying again in %.1f s (try %d).", self.where, trouble, wait, self.attempt + 1)
        self._spent += wait
        return wait

    def _given_up(self, trouble: TryAgainError, wait: float) -> UnavailableError:
        asks = f" It asks to wait {wait:.0f} s." if trouble.retry_after else ""
        if trouble.is_local:
            return OfflineError(
                f"{self.where} failed: {trouble} (try {self.attempt}, after {self._spent:.0f} s). Check the network "
                "and the proxy of this machine, then run the tap again."
            )
        return UnavailableError(
            f"Klaviyo gave no usable answer to {self.where}: {trouble} (try {self.attempt}, after {self._spent:.0f} s)."
            f"{asks} Run the tap again later.",
            trouble.status,
        )
