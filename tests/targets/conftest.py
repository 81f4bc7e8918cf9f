"""What the end-to-end tests share. They run by scripts/test-targets only, which makes the environments."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.targets.postgres import Postgres, find_programs, served

collect_ignore_glob = [] if "TAP_KLAVIYO_TARGETS" in os.environ else ["test_*"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with served(programs) as server:
        yield server
