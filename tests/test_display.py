"""The numbers of a run, and how they are shown, on clocks and terminals of the tests' own."""

from __future__ import annotations

import io
import logging
import re
import threading
from dataclasses import dataclass

import pytest
from rich.console import Console

from tap_klaviyo import display, log
from tap_klaviyo.progress import Progress, StreamProgress

DAY = 86_400
NOW = 1_795_392_000


@dataclass
class Now:
    """A clock that the test moves."""

    seconds: float = 100.0

    def __call__(self) -> float:
        return self.seconds


def console_of(shown: io.StringIO, width: int = 80, height: int = 24) -> Console:
    return Console(file=shown, force_terminal=True, width=width, height=height, no_color=True)


@pytest.mark.parametrize(
    ("reached", "share"),
    [(None, 0.0), (NOW - 4 * DAY, 0.0), (NOW - 3 * DAY, 0.25), (NOW, 1.0), (NOW - 5 * DAY, 0.0), (NOW + DAY, 1.0)],
)
def test_the_share_of_a_range_is_between_none_and_all(reached: int | None, share: float) -> None:
    assert StreamProgress(0.0, NOW - 4 * DAY, NOW, reached=reached).share == share


def test_the_share_of_a_stream_with_more_rows_than_expected_is_all() -> None:
    assert StreamProgress(0.0, expected=10, rows=5).share == 0.5
    assert StreamProgress(0.0, expected=10, rows=12).share == 1.0
    assert StreamProgress(0.0, expected=10, rows=5, has_ended=True).share == 1.0
    assert StreamProgress(0.0, NOW, NOW).share is None


def test_a_stream_that_took_less_than_a_second_has_no_rate() -> None:
    assert StreamProgress(0.0, rows=500, seconds=0.5).rate == 0
    assert StreamProgress(0.0, rows=500, seconds=2.0).rate == 250


def test_a_page_without_a_time_keeps_the_time_that_was_reached() -> None:
    progress = Progress(Now())
    progress.begin("open", NOW - DAY)
    progress.add("open", 3, NOW - 60)
    progress.add("open", 4, None)
    assert (progress.streams["open"].rows, progress.streams["open"].reached) == (7, NOW - 60)


def test_rows_are_reported_once() -> None:
    progress = Progress(Now())
    progress.begin("open")
    progress.add("open", 3, None)
    assert (progress.take_unreported("open"), progress.take_unreported("open")) == (3, 0)
    progress.add("open", 2, None)
    assert progress.take_unreported("open") == 2


def test_the_share_of_a_run_needs_the_expected_rows_of_every_stream() -> None:
    progress = Progress(Now(), names=["open", "click"], expected={"open": 10})
    progress.begin("open")
    progress.add("open", 5, None)
    assert progress.share is None
    progress.expected = {"open": 10, "click": 30}
    assert progress.share == 5 / 40
    progress.add("open", 15, None)
    assert progress.share == 10 / 40


def test_no_time_left_is_guessed_from_the_first_rows() -> None:
    now = Now()
    progress = Progress(now, names=["open"], expected={"open": 1000})
    progress.begin("open")
    now.seconds += 10
    progress.add("open", 19, None)
    assert progress.seconds_left is None
    progress.add("open", 1, None)
    assert progress.seconds_left == pytest.approx(490)


def test_no_time_is_left_of_a_stream_that_has_ended() -> None:
    now = Now()
    progress = Progress(now, names=["open", "click"])
    progress.now = NOW
    progress.begin("open", NOW - DAY)
    now.seconds += 10
    progress.add("open", 19, NOW)
    progress.end("open")
    assert display.run_status(progress, 1)[:2] == ["stream 1 of 2: open", "19 records written"]


def test_rows_that_were_written_count_as_fetched() -> None:
    progress = Progress(Now(), names=["open"])
    progress.begin("open")
    progress.add("open", 19, None)
    assert "19 fetched" in display.run_status(progress, 1)


def test_a_log_line_is_shown_as_it_is_on_one_line() -> None:
    shown = io.StringIO()
    log.set_up(logging.INFO, (), display.TerminalHandler(console_of(shown, width=20)))
    log.logger.info("Klaviyo says [bold]no[/bold] to %s.", "GET /api/events?filter=and()")
    assert shown.getvalue() == "INFO Klaviyo says [bold]no[/bold] to GET /api/events?filter=and().\n"


def test_the_table_shows_the_last_streams_that_fit() -> None:
    shown = io.StringIO()
    console = console_of(shown, height=10)
    progress = Progress(Now(), names=[f"stream_{number}" for number in range(20)])
    for name in progress.names:
        progress.begin(name)
        progress.end(name)
    console.print(display.live_view(progress, console, 5))
    streams = re.findall(r"^stream_\d+", shown.getvalue(), re.MULTILINE)
    assert streams == [f"stream_{number}" for number in range(20 - len(streams), 20)]
    assert 2 < len(streams) < 10


def test_the_live_table_ends_with_all_streams_and_hides_lines_of_single_ones() -> None:
    shown, said = io.StringIO(), io.StringIO()
    console = console_of(shown, height=10)
    log.set_up(logging.INFO, (), logging.StreamHandler(said))
    progress = Progress(Now(), names=[f"stream_{number}" for number in range(20)])
    with display.shown_live(progress, console, lambda: 1):
        for name in progress.names:
            progress.begin(name)
            progress.end(name)
        log.log_progress("stream_1: 5 records.")
        log.logger.warning("A request failed.")
    log.log_progress("stream_2: 5 records.")
    last = shown.getvalue()[shown.getvalue().rindex("records") :]
    assert re.findall(r"stream_\d+", last) == progress.names
    assert [line.split("Z ")[1] for line in said.getvalue().splitlines()] == [
        "WARNING A request failed.",
        "INFO stream_2: 5 records.",
    ]


class Heard(logging.Handler):
    """A handler that keeps lines, and says when there are some."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.enough = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
        if len(self.lines) == 4:
            self.enough.set()


@pytest.mark.parametrize(("width", "expected"), [(None, 1), (42, 3)])
def test_lines_come_while_a_run_goes_on_and_fit_the_terminal(width: int | None, expected: int) -> None:
    heard = Heard()
    log.set_up(logging.INFO, (), heard)
    progress = Progress(Now(), names=["open"])
    progress.begin("open")
    phrases = display.run_status(progress, 1)
    with display.shown_in_lines(progress, lambda: 1, width, interval=0.001):
        assert heard.enough.wait(30)
    assert not any(thread.name == "progress" for thread in threading.enumerate())
    lines = heard.lines[:expected]
    assert ", ".join(line.removeprefix("INFO ") for line in lines) == ", ".join(phrases)
    assert width is None or all(len(line) <= width for line in lines)
