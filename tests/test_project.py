"""The repository itself: the layers of the code, and what is generated or said in the documents."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

from tap_klaviyo import config

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tap_klaviyo"

# Each module imports only modules of the rows below its own.
LAYERS = (
    ("__main__",),
    ("__init__",),
    ("cli",),
    ("sync", "access", "about"),
    ("timeline", "full_table", "progress", "choice"),
    ("pages",),
    ("pipeline", "client"),
    ("ratelimit", "query", "messages", "state"),
    ("records",),
    ("catalog", "shapes"),
    ("config", "jsonapi"),
    ("streams", "times", "log", "tuning"),
    ("errors",),
)


def imported_by(path: Path) -> set[str]:
    """Return the modules of the package that one of them imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "tap_klaviyo":
            names |= {alias.name for alias in node.names if (PACKAGE / f"{alias.name}.py").exists()}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tap_klaviyo."):
            names.add((node.module or "").split(".")[1])
    return names - {"sandbox"}


def test_imports_point_down() -> None:
    level = {name: row for row, names in enumerate(LAYERS) for name in names}
    modules = {path.stem: imported_by(path) for path in PACKAGE.glob("*.py")}
    assert modules.keys() == level.keys()
    upward = {name: [each for each in found if level[each] <= level[name]] for name, found in modules.items()}
    assert {name: found for name, found in upward.items() if found} == {}


def test_the_sandbox_knows_nothing_of_the_tap() -> None:
    found = {name for path in (PACKAGE / "sandbox").glob("*.py") for name in imported_by(path)}
    assert found == set()


def test_what_is_generated_is_current() -> None:
    check = subprocess.run(
        [sys.executable, ROOT / "scripts" / "update_docs.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert (check.returncode, check.stdout.strip()) == (0, "")


def test_every_setting_is_documented() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for setting in config.SETTINGS:
        assert all(f"`{name}`" in readme for name in (setting.name, *setting.aliases)), setting.name
        assert setting.description.endswith("."), setting.name


def test_the_sample_config_holds_the_required_settings_and_is_what_the_readme_shows() -> None:
    text = (ROOT / "sample_config.json").read_text("utf-8")
    assert set(json.loads(text)) == {setting.name for setting in config.SETTINGS if setting.required}
    config.check(json.loads(text))
    assert text.strip() in (ROOT / "README.md").read_text("utf-8")


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text("utf-8")):
            assert target.startswith("https://") or (document.parent / target).exists(), (document.name, target)
