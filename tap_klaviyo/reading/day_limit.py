"""A report's limit for a day, which all runs of a day share: how much of it is left, and when the rest can be read."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.singer.day_limits import pages_of_period, request_times, with_requests
from tap_klaviyo.singer.state import State
from tap_klaviyo.times import DAY, format_time

# Seconds that a run waits for a request of a day to be free again: a run that starts at the same time each day meets
# the first requests of the day before.
_PATIENCE = 600.0


class DayLimit:
    """One endpoint's requests of a day, over all runs; safe to ask from many threads."""

    def __init__(self, client: Client, endpoint: Endpoint, state: State, wall: Callable[[], float]) -> None:
        """Count the requests of earlier runs as the state has them.

        Args:
            client: sends the requests, and knows when it did.
            endpoint: of the report.
            state: of the last run.
            wall: the clock, in epoch seconds.
        """
        self._client = client
        self._endpoint = endpoint
        self._wall = wall
        # How many requests one period takes. A period is begun only if all of them are free: a part of it is useless.
        self._pages = pages_of_period(state, endpoint.path)
        now = wall()
        client.remember_requests(endpoint, [max(0.0, now - time) for time in request_times(state, endpoint.path)])

    @property
    def requests(self) -> int:
        """How many requests Klaviyo allows in a day."""
        return self._endpoint.limit.daily or 0

    def has_room(self, pages_read: int = 0) -> bool:
        """Return whether the next request may be sent today.

        Args:
            pages_read: how many pages of the period were read; before the first, all of the period must have room.
        """
        needed = 1 if pages_read else self._pages
        return self._client.day_wait(self._endpoint, needed) <= _PATIENCE

    def end_period(self, pages: int, *, is_cut: bool) -> None:
        """Note how many pages a period had; one that was cut has more, so that it waits for more room the next time."""
        self._pages = min(2 * pages, self.requests) if is_cut else pages

    def until(self, periods: int) -> str:
        """Return the date by which that many periods can be read."""
        days = ceil(periods * self._pages / max(self.requests, 1))
        return format_time(int(self._wall()) + days * DAY)[:10]

    def record(self, state: State) -> State:
        """Return the state with the requests of the last day."""
        now = self._wall()
        times = [now - age for age in self._client.request_ages(self._endpoint)]
        return with_requests(state, self._endpoint.path, times, self._pages)
