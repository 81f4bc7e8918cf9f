"""What becomes of the arguments: each test starts a process with a sandbox, and some give it a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox
from tests.test_cli import WRONG, assert_sentence, tap

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.build(events=300), limits=False) as sandbox:
        yield sandbox


def write_config(folder: Path, **settings: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(settings))
    path.chmod(0o600)
    return path


def test_a_configuration_counts_beside_the_sandbox_except_for_where_the_key_is_sent(tmp_path: Path) -> None:
    """Settings that lead to Klaviyo are the sandbox's, or an account would be read that nobody meant."""
    path = write_config(
        tmp_path, api_key=WRONG, base_url="http://127.0.0.1:1", metric_streams=["Active on Site"], end_date="2999-01-01"
    )
    ended = tap("--sandbox", "300", "-c", path, "--select", "active_on_site,lists")
    assert ended.returncode == 0, ended.stderr
    assert {json.loads(line)["stream"] for line in ended.stdout.splitlines() if '"SCHEMA"' in line} == {
        "active_on_site",
        "lists",
    }


def test_discovery_has_the_streams_of_the_settings(tmp_path: Path) -> None:
    path = write_config(tmp_path, metric_streams=["Active on Site"])
    catalog = json.loads(tap("-c", path, "--discover").stdout)
    assert "active_on_site" in [each["tap_stream_id"] for each in catalog["streams"]]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_person_who_closes_the_pipe_reads_no_error(is_terminal: bool) -> None:
    """As with `tap-klaviyo --discover | head`; in a pipe of programs it is one."""
    ours, theirs = pty.openpty()
    stderr = theirs if is_terminal else subprocess.PIPE
    command = [sys.executable, "-m", "tap_klaviyo", "--discover"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT) as process:
        os.close(theirs)
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read() if process.stderr else b""
        code = process.wait(30)
    os.close(ours)
    assert code == (141 if is_terminal else 1)
    assert b"closed the pipe" in said or is_terminal


def test_a_key_of_another_form_is_masked_where_klaviyo_repeats_it(tmp_path: Path) -> None:
    key = "0123456789abcdef0123456789abcdef"
    with Sandbox(Account.build(events=0), limits=False, faults=lambda each: Fault("echo_key")) as sandbox:
        ended = tap("-c", write_config(tmp_path, **{**sandbox.config, "api_key": key}), "--select", "lists")
    assert ended.returncode == 1
    assert "pk_***" in ended.stderr
    assert key not in ended.stderr + ended.stdout


def test_the_test_hides_its_retries_and_the_debug_option_shows_them(tmp_path: Path) -> None:
    def fail_second(each: Request) -> Fault | None:
        return Fault("status", code=503) if each.index == 1 else None

    for arguments, is_shown in (([], False), (["-v"], True)):
        with Sandbox(Account.build(events=0), limits=False, faults=fail_second) as sandbox:
            ended = tap("-c", write_config(tmp_path, **sandbox.config), "--test", "--select", "lists", *arguments)
        assert (ended.returncode, "503" in ended.stderr) == (0, is_shown), ended.stderr


def test_odd_settings_are_named_before_wrong_ones(tmp_path: Path) -> None:
    ended = tap("-c", write_config(tmp_path, api_key=WRONG, startdate="2026-01-01"))
    assert_sentence(ended, 2, "start_date is missing")
    assert '"startdate" is not a setting; did you mean "start_date"?' in ended.stderr


def test_quiet_runs_say_nothing_even_of_long_ones(sandbox: Sandbox, tmp_path: Path) -> None:
    ended = tap("-q", "-c", write_config(tmp_path, **sandbox.config), "--select", "open,lists")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_verification_takes_a_day_and_a_state(sandbox: Sandbox, tmp_path: Path) -> None:
    path, state = write_config(tmp_path, **sandbox.config), tmp_path / "state.json"
    lines = tap("-c", path, "--select", "open").stdout.splitlines()
    days = sorted({json.loads(line)["record"]["datetime"][:10] for line in lines if '"RECORD"' in line})
    middle = days[len(days) // 2]
    state.write_text(json.dumps({"bookmarks": {"open": {"timestamp": f"{middle}T12:00:00Z"}}}))

    def verified(*arguments: str) -> list[str]:
        ended = tap("-c", path, "--select", "open", "--format", "json", "--verify", *arguments)
        assert ended.returncode == 0, ended.stderr
        return [each["day"] for each in json.loads(ended.stdout)]

    assert verified(days[0]) == [days[0]]
    assert max(verified("-s", str(state))) <= middle < days[-1]


@pytest.mark.parametrize(("mode", "resumes"), [([], True), (["--test"], False), (["--metrics"], False)])
def test_only_a_sync_that_is_cut_short_resumes_from_a_state(tmp_path: Path, mode: list[str], resumes: bool) -> None:
    path = write_config(
        tmp_path, api_key=WRONG, start_date="2026-01-01", base_url="http://127.0.0.1:1", request_timeout=1
    )
    ended = tap("-c", path, "--select", "lists", *mode) if mode != ["--metrics"] else tap("-c", path, *mode)
    assert ended.returncode == 1
    said = ended.stdout + ended.stderr
    assert "Check the network and the proxy of this machine, then run the tap again." in said
    assert ("resumes from the last STATE" in said) is resumes
    assert "STATE" not in tap("-c", path, "--select", "nothing", *mode).stderr
