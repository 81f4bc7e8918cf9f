"""Filters in Klaviyo's own language; pure."""

from __future__ import annotations

from typing import Literal

from tap_klaviyo.times import format_time

After = Literal["greater-or-equal", "greater-than"]
Before = Literal["less-than", "less-or-equal"]


def filter_metric(metric_id: str) -> str:
    """Return the condition for a metric's events."""
    return f'equals(metric_id,"{metric_id}")'


def filter_between(
    field: str, start: int, end: int, after: After = "greater-or-equal", before: Before = "less-than"
) -> tuple[str, str]:
    """Return the conditions for resources with start <= time < end (epoch seconds).

    If an endpoint has no operator for just that, a condition finds up to a second more on its side of the range.
    """
    return filter_from(field, start, after), f"{before}({field},{format_time(end)})"


def filter_from(field: str, start: int, after: After = "greater-or-equal") -> str:
    """Return the condition for resources with start <= time (epoch seconds), and perhaps a second before."""
    return f"{after}({field},{format_time(start - (after == 'greater-than'))})"


def filter_all(*conditions: str | None) -> str | None:
    """Return the filter for resources that meet all conditions that are not None; None without any."""
    given = [each for each in conditions if each]
    return f"and({','.join(given)})" if len(given) > 1 else next(iter(given), None)
