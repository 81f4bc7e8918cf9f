"""Rows that Klaviyo cannot render: where such a row is, and how a slice continues around it; pure.

Every page with such a row fails. The filter knows whole seconds only, so the second of the row is searched for: a
small page fails if it begins in that second or before it, and is served if it begins after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tap_klaviyo.reading.slices import Slice

# The row is probably near, so the search begins with an hour, and each step is eight times as long as the one before.
# In a year with 20,000 events it takes about 12 requests, in one with 20 about 25.
_FIRST_STEP, _GROWTH = 3600, 8
# Requests for one search, even if Klaviyo answers by chance. A wrong result costs requests, not rows.
_MOST_TRIES = 100


def find_unreadable(fails: Callable[[int], bool], start: int, end: int) -> int | None:
    """Return the second of a row that Klaviyo cannot render (epoch seconds); None if no page fails any more.

    Args:
        fails: whether a small page fails, given the time that it begins at. It may be wrong now and then, since any
            request can fail: so the result is tried once more.
        start: the time that a page which failed begins at.
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
    """Cut a slice into what is before a second, the second itself, and what is after it; None for what is empty.

    All of them are to be read: if the second is the wrong one, nothing is lost.
    """
    later = replace(part, seen=frozenset(), restarts=0, page_size=None)
    own = replace(part if second == part.start else later, start=second, end=second + 1, page_size=1, is_last=False)
    return (
        replace(part, end=second, is_last=False) if part.start < second else None,
        own,
        replace(later, start=second + 1) if second + 1 < part.end else None,
    )
