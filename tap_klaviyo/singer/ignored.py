"""What a user wrote into a catalog or a state without effect, named in a warning for each reason."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tap_klaviyo.log import logger

_MOST_NAMES = 12


class Ignored:
    """What a user wrote without effect, by the reason; each reason is one line, however many names it has."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._names: dict[tuple[int, str], dict[str, None]] = {}

    def add(self, reason: str, *names: str, level: int = logging.WARNING) -> None:
        """Add names to a reason, each once."""
        self._names.setdefault((level, reason), {}).update(dict.fromkeys(names))

    def log(self) -> None:
        """Log a line for each reason, with its first names."""
        for (level, reason), names in self._names.items():
            if names:
                logger.log(level, "%s: %s.", reason, _list_names(list(names)))


def _list_names(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
