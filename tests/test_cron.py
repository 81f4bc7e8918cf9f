"""The recipe for cron, with the sandbox and a small target: locking, the state that was confirmed, exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo.sandbox import SCOPES, Account, Sandbox

ROOT = Path(__file__).parent.parent
RUN = ROOT / "examples" / "cron" / "run.sh"

# Keeps records and confirms states; exits after a number of records with the code DIE, in the middle of a state.
TARGET = f"""#!{sys.executable}
import json, os, sys
left = int(os.environ.get("RECORDS", "-1"))
with open("loaded.jsonl", "a") as loaded:
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "RECORD":
            loaded.write(line)
            left -= 1
        elif message["type"] == "STATE":
            loaded.flush()
            print(json.dumps(message["value"]), flush=True)
        if left == 0:
            loaded.flush()
            print('{{"bookmarks": {{"half', end="", flush=True)
            os._exit(int(os.environ["DIE"]))
"""
TAP = f'#!/bin/sh\necho "$@" >>asked\nexec {sys.executable} -m tap_klaviyo "$@"\n'


@dataclass
class Job:
    """A directory as the recipe describes it, with its files."""

    directory: Path

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script as cron would."""
        command = [str(RUN), str(self.directory / "job"), str(self.directory / "target")]
        tap = {"TAP": str(self.directory / "tap"), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
        return subprocess.run(
            command, env={**tap, **environment}, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )

    def file(self, name: str) -> Path:
        return self.directory / "job" / name

    @property
    def state(self) -> Any:
        return json.loads(self.file("state.json").read_text())

    @property
    def loaded(self) -> dict[str, list[str]]:
        """The keys that the target has, by stream."""
        found: dict[str, list[str]] = {}
        for line in self.file("loaded.jsonl").read_text().splitlines():
            message = json.loads(line)
            key = "email" if message["stream"] == "global_exclusions" else "id"
            found.setdefault(message["stream"], []).append(message["record"][key])
        return found


def job(directory: Path, config: Mapping[str, str]) -> Job:
    (directory / "job").mkdir()
    for name, text in (("tap", TAP), ("target", TARGET)):
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    (directory / "job" / "config.json").write_text(json.dumps(config))
    return Job(directory)


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=600, seed=11)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


def is_waiting(lock: Path) -> bool:
    """Return whether a process waits for a lock; the kernel lists it with an arrow and the file's inode."""
    inode = f":{lock.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def assert_all_loaded(job: Job, sandbox: Sandbox) -> None:
    expected = sandbox.account.ledger(sandbox.now)
    assert {name: set(keys) for name, keys in job.loaded.items()} == {
        name: set(keys) for name, keys in expected.items() if keys
    }


def test_a_run_keeps_its_last_state_and_the_next_resumes_from_it(tmp_path: Path, sandbox: Sandbox) -> None:
    cron = job(tmp_path, sandbox.config)
    first = cron.run()
    assert first.returncode == 0, first.stderr
    assert_all_loaded(cron, sandbox)
    state, rows = cron.state, len(cron.loaded["receive"])
    assert "currently_syncing" not in state
    assert cron.run().returncode == 0
    assert cron.state["bookmarks"] == state["bookmarks"]
    assert len(cron.loaded["receive"]) < 2 * rows
    assert cron.file("asked").read_text().splitlines() == [
        "--config config.json",
        "--config config.json --state state.json",
    ]
    assert not cron.file("state.json.new").exists()


def test_a_target_that_dies_midway_leaves_what_it_confirmed(tmp_path: Path, sandbox: Sandbox) -> None:
    cron = job(tmp_path, sandbox.config)
    died = cron.run(RECORDS="400", DIE="3")
    assert died.returncode == 3
    confirmed = cron.state
    assert {"receive"} <= confirmed["bookmarks"].keys() < sandbox.account.ledger(sandbox.now).keys()
    # Nothing is loaded before the next death, so nothing is confirmed.
    assert cron.run(RECORDS="1", DIE="4").returncode == 4
    assert cron.state == confirmed
    assert cron.run().returncode == 0
    assert_all_loaded(cron, sandbox)


