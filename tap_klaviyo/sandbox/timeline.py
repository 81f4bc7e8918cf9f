"""The events of an account as columns: time, metric, and when each event becomes visible.

An event is a number: its place in the order of (second, id). Five million events take about 90 MB.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from random import Random
from typing import Literal

from tap_klaviyo.sandbox.metrics import BASE58, Metric

Shape = Literal["even", "skewed"]

DAY = 86_400
MOST_EVENTS = 8_000_000
# Most events are visible within a week of their date; tests can ask for later ones.
LATEST = int(6.5 * DAY)
_COPIES = 3
# Later than any second that a test reaches.
_NEVER = 1 << 62
_NUMBER_BITS = 23
_SINGLE = [char.encode() for char in BASE58]
_PAIRS = [first + second for first in _SINGLE for second in _SINGLE]


@dataclass(frozen=True)
class Stretch:
    """A stretch of time and its share of the events; their seconds are rounded down to multiples of `grain`."""

    start: int
    end: int
    weight: float
    grain: int = 1


@dataclass(frozen=True)
class Burst:
    """Events in a single second; the metrics take turns."""

    count: int
    metrics: Sequence[int]


@dataclass(frozen=True)
class Timeline:
    """All events, by number.

    Attributes:
        seconds: epoch seconds, ascending.
        metrics: places in the account's metrics.
        late: the epoch second at which an event becomes visible, for events whose date differs from that.
    """

    seconds: array[int]
    metrics: array[int]
    late: Mapping[int, int]

    @cached_property
    def by_metric(self) -> Mapping[int, array[int]]:
        """The events of each metric, ascending."""
        members: dict[int, array[int]] = {metric: array("I") for metric in range(max(self.metrics, default=0) + 1)}
        appends = [members[metric].append for metric in range(len(members))]
        for number, metric in enumerate(self.metrics):
            appends[metric](number)
        return members

    def is_visible(self, number: int, now: float) -> bool:
        """Return whether the API shows an event at a time (epoch seconds)."""
        return self.late.get(number, self.seconds[number]) <= now

    def without(self, events: Collection[bytes]) -> Timeline:
        """Return the timeline on which some events, by id, never become visible."""
        gone = (number for number in range(len(self.seconds)) if self.id(number) in events)
        return replace(self, late={**self.late, **dict.fromkeys(gone, _NEVER)})

    def id(self, number: int) -> bytes:
        """Return an event's id: eleven characters, ascending within a second and scattered over seconds."""
        return event_id(self.seconds[number], number)


def event_id(second: int, number: int) -> bytes:
    """Return the id of an event by its second and number."""
    rest = (second * 0x9E3779B97B & 0xFFFFFFFFFF) << _NUMBER_BITS | number
    rest, fifth = divmod(rest, 3364)
    rest, fourth = divmod(rest, 3364)
    rest, third = divmod(rest, 3364)
    rest, second_pair = divmod(rest, 3364)
    first, first_pair = divmod(rest, 3364)
    pairs = _PAIRS
    return _SINGLE[first] + pairs[first_pair] + pairs[second_pair] + pairs[third] + pairs[fourth] + pairs[fifth]


def build_timeline(
    random: Random,
    metrics: Sequence[Metric],
    events: int,
    now: int,
    days: int,
    shape: Shape,
    burst: Burst,
    latest: int = LATEST,
) -> Timeline:
    """Return events in the days before `now` (epoch seconds), a few later ones, and when they become visible.

    Some arrive in the two weeks after `now`; some are dated up to a year ahead but are visible at once.

    Raises:
        ValueError: too many events.
    """
    if events > MOST_EVENTS:
        raise ValueError(f"An account can have {MOST_EVENTS} events, not {events}.")
    seconds, first_of_burst = _past_seconds(random, events, now, days, shape, burst.count)
    chosen = _metrics_of_events(random, metrics, events, first_of_burst, burst)
    upcoming, ahead = _future_seconds(random, now, events)
    tail = sorted([(second, None) for second in upcoming] + [(second, now - DAY) for second in ahead], key=_first_of)
    late = _late_events(random, seconds, now, latest)
    for number, (second, visible_at) in enumerate(tail, start=events):
        if visible_at is not None:
            late[number] = visible_at
        elif number % 8 == 0:
            late[number] = second + random.randint(60, latest)
    seconds.extend(second for second, _ in tail)
    chosen.extend(_choose_metrics(random, metrics, len(tail)))
    return Timeline(seconds, chosen, late)


