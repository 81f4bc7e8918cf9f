"""Programs that do nothing but check what a tap writes find nothing wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tap_klaviyo.sandbox import Account, Sandbox
from tests.targets.expected import FULL_TABLES, key_of
from tests.targets.odd import EVENTS, odd_klaviyo
from tests.targets.programs import TAP, Json, output_of, program, sync, written


def test_stitchs_dry_run_accepts_every_message(tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    account = Account.build(events=2000)
    command = (program("target-stitch", "target-stitch"), "--dry-run", "--output-file", requests)
    with Sandbox(account, limits=False) as sandbox:
        state = sync(tmp_path, sandbox.config, command)
    posted = [json.loads(line) for line in requests.read_text("utf-8").splitlines()]
    ledger = {stream: sorted(keys) for stream, keys in account.ledger(account.now).items()}
    assert {stream: _upserted(posted, stream) for stream in ledger} == ledger
    assert [stream for stream in ledger if _ends_in_activation(posted, stream)] == list(FULL_TABLES)
    assert "currently_syncing" not in state


def test_singer_check_tap_passes_a_run_and_one_on_from_its_state(tmp_path: Path) -> None:
    account = Account.build(events=2000)
    with Sandbox(account, limits=False) as sandbox:
        tap = (TAP, "--config", written(tmp_path / "config.json", sandbox.config))
        first = output_of(*tap)
        state = json.loads(first.splitlines()[-1])
        second = output_of(*tap, "--state", written(tmp_path / "state.json", state["value"]))
    ledger = account.ledger(account.now)
    assert _checked(first, tmp_path) == {stream: len(keys) for stream, keys in ledger.items()}
    assert 0 < _checked(second, tmp_path)["receive"] < len(ledger["receive"])


def test_stitchs_dry_run_accepts_odd_values(tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    command = (program("target-stitch", "target-stitch"), "--dry-run", "--output-file", requests)
    with odd_klaviyo() as config:
        sync(tmp_path, config, command, select="open")
    posted = [json.loads(line) for line in requests.read_text("utf-8").splitlines()]
    assert _upserted(posted, "open") == sorted(each["id"] for each in EVENTS)


def test_singer_check_tap_passes_odd_values(tmp_path: Path) -> None:
    with odd_klaviyo() as config:
        messages = output_of(TAP, "--config", written(tmp_path / "config.json", config), "--select", "open")
    assert _checked(messages, tmp_path) == {"open": len(EVENTS)}


def _checked(messages: str, folder: Path) -> dict[str, int]:
    """Have messages checked, and return how many records of each stream were found."""
    report = output_of(program("singer-tools", "singer-check-tap"), folder=folder, given=messages)
    assert "The output is valid." in report
    return {name: int(count) for name, count in re.findall(r"^\| (\w+) +\| (\d+) ", report, re.MULTILINE)}


def _messages(posted: list[Json], stream: str) -> list[Json]:
    return [message for batch in posted if batch["table_name"] == stream for message in batch["messages"]]


def _upserted(posted: list[Json], stream: str) -> list[str]:
    upserts = [message for message in _messages(posted, stream) if message["action"] == "upsert"]
    return sorted(message["data"][key_of(stream)] for message in upserts)


def _ends_in_activation(posted: list[Json], stream: str) -> bool:
    return bool(_messages(posted, stream)[-1]["action"] == "activate_version")
