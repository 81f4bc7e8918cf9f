"""The tap as a process: odd ends of its pipes, low limits of the system, and signals."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import resource
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox
from tests.chaos.harness import as_sets, messages
from tests.running import last_line

ROOT = Path(__file__).parent.parent
# A user that has no other processes, since the limit on threads counts those of all: each process of tests has another
# one, because they run in parallel. It may read all files.
_CAPABILITIES = "+dac_override,+dac_read_search"
_USER = str(20_000 + os.getpid() % 40_000)
AS_OTHER_USER = ["setpriv", "--reuid", _USER, "--inh-caps", _CAPABILITIES, "--ambient-caps", _CAPABILITIES, "--"]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.build(events=600, campaigns=40), limits=False) as sandbox:
        yield sandbox


@pytest.fixture
def command(sandbox: Sandbox, tmp_path: Path) -> list[str]:
    sandbox.faults = None
    path = tmp_path / "config.json"
    path.write_text(json.dumps(sandbox.config))
    path.chmod(0o600)
    return [sys.executable, "-m", "tap_klaviyo", "--config", str(path)]


def ledger(sandbox: Sandbox) -> dict[str, set[str]]:
    return as_sets(sandbox.account.ledger(sandbox.now))


def rows_of(written: bytes) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in messages(written.splitlines()):
        if each.type == "RECORD":
            found.setdefault(each.stream, set()).add(each.key)
    return found


def shell(line: str, command: list[str], before: Sequence[str] = ()) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which "$@" is the command."""
    return subprocess.run(
        [*before, "bash", "-c", line, "bash", *command], cwd=ROOT, capture_output=True, timeout=60, check=False
    )


def test_with_stderr_closed_the_run_is_whole(sandbox: Sandbox, command: list[str]) -> None:
    ended = shell('"$@" 2>&-', command)
    assert ended.returncode == 0
    assert rows_of(ended.stdout) == ledger(sandbox)


def test_with_stdin_closed_the_run_is_whole(sandbox: Sandbox, command: list[str]) -> None:
    ended = shell('"$@" <&-', command)
    assert (ended.returncode, rows_of(ended.stdout)) == (0, ledger(sandbox))


def test_with_stdout_closed_it_says_so(command: list[str]) -> None:
    ended = shell('"$@" >&-', command)
    assert ended.returncode == 1
    assert last_line(ended.stderr.decode()).startswith("CRITICAL Standard output is closed")


@pytest.mark.parametrize("limit", ["ulimit -n 64", "ulimit -n 32"])
def test_few_files_may_be_open(sandbox: Sandbox, command: list[str], limit: str) -> None:
    ended = shell(f'{limit}; "$@"', command)
    assert ended.returncode == 0, ended.stderr.decode()[-2000:]
    assert rows_of(ended.stdout) == ledger(sandbox)


def can_change_user() -> bool:
    try:
        return subprocess.run([*AS_OTHER_USER, "true"], capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_change_user(), reason="only root can run the tap as a user without other processes")
@pytest.mark.parametrize("limit", [4, 6])
def test_few_threads_may_run(sandbox: Sandbox, command: list[str], limit: int) -> None:
    """The main thread is one of them."""
    ended = shell(f'ulimit -u {limit}; exec "$@"', command, before=AS_OTHER_USER)
    assert ended.returncode == 0, ended.stderr.decode()[-2000:]
    assert rows_of(ended.stdout) == ledger(sandbox)


@pytest.mark.skipif(not can_change_user(), reason="only root can run the tap as a user without other processes")
def test_a_system_that_allows_no_threads_is_named(command: list[str]) -> None:
    ended = shell('ulimit -u 1; exec "$@"', command, before=AS_OTHER_USER)
    assert ended.returncode == 1
    assert last_line(ended.stderr.decode()).startswith(
        "CRITICAL The system does not allow this process to start threads"
    )


