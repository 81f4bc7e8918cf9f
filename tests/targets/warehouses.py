"""The targets, as values: how each is run, and how what it loaded is read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, Protocol

from tests.targets.postgres import HOST, USER, Postgres
from tests.targets.programs import Json, output_of, program, written

SCHEMA = "klaviyo"
# Starts a PostgreSQL server when it is called first; None if it is not installed.
Server = Callable[[], Postgres | None]
_databases = count(1)
# Reads a DuckDB file in target-duckdb's own environment: rows as JSON, one a line.
DUCKDB = """
import duckdb, sys
database = duckdb.connect(sys.argv[1], read_only=True)
for row, in database.sql(sys.argv[2]).fetchall():
    print(row)
"""


@dataclass(frozen=True)
class Warehouse:
    """A target with where it loads to.

    `rows` returns the rows of a stream's table that count as being there; `types` its columns' types, and `query` the
    rows of a query, both None for a target without tables. `deleted` is what becomes of rows that Klaviyo no longer
    has: they are gone, marked (`_sdc_deleted_at`), or they stay; `repeats`: whether each row appears as often as it was
    emitted. `database` is the one on PostgreSQL.
    """

    name: str
    command: tuple[str | Path, ...]
    rows: Callable[[str], list[Json]]
    types: Callable[[str], Mapping[str, str]] | None = None
    query: Callable[[str], list[Json]] | None = None
    deleted: Literal["gone", "marked", "kept"] = "kept"
    repeats: bool = False
    database: str = ""


class Maker(Protocol):
    """Makes a warehouse whose files are in a folder, with settings beside the ones it needs."""

    def __call__(self, folder: Path, server: Server, **settings: Any) -> Warehouse: ...


def jsonl(folder: Path, server: Server, **settings: Any) -> Warehouse:
    """target-jsonl: a file by stream, which grows."""
    where = {"destination_path": str(folder), "do_timestamp_file": False}
    config = written(folder / "target.json", {**where, **settings})

    def rows(stream: str) -> list[Json]:
        return [json.loads(line) for line in (folder / f"{stream}.jsonl").read_text("utf-8").splitlines()]

    return Warehouse("target-jsonl", (program("target-jsonl", "target-jsonl"), "--config", config), rows, repeats=True)


def duckdb(folder: Path, server: Server, **settings: Any) -> Warehouse:
    """target-duckdb: a file of tables."""
    database = folder / "warehouse.duckdb"
    config = written(folder / "target.json", {"path": str(database), "default_target_schema": SCHEMA, **settings})

    def query(text: str) -> list[Json]:
        rows = f"SELECT to_json(found) FROM ({text}) found"
        lines = output_of(program("target-duckdb", "python"), "-c", DUCKDB, database, rows)
        return [json.loads(line) for line in lines.splitlines()]

    def types(stream: str) -> dict[str, str]:
        columns = "SELECT column_name AS name, data_type AS type FROM information_schema.columns"
        return _types(query(f"{columns} WHERE table_name = '{stream}'"))

    return Warehouse(
        "target-duckdb",
        (program("target-duckdb", "target-duckdb"), "--config", config),
        rows=lambda stream: query(f"SELECT * FROM {SCHEMA}.{stream}"),
        types=types,
        query=query,
    )


def pipelinewise(folder: Path, server: Server, **settings: Any) -> Warehouse:
    """pipelinewise-target-postgres."""
    return _on_postgres("pipelinewise-target-postgres", folder, server, "dbname", **settings)


def meltanolabs(folder: Path, server: Server, **settings: Any) -> Warehouse:
    """meltanolabs-target-postgres, which marks deleted rows."""
    return _on_postgres("meltanolabs-target-postgres", folder, server, "database", "marked", **settings)


def meltanolabs_hard(folder: Path, server: Server, **settings: Any) -> Warehouse:
    """meltanolabs-target-postgres with `hard_delete`, which removes deleted rows."""
    return _on_postgres("meltanolabs-target-postgres", folder, server, "database", "gone", hard_delete=True, **settings)


def _on_postgres(
    name: str,
    folder: Path,
    server: Server,
    database_setting: str,
    deleted: Literal["gone", "marked", "kept"] = "kept",
    **settings: Any,
) -> Warehouse:
    database = f"{name}-{next(_databases)}"
    postgres = server()
    assert postgres is not None
    postgres.create(database)
    where = {"host": HOST, "port": postgres.port, "user": USER, "password": "none", database_setting: database}
    config = written(folder / "target.json", {**where, "default_target_schema": SCHEMA, **settings})
    columns = (
        "SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute "
        f"WHERE attrelid = '{SCHEMA}.{{}}'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    there = "WHERE _sdc_deleted_at IS NULL" if deleted == "marked" else ""
    return Warehouse(
        name,
        (program(name, "target-postgres"), "--config", config),
        rows=lambda stream: postgres.rows(database, f'SELECT * FROM {SCHEMA}."{stream}" {there}'),
        types=lambda stream: _types(postgres.rows(database, columns.format(stream))),
        query=lambda text: postgres.rows(database, text),
        deleted=deleted,
        database=database,
    )


def _types(columns: list[Json]) -> dict[str, str]:
    return {column["name"]: column["type"].lower() for column in columns}
