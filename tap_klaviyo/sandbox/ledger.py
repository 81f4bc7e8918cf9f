"""The ledger: what a complete sync of an account emits."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tap_klaviyo.sandbox import population, served
from tap_klaviyo.sandbox.canvas_table import canvas_campaigns
from tap_klaviyo.sandbox.endpoints import TYPES, Endpoint
from tap_klaviyo.sandbox.items import Item, render_item
from tap_klaviyo.sandbox.metrics import STREAMS
from tap_klaviyo.sandbox.rendering import Renderer, View

if TYPE_CHECKING:
    from tap_klaviyo.sandbox.account import Account

_EXCLUSIONS = ("subscriptions", "predictive_analytics")
Resource = dict[str, Any]


def stream_keys(account: Account, now: float, start: int | None, end: int | None) -> dict[str, list[str]]:
    """Return by core stream the keys that it emits; the arguments are those of `Account.ledger`."""
    found = {
        stream: [account.timeline.id(number).decode() for number in _events_of(account, stream, now, start, end)]
        for stream in STREAMS
    }
    found["lists"] = [item.id for item in account.lists]
    canvas = [item.id for item in canvas_campaigns(account.canvas) if account.changes.get(item.id, {}) is not None]
    found["campaigns"] = [*(item.id for item in account.campaigns), *canvas]
    found["global_exclusions"] = [population.email_of(each).decode() for each in account.suppressions]
    return found


def stream_resources(
    account: Account, stream: str, now: float, start: int | None, end: int | None, origin: str
) -> list[Resource]:
    """Return the resources behind the rows of a core stream; the arguments are those of `Account.resources`."""
    renderer = Renderer(account, origin)
    if stream == "lists":
        return [_with_included(account, item, origin, "tags") for item in account.lists]
    if stream == "campaigns":
        return [_with_included(account, item, origin, "tags", "campaign-messages") for item in account.campaigns]
    if stream == "global_exclusions":
        return [json.loads(renderer.whole_profile(each, None, _EXCLUSIONS)) for each in account.suppressions]
    return [_whole_event(renderer, number) for number in _events_of(account, stream, now, start, end)]


def collection_resources(account: Account, endpoint: Endpoint, now: float, origin: str) -> Iterator[Resource]:
    """Yield every resource of an endpoint, with everything that it can have, and its parent's id."""
    renderer = Renderer(account, origin)
    for parent_id in _parent_ids(account, endpoint):
        belongs = {} if parent_id is None else {"parent_id": parent_id}
        if endpoint.type == "profile":
            for each in served.profiles_at(account, parent_id, now):
                profile = served.profile_at(account, renderer, each, None, endpoint.additional, parent_id)
                yield {**json.loads(profile), **belongs}
        else:
            for item in served.collection_items(account, endpoint, parent_id):
                yield {**_whole_item(account, renderer, endpoint, item, now), **belongs}


def _events_of(account: Account, stream: str, now: float, start: int | None, end: int | None) -> Iterator[int]:
    metrics = [place for place, metric in enumerate(account.metrics) if metric.kind.stream == stream]
    numbers, seconds = account.events_of(metrics), account.timeline.seconds
    first = 0 if start is None else bisect_left(numbers, start, key=seconds.__getitem__)
    last = bisect_left(numbers, now if end is None else end, key=seconds.__getitem__)
    return (number for number in numbers[first:last] if account.timeline.is_visible(number, now))


def _with_included(account: Account, item: Item, origin: str, *include: str) -> Resource:
    resource = render_item(item, origin, include, None)
    for name in include:
        own = served.included_items(account, [item], [name])
        resource[name.replace("-", "_")] = [render_item(each, origin, (), None) for each in own]
    return resource


def _parent_ids(account: Account, endpoint: Endpoint) -> list[str | None]:
    if endpoint.path not in served.CHILDREN:
        return [None]
    kind, revision = served.CHILDREN[endpoint.path].parent, endpoint.revision
    parents = account.holdings.items_of(kind, revision)
    return [item.id for item in parents if endpoint.single or not account.holdings.is_gone(kind, item.id, revision)]


def _whole_item(account: Account, renderer: Renderer, endpoint: Endpoint, item: Item, now: float) -> Resource:
    if served.is_linkage(endpoint):
        return {"type": item.type, "id": item.id}
    item = served.with_counts(account, item, endpoint.additional, now)
    revision = endpoint.revision
    resource = render_item(item, renderer.origin, endpoint.include, None, revision=revision)
    for name in endpoint.include:
        if TYPES[revision][item.type].relationships[name].type == "profile":
            ids = [str(item.related[name])] if item.related.get(name) else []
            own = [json.loads(renderer.whole_profile(served.profile_number(each), None, ())) for each in ids]
        else:
            found = served.included_items(account, [item], [name], revision)
            own = [served.included_item(each, renderer.origin, None, revision) for each in found]
        resource[name.replace("-", "_")] = own
    return resource


def _whole_event(renderer: Renderer, number: int) -> Resource:
    everything = View(frozenset({"profile", "metric", "attributions"}))
    own, included = renderer.page([number], everything)
    resource: Resource = json.loads(own[0])
    resource |= {"profile": None, "metric": None, "attributions": []}
    for each in map(json.loads, included):
        if each["type"] == "attribution":
            resource["attributions"].append(each)
        else:
            resource[each["type"]] = each
    return resource
