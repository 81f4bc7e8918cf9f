"""POST /api/metric-aggregates: counts of an account's events."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from math import floor
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from tap_klaviyo.sandbox import periods
from tap_klaviyo.sandbox.account import Account
from tap_klaviyo.sandbox.bodies import refuse_attribute
from tap_klaviyo.sandbox.filters import parse_moment
from tap_klaviyo.sandbox.refusals import RefusalError
from tap_klaviyo.sandbox.rendering import Renderer, View

_YEAR = 366 * 86_400
_ROWS = 500
# The document names these as not supported.
_UNSUPPORTED_ZONES = frozenset({"Factory", "Europe/Kyiv", "Pacific/Kanton"})
_BOUNDS = {"greater-or-equal": "start", "less-than": "end"}
_EVENT = View(event=frozenset({"event_properties"}))


@dataclass(frozen=True)
class Asked:
    """What a request asks for: the events of a metric (by its place) from `start` to `end`, in epoch seconds."""

    metric: int
    start: float
    end: float
    beginnings: Sequence[datetime]
    measurements: Sequence[str]
    by: Sequence[str]
    first_row: int


def metric_aggregates(account: Account, renderer: Renderer, attributes: Mapping[str, Any], now: float) -> bytes:
    """Return the answer to a query.

    The counts are those that the account knew `aggregate_lag` seconds ago.

    Raises:
        RefusalError: as Klaviyo would refuse it.
    """
    asked = _read_question(account, attributes)
    rows = _Counter(account, renderer, asked, now - account.aggregate_lag).rows()
    shown = rows[asked.first_row : asked.first_row + _ROWS]
    link = f"{renderer.origin}/api/metric-aggregates/"
    following = str(asked.first_row + _ROWS) if len(rows) > asked.first_row + _ROWS else None
    data = {
        "type": "metric-aggregate",
        "id": f"{account.salt:x}",
        "attributes": {"dates": [_format_beginning(each) for each in asked.beginnings], "data": shown},
        "links": {"self": link},
    }
    links: dict[str, str | None] = {"self": link, "next": following and f"{link}?page_cursor={following}", "prev": None}
    return json.dumps({"data": data, "links": links}).encode()


def _read_question(account: Account, attributes: Mapping[str, Any]) -> Asked:
    if attributes.get("sort") is not None:
        # Recorded: Klaviyo fails on each sort.
        raise refuse_attribute("unsupported operand type(s) for +", "sort")
    if attributes.get("page_size") is not None and attributes["page_size"] < _ROWS:
        raise refuse_attribute(f"page_size must be at least {_ROWS}.", "page_size")
    place = account.metric_places.get(attributes["metric_id"])
    if place is None:
        raise refuse_attribute(f"Metric IDs ['{attributes['metric_id']}'] do not exist.", "metric_id")
    if not attributes["measurements"]:
        raise refuse_attribute("'measurements' is a required field.", "measurements")
    zone = _read_zone(attributes.get("timezone") or "UTC")
    start, end = _read_bounds(attributes["filter"], zone)
    interval: periods.Interval = attributes.get("interval") or "day"
    found = periods.period_beginnings(start, end, interval, zone)
    cursor = attributes.get("page_cursor") or "0"
    if not cursor.isdecimal():
        raise RefusalError("invalid", "Invalid cursor provided.")
    return Asked(place, start, end, found, attributes["measurements"], attributes.get("by") or (), int(cursor))


def _read_zone(name: str) -> ZoneInfo:
    if name in _UNSUPPORTED_ZONES or name not in _known_zones():
        raise refuse_attribute(f"'{name}' is not a valid timezone.", "timezone")
    return ZoneInfo(name)


@cache
def _known_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _read_bounds(texts: Sequence[str], zone: ZoneInfo) -> tuple[float, float]:
    """Return the range that a list of filters gives; a time without a zone is in the query's."""
    found: dict[str, float] = {}
    for text in texts:
        operator, _, rest = text.partition("(datetime,")
        second = _read_moment(rest[:-1], zone) if rest.endswith(")") else None
        bound = _BOUNDS.get(operator)
        if bound is None or bound in found or second is None:
            raise refuse_attribute(f"Invalid filter provided: {text}", "filter")
        found[bound] = second
    if found.keys() != set(_BOUNDS.values()):
        raise refuse_attribute("A time range with greater-or-equal and less-than on datetime is required.", "filter")
    if not 0 < found["end"] - found["start"] <= _YEAR:
        raise refuse_attribute("The time range must be positive and not longer than one year.", "filter")
    return found["start"], found["end"]


