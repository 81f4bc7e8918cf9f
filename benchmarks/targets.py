"""Rows a second by target, for docs/targets.md: scripts/benchmark targets [--events N] [--write].

The tap and the target run as they do for a user, in a pipe; the time is that of both. Needs what scripts/test-targets
installs.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from tap_klaviyo.sandbox import Account, Sandbox
from tests.targets import warehouses
from tests.targets.postgres import find_programs, served
from tests.targets.programs import sync
from tests.targets.warehouses import Maker, Server

PAGE = Path(__file__).parent.parent / "docs" / "targets.md"
ALL_FIELDS = "core"
FLAT_FIELDS = "core,!*.profile,!*.metric"


@dataclass(frozen=True)
class Case:
    """A target, its settings, and what the tap selects."""

    target: str
    make: Maker
    settings: Mapping[str, Any] = field(default_factory=dict)
    select: str = ALL_FIELDS

    @property
    def how(self) -> str:
        """What differs from the defaults."""
        said = [f'`"{key}": {str(value).lower()}`' for key, value in self.settings.items()]
        return ", ".join([*said, *(["without `profile` and `metric`"] if self.select == FLAT_FIELDS else [])])


_UNVALIDATED = {"validate_records": False}
CASES = (
    Case("target-jsonl", warehouses.jsonl),
    Case("target-duckdb", warehouses.duckdb),
    Case("target-duckdb", warehouses.duckdb, select=FLAT_FIELDS),
    Case("pipelinewise-target-postgres", warehouses.pipelinewise),
    Case("pipelinewise-target-postgres", warehouses.pipelinewise, select=FLAT_FIELDS),
    Case("meltanolabs-target-postgres", warehouses.meltanolabs),
    Case("meltanolabs-target-postgres", warehouses.meltanolabs, _UNVALIDATED),
    Case("meltanolabs-target-postgres", warehouses.meltanolabs, {**_UNVALIDATED, "use_copy": True}),
    Case("meltanolabs-target-postgres", warehouses.meltanolabs, _UNVALIDATED, FLAT_FIELDS),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Load the same account into each target, and print the table."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark targets", description=__doc__)
    parser.add_argument("--events", type=int, default=60_000, help="events in the account (%(default)s)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    account = Account.build(events=options.events)
    rows = sum(map(len, account.ledger(account.now).values()))
    with ExitStack() as stack:
        programs = find_programs()
        postgres = stack.enter_context(served(programs)) if programs else None
        found = [(case, _seconds(case, account, lambda: postgres)) for case in CASES if postgres or _is_local(case)]
    table = _table(rows, found, load)
    print(table)
    if options.write:
        page = re.sub(r"(<!-- speed -->\n).*?(<!-- /speed -->)", rf"\1{table}\n\2", PAGE.read_text("utf-8"), flags=re.S)
        PAGE.write_text(page, "utf-8")


def _is_local(case: Case) -> bool:
    return "postgres" not in case.target


def _seconds(case: Case, account: Account, server: Server) -> float:
    with tempfile.TemporaryDirectory() as folder, Sandbox(account, limits=False) as sandbox:
        warehouse = case.make(Path(folder), server, **case.settings)
        began = time.monotonic()
        sync(Path(folder), sandbox.config, warehouse.command, select=case.select)
        return time.monotonic() - began


def _table(rows: int, found: Sequence[tuple[Case, float]], load: float) -> str:
    where = f"{os.cpu_count()} cores, Python {platform.python_version()}, load of other work when it began {load:.1f}"
    lines = [f"`scripts/benchmark targets` on {date.today()}, {rows:,} rows, {where}:", ""]
    lines += ["| target | settings, selection | seconds | rows/s |", "|---|---|---:|---:|"]
    lines += [f"| {case.target} | {case.how} | {seconds:.1f} | {rows / seconds:,.0f} |" for case, seconds in found]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
