"""What only streams of events need: the metric that they count for, and their timestamps; pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, Raw

from tap_klaviyo.klaviyo.json_values import decode_array, decode_integer, decode_object, decode_text
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.records.conversion import convert_objects
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.objects import read_objects
from tap_klaviyo.records.projection import Projection, Related
from tap_klaviyo.records.structs import Record
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.times import parse_time

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
    kind, findings = projection.record_type.nested["metric"], Findings()
    (attributes,) = read_objects(kind, [metric.attributes], ("metric",), findings)
    name = None if attributes.name is UNSET else attributes.name
    attributes.id = metric.id
    convert_objects(kind, [attributes], ("metric",), findings)
    constants = {"type": "event", "metric_id": metric.id, "metric_name": name, "metric": [attributes]}
    is_selected = "metric" in projection.source.emitted["properties"]
    return projection.with_constants(constants, findings if is_selected else None)


def event_timestamps(records: Sequence[Record]) -> list[int]:
    """Return the timestamps of events in epoch seconds; 0 for an event that has none, or one that is not an integer."""
    moments = [each.timestamp for each in records]
    if set(map(type, moments)) <= {int}:
        return moments
    return [each if type(each) is int else decode_integer(each) or 0 for each in moments]


def event_datetimes(records: Sequence[Record]) -> list[int | None]:
    """Return the date-times of events in epoch seconds; None for an event that has none, or if it is not selected."""
    return [_moment_of(getattr(each, "datetime", None)) for each in records]


def _moment_of(value: object) -> int | None:
    text = value if isinstance(value, str) else decode_text(value)
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None


def metrics_of(stream: Stream, metrics: Sequence[Resource]) -> list[Resource]:
    """Return the metrics that feed a stream: those of its names that are Klaviyo's own."""
    wanted = {name.casefold() for name in stream.metric_names}
    return [metric for metric in metrics if metric_name(metric) in wanted and is_native(metric)]


def metric_name(metric: Resource) -> str:
    """Return a metric's name in lower case, for comparison: Klaviyo has changed the case of some."""
    attributes = decode_object(metric.attributes) or {}
    return (decode_text(attributes.get("name")) or "").casefold()


def is_native(metric: Resource) -> bool:
    """Return whether a metric is Klaviyo's own; users can create metrics of the same names through the API.

    A metric without an integration counts as Klaviyo's own.
    """
    integration = (decode_object(metric.attributes) or {}).get("integration")
    return integration is None or bytes(integration) == b"null" or _names_klaviyo(integration)


def _names_klaviyo(integration: Raw) -> bool:
    """Return whether an integration is Klaviyo: an object with its key or name; a name or an array is odd but clear."""
    if (several := decode_array(integration)) is not None:
        return any(map(_names_klaviyo, several))
    members = decode_object(integration) or {}
    names = [decode_text(integration), *(decode_text(members.get(key)) for key in ("key", "name"))]
    return "klaviyo" in [(name or "").casefold() for name in names]
