"""JSON:API resources to records; pure.

A record is a Struct of the stream's schema, whose values pass through as bytes. Only what must change is looked at:
fields that are not selected, date-times that are not RFC 3339 in UTC, and coordinates that came as numbers. What that
is for a stream is worked out once, as a Form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from tap_klaviyo.jsonapi import PLAIN, Page, PageDecoder, Resource, page_decoder, typed
from tap_klaviyo.shapes import Record, Shape, read, shape_of, with_defaults
from tap_klaviyo.singer.selection import Fields
from tap_klaviyo.streams.model import Stream

_NULL = Raw(b"null")
_COORDINATES = frozenset({"latitude", "longitude"})
_EPOCH = datetime.fromtimestamp(0, timezone.utc)

_object = msgspec.json.Decoder(dict[str, Raw] | None)
_array = msgspec.json.Decoder(list[Raw] | None)
_text = msgspec.json.Decoder(str)
_integer = msgspec.json.Decoder(int)
_integers = msgspec.json.Decoder(list[int])


@dataclass(frozen=True)
class Changes:
    """What is changed of an object: fields that are dropped, date-times, numbers made text, and objects within."""

    dropped: tuple[str, ...]
    dates: tuple[str, ...]
    texts: tuple[str, ...]
    nested: Mapping[str, Changes]


_UNCHANGED = Changes((), (), (), {})
# Fields made of other resources, or of the metric. They are changed where they are made, once for all that have them.
_RELATED = frozenset({"profile", "metric", "attributions", "tags", "campaign_messages"})


@dataclass
class Notes:
    """What is noticed on the way: `unknown` counts what no schema has; `recurring` are keys of rows that come again."""

    unknown: Counter[str] = field(default_factory=Counter)
    recurring: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Form:
    """How a stream's pages become records: the selected fields, what attributes are read as, and what is changed.

    `changes` are those of the resources of the page, `related` those of the resources in a field.
    """

    fields: Fields
    shape: Shape
    changes: Changes
    related: Mapping[str, Changes]

    @cached_property
    def decoder(self) -> PageDecoder:
        """What decodes the pages: events, which are most of all rows, straight to records."""
        profile = self.shape.nested.get("profile")
        if profile is None:
            return PLAIN
        return page_decoder(typed(["event"], self.shape.struct), typed(["profile", "attribution"], profile.struct))


def form(stream: Stream, fields: Fields) -> Form:
    """Work out how the records of a stream are made with the selected fields."""
    name, changes = stream.schema_name or stream.name, _changes(stream.schema, fields)
    related = {field: changes.nested.get(field, _UNCHANGED) for field in _RELATED}
    own = {field: inner for field, inner in changes.nested.items() if field not in _RELATED}
    return Form(fields, shape_of(name), replace(changes, nested=own), related)


def sharing(form: Form, values: Mapping[str, Any]) -> Form:
    """Return the form of records that all have these values in the fields of them that are selected."""
    chosen = {name: value for name, value in values.items() if name in form.fields}
    return replace(form, shape=with_defaults(form.shape, chosen))


def of_metric(form: Form, metric: Resource) -> Form:
    """Return the form of a metric's events."""
    (attributes,) = read(form.shape.nested["metric"], [metric.attributes], "metric", Counter())
    name = _or_null(attributes.name)
    attributes.id = metric.id
    apply(form.related["metric"], [attributes])
    as_field = Raw(msgspec.json.encode([attributes]))
    return sharing(form, {"type": "event", "metric_id": metric.id, "metric_name": name, "metric": as_field})


def _changes(schema: Mapping[str, Any], fields: Fields) -> Changes:
    properties: Mapping[str, Any] = schema["properties"]
    chosen = {name: properties[name] for name in properties if name in fields}
    inner = {
        name: _changes(definition.get("items", definition), fields[name] or {})
        for name, definition in chosen.items()
        if definition.get("items", definition).get("properties")
    }
    return Changes(
        dropped=tuple(name for name in properties if name not in fields),
        dates=tuple(name for name, definition in chosen.items() if definition.get("format") == "date-time"),
        # Klaviyo's document gives coordinates two types, text or number; a column has one.
        texts=tuple(name for name in chosen if name in _COORDINATES),
        nested={name: changes for name, changes in inner.items() if changes != _UNCHANGED},
    )


