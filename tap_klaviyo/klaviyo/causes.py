"""Explains failed requests with the reason from the operating system, the proxy or the TLS library."""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

import requests
import urllib3
from requests.utils import get_environ_proxies, select_proxy

from tap_klaviyo.log import mask_secrets

# Maximum characters of an answer that a message shows if the answer is not HTTP.
_LONGEST_ODDITY = 60


class Outlook(Enum):
    """Whether a retry can help."""

    PASSING = "the network or Klaviyo may recover within minutes"
    LOCAL = "a local problem with a name, a port or a proxy, which recovers within seconds or never"
    LASTING = "a retry fails in the same way"


@dataclass(frozen=True)
class Cause:
    """The reason of a failed request, and whether a retry can help."""

    words: str
    outlook: Outlook


def cause_of(problem: Exception, url: str) -> Cause:
    """Return the cause of a failed request to a URL."""
    host = _host_of(url)
    chain = list(_exception_chain(problem))
    texts = " ".join(str(each) for each in chain)
    if "CERTIFICATE_VERIFY_FAILED" in texts:
        said = next(
            (getattr(each, "verify_message", "") for each in chain if isinstance(each, ssl.SSLCertVerificationError)),
            "",
        )
        found = re.search(r"CERTIFICATE_VERIFY_FAILED\]?\s*(?:certificate verify failed: )?([^()\"']+)", texts)
        reason = said.rstrip(".") or (found[1].strip() if found else "it is not trusted")
        return Cause(
            f"the TLS certificate of {host} cannot be verified: {reason}. If a proxy of yours answers in Klaviyo's "
            "name, set REQUESTS_CA_BUNDLE to its certificate",
            Outlook.LASTING,
        )
    if "TLS CA certificate bundle" in texts:
        return Cause(f"the file of CA certificates{_ca_variable()} does not exist", Outlook.LASTING)
    if "NO_CERTIFICATE_OR_CRL_FOUND" in texts:
        return Cause(f"the file of CA certificates{_ca_variable()} holds no certificate", Outlook.LASTING)
    if "SOCKS support" in texts:
        return Cause(
            f"the proxy {_proxy_for(url)} needs the package PySocks; install it with pip install 'requests[socks]'",
            Outlook.LASTING,
        )
    if isinstance(problem, requests.exceptions.InvalidURL | urllib3.exceptions.LocationParseError):
        proxy = _proxy_for(url)
        words = f"the proxy {proxy} is not a valid URL" if proxy else f"{host} is not a valid host name"
        return Cause(words, Outlook.LASTING)
    return _connection_cause(chain, texts, host, url)


def _connection_cause(chain: list[BaseException], texts: str, host: str, url: str) -> Cause:
    through = f" through the proxy {proxy}" if (proxy := _proxy_for(url)) else ""
    nearest = f"the proxy {_proxy_host(proxy)}" if proxy else host
    if found := re.search(r"Tunnel connection failed: (\d{3} ?[^'\"()]*)", texts):
        hint = "; check the user and password in the proxy's URL" if found[1].startswith("407") else ""
        return Cause(f"the proxy {proxy} refuses the connection: {found[1].strip()}{hint}", Outlook.LOCAL)
    if any(isinstance(each, socket.gaierror) for each in chain) or "Failed to resolve" in texts:
        reason = next((str(each.strerror) for each in chain if isinstance(each, socket.gaierror)), "unknown host")
        return Cause(f"cannot resolve {nearest}: {reason}", Outlook.LOCAL)
    if reason := _tls_reason(chain):
        return Cause(f"a TLS connection to {host}{through} cannot be set up: {reason}", Outlook.LOCAL)
    system = next((each for each in chain if isinstance(each, OSError) and each.errno and each.strerror), None)
    if system and system.errno in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES):
        return Cause(f"cannot connect to {nearest}: {system.strerror}", Outlook.LOCAL)
    if any(isinstance(each, urllib3.exceptions.ConnectTimeoutError) for each in chain):
        return Cause(f"cannot connect to {host}{through}: no answer in time", Outlook.PASSING)
    if any(isinstance(each, TimeoutError | urllib3.exceptions.TimeoutError | requests.Timeout) for each in chain):
        return Cause("no answer in time", Outlook.PASSING)
    if odd := next(filter(_is_not_http, chain), None):
        shown = ascii(str(odd)[:_LONGEST_ODDITY])
        return Cause(f"{nearest} answers with something that is not HTTP: {shown}", Outlook.PASSING)
    if any(isinstance(each, urllib3.exceptions.ProtocolError | ConnectionError) for each in chain):
        detail = f" ({system.strerror})" if system else ""
        return Cause(f"the connection failed{detail}", Outlook.PASSING)
    return Cause("the answer was cut", Outlook.PASSING)


def _is_not_http(problem: BaseException) -> bool:
    """Return whether a complete answer is not HTTP."""
    is_cut = isinstance(problem, http.client.IncompleteRead | ConnectionError)
    return isinstance(problem, http.client.HTTPException) and not is_cut


def _tls_reason(chain: Sequence[BaseException]) -> str:
    """Return the reason of a TLS failure. Empty if TLS did not fail, or if the connection was closed."""
    ended = ssl.SSLEOFError | ssl.SSLZeroReturnError
    reasons = (getattr(each, "reason", None) for each in chain if isinstance(each, ssl.SSLError))
    is_ended = any(isinstance(each, ended) for each in chain)
    return "" if is_ended else next((str(each) for each in reasons if each), "").replace("_", " ").lower()


def _ca_variable() -> str:
    """Return the source of the CA certificates: an environment variable with its file, or the package certifi."""
    name = next((name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)), "")
    return f" that {name} names ({os.environ[name]})" if name else " of the package certifi"


def _exception_chain(problem: BaseException | None, depth: int = 12) -> Iterator[BaseException]:
    """Yield an exception and the exceptions within: in `reason`, in the arguments, and in the cause and context."""
    if problem is None or depth == 0:
        return
    yield problem
    inner = [getattr(problem, "reason", None), *problem.args, problem.__cause__, problem.__context__]
    for each in inner:
        if isinstance(each, BaseException) and each is not problem:
            yield from _exception_chain(each, depth - 1)


def _host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or url


def _proxy_for(url: str) -> str:
    """Return the proxy for a URL from the environment, with a masked password. Empty without a proxy."""
    if not url.startswith("https:"):
        return ""
    return mask_secrets(select_proxy(url, get_environ_proxies(url)) or "")


def _proxy_host(proxy: str) -> str:
    return proxy.rpartition("@")[2].partition("://")[2] or proxy.rpartition("@")[2] if proxy else ""
