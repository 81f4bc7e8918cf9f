"""One request over HTTP: its headers, its deadline, its body and what the answer means; others retry it."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import requests
import urllib3
from requests import Response

from tap_klaviyo import log
from tap_klaviyo.errors import OfflineError, UnavailableError
from tap_klaviyo.klaviyo.auth import open_authorization
from tap_klaviyo.klaviyo.causes import Outlook, cause_of
from tap_klaviyo.klaviyo.deadlines import Watchdog
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.ratelimit import RateLimits
from tap_klaviyo.klaviyo.refusals import refusal_of, time_of
from tap_klaviyo.klaviyo.retries import TryAgainError
from tap_klaviyo.klaviyo.session import CONNECT_TIMEOUT, MEDIA_TYPE, open_session
from tap_klaviyo.klaviyo.settings import Settings
from tap_klaviyo.times import Clock

# Bytes of a body beyond which it is not read: a thousand events of 64 KB each. A larger page is asked for in parts.
BODY_LIMIT = 64 * 2**20
_CHUNK = 2**18
# Bodies in memory at once: when many come together, the others wait with the system, in its buffers.
_BODIES = 6


class Transport:
    """Sends requests and reads their answers; safe to use from many threads."""

    def __init__(self, settings: Settings, clock: Clock, limits: RateLimits, body_limit: int = BODY_LIMIT) -> None:
        """Open no connection yet.

        Args:
            settings: Klaviyo's address, the key, and how it is asked.
            clock: where time comes from.
            limits: learn from the headers of each answer.
            body_limit: bytes beyond which no body is read.
        """
        self._revision = settings.api_revision
        self._clock = clock
        self._limits = limits
        self._body_limit = body_limit
        self._authorization = open_authorization(settings, clock)
        self._session = open_session(
            settings.base_url,
            self._authorization.header,
            settings.user_agent,
            self._revision,
            settings.max_concurrency,
        )
        self._watchdog = Watchdog()
        self._bodies = threading.Semaphore(_BODIES)
        self.is_closed = False
        # How many requests were sent.
        self.requests = 0
        # Klaviyo's time by the last answer, in epoch seconds, whatever that answer was.
        self.server_time: int | None = None
        self._has_answered = False

    def send(
        self, endpoint: Endpoint, url: str, room: ExitStack, seconds: float, content: bytes | None = None
    ) -> tuple[int | None, bytes]:
        """Send one request, and return Klaviyo's time and the body of a good answer.

        Args:
            endpoint: the collection.
            url: the address.
            room: keeps the body's place in memory as long as the body is in use.
            seconds: the deadline of the whole try.
            content: JSON:API to send.

        Raises:
            TryAgainError: the request may succeed later.
            ApiError: Klaviyo refuses it, or cannot be reached.
        """
        pacer = self._limits.of(endpoint)
        self.requests += 1
        began = self._clock.monotonic()
        status: int | None = None
        # Revisions are dates: a later one that the user sets counts for all endpoints.
        headers = {"revision": max(endpoint.revision or "", self._revision)}
        if content is not None:
            headers["Content-Type"] = MEDIA_TYPE
        try:
            with (
                self._watchdog.limit(seconds) as deadline,
                self._session.request(
                    endpoint.method,
                    url,
                    data=content,
                    stream=True,
                    timeout=(min(CONNECT_TIMEOUT, seconds), seconds),
                    headers=headers,
                ) as response,
            ):
                status, self._has_answered = response.status_code, True
                self.server_time = time_of(response) or self.server_time
                pacer.observe(response.headers)
                room.enter_context(self._bodies)
                body = self._read(response, began, seconds)
                # A connection that was shut down looks like one that ended.
                if deadline.is_over:
                    raise _too_late(seconds)
                self._judge_authorization(response)
                if status != 200:
                    raise refusal_of(endpoint, response, body, self._authorization, self._clock.wall())
                return time_of(response), body
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as problem:
            if deadline.is_over:
                raise _too_late(seconds) from None
            raise self._no_answer(problem, url) from None
        finally:
            if not self.is_closed:
                duration = round(self._clock.monotonic() - began, 3)
                log.log_metric("timer", "http_request_duration", duration, endpoint=endpoint.path, status=status)

    def without_secrets(self, text: str) -> str:
        """Return a text in which the key or the tokens are masked, should an answer repeat them."""
        return log.mask_secrets(text, *self._authorization.secrets)

    def _judge_authorization(self, response: Response) -> None:
        """Note whether Klaviyo accepted the key or token; if a token has ended, replace it and retry the request."""
        header = str(response.request.headers.get("Authorization"))
        if response.status_code != 401:
            self._authorization.accept(header)
        elif self._authorization.renew(header):
            raise TryAgainError("Klaviyo no longer accepts the access token", 401)

    def _read(self, response: Response, began: float, seconds: float) -> bytes:
        chunks, size = [], 0
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            chunks.append(chunk)
            size += len(chunk)
            if size > self._body_limit:
                raise TryAgainError(f"a body of more than {self._body_limit >> 20} MiB")
            if self._clock.monotonic() > began + seconds:
                raise _too_late(seconds)
        return b"".join(chunks)

    def _no_answer(self, problem: Exception, url: str) -> Exception:
        cause = cause_of(problem, url)
        words = self.without_secrets(cause.words)
        # Until Klaviyo has answered once, no other request can succeed either.
        is_offline = not self._has_answered
        if cause.outlook is Outlook.LASTING:
            return (OfflineError if is_offline else UnavailableError)(f"Klaviyo cannot be reached: {words}.")
        return TryAgainError(words, is_local=cause.outlook is Outlook.LOCAL and is_offline)


def _too_late(seconds: float) -> TryAgainError:
    return TryAgainError(f"no complete answer after {seconds:.2g} s")
