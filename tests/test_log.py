"""The log on stderr: what its last line is."""

from __future__ import annotations

import io
import logging
import re
import time

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


def test_a_secret_is_masked_in_arguments_and_tracebacks() -> None:
    shown = io.StringIO()
    log.set_up(logging.INFO, ("secret-key",), logging.StreamHandler(shown))
    try:
        raise ValueError("sent secret-key")
    except ValueError:
        log.logger.exception("Failed with %s.", "secret-key")
    assert "secret-key" not in shown.getvalue()
    assert shown.getvalue().count("pk_***") >= 2
