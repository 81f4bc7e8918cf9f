"""How many seconds and requests timelines take, on a simulated clock: a page takes 1 s, 16 requests run at once."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.simulation import Simulated, simulate
from tests.timelines import Event, Memory, fetches_of, ids_in

PAGE = 300
YEAR = 31_536_000
BEGIN = 1_735_689_600  # 2025-01-01


def even(pages: int, seed: int, metrics: Sequence[str] = ("M",), power: float = 1) -> list[Event]:
    """Return events over a year; with a power over 1, most of them at its beginning."""
    chance = random.Random(seed)
    return [
        Event(BEGIN + int(chance.random() ** power * YEAR), f"even{number}", chance.choice(metrics))
        for number in range(pages * PAGE)
    ]


def burst(pages: int, at: int, seconds: int) -> list[Event]:
    """Return pages of events that lie in some seconds."""
    count = pages * PAGE
    return [Event(BEGIN + at + number * seconds // count, f"burst{number}", "M") for number in range(count)]


def read(events: Sequence[Event], metrics: Sequence[str] = ("M",)) -> tuple[Simulated, int]:
    """Read a year, check that it is whole, and return how it went and how many requests it took."""
    memory = Memory(events, PAGE)
    ended = simulate([fetches_of(memory, metrics, BEGIN, BEGIN + YEAR)])
    assert sorted(id for batch in ended.batches for id in ids_in(batch)) == sorted(each.id for each in events)
    return ended, len(memory.requests)


def test_150_pages_take_16_seconds_and_a_tenth_more_requests_than_the_least() -> None:
    found = [read(even(150, seed)) for seed in range(1, 5)]
    assert sum(ended.seconds for ended, _ in found) / len(found) <= 15
    assert max(ended.seconds for ended, _ in found) <= 16
    assert sum(requests for _, requests in found) / len(found) < 150 * 1.1


@pytest.mark.parametrize("power", [0.5, 2, 4])
def test_uneven_timelines_take_little_longer(power: float) -> None:
    ended, requests = read(even(150, 1, power=power))
    assert ended.seconds <= 17
    assert requests <= 150 * 1.2


def test_several_metrics_are_read_as_fast() -> None:
    ended, requests = read(even(150, 1, ["M", "N", "O"]), ["M", "N", "O"])
    assert ended.seconds <= 18
    assert requests <= 150 * 1.25


@pytest.mark.parametrize("at", [0, YEAR // 2])
def test_a_send_of_60_pages_in_12_seconds_amid_a_quiet_year_is_cut(at: int) -> None:
    ended, requests = read([*even(2, 1), *burst(60, at, 12)])
    assert ended.seconds <= 13
    assert requests <= 62 * 1.5


def test_a_small_run_over_all_timelines_takes_two_requests_time_behind_the_metrics() -> None:
    groups = []
    for number in range(18):
        metrics = [f"M{number}"] if number % 4 else [f"M{number}", f"N{number}"]
        events = [Event(BEGIN + place, f"{number}.{place}", metrics[place % len(metrics)]) for place in range(10)]
        groups.append(fetches_of(Memory(events, PAGE), metrics, BEGIN, BEGIN + YEAR))
    assert sum(map(len, groups)) == 23
    ended = simulate(groups)
    assert sum(batch.rows for batch in ended.batches) == 180
    assert ended.seconds <= 2
