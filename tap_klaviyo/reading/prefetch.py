"""Runs fetches side by side and yields what they give in order, within bounds of memory and disk.

A fetch gives one item and the fetches that follow it, which take its place in the order: the next page of a chain,
or the parts that a dense range is cut into. So the order is a tree that is known only as it is walked, and the
pages come out exactly as if they had been fetched one by one.

The consumer's thread alone keeps the books. Workers run fetches and report what became of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Generic, TypeVar

from tap_klaviyo.reading.concurrency import Concurrency, Lane
from tap_klaviyo.reading.workers import Threads, Workers

Item = TypeVar("Item")

# Bytes fetched ahead that are kept in memory; more are parked on disk.
MEMORY_AHEAD = 12 * 2**20
# Bytes of them that may wait on disk: minutes of Klaviyo's fastest answers.
DISK_AHEAD = 512 * 2**20
# Each parked item is an open file, and some systems allow 256 of them.
PARKED_AHEAD = 200
# While the next item is awaited, something else may end the run; it is looked for after this many seconds.
WATCH_INTERVAL = 1.0


@dataclass(frozen=True)
class Fetched(Generic[Item]):
    """What a fetch gave: the item, its size in bytes, the fetches that come next, and how it went.

    `then` follows at once; behind it comes what `rest` returns for the number of fetches that could run in addition,
    so that a range is cut into as many parts as there is use for. `attempts` is how many tries it took; `queued` means
    that more fetches at once would not have helped. `children` are fetches by group: they go to the ends of groups
    that come later in the order, as a child's requests do, which are known only when its parent has been read.
    """

    item: Item
    size: int
    then: Sequence[Callable[[], Fetched[Item]]] = ()
    attempts: int = 1
    queued: bool = False
    children: Mapping[Hashable, Sequence[Callable[[], Fetched[Item]]]] = field(default_factory=dict)
    rest: Callable[[int], Sequence[Callable[[], Fetched[Item]]]] | None = None


Fetch = Callable[[], Fetched[Item]]


class Failure(Enum):
    """What the error of a fetch means for the others."""

    LASTING = auto()
    """It is raised at its place in the order."""
    PASSING = auto()
    """If the fetch failed ahead of its turn, it is tried again when its turn comes."""
    FATAL = auto()
    """It is raised at once: nothing else can be fetched either."""


@dataclass(eq=False)
class _Node(Generic[Item]):
    """A fetch and its place in the order; once started, it is the worker's alone, since what it holds takes memory."""

    fetch: Fetch[Item] | None
    lane: Lane
    parked: bool = False
    result: Fetched[Item] | BaseException | None = None
    again: Fetch[Item] | None = None


