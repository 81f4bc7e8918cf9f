"""The repository itself: the layers of the code, the generated files, and the documents."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import get_args

from tap_klaviyo import config
from tap_klaviyo.streams import model
from tests.repository import repository_files

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tap_klaviyo"

# The wings of the package, from the bottom of the column to its top. Each imports only from wings to its left.
WINGS = ("klaviyo", "records", "streams", "singer", "reading", "sync", "commands", "cli")
# What must never be, beside imports that point up: a module or wing, and what it must not know.
NEVER = (
    ("klaviyo", "config"),
    ("records", "config"),
    ("singer.state", "config"),
)


def module_name(path: Path) -> str:
    """Return a module's name within the package, such as "reading.prefetch"."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imported_by(path: Path) -> set[str]:
    """Return the modules of the package that one of them imports, at its top or within a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tap_klaviyo":
            package = (node.module or "").removeprefix("tap_klaviyo").lstrip(".")
            found = {f"{package}.{alias.name}".lstrip(".") for alias in node.names}
            names |= {name if is_module(name) else package for name in found}
        elif isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("tap_klaviyo.") for alias in node.names if "tap_klaviyo." in alias.name}
    return names - {""}


def is_module(name: str) -> bool:
    """Return whether a module or package of this name exists."""
    place = PACKAGE.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").exists()


def graph() -> dict[str, set[str]]:
    """Return what each module outside the sandbox imports."""
    return {
        module_name(path): imported_by(path)
        for path in PACKAGE.rglob("*.py")
        if "sandbox" not in path.relative_to(PACKAGE).parts
    }


def test_imports_point_down() -> None:
    place = {wing: number for number, wing in enumerate(WINGS)}
    upward = {
        (module, other)
        for module, found in graph().items()
        for other in found
        if place.get(other.split(".")[0], -1) > place.get(module.split(".")[0], len(WINGS))
    }
    assert upward == set()


def test_no_module_knows_what_it_must_never_know() -> None:
    found = {
        (module, never)
        for module, others in graph().items()
        for who, never in NEVER
        if module == who or module.startswith(f"{who}.")
        if any(other == never or other.startswith(f"{never}.") for other in others)
    }
    assert found == set()


def test_only_what_reads_asks_how_a_stream_is_divided() -> None:
    """A row says what other modules need to know of its stream, so that a new kind of split changes none of them."""
    kinds = {kind.__name__ for kind in get_args(model.Split)}
    asking = {
        module_name(path)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "tap_klaviyo.streams.model"
        if kinds & {alias.name for alias in node.names}
    }
    assert {module.split(".")[0] for module in asking} <= {"streams", "reading"}


def functions_outside_classes(node: ast.AST) -> Iterator[str]:
    """Yield the names of functions, also of those within functions."""
    for each in ast.iter_child_nodes(node):
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield each.name
        if not isinstance(each, ast.ClassDef):
            yield from functions_outside_classes(each)


def test_no_function_outside_a_class_has_a_name_of_one_word() -> None:
    """A lone word such as `check` or `_read` does not say what of; `main` is an entry point."""
    found = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in PACKAGE.rglob("*.py")
        for name in functions_outside_classes(ast.parse(path.read_text("utf-8")))
        if "_" not in name.strip("_")
    }
    assert found == {"__init__.py: main", "cli.py: main", "sandbox/__main__.py: main"}


def test_no_two_modules_share_a_public_class_name() -> None:
    places: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if "sandbox" not in path.relative_to(PACKAGE).parts:
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, set()).add(module_name(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_imports_form_no_circle() -> None:
    order = TopologicalSorter({name: found - {"sandbox", "cli"} for name, found in graph().items()})
    assert len(list(order.static_order())) >= len(graph())


def test_only_its_own_tests_know_the_sandbox_from_within() -> None:
    others = [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "scripts").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    within = {
        path.name
        for path in others
        if not path.name.startswith("test_sandbox") and "tap_klaviyo.sandbox." in path.read_text("utf-8")
    }
    assert within <= {"test_project.py"}


def test_the_sandbox_knows_nothing_of_the_tap() -> None:
    found = {name for path in (PACKAGE / "sandbox").rglob("*.py") for name in imported_by(path)}
    assert {name for name in found if name.split(".")[0] != "sandbox"} == set()


def test_generated_files_are_current() -> None:
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
    config.check_settings({**json.loads(text), "api_key": "pk_of_a_user"})
    assert text.strip() in (ROOT / "README.md").read_text("utf-8")


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text("utf-8")):
            assert target.startswith("https://") or (document.parent / target).exists(), (document.name, target)


def test_no_file_installs_the_other_project_of_the_same_name() -> None:
    """The public index has one; installs of ours name a path or a URL."""
    installs = re.compile(r"(?:install\b[^\n]*?|pip_url:|uvx|pipx run)[ =\"'`]+tap-klaviyo(?![\w./-])")
    found = [
        f"{name}: {match.group()}"
        for name in repository_files()
        if name.endswith((".md", ".yml", ".yaml", ".sh", ".toml", ".txt", "Dockerfile")) or name.startswith("scripts/")
        for match in installs.finditer((ROOT / name).read_text("utf-8"))
        if not re.search("Never write|Do not run", (ROOT / name).read_text("utf-8")[match.start() - 20 : match.end()])
    ]
    assert found == []


def test_each_fault_that_tests_have_to_notice_is_a_change_of_the_present_code() -> None:
    command = [sys.executable, "scripts/mutants.py", "--check"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout
