"""Klaviyo's counts of events: they plan the requests, and show whether all events were read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from tap_klaviyo.errors import UnavailableError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import METRIC_AGGREGATES
from tap_klaviyo.klaviyo.filters import filter_between
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.times import DAY, parse_utc

# Klaviyo counts up to a year in one request.
_LONGEST = 365 * DAY
# Planning works without counts, only more slowly, so the tap stops waiting for them early. Both in seconds.
_BRIEF = Retries(total=10.0)
_PATIENCE = 2.0
# A requested comparison may take longer than planning, but not as long as reading events. In seconds.
_PATIENT = Retries(total=120.0)


class _Measurements(Struct):
    count: list[float]


class _Row(Struct):
    measurements: _Measurements


class _Attributes(Struct):
    dates: list[str]
    data: list[_Row]


class _Data(Struct):
    attributes: _Attributes


class _Document(Struct):
    data: _Data


_documents = msgspec.json.Decoder(_Document)


def count_events(client: Client, metric: str, start: int, end: int, is_needed: bool = False) -> Mapping[int, int]:
    """Return the number of a metric's events in each hour with events, keyed by the hour's start in epoch seconds.

    Klaviyo's counts may be minutes behind its events, or ahead of them.

    Args:
        client: asks Klaviyo.
        metric: its id.
        start: the beginning of the range, in epoch seconds.
        end: its end.
        is_needed: whether to wait for the rate limit; else Klaviyo is asked only if the limit allows that soon.

    Raises:
        ApiError: Klaviyo does not provide the counts.
    """
    found: Counter[int] = Counter()
    for begin in range(start, end, _LONGEST):
        if not is_needed and client.delay(METRIC_AGGREGATES) > _PATIENCE:
            raise UnavailableError("Klaviyo's rate limit for counts is reached.")
        question = _count_question(metric, begin, min(begin + _LONGEST, end))
        found.update(read_counts(client.post(METRIC_AGGREGATES, question, _PATIENT if is_needed else _BRIEF)))
    return +found


def read_counts(body: bytes) -> dict[int, int]:
    """Return the counts in an answer, keyed by each interval's start in epoch seconds.

    Raises:
        UnavailableError: the answer contains no valid counts.
    """
    try:
        attributes = _documents.decode(body).data.attributes
        dates = list(map(parse_utc, attributes.dates))
        found: Counter[int] = Counter()
        for row in attributes.data:
            found.update(dict(zip(dates, map(int, row.measurements.count), strict=True)))
    except (msgspec.DecodeError, RecursionError, ValueError) as problem:
        raise UnavailableError(f"Klaviyo sent something that isn't a count of events ({problem}).") from None
    return found


def _count_question(metric: str, start: int, end: int) -> Mapping[str, object]:
    attributes = {
        "metric_id": metric,
        "measurements": ["count"],
        "interval": "hour",
        "timezone": "UTC",
        "filter": list(filter_between("datetime", start, end)),
    }
    return {"data": {"type": "metric-aggregate", "attributes": attributes}}
