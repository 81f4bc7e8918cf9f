"""The resources at each path: of a collection, of a parent, and those included with others."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tap_klaviyo.sandbox import population
from tap_klaviyo.sandbox.endpoints import ON_REQUEST, STABLE, TYPES, Endpoint
from tap_klaviyo.sandbox.items import Item, render_item
from tap_klaviyo.sandbox.rankings import Ranking
from tap_klaviyo.sandbox.refusals import RefusalError
from tap_klaviyo.sandbox.shop_table import MOST_INCLUDED
from tap_klaviyo.sandbox.templates import time_stamp

if TYPE_CHECKING:
    from tap_klaviyo.sandbox.account import Account
    from tap_klaviyo.sandbox.rendering import Renderer


@dataclass(frozen=True)
class Children:
    """The parent of the resources at a path with `{id}`.

    Attributes:
        parent: the type of the parent.
        linkage: whether the answer has types and ids only.
    """

    parent: str
    linkage: bool = False


CHILDREN: Mapping[str, Children] = {
    "/api/campaign-messages/{id}/campaign-variations": Children("campaign-message"),
    "/api/campaigns/{id}/campaign-audiences": Children("campaign"),
    "/api/catalog-categories/{id}/relationships/items": Children("catalog-category", linkage=True),
    "/api/flow-actions/{id}/flow-messages": Children("flow-action"),
    "/api/flows/{id}/flow-actions": Children("flow"),
    "/api/forms/{id}/form-versions": Children("form"),
    "/api/lists/{id}": Children("list"),
    "/api/lists/{id}/profiles": Children("list"),
    "/api/metrics/{id}/metric-properties": Children("metric"),
    "/api/object-types/{id}/object-records": Children("object-type"),
    "/api/segments/{id}": Children("segment"),
    "/api/segments/{id}/profiles": Children("segment"),
}


def check_parent(account: Account, endpoint: Endpoint, parent_id: str) -> None:
    """Check that the parent of an endpoint's resources exists.

    Raises:
        RefusalError: it does not exist, or its id is malformed.
    """
    kind = CHILDREN[endpoint.path].parent
    if kind == "flow-action" and not parent_id.isdigit():
        raise RefusalError("invalid", "Flow Action ID must be a digit")
    gone = account.holdings.is_gone(kind, parent_id, endpoint.revision) and not endpoint.single
    if gone or account.holdings.item(kind, parent_id, endpoint.revision) is None:
        raise RefusalError("not_found", f"A {kind} with id {parent_id} does not exist.")


def collection_items(account: Account, endpoint: Endpoint, parent_id: str | None) -> Sequence[Item]:
    """Return the resources at an endpoint, by id; events and profiles are rendered elsewhere."""
    if parent_id is None:
        return account.holdings.items_of(endpoint.type, endpoint.revision)
    kind = CHILDREN[endpoint.path].parent
    if endpoint.single:
        found = account.holdings.item(kind, parent_id)
        return () if found is None else (found,)
    if endpoint.type == "catalog-item":
        category = account.holdings.item(kind, parent_id)
        ids = (category.related["items"] if category else None) or ()
        return [item for item in account.holdings.items_of("catalog-item") if item.id in ids]
    return account.holdings.children(endpoint.type, kind, endpoint.revision).get(parent_id, ())


def included_items(
    account: Account, items: Iterable[Item], include: Collection[str], revision: str = STABLE
) -> list[Item]:
    """Return the resources that come along with others, each once."""
    found: dict[tuple[str, str], Item] = {}
    for item in items:
        for name in include:
            target = item.related.get(name) or ()
            kind = TYPES[revision][item.type].relationships[name].type
            # The API cuts off what a resource includes too much of; the relationship still names it.
            for each in (target,) if isinstance(target, str) else target[:MOST_INCLUDED]:
                included = account.holdings.item(kind, each, revision)
                if included is not None:
                    found.setdefault((kind, each), included)
    return list(found.values())


def included_item(item: Item, origin: str, fields: Collection[str] | None, revision: str) -> dict[str, Any]:
    """Return a resource as the API includes it with others."""
    return render_item(item, origin, (), fields, ON_REQUEST.get(item.type, ()), revision)


def is_linkage(endpoint: Endpoint) -> bool:
    """Return whether an endpoint answers with types and ids only."""
    return endpoint.path in CHILDREN and CHILDREN[endpoint.path].linkage


def with_counts(account: Account, item: Item, additional: Collection[str], now: float) -> Item:
    """Return a list or segment with the number of its members, if that is asked for; others as they are."""
    if "profile_count" not in additional:
        return item
    count = sum(1 for _ in account.people.members(item.id).numbers_between((), now))
    return Item(item.type, item.id, {**item.attributes, "profile_count": count}, item.related, item.hidden)


def profiles_at(account: Account, parent_id: str | None, now: float) -> Iterator[int]:
    """Yield the numbers of all profiles at an endpoint: all by number, members by the time they joined."""
    if parent_id is not None:
        return account.people.members(parent_id).numbers_between((), now)
    return account.people.existing(now)


def profile_at(
    account: Account,
    renderer: Renderer,
    number: int,
    fields: frozenset[str] | None,
    additional: Sequence[str],
    parent_id: str | None,
) -> bytes:
    """Return a profile, as a member with the time at which it joined its parent."""
    if parent_id is None:
        return renderer.whole_profile(number, fields, additional)
    joined = json.dumps(joined_group_at(account.people.members(parent_id), number)).encode()
    return renderer.whole_profile(number, fields, (*additional, "joined_group_at"), joined_group_at=joined)


def joined_group_at(members: Ranking, number: int) -> str:
    """Return when a profile joined a list or segment, as the API writes it."""
    return time_stamp(members.micros[number] // 1_000_000).decode()


def profile_number(profile_id: str) -> int:
    """Return the number of the profile with an id; the first one if there is none."""
    return population.number_of(profile_id.encode()) or 0
