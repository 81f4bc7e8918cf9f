"""The pipeline: the order of one worker, whatever runs beside what; bounded; ended by errors and interruptions."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from tap_klaviyo.errors import ThreadLimitError
from tap_klaviyo.reading.concurrency import Concurrency
from tap_klaviyo.reading.prefetch import Fetch, Fetched, Pipeline
from tap_klaviyo.reading.workers import Threads, call_in_parallel, run_watched

# A tree of fetches: a name, and the fetches that follow it.
Tree = tuple[str, Sequence["Tree"]]


def tree(seed: random.Random, name: str, depth: int) -> Tree:
    return name, [tree(seed, f"{name}.{n}", depth - 1) for n in range(seed.randint(0, 3))] if depth else []


def flat(node: Tree) -> list[str]:
    return [node[0], *(name for child in node[1] for name in flat(child))]


def fetch(node: Tree, size: int = 1, before: Callable[[str], None] = lambda name: None) -> Fetched[str]:
    before(node[0])
    return Fetched(node[0], size, [partial(fetch, child, size, before) for child in node[1]])


def park(name: str) -> str:
    """Return the placeholder of a parked item."""
    return f"parked {name}"


def no_disk(name: str) -> str:
    raise OSError("no disk")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("workers", [1, 2, 7])
def test_items_come_in_the_order_of_one_worker(seed: int, workers: int) -> None:
    chance = random.Random(seed)
    groups = {name: [tree(chance, f"{name}{n}", 4) for n in range(3)] for name in "abc"}
    with Pipeline[str](workers, park, memory=5, disk=50) as pipeline:
        for name, trees in groups.items():
            pipeline.add(name, [partial(fetch, each) for each in trees])
        for name, trees in groups.items():
            taken = [item.removeprefix("parked ") for item in pipeline.take(name)]
            assert taken == [item for each in trees for item in flat(each)]


def test_fetches_run_side_by_side() -> None:
    together = threading.Barrier(4, timeout=10)

    def meet(name: str) -> None:
        together.wait()

    with Pipeline[str](8, park) as pipeline:
        pipeline.add("a", [partial(fetch, (str(n), ()), 1, meet) for n in range(4)])
        assert list(pipeline.take("a")) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("parking", "memory", "disk", "most"),
    [
        (park, 40, 100, 40 + 100),
        (no_disk, 100, 1000, 100),
        (park, 100, 0, 100),
    ],
    ids=["both", "disk full", "no disk"],
)
def test_pages_fetched_ahead_stay_within_the_bounds(
    parking: Callable[[str], str], memory: int, disk: int, most: int
) -> None:
    ahead, highest = 0, 0
    lock = threading.Lock()

    def count(name: str) -> None:
        nonlocal ahead, highest
        with lock:
            ahead += 10
            highest = max(highest, ahead)

    with Pipeline[str](4, parking, memory=memory, disk=disk) as pipeline:
        pipeline.add("a", [partial(fetch, (str(n), ()), 10, count) for n in range(200)])
        taken = 0
        for _ in pipeline.take("a"):
            taken += 1
            with lock:
                ahead -= 10
    assert taken == 200
    # Fetches that are running when a bound is reached may exceed it.
    assert highest <= most + 4 * 10


def test_what_memory_has_no_room_for_is_parked_the_last_first() -> None:
    parked = threading.Event()

    def head_waits(name: str) -> None:
        if name == "0":
            parked.wait(10)

    def tell(name: str) -> str:
        parked.set()
        return park(name)

    with Pipeline[str](8, tell, memory=25, disk=1000) as pipeline:
        pipeline.add("a", [partial(fetch, (str(n), ()), 10, head_waits) for n in range(4)])
        assert list(pipeline.take("a")) == ["0", "1", "parked 2", "parked 3"]


@pytest.mark.parametrize("at_once", [1, 3])
def test_as_many_threads_start_as_calls_run_at_once_and_all_end_with_the_work(at_once: int) -> None:
    threads, used = Threads[int, threading.Thread](), set[threading.Thread]()
    for _ in range(20):
        together = threading.Barrier(at_once)

        def call(together: threading.Barrier = together) -> threading.Thread:
            together.wait(10)
            return threading.current_thread()

        for number in range(at_once):
            threads.start_call(number, call)
        for _ in range(at_once):
            outcome = threads.next_outcome(10)
            assert outcome is not None
            assert isinstance(outcome[2], threading.Thread)
            used.add(outcome[2])
    assert len(used) == at_once
    threads.stop()
    for thread in used:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("allowed", [1, 2])
def test_the_threads_that_the_system_allows_do_all_the_work(allowed: int) -> None:
    threads = Threads[int, int](limited_to(allowed))
    for number in range(5):
        threads.start_call(number, partial(int, number))
    outcomes = [threads.next_outcome(10) for _ in range(5)]
    threads.stop()
    assert sorted(outcome[0] for outcome in outcomes if outcome) == list(range(5))


def test_a_system_that_allows_no_thread_is_an_error() -> None:
    with pytest.raises(ThreadLimitError, match="ulimit -u"):
        Threads[int, int](limited_to(0), lambda seconds: None).start_call(0, int)


def test_a_system_that_allows_a_thread_a_little_later_is_waited_for() -> None:
    """A thread that has just ended counts for some milliseconds more."""
    waited: list[float] = []

    def start(thread: threading.Thread) -> None:
        if sum(waited) < 1:
            raise RuntimeError("can't start new thread")
        thread.start()

    threads = Threads[int, int](start, waited.append)
    threads.start_call(7, int)
    assert threads.next_outcome(10) == (7, int, 0)
    threads.stop()


def limited_to(count: int) -> Callable[[threading.Thread], None]:
    """Return what starts up to `count` threads, as a system with a limit does."""
    left = iter(range(count))

    def start(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        thread.start()

    return start


def test_something_else_can_end_the_wait_for_a_call() -> None:
    release = threading.Event()

    def watch() -> None:
        raise ConnectionError("The reader has gone.")

    try:
        with pytest.raises(ConnectionError):
            run_watched(lambda: release.wait(10), watch, interval=0.01)
    finally:
        release.set()


def test_a_watched_call_gives_its_result_or_its_error() -> None:
    assert run_watched(lambda: 7, lambda: None) == 7
    with pytest.raises(ZeroDivisionError):
        run_watched(lambda: 1 // 0, lambda: None)


def test_a_thread_that_is_waited_for_does_not_keep_the_process() -> None:
    threads = Threads[int, bool]()
    threads.start_call(0, lambda: threading.current_thread().daemon)
    outcome = threads.next_outcome(10)
    threads.stop()
    assert outcome is not None
    assert outcome[2] is True


@pytest.mark.parametrize("problem", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_a_call_raises_is_its_outcome(problem: BaseException) -> None:
    def call() -> None:
        raise problem

    threads = Threads[str, None]()
    threads.start_call("key", call)
    outcome = threads.next_outcome(10)
    threads.stop()
    assert outcome == ("key", call, problem)


@pytest.mark.parametrize("workers", [1, 4])
def test_children_come_in_their_own_group_behind_their_parents(workers: int) -> None:
    def parent(number: int) -> Fetched[str]:
        child = partial(fetch, (f"child {number}", [(f"page 2 of child {number}", ())]))
        then = [partial(parent, number + 1)] if number < 3 else []
        return Fetched(f"parent {number}", 1, then, children={"children": [child]})

    with Pipeline[str](workers, park) as pipeline:
        pipeline.add("parents", [partial(parent, 1)])
        pipeline.add("others", [partial(fetch, ("other", ()))])
        pipeline.add("children", [])
        assert list(pipeline.take("parents")) == ["parent 1", "parent 2", "parent 3"]
        assert list(pipeline.take("others")) == ["other"]
        assert list(pipeline.take("children")) == [
            name for number in (1, 2, 3) for name in (f"child {number}", f"page 2 of child {number}")
        ]


def test_a_lane_that_is_held_up_never_holds_up_another() -> None:
    """The fetches of a slow lane, as many as may run at once, wait until all of a fast lane have run."""
    fast_done, seen = threading.Event(), Counter[str]()
    names = [str(number) for number in range(40)]

    def wait_for_fast(name: str) -> None:
        assert fast_done.wait(10)

    def count_fast(name: str) -> None:
        seen[name] += 1
        if len(seen) == len(names):
            fast_done.set()

    with Pipeline[str](8, park) as pipeline:
        pipeline.add("slow", [partial(fetch, (name, ()), 1, wait_for_fast) for name in names[:20]], lane="slow")
        pipeline.add("fast", [partial(fetch, (name, ()), 1, count_fast) for name in names], lane="fast")
        assert list(pipeline.take("slow")) == names[:20]
        assert list(pipeline.take("fast")) == names


def test_an_error_is_raised_at_its_place_and_the_other_groups_go_on() -> None:
    def fail() -> Fetched[str]:
        raise ValueError("no")

    fetches: list[Fetch[str]] = [partial(fetch, ("one", ())), fail, partial(fetch, ("never", ()))]
    with Pipeline[str](4, park) as pipeline:
        pipeline.add("a", fetches)
        pipeline.add("b", [partial(fetch, ("two", [("three", ())]))])
        taken = pipeline.take("a")
        assert next(taken) == "one"
        with pytest.raises(ValueError, match="no"):
            next(taken)
        assert list(pipeline.take("b")) == ["two", "three"]


def test_an_interruption_ends_a_wait() -> None:
    started, never = threading.Event(), threading.Event()

    def hang(name: str) -> None:
        started.set()
        never.wait(10)

    class Stopped(BaseException):
        pass

    def interrupt() -> None:
        started.wait(10)
        pipeline.interrupt(Stopped())

    with Pipeline[str](2, park) as pipeline:
        pipeline.add("a", [partial(fetch, ("a", ()), 1, hang)])
        threading.Thread(target=interrupt).start()
        with pytest.raises(Stopped):
            next(pipeline.take("a"))
    never.set()


def test_a_group_without_fetches_is_empty() -> None:
    with Pipeline[str](2, park) as pipeline:
        pipeline.add("a", [])
        assert list(pipeline.take("a")) == []


def test_concurrency_grows_by_one_and_shrinks_by_a_third_within_its_bounds() -> None:
    concurrency = Concurrency(16)
    seen = [concurrency.limit]
    for attempts in [1] * 10 + [2] * 12:
        concurrency.observe(attempts)
        seen.append(concurrency.limit)
    assert seen[:3] == [8, 9, 10]
    assert max(seen) == 16
    assert seen[-1] == 1


def test_concurrency_is_halved_where_pages_come_faster_than_they_can_be_worked_on_and_then_grows_slowly() -> None:
    concurrency = Concurrency(18)
    concurrency.observe(1, queued=True)
    assert concurrency.limit == 4.5
    for _ in range(4):
        concurrency.observe(1)
    assert 5 < concurrency.limit < 5.5
    while concurrency.limit < 18:
        concurrency.observe(1)
    concurrency.observe(2)
    concurrency.observe(1)
    assert concurrency.limit == 13  # back at the maximum, the earlier crowding has no effect


def test_concurrency_does_not_grow_where_it_is_not_made_use_of() -> None:
    concurrency = Concurrency(16)
    concurrency.observe(1, at_limit=False)
    assert concurrency.limit == 8


def test_parallel_calls_return_in_their_order() -> None:
    """The first ends last, and what a call returns may be an exception."""
    first_may_end, problem = threading.Event(), ValueError("a result")

    def wait() -> str:
        first_may_end.wait(10)
        return "first"

    def release() -> ValueError:
        first_may_end.set()
        return problem

    calls: list[Callable[[], str | ValueError]] = [wait, release, lambda: "third"]
    assert call_in_parallel(calls, at_once=2) == ["first", problem, "third"]


def test_an_error_of_a_parallel_call_is_raised() -> None:
    def fail() -> str:
        raise ValueError("not a result")

    with pytest.raises(ValueError, match="not a result"):
        call_in_parallel([fail, lambda: "second"], at_once=2)
