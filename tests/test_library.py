"""The tap for programs: the example of docs/python.md, and the errors of wrong input."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from tap_klaviyo import library
from tap_klaviyo.errors import CatalogError, ConfigError, StateError
from tap_klaviyo.sandbox import Account, Sandbox
from tests.repository import ROOT
from tests.running import Chunks, catalog_of

PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
GOOD = {"api_key": "pk_1", "start_date": "2026-01-01"}


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    ended = subprocess.run(
        [sys.executable, "-W", "error", tmp_path / "example.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    more, ids, records = ended.stdout.splitlines()
    assert more == "True"
    assert len(ids.split(",")) == 3
    assert re.fullmatch(r"\d{2,} records", records)


def test_the_page_names_what_the_module_has() -> None:
    assert {name for name in library.__all__ if f"`{name}" not in PAGE} == set()


@pytest.mark.parametrize(
    ("settings", "catalog", "state", "error"),
    [
        ({}, None, None, ConfigError),
        (GOOD, {"streams": 7}, None, CatalogError),
        (GOOD, None, {"bookmarks": 7}, StateError),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(
    settings: dict[str, str], catalog: dict[str, int], state: dict[str, int], error: type[Exception]
) -> None:
    output = io.BytesIO()
    with pytest.raises(error):
        library.sync_account(settings, output, catalog=catalog, state=state)
    assert output.getvalue() == b""


def test_a_selection_and_a_catalog_exclude_each_other() -> None:
    with pytest.raises(CatalogError, match="select or catalog"):
        library.sync_account(GOOD, io.BytesIO(), select="open", catalog={"streams": []})


def test_settings_of_a_client_are_checked() -> None:
    with pytest.raises(ConfigError, match="start_date is missing"):
        library.open_client({"api_key": "pk_1"})


def written(sandbox: Sandbox, **given: Any) -> list[dict[str, Any]]:
    """Return the messages of a sync with one of the user's streams."""
    output = Chunks()
    settings = {**sandbox.config, "metric_streams": ["Placed Order"]}
    library.sync_account(settings, cast(BinaryIO, output), **given)
    return [json.loads(line) for line in b"".join(output.written).splitlines()]


def streams_of(messages: list[dict[str, Any]]) -> list[str]:
    return [each["stream"] for each in messages if each["type"] == "SCHEMA"]


def test_a_selection_a_catalog_and_a_state_are_used() -> None:
    with Sandbox(Account.build(events=200), limits=False) as sandbox:
        by_name = written(sandbox, select="lists,placed_order")
        by_catalog = written(sandbox, catalog=catalog_of("lists"))
        resumed = written(sandbox, catalog=catalog_of("lists"), state={"bookmarks": {"other_tap": 1}})
    assert streams_of(by_name) == ["lists", "placed_order"]
    assert streams_of(by_catalog) == ["lists"]
    assert resumed[-1]["value"]["bookmarks"] == {"other_tap": 1}
