"""What the state keeps of Klaviyo's limits for a day: when a report was requested, so that runs share a limit; pure.

    {"day_limits": {"/api/flow-values-reports": {"requests": [["2026-11-20T02:00:05Z", "2026-11-20T03:52:10Z", 225]],
                                                 "pages": 3}}}

Each span has its first request, its last, and how many there were; in between they count as evenly spread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tap_klaviyo.singer.state import State
from tap_klaviyo.times import format_time, parse_time

_KEY = "day_limits"
# Requests further apart than this, in seconds, are in different spans: twice the pace of two a minute.
_APART = 120.0
# A state that counts more requests in one span was not written by the tap.
_MOST = 1000


def request_times(state: State, path: str) -> list[float]:
    """Return when an endpoint was requested, in epoch seconds; none if the state does not say so."""
    spans = _limit_entry(state, path).get("requests")
    return [time for span in spans for time in _times_in(span)] if isinstance(spans, list) else []


def pages_of_period(state: State, path: str) -> int:
    """Return how many pages one period of a report had; 1 if the state does not say so."""
    pages = _limit_entry(state, path).get("pages")
    return pages if isinstance(pages, int) and not isinstance(pages, bool) and pages > 0 else 1


def with_requests(state: State, path: str, times: Iterable[float], pages: int) -> State:
    """Return the state with the requests to an endpoint, in place of those that it had.

    Args:
        state: the state.
        path: of the endpoint.
        times: when requests were sent, in epoch seconds and in order.
        pages: how many pages one period has.
    """
    entry = {"requests": [[format_time(int(a)), format_time(int(b)), count] for a, b, count in _spans_of(times)]}
    limits = state.get(_KEY)
    kept = limits if isinstance(limits, dict) else {}
    return {**state, _KEY: {**kept, path: {**entry, "pages": pages}}}


def _limit_entry(state: State, path: str) -> Mapping[str, Any]:
    limits = state.get(_KEY)
    entry = limits.get(path) if isinstance(limits, dict) else None
    return entry if isinstance(entry, dict) else {}


def _times_in(span: Any) -> Iterator[float]:
    try:
        first, last, count = span
        begin, end = parse_time(first), parse_time(last)
        yield from (begin + (end - begin) * place / max(count - 1, 1) for place in range(min(count, _MOST)))
    except (TypeError, ValueError):
        return  # Nothing is lost: Klaviyo refuses what is over the limit.


def _spans_of(times: Iterable[float]) -> Sequence[tuple[float, float, int]]:
    found: list[tuple[float, float, int]] = []
    for time in times:
        if found and time - found[-1][1] <= _APART:
            found[-1] = (found[-1][0], time, found[-1][2] + 1)
        else:
            found.append((time, time, 1))
    return found
