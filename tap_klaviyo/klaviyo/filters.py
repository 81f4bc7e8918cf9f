"""Filters in the syntax of Klaviyo's API; pure."""

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

    Some endpoints lack these operators. With the nearest ones, a condition also finds resources up to a
    second outside the range.
    """
    return filter_from(field, start, after), f"{before}({field},{format_time(end)})"


def filter_from(field: str, start: int, after: After = "greater-or-equal") -> str:
    """Return the condition for resources with start <= time (epoch seconds), and perhaps one second earlier."""
    return f"{after}({field},{format_time(start - (after == 'greater-than'))})"


def filter_all(*conditions: str | None) -> str | None:
    """Return the filter for resources that meet all conditions. Conditions that are None are left out."""
    given = [each for each in conditions if each]
    return f"and({','.join(given)})" if len(given) > 1 else next(iter(given), None)
