"""The names that other Klaviyo taps give to our streams."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tap_klaviyo.streams.model import Stream
from tap_klaviyo.streams.table import STREAMS

# MeltanoLabs' tap keeps all metrics in one stream of this name.
ALL_EVENTS = "events"
# What singer-io's tap calls some streams, where it is not the name of a metric.
_SHORTENED = {
    "consented_to_receive": ("subscribed_to_sms", "subscribed_to_text_message"),
    "unsubscribed_from_sms": ("unsubscribed_from_text_message",),
}


def other_names(stream: Stream) -> list[str]:
    """Return the names that other taps give the stream: its metrics' names in snake case, and shortened ones."""
    slugs = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in stream.metric_names]
    names = [*slugs, *_SHORTENED.get(stream.name, ())]
    return [name for name in names if name != stream.name]


STREAMS_BY_NAME: Mapping[str, Sequence[Stream]] = MappingProxyType(
    {ALL_EVENTS: [stream for stream in STREAMS if stream.metric_names]}
    | {name: [stream] for stream in STREAMS for name in other_names(stream)}
    | {stream.name: [stream] for stream in STREAMS}
)
