"""Event streams of the user's choice: the setting `metric_streams` to rows of the table; pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tap_klaviyo.streams.model import METRIC_STREAMS, Stream
from tap_klaviyo.streams.table import BY_NAME, GROUPS, STREAMS, event_stream

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_KEYS = frozenset({"metric", "integration", "stream"})
_SHAPE = 'an array of metric names, or of objects with "metric" and perhaps "integration" and "stream"'


@dataclass(frozen=True)
class MetricStream:
    """A stream that the user wants: the metric's name, the integration's (None for all), and the stream's own."""

    metric: str
    integration: str | None
    stream: str


def read_metric_streams(value: Any) -> tuple[MetricStream, ...]:
    """Return the setting `metric_streams`, which may be an array or the JSON of one.

    Raises:
        ValueError: it is something else, or two streams would have the same name; the text says what is expected.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(f"{_SHAPE}, as JSON") from None
    if not isinstance(value, list):
        raise ValueError(_SHAPE)
    chosen = tuple(map(_read_one, value))
    taken = {*BY_NAME, *GROUPS, METRIC_STREAMS, "all"}
    doubled = [name for name, count in Counter(each.stream for each in chosen).items() if count > 1 or name in taken]
    if doubled:
        raise ValueError(f'streams with different names ("{doubled[0]}" is taken; set another with "stream")')
    return chosen


def streams_with(chosen: Sequence[MetricStream]) -> tuple[Stream, ...]:
    """Return the table's streams, and behind them those of the user's choice."""
    return (*STREAMS, *(_chosen_stream(each) for each in chosen))


def _chosen_stream(chosen: MetricStream) -> Stream:
    return event_stream(chosen.stream, chosen.metric, group=METRIC_STREAMS, integration=chosen.integration)


def _read_one(value: Any) -> MetricStream:
    given: Mapping[str, Any] = {"metric": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or given.keys() - _KEYS or not all(isinstance(each, str) for each in given.values()):
        raise ValueError(_SHAPE)
    metric = given.get("metric", "").strip()
    if not metric:
        raise ValueError(_SHAPE)
    name = given.get("stream") or re.sub(r"[^a-z0-9]+", "_", metric.casefold()).strip("_")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f'names that make stream names of a-z, 0-9 and _ ("{metric}" does not; set a name with "stream")'
        )
    return MetricStream(metric, given.get("integration", "").strip() or None, name)
