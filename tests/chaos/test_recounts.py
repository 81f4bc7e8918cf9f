"""The bookkeeping of recounts in drawn histories: late events, counts that lag, events no longer counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from tap_klaviyo.reading.known_counts import SETTLING, plan_recount
from tap_klaviyo.singer.recounts import KnownCounts

HOUR, DAY = 3600, 86_400
BEGIN = 1_767_225_600
# How late an event may be.
LATEST = 30 * DAY


@dataclass(frozen=True)
class Event:
    """An event with the times at which it happened, became visible, and is no longer counted."""

    id: int
    time: int
    visible: int
    uncounted: int = 2**60


@dataclass
class Metric:
    """A metric whose counts are those of another moment: `lag` seconds ago."""

    events: list[Event]
    lag: int = 0

    def count(self, now: int, start: int, end: int) -> Mapping[int, int]:
        """Return Klaviyo's counts by hour."""
        known = now - self.lag
        return Counter(
            each.time // HOUR * HOUR
            for each in self.events
            if start <= each.time < end and each.visible <= known < each.uncounted
        )

    def read(self, now: int, start: int, end: int) -> Iterator[Event]:
        """Yield the events that Klaviyo returns."""
        return (each for each in self.events if start <= each.time < end and each.visible <= now)


@dataclass
class Reader:
    """A tap that recounts one metric, and all that it has written."""

    metric: Metric
    known: KnownCounts | None = None
    mark: int | None = None
    found: set[int] = field(default_factory=set)
    rows: int = 0

    def run(self, now: int) -> None:
        """Read once."""
        start = BEGIN if self.mark is None else max(BEGIN, self.mark - 7 * DAY)
        plan = plan_recount(
            self.known, start, None, (BEGIN, now - 5), LATEST, lambda begin, stop: self.metric.count(now, begin, stop)
        )
        events = [each for span in plan.ranges for each in self.metric.read(now, *span)]
        self.rows = len(events)
        self.found.update(each.id for each in events)
        self.mark = max((each.time for each in events), default=self.mark)
        self.known = plan.known_then(Counter(each.time // HOUR * HOUR for each in events))


def drawn_events(chance: random.Random, now: int) -> list[Event]:
    """Return events of forty days, many of them late; two that happen together are late together or not at all."""
    found = []
    for number in range(chance.choice((5, 50, 400))):
        time = BEGIN + chance.randrange(now - BEGIN)
        late = chance.choice((0, 0, 0, 60, HOUR, 5 * HOUR, 3 * DAY, 20 * DAY, LATEST - HOUR))
        found.append(Event(number, time, time + (chance.randrange(late) if late else 0)))
    return found


def test_nothing_is_lost_to_counts(recount_seed: int) -> None:
    chance = random.Random(recount_seed)
    last = BEGIN + 45 * DAY
    metric = Metric(drawn_events(chance, last))
    reader, now = Reader(metric), BEGIN + chance.randrange(40 * DAY)
    while now < last + LATEST:
        metric.lag = chance.choice((0, 0, 30, -30, 600, -600, SETTLING, -SETTLING))
        reader.run(now)
        if chance.random() < 0.2:
            lose_counts(metric, chance, now)
        now += chance.choice((60, 600, HOUR, HOUR, 5 * HOUR, DAY, 4 * DAY))
    metric.lag = 0
    for _ in range(2):
        now += DAY
        reader.run(now)
    assert {each.id for each in metric.events} == reader.found
    assert reader.rows == 0


def lose_counts(metric: Metric, chance: random.Random, now: int) -> None:
    """Let Klaviyo no longer count an event, of an hour in which no other is on its way: that would hide each other."""
    coming = {each.time // HOUR for each in metric.events if each.visible > now - 2 * SETTLING}
    able = [n for n, each in enumerate(metric.events) if each.time < now and each.time // HOUR not in coming]
    if able:
        place = chance.choice(able)
        metric.events[place] = replace(metric.events[place], uncounted=now)
