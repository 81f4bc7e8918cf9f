"""A metric's days to requests to batches: counts of its events, up to a year in each request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Raw

from tap_klaviyo.errors import MetricDeniedError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.json_values import NULL, decode_array
from tap_klaviyo.klaviyo.jsonapi import Page
from tap_klaviyo.klaviyo.reports import ResourceDecoder, aggregate_dates, aggregate_measurements, aggregates_body
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.periods import local_date
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.reading.reports import Window, bounds_of, settled_start
from tap_klaviyo.records.figures import Row, build_figures
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.times import format_time

# Klaviyo's document names zones that the endpoint does not take; these names mean the same zones.
_ACCEPTED_ZONES: Mapping[str, str] = {"Europe/Kyiv": "Europe/Kiev", "Pacific/Kanton": "Pacific/Enderbury"}


@dataclass(frozen=True)
class CountRequests:
    """What the requests for all metrics have in common.

    Args:
        stream: the stream of the counts.
        client: asks Klaviyo.
        measurements: the counts that every request asks for; at least one.
        projection: has the columns.
        zone: the account's time zone.
        now: the run's start by Klaviyo's clock; the last day is asked for up to it.
        settled: days that end by then are not asked for again. All times are epoch seconds.
        version: marks the rows of a full read; None for an incremental one.
    """

    stream: Stream
    client: Client
    measurements: tuple[str, ...]
    projection: Projection
    zone: ZoneInfo
    now: int
    settled: int
    version: int | None = None


def count_fetch(requests: CountRequests, metric: str, windows: Sequence[Window]) -> Fetch[Batch]:
    """Return the fetch of a metric's first window; each of the others follows from the one before it."""
    return partial(_read_window, requests, metric, windows)


def _read_window(requests: CountRequests, metric: str, windows: Sequence[Window]) -> Fetched[Batch]:
    endpoint, window = requests.stream.endpoint, windows[0]
    end = min(window[-1].end, requests.now)
    zone = _ACCEPTED_ZONES.get(requests.zone.key, requests.zone.key)
    body = aggregates_body(metric, requests.measurements, format_time(window[0].start), format_time(end), zone)
    try:
        with requests.client.page(
            endpoint, requests.client.url(endpoint, {}), None, ResourceDecoder(arrays=("dates", "data")), body=body
        ) as answer:
            batch = _window_batch(requests, metric, window, answer.page)
    except MetricDeniedError:
        return Fetched(Batch(b"", 0, 0, query=metric, denied=frozenset({metric})), 0)
    then = [partial(_read_window, requests, metric, windows[1:])] if windows[1:] else []
    return Fetched(batch, batch.size, then, answer.attempts, answer.queued)


def _window_batch(requests: CountRequests, metric: str, window: Window, page: Page) -> Batch:
    findings = Findings()
    rows = list(_window_rows(requests, metric, window, page))
    records = build_figures(requests.projection, requests.stream.key, rows, findings)
    lines = encode_records(requests.stream.name, records, requests.version)
    newest = settled_start(window, requests.settled)
    return Batch(lines, len(lines), len(records), newest, findings, query=metric)


def _window_rows(
    requests: CountRequests, metric: str, window: Window, page: Page
) -> Iterator[tuple[Row, Mapping[str, str]]]:
    """Yield the columns of each day's row, with the bounds of the day."""
    days = [_local_day(text, requests.zone) for text in aggregate_dates(page)]
    shared = {"metric_id": Raw(msgspec.json.encode(metric))}
    for measurements in aggregate_measurements(page):
        arrays = {name: decode_array(values) or () for name, values in measurements.items()}
        places = {day: place for place, day in enumerate(days)}
        for period in window:
            place = places.get(period.first)
            if place is not None:
                counts = {name: array[place] if place < len(array) else NULL for name, array in arrays.items()}
                yield {**counts, **shared}, bounds_of(period, requests.zone)


def _local_day(text: str, zone: ZoneInfo) -> date | None:
    """Return the local date of an instant in RFC 3339; None for a text that is not one."""
    try:
        return local_date(int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()), zone)
    except (ValueError, OverflowError):
        return None
