"""The schema files follow Klaviyo's OpenAPI document, and every target can load them."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo.klaviyo import endpoints
from tap_klaviyo.streams.model import load_schema
from tests.test_contract import pytestmark as needs_documents

ROOT = Path(__file__).parent.parent
SCHEMAS = sorted(path.stem for path in (ROOT / "tap_klaviyo" / "streams" / "schemas").glob("*.json"))
OVERRIDES: Mapping[str, Any] = json.loads((ROOT / "scripts" / "schema_overrides.json").read_text("utf-8"))
MADE: Mapping[str, Any] = OVERRIDES["streams"]
MAKER = runpy.run_path(str(ROOT / "scripts" / "make_schemas.py"))


def columns(schema: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each field at any depth, with its path."""
    for name, column in schema.get("properties", {}).items():
        yield before + name, column
        yield from columns(column.get("items", column), f"{before}{name}.")


def unloadable_fields(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield each field that some target cannot load, or that a reader cannot understand."""
    for path, column in columns(schema):
        kinds = [kind for kind in column["type"] if kind != "null"]
        if len(kinds) != 1 or {"anyOf", "oneOf", "allOf", "$ref"} & set(column):
            yield f"{path}: several types"
        if ("array" in kinds) != bool(column.get("items", {}).get("type")):
            yield f"{path}: items"
        if not column.get("description", "").endswith("."):
            yield f"{path}: description"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", path.rpartition(".")[2]):
            yield f"{path}: name"


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_target_can_load_a_schema(name: str) -> None:
    assert list(unloadable_fields(load_schema(name))) == []


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        ({"type": ["null", "string", "number"], "description": "Text."}, "a: several types"),
        ({"type": ["null", "string"], "anyOf": [], "description": "Text."}, "a: several types"),
        ({"type": ["null", "array"], "description": "Text."}, "a: items"),
        ({"type": ["null", "array"], "items": {}, "description": "Text."}, "a: items"),
        ({"type": ["null", "string"]}, "a: description"),
    ],
)
def test_a_field_that_a_target_cannot_load_is_found(column: Mapping[str, Any], fault: str) -> None:
    assert list(unloadable_fields({"properties": {"a": column}})) == [fault]


@pytest.mark.parametrize("name", MADE)
def test_only_the_key_of_a_schema_is_never_null(name: str) -> None:
    properties = load_schema(name)["properties"]
    key = MADE[name].get("key", ["id"])
    assert [column for column, definition in properties.items() if "null" not in definition["type"]] == key


@needs_documents
def test_the_schemas_are_current() -> None:
    command = [sys.executable, "scripts/make_schemas.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


# Streams of the first version, whose columns are fixed.
FIXED = {
    "event": endpoints.EVENTS,
    "list": endpoints.LISTS,
    "campaign": endpoints.CAMPAIGNS,
    "global_exclusion": endpoints.PROFILES,
}


def type_of(column: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return a column's type and format, whether or not it may be null."""
    return column["type"][-1], column.get("format")


@needs_documents
@pytest.mark.parametrize("name", FIXED)
def test_the_fixed_schemas_have_the_attributes_and_types_of_the_document(name: str) -> None:
    document = MAKER["read_document"](None)
    fixed = load_schema(name)["properties"]
    made = {each: MAKER["column_of"](document, of) for each, of in document.attributes(FIXED[name]).items()}
    assert {each: type_of(fixed[each]) for each in made} == {each: type_of(column) for each, column in made.items()}


def test_a_description_of_klaviyos_becomes_one_plain_sentence() -> None:
    text = "Date and time of\n  the `thing`, in ISO 8601 format (YYYY-MM-DDTHH:MM:SS.mmmmmm)"
    assert MAKER["plain_description"](text) == "Date and time of the thing."
    assert MAKER["plain_description"]("See [the list](https://example.com). More of it.") == "See the list."
    assert MAKER["plain_description"]("") == ""
