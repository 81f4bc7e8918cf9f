"""What a page has beside its records, to be counted and reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Findings:
    """What a page has beside its records.

    `unknown` counts attributes that no schema has; `recurring` are the keys of rows that other queries of the stream
    may find as well.
    """

    unknown: Counter[str] = field(default_factory=Counter)
    recurring: set[str] = field(default_factory=set)
