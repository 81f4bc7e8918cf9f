"""Progress: its numbers, and what a person sees of it on a terminal, a pseudo-terminal of the standard library."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tap_klaviyo import config, display
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.progress import Progress
from tap_klaviyo.sandbox import Account, Sandbox
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.sync import Sync
from tap_klaviyo.times import format_duration

ROOT = Path(__file__).parent.parent
DAY = 86_400
START = 1_795_392_000
# A live table hides the cursor.
LIVE = "\x1b[?25l"


def on_a_terminal(
    *arguments: str, stdout: Any = subprocess.DEVNULL, columns: int = 120, **environment: Any
) -> list[str]:
    """Run the command with a terminal as its stderr, and return all lines that were shown there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = [sys.executable, "-m", "tap_klaviyo", *arguments]
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    terminal = {**inherited, "TERM": "xterm", **environment}
    with subprocess.Popen(command, stdout=stdout, stderr=theirs, cwd=ROOT, env=terminal) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
                if stdout == subprocess.PIPE and process.stdout:
                    process.stdout.read()
        except OSError:  # on Linux, this means that the other side is closed
            pass
    os.close(ours)
    assert process.returncode == 0, shown
    return shown.decode().replace("\r", "").splitlines()


def plain(text: str) -> str:
    """Return text without the codes for colours and the cursor."""
    return re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", text)


def test_a_file_gets_a_live_table_and_no_metric_lines(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        shown = "\n".join(on_a_terminal("--sandbox", "500", "--select", "open,lists", stdout=out))
    assert re.search(r"lists +25 +100%", shown)
    assert re.search(r"open +\d+ +100% .*2026-", shown)
    assert LIVE in shown
    assert "METRIC" not in shown
    assert "open: " not in re.sub(r"stream \d of 2: open", "", shown)


def test_a_pipe_gets_lines_that_are_never_redrawn() -> None:
    shown = on_a_terminal("--sandbox", "500", "--select", "open,lists", stdout=subprocess.PIPE)
    assert LIVE not in "".join(shown)
    assert "INFO lists: 25 records." in shown


def test_a_dumb_terminal_gets_plain_lines() -> None:
    shown = on_a_terminal("--sandbox", "500", "--select", "lists", TERM="dumb")
    assert "\x1b" not in "".join(shown)
    assert "INFO lists: 25 records." in shown


def test_no_color_is_respected() -> None:
    colour = re.compile(r"\x1b\[[\d;]*[34]\dm")
    assert not colour.search("".join(on_a_terminal("--sandbox", "500", "--select", "lists", NO_COLOR="1")))


def test_the_last_line_sums_the_run_up() -> None:
    for stdout in (subprocess.DEVNULL, subprocess.PIPE):
        shown = on_a_terminal("--sandbox", "500", "--select", "lists", stdout=stdout)
        assert re.fullmatch(r"INFO Done: 25 records, \d+ requests, \d+ s", plain(shown[-1])), shown


def test_quiet_shows_nothing() -> None:
    assert on_a_terminal("--sandbox", "500", "--select", "lists", "--quiet") == []


@pytest.mark.parametrize(("columns", "headings"), [(80, 5), (60, 4), (40, 3)])
def test_nothing_wraps(columns: int, headings: int) -> None:
    progress = progress_of({"failed_to_deliver_automated_response": 12_345_678, "open": 266_358, "click": 99})
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=columns, height=24, no_color=True)
    console.print(display.live_view(progress, console, 12_345))
    head, *rows = plain(shown.getvalue()).splitlines()
    assert all(len(line) <= columns for line in (head, *rows))
    assert len(head.replace("up to", "date").split()) == headings
    assert rows[0].split()[:3] == [rows[0].split()[0], "12,345,678", "100%"]
    assert rows[0].startswith("failed_to_deliver")
    assert rows[2].split()[0] == "click"
    assert ", ".join(line.strip() for line in rows[3:]) == ", ".join(display.run_status(progress, 12_345))


def test_only_as_many_streams_as_fit_are_shown_live_and_all_at_the_end() -> None:
    progress = progress_of({f"stream_{number}": number for number in range(60)})
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    assert display.stream_table(progress, console, 19).row_count == 19
    assert display.stream_table(progress, console).row_count == 60


def progress_of(rows: dict[str, int], expected: dict[str, int] | None = None) -> Progress:
    """Return the progress of a run whose last stream has reached the middle of two days."""
    time = iter(range(1000))
    progress = Progress(lambda: 4 if (now := next(time)) else now, names=list(rows), expected=expected or {})
    progress.now = START
    for place, (name, count) in enumerate(rows.items()):
        progress.begin(name, START - 2 * DAY)
        progress.add(name, count, START - DAY)
        if place < len(rows) - 1:
            progress.end(name)
    return progress


