"""The README's commands run as they are written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tap_klaviyo.sandbox import Account, Sandbox

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)

# A target as the README needs one: it keeps the records and prints each state.
TARGET = f"""#!{sys.executable}
import json, sys
with open("target.jsonl", "a") as kept:
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "RECORD":
            kept.write(line)
        elif message["type"] == "STATE":
            print(json.dumps(message["value"]), flush=True)
"""


def test_the_first_two_commands_are_the_scripts() -> None:
    assert [block.strip() for block in BLOCKS[:2]] == ["scripts/demo", "scripts/test"]
    assert all(os.access(ROOT / block.strip(), os.X_OK) for block in BLOCKS[:2])


def test_discovery_a_sync_and_the_next_run(tmp_path: Path) -> None:
    for name, text in {
        "tap-klaviyo": f'#!/bin/sh\nexec {sys.executable} -m tap_klaviyo "$@"\n',
        "target-jsonl": TARGET,
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    commands = [block for block in BLOCKS if block.startswith("tap-klaviyo")]
    assert len(commands) == 5
    with Sandbox(Account.build(events=500), limits=False) as sandbox:
        (tmp_path / "config.json").write_text(json.dumps(sandbox.config))
        environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "".join(commands)],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            timeout=60,
        )
        expected = sandbox.account.ledger(sandbox.now)
    kept = [json.loads(line) for line in (tmp_path / "target.jsonl").read_text().splitlines()]
    for stream, keys in expected.items():
        field = "email" if stream == "global_exclusions" else "id"
        assert {each["record"][field] for each in kept if each["stream"] == stream} == set(keys)
    assert json.loads((tmp_path / "state.json").read_text())["bookmarks"].keys() < expected.keys()


def test_the_demo_shows_rows_by_stream() -> None:
    if not (ROOT / ".venv" / "bin" / "tap-klaviyo").exists():
        pytest.skip("There is no .venv, which scripts/demo would set up from the network.")
    ended = subprocess.run([ROOT / "scripts" / "demo"], capture_output=True, text=True, timeout=120, check=True)
    rows = dict(line.split() for line in ended.stdout.splitlines() if re.fullmatch(r"\w+ +[\d,]+", line))
    assert len(rows) == 21
    assert "0" not in rows.values()
