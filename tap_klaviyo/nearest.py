"""The nearest known name to one that is unknown, for the end of a message."""

from __future__ import annotations

import difflib
from collections.abc import Mapping


def with_nearest_name(sentence: str, name: str, known: Mapping[str, str]) -> str:
    """Return a sentence about an unknown name, completed by the nearest known one, in any case, or by a full stop.

    Args:
        sentence: without its end.
        name: the unknown name.
        known: the names that it may stand for, each with the one to show.
    """
    near = difflib.get_close_matches(name.lower(), list(known), 1)
    return f'{sentence}; did you mean "{known[near[0]]}"?' if near else f"{sentence}."
