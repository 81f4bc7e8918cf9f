"""The blocks of the README that end in `select count(*)`, and the queries of docs/questions.md, in real databases."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tap_klaviyo.sandbox import Account, Sandbox
from tests.targets.postgres import HOST, Postgres
from tests.targets.programs import TAP, program

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
QUESTIONS = (ROOT / "docs" / "questions.md").read_text("utf-8")
BLOCKS = [block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "select count(*)" in block]
NEXT_RUN = next(block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "--state state.json" in block)
QUERIES = re.findall(r"```sql\n(.*?)```", QUESTIONS, re.DOTALL)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.build(events=1000), limits=False) as sandbox:
        yield sandbox


def run(folder: Path, commands: str, **environment: str) -> str:
    path = f"{TAP.parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def prepared(folder: Path, sandbox: Sandbox, block: str, environment: str) -> str:
    """Return the commands of a block, with the test's environment for the one that its first two lines create."""
    create, install, *commands = block.splitlines()
    directory = create.removeprefix("python3 -m venv ")
    required = (ROOT / "tests" / "targets" / "requirements" / f"{environment}.txt").read_text()
    for name in install.split(" install ")[1].replace("'", "").split():
        assert name in required.splitlines() or name in (line.split("==")[0] for line in required.splitlines())
    (folder / directory).symlink_to(program(environment, "python").parents[1])
    (folder / "config.json").write_text(json.dumps(sandbox.config))
    return "\n".join(commands)


def opens(sandbox: Sandbox) -> int:
    return len(sandbox.account.ledger(sandbox.now)["open"])


def test_duckdb(tmp_path: Path, sandbox: Sandbox) -> None:
    commands = prepared(tmp_path, sandbox, BLOCKS[0], "target-duckdb")
    assert re.search(rf"│ +{opens(sandbox)} │", run(tmp_path, commands))
    run(tmp_path, NEXT_RUN)
    count = commands.splitlines()[-1]
    assert re.search(rf"│ +{opens(sandbox)} │", run(tmp_path, count))
    query = tmp_path / "query.sql"
    query.write_text(QUERIES[0])
    assert "Autumn sale" in run(
        tmp_path, count.replace("'select count(*) from klaviyo.open'", "open('query.sql').read()")
    )


def test_postgres(tmp_path: Path, sandbox: Sandbox, postgres: Postgres) -> None:
    postgres.create("warehouse")
    postgres.rows("warehouse", "select 1")
    commands = prepared(tmp_path, sandbox, BLOCKS[1], "meltanolabs-target-postgres")
    commands = commands.replace('"user": "me"', f'"user": "tap", "port": {postgres.port}').replace(
        "--username me", "-U tap"
    )
    path = f"{postgres.programs}{os.pathsep}{TAP.parent}{os.pathsep}{os.environ['PATH']}"
    shown = run(tmp_path, commands.replace("localhost", HOST), PGPORT=str(postgres.port), PATH=path)
    assert re.search(rf"^ +{opens(sandbox)}$", shown, re.MULTILINE)
    found = postgres.rows("warehouse", QUERIES[1])
    assert found[0]["campaign"] == "Autumn sale"
    assert sum(row["opens"] for row in found) == opens(sandbox)
