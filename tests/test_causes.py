"""Why no answer came: from the exceptions that requests and urllib3 raise to words, and whether to try again."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from typing import Any

import pytest
import requests
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from tap_klaviyo.klaviyo.causes import Outlook, cause_of

URL = "https://a.klaviyo.com/api/lists"
LOCAL, PASSING, LASTING = Outlook.LOCAL, Outlook.PASSING, Outlook.LASTING
CONNECTION: Any = HTTPConnection("a.klaviyo.com")
POOL: Any = None


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment have no proxy and no certificates."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def wrapped(reason: Exception, kind: type[Exception] = requests.ConnectionError) -> Exception:
    """Return an exception of requests as it wraps one of urllib3."""
    return kind(MaxRetryError(POOL, "/api/lists", reason))


def refused() -> NewConnectionError:
    problem = NewConnectionError(CONNECTION, "Failed to establish a new connection: [Errno 111]")
    problem.__cause__ = OSError(errno.ECONNREFUSED, "Connection refused")
    return problem


def tls_problem(reason: str, kind: type[ssl.SSLError] = ssl.SSLError) -> ssl.SSLError:
    problem = kind(1, f"[SSL: {reason}] (_ssl.c:1)")
    problem.reason = reason
    return problem


UNRESOLVED = NameResolutionError("a.klaviyo.com", CONNECTION, socket.gaierror(-2, "Name or service not known"))
UNTRUSTED = SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1)")


@pytest.mark.parametrize(
    ("problem", "words", "outlook"),
    [
        (
            wrapped(UNTRUSTED, requests.exceptions.SSLError),
            "cannot be verified: self-signed certificate. If a",
            LASTING,
        ),
        (wrapped(UNRESOLVED), "cannot resolve a.klaviyo.com: ", LOCAL),
        (wrapped(refused()), "cannot connect to a.klaviyo.com: Connection refused", LOCAL),
        (wrapped(ConnectTimeoutError(CONNECTION, "timed out")), "cannot connect to a.klaviyo.com: no answer", PASSING),
        (requests.ReadTimeout(ReadTimeoutError(POOL, URL, "Read timed out.")), "no answer in time", PASSING),
        (TimeoutError(), "no answer in time", PASSING),
        (
            requests.ConnectionError(ProtocolError("Aborted.", OSError(errno.ECONNRESET, "Connection reset by peer"))),
            "the connection failed (Connection reset by peer)",
            PASSING,
        ),
        (requests.exceptions.ChunkedEncodingError("IncompleteRead"), "the answer was cut", PASSING),
        (
            wrapped(SSLError(tls_problem("WRONG_VERSION_NUMBER")), requests.exceptions.SSLError),
            "a TLS connection to a.klaviyo.com cannot be set up: wrong version number",
            LOCAL,
        ),
        (
            requests.ConnectionError(ProtocolError("Aborted.", http.client.BadStatusLine("\x15\x03" + "a" * 90))),
            f"a.klaviyo.com answers with something that is not HTTP: '\\x15\\x03{'a' * 58}'",
            PASSING,
        ),
        (
            requests.ConnectionError(ProtocolError("Aborted.", http.client.HTTPException("got more than 100 headers"))),
            "answers with something that is not HTTP: 'got more than 100 headers'",
            PASSING,
        ),
        (
            requests.ConnectionError(ProtocolError("Aborted.", http.client.RemoteDisconnected("Without response"))),
            "the connection failed",
            PASSING,
        ),
        (wrapped(SSLError(tls_problem("UNEXPECTED_EOF", ssl.SSLEOFError))), "the answer was cut", PASSING),
        (
            LocationParseError("'a..b', label empty or too long"),
            "a.klaviyo.com is not a valid host name",
            LASTING,
        ),
    ],
    ids=[
        *("certificate", "name", "port", "no connection", "no answer", "time-out", "reset", "cut"),
        *("TLS", "not HTTP", "headers", "disconnected", "TLS that ends", "host"),
    ],
)
def test_a_cause_has_words_and_an_outlook(problem: Exception, words: str, outlook: Outlook) -> None:
    cause = cause_of(problem, URL)
    assert words in cause.words
    assert cause.outlook is outlook


@pytest.mark.parametrize(
    ("problem", "words", "outlook"),
    [
        (wrapped(refused()), "cannot connect to the proxy proxy.example:8080: Connection refused", LOCAL),
        (wrapped(UNRESOLVED), "cannot resolve the proxy proxy.example:8080: ", LOCAL),
        (
            wrapped(ConnectTimeoutError(CONNECTION, "timed out")),
            "cannot connect to a.klaviyo.com through the proxy http://user:***@proxy.example:8080: no answer",
            PASSING,
        ),
        (
            wrapped(
                OSError("Tunnel connection failed: 407 Proxy Authentication Required"), requests.exceptions.ProxyError
            ),
            "refuses the connection: 407 Proxy Authentication Required; check the user and password",
            LOCAL,
        ),
        (requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support."), "the package PySocks", LASTING),
        (requests.exceptions.InvalidProxyURL("Please check proxy URL."), "is not a valid URL", LASTING),
        (LocationParseError("'a..b', label empty or too long"), "is not a valid URL", LASTING),
        (
            wrapped(OSError("Tunnel connection failed: 501 Unsupported method ('CONNECT')")),
            "refuses the connection: 501 Unsupported method",
            LOCAL,
        ),
    ],
    ids=["port", "name", "no connection", "password", "socks", "URL", "host", "no proxy"],
)
def test_a_cause_at_the_proxy_names_it_without_its_password(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, words: str, outlook: Outlook
) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.example:8080")
    cause = cause_of(problem, URL)
    assert words in cause.words
    assert "secret" not in cause.words
    assert cause.outlook is outlook


def test_a_proxy_that_refuses_a_host_gives_no_hint_at_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:8080")
    problem = wrapped(OSError("Tunnel connection failed: 403 Forbidden"), requests.exceptions.ProxyError)
    assert cause_of(problem, URL).words == "the proxy http://proxy.example:8080 refuses the connection: 403 Forbidden"


def test_a_proxy_that_is_not_used_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:8080")
    cause = cause_of(wrapped(ConnectTimeoutError(CONNECTION, "timed out")), "http://127.0.0.1:8010/api/lists")
    assert cause.words == "cannot connect to 127.0.0.1:8010: no answer in time"


@pytest.mark.parametrize(
    ("variable", "where"),
    [("CURL_CA_BUNDLE", "that CURL_CA_BUNDLE names (/nowhere/ca.pem)"), (None, "of the package certifi")],
)
def test_a_missing_file_of_certificates_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, where: str
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    if variable:
        monkeypatch.setenv(variable, "/nowhere/ca.pem")
    cause = cause_of(OSError("Could not find a suitable TLS CA certificate bundle, invalid path: /nowhere"), URL)
    assert cause.words == f"the file of CA certificates {where} does not exist"
    assert cause.outlook is LASTING


def test_the_host_that_a_certificate_is_not_valid_for_is_named() -> None:
    problem = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1)")
    problem.verify_message = "Hostname mismatch, certificate is not valid for 'a.klaviyo.com'."
    cause = cause_of(wrapped(SSLError(problem), requests.exceptions.SSLError), URL)
    assert "cannot be verified: Hostname mismatch, certificate is not valid for 'a.klaviyo.com'. If" in cause.words


def test_a_password_in_the_url_is_not_shown() -> None:
    cause = cause_of(wrapped(refused()), "https://user:word@a.klaviyo.com/api/lists")
    assert cause.words == "cannot connect to a.klaviyo.com: Connection refused"
