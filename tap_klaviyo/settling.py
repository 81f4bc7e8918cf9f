"""The end of a stream: changed rows, empty queries and counts that differ are asked for once more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tap_klaviyo.completeness import difference_line, differences_of, unread_lines
from tap_klaviyo.errors import GoneError
from tap_klaviyo.log import logger
from tap_klaviyo.reading.account import CLOCK_MARGIN
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.comparison import Difference, counted_again
from tap_klaviyo.reading.plan import Plan
from tap_klaviyo.reading.prefetch import Fetch
from tap_klaviyo.reading.tally import Tally
from tap_klaviyo.times import HOUR

# How often a full read asks for the rows that changed meanwhile. Each round takes a moment, and finds the changes of
# the one before it; an account that changes faster than that is settled in a later run.
_MOST_ROUNDS = 5
# Seconds before a query that found nothing, but did in the last run, is sent again: longer than a hiccup.
_EMPTY_WAIT = 10.0
# Seconds after an event until Klaviyo has counted it: it was seen to take a few.
_COUNTING = 20


@dataclass(frozen=True)
class Settling:
    """Settles whether a stream was read whole.

    Args:
        started: when the run began by Klaviyo's clock, in epoch seconds.
        now: returns the time by Klaviyo's clock, in epoch seconds.
        pause: waits for some seconds.
        read_more: reads further fetches of a stream, and writes their records.
        metric_names: the names of the account's metrics, by id.
    """

    started: int
    now: Callable[[], int]
    pause: Callable[[float], None]
    read_more: Callable[[Plan, Tally, Iterable[Fetch[Batch]]], None]
    metric_names: Mapping[str, str]

    def settle_counts(self, plan: Plan, tally: Tally) -> None:
        """Compare the events with Klaviyo's counts. Days that differ are counted once more, and never read again."""
        name, differences = plan.stream.name, differences_of(tally)
        if tally.uncounted:
            logger.warning("%s: the records were not compared with Klaviyo's counts. %s", name, tally.uncounted)
        if differences and plan.count_again:
            self._await_counts(differences)
            spans = counted_again(differences)
            self.read_more(plan, tally, [plan.count_again(*span) for span in spans])
            differences = differences_of(tally)
        for metric, sentence in unread_lines(tally, self.metric_names).items():
            tally.unread.add(metric)
            tally.problems.append(sentence)
        if differences := [each for each in differences if each.metric not in tally.uncovered]:
            logger.warning("%s: %s", name, difference_line(differences, self.metric_names))

    def _await_counts(self, differences: Iterable[Difference]) -> None:
        """If the last hour differs, wait until Klaviyo has had time to count its events."""
        if any(each.end > self.started - HOUR for each in differences):
            self.pause(max(0, self.started + _COUNTING - self.now()))

    def settle_changes(self, plan: Plan, tally: Tally) -> bool:
        """Read what changed during the read until nothing is new, and return whether it came to that.

        A row that moves from a query that is read later to one that was read before would be missed, and the target
        would remove it. The first round writes every row that changed: queries are read side by side, so an older page
        may have been written behind a newer one.
        """
        if plan.changed is None:
            return True
        since, seen = self.started, frozenset[tuple[str, str]]()
        for _ in range(_MOST_ROUNDS):
            began = self.now() - 2 * CLOCK_MARGIN
            self.read_more(plan, tally, plan.changed(since - CLOCK_MARGIN, seen))
            found = frozenset(tally.changes.items())
            if found == seen:
                return True
            since, seen = max(since, began), found
        logger.warning("%s: rows keep changing; the target keeps rows that Klaviyo deleted.", plan.stream.name)
        return False

    def read_missed(self, plan: Plan, tally: Tally) -> None:
        """Read the rows that the stream's queries cannot find, if Klaviyo serves the endpoint that lists them."""
        if plan.missed is None:
            return
        try:
            self.read_more(plan, tally, plan.missed(frozenset(tally.ids)))
        except GoneError as problem:
            logger.info("%s: only what the revision in the settings lists. %s", plan.stream.name, problem)

    def settle_empty_queries(self, plan: Plan, tally: Tally, before: Mapping[str, int]) -> bool:
        """Send the queries again that found rows in the last run but none now; return whether the result is certain.

        The batches of events name no query, so a full read of events is judged as one, and not sent again.

        Args:
            plan: the stream's.
            tally: what its batches have shown.
            before: how many rows each query found in the last run, by the query's name.
        """
        empty = [query for query, rows in before.items() if rows and not tally.rows_by_query[query]]
        if not empty:
            return True
        if again := [plan.queries[query] for query in empty if query in plan.queries]:
            self.pause(_EMPTY_WAIT)
            self.read_more(plan, tally, again)
        lost = sum(before[query] for query in empty if not tally.rows_by_query[query])
        if lost:
            logger.warning(
                "%s: Klaviyo returned no rows for a query that found %s in the last run. The target keeps %s; if the "
                "next run finds none either, they are removed.",
                plan.stream.name,
                f"{lost:,}",
                "the rows that are read for these" if plan.is_silent else "its rows",
            )
        return not lost
