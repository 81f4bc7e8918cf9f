"""Figures from a log of requests: how many ran in parallel, how fast events came, how many were superfluous."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

EVENTS = "/api/events"
PAGE = 1000


@dataclass(frozen=True)
class Served:
    """A request that was answered: when (monotonic seconds), what for, and how many rows and body bytes it got."""

    path: str
    began: float
    ended: float
    status: int
    rows: int
    size: int


def of_events(requests: Sequence[Served]) -> list[Served]:
    """Return the requests for events, in the order in which they came."""
    return sorted((each for each in requests if each.path == EVENTS), key=lambda each: each.began)


def rate(requests: Sequence[Served]) -> float:
    """Return the events a second from the first request for them to the last answer."""
    found = of_events(requests)
    if not found:
        return 0.0
    return sum(each.rows for each in found) / (max(each.ended for each in found) - found[0].began)


def warm_rate(requests: Sequence[Served], concurrency: int) -> float:
    """Return the events a second while there is work for all; 0 if that many requests never ran in parallel.

    That is from the moment when nine tenths of the concurrency run in parallel for the first time (the rest may be with
    the tap, which is at the answers) until fewer than the concurrency are still to be made. A request counts by the
    share of its time in that period: answers come in bursts, and one more or less would be a twentieth.
    """
    found = of_events(requests)
    changes = sorted([(each.began, 1) for each in found] + [(each.ended, -1) for each in found])
    under_way = accumulate(change for _, change in changes)
    full = [moment for (moment, _), count in zip(changes, under_way, strict=True) if count >= concurrency * 0.9]
    if not full or len(found) <= concurrency:
        return 0.0
    begin, end = full[0], found[-concurrency].began
    rows = sum(each.rows * _part(each, begin, end) for each in found)
    return rows / (end - begin) if end > begin else 0.0


def _part(request: Served, begin: float, end: float) -> float:
    """Return the share of a request's time between two moments, from 0 to 1."""
    within = min(request.ended, end) - max(request.began, begin)
    return max(0.0, within) / (request.ended - request.began)


def least(rows: Mapping[str, Sequence[int]], page: int = PAGE) -> int:
    """Return the fewest requests that streams can be read by, each given as the events of each of its metrics."""
    return sum(max(len(counts), -(-sum(counts) // page)) for counts in rows.values())


def waste(requests: Sequence[Served], rows: Mapping[str, Sequence[int]]) -> float:
    """Return the share of requests for events beyond the least."""
    return len(of_events(requests)) / least(rows) - 1


def refused(requests: Sequence[Served]) -> int:
    """Return how many requests were answered 429."""
    return sum(each.status == 429 for each in requests)


def busiest_minute(requests: Sequence[Served]) -> int:
    """Return the most requests for events in any 60 s."""
    moments = [each.began for each in of_events(requests)]
    first, most = 0, 0
    for place, moment in enumerate(moments):
        while moments[first] <= moment - 60:
            first += 1
        most = max(most, place - first + 1)
    return most


def pace(requests: Sequence[Served]) -> float:
    """Return the requests a second that were answered well, once the first second and what starts at once are over."""
    moments = [each.began for each in of_events(requests) if each.status == 200]
    settled = [moment for moment in moments if moment > moments[0] + 1]
    return (len(settled) - 1) / (settled[-1] - settled[0]) if len(settled) > 1 else 0.0
