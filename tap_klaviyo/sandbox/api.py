"""The API: a request and the time to a reply, without any network."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from functools import partial
from itertools import islice

from tap_klaviyo.sandbox import cursors, filters, population, query
from tap_klaviyo.sandbox.account import Account
from tap_klaviyo.sandbox.endpoints import (
    ACCOUNTS,
    CAMPAIGNS,
    ENDPOINTS,
    EVENTS,
    LIST_SUPPRESSIONS,
    LISTS,
    METRICS,
    PREDICTIVE,
    PROFILES,
    SUPPRESSION,
    Endpoint,
)
from tap_klaviyo.sandbox.filters import Condition
from tap_klaviyo.sandbox.limits import Limits
from tap_klaviyo.sandbox.query import Query
from tap_klaviyo.sandbox.refusals import RefusalError, invalid
from tap_klaviyo.sandbox.rendering import Renderer, View
from tap_klaviyo.sandbox.resources import Item, rendered
from tap_klaviyo.sandbox.traffic import Page, Reply, Request, next_url

API_KEY = "pk_sandbox_0123456789abcdef0123456789"
OPT_OUT = "X-Klaviyo-Revision-Fall-Forward-Opt-Out"
_SCHEME = "Klaviyo-API-Key "
_REVISION = re.compile(r"(\d{4}-\d\d-\d\d)(\.pre)?")
_LIFE = timedelta(days=730)
_ACCOUNT = Item(
    "account",
    "AbC123",
    {
        "test_account": True,
        "contact_information": {
            "default_sender_name": "Example",
            "default_sender_email": "hello@shop.example",
            "website_url": "https://shop.example",
            "organization_name": "Example",
            "street_address": dict.fromkeys(("address1", "address2", "city", "region", "country", "zip")),
        },
        "industry": None,
        "timezone": "US/Eastern",
        "preferred_currency": "USD",
        "public_api_key": "AbC123",
        "locale": "en-US",
    },
)


class Api:
    """Answers requests to one account; `limits` is None where there are none."""

    def __init__(
        self,
        account: Account,
        origin: str,
        scopes: Iterable[str],
        limits: Limits | None,
        largest_page: int | None = None,
    ) -> None:
        """Serve an account under an origin to a key that has the scopes, in pages of so many resources at the most."""
        self._account = account
        self._origin = origin
        self._scopes = frozenset(scopes)
        self._limits = limits
        self._largest_page = largest_page
        self._renderer = Renderer(account, origin)

    def answer(self, request: Request, now: float, repeat: bool = False) -> Reply:
        """Return the reply to a request at a time (epoch seconds).

        Args:
            request: what is asked.
            now: decides which events are visible, and which bounds lie in the future.
            repeat: begin a page that has a cursor with the item that the page before ended with.
        """
        headers: dict[str, str] = {}
        try:
            endpoint = self._endpoint(request)
            self._admit(request, endpoint, now)
            headers |= self._charge(request, endpoint)
            asked = query.parse(endpoint, request.parameters)
            page = self._page(request, asked, now, repeat)
        except RefusalError as refusal:
            return refused(refusal, request, headers)
        return Reply(200, page.body(), headers, page=page)

    def _endpoint(self, request: Request) -> Endpoint:
        endpoint = ENDPOINTS.get(request.path.rstrip("/"))
        if endpoint is None:
            raise RefusalError("not_found", "The requested resource could not be found.")
        if request.method != "GET":
            raise RefusalError("method_not_allowed", f'Method "{request.method}" not allowed.')
        return endpoint

    def _admit(self, request: Request, endpoint: Endpoint, now: float) -> None:
        authorization = request.headers.get("Authorization", "")
        if not authorization.startswith(_SCHEME):
            raise RefusalError("not_authenticated", "Missing or invalid private key.")
        if authorization.removeprefix(_SCHEME) != API_KEY:
            raise RefusalError("authentication_failed", "Incorrect authentication credentials.")
        _check_revision(request.headers, now)
        if endpoint.scope not in self._scopes:
            raise RefusalError("permission_denied", f"The API key lacks the scope {endpoint.scope}.")

    def _charge(self, request: Request, endpoint: Endpoint) -> dict[str, str]:
        if self._limits is None:
            return {}
        if "predictive_analytics" in request.query.get("additional-fields[profile]", ""):
            return self._limits.charge(f"{endpoint.path} with predictive analytics", PREDICTIVE)
        return self._limits.charge(endpoint.path, endpoint.limit)

    def _page(self, request: Request, asked: Query, now: float, repeat: bool) -> Page:
        url = f"{self._origin}{request.url}"
        asked = replace(asked, size=min(asked.size, self._largest_page or asked.size))
        if asked.endpoint is EVENTS:
            return self._events(url, asked, now, repeat)
        return self._items(url, asked, repeat)

    def _events(self, url: str, asked: Query, now: float, repeat: bool) -> Page:
        found = list(islice(self._visible(asked, now, repeat), asked.size + 1))
        numbers = found[: asked.size]
        following = None
        if len(found) > asked.size:
            timeline, last = self._account.timeline, numbers[-1]
            cursor = cursors.of_event(timeline.seconds[last], timeline.id(last).decode())
            following = next_url(url, cursor)
        fields = asked.fields.get
        view = View(asked.include, fields("event"), fields("profile"), fields("metric"))
        data, included = self._renderer.page(numbers, view)
        return Page(url, tuple(data), tuple(included) if asked.include else None, following)

    def _visible(self, asked: Query, now: float, repeat: bool) -> Iterator[int]:
        """Yield the events that a query finds, in its order, from the cursor on."""
        timeline = self._account.timeline
        if any(each.field in ("datetime", "timestamp") and float(each.values[0]) > now for each in asked.conditions):
            raise invalid("A datetime in the filter cannot be in the future.", "filter")
        numbers = self._asked_events(asked.conditions)
        first, last = (
            bisect_left(numbers, bound, key=timeline.seconds.__getitem__) for bound in filters.bounds(asked.conditions)
        )
        if asked.cursor is not None:
            at = cursors.event(asked.cursor)
            if asked.descending:
                last = min(last, (bisect_right if repeat else bisect_left)(numbers, at, key=self._keyset))
            else:
                first = max(first, (bisect_left if repeat else bisect_right)(numbers, at, key=self._keyset))
        places = range(last - 1, first - 1, -1) if asked.descending else range(first, last)
        named = [each for each in asked.conditions if each.field in ("profile", "profile_id", "metric")]
        for number in map(numbers.__getitem__, places):
            if timeline.is_visible(number, now) and (not named or self._has_all(number, named)):
                yield number

    def _keyset(self, number: int) -> tuple[int, str]:
        timeline = self._account.timeline
        return timeline.seconds[number], timeline.id(number).decode()

    def _asked_events(self, conditions: Sequence[Condition]) -> Sequence[int]:
        """Return the events of the metrics that a filter names, or all."""
        account = self._account
        named = [condition.values for condition in conditions if condition.field == "metric_id"]
        if not named:
            return range(len(account.timeline.seconds))
        ids = list(dict.fromkeys(str(each) for values in named for each in values))
        unknown = [each for each in ids if each not in account.metric_places]
        if unknown:
            raise invalid(f"Metric IDs {unknown} do not exist.", "filter")
        wanted = set(ids).intersection(*map(set, named))
        return account.events_of([account.metric_places[each] for each in wanted])

    def _has_all(self, number: int, conditions: Sequence[Condition]) -> bool:
        return all(self._has(number, condition) for condition in conditions)

    def _has(self, number: int, condition: Condition) -> bool:
        if condition.field == "metric":
            return self._account.metrics[self._account.timeline.metrics[number]].kind.listed
        profile = self._account.profile_of(number)
        if condition.field == "profile":
            return profile is not None and not population.is_deleted(profile)
        return profile is not None and population.profile_id(profile).decode() in condition.values

    def _items(self, url: str, asked: Query, repeat: bool) -> Page:
        """Return a page of a small collection."""
        order, by_id = _order(asked.sort), asked.sort == "id" and not asked.descending
        at = None if asked.cursor is None else cursors.item(asked.cursor, asked.sort)
        items: Iterable[Item] = self._collection(asked, at[1] if at and by_id else "")
        items = filter(partial(_meets_all, asked), items)
        if not by_id:
            items = sorted(items, key=order, reverse=asked.descending)
        if at is not None:
            items = filter(lambda item: _is_behind(order(item), at, asked.descending, repeat), items)
        found = list(islice(items, asked.size + 1))
        shown, following = found[: asked.size], None
        if len(found) > asked.size:
            following = next_url(url, cursors.of_item(asked.sort, *order(shown[-1])))
        included = tuple(self._included(shown, asked)) if asked.include else None
        return Page(url, tuple(self._resource(item, asked) for item in shown), included, following)

    def _collection(self, asked: Query, first_id: str) -> Iterable[Item]:
        """Return what the query chooses from, by id; what comes before the first id may be left out."""
        account = self._account
        if asked.endpoint is METRICS:
            return account.metric_items
        if asked.endpoint is not PROFILES:
            small = {LISTS.path: account.lists, CAMPAIGNS.path: account.campaigns, ACCOUNTS.path: (_ACCOUNT,)}
            return small[asked.endpoint.path]
        start = population.number_of(first_id.encode()) or 0
        # Only suppressed profiles can meet a condition on suppressions.
        if any(each.field.startswith((SUPPRESSION, LIST_SUPPRESSIONS)) for each in asked.conditions):
            people: Iterable[int] = account.suppressed[bisect_left(account.suppressed, start) :]
        else:
            people = population.people(account.population, start)
        return map(account.profile_item, people)

    def _resource(self, item: Item, asked: Query) -> bytes:
        fields = asked.fields.get(item.type)
        if item.type == "profile":
            number = population.number_of(item.id.encode()) or 0
            return self._account.profile(self._renderer, number, fields, asked.additional)
        return json.dumps(rendered(item, self._origin, asked.include, fields)).encode()

    def _included(self, items: Iterable[Item], asked: Query) -> Iterator[bytes]:
        ids: dict[str, None] = {}
        for item in items:
            for name in asked.include:
                ids.update(dict.fromkeys(item.related.get(name) or ()))
        for each in ids:
            resource = self._account.items[each]
            yield json.dumps(rendered(resource, self._origin, (), asked.fields.get(resource.type))).encode()


def refused(refusal: RefusalError, request: Request, headers: Mapping[str, str]) -> Reply:
    """Return the reply that a refusal makes; one to a request too many has no header but Retry-After."""
    if refusal.retry_after is not None:
        headers = {"Retry-After": str(refusal.retry_after)}
    return Reply(refusal.status, refusal.body(request.index), headers)


def _check_revision(headers: Mapping[str, str], now: float) -> None:
    text = headers.get("revision")
    if text is None:
        raise RefusalError("invalid", "A revision header is required.", pointer="/data/")
    parts = _REVISION.fullmatch(text)
    try:
        revision = date.fromisoformat(parts[1]) if parts else None
    except ValueError:
        revision = None
    if revision is None:
        raise RefusalError("invalid", f"'{text}' is not a valid revision date.", pointer="/data/")
    today = datetime.fromtimestamp(now, timezone.utc).date()
    if revision > today:
        raise RefusalError("not_found", "Unable to specify a future revision date")
    # A retired revision is served by a supported one, unless the client wants to know.
    if revision + _LIFE < today and headers.get(OPT_OUT) == "1":
        raise RefusalError("gone", f"The revision {text} has been retired.")


def _order(sort: str) -> Callable[[Item], tuple[str, str]]:
    """Return what a collection is ordered by: a field, null first, then the id."""

    def key(item: Item) -> tuple[str, str]:
        found = item.get(sort)
        found = found[0] if isinstance(found, tuple) and found else found
        return str(found or ""), item.id

    return key


def _is_behind(own: tuple[str, str], at: tuple[str, str], descending: bool, repeat: bool) -> bool:
    return (repeat and own == at) or (own < at if descending else own > at)


def _meets_all(asked: Query, item: Item) -> bool:
    # Whether archived campaigns come without being asked for is not known; here they do not.
    if asked.endpoint is CAMPAIGNS and not any(each.field == "archived" for each in asked.conditions):
        return not item.attributes["archived"] and _meets_conditions(asked, item)
    return _meets_conditions(asked, item)


def _meets_conditions(asked: Query, item: Item) -> bool:
    return all(filters.meets(each, item.get(each.field), asked.endpoint) for each in asked.conditions)
