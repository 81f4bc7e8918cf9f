"""The process interrupted at any point: the next run from the last STATE that was read completes the data."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox
from tests.chaos.harness import Message, Target, as_sets, messages
from tests.expected import ledger_of
from tests.running import catalog_of, last_line

KILLS = 100
CHAINS = 4
ROOT = Path(__file__).parents[1]
STREAMS = ("receive", "open", "unsubscribe", "lists", "campaigns", "global_exclusions")
# A stream of each kind beyond the core: all events, by an update, members, what comes with a parent, and children. The
# runs keep to the limits in real time, so these are endpoints with high ones.
OTHERS = ("events", "profiles", "list_members", "flow_actions", "coupon_codes", "catalog_category_items", "images")


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=900, burst=100, campaigns=60, suppressed=80)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False, largest_page=50) as sandbox:
        yield sandbox


class Tap:
    """The command in a separate process, with its files in a folder."""

    def __init__(
        self,
        folder: Path,
        sandbox: Sandbox,
        state: Any = None,
        stdout: Any = subprocess.PIPE,
        streams: Sequence[str] = STREAMS,
        often: bool = False,
    ) -> None:
        chosen = catalog_of(*streams)["streams"]
        files = {"config": sandbox.config, "catalog": {"streams": chosen}, "state": state or {}}
        arguments = [sys.executable, "-m", "tests.often" if often else "tap_klaviyo"]
        for name, value in files.items():
            (folder / f"{name}.json").write_text(json.dumps(value))
            arguments += ([] if often else [f"--{name}"]) + [str(folder / f"{name}.json")]
        self.process = subprocess.Popen(arguments, stdout=stdout, stderr=subprocess.PIPE, bufsize=0, cwd=ROOT)

    def read(self, count: int) -> bytes:
        """Return the first `count` bytes of the output, or all of it."""
        assert self.process.stdout is not None
        read = b""
        while len(read) < count and (more := self.process.stdout.read(count - len(read))):
            read += more
        return read

    def end(self, timeout: float = 60) -> tuple[bytes, str, int]:
        """Wait for the end; return the rest of the output, the log, and the exit code."""
        out, err = self.process.communicate(timeout=timeout)
        return out or b"", err.decode(), self.process.returncode

    def hang_up(self, timeout: float = 60) -> tuple[str, int]:
        """Close the pipe as a target that ends does; return the log and the exit code."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        _, err, code = self.end(timeout)
        return err, code


def whole_lines(written: bytes) -> list[Message]:
    """Return the messages that were written to their end."""
    return messages(written[: written.rfind(b"\n") + 1].splitlines())


def confirmed(found: list[Message]) -> list[Message]:
    """Return the messages up to the last STATE."""
    last = max((place for place, each in enumerate(found) if each.type == "STATE"), default=-1)
    return found[: last + 1]


def wanted(sandbox: Sandbox, streams: Sequence[str] = STREAMS) -> dict[str, set[str]]:
    return as_sets(ledger_of(sandbox.account, streams, sandbox.now))


def length(folder: Path, sandbox: Sandbox, streams: Sequence[str] = STREAMS) -> int:
    """Return how many bytes a whole run writes."""
    out, _, code = Tap(folder, sandbox, streams=streams).end()
    assert code == 0
    return len(out)


@dataclass
class Killed:
    """How often the tap was killed, and how often its last STATE was within a stream."""

    times: int = 0
    within: int = 0

    def count(self, found: list[Message]) -> None:
        """Count one kill, and the messages up to the last STATE."""
        self.times += 1
        self.within += len(found) > 1 and found[-2].type == "RECORD" and is_within(found)


def is_within(found: list[Message]) -> bool:
    """Return whether the last STATE is not the first behind its stream's SCHEMA."""
    last = max(place for place, each in enumerate(found) if each.type == "SCHEMA")
    return sum(each.type == "STATE" for each in found[last:]) > 1


