"""Runs the measures and prints their tables: scripts/benchmark."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmarks.measures import FULL, MEASURES, QUICK, Scale
from benchmarks.report import Result, findings_table, placed, runs_table

PAGE = Path(__file__).parent / "README.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the named measures, or all."""
    options = _parser().parse_args(arguments)
    load = os.getloadavg()[0]
    scale = QUICK if options.quick else FULL if options.full else Scale()
    if unknown := [name for name in options.measures if name not in MEASURES]:
        sys.exit(f"There is no measure named {', '.join(unknown)}; they are {', '.join(MEASURES)}.")
    results = [_measured(name, scale) for name in options.measures or MEASURES]
    tables = _tables(results, "--quick" if options.quick else "--full" if options.full else "", load)
    print(tables)
    if options.write:
        PAGE.write_text(placed(PAGE.read_text("utf-8"), tables), "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description="Measure the tap against the sandbox.")
    add = parser.add_argument
    add("measures", nargs="*", metavar="MEASURE", help=f"what to measure: {', '.join(MEASURES)}; all by default")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="less of everything, in about five minutes")
    sizes.add_argument("--full", action="store_true", help="memory with 5,000,000 events too")
    add("--write", action="store_true", help="put the tables into benchmarks/README.md")
    return parser


def _measured(name: str, scale: Scale) -> Result:
    """Return what a measure gives; one that fails says so, and the others go on."""
    began = time.monotonic()
    try:
        result = MEASURES[name](scale)
    except RuntimeError as problem:
        result = Result()
        print(f"{name} failed: {problem}", file=sys.stderr)
    found = "; ".join(f"{each.what}: {each.found}" for each in result.findings)
    print(f"{name}, {time.monotonic() - began:.0f} s: {found}", file=sys.stderr)
    return result


def _tables(results: Sequence[Result], option: str, load: float) -> str:
    command = f"scripts/benchmark {option}".strip()
    where = f"{os.cpu_count()} cores ({_processor()}), {platform.system()}, Python {platform.python_version()}"
    findings = findings_table([each for result in results for each in result.findings])
    runs = runs_table([each for result in results for each in result.rows])
    load_before = f"load of other work when it began {load:.1f}"
    return f"`{command}` on {date.today()}: {where}; {load_before}.\n\n{findings}\n\n{runs}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
