"""The loop: streams in order, SCHEMA, batches of records, bookmarks, STATE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing

from tap_klaviyo import log
from tap_klaviyo.config import Config
from tap_klaviyo.errors import (
    ApiError,
    AuthError,
    GoneError,
    OfflineError,
    PlanError,
    ScopeError,
    SyncError,
    UnavailableError,
)
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.log import logger
from tap_klaviyo.progress import Progress
from tap_klaviyo.reading.account import CLOCK_MARGIN, Account, read_account
from tap_klaviyo.reading.batch import Batch, park_batch, parking_room
from tap_klaviyo.reading.day_limit import DayLimit
from tap_klaviyo.reading.plan import MissedFetches, Plan
from tap_klaviyo.reading.planner import Planner, lookback_seconds
from tap_klaviyo.reading.prefetch import Failure, Fetch, Pipeline
from tap_klaviyo.reading.report_account import ReportAccount, read_report_account
from tap_klaviyo.reading.report_plans import ReportPlanner
from tap_klaviyo.reading.tally import Tally
from tap_klaviyo.reading.workers import run_watched
from tap_klaviyo.singer import state
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.other_taps import adopt_bookmarks, unknown_bookmarks
from tap_klaviyo.singer.selection import Selection
from tap_klaviyo.singer.state import State
from tap_klaviyo.streams.metric_streams import streams_with
from tap_klaviyo.times import Clock

STATE_INTERVAL = 10.0
# Seconds between two METRIC lines that count a stream's records.
METRIC_INTERVAL = 30.0
# Fetches beyond the maximum of parallel requests: a page that is being parsed must not hold up a request.
_AT_WORK = 3
# How often a full read asks for the rows that changed meanwhile. Each round takes a moment, and finds the changes of
# the one before it; an account that changes faster than that is settled in a later run.
_MOST_ROUNDS = 5
# Seconds before a query that found nothing, but did in the last run, is sent again: longer than a hiccup.
_EMPTY_WAIT = 10.0


class Sync:
    """One run over the selected streams."""

    def __init__(
        self,
        client: Client,
        config: Config,
        writer: Writer,
        clock: Clock | None = None,
        state_interval: float = STATE_INTERVAL,
    ) -> None:
        """Read and write nothing yet; `progress` has the run's numbers while it goes on.

        Args:
            client: asks Klaviyo.
            config: the settings.
            writer: writes the messages.
            clock: where time comes from.
            state_interval: seconds between two STATE messages within a stream.
        """
        self._client = client
        self._config = config
        self._writer = writer
        self._clock = clock or Clock()
        self._state: State = {}
        self.progress = Progress(self._clock.monotonic)
        self._state_interval = state_interval
        self._state_due = self._clock.monotonic() + state_interval
        self._metric_due = self._clock.monotonic() + METRIC_INTERVAL
        self._failed: list[str] = []
        self._scopes_named: set[str] = set()
        # The streams that were not read to their end, and those of which a row may have been missed.
        self._incomplete: set[str] = set()
        self._uncertain: set[str] = set()
        # By stream: digests of what decides which rows of other streams belong to its rows, by id.
        self._definitions: dict[str, Mapping[str, str]] = {}
        # The limits of a day that requests to reports count towards.
        self._limits: Mapping[str, DayLimit] = {}
        self._writing = False
        self._pipeline: Pipeline[Batch] = Pipeline(
            config.max_concurrency + _AT_WORK,
            park_batch,
            disk=parking_room(),
            judge=judge_failure,
            watch=writer.check_reader,
            taken=self._note_fetched,
        )

    def interrupt(self, reason: BaseException) -> None:
        """End the run by raising the reason, between two pages and with a STATE; for signal handlers."""
        if not self._writing:
            raise reason
        self._pipeline.interrupt(reason)

    def run(self, selections: Sequence[Selection], given: State) -> None:
        """Sync the streams, starting with the interrupted one.

        Raises:
            SyncError: streams were given up, each with its reason in the log.
            AuthError, OfflineError, StateError, OutputError: the run cannot continue.
        """
        table = streams_with(self._config.metric_streams)
        for sentence in unknown_bookmarks(given, table):
            logger.warning("%s", sentence)
        streams = [selection.stream for selection in selections]
        account = run_watched(lambda: read_account(self._client, streams, self._clock.wall), self._writer.check_reader)
        self.progress.now = account.now
        self._state = adopt_bookmarks(given, account.metric_ids, table)
        known = run_watched(
            lambda: read_report_account(self._client, account, streams, self._config.conversion_metric),
            self._writer.check_reader,
        )
        plans = self._plans(account, known, rotate_selections(selections, self._state.get("currently_syncing")))
        self.progress.names = [plan.stream.name for plan in plans if not plan.is_silent]
        with self._pipeline, closing(self._client):
            self._writing = True
            for plan in plans:
                self._pipeline.add(plan.stream.name, list(plan.queries.values()), plan.lane)
            for plan in plans:
                self._read_parent(plan) if plan.is_silent else self._stream(plan)
        self._state = state.with_currently_syncing(self._state, None)
        self._write_state()
        if self._failed:
            raise SyncError(f"Incomplete streams: {', '.join(self._failed)}; see the errors above.")

    def _note_fetched(self, batch: Batch) -> None:
        self.progress.fetched += batch.rows

    def _plans(self, account: Account, known: ReportAccount, selections: Sequence[Selection]) -> list[Plan]:
        reports = ReportPlanner(
            self._client,
            account,
            known,
            self._state,
            self._config.start_date,
            self._config.end_date,
            lookback_seconds(self._config.report_lookback_days),
            self._clock.wall,
        )
        self._limits = reports.limits
        planner = Planner(
            self._client,
            account,
            selections,
            self._state,
            start_date=self._config.start_date,
            end_date=self._config.end_date,
            lookback=lookback_seconds(self._config.lookback_days),
            activate_version=self._config.activate_version,
            api_revision=self._config.api_revision,
            reports=reports,
        )
        return planner.plans()

    def _stream(self, plan: Plan) -> None:
        stream, name, tally = plan.stream, plan.stream.name, Tally()
        self._state = state.with_currently_syncing(self._state, stream)
        if plan.drops_bookmark:
            self._state = state.drop_bookmark(self._state, stream)
        self._writer.schema(name, plan.selection.schema, stream.key, plan.selection.replication_key)
        self.progress.begin(name, self._begins_at(plan))
        try:
            self._end_alone(plan, tally, self._read_selected)
        finally:
            self.progress.end(name)
            self._report(plan, tally)
            self._write_state()

    def _read_selected(self, plan: Plan, tally: Tally) -> None:
        self._read(plan, tally)
        self._finish(plan, tally)
        log.log_progress("%s: %s records.", plan.stream.name, f"{tally.rows:,}")

    def _end_alone(self, plan: Plan, tally: Tally, read: Callable[[Plan, Tally], None]) -> None:
        """Read a stream, so that what Klaviyo refuses ends this stream and no other.

        Raises:
            AuthError, OfflineError: nothing else can be read either.
        """
        try:
            read(plan, tally)
        except (AuthError, OfflineError):
            raise
        except PlanError as problem:
            self._uncertain.add(plan.stream.name)
            logger.warning("%s: skipped, since this account does not have it. %s", plan.stream.name, problem)
        except ScopeError as problem:
            tally.lacks_scope = True
            self._name_scope(problem)
        except ApiError as problem:
            tally.problems.append(f"{problem} The other streams continue.")

    def _name_scope(self, problem: ScopeError) -> None:
        """Log a missing scope once, however many streams need it; the run's last line names these."""
        if str(problem) not in self._scopes_named:
            self._scopes_named.add(str(problem))
            logger.error("%s Streams that need it are skipped; the others continue.", problem)

    def _read_parent(self, plan: Plan) -> None:
        """Read a stream that is not selected, for the streams that are read for its rows."""
        tally = Tally()
        self._end_alone(plan, tally, self._read_silently)
        self._note_problems(plan, tally)

    def _read_silently(self, plan: Plan, tally: Tally) -> None:
        self._read(plan, tally)
        self._settle_parents(plan, tally, self._settle_changes(plan, tally))

    def _begins_at(self, plan: Plan) -> int | None:
        """Return where a stream's time range begins, for the progress; None if it has no range."""
        if not plan.selection.replication_key:
            return None
        lookback, now = lookback_seconds(self._config.lookback_days), self.progress.now or 0
        return state.start_of(plan.mark or None, self._config.start_date, lookback, now)

    def _read(self, plan: Plan, tally: Tally) -> None:
        """Write the records of a stream's fetches, batch by batch.

        The bookmark of an event stream follows the batches; in a full read it moves only at the end, so that a read
        that was interrupted leaves it behind the events that an incremental run has yet to read.
        """
        name = plan.stream.name
        for batch in self._pipeline.take(name):
            tally.add(batch)
            if plan.is_silent:
                continue
            self._writer.records(batch.read_lines())
            if plan.is_ordered and plan.selection.replication_key and batch.newest is not None:
                self._advance(plan, tally, batch.newest)
            self.progress.add(name, batch.rows, batch.newest)
            self._keep_up(name)

    def _advance(self, plan: Plan, tally: Tally, newest: int) -> None:
        """Move a stream's bookmark to a timestamp, and extend the metrics that it covers.

        A metric that the bookmark does not cover yet is read up to it first. It counts as covered only when the
        bookmark moves on: until then, a run that is interrupted has to read its history again.
        """
        covered = None if plan.metrics is None else plan.metrics - tally.denied
        reached = tally.limited(newest)
        if covered is not None and reached <= plan.mark:
            return
        self._state = state.advance_bookmark(self._state, plan.stream, reached, covered)

    def _finish(self, plan: Plan, tally: Tally) -> None:
        """Record what a stream's complete read means for the state, and activate its version."""
        if not self._has_parents(plan, tally):
            return
        if tally.newest:
            self._advance(plan, tally, tally.newest)
        if plan.metrics is not None and tally.limited(plan.mark) == plan.mark:
            self._state = state.cover_metrics(self._state, plan.stream, plan.metrics - tally.denied)
        if not plan.is_ordered:
            self._cover_parents(plan)
        is_settled = self._settle_changes(plan, tally)
        if plan.missed:
            self._read_missed(plan, plan.missed, tally)
        is_certain = is_settled and (plan.version is None or self._settle_empty_queries(plan, tally))
        self._settle_parents(plan, tally, is_certain)
        if plan.version is None:
            return
        if is_certain and not tally.problems and not tally.denied and plan.stream.name not in self._uncertain:
            self._writer.activate_version(plan.stream.name, plan.version)
        self._state = state.with_full_table(self._state, plan.stream, plan.version, tally.rows_by_query)

    def _read_missed(self, plan: Plan, missed: MissedFetches, tally: Tally) -> None:
        """Read the rows that the stream's queries cannot find, if Klaviyo serves the endpoint that lists them."""
        try:
            self._read_more(plan, tally, missed(frozenset(tally.ids)))
        except GoneError as problem:
            logger.info("%s: only what the revision in the settings lists. %s", plan.stream.name, problem)

    def _has_parents(self, plan: Plan, tally: Tally) -> bool:
        """Return whether the rows that a stream is read for are known; if not, something of it may be missing."""
        parent = plan.stream.parent
        if parent is None:
            return True
        if parent.stream in self._incomplete:
            tally.problems.append(f"It is read for each row of {parent.stream}, which could not be read to its end.")
        elif tally.parents_gone and not tally.parents:
            tally.problems.append(f"Klaviyo answers 404 for every row of {parent.stream}, which proves nothing.")
        if parent.stream in self._uncertain:
            self._uncertain.add(plan.stream.name)
        return not tally.problems

    def _settle_parents(self, plan: Plan, tally: Tally, is_certain: bool) -> None:
        """Keep what a stream's rows mean for the streams that are read for them."""
        self._definitions[plan.stream.name] = tally.definitions
        if not is_certain:
            self._uncertain.add(plan.stream.name)

    def _cover_parents(self, plan: Plan) -> None:
        """Record which parents' rows the bookmark covers now."""
        if plan.stream.parent:
            parents = self._definitions.get(plan.stream.parent.stream, {})
            self._state = state.cover_parents(self._state, plan.stream, parents)

    def _settle_changes(self, plan: Plan, tally: Tally) -> bool:
        """Read what changed during the read until nothing is new, and return whether it came to that.

        A row that moves from a query that is read later to one that was read before would be missed, and the target
        would remove it. The first round writes every row that changed: queries are read side by side, so an older page
        may have been written behind a newer one.
        """
        if plan.changed is None:
            return True
        since, seen = self.progress.now or 0, frozenset[tuple[str, str]]()
        for _ in range(_MOST_ROUNDS):
            began = int(self._client.server_time or self._clock.wall()) - 2 * CLOCK_MARGIN
            self._read_more(plan, tally, plan.changed(since - CLOCK_MARGIN, seen))
            found = frozenset(tally.changes.items())
            if found == seen:
                return True
            since, seen = max(since, began), found
        logger.warning("%s: rows keep changing; the target keeps rows that Klaviyo deleted.", plan.stream.name)
        return False

    def _settle_empty_queries(self, plan: Plan, tally: Tally) -> bool:
        """Send the queries again that found rows in the last run but none now; return whether the result is certain.

        The batches of events name no query, so a full read of events is judged as one, and not sent again.
        """
        before = state.rows_by_query(self._state, plan.stream)
        empty = [query for query, rows in before.items() if rows and not tally.rows_by_query[query]]
        if not empty:
            return True
        if again := [plan.queries[query] for query in empty if query in plan.queries]:
            self._clock.sleep(_EMPTY_WAIT)
            self._read_more(plan, tally, again)
        lost = sum(before[query] for query in empty if not tally.rows_by_query[query])
        if lost:
            logger.warning(
                "%s: Klaviyo returned no rows for a query that found %s in the last run. The target keeps its rows; if "
                "the next run finds none either, they are removed.",
                plan.stream.name,
                f"{lost:,}",
            )
        return not lost

    def _read_more(self, plan: Plan, tally: Tally, fetches: Iterable[Fetch[Batch]]) -> None:
        self._pipeline.add(plan.stream.name, list(fetches), plan.lane, is_next=True)
        self._read(plan, tally)

    def _report(self, plan: Plan, tally: Tally) -> None:
        """Say once what a stream's reading showed, and note it if something is missing."""
        name = plan.stream.name
        self._count(name)
        if summary := tally.findings.summary():
            logger.warning("%s: %s.", name, summary)
        for sentence in tally.left_over:
            logger.info("%s: %s", name, sentence)
        for metric in sorted(tally.denied):
            tally.problems.append(
                f"Klaviyo lists the metric {metric}, but says that it does not exist. Once Klaviyo serves it, its "
                "events are read from start_date."
            )
        if self._note_problems(plan, tally):
            self._failed.append(name)

    def _note_problems(self, plan: Plan, tally: Tally) -> bool:
        """Log what kept a stream from being read to its end, and return whether something did."""
        for problem in tally.problems:
            logger.error("%s: %s", plan.stream.name, problem)
        is_incomplete = bool(tally.problems) or tally.lacks_scope
        if is_incomplete:
            self._incomplete.add(plan.stream.name)
        return is_incomplete

    def _write_state(self) -> None:
        for limit in self._limits.values():
            self._state = limit.record(self._state)
        self._writer.state(self._state)

    def _count(self, stream: str) -> None:
        log.log_metric("counter", "record_count", self.progress.take_unreported(stream), endpoint=stream)

    def _keep_up(self, stream: str) -> None:
        """Between two batches, write the state and count the records, each when it is time."""
        now = self._clock.monotonic()
        if now >= self._state_due:
            self._write_state()
            self._state_due = now + self._state_interval
        if now >= self._metric_due:
            self._count(stream)
            self._metric_due = now + METRIC_INTERVAL


def rotate_selections(selections: Sequence[Selection], currently_syncing: object) -> list[Selection]:
    """Return the selections in their order, starting with the stream that an earlier run was interrupted in."""
    names = [selection.stream.name for selection in selections]
    first = names.index(currently_syncing) if currently_syncing in names else 0
    return [*selections[first:], *selections[:first]]


def judge_failure(problem: BaseException) -> Failure:
    """Return what the error of one request means for the others."""
    if isinstance(problem, AuthError | OfflineError):
        return Failure.FATAL
    return Failure.PASSING if isinstance(problem, UnavailableError) else Failure.LASTING
