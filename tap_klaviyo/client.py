"""Klaviyo over HTTP: one session, authentication, revision, retries. Knows nothing of Singer."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Set
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timezone
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import backoff
import requests
import urllib3
from requests.adapters import HTTPAdapter

from tap_klaviyo import log
from tap_klaviyo.config import Config
from tap_klaviyo.errors import (
    ApiError,
    AuthError,
    CursorError,
    MetricDeniedError,
    RequestError,
    ScopeError,
    UnavailableError,
    UnreadablePageError,
)
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.jsonapi import PLAIN, MalformedError, Page, PageDecoder, error_detail, parse_page
from tap_klaviyo.ratelimit import Clock, RateLimits

Made = TypeVar("Made")

MEDIA_TYPE = "application/vnd.api+json"
BODY_LIMIT = 64 * 2**20
SMALLEST_PAGE = 1
# Failures of a page of one item, while Klaviyo answers other requests, that show that it cannot render the item.
_LONE_TRIES = 3
_CHUNK = 2**18
# Bodies in memory at once: when many come together, the others wait with the system, in its buffers.
_BODIES = 6
# Waiting for less than this part of a request's time is chance; for more, pages come faster than they are parsed.
_FAIR_PART = 0.25
# A page without links may be part of one. If it never has any, it is the last: more tries would only block the stream.
_LINKLESS_TRIES = 4
_CURSOR_REFUSED = "Invalid cursor provided"
_METRIC_DENIED = "do not exist"
_HEAVY = frozenset({None, 500, 502, 503, 504, 520, 521, 522, 523, 524})


@dataclass(frozen=True)
class Retries:
    """How long an unwilling Klaviyo is asked again. All in seconds.

    The wait before the n-th new try is drawn from 0 to `factor` x 2^n, at most `longest`; `total` bounds the waits
    of one request together, and a `Retry-After` beyond what is left of it ends the request at once.
    """

    factor: float = 1.0
    longest: float = 60.0
    total: float = 600.0


@dataclass(frozen=True)
class Answer(Generic[Made]):
    """What was made of one page, and how it was had.

    `next` is the URL of the page behind it, None behind the last; `server_time` is Klaviyo's clock in epoch seconds,
    None where it did not tell; `page_size` is the size that the page was had at; `queued` is that it waited for its
    turn to be parsed, for a fair part of the time that it took to come; `attempts` counts the requests.
    """

    made: Made
    next: str | None
    server_time: int | None
    page_size: int | None
    queued: bool
    attempts: int = 1


class Client:
    """Asks Klaviyo for pages; safe to use from many threads."""

    def __init__(
        self,
        config: Config,
        clock: Clock | None = None,
        retries: Retries | None = None,
        body_limit: int = BODY_LIMIT,
        after_page: Callable[[], None] = lambda: None,
    ) -> None:
        """Open no connection yet.

        Args:
            config: where Klaviyo is, the key, and how it is asked.
            clock: where time comes from.
            retries: how long an unwilling Klaviyo is asked again.
            body_limit: bytes beyond which no answer is read.
            after_page: called when a page was used and nothing of it is held any more; by many threads.
        """
        self._base_url = config.base_url
        self._timeout = config.request_timeout
        self._key = config.api_key
        self._clock = clock or Clock()
        self._retries = retries or Retries()
        self._limits = RateLimits(self._clock)
        self._body_limit = body_limit
        self._after_page = after_page
        self._session = _session(config)
        self._slots = threading.Semaphore(config.max_concurrency)
        self._bodies = threading.Semaphore(_BODIES)
        self._one_page = threading.Lock()
        self._closed = False
        self.server_time: int | None = None
        self._requests = 0
        self._waited = 0.0

    def close(self) -> None:
        """Ask nothing more: requests under way in other threads end without a word."""
        self._closed = True

    def spent(self) -> str:
        """Return, in words, what has been asked so far, and waited for."""
        return f"{self._requests:,} requests; {self._waited:,.0f} s waited for rate limits, over all threads"

    def url(self, endpoint: Endpoint, parameters: Mapping[str, str]) -> str:
        """Return the URL of a query's first page."""
        return f"{self._base_url}{endpoint.path}?{urlencode(parameters)}"

    def get(
        self,
        endpoint: Endpoint,
        url: str,
        size: int | None,
        use: Callable[[Page], Made],
        decoder: PageDecoder = PLAIN,
        visited: Set[str] = frozenset(),
    ) -> Answer[Made]:
        """Return what is made of the page at a URL.

        Args:
            endpoint: the collection, whose rate limit is charged.
            url: a first page, or a page's `links.next`.
            size: how many resources to ask for; fewer are, when that many cannot be had.
            use: makes of the page what is wanted of it. One page at a time is parsed and used: parsed, a page takes
                several times the memory, and the interpreter runs one thread at a time anyway.
            decoder: what the page is decoded by.
            visited: the pages that cannot come next.

        Raises:
            AuthError, ScopeError, RequestError: at once.
            CursorError: Klaviyo refuses the cursor, also when asked again.
            UnreadablePageError: Klaviyo fails to return even one item, though it answers other requests.
            UnavailableError: no usable answer within the retries.
        """
        waits = backoff.expo(factor=self._retries.factor, max_value=self._retries.longest)
        next(waits)
        waited, attempt, cursor_refusals, linkless, lone = 0.0, 0, 0, 0, 0
        while True:
            attempt += 1
            try:
                answer = self._once(endpoint, url, size, use, decoder, visited, linkless == _LINKLESS_TRIES)
                self._after_page()
                return replace(answer, attempts=attempt)
            except CursorError:
                cursor_refusals += 1
                if cursor_refusals > 1:
                    raise
                wait = 0.0
            except _TryAgainError as trouble:
                if self._closed:
                    raise UnavailableError("The run has ended.") from None
                linkless += isinstance(trouble, _NoLinksError)
                lone += size == SMALLEST_PAGE and trouble.status in _HEAVY
                if lone == _LONE_TRIES and self._serves(endpoint):
                    raise UnreadablePageError(
                        f"Klaviyo fails to return a page of one item ({trouble}) from GET {_place(url)}, though it "
                        "answers other requests; report this to Klaviyo's support.",
                        trouble.status,
                    ) from None
                wait = self._next_wait(trouble, backoff.full_jitter(next(waits)), waited, endpoint, attempt)
                if size and attempt > 1 and trouble.status in _HEAVY:
                    size = max(SMALLEST_PAGE, size // 2)
            self._clock.sleep(wait)
            waited += wait

    def _serves(self, endpoint: Endpoint) -> bool:
        """Return whether Klaviyo answers another request to an endpoint, if only by refusing it."""
        try:
            self._once(endpoint, self.url(endpoint, {}), SMALLEST_PAGE, lambda page: None, PLAIN, frozenset(), True)
        except _TryAgainError:
            return False
        except ApiError:
            return True
        return True

    def _once(
        self,
        endpoint: Endpoint,
        url: str,
        size: int | None,
        use: Callable[[Page], Made],
        decoder: PageDecoder,
        visited: Set[str],
        may_lack_links: bool,
    ) -> Answer[Made]:
        """Return what `get` does, of one request."""
        asked = _resized(url, size)
        with ExitStack() as room:
            self._waited += self._limits.of(endpoint).wait(self._slots)
            try:
                began = self._clock.monotonic()
                server_time, body = self._ask(endpoint, asked, room)
                came = self._clock.monotonic()
            finally:
                self._slots.release()
            with self._one_page:
                queued = self._clock.monotonic() - came > (came - began) * _FAIR_PART
                page = self._parsed(body, decoder, asked, visited, may_lack_links)
                return Answer(use(page), page.next, server_time, size, queued)

    def _ask(self, endpoint: Endpoint, url: str, room: ExitStack) -> tuple[int | None, bytes]:
        """Return Klaviyo's time and the body of a good answer, asked for once; its room is kept while it is in use."""
        pacer = self._limits.of(endpoint)
        self._requests += 1
        began = self._clock.monotonic()
        status: int | None = None
        try:
            with self._session.get(url, stream=True, timeout=self._timeout, allow_redirects=False) as response:
                status = response.status_code
                self.server_time = _server_time(response) or self.server_time
                pacer.observe(response.headers)
                room.enter_context(self._bodies)
                body = self._read(response, self._clock.monotonic() + self._timeout)
                if status != 200:
                    raise self._refusal(endpoint, response, body)
                return _server_time(response), body
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as problem:
            raise self._no_answer(problem) from None
        finally:
            if not self._closed:
                duration = round(self._clock.monotonic() - began, 3)
                log.metric("timer", "http_request_duration", duration, endpoint=endpoint.path, status=status)

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        chunks, size = [], 0
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            chunks.append(chunk)
            size += len(chunk)
            if size > self._body_limit:
                raise _TryAgainError(f"a body of more than {self._body_limit >> 20} MiB")
            if self._clock.monotonic() > deadline:
                raise _TryAgainError(f"a body that was not complete after {self._timeout:g} s")
        return b"".join(chunks)

    def _parsed(self, body: bytes, decoder: PageDecoder, url: str, visited: Set[str], may_lack_links: bool) -> Page:
        """Return the page in a body; one that is none, or leads astray, may be a better one at the next try."""
        try:
            document = parse_page(body, decoder)
        except MalformedError as problem:
            raise _TryAgainError(f"an answer that is no page ({problem})", 200) from None
        if not (document.has_links or may_lack_links):
            raise _NoLinksError("an answer without links, so that more pages may follow", 200)
        following = document.next
        if following is not None and (following == url or following in visited):
            raise _TryAgainError("an answer whose next page is one that came before", 200)
        if following is not None and _origin(following) != _origin(self._base_url):
            raise _TryAgainError("an answer whose next page is on another origin", 200)
        return document

    def _refusal(self, endpoint: Endpoint, response: requests.Response, body: bytes) -> Exception:
        status = response.status_code
        detail = log.mask(error_detail(body), self._key)
        said = f"Klaviyo answers {status} to GET {endpoint.path}" + (f": {detail.rstrip('.')}." if detail else ".")
        if status == 429 or status >= 500 or status == 408 or _is_challenge(response):
            return _TryAgainError(f"HTTP {status}", status, self._retry_after(response))
        if status == 401:
            return AuthError(f"{said} Check that api_key is a private key of this account that still exists.", status)
        if status == 403:
            return ScopeError(f"{said} The key needs the scope {endpoint.scopes[0]}.", status)
        if status == 410:
            return RequestError(f"{said} Set api_revision to a revision that Klaviyo still serves.", status)
        if 300 <= status < 400:
            return RequestError(f"{said} It is a redirect, which the tap does not follow with a key.", status)
        if _METRIC_DENIED in detail:
            return MetricDeniedError(said, status)
        if _CURSOR_REFUSED in detail:
            return CursorError(said, status)
        return RequestError(said, status)

    def _retry_after(self, response: requests.Response) -> float | None:
        """Return the seconds to wait; a date is meant by Klaviyo's clock, so that it is compared with `Date`."""
        text = response.headers.get("Retry-After", "").strip()
        if text.isdecimal():
            return float(text)
        until, now = _moment(text), _server_time(response)
        return max(0.0, until - (now or self._clock.wall())) if until is not None else None

    def _no_answer(self, problem: Exception) -> Exception:
        # Other troubles of TLS, such as a connection that is closed while it is made, may pass.
        if isinstance(problem, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(problem):
            text = log.mask(str(problem), self._key)
            return UnavailableError(f"The TLS certificate of {self._base_url} cannot be verified: {text}")
        return _TryAgainError(_in_words(problem))

    def _next_wait(
        self, trouble: _TryAgainError, wait: float, waited: float, endpoint: Endpoint, attempt: int
    ) -> float:
        where = f"GET {endpoint.path}"
        if trouble.retry_after is not None:
            wait = trouble.retry_after + random.uniform(0, min(1.0, trouble.retry_after / 10))
        if waited + wait > self._retries.total:
            asks = f" It asks to wait {wait:.0f} s." if trouble.retry_after else ""
            raise UnavailableError(
                f"Klaviyo gave no usable answer to {where}: {trouble} at try {attempt}, "
                f"after {waited:.0f} s of waiting.{asks} Run the tap again later; it goes on from the state.",
                trouble.status,
            )
        log.logger.warning("%s: %s; trying again in %.1f s (try %d).", where, trouble, wait, attempt + 1)
        if trouble.status == 429:
            self._limits.of(endpoint).pause(wait)
        return wait


class _TryAgainError(Exception):
    """One attempt failed in a way that may pass; `retry_after` is in seconds."""

    def __init__(self, what: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.status = status
        self.retry_after = retry_after


class _NoLinksError(_TryAgainError):
    """A page does not say whether another follows."""


class _KeyAuth(requests.auth.AuthBase):
    """Adds the key to requests to one origin; also keeps requests from looking into .netrc."""

    def __init__(self, key: str, base_url: str) -> None:
        self._key = key
        self._origin = _origin(base_url)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if _origin(request.url or "") != self._origin:
            raise ApiError("The tap was about to send the key to another origin than base_url.")
        request.headers["Authorization"] = f"Klaviyo-API-Key {self._key}"
        return request


def _session(config: Config) -> requests.Session:
    session = requests.Session()
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=config.max_concurrency)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    # A proxy of the environment would see the key in a request that is not encrypted.
    session.trust_env = config.base_url.startswith("https:")
    session.auth = _KeyAuth(config.api_key, config.base_url)
    # Without cookies, requests share nothing but the pool of connections, and threads can share the session.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update(
        {
            "Accept": MEDIA_TYPE,
            "Accept-Encoding": "gzip",
            "revision": config.api_revision,
            "User-Agent": config.user_agent,
        }
    )
    return session


def _resized(url: str, size: int | None) -> str:
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if size is None or ("page[size]", str(size)) in query:
        return url
    kept = [(name, value) for name, value in query if name != "page[size]"]
    return urlunsplit(parts._replace(query=urlencode([*kept, ("page[size]", str(size))])))


def _place(url: str) -> str:
    """Return a page's path and query, to be found again; it has no key."""
    parts = urlsplit(url)
    return f"{parts.path}?{unquote(parts.query)}" if parts.query else parts.path


def _origin(url: str) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port; None for what is no URL."""
    ports = {"https": 443, "http": 80}
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or ports.get(parts.scheme)
    except ValueError:
        return None


def _server_time(response: requests.Response) -> int | None:
    moment = _moment(response.headers.get("Date", ""))
    return None if moment is None else int(moment)


def _moment(text: str) -> float | None:
    """Return a header's date in epoch seconds; one without a zone is in UTC."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _is_challenge(response: requests.Response) -> bool:
    """Cloudflare's challenge: a 403 that says nothing of the key's scopes and passes by itself."""
    kind = response.headers.get("Content-Type", "")
    return response.status_code == 403 and ("cf-mitigated" in response.headers or kind.startswith("text/html"))


def _in_words(problem: Exception) -> str:
    if isinstance(problem, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(problem, requests.ConnectionError | urllib3.exceptions.NewConnectionError):
        return "the connection failed"
    return "the answer was cut"
