"""An account of the sandbox: frozen data that follows from a seed, and the ledger of what a sync has to emit."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import merge
from random import Random
from typing import Any

from tap_klaviyo.sandbox import population
from tap_klaviyo.sandbox.endpoints import LIST_SUPPRESSIONS, SUPPRESSION
from tap_klaviyo.sandbox.metrics import STREAMS, Metric, build_metrics
from tap_klaviyo.sandbox.population import Suppressed
from tap_klaviyo.sandbox.rendering import Fields, Renderer, View
from tap_klaviyo.sandbox.resources import Item, build_campaigns, build_lists, build_tags, rendered, without
from tap_klaviyo.sandbox.templates import mixed, stamp
from tap_klaviyo.sandbox.timeline import Burst, Shape, Timeline, build_timeline

NOW = 1_795_392_000
_EXCLUSIONS = ("subscriptions", "predictive_analytics")


@dataclass(frozen=True)
class Account:
    """All that a sandbox serves. Make one with `Account.build`.

    `now` and `start` are epoch seconds: when it was made, and where its events begin; `population` counts its
    profiles; `event_bytes` is the size that an event with its profile is padded to.
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
    ) -> Account:
        """Return the account of a seed.

        Args:
            events: how many lie in the `days` before `now`; some more lie after it.
            seed: the same seed and arguments give the same account.
            now: epoch seconds.
            days: how far the events go back.
            shape: even, or skewed: half of all events on one day.
            event_bytes: what an event takes together with its profile, about.
            profiles: how many people there are; an eighth of the events.
            lists: how many.
            campaigns: how many, over all channels.
            suppressed: how many profiles are suppressed; 250 or more.
            burst: how many events one second has; 1200, of few events a part.
            burst_stream: the timeline that they belong to, evenly to each of its metrics.
            absent: timelines that the account has no metric for.

        Raises:
            ValueError: an argument does not fit.
        """
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
        return cls(
            now=now,
            start=now - days * 86_400,
            salt=random.getrandbits(40),
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

    def profile(self, renderer: Renderer, number: int, fields: Fields, extra: Sequence[str]) -> bytes:
        """Return a profile with the attributes that come only on request."""
        known = {
            "subscriptions": population.subscriptions(number, self.suppressions.get(number)),
            "predictive_analytics": population.predictive_analytics(number),
        }
        more = {name: json.dumps(known[name]).encode() for name in extra}
        return renderer.profile(number, fields, extra, **more)

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

    @cached_property
    def items(self) -> Mapping[str, Item]:
        """What can be included, by id: tags and campaign messages."""
        return {item.id: item for item in (*self.tags, *self.messages)}

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
            ids = item.related[name] or ()
            resource[name.replace("-", "_")] = [rendered(self.items[each], origin, (), None) for each in ids]
        return resource


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
