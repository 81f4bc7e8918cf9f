"""Runs fetches side by side and yields what they give in order, within a bound of bytes.

A fetch gives one item and the fetches that follow it, which take its place in the order: the next page of a chain,
or the parts that a dense range is cut into. So the order is a tree that is known only as it is walked, and the
pages come out exactly as if they had been fetched one by one.

The consumer's thread alone keeps the books. Workers see two queues: fetches to run, and what became of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Fetched(Generic[Item]):
    """What a fetch gave: the item, its size in bytes, the fetches that come next, and how many tries it took."""

    item: Item
    size: int
    then: Sequence[Callable[[], Fetched[Item]]] = ()
    attempts: int = 1


Fetch = Callable[[], Fetched[Item]]


@dataclass(eq=False)
class _Node(Generic[Item]):
    """A fetch and its place in the order."""

    fetch: Fetch[Item]
    started: bool = False
    result: Fetched[Item] | BaseException | None = None


@dataclass
class Concurrency:
    """How many fetches may run at once: one more for each that came well, a third fewer for one that did not."""

    highest: int
    limit: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin at half of the most."""
        self.limit = max(1, self.highest / 2)

    def observe(self, attempts: int) -> None:
        """Learn from one fetch's tries."""
        self.limit = min(self.highest, self.limit + 1) if attempts == 1 else max(1, self.limit * 2 / 3)


class Pipeline(Generic[Item]):
    """Fetches of several groups in one order; use as a context manager."""

    def __init__(self, max_concurrency: int, max_bytes: int) -> None:
        """Start no thread yet.

        Args:
            max_concurrency: fetches under way at once, at the most.
            max_bytes: bytes fetched ahead of the item being consumed, beyond which nothing new is started.
        """
        self._concurrency = Concurrency(max_concurrency)
        self._max_bytes = max_bytes
        self._groups: dict[Hashable, list[_Node[Item]]] = {}
        self._running = 0
        self._buffered = 0
        self._typical = 0
        self._workers: list[threading.Thread] = []
        self._todo: SimpleQueue[_Node[Item] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[_Node[Item], Fetched[Item] | BaseException] | BaseException] = SimpleQueue()

    def __enter__(self) -> Pipeline[Item]:
        """Return the pipeline."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the workers go; one that is in a request ends with it."""
        self._groups.clear()
        for _worker in self._workers:
            self._todo.put(None)

    def add(self, group: Hashable, fetches: Sequence[Fetch[Item]]) -> None:
        """Put a group's fetches at the end of the order."""
        self._groups[group] = [_Node(fetch) for fetch in fetches]

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
                del nodes[0]
                self._buffered -= result.size
                yield result.item
        finally:
            self._drop(group)

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
        nodes = next((each for each in self._groups.values() if node in each), None)
        if nodes is None:
            return
        node.result = result
        if isinstance(result, Fetched):
            self._concurrency.observe(result.attempts)
            self._buffered += result.size
            self._typical = max(result.size, self._typical * 7 // 8)
            place = nodes.index(node) + 1
            nodes[place:place] = [_Node(fetch) for fetch in result.then]

    def _dispatch(self) -> None:
        """Start the earliest fetches that there is room for; the very first needs none, so nothing can lock up."""
        first = True
        for nodes in self._groups.values():
            for node in nodes:
                if not node.started:
                    if self._running >= int(self._concurrency.limit):
                        return
                    if not first and self._buffered + (self._running + 1) * self._typical > self._max_bytes:
                        return
                    self._start(node)
                first = False

    def _start(self, node: _Node[Item]) -> None:
        node.started = True
        self._running += 1
        if self._running > len(self._workers):
            worker = threading.Thread(target=self._work, daemon=True, name=f"fetch-{len(self._workers)}")
            self._workers.append(worker)
            worker.start()
        self._todo.put(node)

    def _work(self) -> None:
        while (node := self._todo.get()) is not None:
            try:
                self._done.put((node, node.fetch()))
            except BaseException as problem:
                self._done.put((node, problem))

    def _drop(self, group: Hashable) -> None:
        for node in self._groups.pop(group, ()):
            if isinstance(node.result, Fetched):
                self._buffered -= node.result.size
