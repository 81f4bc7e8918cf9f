"""The tap's own logger on stderr, Singer's METRIC lines, and the masking of the key.

The logger stands apart from the root logger, which importing singer reconfigures each time.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

logger = logging.getLogger("tap_klaviyo")
logger.propagate = False


class MaskingFormatter(logging.Formatter):
    """Format records with secrets masked, whatever they came in by: message, arguments or traceback."""

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        """Take the secrets to mask."""
        super().__init__("%(levelname)s %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or lines with a traceback."""
        return mask(super().format(record), *self._secrets)


def mask(text: str, *secrets: str) -> str:
    """Return the text without the secrets, and without anything that looks like a private key."""
    for secret in secrets:
        text = text.replace(secret, "pk_***")
    return re.sub(r"\bpk_\w+", "pk_***", text)


def set_up(level: int = logging.INFO, secrets: tuple[str, ...] = ()) -> None:
    """Send the tap's log lines to stderr from now on, at the level and with the secrets masked."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(MaskingFormatter(secrets))
    logger.handlers[:] = [handler]
    logger.setLevel(level)


def metric(kind: str, name: str, value: float, **tags: Any) -> None:
    """Log one of Singer's METRIC lines.

    Args:
        kind: "counter" or "timer".
        name: "record_count", "http_request_duration".
        value: the count, or the seconds.
        tags: "endpoint", "http_status_code", "status".
    """
    from singer import metrics

    metrics.log(logger, metrics.Point(kind, name, value, tags))
