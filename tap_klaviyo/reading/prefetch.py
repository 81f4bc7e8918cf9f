"""Runs fetches side by side and yields what they give in order, within bounds of memory and disk.

A fetch gives one item and the fetches that follow it, which take its place in the order: the next page of a chain,
or the parts that a dense range is cut into. So the order is a tree that is known only as it is walked, and the
pages come out exactly as if they had been fetched one by one.

The consumer's thread alone keeps the books. Workers see two queues: fetches to run, and what became of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")

# What is fetched ahead is kept in memory up to the first bound (bytes), parked on disk up to the second, and so many
# items can be parked at the most: each is a file, and some systems allow 256.
MEMORY_AHEAD = 12 * 2**20
DISK_AHEAD = 512 * 2**20
PARKED_AHEAD = 200


@dataclass(frozen=True)
class Fetched(Generic[Item]):
    """What a fetch gave: the item, its size in bytes, the fetches that come next, and how it went.

    `attempts` is how many tries it took; `queued` is that more fetches at once would have been of no use. `children`
    are fetches by group: they go to the ends of groups that come later in the order, as a child's requests do, which
    are known only when its parent has been read.
    """

    item: Item
    size: int
    then: Sequence[Callable[[], Fetched[Item]]] = ()
    attempts: int = 1
    queued: bool = False
    children: Mapping[Hashable, Sequence[Callable[[], Fetched[Item]]]] = field(default_factory=dict)


Fetch = Callable[[], Fetched[Item]]


@dataclass(eq=False)
class _Node(Generic[Item]):
    """A fetch and its place in the order; once started, it is the worker's alone, since what it holds takes memory."""

    fetch: Fetch[Item] | None
    lane: _Lane
    parked: bool = False
    result: Fetched[Item] | BaseException | None = None


@dataclass(eq=False)
class _Lane:
    """The fetches that share a rate limit: how many of them run, and how many may."""

    concurrency: Concurrency
    running: int = 0
    is_hungry: bool = False
    is_at_limit: bool = False

    @property
    def is_open(self) -> bool:
        """Whether one more fetch may run."""
        return self.running < int(self.concurrency.limit)


