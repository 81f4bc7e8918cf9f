"""The settings that the client needs; it knows no others."""

from __future__ import annotations

from typing import Protocol

from tap_klaviyo.klaviyo.auth import Credentials


class Settings(Credentials, Protocol):
    """What the client needs to know of the settings."""

    @property
    def base_url(self) -> str:
        """Klaviyo's origin."""

    @property
    def api_revision(self) -> str:
        """The revision of the API that is asked for."""

    @property
    def user_agent(self) -> str:
        """The User-Agent header."""

    @property
    def request_timeout(self) -> float:
        """Seconds that one try may take."""

    @property
    def max_concurrency(self) -> int:
        """The maximum number of parallel requests."""
