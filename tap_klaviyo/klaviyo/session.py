"""The HTTP session: one origin, the key for it alone, no redirects, no cookies."""

from __future__ import annotations

from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter

from tap_klaviyo.errors import ApiError
from tap_klaviyo.klaviyo.deadlines import POOLS

# Seconds to connect. A server that does not answer by then is not there; a page may take minutes.
CONNECT_TIMEOUT = 10.0
MEDIA_TYPE = "application/vnd.api+json"


class _WatchedAdapter(HTTPAdapter):
    """An adapter whose connections a deadline can shut down, also those to a proxy."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Use pools of such connections."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Use pools of such connections, except through a SOCKS proxy, which needs its own pools."""
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = POOLS
        return manager


class _Session(requests.Session):
    """A session that follows no redirect, and does not read the body of one to find out where it leads."""

    def get_redirect_target(self, response: requests.Response) -> None:
        """Return that there is none: requests reads the whole body of a redirect, without a limit, if there is."""
        return None


class _OriginAuth(requests.auth.AuthBase):
    """Adds a header to requests to one origin; also keeps requests from looking into .netrc."""

    def __init__(self, header: Callable[[], str], base_url: str) -> None:
        self._header = header
        self._origin = origin_of(base_url)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if origin_of(request.url or "") != self._origin:
            raise ApiError("The tap refused to send the key to an origin other than base_url.")
        request.headers["Authorization"] = self._header()
        return request


def open_session(
    base_url: str, header: Callable[[], str], user_agent: str, revision: str, connections: int
) -> requests.Session:
    """Return a session for an origin; no connection is made yet.

    Args:
        base_url: the origin.
        header: returns the Authorization header, for each request.
        user_agent: the User-Agent header.
        revision: of the API.
        connections: how many are kept open.
    """
    session = _Session()
    adapter = _WatchedAdapter(pool_connections=1, pool_maxsize=connections)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    # A proxy of the environment would see the key in a request that is not encrypted.
    session.trust_env = base_url.startswith("https:")
    session.auth = _OriginAuth(header, base_url)
    # Without cookies, requests share nothing but the pool of connections, and threads can share the session.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update(
        {"Accept": MEDIA_TYPE, "Accept-Encoding": "gzip", "revision": revision, "User-Agent": user_agent}
    )
    return session


def origin_of(url: str) -> tuple[str, str, int | None] | None:
    """Return a URL's scheme, host and port; None for a text that is not a URL."""
    ports = {"https": 443, "http": 80}
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or ports.get(parts.scheme)
    except ValueError:
        return None


def at_origin(url: str, base_url: str) -> str | None:
    """Return a URL's path and query at another origin; None if it is not the URL of a page.

    Behind a gateway, or on a recording, Klaviyo's `links.next` names Klaviyo itself, or no host: JSON:API allows links
    that are only a path.
    """
    try:
        parts = urlsplit(url)
        is_path = not parts.scheme and not parts.netloc
        is_proper = is_path or (parts.scheme in ("http", "https") and bool(parts.hostname))
        # Only Klaviyo's own paths: whatever else a page may name is not the next one.
        is_proper = is_proper and parts.path.startswith("/api/") and ".." not in unquote(parts.path).split("/")
        if not is_proper or "\\" in parts.netloc or (parts.port or 0) > 65535:
            return None
    except ValueError:
        return None
    return f"{base_url}{parts.path}" + (f"?{parts.query}" if parts.query else "")
