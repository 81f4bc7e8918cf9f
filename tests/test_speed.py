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


def crowded_day(pages: int, seed: int, metrics: Sequence[str]) -> list[Event]:
    """Return events over a year, of which half are on one day."""
    chance, day = random.Random(seed), BEGIN + YEAR * 4 // 5
    return [
        Event(
            int(day + chance.random() * 86_400 if number % 2 else BEGIN + chance.random() * YEAR),
            f"crowded{number}",
            chance.choice(metrics),
        )
        for number in range(pages * PAGE)
    ]


def burst(pages: int, at: int, seconds: int) -> list[Event]:
    """Return pages of events that lie in some seconds."""
    count = pages * PAGE
    return [Event(BEGIN + at + number * seconds // count, f"burst{number}", "M") for number in range(count)]


def sends(number: int, pages: int, seed: int) -> list[Event]:
    """Return a quiet year with sends, each with most of its events in the first minutes of an hour."""
    chance = random.Random(seed)
    starts = [BEGIN + chance.randrange(YEAR - 3600) for _ in range(number)]
    return even(10, seed) + [
        Event(start + int(3600 * chance.random() ** 3), f"send{start}.{place}", "M")
        for start in starts
        for place in range(pages * PAGE)
    ]


def read(events: Sequence[Event], metrics: Sequence[str] = ("M",), counted: bool = False) -> tuple[Simulated, int]:
    """Read a year, check that it is whole, and return how it went and how many requests it took."""
    memory = Memory(events, PAGE)
    memory.counts = memory.count if counted else None
    ended = simulate([fetches_of(memory, metrics, BEGIN, BEGIN + YEAR)])
    assert sorted(id for batch in ended.batches for id in ids_in(batch)) == sorted(each.id for each in events)
    return ended, len(memory.requests) + memory.questions


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


@pytest.mark.parametrize("number", [40, 60])
def test_counts_save_a_fifth_of_the_time_and_a_quarter_of_the_requests_for_a_year_of_sends(number: int) -> None:
    events = sends(number, 4, seed=1)
    (usual, usual_requests), (planned, requests) = read(events), read(events, counted=True)
    assert planned.seconds <= 0.8 * usual.seconds
    assert requests <= 0.75 * usual_requests


@pytest.mark.parametrize("metrics", ["MN", "NM"])
def test_of_several_metrics_the_counts_of_the_densest_decide(metrics: str) -> None:
    quiet = [Event(BEGIN + 3600 * hour, f"quiet{hour}", "N") for hour in range(YEAR // 3600)]
    events = sends(40, 4, seed=1) + quiet
    (usual, usual_requests), (planned, requests) = read(events, metrics), read(events, metrics, counted=True)
    assert planned.seconds <= 0.8 * usual.seconds
    assert requests <= 0.75 * usual_requests


@pytest.mark.parametrize("metrics", ["M", "MNO"])
def test_counts_of_even_timelines_cost_nothing(metrics: str) -> None:
    ended, requests = read(even(150, 1, metrics), metrics, counted=True)
    assert ended.seconds <= 14
    assert requests <= 150 * 1.15


@pytest.mark.parametrize("metrics", ["M", "MN"])
@pytest.mark.parametrize("pages", [40, 80])
def test_a_year_with_half_of_its_events_on_one_day_takes_a_tenth_more_requests_than_the_least(
    pages: int, metrics: str
) -> None:
    ended, requests = read(crowded_day(pages, 1, metrics), metrics, counted=True)
    assert ended.seconds <= 5 + pages / 16
    # Of several metrics, each round of pages counts as far as the shortest of them reaches: a fifth.
    assert requests <= pages * (1.1 if len(metrics) == 1 else 1.2)


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
