"""The API as a function: from a request and the time to a reply, without a network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta, timezone

from tap_klaviyo.sandbox import bodies, query
from tap_klaviyo.sandbox.account import PLAN_REFUSALS, Account
from tap_klaviyo.sandbox.aggregates import metric_aggregates
from tap_klaviyo.sandbox.endpoints import BETA, OMNICHANNEL, STABLE, Endpoint, find_endpoints
from tap_klaviyo.sandbox.event_pages import EventPages
from tap_klaviyo.sandbox.item_pages import ItemPages
from tap_klaviyo.sandbox.limits import Limits
from tap_klaviyo.sandbox.oauth import TOKEN_PATH, OAuth
from tap_klaviyo.sandbox.query import Query
from tap_klaviyo.sandbox.refusals import RefusalError, invalid_parameter
from tap_klaviyo.sandbox.rendering import Renderer
from tap_klaviyo.sandbox.reports import REPORTS, report_page
from tap_klaviyo.sandbox.traffic import Page, Reply, Request

API_KEY = "pk_sandbox_0123456789abcdef0123456789"
OPT_OUT = "X-Klaviyo-Revision-Fall-Forward-Opt-Out"
_SCHEME, _BEARER = "Klaviyo-API-Key ", "Bearer "
_REVISION = re.compile(r"(\d{4}-\d\d-\d\d)(\.pre)?")
_LIFE = timedelta(days=730)
# More than any collection has.
_EVERYTHING = 10**9


class Api:
    """Answers requests to one account."""

    def __init__(
        self,
        account: Account,
        origin: str,
        scopes: Iterable[str],
        limits: Limits | None,
        largest_page: int | None = None,
        oauth: OAuth | None = None,
    ) -> None:
        """Serve an account.

        Args:
            account: the data.
            origin: what the URLs of the API begin with.
            scopes: what the key may read.
            limits: the rate limits, None for no limits.
            largest_page: the most resources of a page that has a cursor, whatever a request asks for.
            oauth: the app that the account has installed, None if it has none.
        """
        self._account = account
        self._origin = origin
        self._scopes = frozenset(scopes)
        self._limits = limits
        self._largest_page = largest_page
        self._oauth = oauth
        self._renderer = Renderer(account, origin)
        self._events = EventPages(account, self._renderer)
        self._items = ItemPages(account, self._renderer)

    def answer(self, request: Request, now: float, repeat: bool = False) -> Reply:
        """Return the reply to a request at a time (epoch seconds).

        Args:
            request: the request.
            now: decides which events are visible, and which bounds of filters are in the future.
            repeat: begin a page that has a cursor with the item that the page before ended with.
        """
        if self._oauth is not None and request.path == TOKEN_PATH:
            return self._oauth.answer(request, self._scopes, now)
        headers: dict[str, str] = {}
        try:
            endpoint, parent_id = self._endpoint(request, now)
            self._admit(endpoint)
            headers |= self._charge(request, endpoint)
            if endpoint.method == "POST":
                return Reply(200, self._posted(request, endpoint, now), headers)
            asked = query.parse_query(endpoint, request.parameters)
            page = self._page(request, asked, parent_id, now, repeat)
        except RefusalError as refusal:
            return refusal_reply(refusal, request, headers)
        return Reply(200, page.body(), headers, page=page)

    def _endpoint(self, request: Request, now: float) -> tuple[Endpoint, str | None]:
        """Return the endpoint that serves a request in the revision that it names, and the parent's id."""
        at_path = list(find_endpoints(request.path.rstrip("/")))
        if not at_path:
            raise RefusalError("not_found", "The requested resource could not be found.")
        found = [each for each in at_path if each[0].method == request.method]
        if not found:
            raise RefusalError("method_not_allowed", f'Method "{request.method}" not allowed.')
        self._authenticate(request.headers, now)
        revision = _served_revision(request.headers, now)
        known = [each for each in found if each[0].revision <= revision]
        if not known:
            earliest = min(endpoint.revision for endpoint, _ in found)
            detail = f"Revision date requested is before the earliest available, use a date after {earliest}"
            raise RefusalError("not_found", detail)
        return max(known, key=lambda each: each[0].revision)

    def _authenticate(self, headers: Mapping[str, str], now: float) -> None:
        authorization = headers.get("Authorization", "")
        if self._oauth is not None and authorization.startswith(_BEARER):
            if not self._oauth.is_valid(authorization.removeprefix(_BEARER), now):
                raise RefusalError("not_authenticated", "Missing or invalid access token.")
            return
        if not authorization.startswith(_SCHEME):
            raise RefusalError("not_authenticated", "Missing or invalid private key.")
        if authorization.removeprefix(_SCHEME) != API_KEY:
            raise RefusalError("authentication_failed", "Incorrect authentication credentials.")

    def _admit(self, endpoint: Endpoint) -> None:
        for scope in endpoint.scopes:
            if scope not in self._scopes:
                raise RefusalError("permission_denied", f"The API key lacks the scope {scope}.")
            if scope.removesuffix(":read") in self._account.lacks:
                raise RefusalError("permission_denied", PLAN_REFUSALS[scope.removesuffix(":read")])

    def _charge(self, request: Request, endpoint: Endpoint) -> dict[str, str]:
        if self._limits is None:
            return {}
        requested = request.query.get(f"additional-fields[{endpoint.type}]", "")
        # Each app has separate limits; all private keys of an account share theirs.
        app = _BEARER if request.headers.get("Authorization", "").startswith(_BEARER) else ""
        for name, limit in endpoint.charged.items():
            if name in requested:
                return self._limits.charge(f"{app}{endpoint.path} with {name}", limit)
        return self._limits.charge(f"{app}{endpoint.path}", endpoint.limit)

    def _posted(self, request: Request, endpoint: Endpoint, now: float) -> bytes:
        attributes = bodies.read_attributes(endpoint, request)
        for name in request.query:
            if name != "page_cursor" or endpoint.type not in REPORTS or not REPORTS[endpoint.type].paged:
                raise invalid_parameter(f"'{name}' is not an allowed parameter for this resource.", name)
        if endpoint.type not in REPORTS:
            return metric_aggregates(self._account, self._renderer, attributes, now)
        url, cursor = f"{self._origin}{request.path}", request.query.get("page_cursor")
        return report_page(self._account, endpoint, attributes, url, cursor, now)

    def _page(self, request: Request, asked: Query, parent_id: str | None, now: float, repeat: bool) -> Page:
        url = f"{self._origin}{request.url}"
        largest = self._largest_page if asked.endpoint.cursor else None
        size = min(asked.size or _EVERYTHING, largest or _EVERYTHING)
        if asked.endpoint.type == "event":
            return self._events.page(url, asked, size, now, repeat)
        return self._items.page(url, asked, parent_id, size, now, repeat)


def refusal_reply(refusal: RefusalError, request: Request, headers: Mapping[str, str]) -> Reply:
    """Return the reply to a refused request; if it exceeds a limit, its only header is Retry-After."""
    if refusal.retry_after is not None:
        headers = {"Retry-After": str(refusal.retry_after)}
    return Reply(refusal.status, refusal.body(request.index), headers)


def _served_revision(headers: Mapping[str, str], now: float) -> str:
    """Return which of the sandbox's revisions serves a request."""
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
    return OMNICHANNEL if text == BETA or text >= OMNICHANNEL else STABLE
