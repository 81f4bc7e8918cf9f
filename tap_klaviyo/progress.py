"""How far a run is: numbers by stream, shown live on a terminal and as plain lines elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tap_klaviyo.times import format_time

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass
class StreamProgress:
    """One stream's numbers: rows, rows reported, seconds since its start, the date reached (epoch seconds)."""

    began: float
    rows: int = 0
    told: int = 0
    seconds: float = 0.0
    reached: int | None = None

    @property
    def rate(self) -> float:
        """Rows per second; 0 if the stream was too short to measure, because it was read in parallel with another."""
        return self.rows / self.seconds if self.seconds >= 1 else 0.0


@dataclass
class Progress:
    """A run's numbers; `requests` counts those to Klaviyo, `waited` are seconds spent for its rate limits."""

    monotonic: Callable[[], float]
    streams: dict[str, StreamProgress] = field(default_factory=dict)
    now: int | None = None

    def begin(self, stream: str) -> None:
        """Note that a stream begins."""
        self.streams[stream] = StreamProgress(self.monotonic())

    def add(self, stream: str, rows: int, reached: int | None) -> None:
        """Note a page of rows, and how far in time it reached."""
        progress = self.streams[stream]
        progress.rows += rows
        progress.seconds = self.monotonic() - progress.began
        progress.reached = reached if reached is not None else progress.reached

    def untold(self, stream: str) -> int:
        """Return how many rows there are since this was asked last."""
        progress = self.streams[stream]
        rows, progress.told = progress.rows - progress.told, progress.rows
        return rows

    def line(self, stream: str) -> str:
        """Return a stream's numbers as a sentence."""
        progress = self.streams[stream]
        rate = f", {progress.rate:,.0f} a second" if progress.rate else ""
        reached = f", up to {format_time(progress.reached)}" if progress.reached else ""
        return f"{stream}: {progress.rows:,} records so far{rate}{reached}."


@contextmanager
def shown_live(progress: Progress, console: Console, status: Callable[[], str]) -> Iterator[None]:
    """Show the numbers on a terminal while the run goes on, and leave them there as a table when it ends."""
    from rich.live import Live

    with Live(get_renderable=lambda: _table(progress, status()), console=console, refresh_per_second=4):
        yield


def stderr_terminal() -> Console | None:
    """Return the terminal on stderr; None if stderr goes elsewhere."""
    import sys

    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    return Console(stderr=True)


class TerminalHandler(logging.Handler):
    """Shows log lines above the live numbers."""

    def __init__(self, console: Console) -> None:
        """Take the terminal."""
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line as it is, without markup."""
        self._console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


def _table(progress: Progress, status: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, caption=status, caption_justify="left")
    for name in ("stream", "rows", "rows/s", "time", "up to"):
        table.add_column(name, justify="left" if name in ("stream", "up to") else "right")
    for stream, each in progress.streams.items():
        rate = f"{each.rate:,.0f}" if each.rate else ""
        reached = f"{format_time(each.reached)}{_lag(each, progress)}" if each.reached else ""
        table.add_row(stream, f"{each.rows:,}", rate, f"{each.seconds:.1f} s", reached)
    return table


def _lag(stream: StreamProgress, progress: Progress) -> str:
    if stream.reached is None or progress.now is None:
        return ""
    hours = (progress.now - stream.reached) / 3600
    return f" ({hours / 24:.0f} d ago)" if hours >= 48 else f" ({hours:.0f} h ago)"
