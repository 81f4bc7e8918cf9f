"""JSON:API resources to records; pure.

Attribute values pass through as bytes. Only what must change is looked at: date-times that are not RFC 3339 in UTC,
coordinates that came as numbers, and objects of which a part is selected. What that is for a stream is worked out
once, as a Shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import msgspec
from msgspec import Raw

from tap_klaviyo.catalog import Fields
from tap_klaviyo.jsonapi import Attributes, Document, Resource

Record = dict[str, Any]
_NULL = Raw(b"null")
_EPOCH = datetime.fromtimestamp(0, timezone.utc)

_object = msgspec.json.Decoder(dict[str, Raw] | None)
_objects = msgspec.json.Decoder(list[dict[str, Raw]] | None)
_text = msgspec.json.Decoder(str)


@dataclass(frozen=True)
class Shape:
    """What becomes of an object's attributes: which are known, dropped, or looked into."""

    known: frozenset[str]
    dropped: tuple[str, ...]
    dates: tuple[str, ...]
    texts: tuple[str, ...]
    objects: tuple[tuple[str, Shape], ...]
    arrays: tuple[tuple[str, Shape], ...]

    @property
    def changes_nothing(self) -> bool:
        """Whether values can pass unseen."""
        return not (self.dropped or self.dates or self.texts or self.objects or self.arrays)


@dataclass
class Notes:
    """What is noticed on the way: `unknown` counts what no schema has; `recurring` are keys of rows that come again."""

    unknown: Counter[str] = field(default_factory=Counter)
    recurring: set[str] = field(default_factory=set)

    def take_unknown(self, where: str, attributes: Attributes, known: frozenset[str]) -> None:
        """Take the unknown attributes out, and count them."""
        for name in attributes.keys() - known:
            del attributes[name]
            self.unknown[f"{where}.{name}"] += 1


@dataclass(frozen=True)
class Form:
    """How a stream's resources become records: the selected fields, and their shapes by field."""

    fields: Fields
    own: Shape
    parts: Mapping[str, Shape]


def form(schema: Mapping[str, Any], fields: Fields) -> Form:
    """Work out how a stream's records are made.

    Args:
        schema: the stream's whole schema.
        fields: what is selected of it.
    """
    parts = {}
    for name, definition in schema["properties"].items():
        inner = definition.get("items", definition)
        if inner.get("properties"):
            parts[name] = _shape(inner, fields.get(name) or {})
    return Form(fields, _shape(schema, fields), parts)


def _shape(schema: Mapping[str, Any], fields: Fields) -> Shape:
    properties: Mapping[str, Any] = schema["properties"]
    chosen = {name: properties[name] for name in properties if name in fields}
    inner = {
        name: _shape(definition.get("items", definition), fields[name] or {})
        for name, definition in chosen.items()
        if definition.get("items", definition).get("properties")
    }
    looked_into = {name: shape for name, shape in inner.items() if not shape.changes_nothing}
    return Shape(
        known=frozenset(properties),
        dropped=tuple(name for name in properties if name not in fields),
        dates=tuple(name for name, definition in chosen.items() if definition.get("format") == "date-time"),
        # Klaviyo's document gives coordinates two types, text or number; a column has one.
        texts=tuple(name for name in chosen if name in ("latitude", "longitude")),
        objects=tuple((name, shape) for name, shape in looked_into.items() if "items" not in chosen[name]),
        arrays=tuple((name, shape) for name, shape in looked_into.items() if "items" in chosen[name]),
    )


def apply(shape: Shape, attributes: Attributes, where: str, notes: Notes) -> None:
    """Change an object's attributes, in place, to what the shape says."""
    if not attributes.keys() <= shape.known:
        notes.take_unknown(where, attributes, shape.known)
    for name in shape.dropped:
        attributes.pop(name, None)
    for name in shape.dates:
        if (value := attributes.get(name)) is not None:
            attributes[name] = in_utc(value)
    for name in shape.texts:
        if (value := attributes.get(name)) is not None:
            attributes[name] = _as_text(value)
    for name, inner in shape.objects:
        if (value := attributes.get(name)) is not None:
            attributes[name] = _walk(_object, inner, value, f"{where}.{name}", notes)
    for name, inner in shape.arrays:
        if (value := attributes.get(name)) is not None:
            attributes[name] = _walk(_objects, inner, value, f"{where}.{name}", notes)


