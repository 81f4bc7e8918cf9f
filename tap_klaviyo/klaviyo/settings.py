"""The settings that the client needs; it knows no others."""

from __future__ import annotations

from typing import Protocol

from tap_klaviyo.klaviyo.auth import Credentials


class Settings(Credentials, Protocol):
    """What the client needs to know of the settings: what authorizes a request, and how many there may be."""

    @property
    def max_concurrency(self) -> int:
        """The maximum number of parallel requests."""