def chain(
    folder: Path, sandbox: Sandbox, size: int, chance: random.Random, kills: int, streams: Sequence[str] = STREAMS
) -> Killed:
    """Run the tap until it is done, killed each time somewhere on the way; return how often it was."""
    target, killed = Target(), Killed()
    while killed.times < kills:
        tap = Tap(folder, sandbox, target.state, often=True, streams=streams)
        written = tap.read(chance.choice((0, chance.randrange(size // 2), chance.randrange(size // 8))))
        tap.process.kill()
        rest, _, code = tap.end()
        found = confirmed(whole_lines(written + rest))
        target.load(found)
        if code == 0:
            break
        killed.count(found)
    out, _, code = Tap(folder, sandbox, target.state, streams=streams).end()
    target.load(messages(out.splitlines()))
    assert code == 0
    assert target.keys() == wanted(sandbox, streams)
    return killed


@pytest.mark.slow
def test_killed_anywhere_and_resumed_until_done_nothing_is_missing(tmp_path: Path, sandbox: Sandbox) -> None:
    size = length(tmp_path, sandbox)

    def chains(number: int) -> Killed:
        folder, chance, killed = tmp_path / str(number), random.Random(number), Killed()
        folder.mkdir()
        while killed.times < KILLS / CHAINS:
            more = chain(folder, sandbox, size, chance, chance.randint(4, 12))
            killed.times, killed.within = killed.times + more.times, killed.within + more.within
        return killed

    with ThreadPoolExecutor(CHAINS) as pool:
        found = list(pool.map(chains, range(CHAINS)))
    assert sum(each.times for each in found) >= KILLS
    # The states that the runs resumed from lie within streams, not only at their ends.
    assert sum(each.within for each in found) >= KILLS / 10


@pytest.mark.slow
def test_killed_anywhere_in_the_whole_account_nothing_is_missing(tmp_path: Path) -> None:
    account = Account.build(events=200, campaigns=10, lists=6, suppressed=5, profiles=200)
    chance, killed = random.Random(5), 0
    with Sandbox(account, limits=False, largest_page=20) as sandbox:
        size = length(tmp_path, sandbox, OTHERS)
        while killed < KILLS / CHAINS:
            more = chain(tmp_path, sandbox, size, chance, chance.randint(4, 12), OTHERS).times
            assert more
            killed += more


class SignalAt:
    """A schedule without faults that sends the tap a signal when it asks for the n-th time."""

    def __init__(self, number: signal.Signals, request: int) -> None:
        self.tap: Tap | None = None
        self._number, self._request = number, request

    def __call__(self, request: Request) -> Fault | None:
        if self.tap and request.index == self._request:
            os.kill(self.tap.process.pid, self._number)
        return None


@pytest.mark.parametrize("request_number", [2, 8, 20, 30])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_run_with_a_state(
    tmp_path: Path, account: Account, number: signal.Signals, request_number: int
) -> None:
    schedule = SignalAt(number, request_number)
    with Sandbox(account, limits=False, largest_page=50, faults=schedule, latency=0.02) as sandbox:
        schedule.tap = Tap(tmp_path, sandbox)
        out, err, code = schedule.tap.end()
        assert (code, "Traceback" in err) == (128 + number, False)
        assert f"WARNING Ended by {number.name}" in err.splitlines()[-1]
        found = whole_lines(out)
        assert not out or (out.endswith(b"\n") and found[-1].type == "STATE")
        target = Target()
        target.load(found)
        resumed, _, code = Tap(tmp_path, sandbox, target.state).end()
        target.load(messages(resumed.splitlines()))
        assert (code, target.keys()) == (0, wanted(sandbox))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_before_the_first_record(tmp_path: Path, account: Account, number: signal.Signals) -> None:
    schedule = SignalAt(number, 0)
    with Sandbox(account, limits=False, faults=schedule, latency=0.2) as sandbox:
        schedule.tap = Tap(tmp_path, sandbox)
        out, err, code = schedule.tap.end()
    assert (code, "Traceback" in err) == (128 + number, False)
    assert out == b"" or whole_lines(out)[-1].type == "STATE"


@pytest.mark.parametrize(("place", "path"), [(0, "/api/lists"), (1, "/api/campaigns"), (2, "/api/profiles")])
def test_a_table_that_was_cut_short_is_not_activated(tmp_path: Path, account: Account, place: int, path: str) -> None:
    seen = list[Request]()

    def end_at_the_third(request: Request) -> None:
        if request.path == path:
            seen.append(request)
            if len(seen) == 3:
                tap.process.terminate()

    tables = STREAMS[-3:]
    with Sandbox(account, limits=False, largest_page=10, latency=0.03, faults=end_at_the_third) as sandbox:
        tap = Tap(tmp_path, sandbox, streams=tables)
        out, _, code = tap.end()
    assert code == 128 + signal.SIGTERM
    assert {each.stream for each in whole_lines(out) if each.type == "ACTIVATE_VERSION"} <= set(tables[:place])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_a_reader_that_goes_away_is_one_sentence_and_loses_nothing(
    tmp_path: Path, sandbox: Sandbox, share: float
) -> None:
    tap = Tap(tmp_path, sandbox)
    written = tap.read(int(share * 300_000))
    err, code = tap.hang_up()
    assert code == 1
    assert last_line(err) == "CRITICAL The target closed the pipe; see its own messages."
    assert "Traceback" not in err
    target = Target()
    target.load(confirmed(whole_lines(written)))
    target.load(messages(Tap(tmp_path, sandbox, target.state).end()[0].splitlines()))
    assert target.keys() == wanted(sandbox)


@pytest.mark.skipif(sys.platform == "win32", reason="this system shows a closed pipe only by a write")
def test_a_target_that_ends_while_the_tap_waits_for_klaviyo_ends_the_tap(tmp_path: Path, account: Account) -> None:
    def hold(request: Request) -> Fault | None:
        return Fault("stall", seconds=30) if request.path == "/api/events" else None

    with Sandbox(account, limits=False, faults=hold) as sandbox:
        tap = Tap(tmp_path, sandbox)
        assert tap.read(100)
        err, code = tap.hang_up(10)
    assert code == 1
    assert "CRITICAL The target closed the pipe" in err


def test_a_revoked_key_ends_the_run_while_an_earlier_page_is_awaited(tmp_path: Path, account: Account) -> None:
    def revoke(request: Request) -> Fault | None:
        if request.path == "/api/lists":
            return Fault("status", code=401)
        return Fault("stall", seconds=30) if request.path == "/api/events" else None

    with Sandbox(account, limits=False, faults=revoke) as sandbox:
        tap = Tap(tmp_path, sandbox)
        out, err, code = tap.end(10)
    assert code == 1
    assert "Klaviyo answers 401" in err
    assert whole_lines(out)[-1].type == "STATE"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_is_one_sentence(tmp_path: Path, sandbox: Sandbox) -> None:
    with open("/dev/full", "wb") as full:
        _, err, code = Tap(tmp_path, sandbox, stdout=full).end()
    assert code == 1
    assert last_line(err) == "CRITICAL Standard output cannot be written: the disk is full."
    assert "Traceback" not in err


def test_a_disk_that_fills_up_leaves_whole_lines_to_resume_from(tmp_path: Path, sandbox: Sandbox) -> None:
    size, out = length(tmp_path, sandbox), tmp_path / "out.jsonl"
    limited = [sys.executable, "-c", _LIMITED.format(size // 2), "--config", str(tmp_path / "config.json")]
    with out.open("wb") as stdout:
        ended = subprocess.run(
            [*limited, "--catalog", str(tmp_path / "catalog.json")], stdout=stdout, stderr=subprocess.PIPE, timeout=60
        )
    assert ended.returncode == 1
    assert last_line(ended.stderr.decode()).startswith("CRITICAL Standard output cannot be written: ")
    target = Target()
    target.load(confirmed(whole_lines(out.read_bytes())))
    assert target.state is not None
    target.load(messages(Tap(tmp_path, sandbox, target.state).end()[0].splitlines()))
    assert target.keys() == wanted(sandbox)


# A limit on the file's size simulates a disk that fills up midway: the write that exceeds it is cut short.
_LIMITED = """
import resource, signal, sys
from tap_klaviyo import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
sys.exit(main())
"""


def test_a_target_that_ends_while_the_metrics_are_awaited_ends_the_tap(tmp_path: Path, account: Account) -> None:
    stalled = Fault("stall", seconds=60)
    with Sandbox(account, limits=False, faults=lambda request: stalled) as sandbox:
        tap = Tap(tmp_path, sandbox)
        until = time.monotonic() + 20
        while not sandbox.requests and time.monotonic() < until:
            time.sleep(0.05)
        err, code = tap.hang_up(10)
    assert code == 1
    assert "The target closed the pipe" in err
