"""How a run's progress is shown on stderr: a live table, or a plain line every ten seconds."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, TextIO, cast

from tap_klaviyo import log
from tap_klaviyo.progress import Progress, StreamProgress
from tap_klaviyo.times import format_duration, format_time

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

# Seconds between two plain lines.
LINE_INTERVAL = 10.0
# Columns that the level takes at the beginning of a log line.
_LEVEL = len("INFO ")
# The column of a stream's name is never narrower.
_LEAST_NAME = 12


def stderr_terminal() -> Console | None:
    """Return the terminal on stderr; None if stderr goes elsewhere."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    return Console(file=cast("IO[str]", _Terminal(sys.stderr)))


def stdout_width() -> int | None:
    """Return the columns of the terminal on stdout; None if stdout goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None


class _Terminal:
    """The text stream of a terminal, which the user may close while the tap runs: the run goes on to its last STATE."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def can_redraw(console: Console) -> bool:
    """Return whether a live table disturbs nothing. A program that reads stdout may write to the same terminal."""
    try:
        mode = os.fstat(1).st_mode
    except OSError:
        return False
    return not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) and console.is_terminal and not console.is_dumb_terminal


class TerminalHandler(logging.Handler):
    """Shows log lines on a terminal, above the live table if there is one."""

    def __init__(self, console: Console) -> None:
        """Take the terminal."""
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line as it is, without markup."""
        self._console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def shown_live(progress: Progress, console: Console, requests: Callable[[], int]) -> Iterator[None]:
    """Show a live table; when the run ends, the rows of all streams stay on the terminal."""
    from rich.live import Live

    is_over = False

    def render_table() -> RenderableType:
        return stream_table(progress, console) if is_over else live_view(progress, console, requests())

    # The table shows what the lines of single streams say.
    with log.without_progress_lines(), Live(get_renderable=render_table, console=console, refresh_per_second=4):
        try:
            yield
        finally:
            is_over = True


@contextmanager
def shown_in_lines(
    progress: Progress, requests: Callable[[], int], width: int | None = None, interval: float = LINE_INTERVAL
) -> Iterator[None]:
    """Log a line every ten seconds, also while the run waits for Klaviyo or for the target; two if one is too long.

    Args:
        progress: the numbers.
        requests: returns how many requests were sent.
        width: the columns of the terminal; None elsewhere.
        interval: seconds between two lines.
    """
    ended = threading.Event()

    def show_lines() -> None:
        while not ended.wait(interval):
            phrases = run_status(progress, requests())
            for line in pack_phrases(phrases, width - _LEVEL) if width else [", ".join(phrases)]:
                log.logger.info("%s", line)

    thread = threading.Thread(target=show_lines, name="progress", daemon=True)
    # If the system has no thread for it, the run goes on without these lines.
    with suppress(RuntimeError):
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()


def run_status(progress: Progress, requests: int) -> list[str]:
    """Return the state of the run in phrases, the most important first."""
    return [*_place_reached(progress), *_amounts_read(progress, requests)]


def final_line(progress: Progress, requests: int) -> str:
    """Return the last line of a complete run."""
    return f"Done: {progress.rows:,} records, {requests:,} requests, {format_duration(progress.elapsed)}"


def live_view(progress: Progress, console: Console, requests: int) -> RenderableType:
    """Return the table of the last streams, as many as fit, and the state of the run below it."""
    from rich.console import Group
    from rich.text import Text

    lines = [
        line
        for phrases in (_place_reached(progress), _amounts_read(progress, requests))
        for line in pack_phrases(phrases, console.width)
    ]
    rows = max(console.height - len(lines) - 2, 1)
    return Group(
        stream_table(progress, console, rows), *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines)
    )


def stream_table(progress: Progress, console: Console, rows: int | None = None) -> Table:
    """Return the table of the streams that have begun, or of the last `rows` of them, within the terminal's width."""
    from rich.table import Table

    columns = [each for each in _COLUMNS if console.width >= each.least]
    streams = list(progress.streams.items())
    found = Table(box=None, pad_edge=False)
    # Two columns less than there are: older versions of rich shrink the others without them.
    room = console.width - 2 - sum(each.width + 2 for each in columns)
    found.add_column("stream", no_wrap=True, overflow="ellipsis", max_width=max(room, _LEAST_NAME))
    for each in columns:
        found.add_column(each.name, no_wrap=True, justify=each.justify, min_width=each.width)
    for name, stream in streams[-rows:] if rows else streams:
        found.add_row(name, *(each.value(stream) for each in columns))
    return found


def fitted_table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Return an aligned table of text that wraps within its columns to fit a terminal's width."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Two blanks between columns; the default padding makes them three with older versions of rich.
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=None)
    # Names of the first column are for copying, so they are not cut.
    least = max((len(word) for row in rows for word in row[0].split()), default=0)
    for place, name in enumerate(head):
        table.add_column(name, overflow="fold", min_width=None if place else least)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(width=width, color_system=None)
    with console.capture() as shown:
        console.print(table)
    return "\n".join(line.rstrip() for line in shown.get().splitlines())


def pack_phrases(phrases: Sequence[str], width: int) -> list[str]:
    """Return phrases in as few lines as a terminal's width allows."""
    lines: list[str] = []
    for phrase in phrases:
        if lines and len(lines[-1]) + 2 + len(phrase) <= width:
            lines[-1] += f", {phrase}"
        else:
            lines.append(phrase)
    return lines


def _place_reached(progress: Progress) -> list[str]:
    """Return which stream is written, how much of it or of the run is done, and the time left."""
    if progress.current is None:
        return ["starting", f"{format_duration(progress.elapsed)} so far"]
    name, stream = progress.current
    total = max(len(progress.names), len(progress.streams))
    phrases = [f"{progress.unit} {len(progress.streams)} of {total}: {name}"]
    if progress.share is not None:
        phrases.append(f"{progress.share:.0%} of all records")
    elif stream.share is not None and not stream.has_ended:
        phrases[0] += f" {stream.share:.0%}"
    if progress.seconds_left is not None and not stream.has_ended:
        phrases.append(f"{format_duration(progress.seconds_left)} left")
    return phrases


def _amounts_read(progress: Progress, requests: int) -> list[str]:
    fetched = max(progress.fetched, progress.rows)
    return [
        f"{progress.rows:,} {progress.outcome}",
        f"{fetched:,} fetched",
        f"{requests:,} requests",
        format_duration(progress.elapsed),
    ]


def _rows_shown(stream: StreamProgress) -> str:
    return f"{stream.rows:,}"


def _share_done(stream: StreamProgress) -> str:
    return "" if stream.share is None else f"{stream.share:.0%}"


def _rows_per_second(stream: StreamProgress) -> str:
    return f"{stream.rate:,.0f}" if stream.rate else ""


def _time_reached(stream: StreamProgress) -> str:
    return format_time(stream.reached)[:16].replace("T", " ") if stream.reached else ""


@dataclass(frozen=True)
class _Column:
    """A column of the table; terminals with fewer than `least` columns leave it out."""

    name: str
    width: int
    value: Callable[[StreamProgress], str]
    least: int = 0
    justify: Literal["left", "right"] = "right"


_COLUMNS = (
    _Column("records", 11, _rows_shown),
    _Column("done", 4, _share_done),
    _Column("rows/s", 7, _rows_per_second, least=70),
    _Column("up to", 16, _time_reached, least=50, justify="left"),
)
