"""What all tests share: the seeds of the chaos suite, which tests are slow, and a log that no test leaves changed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest

# Tests that need bash, signals, pseudo-terminals or limits of resources, which Windows does not have.
POSIX_ONLY = [
    *("test_batch.py", "test_commands.py", "test_cron.py", "test_kill.py", "test_process.py", "test_progress.py"),
    "test_readme.py",
]
collect_ignore = POSIX_ONLY if sys.platform == "win32" else []
DEFAULT_SEEDS = 300
SLOW = (
    "tests/chaos/",
    *(f"tests/test_{name}.py" for name in ("costs", "cron", "fuzz", "kill", "speed")),
)
# Some tests take longer for each seed, so they use only every n-th.
SHARES = {"chaos_seed": 1, "history_seed": 5, "timeline_seed": 1, "recount_seed": 1}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption(
        "--chaos", type=int, default=DEFAULT_SEEDS, metavar="N", help="number of seeds to try (%(default)s)"
    )
    group.addoption("--chaos-seed", type=int, metavar="SEED", help="try this seed only")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark whole suites that take long, so that `-m "not slow"` leaves the fast one, of less than two minutes."""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    only = metafunc.config.getoption("--chaos-seed")
    for name in SHARES.keys() & set(metafunc.fixturenames):
        seeds = range(metafunc.config.getoption("--chaos") // SHARES[name]) if only is None else [only]
        metafunc.parametrize(name, seeds)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the command that repeats each seed that failed."""
    for report in terminalreporter.getreports("failed"):
        name, _, seed = report.nodeid.rpartition("::")[2].rstrip("]").partition("[")
        if "/chaos/" in report.nodeid and seed.isdecimal():
            terminalreporter.write_line(f"once more: scripts/test -k {name} --chaos-seed {seed}")


@pytest.fixture(autouse=True)
def _log_stays_as_it_is() -> Iterator[None]:
    """Undo what a test sets up for the whole process: which test follows it in the same process is chance."""
    loggers = [logging.getLogger(name) for name in ("tap_klaviyo", "tap_klaviyo.metrics")]
    before = [(each.handlers[:], each.level, each.disabled) for each in loggers]
    yield
    for each, (handlers, level, disabled) in zip(loggers, before, strict=True):
        each.handlers[:] = handlers
        each.setLevel(level)
        each.disabled = disabled
