"""Pages of all collections but events: filtered, sorted, cut behind a cursor, rendered."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from tap_klaviyo.sandbox import cursors, filters, population, served
from tap_klaviyo.sandbox.account import Account
from tap_klaviyo.sandbox.endpoints import LIST_SUPPRESSIONS, SUPPRESSION, Endpoint
from tap_klaviyo.sandbox.filters import Condition
from tap_klaviyo.sandbox.items import Item, render_item
from tap_klaviyo.sandbox.population import Suppressed
from tap_klaviyo.sandbox.query import Query
from tap_klaviyo.sandbox.rankings import Ranking
from tap_klaviyo.sandbox.refusals import invalid_parameter
from tap_klaviyo.sandbox.rendering import Renderer
from tap_klaviyo.sandbox.traffic import Page, next_url

# The sorts of profiles that a ranking serves.
_RANKED = ("joined_group_at", "updated")


class ItemPages:
    """Answers queries for the collections of one account."""

    def __init__(self, account: Account, renderer: Renderer) -> None:
        """Answer for an account."""
        self._account = account
        self._renderer = renderer

    def page(self, url: str, asked: Query, parent_id: str | None, size: int, now: float, repeat: bool) -> Page:
        """Return a page.

        Args:
            url: of the request.
            asked: what the request asks for.
            parent_id: the parent of the resources, if their path names one.
            size: how many resources a page has.
            now: epoch seconds; what becomes visible later is left out.
            repeat: begin a page that has a cursor with the item that the page before ended with.
        """
        if parent_id is not None:
            served.check_parent(self._account, asked.endpoint, parent_id)
        if asked.endpoint.sort_follows_filter:
            _check_future(asked, now)
        found = list(islice(self._items(asked, parent_id, now, repeat), size + 1))
        shown, following = found[:size], None
        if len(found) > size:
            following = next_url(url, cursors.of_item(asked.sort, *_order_by(asked.sort)(shown[-1])))
        included = tuple(self._included(shown, asked)) if asked.include else None
        data = tuple(self._resource(item, asked, parent_id, now) for item in shown)
        return Page(url, data, included, following, single=asked.endpoint.single)

    def _items(self, asked: Query, parent_id: str | None, now: float, repeat: bool) -> Iterator[Item]:
        """Yield what a query finds, in its order, from the cursor on."""
        if asked.endpoint.type == "profile" and asked.sort in _RANKED:
            return self._ranked(asked, parent_id, now, repeat)
        order, by_id = _order_by(asked.sort), asked.sort == "id" and not asked.descending
        at = None if asked.cursor is None else cursors.item_of_cursor(asked.cursor, asked.sort)
        items: Iterable[Item]
        if asked.endpoint.type == "profile":
            items = self._profiles(asked, at[1] if at and by_id else "", now)
        else:
            items = served.collection_items(self._account, asked.endpoint, parent_id)
        items = filter(partial(_meets_all, asked), items)
        if not by_id:
            items = sorted(items, key=order, reverse=asked.descending)
        if at is not None:
            items = filter(lambda item: _is_behind(order(item), at, asked.descending, repeat), items)
        return iter(items)

    def _ranked(self, asked: Query, parent_id: str | None, now: float, repeat: bool) -> Iterator[Item]:
        ranking = self._account.people.by_update if parent_id is None else self._account.people.members(parent_id)
        on_time = [each for each in asked.conditions if each.field == asked.sort]
        others = [each for each in asked.conditions if each.field != asked.sort]
        behind = None
        if asked.cursor is not None:
            moment, profile_id = cursors.item_of_cursor(asked.cursor, asked.sort)
            number = population.number_of(profile_id.encode())
            if number is None:
                raise cursors.refused_cursor()
            behind = filters.parse_moment(moment) or 0.0, number
        for number in ranking.numbers_between(on_time, now, behind, asked.descending, repeat):
            item = self._ranked_profile(number, asked.sort, ranking, bool(others))
            if _meets_conditions(asked.endpoint, others, item):
                yield item

    def _ranked_profile(self, number: int, sort: str, ranking: Ranking, whole: bool) -> Item:
        """Return a profile as far as it is needed: with all that filters ask for, or only with its place."""
        profile_id = population.profile_id(number).decode()
        item = self._profile_item(number) if whole else Item("profile", profile_id, {})
        micro = ranking.micros[number]
        place = population.moment_text(number, micro // 1_000_000) if micro else None
        if sort == "joined_group_at":
            place = served.joined_group_at(ranking, number)
        return replace(item, hidden={**item.hidden, sort: place, "profile_id": profile_id})

    def _profiles(self, asked: Query, first_id: str, now: float) -> Iterable[Item]:
        """Return the profiles that a query chooses from, by id; those before the first id may be left out."""
        account = self._account
        start = population.number_of(first_id.encode()) or 0
        # Only suppressed profiles can meet a condition on suppressions.
        if any(each.field.startswith((SUPPRESSION, LIST_SUPPRESSIONS)) for each in asked.conditions):
            people: Iterable[int] = account.suppressed[bisect_left(account.suppressed, start) :]
        else:
            people = account.people.existing(now, start)
        return map(self._profile_item, people)

    def _profile_item(self, number: int) -> Item:
        """Return a profile with all that filters and sorts may ask for."""
        resource = json.loads(self._renderer.whole_profile(number, None, ()))
        suppressed = self._account.suppressions.get(number)
        return Item("profile", resource["id"], resource["attributes"], hidden=_suppression_fields(suppressed))

    def _resource(self, item: Item, asked: Query, parent_id: str | None, now: float) -> bytes:
        fields = asked.fields.get(item.type)
        if item.type == "profile":
            number = population.number_of(item.id.encode()) or 0
            return served.profile_at(self._account, self._renderer, number, fields, asked.additional, parent_id)
        if served.is_linkage(asked.endpoint):
            return json.dumps({"type": item.type, "id": item.id}).encode()
        item = served.with_counts(self._account, item, asked.additional, now)
        left_out, revision = set(asked.endpoint.additional) - set(asked.additional), asked.endpoint.revision
        return json.dumps(render_item(item, self._renderer.origin, asked.include, fields, left_out, revision)).encode()

    def _included(self, items: Sequence[Item], asked: Query) -> Iterator[bytes]:
        revision = asked.endpoint.revision
        for item in served.included_items(self._account, items, asked.include, revision):
            fields = asked.fields.get(item.type)
            yield json.dumps(served.included_item(item, self._renderer.origin, fields, revision)).encode()
        if asked.endpoint.type == "push-token":
            for profile in dict.fromkeys(item.related["profile"] for item in items):
                number = population.number_of(str(profile).encode()) or 0
                yield self._renderer.whole_profile(number, asked.fields.get("profile"), ())


def _check_future(asked: Query, now: float) -> None:
    kinds = asked.endpoint.filters
    if any(kinds[each.field].kind == "moment" and float(each.values[0]) > now for each in asked.conditions):
        raise invalid_parameter("End date may not be in the future", "filter")


def _order_by(sort: str) -> Callable[[Item], tuple[str, str]]:
    """Return what a collection is ordered by: a field, null first, then the id."""

    def sort_key(item: Item) -> tuple[str, str]:
        found = item.get(sort)
        found = found[0] if isinstance(found, tuple) and found else found
        # Numbers are compared as texts of one length.
        text = f"{found:020}" if isinstance(found, int | float) else str(found or "")
        return text, item.id

    return sort_key


def _is_behind(own: tuple[str, str], at: tuple[str, str], descending: bool, repeat: bool) -> bool:
    return (repeat and own == at) or (own < at if descending else own > at)


def _meets_all(asked: Query, item: Item) -> bool:
    flag = asked.endpoint.left_out
    # Whether archived campaigns come without being asked for is not known; here they do not.
    if flag and not any(each.field == flag.rsplit(".", 1)[-1] for each in asked.conditions) and item.get(flag):
        return False
    return _meets_conditions(asked.endpoint, asked.conditions, item)


def _meets_conditions(endpoint: Endpoint, conditions: Iterable[Condition], item: Item) -> bool:
    return all(filters.meets_condition(each, item.get(each.field), endpoint) for each in conditions)


def _suppression_fields(suppressed: Suppressed | None) -> dict[str, tuple[str, ...]]:
    """Return what filters and sorts call the suppressions of a profile."""
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
