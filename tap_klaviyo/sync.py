"""The loop: streams in order, SCHEMA, batches of records, bookmarks, STATE."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from contextlib import closing

from tap_klaviyo import log
from tap_klaviyo.completeness import totals_line
from tap_klaviyo.config import Config
from tap_klaviyo.errors import SyncError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.outcomes import Outcomes, judge_failure
from tap_klaviyo.progress import Progress
from tap_klaviyo.reading.account import Account, read_account
from tap_klaviyo.reading.batch import Batch, park_batch, parking_room
from tap_klaviyo.reading.plan import Plan
from tap_klaviyo.reading.planner import Planner, lookback_seconds
from tap_klaviyo.reading.prefetch import Fetch, Pipeline
from tap_klaviyo.reading.report_account import ReportAccount, read_report_account
from tap_klaviyo.reading.report_plans import ReportPlanner
from tap_klaviyo.reading.tally import Tally
from tap_klaviyo.reading.workers import run_watched
from tap_klaviyo.run_state import STATE_INTERVAL, RunState
from tap_klaviyo.settling import Settling
from tap_klaviyo.singer import state
from tap_klaviyo.singer.given_state import name_odd_parts
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.other_taps import adopt_bookmarks
from tap_klaviyo.singer.selection import Selection
from tap_klaviyo.singer.state import State
from tap_klaviyo.streams.events import doubled_metrics
from tap_klaviyo.streams.metric_streams import streams_with
from tap_klaviyo.times import Clock

# Seconds between two METRIC lines that count a stream's records.
METRIC_INTERVAL = 30.0
# Fetches beyond the maximum of parallel requests: a page that is being parsed must not hold up a request.
_AT_WORK = 3


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
        self._state = RunState(writer, self._clock, state_interval)
        self._outcomes = Outcomes()
        self.progress = Progress(self._clock.monotonic)
        self._metric_due = self._clock.monotonic() + METRIC_INTERVAL
        self._writing = False
        self._settling: Settling
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
        streams = [selection.stream for selection in selections]
        account = run_watched(lambda: read_account(self._client, streams, self._clock.wall), self._writer.check_reader)
        self.progress.now = account.now
        self._settling = Settling(account.now, self._server_time, self._pause, self._read_more, account.metric_names)
        if doubled := doubled_metrics(streams, account.all_metrics):
            log.logger.info("The events of these metrics are written to two streams: %s.", "; ".join(doubled))
        name_odd_parts(given, account.metric_ids, table, account.listed_ids)
        self._state.value = adopt_bookmarks(given, account.metric_ids, table)
        known = run_watched(
            lambda: read_report_account(self._client, account, streams, self._config.conversion_metric),
            self._writer.check_reader,
        )
        plans = self._plans(account, known, rotate_selections(selections, self._state.value.get("currently_syncing")))
        self.progress.names = [plan.stream.name for plan in plans if not plan.is_silent]
        self._expect_as_before(plans)
        with self._pipeline, closing(self._client):
            self._writing = True
            for plan in plans:
                self._pipeline.add(plan.stream.name, list(plan.queries.values()), plan.lane)
            for plan in plans:
                self._read_parent(plan) if plan.is_silent else self._stream(plan)
        self._state.end()
        if self._outcomes.failed:
            raise SyncError(f"Incomplete streams: {', '.join(self._outcomes.failed)}; see the errors above.")

    def _note_fetched(self, stream: Hashable, batch: Batch) -> None:
        self.progress.fetched += batch.rows
        if batch.expected:
            self.progress.expect(str(stream), batch.expected)

    def _expect_as_before(self, plans: Iterable[Plan]) -> None:
        """Expect as many rows of a full table as the last run found."""
        for plan in plans:
            rows = sum(state.rows_by_query(self._state.value, plan.stream).values())
            if rows and not plan.selection.replication_key and not plan.is_silent:
                self.progress.expect(plan.stream.name, rows)

    def _plans(self, account: Account, known: ReportAccount, selections: Sequence[Selection]) -> list[Plan]:
        reports = ReportPlanner(
            self._client,
            account,
            known,
            self._state.value,
            self._config.start_date,
            self._config.end_date,
            lookback_seconds(self._config.report_lookback_days),
            self._clock.wall,
        )
        self._state.limits = reports.limits
        planner = Planner(
            self._client,
            account,
            selections,
            self._state.value,
            start_date=self._config.start_date,
            end_date=self._config.end_date,
            lookback=lookback_seconds(self._config.lookback_days),
            activate_version=self._config.activate_version,
            check_counts=self._config.check_counts,
            recount=self._config.recount_seconds,
            api_revision=self._config.api_revision,
            reports=reports,
        )
        return planner.plans()

    def _stream(self, plan: Plan) -> None:
        stream, name, tally = plan.stream, plan.stream.name, Tally()
        self._state.begin(plan)
        self._writer.schema(name, plan.selection.schema, stream.key, plan.selection.replication_key)
        self.progress.begin(name, self._begins_at(plan))
        try:
            self._outcomes.read_alone(plan, tally, self._read_selected)
        finally:
            self.progress.end(name)
            self._count(name)
            self._outcomes.report(plan, tally)
            self._state.write()

    def _read_selected(self, plan: Plan, tally: Tally) -> None:
        self._read(plan, tally)
        self._finish(plan, tally)
        log.log_progress("%s: %s", plan.stream.name, totals_line(tally))

    def _read_parent(self, plan: Plan) -> None:
        """Read a stream that is not selected, for the streams that are read for its rows."""
        tally = Tally()
        self._outcomes.read_alone(plan, tally, self._read_silently)
        self._outcomes.note_problems(plan, tally)

    def _read_silently(self, plan: Plan, tally: Tally) -> None:
        self._read(plan, tally)
        if self._outcomes.has_parents(plan, tally):
            self._settle(plan, tally, self._settling.settle_changes(plan, tally))

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
                self._state.advance(plan, tally, batch.newest)
            self.progress.add(name, batch.rows, batch.newest)
            self._keep_up(name)

    def _finish(self, plan: Plan, tally: Tally) -> None:
        """Record what a stream's complete read means for the state, and activate its version."""
        if not self._outcomes.has_parents(plan, tally):
            return
        self._settling.settle_counts(plan, tally)
        self._state.finish(plan, tally, self._outcomes.parents_of(plan))
        self._state.keep_counts(plan, tally)
        is_settled = self._settling.settle_changes(plan, tally)
        self._settling.read_missed(plan, tally)
        self._settle(plan, tally, is_settled)

    def _settle(self, plan: Plan, tally: Tally, is_settled: bool) -> None:
        """Keep whether a stream was read whole, and what the next run compares with; activate its version.

        A parent that is not written is judged as well: of rows that it lacks, the children would be removed.
        """
        before = state.rows_by_query(self._state.value, plan.stream) if plan.version is not None else {}
        is_certain = is_settled and self._settling.settle_empty_queries(plan, tally, before)
        self._outcomes.settle(plan, tally, is_certain)
        if plan.version is None:
            return
        if self._outcomes.is_certain(plan, tally) and not plan.is_silent:
            self._writer.activate_version(plan.stream.name, plan.version)
        self._state.finish_version(plan, tally, plan.version)

    def _server_time(self) -> int:
        return int(self._client.server_time or self._clock.wall())

    def _pause(self, seconds: float) -> None:
        """Wait. Nothing is being written, so a signal may end the run at once."""
        self._writing = False
        self._clock.sleep(seconds)
        self._writing = True

    def _read_more(self, plan: Plan, tally: Tally, fetches: Iterable[Fetch[Batch]]) -> None:
        self._pipeline.add(plan.stream.name, list(fetches), plan.lane, is_next=True)
        self._read(plan, tally)

    def _count(self, stream: str) -> None:
        log.log_metric("counter", "record_count", self.progress.take_unreported(stream), endpoint=stream)

    def _keep_up(self, stream: str) -> None:
        """Between two batches, write the state and count the records, each when it is time."""
        self._state.write_if_due()
        now = self._clock.monotonic()
        if now >= self._metric_due:
            self._count(stream)
            self._metric_due = now + METRIC_INTERVAL


def rotate_selections(selections: Sequence[Selection], currently_syncing: object) -> list[Selection]:
    """Return the selections in their order, starting with the stream that an earlier run was interrupted in."""
    names = [selection.stream.name for selection in selections]
    first = names.index(currently_syncing) if currently_syncing in names else 0
    return [*selections[first:], *selections[:first]]
