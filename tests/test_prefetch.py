"""What the prefetcher does when fetches fail, while it waits, and how it cuts ranges; test_pipeline has its order."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial

import pytest

from tap_klaviyo.reading.prefetch import PARKED_AHEAD, Failure, Fetch, Fetched, Pipeline
from tests.simulation import SimulatedWorkers


class PassingError(Exception):
    """Something that may be over later."""


class RevokedError(Exception):
    """Something that stops every fetch."""


def judge(problem: BaseException) -> Failure:
    kinds: dict[type[BaseException], Failure] = {PassingError: Failure.PASSING, RevokedError: Failure.FATAL}
    return kinds.get(type(problem), Failure.LASTING)


class Moody:
    """Fetches that fail a number of times, and an event for each that has failed."""

    def __init__(self, problem: type[Exception], failures: int) -> None:
        self._problem, self._left = problem, failures
        self.tries, self.failed = 0, threading.Event()

    def __call__(self) -> Fetched[str]:
        self.tries += 1
        if self._left:
            self._left -= 1
            self.failed.set()
            raise self._problem
        return Fetched("moody", 1)


def give(name: str) -> Fetched[str]:
    return Fetched(name, 1)


def give_after(event: threading.Event, name: str) -> Fetched[str]:
    assert event.wait(10)
    return give(name)


def taken(fetches: list[Fetch[str]], workers: int = 2) -> list[str]:
    with Pipeline[str](workers * 2, str, judge=judge) as pipeline:
        pipeline.add("a", fetches)
        return list(pipeline.take("a"))


def test_a_fetch_that_failed_ahead_of_its_turn_is_tried_again_when_its_turn_comes() -> None:
    moody = Moody(PassingError, failures=1)
    assert taken([partial(give_after, moody.failed, "head"), moody, partial(give, "tail")]) == ["head", "moody", "tail"]
    assert moody.tries == 2


def test_a_fetch_that_fails_again_at_its_turn_raises_its_error() -> None:
    moody = Moody(PassingError, failures=2)
    with pytest.raises(PassingError):
        taken([partial(give_after, moody.failed, "head"), moody])
    assert moody.tries == 2


def test_a_fetch_that_fails_at_its_turn_is_not_tried_again() -> None:
    moody = Moody(PassingError, failures=1)
    with pytest.raises(PassingError):
        taken([moody])
    assert moody.tries == 1


def test_a_lasting_failure_ahead_is_raised_at_its_turn_without_a_new_try() -> None:
    moody, found = Moody(ValueError, failures=1), list[str]()
    with Pipeline[str](4, str, judge=judge) as pipeline:
        pipeline.add("a", [partial(give_after, moody.failed, "head"), moody])
        with pytest.raises(ValueError):  # noqa: PT011 - the error has no text
            found.extend(pipeline.take("a"))
    assert moody.tries == 1


def test_a_fatal_failure_ends_the_wait_for_an_earlier_fetch() -> None:
    moody, never = Moody(RevokedError, failures=1), threading.Event()
    with Pipeline[str](4, str, judge=judge) as pipeline:
        pipeline.add("a", [partial(give_after, never, "head")])
        pipeline.add("b", [moody])
        with pytest.raises(RevokedError):
            next(pipeline.take("a"))
    never.set()


def test_the_watch_ends_a_wait() -> None:
    never, calls = threading.Event(), Counter[str]()

    class TargetGoneError(Exception):
        pass

    def watch() -> None:
        calls["watch"] += 1
        if calls["watch"] == 3:
            raise TargetGoneError

    with Pipeline[str](2, str, watch=watch, watch_interval=0.01) as pipeline:
        pipeline.add("a", [partial(give_after, never, "head")])
        with pytest.raises(TargetGoneError):
            next(pipeline.take("a"))
    never.set()


def test_the_rest_of_a_range_is_cut_for_the_fetches_that_could_run_in_addition() -> None:
    asked = []

    def cut(idle: int) -> list[Fetch[str]]:
        asked.append(idle)
        return [partial(give, str(number)) for number in range(idle)]

    with Pipeline[str](8, str) as pipeline:
        pipeline.add("a", [lambda: Fetched("first", 1, rest=cut), partial(give, "second")])
        found = list(pipeline.take("a"))
    # Four may run at the start, and five after one that came well and ran alone or beside the second.
    assert asked[0] in (3, 4)
    assert found == ["first", *map(str, range(asked[0])), "second"]


def seconds_of(fetches: int, memory: int, disk: int, fail_first: bool = False) -> float:
    """Return the simulated seconds in which pages of 10 bytes are taken, four fetches of 1 s at once."""
    workers = SimulatedWorkers(4, first=20 if fail_first else None)
    with Pipeline[str](8, str, memory=memory, disk=disk, workers=workers, judge=judge) as pipeline:
        if fail_first:
            pipeline.add("fails", [Moody(ValueError, 99), *[partial(give_ten, "dropped") for _ in range(30)]])
        pipeline.add("a", [partial(give_ten, str(number)) for number in range(fetches)])
        if fail_first:
            with pytest.raises(ValueError):  # noqa: PT011 - the error has no text
                next(pipeline.take("fails"))
        assert list(pipeline.take("a")) == list(map(str, range(fetches)))
    return workers.now


def give_ten(name: str) -> Fetched[str]:
    return Fetched(name, 10)


@pytest.mark.parametrize(("memory", "disk"), [(80, 0), (20, 80)], ids=["memory", "disk"])
@pytest.mark.parametrize("fail_first", [False, True])
def test_batches_taken_or_dropped_make_room(memory: int, disk: int, fail_first: bool) -> None:
    assert seconds_of(200, memory, disk, fail_first) <= 70 + 20 * fail_first


@pytest.mark.parametrize(("disk", "most"), [(10**9, PARKED_AHEAD), (300, 30)], ids=["open files", "bytes"])
def test_no_more_items_are_parked_than_the_disk_and_the_system_take(disk: int, most: int) -> None:
    parked = 0

    def park(name: str) -> str:
        nonlocal parked
        parked += 1
        return name

    workers = SimulatedWorkers(4, first=1000)
    with Pipeline[str](8, park, memory=0, disk=disk, workers=workers) as pipeline:
        pipeline.add("late", [partial(give_ten, "head")])
        pipeline.add("a", [partial(give_ten, str(number)) for number in range(PARKED_AHEAD * 2)])
        next(pipeline.take("late"))
    assert most <= parked <= most + 8


def test_immediate_follow_ups_come_before_the_rest_of_a_range() -> None:
    follows = Fetched("first", 1, then=[partial(give, "then")], rest=lambda _: [partial(give, "rest")])
    assert taken([lambda: follows, partial(give, "second")]) == ["first", "then", "rest", "second"]


def test_a_group_that_is_next_runs_though_the_later_ones_have_filled_the_memory() -> None:
    workers = SimulatedWorkers(4)
    with Pipeline[str](4, str, memory=30, disk=0, workers=workers) as pipeline:
        pipeline.add("a", [partial(give_ten, str(number)) for number in range(4)])
        pipeline.add("b", [partial(give_ten, str(number)) for number in range(20)])
        assert list(pipeline.take("a")) == ["0", "1", "2", "3"]
        pipeline.add("more", [partial(give_ten, f"more {number}") for number in range(6)], is_next=True)
        assert list(pipeline.take("more")) == [f"more {number}" for number in range(6)]
        assert list(pipeline.take("b")) == [str(number) for number in range(20)]


def no_disk(_: str) -> str:
    raise OSError


def test_what_is_wanted_next_is_fetched_though_memory_is_full_of_what_comes_later() -> None:
    """Without a disk, pages that came early leave no room."""
    workers = SimulatedWorkers(4)
    with Pipeline[str](8, no_disk, memory=5, disk=0, workers=workers) as pipeline:
        chain = Fetched("first", 1, [lambda: Fetched("second", 1, [partial(give, "third")])])
        pipeline.add("a", [lambda: chain, partial(give_ten, "later")])
        assert list(pipeline.take("a")) == ["first", "second", "third", "later"]


def test_a_range_is_not_cut_while_memory_has_no_room() -> None:
    asked = []

    def cut(idle: int) -> list[Fetch[str]]:
        asked.append(idle)
        return []

    with Pipeline[str](8, no_disk, memory=5, disk=0, workers=SimulatedWorkers(4)) as pipeline:
        pipeline.add("a", [lambda: Fetched("large", 10, rest=cut), lambda: Fetched("small", 1, rest=cut)])
        assert list(pipeline.take("a")) == ["large", "small"]
    assert asked == [0, 0]


def test_fetches_of_a_group_that_failed_are_not_counted_as_waiting() -> None:
    asked = []

    def cut(idle: int) -> list[Fetch[str]]:
        asked.append(idle)
        return []

    with Pipeline[str](4, str, judge=judge, workers=SimulatedWorkers(4)) as pipeline:
        pipeline.add("fails", [Moody(ValueError, 99), *[partial(give, "dropped") for _ in range(30)]])
        with pytest.raises(ValueError):  # noqa: PT011 - the error has no text
            next(pipeline.take("fails"))
        pipeline.add("a", [lambda: Fetched("first", 1, rest=cut)])
        assert list(pipeline.take("a")) == ["first"]
    assert asked[0] >= 1