@dataclass
class Concurrency:
    """How many fetches may run at once.

    A third fewer for one that took several tries; else, where the limit was reached, one more for each that came well.
    What is fetched faster than it can be worked on only has to be parked: half as many for a fetch that was queued, and
    from then on one more for as many as run at once, until that leads back to the most.
    """

    highest: int
    limit: float = field(init=False)
    _is_crowded: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Begin at half of the most."""
        self.limit = max(1, self.highest / 2)

    def observe(self, attempts: int, queued: bool = False, at_limit: bool = True) -> None:
        """Learn from how one fetch went, and from whether as many ran as were allowed to."""
        if queued:
            self._is_crowded = True
            self.limit = max(1, self.limit / 2)
        elif attempts > 1:
            self.limit = max(1, self.limit * 2 / 3)
        elif at_limit:
            self.limit = min(self.highest, self.limit + (1 / self.limit if self._is_crowded else 1))
            self._is_crowded = self._is_crowded and self.limit < self.highest


class Pipeline(Generic[Item]):
    """Fetches of several groups in one order; use as a context manager."""

    def __init__(
        self,
        max_concurrency: int,
        park: Callable[[Item], Item],
        *,
        memory: int = MEMORY_AHEAD,
        disk: int = DISK_AHEAD,
    ) -> None:
        """Start no thread yet.

        Args:
            max_concurrency: the most fetches of one lane that run at once.
            park: puts an item onto disk and returns what stands for it; raises OSError where it cannot.
            memory: bytes fetched ahead of the item being consumed, beyond which items are parked.
            disk: bytes parked, beyond which nothing new is started.
        """
        self._max_concurrency = max_concurrency
        self._lanes: dict[Hashable, _Lane] = {}
        self._lane_of: dict[Hashable, _Lane] = {}
        self._park = park
        self._memory = memory
        self._disk = disk
        self._groups: dict[Hashable, list[_Node[Item]]] = {}
        self._running = 0
        self._in_memory = 0
        self._parked: list[int] = []
        self._workers: list[threading.Thread] = []
        self._todo: SimpleQueue[tuple[_Node[Item], Fetch[Item]] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[_Node[Item], Fetched[Item] | BaseException] | BaseException] = SimpleQueue()

    def __enter__(self) -> Pipeline[Item]:
        """Return the pipeline."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the workers go; one that is in a request ends with it."""
        self._groups.clear()
        for _worker in self._workers:
            self._todo.put(None)

    def add(self, group: Hashable, fetches: Sequence[Fetch[Item]], lane: Hashable = None) -> None:
        """Put a group's fetches at the end of the order.

        Args:
            group: the name to take them by.
            fetches: the group's first fetches; those that follow from them stay in their lane.
            lane: what shares a rate limit, such as an endpoint. The lanes' concurrency is learnt apart, so that a slow
                lane never keeps a fast one waiting.
        """
        self._lane_of[group] = self._lane(lane)
        self._groups[group] = [_Node(fetch, self._lane_of[group]) for fetch in fetches]

    def is_hungry(self, lane: Hashable = None) -> bool:
        """Return whether a lane could run twice as many fetches as it has; for fetches that can be cut smaller."""
        return self._lane(lane).is_hungry

    def _lane(self, name: Hashable) -> _Lane:
        return self._lanes.setdefault(name, _Lane(Concurrency(self._max_concurrency)))

    def interrupt(self, reason: BaseException) -> None:
        """Make `take` raise the reason at its next item; may be called from a signal handler or another thread."""
        self._done.put(reason)

    def take(self, group: Hashable) -> Iterator[Item]:
        """Yield a group's items in order; groups are taken in the order that they were added in.

        Raises:
            Exception: what a fetch raised, at its place in the order; the rest of the group is dropped then.
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
                self._release(node)

    def _wait_for(self, head: _Node[Item]) -> Fetched[Item] | BaseException:
        while True:
            while not self._done.empty():
                self._settle()
            self._dispatch()
            if head.result is not None:
                return head.result
            self._settle()

    def _settle(self) -> None:
        """Take one result off the queue and put what follows in its place."""
        outcome = self._done.get()
        if isinstance(outcome, BaseException):
            raise outcome
        node, result = outcome
        self._running -= 1
        node.lane.running -= 1
        nodes = next((each for each in self._groups.values() if node in each), None)
        if nodes is None:
            return
        if isinstance(result, BaseException):
            node.result = result
        else:
            node.lane.concurrency.observe(result.attempts, result.queued, node.lane.is_at_limit)
            place = nodes.index(node) + 1
            nodes[place:place] = [_Node(fetch, node.lane) for fetch in result.then]
            for group, children in result.children.items():
                self._groups[group] += [_Node(fetch, self._lane_of[group]) for fetch in children]
            node.result = replace(result, then=(), children={})
            self._in_memory += result.size
            if self._in_memory > self._memory:
                self._make_room()

    def _make_room(self) -> None:
        """Park what memory has no room for, where there is a disk: what will be wanted last."""
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

    def _dispatch(self) -> None:
        """Start the earliest fetches that there is room for; the very first needs none, so nothing can lock up."""
        for lane in self._lanes.values():
            lane.is_at_limit = False
        has_room = self._start_in_order()
        for lane in self._lanes.values():
            lane.is_hungry = has_room and not lane.is_at_limit and lane.running < lane.concurrency.limit / 2

    def _start_in_order(self) -> bool:
        """Start the earliest fetches of each lane, and return whether memory and disk had room for all of them."""
        first = True
        for node in (node for nodes in self._groups.values() for node in nodes):
            if node.fetch is not None:
                if not node.lane.is_open:
                    node.lane.is_at_limit = True
                    if all(lane.is_at_limit for lane in self._lanes.values()):
                        return True
                elif not first and self._is_full():
                    return False
                else:
                    self._start(node, node.fetch)
            first = False
        return True

    def _start(self, node: _Node[Item], fetch: Fetch[Item]) -> None:
        node.fetch = None
        self._running += 1
        node.lane.running += 1
        if self._running > len(self._workers):
            worker = threading.Thread(target=self._work, daemon=True, name=f"fetch-{len(self._workers)}")
            self._workers.append(worker)
            worker.start()
        self._todo.put((node, fetch))

    def _work(self) -> None:
        while (todo := self._todo.get()) is not None:
            node, fetch = todo
            try:
                self._done.put((node, fetch()))
            except BaseException as problem:
                self._done.put((node, problem))
