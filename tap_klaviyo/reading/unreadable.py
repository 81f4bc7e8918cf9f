"""Finds the row that Klaviyo cannot render, and cuts the slice around it; pure.

Every page with such a row fails. Filters have whole seconds, so the tap searches for the row's second: a small page
fails if it begins in or before that second, and succeeds if it begins after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tap_klaviyo.reading.slices import Slice

# The row is probably near, so the search begins with an hour, and each step is eight times as long as the last.
# In a year with 20,000 events it takes about 12 requests; with 20 events, about 25.
_FIRST_STEP, _GROWTH = 3600, 8
# Limit of requests for one search, in case Klaviyo's answers are random. A wrong result costs requests, not rows.
_MOST_TRIES = 100


def find_unreadable(fails: Callable[[int], bool], start: int, end: int) -> int | None:
    """Return the second of a row that Klaviyo cannot render (epoch seconds); None if no page fails any more.

    Args:
        fails: returns whether a small page that begins at a given time fails. Any request can fail, so it is sometimes
            wrong; the result is therefore checked once more.
        start: where the failed page begins.
        end: the end of the range.
    """
    lows, high, step = [start], end, _FIRST_STEP
    for _ in range(_MOST_TRIES):
        low = lows[-1]
        if high - low > 1:
            middle = min(low + step, (low + high) // 2)
            step *= _GROWTH
            if fails(middle):
                lows.append(middle)
            else:
                high = middle
        elif fails(low):
            break
        elif len(lows) > 1:
            high = lows.pop()
        else:
            return None
    return lows[-1]


def cut_around(part: Slice, second: int) -> tuple[Slice | None, Slice, Slice | None]:
    """Cut a slice into the part before a second, the second itself, and the part after it; None for an empty part.

    All parts are read, so a wrong second loses nothing.
    """
    later = replace(part, restarts=0, page_size=None)
    own = replace(part if second == part.start else later, start=second, end=second + 1, page_size=1, is_last=False)
    return (
        replace(part, end=second, is_last=False) if part.start < second else None,
        own,
        replace(later, start=second + 1) if second + 1 < part.end else None,
    )
