"""What only streams of events need: the metric that they count for, and their timestamps; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Raw, UnsetType

from tap_klaviyo.klaviyo.json_values import NULL, decode_integer, decode_object, decode_text
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.records.projection import Projection, Related, convert
from tap_klaviyo.records.structs import Record, read_objects
from tap_klaviyo.streams.model import Stream

_integers = msgspec.json.Decoder(list[int])

# An attribution has no attributes; its columns are the ids that its relationships point at.
ATTRIBUTIONS = Related(
    "attributions",
    "attributions",
    "attribution",
    related=tuple(
        Related(f"{name.replace('-', '_')}_id", name, name, "id")
        for name in (
            "event",
            "attributed-event",
            "campaign",
            "campaign-message",
            "flow",
            "flow-message",
            "flow-message-variation",
        )
    ),
)


def project_metric(projection: Projection, metric: Resource) -> Projection:
    """Return the projection of a metric's events, which have the metric's attributes in common."""
    (attributes,) = read_objects(projection.record_type.nested["metric"], [metric.attributes], "metric", Counter())
    name = NULL if isinstance(attributes.name, UnsetType) else attributes.name
    attributes.id = metric.id
    convert(projection.conversions_of["metric"], [attributes])
    as_field = Raw(msgspec.json.encode([attributes]))
    return projection.with_constants({"type": "event", "metric_id": metric.id, "metric_name": name, "metric": as_field})


def event_timestamps(records: Sequence[Record]) -> list[int]:
    """Return the timestamps of events in epoch seconds; 0 for an event that has none, or one that is no integer."""
    try:
        return _integers.decode(b"[%b]" % b",".join([each.timestamp for each in records]))
    except (TypeError, msgspec.DecodeError):
        return [decode_integer(each.timestamp) or 0 for each in records]


def metrics_of(stream: Stream, metrics: Sequence[Resource]) -> list[Resource]:
    """Return the metrics that feed a stream: those of its names that are Klaviyo's own."""
    wanted = {name.casefold() for name in stream.metric_names}
    return [metric for metric in metrics if metric_name(metric) in wanted and is_native(metric)]


def metric_name(metric: Resource) -> str:
    """Return a metric's name in lower case, for comparison: Klaviyo has changed the case of some."""
    attributes = decode_object(metric.attributes) or {}
    return (decode_text(attributes.get("name")) or "").casefold()


def is_native(metric: Resource) -> bool:
    """Return whether a metric is Klaviyo's own; users can create metrics of the same names through the API."""
    attributes = decode_object(metric.attributes) or {}
    integration = decode_object(attributes.get("integration"))
    names = [decode_text((integration or {}).get(key)) for key in ("key", "name")]
    return integration is None or "klaviyo" in [str(name).casefold() for name in names]
