"""The loop: streams in order, SCHEMA, pages of records, bookmarks, STATE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from tap_klaviyo import log
from tap_klaviyo.client import Client
from tap_klaviyo.config import Config
from tap_klaviyo.errors import ApiError, AuthError, SyncError, UnavailableError
from tap_klaviyo.klaviyo.endpoints import METRICS
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.log import logger
from tap_klaviyo.pages import Pages, whole
from tap_klaviyo.progress import Progress
from tap_klaviyo.ratelimit import Clock
from tap_klaviyo.reading.batch import Batch, park_batch, parking_room
from tap_klaviyo.reading.cursor import FullTable, full_table_fetches
from tap_klaviyo.reading.prefetch import Failure, Fetch, Fetched, Pipeline
from tap_klaviyo.reading.query import charged_endpoint, query_parameters
from tap_klaviyo.reading.time_range import Timeline, time_range_fetches
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.singer import state
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.selection import Selection
from tap_klaviyo.singer.state import State
from tap_klaviyo.streams.events import metrics_of
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.times import format_time

STATE_INTERVAL = 10.0
LINE_INTERVAL = 30.0
# Fetches beyond the requests that may be under way: pages that have come and are worked on hold up no request.
_AT_WORK = 3


@dataclass(frozen=True)
class Account:
    """What is asked before the streams: the metrics that feed each timeline, and Klaviyo's clock (epoch seconds)."""

    metrics: Mapping[str, Sequence[Resource]]
    now: int
    problem: ApiError | None = None


