"""Deadlines that hold whatever a server does: a connection that is not done in time is shut down.

A socket's own timeout starts again with each byte, so a server that sends its headers one byte at a time would never
reach it.
"""

from __future__ import annotations

import heapq
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import urllib3

_current = threading.local()


class Deadline:
    """One request's deadline, and the connection that it is sent on."""

    def __init__(self) -> None:
        """Begin without a connection."""
        self.is_over = False
        self.is_done = False
        self._connection: Any = None
        self._lock = threading.Lock()

    def use(self, connection: Any) -> None:
        """Take the connection that the request is sent on.

        Raises:
            TimeoutError: the deadline has passed, such as while one address after another was tried.
        """
        with self._lock:
            if self.is_over:
                raise TimeoutError("The deadline has passed.")
            self._connection = connection

    def end(self) -> None:
        """Note that the request is done, so that its connection can serve another one."""
        with self._lock:
            self.is_done, self._connection = True, None

    def pass_now(self) -> None:
        """Shut the connection down: whatever waits for it fails at once."""
        with self._lock:
            self.is_over = not self.is_done
            if self.is_over and self._connection is not None:
                for found in self._connection.sockets():
                    with suppress(OSError):
                        # Not the method of a TLS socket, which takes its state away from the thread that reads.
                        socket.socket.shutdown(found, socket.SHUT_RDWR)


class Watchdog:
    """Ends requests that take too long; one thread for all of them, started with the first."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._changed = threading.Condition()
        self._ends: list[tuple[float, int, Deadline]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, seconds: float) -> Iterator[Deadline]:
        """Shut down the connection that this thread uses within the block, if the block takes longer."""
        deadline = Deadline()
        with self._changed:
            heapq.heappush(self._ends, (time.monotonic() + seconds, next(self._numbers), deadline))
            if self._thread is None:
                self._thread = self._started()
            # Only a new first deadline is of interest to the thread.
            if self._ends[0][2] is deadline:
                self._changed.notify()
        _current.deadline = deadline
        try:
            yield deadline
        finally:
            _current.deadline = None
            deadline.end()

    def _started(self) -> threading.Thread | None:
        """Start the thread; if the system has none to give, only the sockets' own timeouts hold, as for any client."""
        thread = threading.Thread(target=self._watch, daemon=True, name="deadlines")
        try:
            thread.start()
        except RuntimeError:
            return None
        return thread

    def _watch(self) -> None:
        with self._changed:
            while True:
                while self._ends and (self._ends[0][2].is_done or self._ends[0][0] <= time.monotonic()):
                    heapq.heappop(self._ends)[2].pass_now()
                self._changed.wait(self._ends[0][0] - time.monotonic() if self._ends else None)


class _Watched:
    """Shared by all connections: each reports to its thread's deadline that it is in use."""

    sock: Any
    # While TLS or a tunnel is being set up, a second handle of the socket: the first one is taken over by the TLS
    # library and is out of reach until the handshake is done.
    _young: socket.socket | None = None

    def sockets(self) -> list[socket.socket]:
        """Return the handles by which the connection can be shut down."""
        found = self.sock
        # Within the TLS of a proxy, TLS is an object that has the socket.
        while found is not None and not isinstance(found, socket.socket):
            found = getattr(found, "socket", None)
        return [each for each in (self._young, found) if each is not None]

    def connect(self) -> None:
        """Connect, within the deadline of this thread if there is one."""
        self._tell_deadline()
        try:
            super().connect()  # type: ignore[misc]
        finally:
            young, self._young = self._young, None
            if young is not None:
                young.close()
        # One address after another may have been tried meanwhile.
        self._tell_deadline()

    def request(self, *arguments: Any, **options: Any) -> Any:
        """Send a request, within the deadline of this thread if there is one."""
        self._tell_deadline()
        return super().request(*arguments, **options)  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        self._young = made.dup()
        return made

    def _tunnel(self) -> None:
        super()._tunnel()  # type: ignore[misc]
        deadline: Deadline | None = getattr(_current, "deadline", None)
        if deadline is not None and deadline.is_over:
            # Headers that end because the socket was shut down look complete, and TLS would be set up on that socket.
            raise TimeoutError("The deadline passed while the proxy opened its tunnel.")

    def _tell_deadline(self) -> None:
        deadline: Deadline | None = getattr(_current, "deadline", None)
        if deadline is not None:
            deadline.use(self)


class HTTPConnection(_Watched, urllib3.connection.HTTPConnection):
    """A connection that a deadline can shut down."""


class HTTPSConnection(_Watched, urllib3.connection.HTTPSConnection):
    """A TLS connection that a deadline can shut down."""


class HTTPConnectionPool(urllib3.HTTPConnectionPool):
    """A pool of connections that deadlines can shut down."""

    ConnectionCls = HTTPConnection


class HTTPSConnectionPool(urllib3.HTTPSConnectionPool):
    """A pool of TLS connections that deadlines can shut down."""

    ConnectionCls = HTTPSConnection


POOLS = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}