def test_a_run_does_not_start_while_another_goes_on(tmp_path: Path, sandbox: Sandbox) -> None:
    cron = job(tmp_path, sandbox.config)
    with cron.file("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = cron.run()
    assert (second.returncode, "still active" in second.stderr) == (75, True)
    assert not cron.file("asked").exists()
    assert cron.run().returncode == 0


def test_a_second_config_shortens_the_lookback_and_the_full_one_catches_up(tmp_path: Path, sandbox: Sandbox) -> None:
    cron = job(tmp_path, sandbox.config)
    cron.file("often.json").write_text('{"lookback_days": 0.1}')
    assert cron.run().returncode == 0
    rows = len(cron.loaded["receive"])
    assert cron.run(CONFIG="often.json").returncode == 0
    often = len(cron.loaded["receive"])
    assert cron.run().returncode == 0
    assert often - rows < len(cron.loaded["receive"]) - often
    assert cron.file("asked").read_text().splitlines()[1:] == [
        "--config config.json --config often.json --state state.json",
        "--config config.json --state state.json",
    ]


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux lists locks")
def test_a_run_waits_for_an_active_one_if_asked(tmp_path: Path, sandbox: Sandbox) -> None:
    cron = job(tmp_path, sandbox.config)
    with cron.file("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            [str(RUN), str(tmp_path / "job"), str(tmp_path / "target")],
            env={**os.environ, "WAIT": "60", "TAP": str(tmp_path / "tap"), "PYTHONPATH": str(ROOT)},
        )
        while waiting.poll() is None and not is_waiting(cron.file("lock")):
            pass
        assert waiting.poll() is None
    assert waiting.wait(60) == 0
    assert_all_loaded(cron, sandbox)


def test_the_lock_is_held_until_tap_and_target_have_ended(tmp_path: Path, sandbox: Sandbox) -> None:
    cron = job(tmp_path, sandbox.config)
    os.mkfifo(cron.file("gate"))
    target = ["sh", "-c", "cat gate; exec cat >/dev/null"]
    command = [str(RUN), str(tmp_path / "job"), *target]
    environment = {**os.environ, "TAP": str(tmp_path / "tap"), "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with cron.file("gate").open("w"):  # waits until the target has opened it as well
        first.kill()
        first.wait()
        assert cron.run().returncode == 75
    with cron.file("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits until tap and target have let it go
    assert cron.run().returncode == 0


def test_the_taps_exit_code_is_passed_on_and_the_state_kept(tmp_path: Path, account: Account) -> None:
    with Sandbox(account, limits=False, scopes=SCOPES - {"campaigns:read"}) as sandbox:
        cron = job(tmp_path, sandbox.config)
        assert cron.run().returncode == 1
        assert "receive" in cron.state["bookmarks"]
        assert "campaigns" not in cron.loaded
    state = cron.state
    cron.file("config.json").write_text("{}")
    assert cron.run().returncode == 2
    assert cron.state == state


def test_a_catalog_in_the_directory_is_used(tmp_path: Path, sandbox: Sandbox) -> None:
    cron = job(tmp_path, sandbox.config)
    cron.file("catalog.json").write_text('{"streams": [{"tap_stream_id": "lists", "selected": true}]}')
    assert cron.run().returncode == 0
    assert list(cron.loaded) == ["lists"]


def test_without_a_directory_or_a_target_it_prints_its_usage(tmp_path: Path) -> None:
    for arguments in ([], [str(tmp_path)]):
        ended = subprocess.run([RUN, *arguments], capture_output=True, text=True, check=False)
        assert ended.returncode != 0
        assert "usage: run.sh DIRECTORY TARGET" in ended.stderr
    missing = subprocess.run([RUN, tmp_path / "none", "cat"], capture_output=True, text=True, check=False)
    assert missing.returncode == 2