def _first_of(pair: tuple[int, int | None]) -> int:
    return pair[0]


def _past_seconds(random: Random, events: int, now: int, days: int, shape: Shape, burst: int) -> tuple[array[int], int]:
    """Return the seconds of the events before `now`, and the number of the first event of the burst."""
    start, span = now - days * DAY, days * DAY
    stretches = list(_stretches_of(start, span, shape))
    middle = next(place for place, each in enumerate(stretches) if each.start >= start + span // 2)
    counts = _shares_of([each.weight for each in stretches], events - burst)
    seconds = array("q")
    first_of_burst = 0
    for place, (stretch, count) in enumerate(zip(stretches, counts, strict=True)):
        if place == middle:
            first_of_burst = len(seconds)
            seconds.extend([stretch.start] * burst)
        seconds.extend(_spread_seconds(random, stretch, count))
    return seconds, first_of_burst


def _stretches_of(start: int, span: int, shape: Shape) -> Iterator[Stretch]:
    """Yield the stretches before `now`: one has no events, in another they come in heaps."""
    cuts = [start + span * percent // 100 for percent in (0, 30, 35, 50, 60, 65, 100)]
    names = ("even", "silent", "even", "even", "heaps", "even")
    crowded = start + span * 80 // 100, start + span * 80 // 100 + min(DAY, span // 10)
    for begin, end, name in zip(cuts, cuts[1:], names, strict=False):
        if name == "silent":
            continue
        if begin <= crowded[0] < end and shape == "skewed":
            yield Stretch(begin, crowded[0], crowded[0] - begin)
            yield Stretch(*crowded, 0.95 * span)
            yield Stretch(crowded[1], end, end - crowded[1])
        else:
            yield Stretch(begin, end, end - begin, DAY // 4 if name == "heaps" else 1)


def _shares_of(weights: Sequence[float], count: int) -> list[int]:
    """Return the count, divided in proportion to the weights."""
    total = sum(weights)
    ends = [round(count * done / total) for done in accumulate(weights)]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def _spread_seconds(random: Random, stretch: Stretch, count: int) -> list[int]:
    """Return ascending seconds in a stretch."""
    if not count:
        return []
    chance, start, grain, step = random.random, stretch.start, stretch.grain, (stretch.end - stretch.start) / count
    if grain == 1:
        return [start + int((place + chance()) * step) for place in range(count)]
    return [start + int((place + chance()) * step) // grain * grain for place in range(count)]


def _choose_metrics(random: Random, metrics: Sequence[Metric], count: int) -> array[int]:
    weights = [metric.kind.weight for metric in metrics if metric.kind.weight]
    return array("B", random.choices(range(len(weights)), weights, k=count))


def _metrics_of_events(
    random: Random, metrics: Sequence[Metric], events: int, first_of_burst: int, burst: Burst
) -> array[int]:
    """Return a random metric for each event; with enough events, every metric has a few."""
    chosen = _choose_metrics(random, metrics, events)
    everyone = [place for place, metric in enumerate(metrics) if metric.kind.weight]
    everyone.sort(key=lambda place: (metrics[place].kind.stream is None, place))
    early = min(first_of_burst, events)
    places = random.sample(range(early), min(early, len(everyone) * _COPIES))
    for turn, place in enumerate(places):
        chosen[place] = everyone[turn % len(everyone)]
    for turn in range(burst.count):
        chosen[first_of_burst + turn] = burst.metrics[turn % len(burst.metrics)]
    return chosen


def _future_seconds(random: Random, now: int, events: int) -> tuple[list[int], list[int]]:
    """Return the seconds of the events in the next two weeks, and of those dated up to a year ahead."""
    upcoming = _spread_seconds(random, Stretch(now + 60, now + 14 * DAY, 1), max(60, events // 50))
    ahead = _spread_seconds(random, Stretch(now + DAY // 24, now + 365 * DAY, 1), max(40, events // 1000))
    return upcoming, ahead


def _late_events(random: Random, seconds: Sequence[int], now: int, latest: int) -> dict[int, int]:
    """Return when late events become visible: a few old ones, and many of the last week, half of them after `now`."""
    week = bisect_left(seconds, now - latest + DAY // 2)
    late = {number: seconds[number] + random.randint(60, latest) for number in random.sample(range(week), week // 500)}
    for turn, number in enumerate(range(len(seconds) - 1, week - 1, -6)):
        earliest = seconds[number] + 60 if turn % 2 else now + 60
        late[number] = random.randint(earliest, seconds[number] + latest)
    return late
