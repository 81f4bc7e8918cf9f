"""Days and calendar months of a time zone, which reports are asked for; pure.

Klaviyo takes the bounds of a report as local times of the account, and labels a series with local midnights, both
written as if they were in UTC. Records have the same midnights with their real offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Literal
from zoneinfo import ZoneInfo

Unit = Literal["day", "month"]


@dataclass(frozen=True)
class Period:
    """A day or a month, from one local midnight to another.

    Args:
        first: its first local date.
        start: its first second, in epoch seconds.
        end: the first second after it.
    """

    first: date
    start: int
    end: int


def periods_between(unit: Unit, start: int, end: int, zone: ZoneInfo) -> list[Period]:
    """Return the periods that have a part of a time range (epoch seconds, without its end), each whole."""
    return list(_unit_periods(unit, start, end, zone)) if start < end else []


def period_after(unit: Unit, moment: int, zone: ZoneInfo) -> int:
    """Return the start of the period that follows a moment; both in epoch seconds."""
    return midnight_of(_next_first_day(unit, _first_day(unit, local_date(moment, zone))), zone)


def cut_windows(periods: Sequence[Period], most: int) -> list[Sequence[Period]]:
    """Return the periods in groups of up to `most`."""
    return [periods[place : place + most] for place in range(0, len(periods), most)]


def local_date(moment: int, zone: ZoneInfo) -> date:
    """Return the local date of a moment in epoch seconds."""
    return datetime.fromtimestamp(moment, zone).date()


def midnight_of(day: date, zone: ZoneInfo) -> int:
    """Return the first second of a local day; a day whose midnight the clocks skip begins when they resume."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def format_local(moment: int, zone: ZoneInfo) -> str:
    """Return a moment as a local time in RFC 3339, with its offset."""
    return datetime.fromtimestamp(moment, zone).isoformat(timespec="seconds")


def format_bound(moment: int, zone: ZoneInfo) -> str:
    """Return a moment as a bound of a report: the local time, written as if it were in UTC."""
    return datetime.fromtimestamp(moment, zone).replace(tzinfo=timezone.utc).isoformat(timespec="seconds")


def labelled_date(label: str) -> date | None:
    """Return the local date in a label of a series; None for a label that is not a date."""
    try:
        return date.fromisoformat(label[:10])
    except ValueError:
        return None


def _unit_periods(unit: Unit, start: int, end: int, zone: ZoneInfo) -> Iterator[Period]:
    first = _first_day(unit, local_date(start, zone))
    begin = midnight_of(first, zone)
    while begin < end:
        following = _next_first_day(unit, first)
        after = midnight_of(following, zone)
        yield Period(first, begin, after)
        first, begin = following, after


def _first_day(unit: Unit, day: date) -> date:
    return day if unit == "day" else day.replace(day=1)


def _next_first_day(unit: Unit, first: date) -> date:
    return first + timedelta(days=1) if unit == "day" else (first + timedelta(days=31)).replace(day=1)
