"""JSON:API resources to records; pure.

Attribute values pass through as bytes. Only what must change is looked at: date-times that are not RFC 3339 in UTC,
coordinates that came as numbers, and objects of which a part is selected. What that is for a stream is worked out
once, as a Shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import msgspec
from msgspec import Raw

from tap_klaviyo.catalog import Fields
from tap_klaviyo.jsonapi import Attributes, Document, Resource

Record = dict[str, Any]
_NULL = Raw(b"null")
# Fields that are made of related resources, not of attributes.
_RELATED = ("profile", "metric", "attributions", "campaign_messages", "tags")
_EPOCH = datetime.fromtimestamp(0, timezone.utc)

_object = msgspec.json.Decoder(dict[str, Raw] | None)
_objects = msgspec.json.Decoder(list[dict[str, Raw]] | None)
_object_or_objects = msgspec.json.Decoder(dict[str, Raw] | list[dict[str, Raw]] | None)
_all_objects = msgspec.json.Decoder(list[dict[str, Raw] | list[dict[str, Raw]] | None])
_text = msgspec.json.Decoder(str)


@dataclass(frozen=True)
class Shape:
    """What becomes of an object's attributes: which are known, dropped, or looked into."""

    known: frozenset[str]
    dropped: tuple[str, ...]
    dates: tuple[str, ...]
    texts: tuple[str, ...]
    nested: tuple[tuple[str, Shape], ...]

    @property
    def changes_nothing(self) -> bool:
        """Whether values can pass unseen."""
        return not (self.dropped or self.dates or self.texts or self.nested)


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
    """How a stream's resources become records: the selected fields, the shape of attributes, and of what is related."""

    fields: Fields
    own: Shape
    parts: Mapping[str, Shape]


def form(schema: Mapping[str, Any], fields: Fields) -> Form:
    """Work out how a stream's records are made.

    Args:
        schema: the stream's whole schema.
        fields: what is selected of it.
    """
    properties: Mapping[str, Any] = schema["properties"]
    parts = {name: _shape(properties[name]["items"], fields.get(name) or {}) for name in _RELATED if name in properties}
    own = {name: definition for name, definition in properties.items() if name not in _RELATED}
    return Form(fields, _shape({"properties": own}, fields), parts)


def _shape(schema: Mapping[str, Any], fields: Fields) -> Shape:
    properties: Mapping[str, Any] = schema["properties"]
    chosen = {name: properties[name] for name in properties if name in fields}
    inner = {
        name: _shape(definition.get("items", definition), fields[name] or {})
        for name, definition in chosen.items()
        if definition.get("items", definition).get("properties")
    }
    return Shape(
        known=frozenset(properties),
        dropped=tuple(name for name in properties if name not in fields),
        dates=tuple(name for name, definition in chosen.items() if definition.get("format") == "date-time"),
        # Klaviyo's document gives coordinates two types, text or number; a column has one.
        texts=tuple(name for name in chosen if name in ("latitude", "longitude")),
        nested=tuple((name, shape) for name, shape in inner.items() if not shape.changes_nothing),
    )


def apply(shape: Shape, objects: Sequence[Attributes], where: str, notes: Notes) -> None:
    """Change the attributes of a page's objects, in place, to what the shape says; field by field over all of them."""
    if not set().union(*objects) <= shape.known:
        for attributes in objects:
            notes.take_unknown(where, attributes, shape.known)
    for name in shape.dropped:
        for attributes in objects:
            attributes.pop(name, None)
    for name in shape.dates:
        if not _all_in_utc([attributes[name] for attributes in objects if name in attributes]):
            _replace(objects, name, in_utc)
    for name in shape.texts:
        _replace(objects, name, _as_text)
    for name, inner in shape.nested:
        _look_into(inner, objects, name, f"{where}.{name}", notes)


def _replace(objects: Sequence[Attributes], name: str, change: Callable[[Raw], Raw]) -> None:
    for attributes in objects:
        if name in attributes:
            attributes[name] = change(attributes[name])


def _look_into(shape: Shape, objects: Sequence[Record], name: str, where: str, notes: Notes) -> None:
    """Parse a field that holds an object, or an array of them, and apply the shape to what is in it."""
    holders = [attributes for attributes in objects if name in attributes]
    values = _decoded_all([attributes[name] for attributes in holders])
    inner: list[Attributes] = []
    for attributes, value in zip(holders, values, strict=True):
        if value:
            attributes[name] = value
            inner += value if isinstance(value, list) else [value]
    apply(shape, inner, where, notes)


def _decoded_all(values: Sequence[Raw]) -> Sequence[Attributes | list[Attributes] | None]:
    """Return JSON objects and arrays of them, parsed in one go; None for what is neither."""
    try:
        return _all_objects.decode(b"[%b]" % b",".join(values))
    except msgspec.DecodeError:
        return [_decoded(_object_or_objects, value) for value in values]


def _all_in_utc(values: Sequence[Raw]) -> bool:
    """Return whether JSON date-times are all RFC 3339 in UTC or null, by their marks in the whole."""
    text = b",".join(values)
    nulls = text.count(b"null")
    return text.count(b"T") == text.count(b'+00:00"') + text.count(b'Z"') == len(values) - nulls


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
    return Raw(b'"%b"' % text) if text[:1] in b"-0123456789" else value


