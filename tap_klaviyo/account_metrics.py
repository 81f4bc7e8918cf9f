"""The account's metrics, and which streams have their events: for people as a table, for programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tap_klaviyo.display import fitted_table
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.log import logger
from tap_klaviyo.reading.account import read_account
from tap_klaviyo.streams.events import chosen_without_metric, integration_name, is_fed_by, metric_name
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.times import Clock

_HEAD = ("metric", "integration", "id", "streams")


@dataclass(frozen=True)
class MetricRow:
    """A metric of the account: its name and integration as Klaviyo spells them, and the streams with its events."""

    name: str
    integration: str
    id: str
    streams: tuple[str, ...]


def list_metrics(client: Client, streams: Sequence[Stream]) -> list[MetricRow]:
    """Return the account's metrics by name, and warn of the streams of `metric_streams` that have none of them.

    Raises:
        ApiError: Klaviyo does not say.
    """
    account = read_account(client, streams, Clock().wall)
    if account.problem:
        raise account.problem
    for each in chosen_without_metric(streams, account.all_metrics):
        logger.warning("%s", each)
    rows = [
        MetricRow(metric_name(each), integration_name(each), each.id, _streams_of(each, streams))
        for each in account.all_metrics
    ]
    return sorted(rows, key=lambda row: (row.name.casefold(), row.integration.casefold(), row.id))


def metrics_table(rows: Sequence[MetricRow], width: int | None = None) -> str:
    """Return metrics as an aligned table, without blanks at the ends of lines.

    Args:
        rows: the metrics.
        width: the columns of the terminal that the table has to fit; None to keep each metric on one line.
    """
    lines = [(row.name, row.integration, row.id, ", ".join(row.streams)) for row in rows]
    if width is not None:
        return fitted_table(_HEAD, lines, width)
    cells = [_HEAD, *lines]
    widths = [max(len(line[place]) for line in cells) for place in range(len(_HEAD))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def metrics_json(rows: Sequence[MetricRow]) -> str:
    """Return metrics as a JSON array of objects."""
    return json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False)


def _streams_of(metric: Resource, streams: Sequence[Stream]) -> tuple[str, ...]:
    return tuple(stream.name for stream in streams if is_fed_by(stream.split, metric))
