"""What only streams of events need: the metric that they count for; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from msgspec import UNSET, Raw

from tap_klaviyo.klaviyo.json_values import decode_array, decode_object, decode_text
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.records.conversion import convert_objects
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.objects import read_objects
from tap_klaviyo.records.projection import Lookup, Projection, Related
from tap_klaviyo.streams.model import Stream

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
    findings = Findings()
    values = {"type": "event", **_metric_values(projection, metric, findings)}
    is_selected = "metric" in projection.source.emitted["properties"]
    return projection.with_constants(values, findings if is_selected else None)


def project_metrics(projection: Projection, metrics: Sequence[Resource]) -> Projection:
    """Return the projection of the events of all metrics: each event names its own, which may be unknown."""
    known = {metric.id: metric for metric in metrics}

    @cache
    def values(id: str) -> Mapping[str, Raw]:
        metric = known.get(id) or Resource(id)
        return projection.fit_values(_metric_values(projection, metric, Findings()))

    fields = tuple(
        name for name in ("metric_id", "metric_name", "metric") if name in projection.source.emitted["properties"]
    )
    return projection.with_constants({"type": "event"}).with_lookup(Lookup("metric", fields, values))


def _metric_values(projection: Projection, metric: Resource, findings: Findings) -> dict[str, Any]:
    """Return what all events of a metric have in common, by field."""
    kind = projection.record_type.nested["metric"]
    (attributes,) = read_objects(kind, [metric.attributes], ("metric",), findings)
    name = None if attributes.name is UNSET else attributes.name
    attributes.id = metric.id
    convert_objects(kind, [attributes], ("metric",), findings)
    return {"metric_id": metric.id, "metric_name": name, "metric": [attributes]}


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