def test_the_state_of_a_run_in_phrases() -> None:
    now = 100.0
    progress = Progress(lambda: now, names=["lists", "open"])
    progress.now = START
    assert display.run_status(progress, 1)[:1] == ["starting"]
    progress.begin("lists")
    progress.add("lists", 25, None)
    now += 1
    assert display.run_status(progress, 2) == [
        "stream 1 of 2: lists",
        "25 records written",
        "25 fetched",
        "2 requests",
        "1 s",
    ]
    progress.end("lists")
    progress.begin("open", START - 4 * DAY)
    now += 60
    progress.add("open", 2000, START - 3 * DAY)
    progress.fetched = 5000
    assert display.run_status(progress, 7) == [
        "stream 2 of 2: open 25%",
        "3 min 0 s left",
        "2,025 records written",
        "5,000 fetched",
        "7 requests",
        "1 min 1 s",
    ]
    assert display.final_line(progress, 7) == "Done: 2,025 records, 7 requests, 1 min 1 s"


def test_phrases_are_packed_into_lines() -> None:
    assert display.pack_phrases(["stream 2 of 3: open 25%", "3 s left", "2 records"], 33) == [
        "stream 2 of 3: open 25%, 3 s left",
        "2 records",
    ]
    assert display.pack_phrases(["stream 2 of 3: open 25%", "3 s left"], 32) == ["stream 2 of 3: open 25%", "3 s left"]
    assert display.pack_phrases(["a long phrase", "b"], 5) == ["a long phrase", "b"]


def test_a_sync_counts_the_rows_fetched_and_written() -> None:
    with Sandbox(Account.build(events=300), limits=False) as sandbox:
        settings, output = config.check_settings(sandbox.config), io.BytesIO()
        tap = Sync(Client(settings), settings, Writer(output))
        tap.run(read_catalog(select_by_names(discover_catalog(), "open,lists")), {})
    records = sum(b'"type":"RECORD"' in line for line in output.getvalue().splitlines())
    assert (tap.progress.fetched, tap.progress.rows) == (records, records)
    assert tap.progress.names == ["open", "lists"]


def test_expected_rows_give_the_share_and_the_time_left_of_the_whole_run() -> None:
    now = 100.0
    progress = Progress(lambda: now, names=["open", "click"], expected={"open": 6000, "click": 2000})
    progress.now = START
    progress.begin("open", START - DAY)
    now += 10
    progress.add("open", 2000, START)
    assert display.run_status(progress, 3)[:3] == ["stream 1 of 2: open", "25% of all records", "30 s left"]
    assert progress.streams["open"].share == pytest.approx(1 / 3)


def progress_of_sync(sandbox: Sandbox, names: str, state: dict[str, Any]) -> tuple[Progress, dict[str, Any]]:
    """Run a sync of some streams, and return its numbers and its last state."""
    settings, output = config.check_settings(sandbox.config), io.BytesIO()
    tap = Sync(Client(settings), settings, Writer(output))
    tap.run(read_catalog(select_by_names(discover_catalog(), names)), state)
    return tap.progress, json.loads(output.getvalue().splitlines()[-1])["value"]


def test_klaviyos_counts_are_the_rows_that_are_expected() -> None:
    with Sandbox(Account.build(events=9000, seed=4), limits=False) as sandbox:
        progress, _ = progress_of_sync(sandbox, "receive", {})
    assert progress.expected == {"receive": progress.rows}
    assert progress.streams["receive"].expected == progress.rows


def test_a_full_table_is_expected_to_have_as_many_rows_as_in_the_last_run() -> None:
    with Sandbox(Account.build(events=300), limits=False) as sandbox:
        _, state = progress_of_sync(sandbox, "lists", {})
        progress, _ = progress_of_sync(sandbox, "lists", state)
    assert progress.expected == {"lists": progress.rows}


def test_a_stream_whose_range_is_empty_has_no_share() -> None:
    progress = Progress(lambda: 0.0, names=["open"])
    progress.now = START
    progress.begin("open", START)
    assert progress.streams["open"].share is None
    assert progress.seconds_left is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (51, "51 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


@pytest.mark.parametrize(("form", "widest"), [([], 80), (["--format", "markdown"], 240)])
def test_the_command_fits_its_text_to_a_terminal_unless_a_format_is_given(form: list[str], widest: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "tap_klaviyo", "--about", *form]
    with subprocess.Popen(command, stdout=theirs, env=inherited) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # on Linux, this means that the other side is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    longest = max(len(line) for line in shown.decode().splitlines())
    assert 80 * bool(form) < longest <= widest
