"""Klaviyo over HTTP: pages, lent one at a time. It knows nothing of Singer, and nothing of what becomes of a page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import msgspec

from tap_klaviyo.errors import ApiError, CursorError, UnavailableError, UnreadablePageError
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.jsonapi import PLAIN, MalformedError, Page, PageDecoder, describe_body, parse_page
from tap_klaviyo.klaviyo.ratelimit import RateLimits
from tap_klaviyo.klaviyo.retries import Budget, IncompletePageError, Retries, TryAgainError
from tap_klaviyo.klaviyo.session import at_origin
from tap_klaviyo.klaviyo.settings import Settings
from tap_klaviyo.klaviyo.transport import BODY_LIMIT, Transport
from tap_klaviyo.klaviyo.urls import place_of, resized_url
from tap_klaviyo.log import logger
from tap_klaviyo.times import Clock

# Waiting for less than this part of a request's time is chance; for more, pages come faster than they are parsed.
_FAIR_PART = 0.25
# A page that seems incomplete this often is accepted as the last: an endpoint may always send it without links, and its
# items may have been deleted since the page before named it.
_INCOMPLETE_TRIES = 4
# A page of one item that fails this often, while the endpoint answers another request, has an item that Klaviyo cannot
# render. Each time costs that other request, so they are few.
_UNREADABLE_TRIES = (4, 8, 12)
# How often `answers` asks while Klaviyo says that the rate limit is reached.
_LIMITED_TRIES = 5
# Errors that a smaller page can avoid: Klaviyo ran out of time or memory, or something between cut the answer.
_HEAVY = frozenset({None, 500, 502, 503, 504, 520, 521, 522, 523, 524})


@dataclass(frozen=True)
class Answer:
    """One page, and what it took to get it.

    Args:
        page: the page; its `next` is a URL at `base_url`.
        server_time: Klaviyo's clock in epoch seconds; None if it did not say.
        page_size: the size that the page was asked for in the end.
        queued: whether it waited for its turn to be parsed, for a fair part of the time that it took to come.
        attempts: how many requests it took.
    """

    page: Page
    server_time: int | None
    page_size: int | None
    queued: bool
    attempts: int = 1


@dataclass
class _Request:
    """What one page is asked for by, over all tries."""

    endpoint: Endpoint
    url: str
    size: int | None
    decoder: PageDecoder
    visited: Set[str]
    is_reduced: bool
    body: bytes | None = None
    has_items: bool = False
    may_be_incomplete: bool = False
    failures_at_one: int = 0


class Client:
    """Asks Klaviyo for pages; safe to use from many threads."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        retries: Retries | None = None,
        body_limit: int = BODY_LIMIT,
        after_page: Callable[[], None] = lambda: None,
    ) -> None:
        """Open no connection yet.

        Args:
            settings: Klaviyo's address, the key, and how it is asked.
            clock: where time comes from.
            retries: how long failed requests are retried.
            body_limit: bytes beyond which no body is read.
            after_page: called after each page, when nothing of it is held any more; by many threads.
        """
        self._base_url = settings.base_url
        self._timeout = settings.request_timeout
        self._clock = clock or Clock()
        self._retries = retries or Retries()
        self._limits = RateLimits(self._clock)
        self._after_page = after_page
        self._transport = Transport(settings, self._clock, self._limits, body_limit)
        self._slots = threading.Semaphore(settings.max_concurrency)
        self._one_page = threading.Lock()
        self._waited = 0.0

    def close(self) -> None:
        """Send no more requests; those running in other threads end silently."""
        self._transport.is_closed = True

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return self._transport.requests

    @property
    def server_time(self) -> int | None:
        """Klaviyo's time by the last answer, in epoch seconds, whatever that answer was; None before the first."""
        return self._transport.server_time

    @property
    def waited(self) -> float:
        """Seconds for which rate limits delayed requests, over all threads."""
        return self._waited

    def remember_requests(self, endpoint: Endpoint, ages: Sequence[float]) -> None:
        """Count requests of earlier runs toward an endpoint's limits; `ages` are the seconds since each was sent."""
        self._limits.of(endpoint).remember(ages)

    def request_ages(self, endpoint: Endpoint) -> list[float]:
        """Return the seconds since each request of the last day to an endpoint that has a day's limit, oldest first."""
        return self._limits.of(endpoint).ages()

    def day_wait(self, endpoint: Endpoint, requests: int) -> float:
        """Return the seconds until an endpoint's limit of a day allows that many more requests; 0 if it does now."""
        return self._limits.of(endpoint).day_wait(requests)

    def url(self, endpoint: Endpoint, parameters: Mapping[str, str], **ids: str) -> str:
        """Return the URL of a query's first page; `ids` fill the names in the endpoint's path."""
        path = endpoint.path.format(**{name: quote(id, safe="") for name, id in ids.items()}) if ids else endpoint.path
        return f"{self._base_url}{path}" + (f"?{urlencode(parameters)}" if parameters else "")

    @contextmanager
    def page(
        self,
        endpoint: Endpoint,
        url: str,
        size: int | None,
        decoder: PageDecoder = PLAIN,
        visited: Set[str] = frozenset(),
        is_reduced: bool = False,
        body: bytes | None = None,
        has_items: bool = False,
    ) -> Iterator[Answer]:
        """Fetch the page at a URL, and lend it until the block ends.

        One page at a time is parsed and lent in the whole process: parsed, it takes several times the memory, and the
        interpreter runs one thread at a time anyway.

        Args:
            endpoint: the collection whose rate limit is charged.
            url: a first page, or a page's `next`.
            size: how many resources to ask for; halved while Klaviyo cannot serve that many.
            decoder: decodes the page.
            visited: URLs that must not come next.
            is_reduced: whether the size is smaller than usual because of an earlier failure. It is halved at the first
                failure then; at other times the first one counts as chance.
            body: JSON:API to send, for an endpoint that is asked with a POST.
            has_items: whether an earlier answer shows that the page has items, so that an empty one is retried.

        Raises:
            AuthError, ScopeError, RequestError: at once.
            CursorError: Klaviyo refuses the cursor, also when asked again.
            UnreadablePageError: Klaviyo cannot serve the page's first item, though it serves others.
            UnavailableError: no usable answer within the retries.
        """
        with ExitStack() as lent:
            answer = self._retried(_Request(endpoint, url, size, decoder, visited, is_reduced, body, has_items), lent)
            yield answer
            answer.page.data.clear()
            answer.page.included.clear()
        self._after_page()

    def _retried(self, request: _Request, lent: ExitStack) -> Answer:
        budget = Budget(self._retries, self._clock, f"{request.endpoint.method} {request.endpoint.path}")
        cursor_refusals, incomplete = 0, 0
        while True:
            try:
                return replace(self._tried(request, budget, lent), attempts=budget.attempt)
            except CursorError:
                cursor_refusals += 1
                if cursor_refusals > 1:
                    raise
            except TryAgainError as trouble:
                if self._transport.is_closed:
                    raise UnavailableError("The run has ended.") from None
                incomplete += isinstance(trouble, IncompletePageError)
                request.may_be_incomplete = incomplete == _INCOMPLETE_TRIES
                self._clock.sleep(self._next_wait(request, budget, trouble))

    def _next_wait(self, request: _Request, budget: Budget, trouble: TryAgainError) -> float:
        """Return the seconds to wait before the next try, which may be for a smaller page.

        Raises:
            UnavailableError: there is no next try.
        """
        is_heavy = trouble.status in _HEAVY and not trouble.is_local
        if request.size == 1 and is_heavy:
            request.failures_at_one += 1
            if request.failures_at_one in _UNREADABLE_TRIES and self._answers_others(request):
                raise UnreadablePageError(
                    f"Klaviyo cannot serve an item ({trouble}), though it answers other requests; report this to its "
                    f"support: GET {place_of(request.url)}.",
                    trouble.status,
                )
        shrinks = bool(request.size and is_heavy and (budget.attempt > 1 or request.is_reduced))
        wait = budget.next_wait(trouble, is_other=shrinks and request.failures_at_one < _UNREADABLE_TRIES[0])
        if trouble.status == 429:
            self._limits.of(request.endpoint).pause(wait)
        if request.size and shrinks:
            request.size = max(1, request.size // 2)
        return wait

    def post(self, endpoint: Endpoint, question: Mapping[str, object], retries: Retries | None = None) -> bytes:
        """Return the body of the answer to a report.

        Args:
            endpoint: the report.
            question: the JSON document that is sent.
            retries: how long a failed request is retried; by default as long as that for a page. No try takes longer
                than all of them may.

        Raises:
            AuthError, ScopeError, RequestError: at once.
            UnavailableError: no usable answer within the retries.
        """
        budget = Budget(retries or self._retries, self._clock, f"{endpoint.method} {endpoint.path}")
        body, seconds = msgspec.json.encode(question), min(self._timeout, budget.retries.total)
        while True:
            self._waited += self._limits.of(endpoint).wait(self._slots)
            with ExitStack() as room:
                try:
                    budget.begin_try()
                    return self._transport.send(endpoint, f"{self._base_url}{endpoint.path}", room, seconds, body)[1]
                except TryAgainError as trouble:
                    if self._transport.is_closed:
                        raise UnavailableError("The run has ended.") from None
                    wait = budget.next_wait(trouble)
                    if trouble.status == 429:
                        self._limits.of(endpoint).pause(wait)
                finally:
                    self._slots.release()
            self._clock.sleep(wait)

    def delay(self, endpoint: Endpoint) -> float:
        """Return the seconds until the rate limit allows a request; 0 if it does now."""
        return self._limits.of(endpoint).delay()

    def answers(self, endpoint: Endpoint, url: str, size: int = 1) -> bool:
        """Return whether Klaviyo serves some items at a URL. It is asked once, and again only after a rate limit.

        Raises:
            UnavailableError: the run has ended.
        """
        for _ in range(_LIMITED_TRIES):
            if self._transport.is_closed:
                raise UnavailableError("The run has ended.")
            self._waited += self._limits.of(endpoint).wait(self._slots)
            with ExitStack() as room:
                try:
                    self._transport.send(endpoint, resized_url(url, size), room, self._timeout)
                    return True
                except TryAgainError as trouble:
                    if trouble.status != 429:
                        return False
                    self._limits.of(endpoint).pause(trouble.retry_after or 1.0)
                except ApiError:
                    return True
                finally:
                    self._slots.release()
        return False

    def _answers_others(self, request: _Request) -> bool:
        """Return whether the endpoint answers at all, without a filter: with its last item, or its first."""
        sort = request.endpoint.sort
        queries = [{"sort": f"-{sort}"}, {"sort": sort}] if sort else [{}]
        parts = urlsplit(request.url)
        return any(
            self.answers(request.endpoint, urlunsplit(parts._replace(query=urlencode(query)))) for query in queries
        )

    def _tried(self, request: _Request, budget: Budget, lent: ExitStack) -> Answer:
        """Send one request. If its answer is a page, the room that it takes goes to `lent`."""
        asked = resized_url(request.url, request.size)
        with ExitStack() as room:
            self._waited += self._limits.of(request.endpoint).wait(self._slots)
            try:
                budget.begin_try()
                began = self._clock.monotonic()
                server_time, body = self._transport.send(
                    request.endpoint, asked, room, min(self._timeout, budget.left), request.body
                )
                came = self._clock.monotonic()
            finally:
                self._slots.release()
            room.enter_context(self._one_page)
            queued = self._clock.monotonic() - came > (came - began) * _FAIR_PART
            page = self._parsed(request, asked, body)
            lent.enter_context(room.pop_all())
        return Answer(page, server_time, request.size, queued)

    def _parsed(self, request: _Request, url: str, body: bytes) -> Page:
        """Return the page in a body; if the body is not a page, or its links are wrong, the request is retried."""
        try:
            page = parse_page(body, request.decoder)
        except MalformedError as problem:
            words = self._transport.without_secrets(describe_body(body) or str(problem))
            raise TryAgainError(f"Klaviyo sent something that isn't a page ({words})", 200) from None
        _check_complete(request, page)
        if page.next is None:
            return page
        following = at_origin(page.next, self._base_url)
        if following is None:
            raise TryAgainError("an answer whose link to the next page is invalid", 200)
        if following == url or following in request.visited:
            raise TryAgainError("an answer whose link to the next page leads back to an earlier one", 200)
        return replace(page, next=following)


def _check_complete(request: _Request, page: Page) -> None:
    """Have a page that seems incomplete requested again, until it has been so often enough to count as the last."""
    is_empty = request.has_items and not (page.data or page.set_aside or page.next)
    if not request.may_be_incomplete:
        if not page.has_links:
            raise IncompletePageError("an answer without links, so that more pages may follow", 200)
        if is_empty:
            raise IncompletePageError("an empty answer, although earlier pages announced more", 200)
    elif is_empty:
        path = request.endpoint.path
        logger.warning("GET %s: a page is still empty although more was announced; treating it as the last.", path)