def apply(changes: Changes, objects: Sequence[Record]) -> None:
    """Change a page's objects in place, fields over all of them at once."""
    for name in changes.dropped:
        for each in objects:
            setattr(each, name, UNSET)
    if changes.dates and not _are_utc(objects, changes.dates):
        _date(objects, changes.dates)
    for name in changes.texts:
        _quote(objects, name)
    for name, inner in changes.nested.items():
        apply(inner, _within(objects, name))


def _within(objects: Sequence[Record], name: str) -> list[Record]:
    """Return the objects in a field that holds one each, or an array of them."""
    values = [value for value in map(attrgetter(name), objects) if value]
    if list in set(map(type, values)):
        return [each for value in values for each in (value if isinstance(value, list) else [value]) if each]
    return values


def _are_utc(objects: Sequence[Record], names: Sequence[str]) -> bool:
    """Return whether the JSON date-times of the fields are RFC 3339 in UTC, or null, by their marks in the whole."""
    try:
        text = b",".join(chain.from_iterable(map(attrgetter(name), objects) for name in names))
    except TypeError:  # one of them is not set
        return False
    marks = text.count(b'+00:00"') + (text.count(b'Z"') if b"Z" in text else 0)
    return text.count(b"T") == marks == len(objects) * len(names) - text.count(b"null")


def _date(objects: Sequence[Record], names: Sequence[str]) -> None:
    """Make the JSON date-times of the fields RFC 3339 in UTC."""
    for name in names:
        for each in objects:
            value = getattr(each, name)
            if value is not UNSET:
                setattr(each, name, in_utc(value))


def _quote(objects: Sequence[Record], name: str) -> None:
    """Make the JSON numbers of a field texts of the same digits."""
    for each in objects:
        value = getattr(each, name)
        if value is not UNSET and b"-" <= (text := bytes(value)) < b":":
            setattr(each, name, text.decode())


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


def timestamps(records: Sequence[Record]) -> list[int]:
    """Return the timestamps of events in epoch seconds; 0 where there is none, or no integer."""
    try:
        return _integers.decode(b"[%b]" % b",".join(map(attrgetter("timestamp"), records)))
    except (TypeError, msgspec.DecodeError):
        return [_decoded(_integer, each.timestamp) or 0 for each in records]


def name_of(metric: Resource) -> str:
    """Return a metric's name as names are compared, in no case."""
    attributes = _decoded(_object, metric.attributes) or {}
    return str(_decoded(_text, attributes.get("name")) or "").casefold()


def is_native(metric: Resource) -> bool:
    """Return whether a metric is Klaviyo's own; users can make metrics of the same names by the API."""
    attributes = _decoded(_object, metric.attributes) or {}
    integration = _decoded(_object, attributes.get("integration"))
    names = [_decoded(_text, (integration or {}).get(key)) for key in ("key", "name")]
    return integration is None or "klaviyo" in [str(name).casefold() for name in names]


def events(document: Page, form: Form, notes: Notes) -> list[Record]:
    """Return the records of a page of events; a deleted profile leaves its id, no profile at all an empty array."""
    records = read(form.shape, [event.attributes for event in document.data], "event", notes.unknown)
    profiles = _included(document, "profile", form, "profile", notes)
    apply(form.related["profile"], list(profiles.values()))
    for record, event in zip(records, document.data, strict=True):
        profile_id = event.one("profile")
        record.id = event.id
        record.profile_id = profile_id
        record.profile = [profiles.get(profile_id) or _stub(form, "profile", profile_id)] if profile_id else []
    if "attributions" in form.fields:
        _add_attributions(records, document, form)
    apply(form.changes, records)
    return records


def _add_attributions(records: Sequence[Record], document: Page, form: Form) -> None:
    part = form.shape.nested["attributions"]
    names = sorted(part.names - {"id"})
    found = {
        each.id: part.struct(id=each.id, **{name: each.one(name.removesuffix("_id")) for name in names})
        for each in document.included
        if each.type == "attribution"
    }
    apply(form.related["attributions"], list(found.values()))
    for record, event in zip(records, document.data, strict=True):
        record.attributions = _related(event, "attributions", form, found)


def lists(document: Page, form: Form, notes: Notes) -> list[Record]:
    """Return the records of a page of lists."""
    records = _tagged(document, form, "list", notes)
    apply(form.changes, records)
    return records


def _tagged(document: Page, form: Form, where: str, notes: Notes) -> list[Record]:
    records = read(form.shape, [resource.attributes for resource in document.data], where, notes.unknown)
    tags = _included(document, "tag", form, "tags", notes)
    apply(form.related["tags"], list(tags.values()))
    for record, resource in zip(records, document.data, strict=True):
        record.id = resource.id
        record.tags = _related(resource, "tags", form, tags)
    return records


