"""What the batches of one stream have shown so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.comparison import Counted, add_counts
from tap_klaviyo.reading.known_counts import Recounted
from tap_klaviyo.records.findings import Findings


@dataclass
class Tally:
    """What one stream's batches have shown so far."""

    rows: int = 0
    newest: int = 0
    bookmark_limit: int | None = None
    rows_by_query: Counter[str] = field(default_factory=Counter)
    # By id: the change of a row that was written last.
    changes: dict[str, str] = field(default_factory=dict)
    # By id: the digest of what decides which rows belong to a row, for the streams that are read for it.
    definitions: dict[str, str] = field(default_factory=dict)
    parents: int = 0
    parents_gone: set[str] = field(default_factory=set)
    parents_refused: set[str] = field(default_factory=set)
    parents_found: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    lacks_scope: bool = False
    left_over: list[str] = field(default_factory=list)
    # By metric and hour: the events that were read in the ranges that are compared with Klaviyo's counts.
    read: dict[str, Counter[int]] = field(default_factory=dict)
    # Klaviyo's counts of these ranges, or why they could not be had.
    counted: list[Counted] = field(default_factory=list)
    uncounted: str | None = None
    recounted: dict[str, Recounted] = field(default_factory=dict)
    # The metrics of which Klaviyo counts events but returned none.
    unread: set[str] = field(default_factory=set)
    findings: Findings = field(default_factory=Findings)

    def add(self, batch: Batch) -> None:
        """Add what a batch shows."""
        self.rows += batch.rows
        self.newest = max(self.newest, batch.newest or 0)
        self.rows_by_query[batch.query] += batch.rows + batch.silent_rows
        self.changes.update(batch.changes)
        self.definitions.update(batch.definitions)
        self.parents += batch.parents
        self.parents_gone |= batch.parents_gone
        self.parents_refused |= batch.parents_refused
        self.parents_found |= batch.parents_found
        self.ids |= batch.ids
        self.denied |= batch.denied
        self.findings.add(batch.findings)
        if batch.problem:
            self.problems.append(batch.problem)
        if batch.left_over:
            self.left_over.append(batch.left_over)
        for metric, hours in batch.read.items():
            self.read.setdefault(metric, Counter()).update(hours)
        for each in batch.counted:
            self.counted = add_counts(self.counted, each)
        self.uncounted = self.uncounted or batch.uncounted
        self.recounted |= batch.recounted
        limits = [limit for limit in (self.bookmark_limit, batch.bookmark_limit) if limit is not None]
        self.bookmark_limit = min(limits, default=None)

    @property
    def uncovered(self) -> set[str]:
        """The metrics that the bookmark must not cover, since their events could not be read."""
        return self.denied | self.unread

    def limited(self, timestamp: int) -> int:
        """Return a timestamp, or the limit that a bookmark must not pass."""
        return timestamp if self.bookmark_limit is None else min(timestamp, self.bookmark_limit)