def _walk(decoder: Any, shape: Shape, value: Raw, where: str, notes: Notes) -> Any:
    try:
        decoded = decoder.decode(value)
    except msgspec.DecodeError:
        return value
    for attributes in decoded if isinstance(decoded, list) else [decoded] if decoded else []:
        apply(shape, attributes, where, notes)
    return decoded


def in_utc(value: Raw) -> Raw:
    """Return a JSON date-time as RFC 3339 in UTC; a naive one counts as UTC, anything else passes as it is."""
    text = bytes(value)
    if (text.endswith(b'+00:00"') or text.endswith(b'Z"')) and text[11:12] == b"T":
        return value
    try:
        moment = datetime.fromisoformat(_text.decode(text).replace("Z", "+00:00"))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return Raw(msgspec.json.encode(moment.astimezone(timezone.utc).isoformat()))
    except (ValueError, OverflowError, msgspec.DecodeError):
        return value


def _as_text(value: Raw) -> Raw:
    text = bytes(value)
    return Raw(b'"%b"' % text) if text[:1] not in b'"n' else value


def name_of(metric: Resource) -> str:
    """Return a metric's name as names are compared, in no case."""
    return str(_decoded(_text, metric.attributes.get("name")) or "").casefold()


def is_native(metric: Resource) -> bool:
    """Return whether a metric is Klaviyo's own; users can make metrics of the same names by the API."""
    integration = _decoded(_object, metric.attributes.get("integration"))
    names = [_decoded(_text, (integration or {}).get(key)) for key in ("key", "name")]
    return integration is None or "klaviyo" in [str(name).casefold() for name in names]


def metric_constants(metric: Resource, shape: Form) -> Record:
    """Return the fields that all events of a metric share, as they stand in a record."""
    attributes = dict(metric.attributes)
    name = attributes.get("name", _NULL)
    constants: Record = {"metric_id": metric.id, "metric_name": name}
    if "metric" in shape.fields:
        apply(shape.parts["metric"], attributes, "metric", Notes())
        encoded = msgspec.json.encode([_with_id(metric.id, attributes, shape.fields["metric"])])
        constants["metric"] = Raw(encoded)
    return {field: value for field, value in constants.items() if field in shape.fields}


def events(document: Document, shape: Form, constants: Record, notes: Notes) -> list[Record]:
    """Return the records of a page of events."""
    fields = shape.fields
    profiles = _profiles(document, shape, notes) if "profile" in fields else {}
    attributions = _included(document, "attribution") if "attributions" in fields else {}
    takes_type, takes_profile_id = "type" in fields, "profile_id" in fields
    records = []
    for event in document.data:
        attributes = event.attributes
        apply(shape.own, attributes, "event", notes)
        record: Record = {"id": event.id, **attributes, **constants}
        profile_id = event.one("profile")
        if takes_type:
            record["type"] = event.type
        if takes_profile_id:
            record["profile_id"] = profile_id
        if "profile" in fields:
            record["profile"] = _profile_of(profile_id, profiles, fields["profile"])
        if "attributions" in fields:
            record["attributions"] = _attributions(event, attributions, fields["attributions"] or {})
        records.append(record)
    return records


def _profiles(document: Document, shape: Form, notes: Notes) -> dict[str, list[Record]]:
    part, fields = shape.parts["profile"], shape.fields["profile"]
    profiles = {}
    for resource in document.included:
        if resource.type == "profile":
            apply(part, resource.attributes, "profile", notes)
            profiles[resource.id] = [_with_id(resource.id, resource.attributes, fields)]
    return profiles


def _profile_of(profile_id: str | None, profiles: Mapping[str, list[Record]], fields: Fields | None) -> list[Record]:
    """Return the event's profile; a deleted one leaves its id, no profile at all an empty array."""
    if profile_id is None:
        return []
    return profiles.get(profile_id) or [_with_id(profile_id, {}, fields)]


_ATTRIBUTED = {
    "event_id": "event",
    "attributed_event_id": "attributed-event",
    "campaign_id": "campaign",
    "campaign_message_id": "campaign-message",
    "flow_id": "flow",
    "flow_message_id": "flow-message",
    "flow_message_variation_id": "flow-message-variation",
}


def _attributions(event: Resource, included: Mapping[str, Resource], fields: Fields) -> list[Record]:
    records = []
    for attribution_id in event.many("attributions"):
        resource = included.get(attribution_id) or Resource(attribution_id, "attribution")
        record = {name: resource.one(relationship) for name, relationship in _ATTRIBUTED.items() if name in fields}
        records.append(_with_id(attribution_id, record, fields))
    return records