class Sync:
    """One run over the selected streams."""

    def __init__(self, client: Client, config: Config, writer: Writer, clock: Clock | None = None) -> None:
        """Read and write nothing yet; `progress` has the run's numbers while it goes on."""
        self._client = client
        self._config = config
        self._writer = writer
        self._clock = clock or Clock()
        self._version = int(self._clock.wall() * 1000) if config.activate_version else None
        # The versions that end in ACTIVATE_VERSION, by stream.
        self._versions: dict[str, int] = {}
        self._state: State = {}
        self.progress = Progress(self._clock.monotonic)
        self._state_due = self._clock.monotonic() + STATE_INTERVAL
        self._line_due = self._clock.monotonic() + LINE_INTERVAL
        self._failed: list[str] = []
        self._writing = False
        self._pipeline: Pipeline[Batch] = Pipeline(
            config.max_concurrency + _AT_WORK,
            park_batch,
            disk=parking_room(),
            judge=judge_failure,
            watch=writer.check_reader,
        )

    def interrupt(self, reason: BaseException) -> None:
        """End the run by raising the reason, between two pages and with a STATE; for signal handlers."""
        if not self._writing:
            raise reason
        self._pipeline.interrupt(reason)

    def run(self, selections: Sequence[Selection], given: State) -> None:
        """Sync the streams, the one that was interrupted first.

        Raises:
            SyncError: streams were given up, each with its reason in the log.
            AuthError, StateError, OutputError: the run cannot go on.
        """
        account = self._account([selection.stream for selection in selections])
        self.progress.now = account.now
        ids = {name: [metric.id for metric in metrics] for name, metrics in account.metrics.items()}
        self._state = state.adopt(given, ids)
        ordered = rotated(selections, self._state.get("currently_syncing"))
        with self._pipeline, closing(self._client):
            self._writing = True
            for selection in ordered:
                lane = charged_endpoint(selection.stream, selection.fields).path
                self._pipeline.add(selection.stream.name, self._fetches(selection, account), lane)
            for selection in ordered:
                self._stream(selection)
        self._state = state.syncing(self._state, None)
        self._writer.state(self._state)
        if self._failed:
            raise SyncError(f"Not read to the end: {', '.join(self._failed)}; the reasons stand above.")

    def _account(self, streams: Sequence[Stream]) -> Account:
        """Ask for the metrics, if a timeline is selected."""
        now, found = int(self._clock.wall()), []
        if not any(stream.metric_names for stream in streams):
            return Account({}, now)
        pages = Pages(self._client, METRICS, {})
        try:
            while not pages.ended:
                answer = pages.read(whole)
                now = answer.server_time or now
                found += answer.made.data
        except AuthError:
            raise
        except ApiError as problem:
            return Account({}, now, problem)
        return Account({stream.name: metrics_of(stream, found) for stream in streams}, now)

    def _fetches(self, selection: Selection, account: Account) -> list[Fetch[Batch]]:
        stream, fields = selection.stream, selection.fields
        if self._version is not None and self._is_whole(selection, account):
            self._versions[stream.name] = self._version
        version = self._versions.get(stream.name)
        projection = stream.project(fields)
        parameters = query_parameters(stream, fields)
        if not stream.metric_names:
            endpoint = charged_endpoint(stream, fields)
            return full_table_fetches(FullTable(stream, self._client, endpoint, parameters, projection, version))
        if account.problem:
            return [partial(_refuse, account.problem)]
        line = Timeline(stream, self._client, parameters, projection, version)
        return time_range_fetches(line, account.metrics[stream.name], *self._range(selection, account))

    def _is_whole(self, selection: Selection, account: Account) -> bool:
        """Return whether rows that are not read have gone from Klaviyo, so that a target may remove them."""
        if selection.replication_key:
            return False
        name = selection.stream.name
        if not selection.stream.replication_key:
            return True
        if self._config.end_date is not None and self._config.end_date < account.now:
            logger.warning("%s: end_date leaves out newer events; the target keeps events that Klaviyo deleted.", name)
            return False
        # A metric that is missing may have been renamed: its rows must not be removed on that ground.
        return bool(account.metrics.get(name))

    def _range(self, selection: Selection, account: Account) -> tuple[int, int]:
        """Return the timestamps to read from and up to."""
        stream = selection.stream
        incremental = bool(selection.replication_key)
        start = state.start_of(self._state, stream, self._config, account.now)
        start = start if incremental else self._config.start_date
        end = min(self._config.end_date or account.now, account.now)
        mark = state.bookmark(self._state, stream)
        name = stream.name
        if mark is not None and mark > account.now:
            logger.warning("%s: its bookmark lies in the future, so that it is read from start_date again.", name)
            self._state = state.drop(self._state, stream)
        if not account.metrics[name]:
            logger.info(
                "%s: the account has no metric named %s, so no records.",
                name,
                " or ".join(stream.metric_names),
            )
        else:
            logger.debug("%s: reads events from %s to %s.", name, format_time(start), format_time(end))
        return start, end

    def _stream(self, selection: Selection) -> None:
        stream, name = selection.stream, selection.stream.name
        self._state = state.syncing(self._state, stream)
        self._writer.schema(name, selection.schema, stream.key, selection.replication_key)
        try:
            rows = self._rows(selection)
            if name in self._versions:
                self._writer.activate_version(name, self._versions[name])
            logger.info("%s: %s records.", name, f"{rows:,}")
        except AuthError:
            raise
        except ApiError as problem:
            logger.error("%s: %s The other streams go on.", name, problem)
            self._failed.append(name)
        finally:
            self._writer.state(self._state)

    def _rows(self, selection: Selection) -> int:
        """Write a stream's records, page by page, and return how many they were.

        The bookmark of an event stream follows the pages; in a full read it moves only at the end, so that a read that
        was interrupted leaves it behind what an incremental run has yet to read.
        """
        stream, newest = selection.stream, 0
        rows, recurring, findings, name = 0, set[str](), Findings(), stream.name
        self.progress.begin(name)
        try:
            for batch in self._pipeline.take(name):
                shared = {key: line for key, line in batch.shared.items() if key not in recurring}
                recurring |= shared.keys()
                self._writer.records(batch.read_lines(), *shared.values())
                rows += batch.rows + len(shared)
                findings.add(batch.findings)
                newest = max(newest, batch.newest or 0)
                if selection.replication_key and batch.newest is not None:
                    self._state = state.advance(self._state, stream, batch.newest)
                self.progress.add(name, batch.rows + len(shared), batch.newest)
                self._keep_up(name)
            if newest:
                self._state = state.advance(self._state, stream, newest)
        finally:
            self._count(name)
            if summary := findings.summary():
                logger.warning("%s: %s.", name, summary)
        return rows

    def _count(self, stream: str) -> None:
        log.metric("counter", "record_count", self.progress.untold(stream), endpoint=stream)

    def _keep_up(self, stream: str) -> None:
        """Between two pages, write the state and say how far it is, each when it is time."""
        now = self._clock.monotonic()
        if now >= self._state_due:
            self._writer.state(self._state)
            self._state_due = now + STATE_INTERVAL
        if now >= self._line_due:
            logger.info("%s", self.progress.line(stream))
            self._count(stream)
            self._line_due = now + LINE_INTERVAL


def rotated(selections: Sequence[Selection], currently_syncing: object) -> list[Selection]:
    """Return the selections in their order, begun with the stream that an earlier run was interrupted in."""
    names = [selection.stream.name for selection in selections]
    first = names.index(currently_syncing) if currently_syncing in names else 0
    return [*selections[first:], *selections[:first]]


def judge_failure(problem: BaseException) -> Failure:
    """Return what the error of one request means for the others."""
    if isinstance(problem, AuthError):
        return Failure.FATAL
    return Failure.PASSING if isinstance(problem, UnavailableError) else Failure.LASTING


def _refuse(problem: ApiError) -> Fetched[Batch]:
    raise problem
