"""Slices of a range of which Klaviyo counted the rows: cut where a page ends; pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import add, sub

from tap_klaviyo.reading.slices import PAGE_FILL, Slice

# After a send, most events of an hour lie in its first minutes, so that the place of a row is uncertain. They are taken
# to lie evenly if they are few (pages), or if the hours beside it have as many: up to this many times more or less.
_FEW = 0.1
_ALIKE = 2


@dataclass(frozen=True)
class _CountedSpan:
    """An interval in which each query has some rows by Klaviyo's counts; `is_even` if they seem to lie evenly in it."""

    start: int
    end: int
    rows: Sequence[float]
    is_even: bool

    def behind(self, cut: int) -> _CountedSpan:
        """Return the part of it behind a second."""
        share = (self.end - cut) / (self.end - self.start)
        return replace(self, start=cut, rows=[count * share for count in self.rows])


def plan_slices(
    part: Slice, counts: Sequence[Mapping[int, int]], full: int, seconds: int, least_pages: float
) -> list[Slice]:
    """Cut a slice by how many rows lie where, as counted by Klaviyo; the counts decide only how it is read.

    Pages of several queries are merged as far as the densest of them reaches, so that one decides.

    Args:
        part: the slice.
        counts: for each query, the number of rows by the epoch second at which an interval begins; a missing interval
            counts as 0.
        full: rows in a full page.
        seconds: the length of the intervals.
        least_pages: of a slice that is not the last.
    """
    bounds, sizes, rows = [part.start], list[float](), [0.0] * len(counts)
    for span in _counted_spans(part, counts, full, seconds):
        left = span
        while cut := _cut_within(left, rows, full * PAGE_FILL, least_pages):
            behind = left.behind(cut)
            sizes.append(max(map(add, rows, map(sub, left.rows, behind.rows))))
            bounds.append(cut)
            left, rows = behind, [0.0] * len(counts)
        rows = list(map(add, rows, left.rows))
    sizes.append(max(rows))
    return [
        replace(
            part,
            start=start,
            end=end,
            density=size / (end - start),
            expected=size or None,
            is_counted=True,
            is_last=part.is_last and end == part.end,
        )
        for (start, end), size in zip(pairwise([*bounds, part.end]), sizes, strict=True)
    ]


def _cut_within(span: _CountedSpan, rows: Sequence[float], page: float, least_pages: float) -> int | None:
    """Return the second within an interval at which a slice that has some rows should end; None if it should not.

    A slice ends where its last page is nearly full. If it is uncertain where that is, the slice may be twice as long.
    """
    had = max(rows)
    # Not below what it has, where a product is rounded down.
    wanted = max(had, page * max(least_pages, math.ceil(had / page)))
    sums = list(map(add, rows, span.rows))
    if max(sums) <= (wanted if span.is_even else max(wanted, 2 * page * least_pages)):
        return None
    share = min((wanted - less) / (most - less) for less, most in zip(rows, sums, strict=True) if most > wanted)
    cut = span.start + max(1, round((span.end - span.start) * share))
    return cut if cut < span.end else None


def _counted_spans(part: Slice, counts: Sequence[Mapping[int, int]], full: int, seconds: int) -> Iterator[_CountedSpan]:
    """Yield the intervals that have rows, in order, as far as they lie in a slice."""
    sums = sum(map(Counter, counts), Counter[int]())
    for begin in sorted(sums):
        start, end = max(begin, part.start), min(begin + seconds, part.end)
        if start < end:
            beside = (sums[begin - seconds], sums[begin + seconds])
            is_even = sums[begin] <= full * _FEW or all(
                sums[begin] <= _ALIKE * other and other <= _ALIKE * sums[begin] for other in beside
            )
            yield _CountedSpan(start, end, [each.get(begin, 0) for each in counts], is_even)
