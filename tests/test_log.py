"""The log on stderr: what its last line is."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from tap_klaviyo import log


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_nothing_follows_the_last_line() -> None:
    shown = io.StringIO()
    log.set_up(logging.INFO, (), logging.StreamHandler(shown))
    log.logger.info("Reads.")
    log.log_last(logging.WARNING, "Ended by %s.", "SIGTERM")
    log.logger.warning("A request in another thread failed.")
    log.log_metric("timer", "http_request_duration", 0.1)
    lines = shown.getvalue().splitlines()
    assert [line.split("Z ")[1] for line in lines] == ["INFO Reads.", "WARNING Ended by SIGTERM."]


def test_lines_carry_the_time_in_utc_unless_they_go_to_a_terminal() -> None:
    for stream, expected in (
        (io.StringIO(), r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO Reads\.\n"),
        (Terminal(), r"INFO Reads\.\n"),
    ):
        log.set_up(logging.INFO, (), logging.StreamHandler(stream))
        log.logger.info("Reads.")
        assert re.fullmatch(expected, stream.getvalue())


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system cannot change its time zone")
def test_the_time_is_in_utc_whatever_the_hosts_zone_is(monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.LogRecord("tap_klaviyo", logging.INFO, "", 0, "Reads.", None, None)
    record.created = 1_795_392_000.0
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert log.MaskingFormatter(timed=True).format(record) == "2026-11-23T00:00:00Z INFO Reads."
    finally:
        monkeypatch.undo()
        time.tzset()


def test_secrets_and_what_looks_like_one_are_masked() -> None:
    text = "key secret-key, another pk_abc123, proxy http://user:pass@proxy:8080"
    assert log.mask_secrets(text, "secret-key") == "key pk_***, another pk_***, proxy http://user:***@proxy:8080"


@pytest.mark.parametrize("password", ["pass", "pa@ss", "pa/ss", "p:a@s/s"])
def test_a_password_is_masked_whole(password: str) -> None:
    assert log.mask_secrets(f"the proxy http://user:{password}@proxy:1/ and a@b") == (
        "the proxy http://user:***@proxy:1/ and a@b"
    )


def test_a_secret_is_masked_in_arguments_and_tracebacks() -> None:
    shown = io.StringIO()
    log.set_up(logging.INFO, ("secret-key",), logging.StreamHandler(shown))
    try:
        raise ValueError("sent secret-key")
    except ValueError:
        log.logger.exception("Failed with %s.", "secret-key")
    assert "secret-key" not in shown.getvalue()
    assert shown.getvalue().count("pk_***") >= 2


@pytest.fixture
def meltano(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the environment be Meltano's, which asks for lines of JSON."""
    wanted = tmp_path / "logging.yml"
    wanted.write_text("formatters:\n  structured:\n    (): singer_sdk.logging.StructuredFormatter\n")
    monkeypatch.setenv("SINGER_SDK_LOG_CONFIG", str(wanted))


@pytest.mark.usefixtures("meltano", "capfd")
def test_meltano_gets_lines_of_json_with_the_metrics_apart() -> None:
    with redirect_stderr(io.StringIO()) as shown:
        log.set_up(logging.INFO, ("secret-key",))
        log.logger.warning("Waits for %s.", "secret-key")
        log.log_metric("counter", "record_count", 5, endpoint="open")
    first, second = map(json.loads, shown.getvalue().splitlines())
    assert (first["level"], first["message"], first["app_name"]) == ("warning", "Waits for pk_***.", "tap-klaviyo")
    assert "metric_info" not in first
    assert second["metric_info"] == {
        "type": "counter",
        "metric": "record_count",
        "value": 5,
        "tags": {"endpoint": "open"},
    }


@pytest.mark.usefixtures("meltano")
def test_where_meltano_reads_stderr_with_stdout_it_gets_plain_lines() -> None:
    """`meltano config test` shows the last line as it is."""
    program = "from tap_klaviyo import log; log.set_up(); log.logger.info('Reads.')"
    ended = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    )
    assert ended.stdout.endswith(b"Z INFO Reads.\n")


@pytest.mark.parametrize("text", [b"version: 1", b"\xff", None])
def test_any_other_configuration_of_a_log_leaves_the_lines_as_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: bytes | None
) -> None:
    if text is not None:
        (tmp_path / "logging.yml").write_bytes(text)
    monkeypatch.setenv("SINGER_SDK_LOG_CONFIG", str(tmp_path / "logging.yml"))
    shown = io.StringIO()
    log.set_up(logging.INFO, (), logging.StreamHandler(shown))
    log.logger.info("Reads.")
    assert shown.getvalue().endswith("Z INFO Reads.\n")


class Shown(logging.Handler):
    """A handler for a terminal, which keeps its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.mark.parametrize(
    ("level", "on_a_terminal", "metrics"),
    [
        (logging.INFO, True, []),
        (logging.INFO, False, ["record_count"]),
        (logging.DEBUG, True, ["record_count", "http_request_duration"]),
        (logging.DEBUG, False, ["record_count", "http_request_duration"]),
        (logging.WARNING, False, []),
    ],
)
def test_metric_lines_are_for_programs_and_those_of_requests_for_debugging(
    level: int, on_a_terminal: bool, metrics: list[str]
) -> None:
    shown = Shown()
    with redirect_stderr(io.StringIO()) as stderr:
        log.set_up(level, (), shown if on_a_terminal else None)
        log.log_metric("counter", "record_count", 5)
        log.log_metric("timer", "http_request_duration", 0.1)
    lines = shown.lines or stderr.getvalue().splitlines()
    assert [json.loads(line.partition("METRIC: ")[2])["metric"] for line in lines] == metrics


def test_lines_of_single_streams_are_hidden_for_a_while() -> None:
    shown = Shown()
    log.set_up(logging.INFO, (), shown)
    with log.without_progress_lines():
        log.log_progress("open: 5 records.")
        log.logger.info("Waits.")
    log.log_progress("click: 5 records.")
    assert shown.lines == ["INFO Waits.", "INFO click: 5 records."]


def test_a_programs_own_log_does_not_show_the_taps_lines_again() -> None:
    root = Shown()
    log.set_up(logging.INFO, (), Shown())
    logging.getLogger().addHandler(root)
    try:
        log.logger.info("Reads.")
    finally:
        logging.getLogger().removeHandler(root)
    assert root.lines == []
