"""The log on stderr: what its last line is."""

from __future__ import annotations

import io
import logging

from tap_klaviyo import log


def test_nothing_follows_the_last_line() -> None:
    shown = io.StringIO()
    log.set_up(logging.INFO, (), logging.StreamHandler(shown))
    log.logger.info("Reads.")
    log.log_last(logging.WARNING, "Ended by %s.", "SIGTERM")
    log.logger.warning("A request in another thread failed.")
    log.log_metric("timer", "http_request_duration", 0.1)
    assert shown.getvalue() == "INFO Reads.\nWARNING Ended by SIGTERM.\n"
