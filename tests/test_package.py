"""The package's metadata, its versions, and the files of its distributions."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tap_klaviyo import __version__
from tests.conftest import POSIX_ONLY
from tests.repository import ROOT, repository_files

CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")


def metadata(name: str) -> str:
    command = [sys.executable, "setup.py", "--quiet", f"--{name}"]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env={"PYTHONWARNINGS": "ignore"}
    )
    return ended.stdout


def test_the_newest_release_of_the_changelog_is_this_version() -> None:
    headings = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert headings[0] in ("Unreleased", __version__)
    assert next(heading for heading in headings if heading != "Unreleased") == __version__


def test_the_long_description_has_no_relative_links() -> None:
    text = metadata("long-description")
    assert "# tap-klaviyo" in text
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert all(link.startswith("https://") for link in links)


def test_the_licence_is_an_spdx_expression_with_its_text() -> None:
    setup = (ROOT / "setup.py").read_text("utf-8")
    assert 'license_expression="MIT"' in setup
    assert "License ::" not in setup
    assert (ROOT / "LICENSE").read_text("utf-8").startswith("MIT License")


def test_the_source_distribution_holds_every_file() -> None:
    rules = (ROOT / "MANIFEST.in").read_text("utf-8").splitlines()
    included = {name for rule in rules if rule.startswith("include ") for name in rule.split()[1:]}
    grafted = {rule.split()[1] for rule in rules if rule.startswith("graft ")}
    # setuptools includes these.
    always = {"setup.py", "pyproject.toml", "MANIFEST.in", "setup.cfg", "PKG-INFO"}
    missing = [
        name
        for name in repository_files()
        if Path(name).parts[0] not in grafted | {"tap_klaviyo"}
        and name not in included | always
        and not ("/" not in name and name.endswith(".md"))
    ]
    assert missing == []


def test_tests_that_need_posix_are_left_out_on_windows() -> None:
    modules = re.compile(r"^(?:import|from) (?:fcntl|pty|resource|termios)\b", re.MULTILINE)
    needing = {path.name for path in (ROOT / "tests").glob("test_*.py") if modules.search(path.read_text("utf-8"))}
    assert needing <= set(POSIX_ONLY)


def test_no_module_of_the_tap_needs_posix() -> None:
    modules = re.compile(r"^(?:import|from) (?:fcntl|pwd|resource|termios|grp)\b", re.MULTILINE)
    assert [path.name for path in (ROOT / "tap_klaviyo").rglob("*.py") if modules.search(path.read_text("utf-8"))] == []


def test_the_workflow_runs_every_supported_python() -> None:
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8")
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "setup.py").read_text("utf-8"))
    assert re.findall(r'"(3\.\d+)"', workflow.split("matrix:")[1].split("\n    runs-on")[0]) == supported
    assert all(version in (ROOT / "scripts" / "test-pythons").read_text() for version in supported)