def campaigns(document: Page, form: Form, notes: Notes) -> list[Record]:
    """Return the records of a page of campaigns, each with its messages and tags."""
    records = _tagged(document, form, "campaign", notes)
    messages = _included(document, "campaign-message", form, "campaign_messages", notes)
    for resource in document.included:
        if resource.id in messages and resource.type == "campaign-message":
            _complete(messages[resource.id], resource)
    apply(form.related["campaign_messages"], list(messages.values()))
    for record, campaign in zip(records, document.data, strict=True):
        ids = campaign.many("campaign_messages")
        record.campaign_messages = [messages[each] for each in ids if each in messages]
    apply(form.changes, records)
    return records


def _complete(message: Record, resource: Resource) -> None:
    """Put beside a message's definition the fields that revisions before 2025-01-15 had, and the ids."""
    definition = _decoded(_object, message.definition) or {}
    for name in ("label", "channel", "content", "render_options"):
        if name in definition and getattr(message, name) is UNSET:
            setattr(message, name, definition[name])
    message.template_id, message.image_id = resource.one("template"), resource.one("image")


def global_exclusions(document: Page, form: Form, notes: Notes) -> list[Record]:
    """Return the records of a page of suppressed profiles; one without an e-mail address has no key, and is counted."""
    records = []
    found = read(form.shape, [profile.attributes for profile in document.data], "profile", notes.unknown)
    for record, profile in zip(found, document.data, strict=True):
        email = _decoded(_text, record.email)
        if email is None:
            notes.unknown["profile without email"] += 1
            continue
        record.id = profile.id
        _add_suppressions(record, form, notes)
        if len(record.suppressions or ()) > 1:
            notes.recurring.add(email)
        records.append(record)
    apply(form.changes, records)
    return records


def _add_suppressions(record: Record, form: Form, notes: Notes) -> None:
    email = _decoded(_object, getattr(record.subscriptions, "email", None)) or {}
    marketing = _decoded(_object, email.get("marketing")) or {}
    for name, source in (("suppressions", "suppression"), ("list_suppressions", "list_suppressions")):
        values = _decoded(_array, marketing.get(source))
        shape, where = form.shape.nested[name], f"profile.{name}"
        setattr(record, name, None if values is None else read(shape, values, where, notes.unknown))
    none: Record = form.shape.nested["suppressions"].struct()
    newest = max(record.suppressions or (), key=_moment, default=none)
    record.reason, record.timestamp = _or_null(newest.reason), _or_null(newest.timestamp)


def _moment(suppression: Record) -> datetime:
    try:
        return datetime.fromisoformat(_text.decode(in_utc(suppression.timestamp)).replace("Z", "+00:00"))
    except (TypeError, ValueError, msgspec.DecodeError):
        return _EPOCH


def _included(document: Page, kind: str, form: Form, field: str, notes: Notes) -> dict[str, Record]:
    """Return by id the related resources of a kind, read as what a field of the record holds."""
    resources = [resource for resource in document.included if resource.type == kind]
    found = read(form.shape.nested[field], [each.attributes for each in resources], kind, notes.unknown)
    names = [resource.id for resource in resources]
    for each, name in zip(found, names, strict=True):
        each.id = name
    return dict(zip(names, found, strict=True))


def _stub(form: Form, field: str, name: str) -> Record:
    """Return what is known of a related resource that was not sent: its id."""
    struct = form.shape.nested[field].struct
    return struct() if "id" in form.related[field].dropped else struct(id=name)


def _related(resource: Resource, name: str, form: Form, found: Mapping[str, Record]) -> list[Record]:
    """Return what a to-many relationship points at; of what was not sent with it, the ids."""
    return [found.get(each) or _stub(form, name, each) for each in resource.many(name)]


def _or_null(value: Raw | UnsetType) -> Raw:
    return _NULL if isinstance(value, UnsetType) else value


def _decoded(decoder: Any, value: Any) -> Any:
    """Return a value of the decoder's type, None where there is none or it is of another."""
    try:
        return decoder.decode(value) if isinstance(value, Raw) else None
    except (msgspec.DecodeError, RecursionError):
        return None


# By the stream's schema: the function that makes its records.
BUILDERS: Mapping[str, Callable[[Page, Form, Notes], list[Record]]] = {
    "event": events,
    "list": lists,
    "campaign": campaigns,
    "global_exclusion": global_exclusions,
}
