"""How requests are authorized: a private API key, or OAuth with a refresh token.

OAuth as Klaviyo documents it: POST /oauth/token with the client in a Basic header returns an access token for an hour.
A refresh token is valid until the app is uninstalled or the token has been unused for 90 days. Klaviyo returns the same
one with each access token, but its documentation allows a new one.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import requests

from tap_klaviyo.errors import AuthError
from tap_klaviyo.klaviyo.retries import TryAgainError
from tap_klaviyo.klaviyo.session import CONNECT_TIMEOUT, open_session
from tap_klaviyo.log import logger
from tap_klaviyo.times import Clock

_TOKEN = re.compile(r"[!-~]+")
_TOKEN_PATH = "/oauth/token"
# Bytes of an answer with a token; real ones have less than one KB.
_LARGEST_ANSWER = 2**16
# Seconds before its end at which a token is replaced, so that no request is sent with one that ends on the way.
_MARGIN = 60.0
# The lifetime in seconds of a token that does not state it.
_LIFETIME = 3600.0


class Credentials(Protocol):
    """The settings that authorize requests: an API key, or the three of OAuth."""

    @property
    def api_key(self) -> str | None:
        """The private API key; None with OAuth."""

    @property
    def client_id(self) -> str | None:
        """The id of an OAuth app; None with an API key."""

    @property
    def client_secret(self) -> str | None:
        """The secret of the app; None with an API key."""

    @property
    def refresh_token(self) -> str | None:
        """The refresh token of the app's installation; None with an API key."""

    @property
    def base_url(self) -> str:
        """Klaviyo's origin."""

    @property
    def api_revision(self) -> str:
        """The revision of the API that is asked for."""

    @property
    def user_agent(self) -> str:
        """The User-Agent header."""

    @property
    def request_timeout(self) -> float:
        """Seconds that one try may take."""


class Authorization(Protocol):
    """What a client needs to authorize its requests; safe to use from many threads."""

    @property
    def hint(self) -> str:
        """What to do if Klaviyo refuses it, as a sentence."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values to mask in messages."""

    def header(self) -> str:
        """Return the value of the Authorization header.

        Raises:
            AuthError: Klaviyo issues no token for these credentials.
            TryAgainError, requests.RequestException: a token could not be requested this time.
        """

    def accept(self, header: str) -> None:
        """Note that Klaviyo has accepted a header."""

    def renew(self, header: str) -> bool:
        """Return whether there is another header after Klaviyo has refused this one; raises as `header` does."""


@dataclass(frozen=True)
class ApiKey:
    """A private API key."""

    key: str = field(repr=False)

    @property
    def hint(self) -> str:
        """Where the key is checked."""
        return "Check that api_key is a private key of this account that still exists."

    @property
    def secrets(self) -> tuple[str, ...]:
        """The key."""
        return (self.key,)

    def header(self) -> str:
        """Return the header."""
        return f"Klaviyo-API-Key {self.key}"

    def accept(self, header: str) -> None:
        """Do nothing."""

    def renew(self, header: str) -> bool:
        """Return that there is no other key."""
        return False


@dataclass(frozen=True)
class OAuthApp:
    """The credentials of an app that an account has installed."""

    client_id: str
    client_secret: str = field(repr=False)
    refresh_token: str = field(repr=False)

    def basic_header(self) -> str:
        """Return the header for requests of tokens."""
        return "Basic " + base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()


