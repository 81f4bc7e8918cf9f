"""SIGINT, SIGTERM and SIGHUP: a last STATE where that is possible, and an end within seconds in any case."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Seconds that a run has for its last STATE: stdout may be blocked by a target that reads nothing more.
_GRACE = 1.5
# Seconds after that for the last lines of the log: stderr may be blocked, too.
_LAST_LINES = 0.4
# Seconds in which the same Ctrl-C reaches tap and target: a pipe that breaks just before a signal broke because of it.
_SAME_MOMENT = 0.3


class Ended(BaseException):
    """A signal asks the tap to end."""

    def __init__(self, number: int) -> None:
        """Keep the signal's number."""
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """The signal's name, such as SIGTERM."""
        return signal.Signals(self.number).name


class Signals:
    """What signals have asked for."""

    def __init__(self) -> None:
        """Begin without any."""
        self.asked: int | None = None

    def raise_if_asked(self) -> None:
        """Wait a moment for a signal, and raise Ended if there was one."""
        until = time.monotonic() + _SAME_MOMENT
        while self.asked is None and time.monotonic() < until:
            time.sleep(0.01)
        if self.asked is not None:
            raise Ended(self.asked)


@contextmanager
def handled_signals(interrupt: Callable[[BaseException], None]) -> Iterator[Signals]:
    """Let SIGINT, SIGTERM and SIGHUP interrupt a run, which writes a last STATE; a second one ends it at once.

    After the block, the process has a moment left to say why it ends.

    Args:
        interrupt: makes the run raise an exception between two pages.
    """
    numbers, signals = (signal.SIGINT, signal.SIGTERM, *_hang_up()), Signals()
    has_timer = hasattr(signal, "setitimer")

    def end_now(number: int, _: FrameType | None) -> None:
        raise Ended(signals.asked or number)

    def exit_now(number: int, _: FrameType | None) -> None:
        os._exit(128 + (signals.asked or number))

    def exit_soon() -> None:
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        signal.signal(signal.SIGALRM, exit_now)
        signal.setitimer(signal.ITIMER_REAL, max(left, _LAST_LINES))

    def end_late(number: int, frame: FrameType | None) -> None:
        exit_soon()
        end_now(number, frame)

    def end_run(number: int, _: FrameType | None) -> None:
        signals.asked = number
        for each in numbers:
            signal.signal(each, end_now)
        if has_timer:
            signal.signal(signal.SIGALRM, end_late)
            signal.setitimer(signal.ITIMER_REAL, _GRACE)
        interrupt(Ended(number))

    before = [signal.signal(number, end_run) for number in numbers]
    try:
        yield signals
    finally:
        if has_timer and signals.asked is not None:
            exit_soon()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _hang_up() -> list[signal.Signals]:
    """Return SIGHUP, by which a terminal says that it closes; not where it does not exist, or if nohup ignores it."""
    number = getattr(signal, "SIGHUP", None)
    return [number] if number is not None and signal.getsignal(number) != signal.SIG_IGN else []
