"""What a run holds resident, as the system counts it, while pages pile up behind one that is slow to come."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox

EVENTS = 150_000
# The promise of the README, in MB.
MOST = 150
STALL = 15.0


class StallFirst:
    """A schedule by which the first page of events stops halfway, while all the others come."""

    def __init__(self) -> None:
        self.page = ""
        self.others = 0

    def __call__(self, request: Request) -> Fault | None:
        if request.path != "/api/events":
            return None
        self.page = self.page or request.page
        if request.page == self.page:
            return Fault("stall", seconds=STALL)
        self.others += 1
        return None


def peak_of(pid: int) -> int:
    """Return the largest resident size that a process had, in MiB; 0 if it has ended.

    The usage that `wait4` returns would count the size of the test's own process, from before the command took over.
    """
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"))
    except OSError:
        return 0
    return int(found[1]) // 1024 if found else 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux reports the peak of a process")
def test_pages_that_pile_up_behind_a_slow_one_leave_the_process_small(tmp_path: Path) -> None:
    schedule = StallFirst()
    with Sandbox(Account.build(events=EVENTS), limits=False, faults=schedule) as sandbox:
        (tmp_path / "config.json").write_text(json.dumps(sandbox.config))
        command = [sys.executable, "-m", "tap_klaviyo", "--config", str(tmp_path / "config.json")]
        with (tmp_path / "log").open("wb") as log:
            tap = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, bufsize=0)
            assert tap.stdout is not None
            written = 0
            while b'"type":"RECORD"' not in (chunk := tap.stdout.read(2**20)):
                assert chunk
                written += len(chunk)
            ahead, peak = schedule.others, 0
            while chunk := tap.stdout.read(2**20):
                written += len(chunk)
                peak = peak_of(tap.pid) or peak
            assert tap.wait(60) == 0
            tap.stdout.close()
    # Far more was fetched before the first page than memory may hold.
    assert ahead > 60
    assert written > 100 * 2**20
    assert 20 < peak < MOST


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux reports what a process holds")
def test_memory_that_no_page_needs_is_returned_after_a_page() -> None:
    """The last piece stays in use, so the allocator by itself returns none of the memory before it."""
    program = """
import mmap
from pathlib import Path
from tap_klaviyo.memory import stay_small, tune_process

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE // 2**20

tune_process()
pieces = [b"x" * 2**20 for _ in range(300)]
last = pieces.pop()
pieces.clear()
print(resident())
stay_small()
print(resident())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    before, after = map(int, ended.stdout.split())
    if before < 250:
        pytest.skip("this C library returns the memory by itself")
    assert after < 104
