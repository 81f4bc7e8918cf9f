"""The tap for programs: discovery, a sync into any binary stream, and a client for single requests.

These names stay as they are within a major version; all others may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

from tap_klaviyo.config import check_settings
from tap_klaviyo.errors import CatalogError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.given_state import read_state
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.streams.metric_streams import streams_with
from tap_klaviyo.sync import Sync

__all__ = ["Client", "discover_catalog", "open_client", "sync_account"]


def open_client(settings: Mapping[str, Any]) -> Client:
    """Return a client for single pages of Klaviyo's API; no request is sent yet.

    Args:
        settings: as in a config file.

    Raises:
        ConfigError: settings are missing or wrong.
    """
    return Client(check_settings(settings))


def sync_account(
    settings: Mapping[str, Any],
    output: BinaryIO,
    *,
    select: str | None = None,
    catalog: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Read the selected streams, and write them as Singer messages.

    Args:
        settings: as in a config file.
        output: an unbuffered stream; each write is a whole number of lines.
        select: streams and fields as for `--select`; by default those of the catalog.
        catalog: a catalog with a selection; by default the discovered one.
        state: the value of the last STATE message of the previous run.

    Raises:
        ConfigError, CatalogError, StateError: the input is wrong; nothing was written.
        SyncError: some streams are incomplete; the log names them, and the last STATE is safe to resume from.
        AuthError, OfflineError, OutputError: the run ended early; the last STATE is safe to resume from.
    """
    checked = check_settings(settings)
    streams = streams_with(checked.metric_streams)
    if select is not None and catalog is not None:
        raise CatalogError("Pass select or catalog, not both.")
    given = discover_catalog(streams) if catalog is None else catalog
    if select is not None:
        given = select_by_names(given, select, streams)
    selections = read_catalog(given, streams)
    Sync(Client(checked), checked, Writer(output)).run(selections, read_state(state, streams))
