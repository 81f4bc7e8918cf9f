"""The tap as a process that writes a STATE behind every page: `python -m tests.often CONFIG CATALOG STATE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tap_klaviyo import config
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.singer.given_state import read_state
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.sync import Sync


def main(*files: str) -> None:
    """Run a sync with three files as its config, catalog and state."""
    settings, catalog, state = (json.loads(Path(file).read_text()) for file in files)
    checked: Any = config.check_settings(settings)
    with open(1, "wb", buffering=0, closefd=False) as stdout:
        sync = Sync(Client(checked), checked, Writer(stdout), state_interval=0.0)
        sync.run(read_catalog(catalog), read_state(state))


if __name__ == "__main__":
    main(*sys.argv[1:])
