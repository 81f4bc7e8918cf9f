"""A selected stream to its fetches: which queries are sent, from when on, and what the run does at the stream's end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tap_klaviyo.errors import ApiError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import METRICS, Endpoint
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.log import logger
from tap_klaviyo.reading.account import CLOCK_MARGIN, Account
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.cursor import Change, FullTable, changed_fetches, full_table_fetches
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.reading.query import charged_endpoint, query_parameters
from tap_klaviyo.reading.time_range import Timeline, time_range_fetches
from tap_klaviyo.singer.selection import Selection
from tap_klaviyo.singer.state import State, bookmark_of, covered_metrics, is_future, last_version, start_of
from tap_klaviyo.streams.model import Filters, Metrics, Stream
from tap_klaviyo.times import DAY, format_time

# Fetches that find the rows changed since a time, except those that were read already.
ChangedFetches = Callable[[int, frozenset[Change]], Sequence[Fetch[Batch]]]


@dataclass(frozen=True)
class Plan:
    """How one stream is read in this run.

    Args:
        selection: the stream, and what of it.
        lane: the path of the endpoint, whose limit its requests share.
        queries: the first fetch of each query, by the query's name, in their order.
        version: marks the rows of a stream that is read in full, and is activated at its end; None for others.
        metrics: the ids of the metrics that the bookmark covers when all is read; None for a stream without metrics.
        covered: the ids of the metrics that the bookmark covers now.
        mark: the bookmark at the run's start, in epoch seconds.
        drops_bookmark: whether the bookmark is in the future, so that it must go back.
        changed: finds what changed during the run, if rows can move between the queries; else None.
    """

    selection: Selection
    lane: str
    queries: Mapping[str, Fetch[Batch]]
    version: int | None = None
    metrics: frozenset[str] | None = None
    covered: frozenset[str] = frozenset()
    mark: int = 0
    drops_bookmark: bool = False
    changed: ChangedFetches | None = None

    @property
    def stream(self) -> Stream:
        """The stream."""
        return self.selection.stream


@dataclass(frozen=True)
class FirstRequest:
    """A request that a sync of a stream begins with."""

    endpoint: Endpoint
    parameters: tuple[tuple[str, str], ...]


def first_requests(selection: Selection) -> list[FirstRequest]:
    """Return the requests that show whether a stream can be read, with the includes and fields that a sync asks for."""
    stream = selection.stream
    parameters = query_parameters(stream, selection.fields)
    if isinstance(stream.split, Filters):
        parameters["filter"] = next(iter(stream.split.each))
    request = FirstRequest(charged_endpoint(stream, selection.fields), tuple(parameters.items()))
    return [FirstRequest(METRICS, ()), request] if isinstance(stream.split, Metrics) else [request]


@dataclass(frozen=True)
class Planner:
    """What the plans of all streams have in common.

    Args:
        client: asks Klaviyo.
        account: its metrics and its clock.
        start_date: where a stream without a bookmark begins, in epoch seconds.
        end_date: events before it are read, in epoch seconds; None for all up to now.
        lookback: seconds before the bookmark that are read again.
        activate_version: whether streams that are read in full carry versions.
    """

    client: Client
    account: Account
    start_date: int
    end_date: int | None
    lookback: int
    activate_version: bool

    def plan_stream(self, selection: Selection, state: State) -> Plan:
        """Return how a stream is read from a state on."""
        if isinstance(selection.stream.split, Metrics):
            return self._events(selection, state)
        return self._full_table(selection, state)

    def _full_table(self, selection: Selection, state: State) -> Plan:
        stream, fields = selection.stream, selection.fields
        endpoint, version = charged_endpoint(stream, fields), self._version(stream, state)
        table = FullTable(
            stream,
            self.client,
            endpoint,
            query_parameters(stream, fields),
            stream.project(selection.schema),
            version,
            self.account.now - CLOCK_MARGIN,
        )
        changed: ChangedFetches | None = None
        if table.changed_by:
            changed = lambda since, seen: changed_fetches(replace(table, since=since, seen=seen))  # noqa: E731
        return Plan(selection, endpoint.path, full_table_fetches(table), version, changed=changed)

    def _events(self, selection: Selection, state: State) -> Plan:
        stream, account = selection.stream, self.account
        if account.problem:
            return Plan(selection, stream.endpoint.path, {"": partial(_refuse, account.problem)})
        metrics = account.metrics[stream.name]
        version = self._version(stream, state) if self._removes_rows(selection, metrics) else None
        mark = bookmark_of(state, stream)
        dropped = mark is not None and is_future(mark, account.now)
        covered = None if dropped else covered_metrics(state, stream)
        ids = frozenset(metric.id for metric in metrics)
        plan = Plan(
            selection,
            stream.endpoint.path,
            {},
            version,
            metrics=ids,
            covered=ids if covered is None else ids.intersection(covered),
            mark=0 if dropped else mark or 0,
            drops_bookmark=dropped,
        )
        if self._end < min(plan.mark, account.now):
            # The history of a metric that joined later is not read as far as the bookmark.
            plan = replace(plan, metrics=plan.covered)
        return replace(plan, queries=self._event_queries(plan, metrics, mark))

    def _event_queries(self, plan: Plan, metrics: Sequence[Resource], mark: int | None) -> dict[str, Fetch[Batch]]:
        """Return the fetches of a stream's events: first the history of metrics that the bookmark does not cover."""
        stream, fields = plan.stream, plan.selection.fields
        timeline = Timeline(
            stream,
            self.client,
            query_parameters(stream, fields),
            stream.project(plan.selection.schema),
            plan.version,
        )
        start, end = self.start_date, self._end
        if plan.selection.replication_key:
            start = start_of(mark, self.start_date, self.lookback, self.account.now)
        self._describe(plan, metrics, start, end)
        added = [metric for metric in metrics if metric.id not in plan.covered] if start > self.start_date else []
        history = time_range_fetches(timeline, added, self.start_date, min(start, end))
        return {
            str(place): fetch
            for place, fetch in enumerate([*history, *time_range_fetches(timeline, metrics, start, end)])
        }

    @property
    def _end(self) -> int:
        return min(self.end_date or self.account.now, self.account.now)

    def _describe(self, plan: Plan, metrics: Sequence[Resource], start: int, end: int) -> None:
        name, split = plan.stream.name, plan.stream.split
        if plan.drops_bookmark:
            logger.warning("%s: the bookmark is in the future; reading again from start_date.", name)
        if not metrics and isinstance(split, Metrics):
            logger.info("%s: the account has no metric named %s, so no records.", name, " or ".join(split.names))
            return
        logger.debug("%s: reading events from %s to %s.", name, format_time(start), format_time(end))
        if plan.mark and plan.metrics != plan.covered:
            added = ", ".join(sorted((plan.metrics or frozenset()) - plan.covered))
            logger.info("%s: the bookmark does not cover the metrics %s yet; reading their history.", name, added)

    def _removes_rows(self, selection: Selection, metrics: Sequence[Resource]) -> bool:
        """Return whether a target may remove the events that are not read: those have gone from Klaviyo."""
        if selection.replication_key:
            return False
        if self.end_date is not None and self.end_date < self.account.now:
            name = selection.stream.name
            logger.warning("%s: end_date leaves out newer events; the target keeps events that Klaviyo deleted.", name)
            return False
        # A missing metric may have been renamed: its rows must not be removed because of that.
        return bool(metrics)

    def _version(self, stream: Stream, state: State) -> int | None:
        """Return the version of a full read: the time by Klaviyo's clock in milliseconds, above the last one."""
        if not self.activate_version:
            return None
        return max((self.account.now + CLOCK_MARGIN) * 1000, last_version(state, stream) + 1)


def lookback_seconds(days: float) -> int:
    """Return the lookback in seconds."""
    return int(days * DAY)


def _refuse(problem: ApiError) -> Fetched[Batch]:
    raise problem
