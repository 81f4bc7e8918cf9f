"""Timelines drawn from seeds, read without HTTP: nulls, bursts, several metrics, refused cursors, late events, cuts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tap_klaviyo.errors import RateLimitedError, UnavailableError
from tap_klaviyo.reading.timeline import CountRows
from tests.timelines import Event, Memory, Reading, ids_in, read_timeline, shown

BEGIN = 1_767_225_600  # 2026-01-01


@dataclass(frozen=True)
class Drawn:
    """The timeline drawn for a seed."""

    memory: Memory
    metrics: list[str]
    start: int
    end: int
    refused: float
    late: bool
    unreadable: bool
    chance: random.Random

    def read(self) -> Reading:
        most, idle = self.chance.choice((1, 3, 16)), self.chance.choice((0, 1, 5, 18))
        return read_timeline(
            self.memory,
            self.metrics,
            self.start,
            self.end,
            chance=self.chance,
            most=most,
            idle=lambda: self.chance.randint(0, idle),
        )


def draw(seed: int) -> Drawn:
    chance = random.Random(f"timeline {seed}")
    metrics = [f"M{number}" for number in range(chance.randint(1, 3))]
    start = BEGIN + chance.randrange(1000)
    end = start + chance.choice((1, 2, 5, 60, 3600, 86_400, 31_536_000))
    events = [*draw_events(chance, metrics, start, end)]
    unreadable = chance.random() < 0.15
    if unreadable and events:
        for place in chance.sample(range(len(events)), min(len(events), chance.randint(1, 3))):
            events[place] = replace(events[place], is_readable=False)
    refused = chance.choice((0, 0, 0.05, 0.2))
    is_late = chance.random() < 0.2
    late = [Event(chance.randrange(start, end), f"late{n}", chance.choice(metrics)) for n in range(5 * is_late)]
    # A server may be some seconds behind the clock by which the range was made.
    now = end - chance.choice((0, 0, 0, 3, 40)) if end - start > 100 else end
    # A slice that makes no progress is given up after more refusals than these.
    refusals = iter(range(5))
    failing = chance.choice((0, 0, 0.1, 0.3))
    memory = Memory(
        events,
        chance.choice((1, 2, 5, 10, 40)),
        lambda: chance.random() < refused and next(refusals, None) is not None,
        now,
        late=late,
        err=lambda: chance.random() < failing,
    )
    memory.counts = chance.choice((None, memory.count, wrong_counts(chance)))
    return Drawn(memory, metrics, start, end, refused, is_late, unreadable, chance)


def wrong_counts(chance: random.Random) -> CountRows:
    """Return counts that have nothing to do with the events, or fail."""

    def count(metric: str, start: int, end: int, is_needed: bool = False) -> dict[int, int]:
        if chance.random() < 0.2:
            raise UnavailableError("Klaviyo gave no usable answer.")
        if not is_needed and chance.random() < 0.3:
            raise RateLimitedError("Klaviyo's rate limit for counts is reached.")
        hours = range(start // 3600 * 3600, end + 7200, 3600)
        return {chance.choice(hours): chance.choice((-1, 0, 1, 30, 10**6)) for _ in range(chance.randrange(40))}

    return count


def draw_events(chance: random.Random, metrics: list[str], start: int, end: int) -> Iterator[Event]:
    """Yield events: some even, some in bursts, some behind the end; a share of them, or a stretch, without a time."""
    nulls, datetimes = chance.choice((0, 0, 0.05, 0.5, 1)), chance.choice((0, 0.5, 1))
    blank = sorted(chance.randrange(start, end) for _ in range(2)) if chance.random() < 0.3 else None
    number = 0
    for _ in range(chance.randint(0, 6)):
        begin = chance.randrange(start, end)
        width = chance.choice((1, 1, 3, 60, end - start))
        for _ in range(chance.choice((1, 5, 30, 80))):
            time = min(begin + chance.randrange(width), end + 5)
            is_blank = chance.random() < nulls or bool(blank and blank[0] <= time <= blank[1])
            has_datetime = not is_blank or chance.random() < datetimes
            # Some date-times are wrong: they must not decide anything.
            wrong = chance.randrange(-1000, 1000) if is_blank and chance.random() < 0.1 else 0
            number += 1
            yield Event(
                time,
                f"{chance.randrange(10**6):06}-{number}",
                chance.choice(metrics),
                not is_blank,
                shown(time + wrong) if has_datetime else None,
            )


def wanted_events(drawn: Drawn) -> dict[str, Event]:
    """Return the events of the range by id."""
    return {each.id: each for each in drawn.memory.events if drawn.start <= each.time < drawn.end}


def end_reached(drawn: Drawn) -> int:
    """Return the time up to which a reading must have all events; the range may have been lowered by a minute."""
    return drawn.end if drawn.memory.now >= drawn.end else drawn.memory.now - 60


def bookmark_limits(reading: Reading) -> list[int | None]:
    """Return the limits of the bookmark that skipped events leave."""
    return [batch.bookmark_limit for batch in reading.batches if batch.problem]


def missing_events(drawn: Drawn, reading: Reading) -> set[str]:
    """Return the ids of the events that a reading lacks, without those that Klaviyo cannot render."""
    wanted, limits, reached = wanted_events(drawn), bookmark_limits(reading), end_reached(drawn)
    return {
        id
        for id in wanted.keys() - set(reading.ids)
        if wanted[id].time < reached and not (drawn.unreadable and wanted[id].time in limits)
    }


def check_reading(drawn: Drawn, reading: Reading) -> None:
    """Check that a reading has each event of the range once, and that its bookmarks pass none of them."""
    wanted, limits, reached = wanted_events(drawn), bookmark_limits(reading), end_reached(drawn)
    assert missing_events(drawn, reading) == set()
    extra = set(reading.ids) - wanted.keys()
    assert all(id.startswith("late") for id in extra)
    if not drawn.refused and not drawn.late and not drawn.unreadable:
        assert reading.doubled == {}
    if drawn.refused and not drawn.unreadable:
        assert all(count <= 6 for count in reading.doubled.values())
    assert None not in limits
    skipped = {each.time for each in wanted.values() if not each.is_readable and each.time < reached}
    assert skipped <= set(limits)
    check_bookmarks(reading, wanted)
    check_order(drawn, reading, wanted)


def check_bookmarks(reading: Reading, wanted: dict[str, Event]) -> None:
    """Check that behind any batch, a run from its bookmark would find all that has not been emitted."""
    left = dict(wanted)
    mark, limit = 0, 2**40
    for batch in reading.batches:
        for id in ids_in(batch):
            left.pop(id, None)
        mark = max(mark, batch.newest or 0)
        limit = min(limit, batch.bookmark_limit or limit)
        assert all(each.time >= min(mark, limit) for each in left.values())


def check_order(drawn: Drawn, reading: Reading, wanted: dict[str, Event]) -> None:
    """Check that events with a time come in order of it, unless something had to be read again."""
    if drawn.refused or drawn.late or drawn.unreadable:
        return
    times = [wanted[id].time for id in reading.ids if wanted[id].has_timestamp]
    assert times == sorted(times)


def test_any_timeline_is_read_whole_and_each_event_once(timeline_seed: int) -> None:
    drawn = draw(timeline_seed)
    reading = drawn.read()
    assert missing_events(drawn, reading) == set()
    check_reading(drawn, reading)


def test_unfinished_first_pages_of_two_metrics_meet_in_the_drawn_timelines() -> None:
    drawn = [draw(seed) for seed in range(60)]
    assert sum(each.read().meetings > 0 for each in drawn) >= 15
