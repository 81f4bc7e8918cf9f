"""An account of the sandbox: frozen data that a seed determines, and the ledger of what a sync has to emit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import merge
from itertools import islice
from random import Random
from typing import Any

from tap_klaviyo.sandbox import ledger, population
from tap_klaviyo.sandbox.canvas_table import CANVAS_TABLE
from tap_klaviyo.sandbox.endpoints import OMNICHANNEL, STABLE, find_endpoint
from tap_klaviyo.sandbox.holdings import Changes, Holdings
from tap_klaviyo.sandbox.items import Item
from tap_klaviyo.sandbox.metrics import Metric, build_metrics
from tap_klaviyo.sandbox.people import People
from tap_klaviyo.sandbox.population import Suppressed
from tap_klaviyo.sandbox.resources import ACCOUNT, build_campaigns, build_lists, build_tags, without_ids
from tap_klaviyo.sandbox.shop import Neighbours, Shop
from tap_klaviyo.sandbox.shop_table import THE_TABLE
from tap_klaviyo.sandbox.templates import mixed_bits, time_stamp
from tap_klaviyo.sandbox.timeline import Burst, Shape, Timeline, build_timeline

NOW = 1_795_392_000
# By scope, what Klaviyo says of a collection that the account's plan lacks. The first two were recorded when reading,
# the third when writing.
PLAN_REFUSALS: Mapping[str, str] = {
    "webhooks": "You must have Advanced KDP enabled to use this endpoint.",
    "push-tokens": "Company is not able to process push tokens",
    "custom-objects": "Entitlement to create object type not found",
}


@dataclass(frozen=True)
class Account:
    """Everything that a sandbox serves. Make one with `Account.build`.

    Attributes:
        now: when the account was made, in epoch seconds.
        start: where its events begin, in epoch seconds.
        salt: makes the events of two accounts differ.
        shop: the collections of the stable revision besides.
        canvas: the collections whose shape changed with revision 2026-10-15, or that are new there.
        people: the profiles.
        changes: by id of a resource of the shop, the attributes that changed, None if it was deleted.
        gone_list: a list that is listed although its members answer 404; None if there is no such parent of any kind.
        lacks: what the account's plan lacks, as keys of PLAN_REFUSALS.
        aggregate_lag: how many seconds the counts of metric-aggregates are behind the events; negative if ahead.
        counts_deleted: whether metric-aggregates counts the events of deleted profiles. Whether Klaviyo does is not
            known.
        event_bytes: the size that an event with its profile is padded to.
    """

    now: int
    start: int
    salt: int
    metrics: tuple[Metric, ...]
    timeline: Timeline
    people: People
    suppressions: Mapping[int, Suppressed]
    lists: tuple[Item, ...]
    campaigns: tuple[Item, ...]
    messages: tuple[Item, ...]
    tags: tuple[Item, ...]
    shop: Shop
    canvas: Shop
    changes: Changes = field(default_factory=dict)
    gone_list: str | None = None
    lacks: frozenset[str] = frozenset()
    aggregate_lag: float = 0.0
    counts_deleted: bool = True
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
        late_days: float = 6.5,
        counts_deleted: bool = True,
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
            late_days: how many days after its date an event can become visible.
            counts_deleted: whether metric-aggregates counts the events of deleted profiles.

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
        salt, start = random.getrandbits(40), now - days * 86_400
        profile_ids = [population.profile_id(each).decode() for each in islice(population.profiles_from(people), 500)]
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
            start=start,
            salt=salt,
            metrics=metrics,
            timeline=build_timeline(random, metrics, events, now, days, shape, heap, int(late_days * 86_400)),
            people=People(salt, start, now, people, people // 4 if newcomers is None else newcomers),
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
            counts_deleted=counts_deleted,
            gone_list=("", *(each.id for each in own_lists))[-1] if gone else None,
            event_bytes=event_bytes,
        )

    def without(
        self,
        list_ids: Collection[str] = (),
        campaign_ids: Collection[str] = (),
        suppressed_emails: Collection[str] = (),
    ) -> Account:
        """Return the account after some deletions; suppressed profiles are not deleted, only no longer suppressed."""
        kept = {
            each: why
            for each, why in self.suppressions.items()
            if population.email_of(each).decode() not in suppressed_emails
        }
        return replace(
            self,
            lists=without_ids(self.lists, list_ids),
            campaigns=without_ids(self.campaigns, campaign_ids),
            suppressions=kept,
        )

    def without_profiles(self, profiles: Collection[str]) -> Account:
        """Return the account after some profiles (by id) were deleted; their events stay, and still name them."""
        numbers = frozenset(map(_profile_number, profiles))
        kept = {each: why for each, why in self.suppressions.items() if each not in numbers}
        people = replace(self.people, deleted=self.people.deleted | numbers)
        return replace(self, people=people, suppressions=kept)

    def without_events(self, events: Collection[str]) -> Account:
        """Return the account after some events (by id) went, as those of an integration that Klaviyo removes."""
        return replace(self, timeline=self.timeline.without(frozenset(each.encode() for each in events)))

    def with_archived(self, campaign_ids: Collection[str], now: float, archived: bool = True) -> Account:
        """Return the account after some campaigns were archived or unarchived at an epoch second."""
        updated_at = f"{time_stamp(int(now)).decode().removesuffix('+00:00')}.500000+00:00"
        changed = {"archived": archived, "updated_at": updated_at}
        campaigns = (
            replace(item, attributes={**item.attributes, **changed}) if item.id in campaign_ids else item
            for item in self.campaigns
        )
        return replace(self, campaigns=tuple(campaigns))

    def with_suppressed(self, emails: Collection[str], reason: str, now: float) -> Account:
        """Return the account after some suppressed profiles were suppressed for another reason at an epoch second."""
        changed = {
            each: Suppressed(((reason, time_stamp(int(now)).decode()),), why.lists)
            for each, why in self.suppressions.items()
            if population.email_of(each).decode() in emails
        }
        return replace(self, suppressions={**self.suppressions, **changed})

    def with_updated(self, profiles: Collection[str], now: float) -> Account:
        """Return the account after some profiles (by id) were updated at an epoch second."""
        updates = {**self.people.updates, **dict.fromkeys(map(_profile_number, profiles), int(now))}
        return replace(self, people=replace(self.people, updates=updates))

    def with_joined(self, group_id: str, profiles: Collection[str], now: float) -> Account:
        """Return the account after some profiles joined a list or segment (again) at an epoch second."""
        return self._with_joins(group_id, dict.fromkeys(map(_profile_number, profiles), int(now)))

    def with_left(self, group_id: str, profiles: Collection[str]) -> Account:
        """Return the account after some profiles left a list or segment."""
        return self._with_joins(group_id, dict.fromkeys(map(_profile_number, profiles)))

    def _with_joins(self, group_id: str, joins: Mapping[int, int | None]) -> Account:
        own = {**self.people.joins.get(group_id, {}), **joins}
        return replace(self, people=replace(self.people, joins={**self.people.joins, group_id: own}))

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
            Resources as the API returns them with everything included and requested, archived and hidden ones too.
            Children also have `parent_id`. Included resources are lists under the name of the relationship, with `_`
            for `-`.
        """
        return list(ledger.collection_resources(self, find_endpoint(path, revision), now, origin))

    def ledger(self, now: float, start: int | None = None, end: int | None = None) -> dict[str, list[str]]:
        """Return the keys that a complete sync emits, by core stream; events in the order of (timestamp, id).

        Args:
            now: epoch seconds; what becomes visible later is left out.
            start: events with start <= timestamp count; None for all.
            end: events with timestamp < end count; None for `now`.
        """
        return ledger.stream_keys(self, now, start, end)

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
            Resources as the API returns them with everything included. Included resources are in additional members:
            `profile` (None if there is none or it was deleted), `metric`, `attributions`, `tags`, `campaign_messages`.
        """
        return ledger.stream_resources(self, stream, now, start, end, origin)

    def profile_of(self, event: int) -> int | None:
        """Return the profile that an event names, deleted or not; None if it names none."""
        bits = mixed_bits(event + self.salt)
        return None if bits >> 9 & 127 == 5 else (bits >> 30) % self.people.population

    @cached_property
    def holdings(self) -> Holdings:
        """All resources but events and profiles, as they are now."""
        own = {
            "account": (ACCOUNT,),
            "campaign": self.campaigns,
            "campaign-message": self.messages,
            "list": self.lists,
            "metric": self.metric_items,
        }
        return Holdings(own, self.shop, self.canvas, self.changes, self.gone_list)

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

    def events_of(self, metrics: Collection[int]) -> Sequence[int]:
        """Return the numbers of the events of some metrics, ascending."""
        found = [self.timeline.by_metric.get(metric, ()) for metric in metrics]
        return found[0] if len(found) == 1 else list(merge(*found))


def _profile_number(profile_id: str) -> int:
    number = population.number_of(profile_id.encode())
    if number is None:
        raise ValueError(f"No profile has the id {profile_id}.")
    return number


def _metric_item(metric: Metric) -> Item:
    # A filter by the integration's category was seen to find nothing.
    hidden = {"integration.name": (metric.kind.integration or {}).get("name")}
    return Item("metric", metric.id, metric.attributes, {"flow-triggers": ()}, hidden)
