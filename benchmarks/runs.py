"""Runs the tap, or another command, in a new process against a new server, and measures it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.traffic import Served

_COUNTED = re.compile(r'^(?:\S+ )?INFO METRIC: (\{.*"record_count".*\})$', re.MULTILINE)
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Run:
    """One process: CPU and elapsed seconds, peak resident bytes, records, tries that failed, and its requests.

    `first_record` is when the first RECORD was written (monotonic seconds), None if not measured.
    """

    seconds: float
    cpu: float
    peak: int
    records: int
    retries: int
    requests: Sequence[Served]
    first_record: float | None = None


@dataclass(frozen=True)
class Server:
    """A running benchmarks.server: a config for it, its time (epoch seconds), and each event stream's events."""

    config: Mapping[str, str]
    now: int
    rows: Mapping[str, Sequence[int]]

    @property
    def events(self) -> int:
        """All events of the streams."""
        return sum(map(sum, self.rows.values()))

    def requests(self) -> list[Served]:
        """Return the requests since the last time, and forget them."""
        with urlopen(Request(f"{self.config['base_url']}/requests", method="DELETE")) as answer:
            return [Served(**each) for each in json.load(answer)]


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    """Run benchmarks.server with the options."""
    command = [sys.executable, "-m", "benchmarks.server", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("The server did not start.")
            yield Server(**json.loads(line))
        finally:
            process.terminate()


# What reads the process's output: a function of the pipe, and what it gives.
Reader = Callable[[int], float | None]


def splice_away(pipe: int) -> float | None:
    """Read a pipe at next to no cost, and return when the first RECORD came."""
    head, first = b"", None
    while first is None and (chunk := os.read(pipe, _CHUNK)):
        head = head[-20:] + chunk
        first = time.monotonic() if b'"RECORD"' in head else None
    with open(os.devnull, "wb") as nothing:
        while os.splice(pipe, nothing.fileno(), _CHUNK):
            pass
    return first


def read_late(seconds: float) -> Reader:
    """Return a reader that takes a first piece, then nothing for so long, then the rest."""

    def read(pipe: int) -> float | None:
        os.read(pipe, _CHUNK)
        time.sleep(seconds)
        return splice_away(pipe)

    return read


def into_file(path: Path) -> Reader:
    """Return a reader that keeps what it reads in a file."""

    def read(pipe: int) -> float | None:
        with path.open("wb") as file:
            while chunk := os.read(pipe, _CHUNK):
                file.write(chunk)
        return None

    return read


def run_tap(
    server: Server,
    *,
    streams: Sequence[str] = (),
    state: Mapping[str, Any] | None = None,
    reader: Reader = splice_away,
    **settings: Any,
) -> Run:
    """Run the tap over a server's events.

    Args:
        server: the server to read from.
        streams: the selected streams, with their default fields; by default all event streams.
        state: the state of an earlier run.
        reader: takes the output.
        settings: more for the config.

    Raises:
        RuntimeError: the tap did not end well, or did not read what there is.
    """
    files: dict[str, Mapping[str, Any]] = {
        "config": {**server.config, **settings},
        "catalog": _catalog(tuple(streams or server.rows)),
    }
    if state is not None:
        files["state"] = state
    with tempfile.TemporaryDirectory() as directory:
        arguments: list[str] = []
        for name, content in files.items():
            path = Path(directory, f"{name}.json")
            path.write_text(json.dumps(content), "utf-8")
            arguments += [f"--{name}", str(path)]
        return run([sys.executable, "-m", "tap_klaviyo", *arguments], server, reader)


def run_usual(server: Server, **settings: Any) -> Run:
    """Run the usual way over a server's events, by a config with these settings too."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "config.json")
        path.write_text(json.dumps({**server.config, **settings}), "utf-8")
        return run([sys.executable, "-m", "benchmarks.usual", str(path)], server, splice_away)


def run(command: Sequence[str], server: Server, reader: Reader) -> Run:
    """Run a command that logs as the tap does, and return its measure."""
    server.requests()
    with tempfile.TemporaryFile("w+") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        first = reader(process.stdout.fileno())
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        log.seek(0)
        said = log.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said[-2000:]}")
    return Run(
        seconds=seconds,
        cpu=used.ru_utime + used.ru_stime,
        peak=used.ru_maxrss * 1024,
        records=sum(json.loads(point)["value"] for point in _COUNTED.findall(said)),
        retries=said.count("trying again"),
        requests=server.requests(),
        first_record=first,
    )


def _catalog(streams: Sequence[str]) -> dict[str, Any]:
    """Return the discovered catalog with just these streams, all of them selected."""
    entries = [entry for entry in _discovered()["streams"] if entry["tap_stream_id"] in streams]
    return {"streams": [{**entry, "metadata": list(map(_selected, entry["metadata"]))} for entry in entries]}


def _selected(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a stream's own metadata with the stream selected, and that of a field as it is."""
    return metadata if metadata["breadcrumb"] else {**metadata, "metadata": {**metadata["metadata"], "selected": True}}


@cache
def _discovered() -> dict[str, Any]:
    # In a process, not by an import: a child starts with its parent's peak memory, so this process must stay small.
    command = [sys.executable, "-m", "tap_klaviyo", "--discover"]
    catalog: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return catalog