class OAuth:
    """Access tokens of an app: one for all threads, replaced before it ends, and once if Klaviyo refuses it."""

    def __init__(self, app: OAuthApp, post: Callable[..., requests.Response], base_url: str, clock: Clock) -> None:
        """Request no token yet.

        Args:
            app: the app's credentials.
            post: sends a POST with the app's Basic header, as `requests.Session.post` does.
            base_url: Klaviyo's origin.
            clock: where time comes from.
        """
        self._app = app
        self._post = post
        self._url = f"{base_url}{_TOKEN_PATH}"
        self._clock = clock
        self._lock = threading.Lock()
        self._refresh_token = app.refresh_token
        self._header = ""
        self._ends = 0.0
        self._was_accepted = False

    @property
    def hint(self) -> str:
        """What to check in Klaviyo."""
        return "Check that the app is still installed in this account, and has the scopes that the streams need."

    @property
    def secrets(self) -> tuple[str, ...]:
        """The client's secret, and the current tokens."""
        found = (self._app.client_secret, self._app.refresh_token, self._refresh_token, self._header[len("Bearer ") :])
        return tuple(filter(None, found))

    def header(self) -> str:
        """Return the header with a token that is still valid for a while."""
        with self._lock:
            if self._clock.monotonic() >= self._ends:
                self._request_token()
            return self._header

    def accept(self, header: str) -> None:
        """Note that a token was valid: if it is refused later, it has ended."""
        self._was_accepted = self._was_accepted or header == self._header

    def renew(self, header: str) -> bool:
        """Return whether there is another token; a new one that was never accepted is not replaced again."""
        with self._lock:
            if header == self._header:
                if not self._was_accepted:
                    return False
                self._request_token()
            return True

    def _request_token(self) -> None:
        form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
        with self._post(
            self._url, data=form, headers={"Accept": "application/json"}, stream=True, allow_redirects=False
        ) as response:
            body = _read_object(response.raw.read(_LARGEST_ANSWER, decode_content=True))
            status, token = response.status_code, body.get("access_token")
        # What does not fit a header would be an error that shows it.
        is_token = isinstance(token, str) and _TOKEN.fullmatch(token)
        if status == 429 or status >= 500 or (status == 200 and not is_token):
            # 401, as without a token: a failure of the page itself would make the client ask for smaller ones.
            raise TryAgainError(f"no access token from POST {_TOKEN_PATH} (HTTP {status})", 401)
        if status != 200:
            raise AuthError(_token_refusal(status, body), status)
        lifetime = body.get("expires_in")
        seconds = float(lifetime) if isinstance(lifetime, int | float) and lifetime > 0 else _LIFETIME
        self._ends = self._clock.monotonic() + seconds - min(_MARGIN, seconds / 4)
        self._header, self._was_accepted = f"Bearer {token}", False
        self._keep_refresh_token(body.get("refresh_token"))

    def _keep_refresh_token(self, token: Any) -> None:
        if not isinstance(token, str) or token in ("", self._refresh_token):
            return
        if self._refresh_token == self._app.refresh_token:
            logger.warning(
                "Klaviyo has issued a new refresh_token. This run uses it; the one in the configuration may be invalid "
                "now. If the next run is refused, authorize the app again."
            )
        self._refresh_token = token


def open_authorization(settings: Credentials, clock: Clock) -> Authorization:
    """Return how requests are authorized; none is sent yet."""
    if settings.client_id and settings.client_secret and settings.refresh_token:
        app = OAuthApp(settings.client_id, settings.client_secret, settings.refresh_token)
        session = open_session(settings.base_url, app.basic_header, settings.user_agent, settings.api_revision, 1)
        post = partial(session.post, timeout=(CONNECT_TIMEOUT, settings.request_timeout))
        return OAuth(app, post, settings.base_url, clock)
    return ApiKey(settings.api_key or "")


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _token_refusal(status: int, body: dict[str, Any]) -> str:
    """Return why there is no token, and what to do, in sentences."""
    error = str(body.get("error") or "")[:100]
    if error == "invalid_grant":
        return (
            "Klaviyo no longer accepts refresh_token (invalid_grant): the app was uninstalled, or the token was "
            "replaced or unused for 90 days. Authorize the app again, and set the new refresh_token."
        )
    if error == "invalid_client" or status == 401:
        return "Klaviyo does not accept client_id or client_secret (invalid_client). Check both in the app's settings."
    return f"Klaviyo answers {status} to POST {_TOKEN_PATH}{f' ({error})' if error else ''}. Check base_url."
