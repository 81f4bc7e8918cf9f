"""The programs that the tap is piped into, each in its own environment, and the pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TAP = Path(sys.executable).parent / "tap-klaviyo"
_ENVIRONMENTS = Path(os.environ.get("TAP_KLAVIYO_TARGETS", ".venv-targets")).absolute()

Json = dict[str, Any]


def program(environment: str, name: str) -> Path:
    """Return the path of a program of one of the environments."""
    return _ENVIRONMENTS / environment / "bin" / name


def output_of(*command: str | Path, folder: Path | None = None, given: str | None = None) -> str:
    """Run a command, in a folder and with a text given on stdin, and return what it wrote to stdout.

    Raises:
        AssertionError: it failed; with what it wrote to stderr.
    """
    ended = subprocess.run(command, cwd=folder, input=given, capture_output=True, encoding="utf-8")
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


def sync(
    folder: Path,
    config: Mapping[str, Any],
    target: Sequence[str | Path],
    state: Json | None = None,
    select: str | None = None,
    catalog: Json | None = None,
) -> Json:
    """Run the tap into a target, and return the last state that the target printed.

    Args:
        folder: for the files of the run.
        config: the tap's.
        target: the target's command.
        state: what the last run returned.
        select: what the tap selects; by default what it discovers as selected.
        catalog: what the tap selects, as a catalog.

    Raises:
        AssertionError: one of the two failed; with what they wrote to stderr.
    """
    command: list[str | Path] = [TAP, "--config", written(folder / "config.json", config)]
    if state is not None:
        command += ["--state", written(folder / "state.json", state)]
    if select is not None:
        command += ["--select", select]
    if catalog is not None:
        command += ["--catalog", written(folder / "catalog.json", catalog)]
    errors = folder / "stderr"
    with errors.open("wb") as stderr:
        tap = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)
        with tap:
            loaded = subprocess.run(target, stdin=tap.stdout, stdout=subprocess.PIPE, stderr=stderr, encoding="utf-8")
    assert (tap.returncode, loaded.returncode) == (0, 0), errors.read_text("utf-8")[-4000:]
    last: Json = json.loads(loaded.stdout.splitlines()[-1])
    return last


def written(path: Path, value: Any) -> Path:
    """Write a value to a file as JSON, and return the file's path."""
    path.write_text(json.dumps(value), "utf-8")
    return path