class Pipeline(Generic[Item]):
    """Fetches of several groups in one order; use as a context manager."""

    def __init__(
        self,
        max_concurrency: int,
        park: Callable[[Item], Item],
        *,
        memory: int = MEMORY_AHEAD,
        disk: int = DISK_AHEAD,
        judge: Callable[[BaseException], Failure] = lambda _: Failure.LASTING,
        watch: Callable[[], None] = lambda: None,
        watch_interval: float = WATCH_INTERVAL,
        taken: Callable[[Hashable, Item], None] = lambda _, __: None,
        workers: Workers[_Node[Item], Fetched[Item]] | None = None,
    ) -> None:
        """Start no thread yet.

        Args:
            max_concurrency: the maximum number of parallel fetches in one lane.
            park: puts an item onto disk and returns a placeholder; raises OSError if it cannot, and nothing is parked
                from then on.
            memory: bytes fetched ahead of the item being consumed, beyond which items are parked.
            disk: bytes parked, beyond which nothing new is started.
            judge: returns what an error of a fetch means for the others.
            watch: called whenever the consumer waits, and every `watch_interval` seconds of that; ends the wait by
                raising an error.
            watch_interval: in seconds.
            taken: called with the group and each of its items when the fetch has ended, by the consumer's thread.
            workers: run the fetches; by default threads.
        """
        self._max_concurrency = max_concurrency
        self._lanes: dict[Hashable, Lane] = {}
        self._lane_of: dict[Hashable, Lane] = {}
        self._park = park
        self._memory = memory
        self._disk = disk
        self._judge = judge
        self._watch = watch
        self._watch_interval = watch_interval
        self._taken = taken
        self._workers = workers or Threads[_Node[Item], Fetched[Item]]()
        self._groups: dict[Hashable, list[_Node[Item]]] = {}
        self._in_memory = 0
        self._parked: list[int] = []

    def __enter__(self) -> Pipeline[Item]:
        """Return the pipeline."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the workers go; one that is in a request ends with it."""
        self._groups.clear()
        self._workers.stop()

    def add(
        self, group: Hashable, fetches: Sequence[Fetch[Item]], lane: Hashable = None, *, is_next: bool = False
    ) -> None:
        """Put a group's fetches at the end of the order, or with `is_next` before all others.

        Args:
            group: the name to take them by.
            fetches: the group's first fetches; their follow-up fetches stay in the same lane.
            lane: what shares a rate limit, such as an endpoint. The lanes' concurrency is learnt apart, so that a slow
                lane never keeps a fast one waiting.
        """
        self._lane_of[group] = self._lanes.setdefault(lane, Lane(Concurrency(self._max_concurrency)))
        nodes = {group: self._nodes(fetches, self._lane_of[group])}
        self._groups = nodes | self._groups if is_next else self._groups | nodes

    def interrupt(self, reason: BaseException) -> None:
        """Make `take` raise the reason at its next item; may be called from a signal handler or another thread."""
        self._workers.interrupt(reason)

    def take(self, group: Hashable) -> Iterator[Item]:
        """Yield a group's items in order; groups are taken in the order that they were added in.

        Raises:
            Exception: what a fetch raised, at its place in the order, or at once if it is fatal; the rest of the group
                is dropped then.
        """
        nodes = self._groups[group]
        try:
            while nodes:
                result = self._wait_for(nodes[0])
                if isinstance(result, BaseException):
                    raise result
                self._release(nodes.pop(0))
                yield result.item
        finally:
            for node in self._groups.pop(group):
                self._drop(node)

    def _wait_for(self, head: _Node[Item]) -> Fetched[Item] | BaseException:
        while True:
            while self._workers.has_outcome():
                self._settle(head)
            if head.again:
                self._repeat(head, head.again)
            self._dispatch()
            if head.result is not None:
                return head.result
            self._watch()
            self._settle(head)

    def _settle(self, head: _Node[Item]) -> None:
        """Take the result of one fetch, if one arrives in time, and put its batch and next fetches in its place."""
        outcome = self._workers.next_outcome(self._watch_interval)
        if outcome is None:
            return
        node, fetch, result = outcome
        node.lane.running -= 1
        if isinstance(result, BaseException):
            self._fail(node, fetch, result, head)
            return
        node.lane.concurrency.observe(result.attempts, result.queued, node.lane.is_at_limit)
        for group, nodes in self._groups.items():
            if node in nodes:
                self._taken(group, result.item)
                self._place(node, nodes, result)
                break

    def _fail(self, node: _Node[Item], fetch: Fetch[Item], problem: BaseException, head: _Node[Item]) -> None:
        failure = self._judge(problem)
        if failure is Failure.FATAL:
            raise problem
        node.result = problem
        if failure is Failure.PASSING and node is not head:
            node.again = fetch

    def _repeat(self, node: _Node[Item], fetch: Fetch[Item]) -> None:
        """Have a fetch that failed ahead of its turn run again."""
        node.fetch, node.again, node.result = fetch, None, None
        node.lane.waiting += 1

    def _place(self, node: _Node[Item], nodes: list[_Node[Item]], result: Fetched[Item]) -> None:
        """Keep a result, and put the fetches that follow from it in their places."""
        self._in_memory += result.size
        place = nodes.index(node) + 1
        following = self._nodes(result.then, node.lane)
        if result.rest:
            following += self._nodes(result.rest(0 if self._is_full() else node.lane.idle), node.lane)
        nodes[place:place] = following
        for group, children in result.children.items():
            self._groups[group] += self._nodes(children, self._lane_of[group])
        node.result = replace(result, then=(), children={}, rest=None)
        if self._in_memory > self._memory:
            self._make_room()

    def _nodes(self, fetches: Sequence[Fetch[Item]], lane: Lane) -> list[_Node[Item]]:
        lane.waiting += len(fetches)
        return [_Node(fetch, lane) for fetch in fetches]

    def _make_room(self) -> None:
        """If there is a disk, park the items that memory has no room for, starting with those needed last."""
        latest_first = (node for nodes in reversed(self._groups.values()) for node in reversed(nodes))
        for node in latest_first:
            if self._in_memory <= self._memory or not self._disk:
                return
            if isinstance(node.result, Fetched) and not node.parked:
                self._put_aside(node, node.result)

    def _put_aside(self, node: _Node[Item], result: Fetched[Item]) -> None:
        try:
            node.result = replace(result, item=self._park(result.item))
        except OSError:
            self._disk = 0
            return
        node.parked = True
        self._parked.append(result.size)
        self._in_memory -= result.size

    def _release(self, node: _Node[Item]) -> None:
        if not isinstance(node.result, Fetched):
            return
        if node.parked:
            self._parked.remove(node.result.size)
        else:
            self._in_memory -= node.result.size

    def _is_full(self) -> bool:
        if self._disk:
            return sum(self._parked) >= self._disk or len(self._parked) >= PARKED_AHEAD
        return self._in_memory >= self._memory

    def _drop(self, node: _Node[Item]) -> None:
        if node.fetch is not None:
            node.lane.waiting -= 1
        self._release(node)

    def _dispatch(self) -> None:
        """Start the earliest fetches that there is room for; the very first needs none, so nothing can lock up."""
        for lane in self._lanes.values():
            lane.is_at_limit = False
        first = True
        for node in (node for nodes in self._groups.values() for node in nodes):
            if node.fetch is not None:
                if not node.lane.is_open:
                    node.lane.is_at_limit = True
                    if all(lane.is_at_limit for lane in self._lanes.values()):
                        return
                elif not first and self._is_full():
                    return
                else:
                    self._start(node, node.fetch)
            first = False

    def _start(self, node: _Node[Item], fetch: Fetch[Item]) -> None:
        node.fetch = None
        node.lane.waiting -= 1
        node.lane.running += 1
        self._workers.start_call(node, fetch)