def name_of(metric: Resource) -> str:
    """Return a metric's name as names are compared, in no case."""
    return str(_decoded(_text, metric.attributes.get("name")) or "").casefold()


def is_native(metric: Resource) -> bool:
    """Return whether a metric is Klaviyo's own; users can make metrics of the same names by the API."""
    integration = _decoded(_object, metric.attributes.get("integration"))
    names = [_decoded(_text, (integration or {}).get(key)) for key in ("key", "name")]
    return integration is None or "klaviyo" in [str(name).casefold() for name in names]


def metric_constants(metric: Resource, form: Form) -> Record:
    """Return the fields that all events of a metric share, as they stand in a record."""
    attributes = dict(metric.attributes)
    name = attributes.get("name", _NULL)
    constants: Record = {"metric_id": metric.id, "metric_name": name}
    if "metric" in form.fields:
        apply(form.parts["metric"], [attributes], "metric", Notes())
        encoded = msgspec.json.encode([_with_id(metric.id, attributes, form.fields["metric"])])
        constants["metric"] = Raw(encoded)
    return {field: value for field, value in constants.items() if field in form.fields}


def events(document: Document, form: Form, constants: Record, notes: Notes) -> list[Record]:
    """Return the records of a page of events."""
    fields, found = form.fields, document.data
    apply(form.own, [event.attributes for event in found], "event", notes)
    records: list[Record] = [{"id": event.id, **event.attributes, **constants} for event in found]
    if "type" in fields:
        for record, event in zip(records, found, strict=True):
            record["type"] = event.type
    if "profile_id" in fields or "profile" in fields:
        _add_profiles(records, document, form, notes)
    if "attributions" in fields:
        included = _included(document, "attribution")
        for record, event in zip(records, found, strict=True):
            record["attributions"] = _attributions(event, included, fields["attributions"] or {})
    return records


def _add_profiles(records: list[Record], document: Document, form: Form, notes: Notes) -> None:
    """Add the profiles to events; a deleted one leaves its id, no profile at all an empty array."""
    fields = form.fields
    ids = [event.one("profile") for event in document.data]
    if "profile_id" in fields:
        for record, profile_id in zip(records, ids, strict=True):
            record["profile_id"] = profile_id
    if "profile" not in fields:
        return
    part, inner = form.parts["profile"], fields["profile"]
    included = _included(document, "profile")
    apply(part, [profile.attributes for profile in included.values()], "profile", notes)
    profiles: dict[str | None, list[Record]] = {
        profile_id: [_with_id(profile_id, profile.attributes, inner)] for profile_id, profile in included.items()
    }
    profiles[None] = []
    for record, profile_id in zip(records, ids, strict=True):
        known = profiles.get(profile_id)
        record["profile"] = known if known is not None else [_with_id(profile_id or "", {}, inner)]


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


def lists(document: Document, form: Form, constants: Record, notes: Notes) -> list[Record]:
    """Return the records of a page of lists."""
    where = document.data[0].type if document.data else ""
    apply(form.own, [resource.attributes for resource in document.data], where, notes)
    records: list[Record] = [{"id": each.id, **each.attributes, **constants} for each in document.data]
    if "tags" in form.fields:
        tags = _included(document, "tag")
        apply(form.parts["tags"], [tag.attributes for tag in tags.values()], "tag", notes)
        for record, resource in zip(records, document.data, strict=True):
            record["tags"] = [
                _with_id(*_attributes_of(tag, tags), form.fields["tags"]) for tag in resource.many("tags")
            ]
    return records


def _attributes_of(resource_id: str, included: Mapping[str, Resource]) -> tuple[str, Attributes]:
    return resource_id, included[resource_id].attributes if resource_id in included else {}


def campaigns(document: Document, form: Form, constants: Record, notes: Notes) -> list[Record]:
    """Return the records of a page of campaigns, each with its messages and tags."""
    chosen = {name: value for name, value in constants.items() if name in form.fields}
    records = lists(document, form, chosen, notes)
    if "campaign_messages" in form.fields:
        messages = _included(document, "campaign-message")
        made = {message_id: _message(message, form, notes) for message_id, message in messages.items()}
        for record, campaign in zip(records, document.data, strict=True):
            record["campaign_messages"] = [made[each] for each in campaign.many("campaign-messages") if each in made]
    return records


def _message(message: Resource, form: Form, notes: Notes) -> Record:
    """Return a campaign message: its definition, and beside it the fields that revisions before 2025-01-15 had."""
    attributes = message.attributes
    definition = _decoded(_object, attributes.get("definition")) or {}
    for name in ("label", "channel", "content", "render_options"):
        if name in definition:
            attributes.setdefault(name, definition[name])
    record: Record = {"template_id": message.one("template"), "image_id": message.one("image"), **attributes}
    apply(form.parts["campaign_messages"], [record], "campaign-message", notes)
    return _with_id(message.id, record, form.fields["campaign_messages"])


def global_exclusions(document: Document, form: Form, constants: Record, notes: Notes) -> list[Record]:
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
        records.append(record)
    apply(form.own, records, "profile", notes)
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
