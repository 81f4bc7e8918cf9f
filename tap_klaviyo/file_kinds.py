"""Tells the files that a user passes apart, so that one in the place of another is named; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["config", "catalog", "state"]
# A state must hold none of these: the key would go into STATE messages.
_OF_A_CONFIG = frozenset({"api_key", "auth_token", "client_id", "client_secret", "refresh_token", "start_date"})


def name_other_kind(value: Mapping[str, Any], wanted: Kind) -> str | None:
    """Return the end of a sentence about a file that is not of the wanted kind, None if it may be."""
    kinds = {
        "catalog": isinstance(value.get("streams"), list),
        "config": not _OF_A_CONFIG.isdisjoint(value),
        "state": "bookmarks" in value,
    }
    found = next((kind for kind, is_kind in kinds.items() if is_kind and kind != wanted), None)
    return found and f"is a {found}. Pass it with --{found}."
