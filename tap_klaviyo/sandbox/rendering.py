"""Events and profiles as the JSON of the API, made from templates that are compiled once for each variant."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from tap_klaviyo.sandbox import population
from tap_klaviyo.sandbox.properties import event_properties, variant_of
from tap_klaviyo.sandbox.templates import (
    compile_template,
    mixed_bits,
    restrict_fields,
    text_slot,
    time_stamp,
    value_slot,
)
from tap_klaviyo.sandbox.timeline import event_id

if TYPE_CHECKING:
    from tap_klaviyo.sandbox.account import Account

# 100 ns from 1582-10-15 to 1970-01-01, which UUIDs of version 1 count from.
_UUID_EPOCH = 0x01B21DD213814000
_NO_PROFILE, _NULL_PROFILE, _SOME_PROFILE = range(3)
# An attribution's relationships, each with the type of resource that it names.
_ATTRIBUTED = {
    "event": "event",
    "attributed-event": "event",
    "campaign": "campaign",
    "campaign-message": "campaign-message",
    "flow": "flow",
    "flow-message": "flow-message",
    "flow-message-variation": "flow-message",
}

Fields = frozenset[str] | None
# A metric, a variant of properties, how the event names its profile, and whether there is an attribution.
Sort = tuple[int, int, int, bool]


@dataclass(frozen=True)
class View:
    """How a query wants events: with which included resources and sparse fieldsets (None for all fields)."""

    include: frozenset[str] = frozenset()
    event: Fields = None
    profile: Fields = None
    metric: Fields = None


class Renderer:
    """Renders the events of one account, with links to one origin."""

    def __init__(self, account: Account, origin: str) -> None:
        """Start without templates; they are compiled when they are first needed."""
        self._account = account
        self.origin = origin
        self._event_templates: defaultdict[View, dict[Sort, bytes]] = defaultdict(dict)
        self._profile_template = lru_cache(maxsize=4096)(self._make_profile_template)
        self._attribution = compile_template(_attribution_template(origin))
        self._padding = self._needed_padding() if account.event_bytes else 0
        self._event_templates.clear()

    def page(self, numbers: Sequence[int], view: View) -> tuple[list[bytes], list[bytes]]:
        """Return the events and the resources included with them, each once."""
        people = [self._account.profile_of(number) for number in numbers]
        events = [self._event(number, profile, view) for number, profile in zip(numbers, people, strict=True)]
        included = []
        if "profile" in view.include:
            is_deleted = self._account.people.is_deleted
            there = (each for each in dict.fromkeys(people) if each is not None and not is_deleted(each))
            included += [self.profile(each, view.profile) for each in there]
        if "metric" in view.include:
            metrics = dict.fromkeys(self._account.timeline.metrics[number] for number in numbers)
            included += [self._metric(each, view.metric) for each in metrics]
        if "attributions" in view.include:
            included += [self._included_attribution(number) for number in numbers if is_attributed(number)]
        return events, included

    def _event(self, number: int, profile: int | None, view: View) -> bytes:
        account = self._account
        second, metric = account.timeline.seconds[number], account.timeline.metrics[number]
        bits = mixed_bits(number + account.salt)
        relation = _SOME_PROFILE if profile is not None else bits >> 8 & 1
        attributed = "attributions" in view.include and is_attributed(number)
        sort = (metric, variant_of(bits), relation, attributed)
        templates = self._event_templates[view]
        template = templates.get(sort) or templates.setdefault(sort, self._event_template(*sort, view))
        return template % {
            b"id": event_id(second, number),
            b"second": b"%d" % second,
            b"datetime": time_stamp(second),
            b"uuid": b"null" if bits >> 16 & 127 == 9 else _event_uuid(second, bits),
            b"number": b"%d" % number,
            b"cents": b"%d.%02d" % (bits >> 24 & 255, number % 100),
            b"email": b"gone@mail.example" if profile is None else population.email_of(profile),
            b"profile": b"" if profile is None else population.profile_id(profile),
            b"attribution": b"%032x" % (number + 1),
        }

    def profile(self, profile: int, fields: Fields, extra: Collection[str] = (), **more: bytes) -> bytes:
        """Return one profile; `more` has the JSON of the attributes that `extra` names."""
        template = self._profile_template(profile % len(population.VARIANTS), fields, tuple(extra))
        moments = self._account.people.moments(profile)
        return template % {
            **population.template_arguments(profile, *moments),
            **{name.encode(): each for name, each in more.items()},
        }

    def whole_profile(self, number: int, fields: Fields, extra: Sequence[str], **known: bytes) -> bytes:
        """Return a profile with the attributes that `extra` names; `known` has the JSON of some of them."""
        made = {
            "subscriptions": population.subscriptions_of(number, self._account.suppressions.get(number)),
            "predictive_analytics": population.predictive_analytics(number),
        }
        more = {name: known.get(name) or json.dumps(made[name]).encode() for name in extra}
        return self.profile(number, fields, extra, **more)

    def _event_template(self, metric: int, variant: int, relation: int, attributed: bool, view: View) -> bytes:
        found = self._account.metrics[metric]
        own = f"{self.origin}/api/events/{text_slot('id')}"
        attributes = {
            "timestamp": value_slot("second"),
            "datetime": text_slot("datetime"),
            "uuid": value_slot("uuid"),
            "event_properties": event_properties(found.kind.family, variant, self._padding),
        }
        resource: dict[str, Any] = {
            "type": "event",
            "id": text_slot("id"),
            "attributes": restrict_fields(attributes, view.event),
            "links": {"self": f"{own}/"},
        }
        if view.event is None:
            related: dict[str, Any] = {"metric": _related_object(own, "metric", found.id)}
            if relation != _NO_PROFILE:
                related["profile"] = _related_object(
                    own, "profile", text_slot("profile") if relation == _SOME_PROFILE else None
                )
            if "attributions" in view.include:
                data = [{"type": "attribution", "id": text_slot("attribution")}] if attributed else []
                related["attributions"] = {**_relationship_links(own, "attributions"), "data": data}
            resource["relationships"] = related
        return compile_template(resource)

    def _make_profile_template(self, variant: int, fields: Fields, extra: tuple[str, ...]) -> bytes:
        return population.profile_template(variant, self.origin, fields, extra)

    def _metric(self, place: int, fields: Fields) -> bytes:
        found = self._account.metrics[place]
        own = f"{self.origin}/api/metrics/{found.id}"
        resource: dict[str, Any] = {
            "type": "metric",
            "id": found.id,
            "attributes": restrict_fields(found.attributes, fields),
            "links": {"self": f"{own}/"},
        }
        if fields is None:
            resource["relationships"] = {"flow-triggers": _relationship_links(own, "flow-triggers")}
        return compile_template(resource) % {}

    def _included_attribution(self, number: int) -> bytes:
        timeline = self._account.timeline
        cause = max(0, number - 1)
        return self._attribution % {
            b"id": b"%032x" % (number + 1),
            b"event": timeline.id(number),
            b"cause": timeline.id(cause),
            b"number": b"%04d" % (number % 10_000),
        }

    def _needed_padding(self) -> int:
        """Return how many characters to add to each event, so that it has the wanted size together with a profile."""
        self._padding = 0
        sample = range(min(200, len(self._account.timeline.seconds)))
        profiles = islice(population.profiles_from(self._account.people.population), len(sample))
        size = sum(map(len, self.page(sample, View())[0]))
        size += sum(len(self.profile(each, None)) for each in profiles)
        return max(0, (self._account.event_bytes or 0) - size // max(1, len(sample)))


def is_attributed(number: int) -> bool:
    """Return whether an event is attributed to another event."""
    return number % 5 == 0


def _event_uuid(second: int, bits: int) -> bytes:
    """Return a quoted UUID of version 1, made from the event's second, with clock sequence 8001."""
    ticks = second * 10_000_000 + _UUID_EPOCH
    low, middle, high = ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0xFFF
    return b'"%08x-%04x-1%03x-8001-%012x"' % (low, middle, high, bits & 0xFFFFFFFFFFFF)


def _relationship_links(own: str, name: str) -> dict[str, Any]:
    return {"links": {"self": f"{own}/relationships/{name}/", "related": f"{own}/{name}/"}}


def _related_object(own: str, name: str, resource_id: str | None) -> dict[str, Any]:
    return {"data": resource_id and {"type": name, "id": resource_id}, **_relationship_links(own, name)}


def _attribution_template(origin: str) -> dict[str, Any]:
    own = f"{origin}/api/attributions/{text_slot('id')}"
    ids = (text_slot("event"), text_slot("cause"), *(f"{name}{text_slot('number')}" for name in "CMFSV"))
    related = {
        name: {"data": {"type": kind, "id": each}, **_relationship_links(own, name)}
        for (name, kind), each in zip(_ATTRIBUTED.items(), ids, strict=True)
    }
    return {"type": "attribution", "id": text_slot("id"), "relationships": related, "links": {"self": f"{own}/"}}
