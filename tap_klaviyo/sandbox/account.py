"""An account of the sandbox: frozen data that a seed determines, and the ledger of what a sync has to emit."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import merge
from itertools import islice
from random import Random
from typing import Any

from tap_klaviyo.sandbox import population, served
from tap_klaviyo.sandbox.canvas_table import CANVAS_TABLE, with_base
from tap_klaviyo.sandbox.endpoints import LIST_SUPPRESSIONS, OMNICHANNEL, STABLE, SUPPRESSION, find_endpoint
from tap_klaviyo.sandbox.metrics import STREAMS, Metric, build_metrics
from tap_klaviyo.sandbox.population import Suppressed
from tap_klaviyo.sandbox.rankings import Ranking
from tap_klaviyo.sandbox.rendering import Fields, Renderer, View
from tap_klaviyo.sandbox.resources import ACCOUNT, Item, build_campaigns, build_lists, build_tags, rendered, without
from tap_klaviyo.sandbox.shop import Neighbours, Shop, changed
from tap_klaviyo.sandbox.shop_table import THE_TABLE, gone_parent
from tap_klaviyo.sandbox.templates import mixed, stamp
from tap_klaviyo.sandbox.timeline import Burst, Shape, Timeline, build_timeline

NOW = 1_795_392_000
# By scope, what Klaviyo says of a collection that the account's plan lacks. The first two were recorded when reading,
# the third when writing.
PLAN_REFUSALS: Mapping[str, str] = {
    "webhooks": "You must have Advanced KDP enabled to use this endpoint.",
    "push-tokens": "Company is not able to process push tokens",
    "custom-objects": "Entitlement to create object type not found",
}
_EXCLUSIONS = ("subscriptions", "predictive_analytics")


@dataclass(frozen=True)
class Account:
    """Everything that a sandbox serves. Make one with `Account.build`.

    Attributes:
        now: when the account was made, in epoch seconds.
        start: where its events begin, in epoch seconds.
        salt: decides what follows from the number of an event.
        population: how many profiles events can name.
        shop: the collections of the stable revision besides.
        canvas: the collections whose shape changed with revision 2026-10-15, or that are new there.
        newcomers: how many more profiles there are. Events do not name them; they become visible when they are
            updated, which happens between `start` and two weeks after `now`.
        updates: by profile, the epoch second of its last update, if that is not the usual one.
        joins: by list or segment and profile, the epoch second at which it joined, None if it left.
        changes: by id of a resource of the shop, the attributes that changed, None if it was deleted.
        gone_list: a list that is listed although its members answer 404; None if there is no such parent of any kind.
        lacks: what the account's plan lacks, as keys of PLAN_REFUSALS.
        aggregate_lag: how many seconds the counts of metric-aggregates are behind the events; negative if ahead.
        event_bytes: the size that an event with its profile is padded to.
    """

    now: int
    start: int
    salt: int
    metrics: tuple[Metric, ...]
    timeline: Timeline
    population: int
    suppressions: Mapping[int, Suppressed]
    lists: tuple[Item, ...]
    campaigns: tuple[Item, ...]
    messages: tuple[Item, ...]
    tags: tuple[Item, ...]
    shop: Shop
    canvas: Shop
    newcomers: int = 0
    updates: Mapping[int, int] = field(default_factory=dict)
    joins: Mapping[str, Mapping[int, int | None]] = field(default_factory=dict)
    changes: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    gone_list: str | None = None
    lacks: frozenset[str] = frozenset()
    aggregate_lag: float = 0.0
    event_bytes: int | None = None

    @classmethod
    def build(
        cls,
        events: int = 2000,
        seed: int = 1,
        now: int = NOW,
        days: int = 365,
        shape: Shape = "even",
        event_bytes: int | None = None,
        profiles: int | None = None,
        lists: int = 25,
        campaigns: int = 240,
        suppressed: int | None = None,
        burst: int | None = None,
        burst_stream: str = "receive",
        absent: Collection[str] = (),
        newcomers: int | None = None,
        scale: int = 1,
        unknown_attributes: bool = False,
        gone: bool = True,
        lacks: Collection[str] = (),
    ) -> Account:
        """Return the account of a seed.

        Args:
            events: how many there are in the `days` before `now`; there are a few later ones too.
            seed: the same seed and arguments give the same account.
            now: epoch seconds.
            days: how far the events go back.
            shape: even, or skewed: half of all events on one day.
            event_bytes: the approximate size of an event together with its profile.
            profiles: the number of people; by default an eighth of the events.
            lists: the number of lists.
            campaigns: the number of campaigns, over all channels.
            suppressed: the number of suppressed profiles; by default 250 or more.
            burst: the number of events in one second; by default 1200, or fewer if there are few events.
            burst_stream: the timeline that they belong to; its metrics share them evenly.
            absent: timelines that the account has no metric for.
            newcomers: how many profiles are updated between the start and two weeks after `now`; a quarter of the
                people.
            scale: multiplies the size of the collections besides events, profiles, lists and campaigns.
            unknown_attributes: whether some of their resources have attributes that Klaviyo does not document.
            gone: whether one parent of each kind is listed although its children answer 404.
            lacks: what the plan lacks, so that it answers 403: webhooks, push-tokens, custom-objects.

        Raises:
            ValueError: an argument does not fit.
        """
        if unknown := set(lacks) - PLAN_REFUSALS.keys():
            raise ValueError(f"No plan lacks {sorted(unknown)}; it can lack {', '.join(PLAN_REFUSALS)}.")
        random = Random(seed)
        metrics = build_metrics(random, absent)
        feeding = [place for place, metric in enumerate(metrics) if metric.kind.stream == burst_stream]
        if not feeding:
            raise ValueError(f"The account has no timeline named {burst_stream} to burst.")
        heap = Burst(min(events, min(1200, events // 16) if burst is None else burst), feeding)
        suppressed = max(250, events // 500) if suppressed is None else suppressed
        people = max(profiles or events // 8, suppressed * 2, 1)
        tags = build_tags(random)
        own_lists = build_lists(random, lists, tags)
        own_campaigns, messages = build_campaigns(random, campaigns, now, tags, own_lists)
        salt = random.getrandbits(40)
        profile_ids = [population.profile_id(each).decode() for each in islice(population.people(people), 500)]
        neighbours = Neighbours(
            metrics=sorted(metric.id for metric in metrics if metric.kind.listed),
            revenue_metric=next(metric.id for metric in metrics if metric.kind.name == "Placed Order"),
            tags=tags,
            profiles=profile_ids,
            lists=[each.id for each in own_lists],
            campaigns=own_campaigns,
            messages=messages,
            ids=lambda resource_type: shop.ids(resource_type),
        )
        shop = Shop(salt, now, THE_TABLE, scale, unknown_attributes, neighbours)
        canvas = Shop(salt, now, CANVAS_TABLE, scale, unknown_attributes, neighbours, OMNICHANNEL)
        return cls(
            now=now,
            start=now - days * 86_400,
            salt=salt,
            metrics=metrics,
            timeline=build_timeline(random, metrics, events, now, days, shape, heap),
            population=people,
            suppressions=population.build_suppressions(
                random, suppressed, people, now, [each.id for each in own_lists]
            ),
            lists=own_lists,
            campaigns=own_campaigns,
            messages=messages,
            tags=tags,
            shop=shop,
            canvas=canvas,
            lacks=frozenset(lacks),
            newcomers=people // 4 if newcomers is None else newcomers,
            gone_list=("", *(each.id for each in own_lists))[-1] if gone else None,
            event_bytes=event_bytes,
        )

    def without(
        self,
        list_ids: Collection[str] = (),
        campaign_ids: Collection[str] = (),
        suppressed_emails: Collection[str] = (),
    ) -> Account:
        """Return the account after some deletions; profiles stay, and are suppressed no longer."""
        kept = {
            each: why
            for each, why in self.suppressions.items()
            if population.email(each).decode() not in suppressed_emails
        }
        return replace(
            self,
            lists=without(self.lists, list_ids),
            campaigns=without(self.campaigns, campaign_ids),
            suppressions=kept,
        )

    def with_archived(self, campaign_ids: Collection[str], now: float, archived: bool = True) -> Account:
        """Return the account after some campaigns were archived, or taken out of the archive, at an epoch second."""
        updated_at = f"{stamp(int(now)).decode().removesuffix('+00:00')}.500000+00:00"
        changed = {"archived": archived, "updated_at": updated_at}
        campaigns = (
            replace(item, attributes={**item.attributes, **changed}) if item.id in campaign_ids else item
            for item in self.campaigns
        )
        return replace(self, campaigns=tuple(campaigns))

    def with_suppressed(self, emails: Collection[str], reason: str, now: float) -> Account:
        """Return the account after some suppressed profiles were suppressed for another reason at an epoch second."""
        changed = {
            each: Suppressed(((reason, stamp(int(now)).decode()),), why.lists)
            for each, why in self.suppressions.items()
            if population.email(each).decode() in emails
        }
        return replace(self, suppressions={**self.suppressions, **changed})

    def with_updated(self, profiles: Collection[str], now: float) -> Account:
        """Return the account after some profiles (by id) were updated at an epoch second."""
        return replace(self, updates={**self.updates, **dict.fromkeys(map(_number, profiles), int(now))})

    def with_joined(self, group_id: str, profiles: Collection[str], now: float) -> Account:
        """Return the account after some profiles joined a list or segment at an epoch second, if only once more."""
        joined = {**self.joins.get(group_id, {}), **dict.fromkeys(map(_number, profiles), int(now))}
        return replace(self, joins={**self.joins, group_id: joined})

    def with_left(self, group_id: str, profiles: Collection[str]) -> Account:
        """Return the account after some profiles left a list or segment."""
        joined = {**self.joins.get(group_id, {}), **dict.fromkeys(map(_number, profiles))}
        return replace(self, joins={**self.joins, group_id: joined})

    def with_lag(self, seconds: float) -> Account:
        """Return the account with counts of metric-aggregates that are behind the events, or ahead if negative."""
        return replace(self, aggregate_lag=seconds)

    def with_changed(self, resource_id: str, **attributes: Any) -> Account:
        """Return the account after attributes of a resource of the shop, such as a flow, changed."""
        changes = {**(self.changes.get(resource_id) or {}), **attributes}
        return replace(self, changes={**self.changes, resource_id: changes})

    def with_deleted(self, resource_ids: Collection[str]) -> Account:
        """Return the account after some resources of the shop, such as flows, were deleted."""
        return replace(self, changes={**self.changes, **dict.fromkeys(resource_ids)})

    def collection(self, path: str, now: float, origin: str = "", revision: str = STABLE) -> list[dict[str, Any]]:
        """Return all resources that a complete sync of a collection emits.

        Args:
            path: an endpoint's path, such as /api/flows; with `{id}` for the children of all parents.
            now: epoch seconds; what becomes visible later is left out.
            origin: what the resources' links begin with.
            revision: of the API.

        Returns:
            Resources as the API gives them with everything that can be included or comes only on request. Children
            have `parent_id` beside their own members. Included resources are lists under the relationship's name
            with `_` for `-`. Resources that come only if a filter names them, such as archived flows, are there.
        """
        return list(served.resources_of(self, Renderer(self, origin), find_endpoint(path, revision), now))

    def ledger(self, now: float, start: int | None = None, end: int | None = None) -> dict[str, list[str]]:
        """Return by stream the keys that a complete sync emits, each once, events in order of (timestamp, id).

        Args:
            now: epoch seconds; what becomes visible later is left out.
            start: events with start <= timestamp count; None for all.
            end: events with timestamp < end count; None for `now`.
        """
        found = {
            stream: [self.timeline.id(number).decode() for number in self._events_of(stream, now, start, end)]
            for stream in STREAMS
        }
        found["lists"] = [item.id for item in self.lists]
        found["campaigns"] = [item.id for item in self.campaigns]
        found["global_exclusions"] = [population.email(each).decode() for each in self.suppressions]
        return found

    def resources(
        self, stream: str, now: float, start: int | None = None, end: int | None = None, origin: str = ""
    ) -> list[dict[str, Any]]:
        """Return the resources behind a stream's rows, in the order of the ledger.

        Args:
            stream: one of the ledger's names.
            now: as for the ledger, like `start` and `end`.
            start: epoch seconds.
            end: epoch seconds.
            origin: what the resources' links begin with.

        Returns:
            Resources as the API gives them with all that can be included, and beside their own members `profile`
            (a resource, None where there is none or it was deleted), `metric`, `attributions`, `tags`,
            `campaign_messages`: the included resources themselves.
        """
        renderer = Renderer(self, origin)
        if stream == "lists":
            return [self._with_included(item, origin, "tags") for item in self.lists]
        if stream == "campaigns":
            return [self._with_included(item, origin, "tags", "campaign-messages") for item in self.campaigns]
        if stream == "global_exclusions":
            return [json.loads(self.profile(renderer, each, None, _EXCLUSIONS)) for each in self.suppressions]
        return [_event(renderer, number) for number in self._events_of(stream, now, start, end)]

    def profile_of(self, event: int) -> int | None:
        """Return the profile that an event names, be it there or deleted; None where it names none."""
        bits = mixed(event + self.salt)
        return None if bits >> 9 & 127 == 5 else (bits >> 30) % self.population

    def profile(self, renderer: Renderer, number: int, fields: Fields, extra: Sequence[str], **known: bytes) -> bytes:
        """Return a profile with the attributes that `extra` names; `known` holds the JSON of some of them."""
        made = {
            "subscriptions": population.subscriptions(number, self.suppressions.get(number)),
            "predictive_analytics": population.predictive_analytics(number),
        }
        more = {name: known.get(name) or json.dumps(made[name]).encode() for name in extra}
        return renderer.profile(number, fields, extra, **more)

    def moments(self, profile: int) -> tuple[int, int]:
        """Return when a profile was created and last updated, in epoch seconds."""
        created, updated = population.usual_moments(profile)
        if profile >= self.population:
            # Spread over the time from the start on, but not in the order of the numbers.
            span = self.now + 14 * 86_400 - self.start
            place = (profile - self.population) * 0x9E3779B1 % max(1, self.newcomers)
            updated = self.start + span * place // max(1, self.newcomers)
            created = updated - place % 30 * 86_400
        return created, self.updates.get(profile, updated)

    def is_there(self, profile: int, now: float) -> bool:
        """Return whether the API shows a profile at a time (epoch seconds)."""
        return not population.is_deleted(profile) and (profile < self.population or self.moments(profile)[1] <= now)

    @cached_property
    def by_update(self) -> Ranking:
        """All profiles by the time of their last update."""
        people = population.people(self.population + self.newcomers)
        return Ranking({each: population.updated_micro(each, self.moments(each)[1]) for each in people})

    def members(self, group_id: str) -> Ranking:
        """Return the members of a list or segment by the time at which they joined."""
        if group_id not in self._members:
            joined: dict[int, int | None] = {**self._usual_members(group_id), **self.joins.get(group_id, {})}
            micros = {number: second * 1_000_000 for number, second in joined.items() if second is not None}
            self._members[group_id] = Ranking(micros)
        return self._members[group_id]

    @cached_property
    def _members(self) -> dict[str, Ranking]:
        return {}

    def _usual_members(self, group_id: str) -> dict[int, int]:
        random = Random(f"{self.salt} {group_id}")
        people = self.population + self.newcomers
        # Some have no members, some a few, some more than a page, one in six has everybody.
        size = random.choice((0, 3, 130, people // 10, people // 3, people))
        joined = {}
        for number in random.sample(range(people), min(size, people)):
            second = random.randrange(self.now - 500 * 86_400, self.now + 10 * 86_400)
            if not population.is_deleted(number):
                newcomer = number >= self.population
                joined[number] = max(second, self.moments(number)[1]) if newcomer else second
        return joined

    def is_gone(self, resource_type: str, resource_id: str, revision: str = STABLE) -> bool:
        """Return whether the children of a parent answer 404 although it is listed."""
        if self.gone_list is None:
            return False
        if resource_type == "list":
            return resource_id == self.gone_list
        return resource_id == gone_parent(self._shop_of(resource_type, revision), resource_type)

    def items_of(self, resource_type: str, revision: str = STABLE) -> Sequence[Item]:
        """Return all resources of a type, by id; events and profiles are not held as values."""
        key = resource_type, self._shop_of(resource_type, revision).revision
        if key not in self._items:
            self._items[key] = tuple(self._current_items(*key))
        return self._items[key]

    def _shop_of(self, resource_type: str, revision: str) -> Shop:
        return self.canvas if revision == OMNICHANNEL and resource_type in self.canvas.table else self.shop

    def _current_items(self, resource_type: str, revision: str) -> Iterable[Item]:
        own: Mapping[str, Sequence[Item]] = {
            "account": (ACCOUNT,),
            "campaign": self.campaigns,
            "campaign-message": self.messages,
            "event": (),
            "list": self.lists,
            "metric": self.metric_items,
            "profile": (),
        }
        if revision == STABLE and resource_type in own:
            return own[resource_type]
        items = [
            changed(item, self.changes.get(item.id) or {})
            for item in self._shop_of(resource_type, revision).items(resource_type)
            if self.changes.get(item.id, {}) is not None
        ]
        return items if revision == STABLE else self._with_campaigns(items)

    def _with_campaigns(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield resources of the canvas as the campaigns of the stable revision are now, without those deleted."""
        kept = {item.id: item for item in self.campaigns}
        deleted = {item.id for item in self.canvas.neighbours.campaigns} - kept.keys()
        for item in items:
            if item.id in kept:
                yield with_base(item, kept[item.id])
            elif item.id not in deleted and item.hidden.get("campaign.id") not in deleted:
                yield item

    @cached_property
    def _items(self) -> dict[tuple[str, str], Sequence[Item]]:
        return {}

    def children(self, resource_type: str, parent_type: str, revision: str = STABLE) -> Mapping[str, Sequence[Item]]:
        """Return the resources of a type by the id of the parent that they belong to."""
        key = resource_type, parent_type, revision
        if key not in self._children:
            found: dict[str, list[Item]] = {}
            for item in self.items_of(resource_type, revision):
                found.setdefault(item.hidden[f"{parent_type}.id"], []).append(item)
            self._children[key] = found
        return self._children[key]

    @cached_property
    def _children(self) -> dict[tuple[str, str, str], dict[str, list[Item]]]:
        return {}

    def item(self, resource_type: str, resource_id: str, revision: str = STABLE) -> Item | None:
        """Return a resource that is held as a value, None if there is none of this id."""
        key = resource_type, revision
        if key not in self._by_id:
            self._by_id[key] = {item.id: item for item in self.items_of(resource_type, revision)}
        return self._by_id[key].get(resource_id)

    @cached_property
    def _by_id(self) -> dict[tuple[str, str], dict[str, Item]]:
        return {}

    @cached_property
    def metric_places(self) -> Mapping[str, int]:
        """The places of the metrics that the API knows, by id."""
        return {metric.id: place for place, metric in enumerate(self.metrics) if metric.kind.listed}

    @cached_property
    def metric_items(self) -> Sequence[Item]:
        """The metrics that the API knows, by id."""
        listed = sorted((metric for metric in self.metrics if metric.kind.listed), key=lambda metric: metric.id)
        return [_metric_item(metric) for metric in listed]

    @cached_property
    def suppressed(self) -> Sequence[int]:
        """The suppressed profiles, ascending."""
        return sorted(self.suppressions)

    def profile_item(self, number: int) -> Item:
        """Return a profile with all that filters and sorts may ask for."""
        resource = json.loads(self.profile(self._renderer, number, None, ()))
        return Item("profile", resource["id"], resource["attributes"], hidden=self._suppression_fields(number))

    def events_of(self, metrics: Collection[int]) -> Sequence[int]:
        """Return the numbers of the events of some metrics, ascending."""
        found = [self.timeline.by_metric.get(metric, ()) for metric in metrics]
        return found[0] if len(found) == 1 else list(merge(*found))

    def _events_of(self, stream: str, now: float, start: int | None, end: int | None) -> Iterator[int]:
        metrics = [place for place, metric in enumerate(self.metrics) if metric.kind.stream == stream]
        numbers, seconds = self.events_of(metrics), self.timeline.seconds
        first = 0 if start is None else bisect_left(numbers, start, key=seconds.__getitem__)
        last = bisect_left(numbers, now if end is None else end, key=seconds.__getitem__)
        return (number for number in numbers[first:last] if self.timeline.is_visible(number, now))

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self, "")

    def _suppression_fields(self, number: int) -> dict[str, tuple[str, ...]]:
        suppressed = self.suppressions.get(number)
        if suppressed is None:
            return {}
        lists, reasons, moments = zip(*suppressed.lists, strict=True) if suppressed.lists else ((), (), ())
        return {
            f"{SUPPRESSION}.reason": tuple(reason for reason, _ in suppressed.reasons),
            f"{SUPPRESSION}.timestamp": tuple(moment for _, moment in suppressed.reasons),
            f"{LIST_SUPPRESSIONS}.list_id": lists,
            f"{LIST_SUPPRESSIONS}.reason": reasons,
            f"{LIST_SUPPRESSIONS}.timestamp": moments,
        }

    def _with_included(self, item: Item, origin: str, *include: str) -> dict[str, Any]:
        resource = rendered(item, origin, include, None)
        for name in include:
            own = served.included_items(self, [item], [name])
            resource[name.replace("-", "_")] = [rendered(each, origin, (), None) for each in own]
        return resource


def _number(profile_id: str) -> int:
    number = population.number_of(profile_id.encode())
    if number is None:
        raise ValueError(f"No profile has the id {profile_id}.")
    return number


def _metric_item(metric: Metric) -> Item:
    # A filter by the integration's category was seen to find nothing.
    hidden = {"integration.name": (metric.kind.integration or {}).get("name")}
    return Item("metric", metric.id, metric.attributes, {"flow-triggers": ()}, hidden)


def _event(renderer: Renderer, number: int) -> dict[str, Any]:
    everything = View(frozenset({"profile", "metric", "attributions"}))
    own, included = renderer.page([number], everything)
    resource: dict[str, Any] = json.loads(own[0])
    resource |= {"profile": None, "metric": None, "attributions": []}
    for each in map(json.loads, included):
        if each["type"] == "attribution":
            resource["attributions"].append(each)
        else:
            resource[each["type"]] = each
    return resource
