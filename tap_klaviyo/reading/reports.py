"""A report's periods to requests to batches, one after the other, within Klaviyo's limit for a day.

Klaviyo attributes what a message leads to for days after it was sent, so the figures of a period change for a while
after its end. The bookmark is the newest period that is settled: later ones are asked for again by each run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Raw

from tap_klaviyo.errors import CursorError, RequestError, UnavailableError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.json_values import NULL, decode_array
from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.reports import Figures, ReportQuery, ResourceDecoder, report_figures, report_labels
from tap_klaviyo.log import logger
from tap_klaviyo.reading.batch import NO_ROWS, Batch
from tap_klaviyo.reading.day_limit import DayLimit
from tap_klaviyo.reading.periods import Period, format_bound, format_local, labelled_date
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.records.figures import Row, build_figures
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.streams.model import Stream

# How often a window is read again because Klaviyo refuses a cursor.
_RESTARTS = 5

# Periods that one request asks for: a month, or days of a series.
Window = Sequence[Period]


@dataclass(frozen=True)
class ReportRequests:
    """What the requests of one report have in common.

    Args:
        stream: the report.
        client: asks Klaviyo.
        query: the statistics and groups that every request asks for.
        has_pages: whether an answer can have several pages.
        projection: has the columns.
        zone: the account's time zone.
        now: the run's start by Klaviyo's clock; the last period is asked for up to it.
        settled: periods that end by then do not change any more. All times are epoch seconds.
        limit: the requests of a day.
        version: marks the rows of a full read; None for an incremental one.
    """

    stream: Stream
    client: Client
    query: ReportQuery
    has_pages: bool
    projection: Projection
    zone: ZoneInfo
    now: int
    settled: int
    limit: DayLimit
    version: int | None = None


def report_fetch(requests: ReportRequests, windows: Sequence[Window]) -> Fetch[Batch]:
    """Return the fetch of a report's first window; each of the others follows from the one before it."""
    return partial(_begin_report, requests, windows)


def settled_start(window: Window, settled: int) -> int | None:
    """Return when the newest period begins that ends by a moment; None if none does. All in epoch seconds."""
    return max((period.start for period in window if period.end <= settled), default=None)


def bounds_of(period: Period, zone: ZoneInfo) -> dict[str, str]:
    """Return the columns that say which period a row is for."""
    return {"period_start": format_local(period.start, zone), "period_end": format_local(period.end, zone)}


def _begin_report(requests: ReportRequests, windows: Sequence[Window], restarts: int = _RESTARTS) -> Fetched[Batch]:
    if not requests.limit.has_room():
        return _left_over(requests, windows)
    return _read_report_page(
        requests, windows, requests.client.url(requests.stream.endpoint, {}), frozenset(), restarts
    )


def _read_report_page(
    requests: ReportRequests, windows: Sequence[Window], url: str, visited: Set[str], restarts: int
) -> Fetched[Batch]:
    """Read a page of the first window.

    `visited` are the URLs of its pages before. If Klaviyo refuses the cursor, the window is read again from its first
    page, up to `restarts` times, so rows can come twice.
    """
    pages = len(visited) + 1
    if visited and not requests.limit.has_room(len(visited)):
        return _cut_window(requests, windows, len(visited))
    window, decoder = windows[0], ResourceDecoder(requests.has_pages, requests.query.arrays)
    try:
        with requests.client.page(
            requests.stream.endpoint, url, None, decoder, visited, body=_report_body(requests, window)
        ) as answer:
            batch = _page_batch(requests, window, answer.page, is_last=answer.page.next is None)
            following = answer.page.next
    except UnavailableError as problem:
        if problem.status != 429:
            raise
        return _cut_window(requests, windows, pages) if visited else _left_over(requests, windows)
    except CursorError as problem:
        if not restarts:
            raise
        logger.warning("%s Starting over from the first page.", problem)
        return Fetched(NO_ROWS, 0, [partial(_begin_report, requests, windows, restarts - 1)])
    except RequestError as problem:
        raise _explain_metric_refusal(requests, problem) from None
    if following:
        then: list[Fetch[Batch]] = [partial(_read_report_page, requests, windows, following, visited | {url}, restarts)]
    else:
        requests.limit.end_period(pages, is_cut=False)
        then = [partial(_begin_report, requests, windows[1:])] if windows[1:] else []
    return Fetched(batch, batch.size, then, answer.attempts, answer.queued)


