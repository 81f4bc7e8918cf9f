"""The Airflow example reads three accounts with the real Airflow, keeps their states, and heeds the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tap_klaviyo.sandbox import Account, Sandbox
from tests.targets.programs import TAP, Json, program

ROOT = Path(__file__).parents[2]
ACCOUNTS = ("klaviyo_a", "klaviyo_b", "klaviyo_c")
# A target that appends each record's key to the account's file and confirms each state, as targets do.
TARGET = """
import json, sys
with open(sys.argv[1], "a") as rows:
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "RECORD":
            rows.write(json.dumps([message["stream"], message["record"]["id"]]) + "\\n")
        elif message["type"] == "STATE":
            print(json.dumps(message["value"]), flush=True)
"""


@dataclass(frozen=True)
class Airflow:
    """An Airflow with a database and the example's DAG, in a new folder."""

    home: Path

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run one of Airflow's commands and return its output.

        Raises:
            AssertionError: it failed, unless `check` is false; with the output's end.
        """
        ended = subprocess.run(
            [program("apache-airflow", "airflow"), *arguments],
            env={**os.environ, **self._environment()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        assert ended.returncode == 0 or not check, ended.stdout[-4000:]
        return ended.stdout

    def add_account(self, name: str, config: Json) -> None:
        """Create the connection of an account."""
        extra = {setting: value for setting, value in config.items() if setting != "api_key"}
        self.run("connections", "delete", name, check=False)
        self.run(
            *("connections", "add", name, "--conn-type", "generic"),
            *("--conn-password", config["api_key"], "--conn-extra", json.dumps(extra)),
        )

    def state(self, account: str) -> Json:
        """Return the state that is kept for an account."""
        state: Json = json.loads(self.run("variables", "get", f"klaviyo_state_{account}").splitlines()[-1])
        return state

    def rows(self, account: str) -> set[tuple[str, str]]:
        """Return the stream and id of each row that the target has of an account."""
        lines = (self.home / f"{account}.rows").read_text("utf-8").splitlines()
        return {(stream, id) for stream, id in map(json.loads, lines)}

    def _environment(self) -> dict[str, str]:
        target = [sys.executable, str(self.home / "target.py"), str(self.home / "{account}.rows")]
        return {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "examples" / "airflow" / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "KLAVIYO_TAP": str(TAP),
            "KLAVIYO_TARGET": json.dumps(target),
        }


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    made = Airflow(tmp_path_factory.mktemp("airflow"))
    (made.home / "target.py").write_text(TARGET, "utf-8")
    made.run("db", "migrate")
    return made


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[dict[str, Sandbox]]:
    with ExitStack() as stack:
        accounts = enumerate(ACCOUNTS)
        yield {
            name: stack.enter_context(Sandbox(Account.build(events=200, seed=seed), limits=False))
            for seed, name in accounts
        }


def expected(sandbox: Sandbox) -> set[tuple[str, str]]:
    """Return the stream and id of each event, list and campaign that an account has."""
    ledger = sandbox.account.ledger(sandbox.now)
    return {(stream, id) for stream, ids in ledger.items() if stream != "global_exclusions" for id in ids}


def test_each_account_is_read_and_its_state_kept(airflow: Airflow, sandboxes: dict[str, Sandbox]) -> None:
    for name, sandbox in sandboxes.items():
        airflow.add_account(name, sandbox.config)
    airflow.run("variables", "set", "klaviyo_accounts", json.dumps(ACCOUNTS))
    airflow.run("dags", "test", "klaviyo_accounts")
    for name, sandbox in sandboxes.items():
        assert {row for row in airflow.rows(name) if row[0] != "global_exclusions"} == expected(sandbox)
        assert "receive" in airflow.state(name)["bookmarks"]


def test_a_second_run_resumes_from_the_state(airflow: Airflow, sandboxes: dict[str, Sandbox]) -> None:
    (name, sandbox), *_ = sandboxes.items()
    airflow.add_account(name, {**sandbox.config, "lookback_days": 0})
    before = airflow.state(name)
    (airflow.home / f"{name}.rows").unlink()
    airflow.run("variables", "set", "klaviyo_accounts", json.dumps([name]))
    airflow.run("dags", "test", "klaviyo_accounts")
    events = {row for row in airflow.rows(name) if row[0] in before["bookmarks"]}
    assert len(events) < len({row for row in expected(sandbox) if row[0] in before["bookmarks"]}) / 2


def test_a_wrong_configuration_is_not_retried(airflow: Airflow, sandboxes: dict[str, Sandbox]) -> None:
    (name, sandbox), *_ = sandboxes.items()
    airflow.add_account(name, {**sandbox.config, "start_date": "no date"})
    airflow.run("variables", "set", "klaviyo_accounts", json.dumps([name]))
    output = airflow.run("dags", "test", "klaviyo_accounts", check=False)
    assert "wrong configuration, catalog or state" in output
    assert "no date" in output
    assert sandbox.config["api_key"] not in output
