"""Time cut into hours, days, weeks and months of a time zone."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

Interval = Literal["hour", "day", "week", "month"]


def local_time(second: float, zone: ZoneInfo) -> datetime:
    """Return an epoch second as a local time."""
    return datetime.fromtimestamp(second, zone)


def floor_to(moment: datetime, interval: Interval) -> datetime:
    """Return the beginning of the hour, day, week (from Monday) or month around a local time."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0, fold=0)
    match interval:
        case "hour":
            return hour
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)


def next_beginning(beginning: datetime, interval: Interval) -> datetime:
    """Return the local time at which the next period begins."""
    match interval:
        case "hour":
            # Counted in real time: a local clock skips or repeats an hour.
            return datetime.fromtimestamp(beginning.timestamp() + 3600, beginning.tzinfo)
        case "day":
            return beginning + timedelta(days=1)
        case "week":
            return beginning + timedelta(days=7)
        case "month":
            return (beginning.replace(day=28) + timedelta(days=4)).replace(day=1)


def period_beginnings(start: float, end: float, interval: Interval, zone: ZoneInfo) -> list[datetime]:
    """Return the beginnings of all periods that overlap a time range (epoch seconds, end excluded)."""
    found = []
    beginning = floor_to(local_time(start, zone), interval)
    while beginning.timestamp() < end:
        found.append(beginning)
        beginning = next_beginning(beginning, interval)
    return found


def period_edges(found: list[datetime], start: float, end: float) -> list[tuple[float, float]]:
    """Return start and end (epoch seconds) of each period, cut to a time range."""
    cuts = [each.timestamp() for each in found[1:]]
    return list(pairwise([start, *cuts, end]))
