"""A PostgreSQL server of Debian's package for the time of a test run, under a user that is not root."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.targets.programs import output_of

HOST = "127.0.0.1"
USER = "tap"
_CLUSTER = ("-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")


@dataclass(frozen=True)
class Postgres:
    """A server that runs, and the folder of its programs."""

    programs: Path
    port: int

    def create(self, database: str) -> None:
        """Create a database."""
        self.execute("postgres", f'CREATE DATABASE "{database}"')

    def rows(self, database: str, query: str) -> list[dict[str, Any]]:
        """Return a query's rows; columns of JSON come as what they hold."""
        text = self.execute(database, f"SELECT coalesce(json_agg(found), '[]') FROM ({query}) found")
        rows: list[dict[str, Any]] = json.loads(text)
        return rows

    def execute(self, database: str, script: str, folder: Path | None = None) -> str:
        """Execute a script of psql in a folder, and return what it shows."""
        where = ("-h", HOST, "-p", str(self.port), "-U", USER, "-d", database)
        return output_of(
            self.programs / "psql", *where, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", folder=folder, given=script
        )


def find_programs() -> Path | None:
    """Return the folder of the newest server's programs, None where none is installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    found = [str(folder / "initdb") for folder in folders] or [shutil.which("initdb") or ""]
    return Path(found[-1]).parent if found[-1] else None


@contextmanager
def served(programs: Path) -> Iterator[Postgres]:
    """Run a new server on a free port of loopback, and remove it with all its data."""
    folder = Path(tempfile.mkdtemp(prefix="tap-klaviyo-postgres-"))
    data, log = folder / "data", folder / "log"
    port = _free_port()
    settings = f"-c listen_addresses={HOST} -c port={port} -c unix_socket_directories= -c fsync=off"
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        _run(folder, programs / "initdb", "-D", data, *_CLUSTER)
        _run(folder, programs / "pg_ctl", "-D", data, "-l", log, "-o", settings, "--wait", "start")
        try:
            yield Postgres(programs, port)
        finally:
            _run(folder, programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path, *command: str | Path) -> None:
    """Run one of the server's programs, which refuse to be run by root."""
    owner = "postgres" if os.getuid() == 0 else None
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, user=owner, group=owner)


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
