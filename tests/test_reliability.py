"""The page of promises: what it says is proved by tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reliability.md"
NAMED = re.compile(r"`(test_\w+)`")
SUITES = ("test_client.py", "test_fuzz.py", "test_kill.py", "chaos/test_chaos.py", "chaos/test_time.py")


def written(paths: list[Path]) -> set[str]:
    """Return the names of the tests in some files."""
    return {name for path in paths for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)}


def test_the_tests_that_the_page_names_exist() -> None:
    assert set(NAMED.findall(PAGE.read_text("utf-8"))) <= written([*TESTS.rglob("test_*.py")])


def test_the_page_names_every_test_of_its_suites() -> None:
    told = set(NAMED.findall(PAGE.read_text("utf-8")))
    assert written([TESTS / name for name in SUITES]) - told == set()


def test_each_promise_has_its_test() -> None:
    promises, _, _ = PAGE.read_text("utf-8").partition("## Not promised")
    for promise in promises.split("\n- ")[1:]:
        assert NAMED.search(promise), promise
