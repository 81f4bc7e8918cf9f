"""Reads many Klaviyo accounts, one task per account, a few at a time.

An account is an Airflow connection whose password is the API key; its extra holds other settings of the tap, and
"catalog", the path of a catalog file, if not all default streams are wanted. The Airflow variable `klaviyo_accounts`
lists the connections' ids. The state of each account is kept in the variable `klaviyo_state_<connection id>`, so a task
can run on any worker.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Connection, Variable, dag, task
from airflow.sdk.exceptions import AirflowFailException

TAP = os.environ.get("KLAVIYO_TAP", "tap-klaviyo")
# The target's command. {account} is replaced by the connection's id, for example in a file name.
TARGET = json.loads(os.environ.get("KLAVIYO_TARGET", '["target-jsonl", "--config", "/etc/klaviyo/{account}.json"]'))
ACCOUNTS_AT_ONCE = int(os.environ.get("KLAVIYO_ACCOUNTS_AT_ONCE", "4"))
# Keys that belong to the DAG, not to the tap.
_OWN = {"catalog"}
# The tap's exit code for a wrong configuration, catalog or state: trying again cannot help.
_USAGE = 2


@dag(schedule="@hourly", start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1, tags=["klaviyo"])
def klaviyo_accounts() -> None:
    """Read every account that the variable `klaviyo_accounts` lists."""

    @task
    def list_accounts() -> list[str]:
        """Return the connection ids of the accounts."""
        return list(Variable.get("klaviyo_accounts", deserialize_json=True))

    @task(
        max_active_tis_per_dag=ACCOUNTS_AT_ONCE,
        retries=3,
        retry_delay=timedelta(minutes=5),
        retry_exponential_backoff=True,
        map_index_template="{{ account }}",
    )
    def read_account(account: str) -> None:
        """Read one account into the target, and keep the last state that the target confirmed."""
        connection = Connection.get(account)
        extra = connection.extra_dejson
        config = {name: value for name, value in extra.items() if name not in _OWN} | {"api_key": connection.password}
        with tempfile.TemporaryDirectory() as folder:
            tap_command = _tap_command(Path(folder), account, config, extra.get("catalog"))
            codes = _run(tap_command, [part.format(account=account) for part in TARGET], account)
        _raise_for(codes, account)

    read_account.expand(account=list_accounts())


def _tap_command(folder: Path, account: str, config: dict[str, Any], catalog: str | None) -> list[str]:
    """Write the tap's files, and return its command."""
    command = [TAP, "--config", _written(folder / "config.json", config)]
    if catalog:
        command += ["--catalog", catalog]
    if state := Variable.get(_state_name(account), default=None):
        command += ["--state", _written(folder / "state.json", json.loads(state))]
    return command


def _written(path: Path, value: Any) -> str:
    path.touch(mode=0o600)
    path.write_text(json.dumps(value), "utf-8")
    return str(path)


def _run(tap_command: list[str], target_command: list[str], account: str) -> tuple[int, int]:
    """Pipe the tap into the target, keep each state that the target prints, and return both exit codes."""
    with (
        subprocess.Popen(tap_command, stdout=subprocess.PIPE) as tap,
        subprocess.Popen(target_command, stdin=tap.stdout, stdout=subprocess.PIPE, text=True) as target,
    ):
        assert tap.stdout is not None
        assert target.stdout is not None
        # Only the target holds the pipe from now on, so that the tap notices if the target ends.
        tap.stdout.close()
        for state in _states(target.stdout):
            Variable.set(_state_name(account), state)
    return tap.returncode, target.returncode


def _states(lines: Iterator[str]) -> Iterator[str]:
    """Yield the complete states among the lines that a target prints."""
    for line in lines:
        with suppress(ValueError):
            if isinstance(json.loads(line), dict):
                yield line.strip()


def _state_name(account: str) -> str:
    return f"klaviyo_state_{account}"


def _raise_for(codes: tuple[int, int], account: str) -> None:
    """Fail the task by the exit codes of tap and target.

    Raises:
        AirflowFailException: the tap's input is wrong, so that a retry cannot help.
        RuntimeError: one of them failed otherwise; the task is retried, and resumes from the last state.
    """
    tap, target = codes
    if tap == _USAGE:
        raise AirflowFailException(f"{account}: wrong configuration, catalog or state; see the tap's last line above.")
    if tap or target:
        raise RuntimeError(f"{account}: the tap ended with code {tap} and the target with code {target}.")


klaviyo_accounts()
