"""Filters in Klaviyo's own language; pure."""

from __future__ import annotations

from tap_klaviyo.times import format_time


def filter_between(start: int, end: int, metric_id: str) -> str:
    """Return the filter for a metric's events with start <= timestamp < end (epoch seconds)."""
    bounds = f"greater-or-equal(datetime,{format_time(start)}),less-than(datetime,{format_time(end)})"
    return f'and(equals(metric_id,"{metric_id}"),{bounds})'


def filter_changed(field: str, since: int) -> str:
    """Return the filter for resources whose time in a field is at or after a moment (epoch seconds)."""
    return f"greater-or-equal({field},{format_time(since)})"
