"""The recipes of CONTRIBUTING.md: their code runs in the modules that they name, and their parts fit together."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tap_klaviyo.klaviyo import endpoints
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.sandbox import metrics, reports, served, shop_table
from tap_klaviyo.streams import table
from tap_klaviyo.streams.model import Stream

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
_PARTS = re.split(r"^### ", TEXT.split("\n## How the tests")[0], flags=re.MULTILINE)[1:]
RECIPES = {part.splitlines()[0]: part for part in _PARTS}
MODULES = {
    "tap_klaviyo/klaviyo/endpoints.py": vars(endpoints),
    "tap_klaviyo/sandbox/metrics.py": vars(metrics),
    "tap_klaviyo/sandbox/reports.py": vars(reports),
    "tap_klaviyo/sandbox/served.py": vars(served),
    "tap_klaviyo/sandbox/shop_table.py": vars(shop_table),
    "scripts/stream_costs.py": runpy.run_path(str(ROOT / "scripts" / "stream_costs.py")),
}
TABLE = "tap_klaviyo/streams/table.py"
SCHEMAS = "scripts/schema_overrides.json"


def blocks(recipe: str) -> Iterator[tuple[str, str]]:
    """Yield the file that the text named last before a block of code, and the code."""
    file = ""
    for named, code in re.findall(r"`((?:tap_klaviyo|scripts)/[\w./]+)`|```(?:python|json)\n(.*?)```", recipe, re.S):
        file = named or file
        if code:
            indent = len(code) - len(code.lstrip(" "))
            yield file, "\n".join(line[indent:] for line in code.rstrip().splitlines())


def evaluate_blocks(recipe: str) -> Mapping[str, Any]:
    """Return what the blocks of a recipe evaluate to, by file; definitions are there for the blocks after them."""
    names = {file: dict(module) for file, module in MODULES.items()}
    found: dict[str, Any] = {}
    for file, code in blocks(recipe):
        if file == SCHEMAS:
            found[file] = json.loads(code)
        elif re.match(r"def |[A-Z_]+ = ", code):
            exec(code, names[file])
            found.setdefault(file, names[file])
        else:
            at = SimpleNamespace(**names["tap_klaviyo/klaviyo/endpoints.py"])
            scope = {**vars(table), "at": at} if file == TABLE else names[file]
            found[file] = eval(code, scope)
    return found


@pytest.mark.parametrize("title", RECIPES)
def test_the_code_of_a_recipe_runs_and_its_parts_fit_together(title: str) -> None:
    found = evaluate_blocks(RECIPES[title])
    stream = found[TABLE]
    assert isinstance(stream, Stream)
    assert stream.group in table.GROUPS
    # Only the reports are all there already.
    assert (stream.name in table.BY_NAME) == (stream.endpoint.method == "POST")
    if stream.metric_names:
        return
    ((name, entry),) = found[SCHEMAS].items()
    assert name == stream.name
    assert found["tap_klaviyo/klaviyo/endpoints.py"][entry["endpoint"]] == stream.endpoint
    needed = {related.field for related in stream.related} | ({stream.parent.key} if stream.parent else set())
    assert needed <= set(entry.get("added", ()))
    assert stream.key == tuple(entry.get("key", ("id",)))
    last = re.sub(r"\{\w+\}", "{id}", stream.endpoint.path.removeprefix("/api/"))
    assert f'"{last}"' in RECIPES[title]


def test_the_event_streams_example_fits_the_sandbox() -> None:
    found = evaluate_blocks(RECIPES["An event stream"])
    assert found["tap_klaviyo/sandbox/metrics.py"] in metrics.KINDS
    assert found["tap_klaviyo/sandbox/metrics.py"].name in found[TABLE].metric_names


def test_the_report_is_the_one_of_the_table() -> None:
    found = evaluate_blocks(RECIPES["A report"])
    assert found[TABLE] == table.BY_NAME[found[TABLE].name]
    assert found["tap_klaviyo/sandbox/reports.py"].items() <= reports.REPORTS.items()


def test_the_endpoints_of_recipes_are_as_klaviyo_documents_them() -> None:
    contract = pytest.importorskip("tests.test_contract")
    if contract.pytestmark.args[0]:
        pytest.skip("Klaviyo's OpenAPI documents are not there.")
    own: list[Endpoint] = [evaluate_blocks(text)[TABLE].endpoint for text in RECIPES.values()]
    assert [list(contract.endpoint_disagreements(endpoint)) for endpoint in own] == [[]] * 4
