"""docs/completeness.md in a shell and in PostgreSQL: its command writes numbers; its queries find a missing event."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tap_klaviyo.sandbox import Account, Sandbox
from tests.repository import ROOT
from tests.targets import warehouses
from tests.targets.postgres import Postgres
from tests.targets.programs import TAP, sync, written

PAGE = (ROOT / "docs" / "completeness.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language, without the indentation of a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in text.splitlines()) for indent, text in found]


def test_the_queries_of_the_page_find_a_missing_event(tmp_path: Path, postgres: Postgres) -> None:
    load, compare = blocks("sql")
    command = blocks("sh")[-1].replace("tap-klaviyo ", f"{TAP} ", 1)
    warehouse = warehouses.meltanolabs_hard(tmp_path, lambda: postgres)
    with Sandbox(Account.build(events=600), limits=False) as sandbox:
        written(tmp_path / "state.json", sync(tmp_path, sandbox.config, warehouse.command, select="open"))
        subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert warehouse.query
    database = warehouse.database
    postgres.execute(database, load, tmp_path)
    assert len(warehouse.rows("open")) > 100
    assert warehouse.query(compare.rstrip(";")) == []
    postgres.execute(database, "DELETE FROM klaviyo.open WHERE id = (SELECT max(id) FROM klaviyo.open)")
    (day,) = warehouse.query(compare.rstrip(";"))
    assert day["klaviyo"] == day["database"] + 1
