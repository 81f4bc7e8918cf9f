"""The state of a run: what moves in it with each batch and at the end of each stream, and when it is written."""

from __future__ import annotations

from collections.abc import Mapping

from tap_klaviyo.reading.day_limit import DayLimit
from tap_klaviyo.reading.plan import Plan
from tap_klaviyo.reading.tally import Tally
from tap_klaviyo.singer import state
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.recounts import known_counts, with_known_counts
from tap_klaviyo.singer.state import State
from tap_klaviyo.times import Clock

# Seconds between two STATE messages within a stream.
STATE_INTERVAL = 10.0


class RunState:
    """The state of one run."""

    def __init__(self, writer: Writer, clock: Clock, interval: float = STATE_INTERVAL) -> None:
        """Begin with an empty state.

        Args:
            writer: writes the STATE messages.
            clock: where time comes from.
            interval: seconds between two STATE messages within a stream.
        """
        self._writer = writer
        self._clock = clock
        self._interval = interval
        self._due = clock.monotonic() + interval
        self.value: State = {}
        # The limits of a day that requests to reports count towards.
        self.limits: Mapping[str, DayLimit] = {}

    def begin(self, plan: Plan) -> None:
        """Note that a stream begins; a bookmark in the future goes."""
        self.value = state.with_currently_syncing(self.value, plan.stream)
        if plan.drops_bookmark:
            self.value = state.drop_bookmark(self.value, plan.stream)

    def advance(self, plan: Plan, tally: Tally, newest: int) -> None:
        """Move a stream's bookmark to a timestamp, and extend the metrics that it covers.

        A metric that the bookmark does not cover yet is read up to it first. It counts as covered only when the
        bookmark moves on: until then, a run that is interrupted has to read its history again.
        """
        covered = None if plan.metrics is None else plan.metrics - tally.uncovered
        reached = tally.limited(newest)
        if covered is not None and reached <= plan.mark:
            return
        self.value = state.advance_bookmark(self.value, plan.stream, reached, covered)

    def finish(self, plan: Plan, tally: Tally, parents: Mapping[str, str]) -> None:
        """Record what a bookmark covers when its stream was read to the end.

        Args:
            plan: the stream's.
            tally: what its batches have shown.
            parents: digests of the definitions of the parents that its rows belong to, by id.
        """
        if tally.newest:
            self.advance(plan, tally, tally.newest)
        if plan.metrics is not None and tally.limited(plan.mark) == plan.mark:
            self.value = state.cover_metrics(self.value, plan.stream, plan.metrics - tally.uncovered)
        if plan.stream.parent and not plan.is_ordered:
            # A parent that answers 404 or an error now may answer again: its rows are read in full then.
            unread = tally.parents_gone | tally.parents_refused
            # To read an empty one in full again costs no more, and an empty answer can be wrong.
            before = state.covered_parents(self.value, plan.stream)
            read = tally.parents_found | {id for id, digest in before.items() if parents.get(id) == digest}
            found = {id: digest for id, digest in parents.items() if id in read - unread}
            self.value = state.cover_parents(self.value, plan.stream, found)

    def keep_counts(self, plan: Plan, tally: Tally) -> None:
        """Record Klaviyo's counts of the hours that were read to their end."""
        if not tally.recounted or tally.problems:
            return
        stream, known = plan.stream, dict(known_counts(self.value, plan.stream))
        for metric, recounted in tally.recounted.items():
            then = recounted.known_then(tally.read.get(metric, {}))
            if then and metric not in tally.uncovered:
                known[metric] = then
        self.value = with_known_counts(self.value, stream, known, state.bookmark_of(self.value, stream))

    def finish_version(self, plan: Plan, tally: Tally, version: int) -> None:
        """Record a full read, and how many rows each of its queries found."""
        self.value = state.with_full_table(self.value, plan.stream, version, tally.rows_by_query)

    def end(self) -> None:
        """Note that no stream is being read, and write the last STATE."""
        self.value = state.with_currently_syncing(self.value, None)
        self.write()

    def write(self) -> None:
        """Write a STATE."""
        for limit in self.limits.values():
            self.value = limit.record(self.value)
        self._writer.state(self.value)

    def write_if_due(self) -> None:
        """Write a STATE if the last one between two batches was written an interval ago."""
        now = self._clock.monotonic()
        if now >= self._due:
            self.write()
            self._due = now + self._interval
