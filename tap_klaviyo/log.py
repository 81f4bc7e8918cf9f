"""The tap's own logger on stderr, Singer's METRIC lines, and the masking of the key.

The logger is separate from the root logger, because every import of singer reconfigures that one.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import singer.metrics

logger = logging.getLogger("tap_klaviyo")
logger.propagate = False
_metrics = logging.getLogger("tap_klaviyo.metrics")
# The password in a URL, such as a proxy's; it may hold an @ or a slash itself.
_CREDENTIALS = re.compile(r"(\b[\w+.-]+://[^/\s:@]*:)[^\s?#]+@")


class OneVoice(logging.Handler):
    """Hands lines on to another handler until the last one has been said, whatever other threads still have to say."""

    def __init__(self, handler: logging.Handler) -> None:
        """Take what shows the lines."""
        super().__init__()
        self._handler = handler
        self._ended = False

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a line on; called with the handler's lock held, so that none can slip in behind the last."""
        if not self._ended:
            self._handler.handle(record)
            self._ended = getattr(record, "is_last", False)


class MaskingFormatter(logging.Formatter):
    """Format records with secrets masked, whatever they came in by: message, arguments or traceback."""

    def __init__(self, secrets: tuple[str, ...] = (), structured: bool = False, timed: bool = False) -> None:
        """Take the secrets to mask, whether lines are to be JSON, and whether other lines begin with the time."""
        form = "%(levelname)s %(message)s"
        super().__init__(f"%(asctime)s {form}" if timed and not structured else form, "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime
        self._secrets = secrets
        self._structured = structured

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or lines with a traceback."""
        text = mask_secrets(super().format(record), *self._secrets)
        return _as_json(record, text.removeprefix(f"{record.levelname} ")) if self._structured else text


def _as_json(record: logging.LogRecord, message: str) -> str:
    """Return a line that Meltano takes apart again, so that levels and metrics stay what they are."""
    line = {
        "level": record.levelname.lower(),
        "pid": record.process,
        "logger_name": record.name,
        "ts": record.created,
        "thread_name": record.threadName,
        "app_name": "tap-klaviyo",
        "message": message,
    }
    if record.name == _metrics.name:
        line["metric_info"] = json.loads(message.removeprefix("METRIC: "))
    return json.dumps(line)


def mask_secrets(text: str, *secrets: str) -> str:
    """Return the text without the secrets, and without anything that looks like a private key."""
    for secret in secrets:
        text = text.replace(secret, "pk_***")
    return _CREDENTIALS.sub(r"\1***@", re.sub(r"\bpk_\w+", "pk_***", text))


def set_up(level: int = logging.INFO, secrets: tuple[str, ...] = (), handler: logging.Handler | None = None) -> None:
    """Send the tap's log lines to stderr from now on; off a terminal, they begin with the time.

    Args:
        level: of `logging`; lines below it are left out.
        secrets: values to mask.
        handler: shows the lines on a terminal, without METRIC lines; by default plain stderr.
    """
    _metrics.disabled = handler is not None and level > logging.DEBUG
    handler = handler or logging.StreamHandler(sys.stderr)
    is_timed = isinstance(handler, logging.StreamHandler) and not handler.stream.isatty()
    handler.setFormatter(MaskingFormatter(secrets, _is_structured(), is_timed))
    logger.handlers[:] = [OneVoice(handler)]
    logger.setLevel(level)


def log_progress(text: str, *arguments: object) -> None:
    """Log a line about the progress of one stream; a live table shows the same, and hides it."""
    logger.info(text, *arguments, extra={"is_progress": True})


@contextmanager
def without_progress_lines() -> Iterator[None]:
    """Hide the lines of `log_progress` for a while."""

    def is_other(record: logging.LogRecord) -> bool:
        return not getattr(record, "is_progress", False)

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def log_last(level: int, text: str, *arguments: object) -> None:
    """Log the line that a run ends with; nothing is logged after it."""
    logger.log(level, text, *arguments, extra={"is_last": True})


def _is_structured() -> bool:
    """Return whether Meltano asks for JSON lines, in the way that it asks taps built with its SDK.

    It also asks where `meltano config test` reads stderr with stdout, and shows the last line as it is.
    """
    try:
        wanted = Path(os.environ["SINGER_SDK_LOG_CONFIG"]).read_text("utf-8")
        return "singer_sdk.logging.StructuredFormatter" in wanted and not os.path.sameopenfile(1, 2)
    except (KeyError, OSError, UnicodeDecodeError):
        return False


def log_metric(kind: str, name: str, value: float, **tags: Any) -> None:
    """Log one of Singer's METRIC lines; those of timers, one for each request, only with debug lines.

    Args:
        kind: "counter" or "timer".
        name: "record_count", "http_request_duration".
        value: the count, or the seconds.
        tags: "endpoint", "http_status_code", "status".
    """
    level = logging.DEBUG if kind == "timer" else logging.INFO
    if _metrics.isEnabledFor(level) and not _metrics.disabled:
        singer.metrics.log(_metrics, singer.metrics.Point(kind, name, value, tags))
