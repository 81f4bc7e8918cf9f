"""The selected streams and the state to plans: which queries are sent, from when on, and what marks the rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.filters import filter_all, filter_between, filter_from, filter_metric
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.log import logger
from tap_klaviyo.reading.account import CLOCK_MARGIN, Account
from tap_klaviyo.reading.children import definition_digests, range_children, table_children
from tap_klaviyo.reading.counted_range import count_again
from tap_klaviyo.reading.counts import count_events
from tap_klaviyo.reading.cursor import Children, FullTable, changed_fetches, full_table_fetches, table_queries
from tap_klaviyo.reading.omnichannel import changed_omnichannel_fetches, omnichannel_fetches
from tap_klaviyo.reading.plan import ChangedFetches, Plan, failing_fetches, with_parents
from tap_klaviyo.reading.query import Query, charged_endpoint, query_parameters
from tap_klaviyo.reading.recount import Recount, recount_fetch
from tap_klaviyo.reading.report_plans import ReportPlanner
from tap_klaviyo.reading.time_range import time_range_fetches
from tap_klaviyo.reading.timeline import Timeline
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.singer.recounts import counted_bookmark, known_counts
from tap_klaviyo.singer.selection import Selection
from tap_klaviyo.singer.state import (
    State,
    bookmark_of,
    covered_metrics,
    covered_parents,
    is_future,
    last_version,
    start_of,
)
from tap_klaviyo.streams.events import missing_metric, project_metric, project_metrics
from tap_klaviyo.streams.model import (
    METRIC_STREAMS,
    AllMetrics,
    DailyCounts,
    Metrics,
    Parent,
    Report,
    Sizes,
    Stream,
    TimeRange,
)
from tap_klaviyo.times import DAY, format_time

# 2000-01-01, before anything that Klaviyo keeps: a range from here on is a full read.
_BEGINNING = 946_684_800


@dataclass(frozen=True)
class Planner:
    """Plans a run.

    Args:
        client: asks Klaviyo.
        account: its metrics and its clock.
        selections: the selected streams, in their order.
        state: where the last run ended.
        start_date: where a stream without a bookmark begins, in epoch seconds.
        end_date: rows before it are read, in epoch seconds; None for all up to now.
        lookback: seconds before the bookmark that are read again.
        activate_version: whether streams that are read in full carry versions.
        check_counts: whether all events are compared with Klaviyo's counts.
        recount: seconds by which events may be late, if hours are read again only where Klaviyo's count of them has
            changed; None to read the lookback again.
        api_revision: the revision of Klaviyo's API in the settings.
        reports: plans the reports.
    """

    client: Client
    account: Account
    selections: Sequence[Selection]
    state: State
    start_date: int
    end_date: int | None
    lookback: int
    activate_version: bool
    check_counts: bool
    recount: int | None
    api_revision: str
    reports: ReportPlanner

    def plans(self) -> list[Plan]:
        """Return how the streams are read, each parent before its children."""
        # Whatever waits for the limits of reports comes last, so that no other stream waits for it.
        ordered = sorted(self._ordered, key=lambda each: isinstance(each[0].stream.split, Report))
        return [self._plan(selection, is_silent) for selection, is_silent in ordered]

    @cached_property
    def _ordered(self) -> Sequence[tuple[Selection, bool]]:
        return with_parents(self.selections)

    @property
    def _end(self) -> int:
        return min(self.end_date or self.account.now, self.account.now)

    def _plan(self, selection: Selection, is_silent: bool) -> Plan:
        stream = selection.stream
        if isinstance(stream.split, Report | DailyCounts | Sizes):
            plan = self.reports.plan(self._bookmarked(selection), self._covering_all)
        elif stream.parent:
            plan = self._child(selection, is_silent)
        elif isinstance(stream.split, Metrics | AllMetrics):
            plan = self._events(selection, stream.split)
        elif stream.range and (selection.replication_key or stream.range.fixed):
            plan = self._timeline(selection, table_queries(stream, stream.project(selection.schema)))
        else:
            plan = self._full_table(selection, is_silent)
        if not selection.replication_key and self._leaves_out(stream) and self.activate_version:
            logger.warning(
                "%s: end_date leaves out newer rows; the target keeps rows that Klaviyo deleted.", stream.name
            )
        return plan

    def _child(self, selection: Selection, is_silent: bool) -> Plan:
        """Return the plan of a stream whose fetches follow from its parent's pages."""
        if selection.replication_key:
            return replace(self._bookmarked(selection), is_ordered=False)
        version = self._version(selection.stream)
        return Plan(selection, selection.stream.endpoint.path, version=version, is_silent=is_silent)

    def _full_table(self, selection: Selection, is_silent: bool) -> Plan:
        table = self._table(selection, is_silent)
        newer = selection.stream.omnichannel_from
        is_newer = newer is not None and self.api_revision >= newer
        queries = full_table_fetches(table)
        find_changed = changed_fetches
        if is_newer:
            queries = {str(place): fetch for place, fetch in enumerate(omnichannel_fetches(table))}
            find_changed = changed_omnichannel_fetches
        changed: ChangedFetches | None = None
        if table.changed_by:
            changed = lambda since, seen: find_changed(replace(table, since=since, seen=seen))  # noqa: E731
        return Plan(
            selection,
            table.endpoint.path,
            queries,
            table.version,
            is_silent=is_silent,
            changed=changed,
            missed=partial(omnichannel_fetches, table) if newer and not is_newer else None,
        )

    def _table(self, selection: Selection, is_silent: bool) -> FullTable:
        """Return what the requests of a stream that is read in full have in common, with those of its children."""
        stream, fields = selection.stream, selection.fields
        children = [
            (each, parent, silent)
            for each, silent in self._ordered
            if (parent := each.stream.parent) and parent.stream == stream.name
        ]
        riders = tuple(parent.included for _, parent, _ in children if parent.included)
        return FullTable(
            stream,
            self.client,
            charged_endpoint(stream, fields),
            query_parameters(stream, fields, tuple(each.relationship for each in riders)),
            stream.project(selection.schema, riders),
            self._version(stream),
            self.account.now - CLOCK_MARGIN,
            condition=self._span(stream.range),
            notes_ids=stream.omnichannel_from is not None,
            is_silent=is_silent,
            children={each.stream.name: self._children(each, parent, silent) for each, parent, silent in children},
            digests=definition_digests if any(each.replication_key for each, _, _ in children) else None,
        )

    def _span(self, span: TimeRange | None) -> str | None:
        """Return the filter for what a full read of a stream that has a time range finds."""
        if span is None or not span.ordered:
            return None
        if self.end_date is None:
            return filter_from(span.field, self.start_date, span.after)
        return filter_all(*filter_between(span.field, self.start_date, self._end, span.after, span.before))

    def _children(self, selection: Selection, parent: Parent, is_silent: bool) -> Children:
        """Return how the rows of a stream follow from the pages of its parent."""
        stream = selection.stream
        if not selection.replication_key:
            return table_children(parent, self._table(selection, is_silent))
        return range_children(
            parent,
            self._requests(selection, None),
            stream.project(selection.schema),
            partial(self._parent_start, stream),
            self._end,
        )

    def _parent_start(self, stream: Stream, parent: str, digest: str | None) -> int:
        """Return from when on the rows of a parent are read: all, unless the bookmark covers it as it is now."""
        mark = bookmark_of(self.state, stream)
        if digest is None or covered_parents(self.state, stream).get(parent) != digest:
            mark = None
        return start_of(mark, _BEGINNING, self.lookback, self.account.now)

    def _timeline(self, selection: Selection, queries: Sequence[Query]) -> Plan:
        """Return the plan of a stream that is read by time."""
        return self._with_fetches(self._bookmarked(selection), queries)

    def _bookmarked(self, selection: Selection) -> Plan:
        """Return the plan of a stream that has a bookmark, without its fetches."""
        stream = selection.stream
        mark = bookmark_of(self.state, stream)
        dropped = mark is not None and is_future(mark, self.account.now)
        if dropped:
            logger.warning("%s: the bookmark is in the future; reading again from start_date.", stream.name)
        return Plan(
            selection,
            stream.endpoint.path,
            version=None if selection.replication_key else self._version(stream),
            mark=0 if dropped else mark or 0,
            drops_bookmark=dropped,
        )

    def _covering_all(self, plan: Plan) -> Plan:
        return self._covering(plan, self.account.all_metrics)

    def _events(self, selection: Selection, split: Metrics | AllMetrics) -> Plan:
        stream, account = selection.stream, self.account
        if account.problem:
            return Plan(selection, stream.endpoint.path, failing_fetches(account.problem))
        queries = event_queries(stream, stream.project(selection.schema), account)
        if isinstance(split, AllMetrics):
            if self.recount is not None:
                logger.info("%s: not every metric is counted, so the lookback is read again.", stream.name)
            return self._timeline(selection, queries)
        metrics = account.metrics[stream.name]
        plan = self._covering(self._bookmarked(selection), metrics)
        if not metrics:
            # A missing metric may have been renamed: its rows must not be removed because of that.
            # The user named it, while most accounts lack some metric of the core streams.
            level = logging.WARNING if stream.group == METRIC_STREAMS else logging.INFO
            logger.log(level, "%s: %s", stream.name, missing_metric(split, account.all_metrics))
            return replace(plan, version=None)
        if self.recount is not None and selection.replication_key:
            return self._recounted(plan, queries, self.recount)
        added = [query for query in queries if query.name not in plan.covered]
        return self._with_fetches(plan, queries, added)

    def _recounted(self, plan: Plan, queries: Sequence[Query], seconds: int) -> Plan:
        """Return a plan whose fetches follow from Klaviyo's counts; a metric that is not covered is read in full."""
        stream, requests = plan.stream, self._requests(plan.selection, None)
        mark, counted = plan.mark or None, counted_bookmark(self.state, stream)
        is_moved_back = mark is not None and counted is not None and mark < counted
        known, start = known_counts(self.state, stream), self._start(stream)
        recounts = [
            Recount(query, start, mark if is_moved_back else None, known.get(query.name))
            if mark is not None and query.name in plan.covered
            else Recount(query, self.start_date)
            for query in queries
        ]
        fetch = recount_fetch(requests, recounts, self._end, seconds, self.start_date)
        return replace(plan, queries={"": fetch}, count_again=partial(count_again, requests))

    def _start(self, stream: Stream) -> int:
        return start_of(bookmark_of(self.state, stream), self.start_date, self.lookback, self.account.now)

    def _covering(self, plan: Plan, metrics: Sequence[Resource]) -> Plan:
        """Return the plan of an event stream with the metrics that its bookmark covers, now and in the end."""
        covered = covered_metrics(self.state, plan.stream)
        ids = frozenset(metric.id for metric in metrics)
        plan = replace(plan, metrics=ids, covered=ids if covered is None else ids.intersection(covered))
        if self._end < min(plan.mark, self.account.now):
            # The history of a metric that joined later is not read as far as the bookmark.
            return replace(plan, metrics=plan.covered)
        if plan.mark and ids != plan.covered:
            logger.info(
                "%s: the bookmark does not cover the metrics %s yet; reading their history.",
                plan.stream.name,
                ", ".join(sorted(ids - plan.covered)),
            )
        return plan

    def _with_fetches(self, plan: Plan, queries: Sequence[Query], added: Sequence[Query] = ()) -> Plan:
        """Return a plan with the fetches of its time range: first the history of what the bookmark does not cover."""
        stream, start, end = plan.stream, self.start_date, self._end
        if plan.selection.replication_key:
            start = self._start(stream)
        logger.debug("%s: reading from %s to %s.", stream.name, format_time(start), format_time(end))
        requests = self._requests(plan.selection, plan.version)
        missed = added if start > self.start_date else ()
        history = time_range_fetches(requests, missed, self.start_date, min(start, end))
        fetches = [*history, *time_range_fetches(requests, queries, start, end)]
        return replace(
            plan,
            queries={str(place): fetch for place, fetch in enumerate(fetches)},
            count_again=partial(count_again, requests) if requests.count else None,
        )

    def _requests(self, selection: Selection, version: int | None) -> Timeline:
        stream, fields = selection.stream, selection.fields
        endpoint, parameters = charged_endpoint(stream, fields), query_parameters(stream, fields)
        mark = bookmark_of(self.state, stream) if stream.replication_key else None
        return Timeline(
            stream,
            self.client,
            endpoint,
            parameters,
            version,
            partial(count_events, self.client) if stream.has_events else None,
            is_planned=not isinstance(stream.split, AllMetrics),
            is_checked=self.check_counts,
            mark=mark or 0,
        )

    def _version(self, stream: Stream) -> int | None:
        """Return the version of a full read: the time by Klaviyo's clock in milliseconds, above the last one.

        None if the target must not remove the rows that are not read.
        """
        if not self.activate_version or self._leaves_out(stream):
            return None
        return max((self.account.now + CLOCK_MARGIN) * 1000, last_version(self.state, stream) + 1)

    def _leaves_out(self, stream: Stream) -> bool:
        """Return whether a full read leaves rows out because they are newer than the settings ask for."""
        is_timed = stream.range or stream.replication_key
        return bool(is_timed and self.end_date is not None and self.end_date < self.account.now)


def lookback_seconds(days: float) -> int:
    """Return the lookback in seconds."""
    return int(days * DAY)


def metric_queries(projection: Projection, metrics: Sequence[Resource]) -> list[Query]:
    """Return a query for each metric, once."""
    by_id = {metric.id: metric for metric in metrics}
    return [
        Query(id, project_metric(projection, metric), filter_metric(id), metrics=(id,)) for id, metric in by_id.items()
    ]


def event_queries(stream: Stream, projection: Projection, account: Account) -> list[Query]:
    """Return the queries of an event stream: one for each of its metrics, or one for those of all metrics."""
    if not isinstance(stream.split, AllMetrics):
        return metric_queries(projection, account.metrics[stream.name])
    metrics = account.all_metrics
    return [Query("", project_metrics(projection, metrics), metrics=tuple(metric.id for metric in metrics))]
