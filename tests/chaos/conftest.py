"""What all whole runs have in common."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def few_words(caplog: pytest.LogCaptureFixture) -> None:
    """Let the tap log only what ends a stream; hundreds of retries for each seed say nothing."""
    caplog.set_level("ERROR", "tap_klaviyo")
