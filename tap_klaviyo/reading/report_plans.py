"""Selected reports and the state to plans: the periods that are requested, and their statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from zoneinfo import ZoneInfo

from tap_klaviyo.errors import ApiError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import SEGMENT_VALUES, Endpoint
from tap_klaviyo.klaviyo.reports import ReportQuery
from tap_klaviyo.log import logger
from tap_klaviyo.reading.account import Account
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.daily_counts import CountRequests, count_fetch
from tap_klaviyo.reading.day_limit import DayLimit
from tap_klaviyo.reading.periods import Unit, cut_windows, midnight_of, period_after, periods_between
from tap_klaviyo.reading.plan import Plan, failing_fetches
from tap_klaviyo.reading.prefetch import Fetch
from tap_klaviyo.reading.report_account import ReportAccount
from tap_klaviyo.reading.reports import ReportRequests, Window, report_fetch
from tap_klaviyo.reading.sizes import SizeRequests, size_fetches
from tap_klaviyo.singer.selection import Selection
from tap_klaviyo.singer.state import State, covered_metrics
from tap_klaviyo.streams.model import DailyCounts, Report

# Klaviyo takes up to 60 days in a series by day, and up to a year of counts.
_DAYS_OF_SERIES = 60
_DAYS_OF_COUNTS = 365


@dataclass(frozen=True)
class ReportPlanner:
    """Plans the reports of a run.

    Args:
        client: asks Klaviyo.
        account: the account's metrics, and the time.
        known: the account's time zone, and the metric that counts as a conversion.
        state: the state that the last run ended with.
        start_date: where a report without a bookmark begins, in epoch seconds.
        end_date: in epoch seconds; only periods that begin before it are read. None reads up to now.
        lookback: periods that ended within this many seconds are requested again.
        wall: the clock, in epoch seconds.
        limits: the daily limits that the planned requests count towards, by the endpoint's path.
    """

    client: Client
    account: Account
    known: ReportAccount
    state: State
    start_date: int
    end_date: int | None
    lookback: int
    wall: Callable[[], float]
    limits: dict[str, DayLimit] = field(default_factory=dict)

    def limit_of(self, endpoint: Endpoint) -> DayLimit:
        """Return the daily limit of an endpoint."""
        if endpoint.path not in self.limits:
            self.limits[endpoint.path] = DayLimit(self.client, endpoint, self.state, self.wall)
        return self.limits[endpoint.path]

    @property
    def _end(self) -> int:
        return min(self.end_date or self.account.now, self.account.now)

    @property
    def _settled(self) -> int:
        return self.account.now - self.lookback

    def plan(self, plan: Plan, covering: Callable[[Plan], Plan]) -> Plan:
        """Return the plan of a report with its fetches.

        Args:
            plan: the stream's plan so far, with its bookmark and version.
            covering: returns a plan that covers all metrics of the account.
        """
        zone, problem = self.known.zone, self.known.zone_problem
        if zone is None:
            return _refused_plan(plan, problem)
        match plan.stream.split:
            case Report() as report:
                return self._report(plan, report, zone)
            case DailyCounts() if self.account.problem:
                return _refused_plan(plan, self.account.problem)
            case DailyCounts():
                return self._counts(covering(plan), zone)
            case _:
                return self._sizes(plan, zone)

    def _report(self, plan: Plan, report: Report, zone: ZoneInfo) -> Plan:
        metric = self.known.conversion_metric if report.has_conversions else None
        if report.has_conversions:
            if metric is None:
                return _refused_plan(plan, self.known.metric_problem)
            plan = self._with_metric(plan, metric)
        unit: Unit = "day" if report.is_series else "month"
        start = self._start(plan, unit, zone)
        if report.begins:
            start = max(start, midnight_of(date.fromisoformat(report.begins), zone))
        found = cut_windows(periods_between(unit, start, self._end, zone), _DAYS_OF_SERIES if report.is_series else 1)
        requests = ReportRequests(
            plan.stream,
            self.client,
            _report_query(plan.selection, report, metric),
            report.has_conversions,
            plan.stream.project(plan.selection.schema),
            zone,
            self.account.now,
            self._settled,
            self.limit_of(plan.stream.endpoint),
            plan.version,
        )
        return replace(plan, queries={"0": report_fetch(requests, found)} if found else {})

    def _with_metric(self, plan: Plan, metric: str) -> Plan:
        """Return the plan for a conversion metric. A bookmark of another metric does not count."""
        covered = covered_metrics(self.state, plan.stream)
        if plan.mark and covered is not None and metric not in covered:
            logger.info("%s: another metric counts as a conversion now; reading from start_date.", plan.stream.name)
            plan = replace(plan, mark=0, drops_bookmark=True)
        return replace(plan, metrics=frozenset({metric}), covered=frozenset({metric}))

    def _start(self, plan: Plan, unit: Unit, zone: ZoneInfo) -> int:
        """Return the start of a report in epoch seconds: the end of the last settled period."""
        if not plan.mark or not plan.selection.replication_key:
            return self.start_date
        # A user can have raised the lookback since the last run.
        return min(period_after(unit, plan.mark, zone), max(self._settled, self.start_date))

    def _counts(self, plan: Plan, zone: ZoneInfo) -> Plan:
        requests = CountRequests(
            plan.stream,
            self.client,
            _selected_statistics(plan.selection),
            plan.stream.project(plan.selection.schema),
            zone,
            self.account.now,
            self._settled,
            plan.version,
        )
        from_bookmark = self._days(self._start(plan, "day", zone), zone)
        from_start = self._days(self.start_date, zone)
        queries: dict[str, Fetch[Batch]] = {}
        for metric in sorted(plan.metrics or ()):
            if found := from_bookmark if metric in plan.covered else from_start:
                queries[metric] = count_fetch(requests, metric, found)
        return replace(plan, queries=queries, is_ordered=False)

    def _days(self, start: int, zone: ZoneInfo) -> list[Window]:
        return cut_windows(periods_between("day", start, self._end, zone), _DAYS_OF_COUNTS)

    def _sizes(self, plan: Plan, zone: ZoneInfo) -> Plan:
        plan = replace(plan, version=None, is_ordered=False)
        if not plan.selection.replication_key:
            logger.warning("%s: Klaviyo keeps no past sizes, so FULL_TABLE adds those of today only.", plan.stream.name)
        (today,) = periods_between("day", self.account.now, self.account.now + 1, zone)
        if plan.mark >= today.start or (self.end_date is not None and today.start >= self.end_date):
            return plan
        projection = plan.stream.project(plan.selection.schema)
        limit = self.limit_of(SEGMENT_VALUES)
        requests = SizeRequests(plan.stream, self.client, projection, zone, today, self.account.now, limit)
        return replace(plan, queries=size_fetches(requests))


def _report_query(selection: Selection, report: Report, metric: str | None) -> ReportQuery:
    # A request's type is the path's last part, in the singular.
    kind = selection.stream.endpoint.path.rpartition("/")[2].removesuffix("s")
    return ReportQuery(
        kind,
        _selected_statistics(selection),
        report.groups if report.has_conversions else (),
        "daily" if report.is_series else None,
        metric,
    )


def _selected_statistics(selection: Selection) -> tuple[str, ...]:
    """Return the selected statistics. Klaviyo requires at least one."""
    stream = selection.stream
    own = [name for name in stream.schema["properties"] if name not in stream.key]
    return tuple(name for name in own if name in selection.fields) or (own[0],)


def _refused_plan(plan: Plan, problem: ApiError | None) -> Plan:
    assert problem, f"{plan.stream.name}: nothing says why it cannot be read"
    return replace(plan, queries=failing_fetches(problem))
