"""Code for event streams only: finding their metrics, and the columns that a metric fills; pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import Any

from msgspec import UNSET, Raw

from tap_klaviyo.klaviyo.json_values import decode_array, decode_object, decode_text
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.records.conversion import convert_objects
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.objects import read_objects
from tap_klaviyo.records.projection import Lookup, Projection, Related
from tap_klaviyo.streams.model import KLAVIYO, METRIC_STREAMS, AllMetrics, Metrics, Split, Stream

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
    """Return the projection for events of all metrics. Each event names its metric, which may be unknown."""
    known = {metric.id: metric for metric in metrics}

    @cache
    def metric_values(id: str) -> Mapping[str, Raw]:
        metric = known.get(id) or Resource(id)
        return projection.fit_values(_metric_values(projection, metric, Findings()))

    fields = tuple(
        name for name in ("metric_id", "metric_name", "metric") if name in projection.source.emitted["properties"]
    )
    return projection.with_constants({"type": "event"}).with_lookup(Lookup("metric", fields, metric_values))


def _metric_values(projection: Projection, metric: Resource, findings: Findings) -> dict[str, Any]:
    """Return the fields that all events of a metric share."""
    kind = projection.record_type.nested["metric"]
    (attributes,) = read_objects(kind, [metric.attributes], ("metric",), findings)
    name = None if attributes.name is UNSET else attributes.name
    attributes.id = metric.id
    convert_objects(kind, [attributes], ("metric",), findings)
    return {"metric_id": metric.id, "metric_name": name, "metric": [attributes]}


def metrics_of(split: Split, metrics: Sequence[Resource]) -> list[Resource]:
    """Return the metrics that feed a stream; empty for other kinds of streams."""
    if not isinstance(split, Metrics):
        return []
    wanted = {name.casefold() for name in split.names}
    return [
        metric
        for metric in metrics
        if metric_name(metric).casefold() in wanted and belongs_to(metric, split.integration)
    ]


def is_fed_by(split: Split, metric: Resource) -> bool:
    """Return whether a stream has the events of a metric."""
    return isinstance(split, AllMetrics) or bool(metrics_of(split, [metric]))


def metric_name(metric: Resource) -> str:
    """Return a metric's name, or an empty string."""
    attributes = decode_object(metric.attributes) or {}
    return decode_text(attributes.get("name")) or ""


def missing_metric(split: Metrics, metrics: Sequence[Resource]) -> str:
    """Return a sentence that says which metric an account lacks, with the nearest that it has."""
    known = {metric_name(each): integration_name(each) for each in metrics if metric_name(each)}
    by_lower = {name.casefold(): name for name in known}
    owner = "" if split.integration in (None, KLAVIYO) else f" of {split.integration}"
    sentence = f"the account has no metric named {' or '.join(split.names)}{owner}, so no records"
    near = difflib.get_close_matches(split.names[0].casefold(), by_lower, 1, cutoff=0.85)
    if not near:
        return f"{sentence}."
    name = by_lower[near[0]]
    return f'{sentence}; did you mean "{name}" of {known[name] or "no integration"}?'


def chosen_without_metric(streams: Iterable[Stream], metrics: Sequence[Resource]) -> list[str]:
    """Return a sentence for each stream of the setting `metric_streams` whose metric an account lacks."""
    return [
        f"{stream.name}: {missing_metric(stream.split, metrics)}"
        for stream in streams
        if stream.group == METRIC_STREAMS
        if isinstance(stream.split, Metrics) and not metrics_of(stream.split, metrics)
    ]


def doubled_metrics(streams: Iterable[Stream], metrics: Sequence[Resource]) -> list[str]:
    """Return a phrase for each two streams that write the events of one metric, such as a core and a chosen stream."""
    split = [stream for stream in streams if isinstance(stream.split, Metrics)]
    return [
        f"{one.name} and {other.name} ({', '.join(names)})"
        for one, other in combinations(split, 2)
        if (names := sorted({metric_name(each) for each in metrics_of(one.split, metrics_of(other.split, metrics))}))
    ]


def integration_name(metric: Resource) -> str:
    """Return the name of a metric's integration, or an empty string."""
    names = _integration_names((decode_object(metric.attributes) or {}).get("integration"))
    return next(filter(None, names), "")


def belongs_to(metric: Resource, integration: str | None) -> bool:
    """Return whether a metric belongs to an integration, by its name or key; None stands for any.

    Users can create metrics of any name through the API. A metric without an integration counts as Klaviyo's own.
    """
    if integration is None:
        return True
    given = (decode_object(metric.attributes) or {}).get("integration")
    if given is None or bytes(given) == b"null":
        return integration.casefold() == KLAVIYO.casefold()
    return integration.casefold() in [name.casefold() for name in _integration_names(given)]


def _integration_names(integration: Raw | None) -> list[str]:
    """Return an integration's name and key; a bare name, or an array of integrations, is odd but clear."""
    if (several := decode_array(integration)) is not None:
        return [name for each in several for name in _integration_names(each)]
    members = decode_object(integration) or {}
    texts = [decode_text(integration), *(decode_text(members.get(key)) for key in ("name", "key"))]
    return [text for text in texts if text]
