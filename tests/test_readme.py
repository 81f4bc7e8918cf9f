"""The README's commands run as they are written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tap_klaviyo.sandbox import Account, Sandbox
from tests.repository import repository_files

ROOT = Path(__file__).parent.parent
CODE = re.compile(r"^ *```\w*\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
PAGE_FILES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md")]
PAGES = [page.read_text("utf-8") for page in PAGE_FILES]

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


@dataclass
class Shell:
    """A shell in an empty folder with a config for a sandbox."""

    folder: Path
    sandbox: Sandbox

    def program(self, name: str, text: str) -> None:
        """Put a program there."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self, commands: str) -> None:
        """Run commands; all of them must succeed."""
        (self.folder / "config.json").write_text(json.dumps(self.sandbox.config))
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            timeout=60,
        )


def cli_help() -> str:
    command = [sys.executable, "-m", "tap_klaviyo", "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_first_two_commands_are_the_scripts() -> None:
    assert [block.strip() for block in BLOCKS[:2]] == ["scripts/demo", "scripts/test"]
    assert all(os.access(ROOT / block.strip(), os.X_OK) for block in BLOCKS[:2])


def test_a_sync_the_next_run_and_selections(tmp_path: Path) -> None:
    with Sandbox(Account.build(events=500), limits=False) as sandbox:
        shell = Shell(tmp_path, sandbox)
        shell.program("tap-klaviyo", f'#!/bin/sh\nexec {sys.executable} -m tap_klaviyo "$@"\n')
        shell.program(".venv-duckdb/bin/target-duckdb", TARGET)
        shell.program(".venv-postgres/bin/target-postgres", TARGET)
        into_duckdb, into_postgres = (block for block in BLOCKS if "select count(*)" in block)
        for block in (into_duckdb, into_postgres):
            lines = block.splitlines()
            assert len(lines) == 6
            # The environments and the queries take real targets: tests/targets/test_readme_blocks.py.
            shell.run("\n".join(lines[2:5]))
        for block in BLOCKS:
            if block.startswith("tap-klaviyo"):
                shell.run(block)
        expected = sandbox.account.ledger(sandbox.now)
    kept = [json.loads(line) for line in (tmp_path / "target.jsonl").read_text().splitlines()]
    for stream, keys in expected.items():
        field = "email" if stream == "global_exclusions" else "id"
        assert {each["record"][field] for each in kept if each["stream"] == stream} == set(keys)
    assert json.loads((tmp_path / "state.json").read_text())["bookmarks"].keys() < expected.keys()
    assert json.loads((tmp_path / "my-catalog.json").read_text())["streams"]


@pytest.mark.parametrize("text", [*PAGES, cli_help()], ids=[*(page.stem for page in PAGE_FILES), "help"])
def test_no_command_overwrites_a_tracked_file(text: str) -> None:
    written = set(re.findall(r">>? *([\w./-]+)", "\n".join([*CODE.findall(text), *re.findall("^  .*", text, re.M)])))
    assert written.isdisjoint(repository_files())


def test_the_help_writes_its_state_to_a_file() -> None:
    assert ">> state.jsonl" in cli_help()


@pytest.mark.parametrize(
    ("python", "found"),
    [("case $1 in --version) echo Python 3.8.10;; *) exit 1;; esac", "Python 3.8.10"), (None, "none")],
)
def test_the_demo_needs_a_recent_python(python: str | None, found: str, tmp_path: Path) -> None:
    for name in ("env", "bash", "dirname", "head"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    if python:
        (tmp_path / "python3").write_text(f"#!/bin/sh\n{python}\n")
        (tmp_path / "python3").chmod(0o755)
    demo = str(ROOT / "scripts" / "demo")
    ended = subprocess.run([demo], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == f"This needs Python 3.10 or newer as python3; found: {found}.\n"


def test_the_demo_shows_rows_by_stream() -> None:
    if not (ROOT / ".venv" / "bin" / "tap-klaviyo").exists():
        pytest.skip("There is no .venv, which scripts/demo would set up from the network.")
    ended = subprocess.run([ROOT / "scripts" / "demo"], capture_output=True, text=True, timeout=120, check=True)
    rows = dict(line.split() for line in ended.stdout.splitlines() if re.fullmatch(r"\w+ +[\d,]+", line))
    assert len(rows) == 21
    assert "0" not in rows.values()
