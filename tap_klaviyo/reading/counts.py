"""Klaviyo's counts of events: they plan the requests, and show whether all events were read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tap_klaviyo.errors import RateLimitedError, UnavailableError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import METRIC_AGGREGATES
from tap_klaviyo.klaviyo.filters import filter_between
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.times import DAY, HOUR, parse_utc

# Klaviyo counts up to a year in one request.
_LONGEST = 365 * DAY
# Planning works without counts, only more slowly, so the tap stops waiting for them early. Both in seconds.
_BRIEF = Retries(total=10.0)
_PATIENCE = 2.0
# A requested comparison may take longer than planning, but not as long as reading events. In seconds.
_PATIENT = Retries(total=120.0)
# More events than any hour of any account has: a number beyond is not a count.
_MOST = 1e12


class _Measurements(Struct):
    count: list[Annotated[float, Meta(ge=0, le=_MOST)]]


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
        RateLimitedError: the rate limit does not allow to ask soon.
        ApiError: Klaviyo does not provide the counts.
    """
    found: Counter[int] = Counter()
    for begin in range(start, end, _LONGEST):
        if not is_needed and client.delay(METRIC_AGGREGATES) > _PATIENCE:
            raise RateLimitedError("Klaviyo's rate limit for counts is reached.")
        stop = min(begin + _LONGEST, end)
        body = client.post(METRIC_AGGREGATES, _count_question(metric, begin, stop), _PATIENT if is_needed else _BRIEF)
        found.update(read_counts(body, begin, stop))
    return +found


def read_counts(body: bytes, start: int, end: int) -> dict[int, int]:
    """Return the counts in an answer, keyed by each hour's start in epoch seconds.

    An hour that is missing must not count as one without events: a recount would take it for unchanged.

    Args:
        body: the answer.
        start: the beginning of the range that was asked for, in epoch seconds.
        end: its end.

    Raises:
        UnavailableError: the answer contains no valid counts, or not those of each hour of the range.
    """
    try:
        attributes = _documents.decode(body).data.attributes
        found: Counter[int] = Counter()
        if attributes.data:
            hours = _hours_of(list(map(parse_utc, attributes.dates)), start, end)
            for row in attributes.data:
                counts = zip(hours, map(int, row.measurements.count), strict=True)
                found.update({hour: count for hour, count in counts if start - HOUR < hour < end})
    except (msgspec.DecodeError, RecursionError, ValueError) as problem:
        raise UnavailableError(f"Klaviyo sent something that isn't a count of events ({problem}).") from None
    return found


def _hours_of(dates: Sequence[int], start: int, end: int) -> Sequence[int]:
    """Return the hours that begin at some dates; the first may begin with the range.

    Raises:
        ValueError: they are not those of the range.
    """
    hours = [date // HOUR * HOUR for date in dates]
    if not set(dates) - {start} <= set(hours) or len(set(hours)) < len(hours):
        raise ValueError("the counts are not those of hours")
    if not set(hours).issuperset(range(start // HOUR * HOUR, end, HOUR)):
        raise ValueError("some hours are missing")
    return hours


def _count_question(metric: str, start: int, end: int) -> Mapping[str, object]:
    attributes = {
        "metric_id": metric,
        "measurements": ["count"],
        "interval": "hour",
        "timezone": "UTC",
        "filter": list(filter_between("datetime", start, end)),
    }
    return {"data": {"type": "metric-aggregate", "attributes": attributes}}