def lists(document: Document, shape: Form, constants: Record, notes: Notes) -> list[Record]:
    """Return the records of a page of lists."""
    tags = _included(document, "tag")
    records = []
    for resource in document.data:
        apply(shape.own, resource.attributes, "list", notes)
        record: Record = {"id": resource.id, **resource.attributes, **constants}
        if "tags" in shape.fields:
            record["tags"] = _tags(resource, tags, shape, notes)
        records.append(record)
    return records


def campaigns(document: Document, shape: Form, constants: Record, notes: Notes) -> list[Record]:
    """Return the records of a page of campaigns, each with its messages and tags."""
    messages = _included(document, "campaign-message")
    records = lists(document, shape, {name: constants[name] for name in constants if name in shape.fields}, notes)
    if "campaign_messages" in shape.fields:
        for campaign, record in zip(document.data, records, strict=True):
            own = [messages[each] for each in campaign.many("campaign-messages") if each in messages]
            record["campaign_messages"] = [_message(message, shape, notes) for message in own]
    return records


def _message(message: Resource, shape: Form, notes: Notes) -> Record:
    """Return a campaign message: its definition, and beside it the fields that revisions before 2025-01-15 had."""
    attributes = message.attributes
    definition = _decoded(_object, attributes.get("definition")) or {}
    for name in ("label", "channel", "content", "render_options"):
        if name in definition:
            attributes.setdefault(name, definition[name])
    record: Record = {"template_id": message.one("template"), "image_id": message.one("image"), **attributes}
    apply(shape.parts["campaign_messages"], record, "campaign-message", notes)
    return _with_id(message.id, record, shape.fields["campaign_messages"])


def global_exclusions(document: Document, shape: Form, constants: Record, notes: Notes) -> list[Record]:
    """Return the records of a page of suppressed profiles; one without an e-mail address has no key, and is counted."""
    records = []
    for profile in document.data:
        suppressions = _suppressions(profile)
        record: Record = {"id": profile.id, **profile.attributes, **constants, **suppressions}
        email = _decoded(_text, record.get("email"))
        if email is None:
            notes.unknown["profile without email"] += 1
            continue
        if len(_decoded(_objects, suppressions["suppressions"]) or ()) > 1:
            notes.recurring.add(email)
        apply(shape.own, record, "profile", notes)
        records.append(record)
    return records


def _suppressions(profile: Resource) -> Record:
    subscriptions = _decoded(_object, profile.attributes.get("subscriptions")) or {}
    email = _decoded(_object, subscriptions.get("email")) or {}
    marketing = _decoded(_object, email.get("marketing")) or {}
    suppressions = _decoded(_objects, marketing.get("suppression")) or []
    newest: Attributes = max(suppressions, key=_moment, default={})
    return {
        "reason": newest.get("reason", _NULL),
        "timestamp": newest.get("timestamp", _NULL),
        "suppressions": marketing.get("suppression", _NULL),
        "list_suppressions": marketing.get("list_suppressions", _NULL),
    }


def _moment(suppression: Attributes) -> datetime:
    try:
        return datetime.fromisoformat(_text.decode(in_utc(suppression["timestamp"])).replace("Z", "+00:00"))
    except (KeyError, ValueError, msgspec.DecodeError):
        return _EPOCH


def _tags(resource: Resource, included: Mapping[str, Resource], shape: Form, notes: Notes) -> list[Record]:
    records = []
    for tag_id in resource.many("tags"):
        attributes = dict(included[tag_id].attributes) if tag_id in included else {}
        apply(shape.parts["tags"], attributes, "tag", notes)
        records.append(_with_id(tag_id, attributes, shape.fields["tags"]))
    return records


def _included(document: Document, kind: str) -> dict[str, Resource]:
    return {resource.id: resource for resource in document.included if resource.type == kind}


def _with_id(resource_id: str, attributes: Record, fields: Fields | None) -> Record:
    return {"id": resource_id, **attributes} if fields is None or "id" in fields else attributes


def _decoded(decoder: Any, value: Raw | None) -> Any:
    """Return a value of the decoder's type, None where there is none or it is of another."""
    try:
        return decoder.decode(value) if value is not None else None
    except (msgspec.DecodeError, RecursionError):
        return None


# By the stream's schema: the function that makes its records.
BUILDERS: Mapping[str, Callable[[Document, Form, Record, Notes], list[Record]]] = {
    "event": events,
    "list": lists,
    "campaign": campaigns,
    "global_exclusion": global_exclusions,
}
