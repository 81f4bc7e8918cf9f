"""What a person at a terminal sees, on a terminal of pexpect's kind: a pseudo-terminal of the standard library."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from tap_klaviyo.progress import Progress

ROOT = Path(__file__).parent.parent


def on_a_terminal(*arguments: str) -> str:
    """Run the command with a terminal as its stderr, and return all that was shown there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tap_klaviyo", *arguments]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, cwd=ROOT, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # on Linux, this means that the other side is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    return shown.decode()


def test_a_terminal_shows_a_table_and_no_metric_lines() -> None:
    shown = on_a_terminal("--sandbox", "500", "--select", "open,lists")
    assert re.search(r"lists +25 ", shown)
    assert re.search(r"open +\d+ .*2026-", shown)
    assert "requests" in shown
    assert "METRIC" not in shown


def test_quiet_shows_nothing() -> None:
    assert on_a_terminal("--sandbox", "500", "--select", "lists", "--quiet") == ""


def test_the_numbers_of_a_stream() -> None:
    now = 100.0
    progress = Progress(lambda: now)
    progress.begin("open")
    now += 4
    progress.add("open", 1000, 1_795_392_000)
    progress.add("open", 1000, None)
    assert progress.line("open") == "open: 2,000 records so far, 500 a second, up to 2026-11-23T00:00:00Z."
