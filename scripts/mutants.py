#!/usr/bin/env python3
"""Check that the tests notice faults: put each fault of tests/mutants.txt into a copy of the tap, and run its tests.

    .venv/bin/python scripts/mutants.py                  every mutant: hours
    .venv/bin/python scripts/mutants.py slices cursor    those whose file or name contains one of these words
    .venv/bin/python scripts/mutants.py --check          none, but say which ones are no change of the present code

A mutant that survives shows behaviour that no test checks: write the test, or remove the code if nothing needs it. A
mutant whose text is not in the file any more is reported as well: adapt it, or remove it with the code that it changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "mutants.txt"
# Seconds after which a test hangs, which is a way of noticing: many times what the slowest takes on a busy machine.
PATIENCE = 100
SEEDS = "30"


@dataclass(frozen=True)
class Mutant:
    """One fault: a text of a file that another one replaces, and the files of tests that should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def read_mutants(text: str) -> Iterator[Mutant]:
    """Yield the mutants of a list; its first lines describe the format."""
    file, tests = "", tuple[str, ...]()
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if lines and lines[0].startswith("== "):
            file, _, names = lines.pop(0).removeprefix("== ").partition(":")
            tests = tuple(f"tests/{name}.py" for name in names.split())
        if lines:
            old, new = ("\n".join(line[2:] for line in lines if line[:1] == mark) for mark in "-+")
            yield Mutant(lines[0], f"tap_klaviyo/{file}", old, new, tests)


def changed_text(mutant: Mutant, tree: Path) -> str:
    """Return the text of a mutant's file with the fault in it.

    Raises:
        ValueError: the fault is no change of the present code.
    """
    path = tree / mutant.file
    text = path.read_text("utf-8") if path.exists() else ""
    if text.count(mutant.old) != 1:
        raise ValueError(f"its text is in the file {text.count(mutant.old)} times")
    changed = text.replace(mutant.old, mutant.new)
    try:
        compile(changed, mutant.file, "exec")
    except SyntaxError as problem:
        raise ValueError(str(problem)) from None
    return changed


def stale_mutants(mutants: Sequence[Mutant]) -> Iterator[str]:
    """Yield a line for each mutant that is no change of the present code."""
    for mutant in mutants:
        try:
            changed_text(mutant, ROOT)
        except ValueError as problem:
            yield f"{mutant.file}: {mutant.name}: {problem}"


def verdict_of(mutant: Mutant, tree: Path) -> str:
    """Return whether the tests notice a mutant in a copy of the repository, which is left as it was."""
    path = tree / mutant.file
    try:
        text, changed = path.read_text("utf-8"), changed_text(mutant, tree)
    except (OSError, ValueError) as problem:
        return f"DOES NOT APPLY: {problem}"
    path.write_text(changed, "utf-8")
    try:
        return failure_in(tree, mutant.tests)
    finally:
        path.write_text(text, "utf-8")


def failure_in(tree: Path, tests: Sequence[str]) -> str:
    """Return how the tests fail in a copy of the repository."""
    patience = ("-o", f"faulthandler_timeout={PATIENCE}", "-o", "faulthandler_exit_on_timeout=true")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-cov", "-p", "no:cacheprovider", "--chaos", SEEDS]
    # Tests also start the command by its name.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*command, *patience, *tests], cwd=tree, env=environment, capture_output=True, text=True)
    if not done.returncode:
        return "SURVIVED"
    if done.returncode in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
        return f"DOES NOT APPLY: {done.stderr.strip()[-200:]}"
    if "Timeout (" in done.stderr:
        return f"caught: {' '.join(re.findall(r'in (test_.+)', done.stderr)[:1])} hangs"
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED tests/", "ERROR tests/"))]
    return f"caught: {failed[0][:100] if failed else done.stdout[-200:]}"


def main(words: Sequence[str]) -> int:
    """Print the verdict on each mutant, and return 1 if one survived or does not apply."""
    if words == ["--check"]:
        stale = list(stale_mutants(list(read_mutants(LIST.read_text("utf-8")))))
        print("\n".join(stale) or "Every mutant is a change of the present code.")
        return int(bool(stale))
    mutants = [
        each
        for each in read_mutants(LIST.read_text("utf-8"))
        if not words or any(word in f"{each.file} {each.name}".removeprefix("tap_klaviyo/") for word in words)
    ]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tap"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "*.egg-info", "__pycache__"))
        for mutant in mutants:
            began = time.monotonic()
            verdict = verdict_of(mutant, tree)
            bad += not verdict.startswith("caught")
            print(f"{mutant.file}: {mutant.name}\n    {verdict} [{time.monotonic() - began:.0f} s]", flush=True)
    print(f"{len(mutants)} mutants, {bad} of them not caught.")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
