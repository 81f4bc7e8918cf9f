"""Profiles in the order of a time: all of them by `updated`, the members of a list or segment by `joined_group_at`.

They are sorted once, so that a page costs the same wherever it begins.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tap_klaviyo.sandbox.filters import Condition

_MICRO = 1_000_000
_LAST = 1 << 62


@dataclass(frozen=True)
class Ranking:
    """Numbers of profiles with the microsecond (since 1970) that each is sorted by; 0 means null."""

    micros: Mapping[int, int]

    @cached_property
    def numbers(self) -> Sequence[int]:
        """All numbers, by (microsecond, number)."""
        return sorted(self.micros, key=self._key)

    def numbers_between(
        self,
        conditions: Iterable[Condition],
        now: float,
        behind: tuple[float, int] | None = None,
        descending: bool = False,
        repeat: bool = False,
    ) -> Iterator[int]:
        """Yield the numbers that some conditions on the time leave, in order.

        Args:
            conditions: on the time, in epoch seconds.
            now: later ones are left out, epoch seconds.
            behind: begin behind this time and number.
            descending: from the latest to the earliest.
            repeat: begin with the number of `behind` itself.
        """
        first, last = 0, self._place(now, after=True)
        for condition in conditions:
            second = float(condition.values[0])
            if condition.operator.startswith("greater"):
                # Null meets no condition.
                first = max(first, self._place(second, condition.operator == "greater-than"), self._place(0, True))
            else:
                last = min(last, self._place(second, condition.operator == "less-or-equal"))
                first = max(first, self._place(0, True))
        if behind is not None:
            at = _microseconds_of(behind[0]), behind[1]
            if descending:
                last = min(last, (bisect_right if repeat else bisect_left)(self.numbers, at, key=self._key))
            else:
                first = max(first, (bisect_left if repeat else bisect_right)(self.numbers, at, key=self._key))
        places = range(last - 1, first - 1, -1) if descending else range(first, last)
        return (self.numbers[place] for place in places)

    def _key(self, number: int) -> tuple[int, int]:
        return self.micros[number], number

    def _place(self, second: float, after: bool) -> int:
        return bisect_left(self.numbers, (_microseconds_of(second), _LAST if after else -1), key=self._key)


def _microseconds_of(second: float) -> int:
    return round(second * _MICRO)
