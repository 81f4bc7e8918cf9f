"""What stands behind each path: the resources of a collection, the children of a parent, and what is included."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tap_klaviyo.sandbox import population
from tap_klaviyo.sandbox.endpoints import ON_REQUEST, STABLE, TYPES, Endpoint
from tap_klaviyo.sandbox.rankings import Ranking
from tap_klaviyo.sandbox.refusals import RefusalError
from tap_klaviyo.sandbox.resources import Item, rendered
from tap_klaviyo.sandbox.shop_table import MOST_INCLUDED
from tap_klaviyo.sandbox.templates import stamp

if TYPE_CHECKING:
    from tap_klaviyo.sandbox.account import Account
    from tap_klaviyo.sandbox.rendering import Renderer


@dataclass(frozen=True)
class Children:
    """What the resources of a path with `{id}` belong to.

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
    gone = account.is_gone(kind, parent_id, endpoint.revision) and not endpoint.single
    if gone or account.item(kind, parent_id, endpoint.revision) is None:
        raise RefusalError("not_found", f"A {kind} with id {parent_id} does not exist.")


def collection_items(account: Account, endpoint: Endpoint, parent_id: str | None) -> Sequence[Item]:
    """Return the resources at an endpoint, by id; not for events and profiles, which are no values."""
    if parent_id is None:
        return account.items_of(endpoint.type, endpoint.revision)
    kind = CHILDREN[endpoint.path].parent
    if endpoint.single:
        found = account.item(kind, parent_id)
        return () if found is None else (found,)
    if endpoint.type == "catalog-item":
        category = account.item(kind, parent_id)
        ids = (category.related["items"] if category else None) or ()
        return [item for item in account.items_of("catalog-item") if item.id in ids]
    return account.children(endpoint.type, kind, endpoint.revision).get(parent_id, ())


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
                included = account.item(kind, each, revision)
                if included is not None:
                    found.setdefault((kind, each), included)
    return list(found.values())


def included(item: Item, origin: str, fields: Collection[str] | None, revision: str) -> dict[str, Any]:
    """Return a resource as the API includes it with others."""
    return rendered(item, origin, (), fields, ON_REQUEST.get(item.type, ()), revision)


def resources_of(account: Account, renderer: Renderer, endpoint: Endpoint, now: float) -> Iterator[dict[str, Any]]:
    """Yield the ledger of an endpoint: every resource with all that it can have, and its parent's id."""
    for parent_id in _parents(account, endpoint):
        belongs = {} if parent_id is None else {"parent_id": parent_id}
        if endpoint.type == "profile":
            for each in profiles_at(account, endpoint, parent_id, now):
                profile = profile_at(account, renderer, each, None, endpoint.additional, parent_id)
                yield {**json.loads(profile), **belongs}
        else:
            for item in collection_items(account, endpoint, parent_id):
                yield {**_whole(account, renderer, endpoint, item, now), **belongs}


def _parents(account: Account, endpoint: Endpoint) -> list[str | None]:
    if endpoint.path not in CHILDREN:
        return [None]
    kind = CHILDREN[endpoint.path].parent
    return [
        item.id
        for item in account.items_of(kind, endpoint.revision)
        if endpoint.single or not account.is_gone(kind, item.id, endpoint.revision)
    ]


def _whole(account: Account, renderer: Renderer, endpoint: Endpoint, item: Item, now: float) -> dict[str, Any]:
    if is_linkage(endpoint):
        return {"type": item.type, "id": item.id}
    item = with_counts(account, item, endpoint.additional, now)
    revision = endpoint.revision
    resource = rendered(item, renderer.origin, endpoint.include, None, revision=revision)
    for name in endpoint.include:
        if TYPES[revision][item.type].relationships[name].type == "profile":
            ids = [str(item.related[name])] if item.related.get(name) else []
            own = [json.loads(account.profile(renderer, _number(each), None, ())) for each in ids]
        else:
            found = included_items(account, [item], [name], revision)
            own = [included(each, renderer.origin, None, revision) for each in found]
        resource[name.replace("-", "_")] = own
    return resource


def is_linkage(endpoint: Endpoint) -> bool:
    """Return whether an endpoint answers with types and ids only."""
    return endpoint.path in CHILDREN and CHILDREN[endpoint.path].linkage


def with_counts(account: Account, item: Item, additional: Collection[str], now: float) -> Item:
    """Return a list or segment with the number of its members, if that is asked for; others as they are."""
    if "profile_count" not in additional:
        return item
    count = sum(1 for _ in account.members(item.id).numbers_between((), now))
    return Item(item.type, item.id, {**item.attributes, "profile_count": count}, item.related, item.hidden)


def profiles_at(account: Account, endpoint: Endpoint, parent_id: str | None, now: float) -> Iterator[int]:
    """Yield the numbers of all profiles at an endpoint: all by number, members by the time they joined."""
    if parent_id is not None:
        return account.members(parent_id).numbers_between((), now)
    people = population.people(account.population + account.newcomers)
    return (each for each in people if account.is_there(each, now))


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
        return account.profile(renderer, number, fields, additional)
    joined = json.dumps(joined_group_at(account.members(parent_id), number)).encode()
    return account.profile(renderer, number, fields, (*additional, "joined_group_at"), joined_group_at=joined)


def joined_group_at(members: Ranking, number: int) -> str:
    """Return when a profile joined a list or segment, as the API writes it."""
    return stamp(members.micros[number] // 1_000_000).decode()


def _number(profile_id: str) -> int:
    return population.number_of(profile_id.encode()) or 0
