"""The seven reporting endpoints: values and series of campaigns, flows, forms and segments."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

from tap_klaviyo.sandbox import filters, periods, sends
from tap_klaviyo.sandbox.account import Account
from tap_klaviyo.sandbox.bodies import refuse_attribute
from tap_klaviyo.sandbox.endpoints import Endpoint
from tap_klaviyo.sandbox.filters import Condition
from tap_klaviyo.sandbox.refusals import RefusalError, invalid_parameter
from tap_klaviyo.sandbox.resources import ACCOUNT
from tap_klaviyo.sandbox.sends import Counted, Counts

_DAY = 86_400
# How many rows a page has is not documented.
_ROWS = 100
_MOST_FILTERED = 100
_LONGEST: Mapping[str, int] = {"hourly": 7, "daily": 60, "weekly": 366, "monthly": 364}
_INTERVALS: Mapping[str, periods.Interval] = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month"}
# Numerator and denominator of each rate, Klaviyo's fractions from 0 to 1 and amounts for each recipient or order.
_RATES: Mapping[str, tuple[str, str]] = {
    "average_order_value": ("conversion_value", "conversions"),
    "bounce_rate": ("bounced", "recipients"),
    "bounced_or_failed_rate": ("bounced_or_failed", "recipients"),
    "click_rate": ("clicks_unique", "delivered"),
    "click_to_open_rate": ("clicks_unique", "opens_unique"),
    "conversion_rate": ("conversion_uniques", "delivered"),
    "delivery_rate": ("delivered", "recipients"),
    "failed_rate": ("failed", "recipients"),
    "open_rate": ("opens_unique", "delivered"),
    "revenue_per_recipient": ("conversion_value", "recipients"),
    "spam_complaint_rate": ("spam_complaints", "delivered"),
    "submit_rate": ("submits", "viewed_form_uniques"),
    "text_message_roi": ("conversion_value", "text_message_spend"),
    "unsubscribe_rate": ("unsubscribe_uniques", "delivered"),
}
# Metrics that Klaviyo takes no conversions from: those of the messages themselves.
_NO_CONVERSIONS = frozenset({"email", "open", "click", "bounce", "sms", "sms_click", "sms_failure"})


@dataclass(frozen=True)
class Report:
    """What a report is grouped by.

    Attributes:
        usual: the groupings of a request that names none.
        required: what a request must group by if it names any.
        relationships: by name in the answer, the type and the grouping that its ids come from.
        paged: whether the answer has pages.
        earliest: the first day that has data.
    """

    usual: tuple[str, ...]
    required: tuple[str, ...] = ()
    relationships: Mapping[str, tuple[str, str]] | None = None
    paged: bool = False
    earliest: str | None = None


_OF_CAMPAIGNS = Report(
    ("campaign_id", "campaign_message_id", "send_channel"),
    ("campaign_id", "campaign_message_id"),
    {"campaigns": ("campaign", "campaign_id")},
    paged=True,
)
_OF_FLOWS = Report(
    ("flow_id", "flow_message_id", "send_channel"),
    ("flow_id", "flow_message_id"),
    {"flows": ("flow", "flow_id"), "flow-messages": ("flow-message", "flow_message_id")},
    paged=True,
)
_OF_FORMS = Report(("form_id",), ("form_id",))
_OF_SEGMENTS = Report(("segment_id",), earliest="2023-06-01")
REPORTS: Mapping[str, Report] = {
    "campaign-values-report": _OF_CAMPAIGNS,
    "flow-series-report": _OF_FLOWS,
    "flow-values-report": _OF_FLOWS,
    "form-series-report": _OF_FORMS,
    "form-values-report": _OF_FORMS,
    "segment-series-report": _OF_SEGMENTS,
    "segment-values-report": _OF_SEGMENTS,
}


@dataclass(frozen=True)
class Asked:
    """What a request asks for; times are epoch seconds, a series has its periods."""

    endpoint: Endpoint
    report: Report
    statistics: Sequence[str]
    groups: Sequence[str]
    conditions: Sequence[Condition]
    start: float
    end: float
    beginnings: Sequence[datetime] | None
    metric: str


def report_page(
    account: Account, endpoint: Endpoint, attributes: Mapping[str, Any], url: str, cursor: str | None, now: float
) -> bytes:
    """Return a page of a report.

    Args:
        account: the data.
        endpoint: of the report.
        attributes: of the request's body.
        url: of the endpoint.
        cursor: from the link to the page, None for the first.
        now: epoch seconds; nothing is known of later times.

    Raises:
        RefusalError: as Klaviyo would refuse it.
    """
    asked = _read_question(account, endpoint, attributes, now)
    first = _read_cursor(asked, cursor)
    rows = list(_report_rows(account, asked, now))
    shown = rows[first : first + _ROWS] if asked.report.paged else rows
    results: dict[str, Any] = {"results": shown}
    if asked.beginnings is not None:
        # Recorded: midnights of the account's time zone, written as if they were in UTC.
        results["date_times"] = [f"{each.replace(tzinfo=None).isoformat()}+00:00" for each in asked.beginnings]
    data: dict[str, Any] = {"type": endpoint.type, "attributes": results}
    if asked.report.relationships:
        data["relationships"] = dict(_row_relationships(asked.report, shown))
    links: dict[str, str | None] = {"self": url}
    if asked.report.paged:
        more = len(rows) > first + _ROWS
        links |= {"next": f"{url}?page_cursor={first + _ROWS}" if more else None, "prev": None}
    return json.dumps({"data": data, "links": links}).encode()


def _read_question(account: Account, endpoint: Endpoint, attributes: Mapping[str, Any], now: float) -> Asked:
    report, zone = REPORTS[endpoint.type], ZoneInfo(ACCOUNT.attributes["timezone"])
    if not attributes["statistics"]:
        raise refuse_attribute("'statistics' is a required field.", "statistics")
    groups = attributes.get("group_by") or report.usual
    if missing := set(report.required) - set(groups):
        raise refuse_attribute(
            f"The following group by attributes are required: {', '.join(sorted(missing))}", "group_by"
        )
    start, end = _read_timeframe(attributes["timeframe"], zone, now)
    # The last of eight days of last_7_days is today; a day can have 25 hours.
    spare = _DAY if "key" in attributes["timeframe"] else 3600
    if end - start > 366 * _DAY + 3600:
        raise refuse_attribute("The time frame cannot be longer than 1 year.", "timeframe")
    if report.earliest and start < datetime.fromisoformat(report.earliest).replace(tzinfo=zone).timestamp():
        raise refuse_attribute("Data is unavailable before June 1st, 2023.", "timeframe")
    metric = attributes.get("conversion_metric_id", "")
    if "conversion_metric_id" in attributes:
        _check_metric(account, metric)
    found = None
    if interval := attributes.get("interval"):
        if end - start > _LONGEST[interval] * _DAY + spare:
            raise refuse_attribute(
                f"A {interval} time frame cannot be longer than {_LONGEST[interval]} days.", "timeframe"
            )
        found = periods.period_beginnings(start, end, _INTERVALS[interval], zone)
    conditions = _read_filter(endpoint, attributes.get("filter"))
    return Asked(endpoint, report, attributes["statistics"], groups, conditions, start, end, found, metric)


def _check_metric(account: Account, metric_id: str) -> None:
    place = account.metric_places.get(metric_id)
    if place is None:
        raise refuse_attribute(f"A metric with id {metric_id} does not exist.", "conversion_metric_id")
    if account.metrics[place].kind.family in _NO_CONVERSIONS:
        raise refuse_attribute(
            "Passed in conversion metric does not support querying for values data", "conversion_metric_id"
        )


def _read_timeframe(timeframe: Mapping[str, str], zone: ZoneInfo, now: float) -> tuple[float, float]:
    if "key" in timeframe:
        return _named_timeframe(timeframe["key"], zone, now)
    # The document says that offsets are ignored.
    start, end = (datetime.fromisoformat(timeframe[name][:19]).replace(tzinfo=zone) for name in ("start", "end"))
    if end <= start:
        raise refuse_attribute("The start of the time frame must be before its end.", "timeframe")
    return start.timestamp(), end.timestamp()


def _named_timeframe(key: str, zone: ZoneInfo, now: float) -> tuple[float, float]:
    day = periods.floor_to(periods.local_time(now, zone), "day")
    which, *rest = key.split("_")
    if key in ("today", "yesterday"):
        start = day if key == "today" else day - timedelta(days=1)
        return start.timestamp(), now if key == "today" else day.timestamp()
    if which == "last" and rest[-1] == "days":
        return (day - timedelta(days=int(rest[0]))).timestamp(), now
    if which == "last" and rest[-1] == "months":
        return _months_before(day.replace(day=1), int(rest[0])).timestamp(), day.replace(day=1).timestamp()
    begin = {"week": periods.floor_to(day, "week"), "month": day.replace(day=1), "year": day.replace(month=1, day=1)}
    this = begin[rest[0]]
    if which == "this":
        return this.timestamp(), now
    before = {"week": this - timedelta(days=7), "month": _months_before(this, 1), "year": _months_before(this, 12)}
    return before[rest[0]].timestamp(), this.timestamp()


def _months_before(month: datetime, count: int) -> datetime:
    place = month.year * 12 + month.month - 1 - count
    return month.replace(year=place // 12, month=place % 12 + 1)


def _read_filter(endpoint: Endpoint, text: str | None) -> Sequence[Condition]:
    if text is None:
        return ()
    conditions = filters.parse_filter(text, endpoint)
    names = [each.field for each in conditions]
    if len(set(names)) < len(names):
        raise invalid_parameter("Only one filter can be used per attribute.", "filter")
    if any(len(each.values) > _MOST_FILTERED for each in conditions):
        raise invalid_parameter(f"A list filter cannot have more than {_MOST_FILTERED} items.", "filter")
    return conditions


def _read_cursor(asked: Asked, cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not asked.report.paged or not cursor.isdecimal():
        raise RefusalError("invalid", "Invalid cursor provided.")
    return int(cursor)


def _report_rows(account: Account, asked: Asked, now: float) -> Iterator[dict[str, Any]]:
    if asked.report == _OF_SEGMENTS:
        return _segment_rows(account, asked, now)
    return _counted_rows(asked, _counts_of(account, asked, now))


def _counts_of(account: Account, asked: Asked, now: float) -> Iterable[Counted]:
    if asked.report == _OF_FORMS:
        return sends.form_views(account, asked.start, asked.end, now)
    sent = sends.campaign_sends if asked.report == _OF_CAMPAIGNS else sends.flow_sends
    return sent(account, asked.start, asked.end, now, asked.metric)


def _counted_rows(asked: Asked, counted: Iterable[Counted]) -> Iterator[dict[str, Any]]:
    starts = [each.timestamp() for each in asked.beginnings or ()]
    found: dict[tuple[str, ...], list[Counts]] = {}
    for each in counted:
        if not all(
            filters.meets_condition(condition, each.groups[condition.field], asked.endpoint)
            for condition in asked.conditions
        ):
            continue
        period = bisect_right(starts, each.second) - 1 if starts else 0
        for group in _groups_of(asked, each):
            totals = found.setdefault(group, [{} for _ in starts or (0,)])[period]
            for name, count in each.counts.items():
                totals[name] = totals.get(name, 0) + count
    for group, totals_by_period in sorted(found.items()):
        yield _report_row(asked, group, totals_by_period)


def _groups_of(asked: Asked, each: Counted) -> Iterator[tuple[str, ...]]:
    """Yield the groups that counts belong to: one, or one for each tag."""
    values = [each.groups[name] for name in asked.groups]
    return product(*((value or ("",)) if isinstance(value, tuple) else (value,) for value in values))


def _report_row(asked: Asked, group: Sequence[str], totals: Sequence[Counts]) -> dict[str, Any]:
    def totalled_statistic(name: str) -> Any:
        values = [_statistic_of(name, each) for each in totals]
        return values[0] if asked.beginnings is None else values

    groupings = dict(zip(asked.groups, group, strict=True))
    return {"groupings": groupings, "statistics": {name: totalled_statistic(name) for name in asked.statistics}}


def _statistic_of(name: str, totals: Counts) -> float:
    if name == "bounced_or_failed":
        return totals.get("bounced", 0) + totals.get("failed", 0)
    if name not in _RATES:
        return round(totals.get(name, 0), 4)
    over, under = (_statistic_of(each, totals) for each in _RATES[name])
    return round(over / under, 6) if under else 0.0


def _segment_rows(account: Account, asked: Asked, now: float) -> Iterator[dict[str, Any]]:
    spans = [(asked.start, asked.end)]
    if asked.beginnings is not None:
        spans = periods.period_edges(list(asked.beginnings), asked.start, asked.end)
    for segment in account.holdings.items_of("segment"):
        if all(filters.meets_condition(condition, segment.id, asked.endpoint) for condition in asked.conditions):
            joined = sorted(micro / 1e6 for micro in account.people.members(segment.id).micros.values())
            yield _report_row(
                asked, (segment.id,), [_segment_counts(joined, start, min(end, now)) for start, end in spans]
            )


def _segment_counts(joined: Sequence[float], start: float, end: float) -> Counts:
    # Who left a segment leaves no trace in the sandbox.
    before, after = bisect_right(joined, start - 1e-6), bisect_right(joined, end - 1e-6)
    added = max(0, after - before)
    return {"members_added": added, "members_removed": 0, "net_members_changed": added, "total_members": after}


def _row_relationships(report: Report, rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    rows = list(rows)
    for name, (kind, grouping) in (report.relationships or {}).items():
        ids = dict.fromkeys(row["groupings"][grouping] for row in rows)
        yield name, {"data": [{"type": kind, "id": each} for each in ids]}