def _read_moment(text: str, zone: ZoneInfo) -> float | None:
    second = parse_moment(text)
    if second is None or ("T" in text and (text.endswith("Z") or text[-6:-5] in ("+", "-"))):
        return second
    naive = datetime.fromtimestamp(second, timezone.utc).replace(tzinfo=zone)
    return naive.timestamp()


def _format_beginning(beginning: datetime) -> str:
    return beginning.astimezone(timezone.utc).isoformat()


@dataclass(frozen=True)
class _Counter:
    """Counts what a query asks for, as it was known at a time (epoch seconds)."""

    account: Account
    renderer: Renderer
    asked: Asked
    known: float

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each combination of dimensions that has events, one row without dimensions."""
        edges = periods.period_edges(list(self.asked.beginnings), self.asked.start, self.asked.end)
        if self.account.counts_deleted and not self.asked.by and set(self.asked.measurements) <= {"count"}:
            return [{"dimensions": [], "measurements": {"count": self._counts(edges)}}]
        groups: dict[tuple[str, ...], list[list[int]]] = {}
        for period, (start, end) in enumerate(edges):
            for number in self._numbers(start, end):
                group = groups.setdefault(self._dimensions(number), [[] for _ in edges])
                group[period].append(number)
        if not self.asked.by:
            groups.setdefault((), [[] for _ in edges])
        return [
            {"dimensions": list(dimensions), "measurements": dict(self._measured(numbers))}
            for dimensions, numbers in sorted(groups.items())
        ]

    def _counts(self, edges: Sequence[tuple[float, float]]) -> list[int]:
        """Count by date, without looking at each event; then correct for late and early events."""
        counts = [self._dated(start, min(end, floor(self.known) + 1)) for start, end in edges]
        starts = [start for start, _ in edges]
        for number, second in self._exceptions():
            if self.asked.start <= second < self.asked.end:
                visible = self.account.timeline.is_visible(number, self.known)
                counts[bisect_right(starts, second) - 1] += int(visible) - int(second <= self.known)
        return counts

    def _dated(self, start: float, end: float) -> int:
        numbers, seconds = self._all(), self.account.timeline.seconds
        first, last = (bisect_left(numbers, each, key=seconds.__getitem__) for each in (start, end))
        return max(0, last - first)

    def _exceptions(self) -> Iterable[tuple[int, int]]:
        timeline = self.account.timeline
        return (
            (number, timeline.seconds[number])
            for number in timeline.late
            if timeline.metrics[number] == self.asked.metric
        )

    def _all(self) -> Sequence[int]:
        return self.account.events_of([self.asked.metric])

    def _numbers(self, start: float, end: float) -> Iterable[int]:
        numbers, timeline = self._all(), self.account.timeline
        first, last = (bisect_left(numbers, each, key=timeline.seconds.__getitem__) for each in (start, end))
        return (
            each for each in numbers[first:last] if timeline.is_visible(each, self.known) and self._counts_for(each)
        )

    def _counts_for(self, number: int) -> bool:
        profile = self.account.profile_of(number)
        return self.account.counts_deleted or profile is None or not self.account.people.is_deleted(profile)

    def _dimensions(self, number: int) -> tuple[str, ...]:
        if not self.asked.by:
            return ()
        properties = self._properties(number)
        return tuple(_dimension_text(properties.get(name)) for name in self.asked.by)

    def _properties(self, number: int) -> dict[str, Any]:
        event = json.loads(self.renderer.page([number], _EVENT)[0][0])
        return event["attributes"]["event_properties"] or {}

    def _measured(self, periods_: Sequence[Sequence[int]]) -> Iterable[tuple[str, list[float]]]:
        for name in self.asked.measurements:
            match name:
                case "count":
                    yield name, [len(numbers) for numbers in periods_]
                case "unique":
                    people = (map(self.account.profile_of, numbers) for numbers in periods_)
                    yield name, [len({each for each in found if each is not None}) for found in people]
                case _:
                    yield name, [round(sum(map(self._value, numbers)), 2) for numbers in periods_]

    def _value(self, number: int) -> float:
        found = self._properties(number).get("$value", 0)
        return float(found) if isinstance(found, int | float) else 0.0


def _dimension_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
