"""The documents and the container: what they say of streams, and that what they are made from suffices."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo.klaviyo.endpoints import METRICS
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.other_taps import other_names
from tap_klaviyo.streams.table import STREAMS
from tests.test_project import WINGS

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
DOCKERFILE = [
    line.split(maxsplit=1) for line in re.sub(r"\\\n", "", (ROOT / "Dockerfile").read_text()).splitlines() if line
]
RULES = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]


def fields(schema: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, definition in schema["properties"].items():
        yield before + name, definition["description"]
        inner = definition.get("items", definition)
        if "properties" in inner:
            yield from fields(inner, f"{before}{name}{'[]' if 'items' in definition else ''}.")


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_the_page_of_streams_has_each_stream_and_field(stream: Any) -> None:
    page = (ROOT / "docs" / "streams.md").read_text("utf-8")
    is_event = stream.schema_name == "event"
    title = "Event streams" if is_event else stream.name
    section = re.split(rf"^## {title}$", page, flags=re.MULTILINE)[1].split("\n## ")[0]
    assert f"`{stream.name}` |" in section or not is_event
    key = ", ".join(stream.key)
    for fact in (*stream.metric_names, *stream.endpoint.scopes, f"Key `{key}`", stream.replication_method):
        assert fact in section
    limit = stream.endpoint.limit
    assert f"{limit.burst} request{'s' * (limit.burst > 1)} per second and {limit.steady:,} per minute" in section
    rows = {
        row[0].strip("*`"): row for row in (line[2:-2].split(" | ") for line in section.splitlines() if "| " in line)
    }
    for path, description in fields(stream.schema):
        assert rows[path][2].endswith(description.replace("|", r"\|"))
        assert rows[path][2].startswith("*Off.*") == (path in stream.off)
        assert rows[path][0].startswith("**") == (path in stream.automatic)


def test_the_page_of_streams_describes_the_metrics_endpoint() -> None:
    assert f"`{METRICS.path}` (scope `{METRICS.scopes[0]}`" in (ROOT / "docs" / "streams.md").read_text("utf-8")


def test_the_names_of_other_taps_are_documented() -> None:
    page = (ROOT / "docs" / "upgrading.md").read_text("utf-8")
    table = page.split("<!-- names -->")[1].split("<!-- /names -->")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    for stream in STREAMS:
        assert re.findall(r"`(\w+)`", rows.get(stream.name, "")) == other_names(stream)


def test_headings_that_links_point_at_are_there() -> None:
    for document in DOCUMENTS:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([\w-]+)\)", document.read_text("utf-8")):
            if not target.startswith("https://"):
                page = (document.parent / target if target else document).read_text("utf-8")
                headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, (document.name, target, anchor)


def test_the_architecture_names_each_wing() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert [wing for wing in WINGS if f"`{wing}" not in page] == []


def test_files_that_the_documents_name_are_there() -> None:
    for document in DOCUMENTS:
        for name in re.findall(
            r"`((?:tap_klaviyo|tests|scripts|docs|examples)/[\w./-]*)[^`]*`", document.read_text("utf-8")
        ):
            assert (ROOT / name).exists(), (document.name, name)


def test_the_tests_that_contributing_names_are_there() -> None:
    for module in re.findall(r"`(test_\w+)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8")):
        assert (ROOT / "tests" / f"{module}.py").exists(), module


def test_the_modules_that_the_architecture_names_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    names = re.findall(r"\b((?:klaviyo|reading|records|singer|streams|sandbox)/[a-z_]+)\b(?!/)", page)
    assert len(names) > 20
    for name in names:
        assert (ROOT / "tap_klaviyo" / f"{name}.py").exists() or (ROOT / "tap_klaviyo" / name).is_dir(), name


def let_through() -> list[Path]:
    """Return the files that .dockerignore lets into the build."""
    first = [each for each in ROOT.iterdir() if _let_through(Path(each.name))]
    files = [file for each in first for file in (each, *each.rglob("*")) if file.is_file()]
    return [file.relative_to(ROOT) for file in files if _let_through(file.relative_to(ROOT))]


def _let_through(path: Path) -> bool:
    through = True
    for rule in RULES:
        pattern = rule.removeprefix("!")
        if any(fnmatch.fnmatch(f"/{each}", f"/{pattern}") for each in (path, *path.parents[:-1])):
            through = rule.startswith("!")
    return through


def copied(directory: Path) -> None:
    """Copy what the Dockerfile copies, of what .dockerignore lets through."""
    files = let_through()
    for _, sources in (step for step in DOCKERFILE if step[0] == "COPY"):
        for source in map(Path, shlex.split(sources)[:-1]):
            found = [each for each in files if each == source or source in each.parents]
            assert found, f"{source} is not let through"
            for each in found:
                (directory / each).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / each, directory / each)


def test_the_package_builds_from_what_the_container_copies(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    source, library = tmp_path / "source", tmp_path / "library"
    copied(source)
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": ""}
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build", "--build-lib", library],
        cwd=source, env=environment, capture_output=True, check=True,
    )  # fmt: skip
    built = subprocess.run(
        [sys.executable, "-m", "tap_klaviyo", "--discover"],
        cwd=tmp_path, env={**environment, "PYTHONPATH": str(library)}, capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(built.stdout) == discover_catalog()
    assert (library / "tap_klaviyo" / "py.typed").exists()


def test_nothing_secret_gets_into_the_container() -> None:
    names = {str(path) for path in let_through()}
    assert {"setup.py", "README.md", "tap_klaviyo/cli.py", "tap_klaviyo/streams/schemas/event.json"} <= names
    for name in (
        ".env",
        "config.json",
        "state.json",
        ".git/config",
        "tests/running.py",
        "tap_klaviyo/__pycache__/a.pyc",
    ):
        assert not _let_through(Path(name)), name


def test_the_container_runs_the_tap_as_a_user_without_rights() -> None:
    steps = dict(DOCKERFILE)
    assert json.loads(steps["ENTRYPOINT"]) == ["tap-klaviyo"]
    assert int(steps["USER"]) >= 1000
    assert re.fullmatch(r"python:3\.1[0-3]-slim", steps["FROM"])
    for name, arguments in DOCKERFILE:
        if name == "RUN":
            subprocess.run(["sh", "-n", "-c", arguments], check=True)
