"""Threads that run fetches; the prefetcher's only contact with them is two queues."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeVar

from tap_klaviyo.errors import ThreadLimitError

# Seconds of one wait for a call to end; after it, the next wait begins.
_PATIENCE = 60.0
# Seconds between the attempts to start the first thread. A thread that has just ended counts against the system's
# limit for some milliseconds more, and so does another process of the user.
_PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0)
Key = TypeVar("Key")
Result = TypeVar("Result")


class Workers(Protocol[Key, Result]):
    """Runs calls side by side and hands back what became of them, in the order in which they end."""

    def start_call(self, key: Key, call: Callable[[], Result]) -> None:
        """Run a call in parallel with the running ones."""

    def next_outcome(self, timeout: float) -> tuple[Key, Callable[[], Result], Result | BaseException] | None:
        """Return a call that has ended, with its key and its result or error; None if `timeout` seconds pass first."""

    def interrupt(self, reason: BaseException) -> None:
        """Make `next_outcome` raise the reason."""

    def has_outcome(self) -> bool:
        """Return whether `next_outcome` would return at once."""

    def stop(self) -> None:
        """Start nothing more."""


class Threads(Generic[Key, Result]):
    """Workers that are threads: as many as calls ever ran at once."""

    def __init__(
        self,
        start: Callable[[threading.Thread], None] = threading.Thread.start,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Start no thread yet.

        Args:
            start: starts a thread; raises RuntimeError if the system refuses.
            pause: waits for some seconds before the next attempt to start the first thread.
        """
        self._start = start
        self._pause = pause
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._todo: SimpleQueue[tuple[Key, Callable[[], Result]] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[Key, Callable[[], Result], Result | BaseException] | BaseException] = (
            SimpleQueue()
        )

    def start_call(self, key: Key, call: Callable[[], Result]) -> None:
        """Run a call in a separate thread."""
        self._running += 1
        if self._running > len(self._threads):
            self._start_thread()
        self._todo.put((key, call))

    def _start_thread(self) -> None:
        """Start one more thread; if the system refuses, the existing ones do the work.

        Raises:
            ThreadLimitError: there are none, and the system goes on refusing.
        """
        if self._try_to_start() or self._threads:
            return
        for seconds in _PAUSES:
            self._pause(seconds)
            if self._try_to_start():
                return
        raise ThreadLimitError(
            "The system does not allow this process to start threads; raise its limit, for example with ulimit -u."
        )

    def _try_to_start(self) -> bool:
        thread = threading.Thread(target=self._work, daemon=True, name=f"fetch-{len(self._threads)}")
        try:
            self._start(thread)
        except RuntimeError:
            return False
        self._threads.append(thread)
        return True

    def next_outcome(self, timeout: float) -> tuple[Key, Callable[[], Result], Result | BaseException] | None:
        """Wait up to `timeout` seconds for a call to end."""
        try:
            outcome = self._done.get(timeout=timeout)
        except Empty:
            return None
        if isinstance(outcome, BaseException):
            raise outcome
        self._running -= 1
        return outcome

    def interrupt(self, reason: BaseException) -> None:
        """Make `next_outcome` raise the reason; may be called from a signal handler or another thread."""
        self._done.put(reason)

    def has_outcome(self) -> bool:
        """Return whether a call has ended, or an interruption waits."""
        return not self._done.empty()

    def stop(self) -> None:
        """Let the threads go; one that is in a call ends with it."""
        for _ in self._threads:
            self._todo.put(None)

    def _work(self) -> None:
        while (todo := self._todo.get()) is not None:
            key, call = todo
            # What a call holds is kept until the outcome is taken, so that a call that failed can be run again.
            try:
                self._done.put((key, call, call()))
            except BaseException as problem:
                self._done.put((key, call, problem))
            del todo, key, call


def run_watched(call: Callable[[], Result], watch: Callable[[], None], interval: float = 1.0) -> Result:
    """Return what a call returns, and look out for something else while it runs.

    Args:
        call: runs in a separate thread.
        watch: called regularly; an exception that it raises ends the wait, and the thread is abandoned.
        interval: seconds between two calls of `watch`.

    Raises:
        BaseException: what the call or `watch` raises.
    """
    threads = Threads[None, Result]()
    threads.start_call(None, call)
    try:
        while (outcome := threads.next_outcome(interval)) is None:
            watch()
    finally:
        threads.stop()
    result = outcome[2]
    if isinstance(result, BaseException):
        raise result
    return result


def call_in_parallel(calls: Sequence[Callable[[], Result]], at_once: int) -> list[Result]:
    """Return what calls return, in their order. An exception ends the wait, and the running calls are abandoned.

    Args:
        calls: each runs in a separate thread.
        at_once: how many run in parallel.

    Raises:
        BaseException: what a call raises, or a signal handler meanwhile.
    """
    # In a list, because a call may return an exception.
    threads, results = Threads[int, list[Result]](), dict[int, Result]()
    waiting = iter(enumerate(calls))

    def start_calls(count: int) -> None:
        for number, call in islice(waiting, count):
            threads.start_call(number, partial(_listed_result, call))

    try:
        start_calls(at_once)
        while len(results) < len(calls):
            if outcome := threads.next_outcome(_PATIENCE):
                number, _, found = outcome
                if isinstance(found, BaseException):
                    raise found
                (results[number],) = found
                start_calls(1)
    finally:
        threads.stop()
    return [results[number] for number in range(len(calls))]


def _listed_result(call: Callable[[], Result]) -> list[Result]:
    return [call()]