def test_a_stdout_that_does_not_block_gets_every_line(sandbox: Sandbox, command: list[str]) -> None:
    """The reader is slow; waiting for it takes no processor time."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE) as tap:
        os.close(writing)
        time.sleep(1.5)
        written = b""
        while chunk := os.read(reading, 65536):
            written += chunk
        os.close(reading)
        assert tap.wait(30) == 0
    assert rows_of(written) == ledger(sandbox)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_tap_though_the_target_has_stopped_reading(
    sandbox: Sandbox, command: list[str], number: signal.Signals, code: int
) -> None:
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tap:
        assert tap.stdout is not None
        tap.stdout.read(1)
        time.sleep(1)  # until the pipe is full
        asked = time.monotonic()
        tap.send_signal(number)
        assert tap.wait(10) == code
        assert time.monotonic() - asked < 3


@pytest.mark.parametrize("is_stdout_read", [False, True])
@pytest.mark.parametrize("mode", [[], ["--quiet"]], ids=["sync", "quiet"])
def test_a_signal_ends_the_tap_though_nobody_reads_its_log(
    sandbox: Sandbox, command: list[str], mode: list[str], is_stdout_read: bool
) -> None:
    has_begun = threading.Event()

    def note_beginning(request: Request) -> None:
        if request.path != "/api/metrics":
            has_begun.set()

    sandbox.faults = note_beginning
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    stdout = subprocess.DEVNULL if is_stdout_read else subprocess.PIPE
    with subprocess.Popen([*command, *mode], cwd=ROOT, stdout=stdout, stderr=writing) as tap:
        try:
            assert has_begun.wait(30)
            asked = time.monotonic()
            tap.send_signal(signal.SIGTERM)
            assert tap.wait(10) == 143
            assert time.monotonic() - asked < 3
        finally:
            tap.kill()
    os.close(reading)
    os.close(writing)


def start_on_a_terminal(command: Sequence[str], out: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a command that writes into a file, in a session whose terminal is its stderr; return our end of that."""
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)

    environment = {**os.environ, "TERM": "xterm"}
    with out.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=theirs, preexec_fn=take_terminal, env=environment
        )
    os.close(theirs)
    return process, ours


def close_after_records(terminal: int, out: Path) -> None:
    """Close a terminal once the command has written something, and read what it shows until then."""
    until = time.monotonic() + 20
    while out.stat().st_size < 100_000 and time.monotonic() < until:
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 65536)
    os.close(terminal)


@pytest.mark.parametrize("quiet", [[], ["--quiet"]], ids=["table", "quiet"])
def test_a_terminal_that_closes_ends_the_run_with_a_state(
    sandbox: Sandbox, command: list[str], tmp_path: Path, quiet: list[str]
) -> None:
    sandbox.faults = lambda request: Fault("stall", seconds=1) if request.index > 15 else None
    out = tmp_path / "out"
    tap, terminal = start_on_a_terminal([*command, *quiet], out)
    close_after_records(terminal, out)
    assert tap.wait(20) == 128 + signal.SIGHUP
    written = out.read_bytes()
    assert written.endswith(b"\n")
    assert messages(written.splitlines())[-1].type == "STATE"


def test_a_run_under_nohup_outlives_its_terminal(sandbox: Sandbox, command: list[str], tmp_path: Path) -> None:
    sandbox.faults = lambda request: Fault("stall", seconds=1) if request.index == 20 else None
    out = tmp_path / "out"
    tap, terminal = start_on_a_terminal(["bash", "-c", 'trap "" HUP; exec "$@"', "bash", *command], out)
    close_after_records(terminal, out)
    assert tap.wait(30) == 0
    assert rows_of(out.read_bytes()) == ledger(sandbox)


def test_ctrl_c_ends_a_test_of_the_key_whatever_it_waits_for(sandbox: Sandbox, command: list[str]) -> None:
    asked = threading.Event()

    def stall(request: Request) -> Fault:
        asked.set()
        return Fault("stall", seconds=10)

    sandbox.faults = stall
    with subprocess.Popen([*command, "--test"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tap:
        assert asked.wait(20)
        began = time.monotonic()
        tap.send_signal(signal.SIGINT)
        assert tap.wait(10) == 130
        assert time.monotonic() - began < 3
        assert tap.stderr is not None
        assert b"Traceback" not in tap.stderr.read()


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not limit the size of a process")
def test_a_process_that_may_have_no_more_threads_says_so(sandbox: Sandbox, command: list[str]) -> None:
    """A thread needs room for its stack."""

    def limit_memory() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (2**30, 2**30))
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False, preexec_fn=limit_memory)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr.decode()
    assert "does not allow this process to start threads" in last_line(ended.stderr.decode())


def test_ctrl_c_at_both_ends_of_a_pipe_is_quiet(sandbox: Sandbox, command: list[str]) -> None:
    sandbox.faults = lambda request: Fault("stall", seconds=1) if request.index > 6 else None
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as tap:
        assert tap.stdout is not None
        tap.stdout.read(1000)
        # The target dies of the same Ctrl-C, and its end of the pipe closes.
        tap.stdout.close()
        tap.send_signal(signal.SIGINT)
        assert tap.stderr is not None
        said = tap.stderr.read().decode()
        assert tap.wait(20) == 130
    assert "CRITICAL" not in said
    assert last_line(said).startswith("WARNING Ended by SIGINT")