def _report_body(requests: ReportRequests, window: Window) -> bytes:
    start, end = window[0].start, min(window[-1].end, requests.now)
    return requests.query.body(format_bound(start, requests.zone), format_bound(end, requests.zone))


def _page_batch(requests: ReportRequests, window: Window, page: Page, is_last: bool) -> Batch:
    findings = Findings()
    rows = list(_page_rows(requests, window, page, findings))
    records = build_figures(requests.projection, requests.stream.key, rows, findings)
    lines = encode_records(requests.stream.name, records, requests.version)
    newest = settled_start(window, requests.settled) if is_last else None
    return Batch(lines, len(lines), len(records), newest, findings)


def _page_rows(
    requests: ReportRequests, window: Window, page: Page, findings: Findings
) -> Iterator[tuple[Row, Mapping[str, str]]]:
    """Yield the columns of a page's rows, each with the bounds of its period."""
    metric = requests.query.conversion_metric_id
    shared = {"conversion_metric_id": Raw(msgspec.json.encode(metric))} if metric else {}
    bounds = [(period.first, bounds_of(period, requests.zone)) for period in window]
    labels = list(map(labelled_date, report_labels(page)))
    for figures in report_figures(page):
        if figures is None:
            findings.set_aside[requests.stream.name] += 1
        elif requests.query.interval is None:
            yield {**figures.groupings, **figures.statistics, **shared}, bounds[0][1]
        else:
            by_label = dict(zip(labels, _label_series(figures, len(labels)), strict=True))
            for first, own in bounds:
                # A label outside of the window belongs to another one, and may cover only a part of its day.
                if first in by_label:
                    yield {**figures.groupings, **by_label[first], **shared}, own


def _label_series(figures: Figures, count: int) -> list[dict[str, Any]]:
    """Return the statistics for each label; null where an array is too short."""
    arrays = {name: decode_array(values) or () for name, values in figures.statistics.items()}
    return [
        {name: array[place] if place < len(array) else NULL for name, array in arrays.items()} for place in range(count)
    ]


def _cut_window(requests: ReportRequests, windows: Sequence[Window], pages: int) -> Fetched[Batch]:
    """Return what becomes of a window whose other pages have no room today."""
    requests.limit.end_period(pages, is_cut=True)
    if pages < requests.limit.requests:
        return _left_over(requests, windows)
    return _no_fetch(
        problem=f"The figures from {windows[0][0].first} on have more than {pages:,} pages, and Klaviyo allows "
        f"{requests.limit.requests:,} requests a day, so they cannot be read."
    )


def _left_over(requests: ReportRequests, windows: Sequence[Window]) -> Fetched[Batch]:
    limit, first = requests.limit, windows[0][0].first
    if requests.version is not None:
        return _no_fetch(
            problem=f"Klaviyo allows {limit.requests:,} requests a day, too few for all of the report: the figures "
            f"from {first} on are missing. Use the replication-method INCREMENTAL, which continues where the last run "
            "ended."
        )
    return _no_fetch(
        left_over=f"Klaviyo's limit of {limit.requests:,} requests a day leaves the figures from {first} on to the "
        f"next runs; all of them can be read by {limit.until(len(windows))}."
    )


def _no_fetch(**facts: str) -> Fetched[Batch]:
    return Fetched(Batch(b"", 0, 0, **facts), 0)  # type: ignore[arg-type]


def _explain_metric_refusal(requests: ReportRequests, problem: RequestError) -> RequestError:
    """Return an error that names the setting, if Klaviyo refuses the metric that counts as a conversion."""
    metric = requests.query.conversion_metric_id
    if metric is None or "metric" not in str(problem):
        return problem
    return RequestError(
        f"{problem} The metric {metric} counts as a conversion; set conversion_metric to the name or id of another.",
        problem.status,
    )
