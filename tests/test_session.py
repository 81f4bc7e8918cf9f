"""The HTTP session: where the key goes, what is kept between requests, and where a next page may be."""

from __future__ import annotations

import socket

import pytest
import requests

from tap_klaviyo.errors import ApiError
from tap_klaviyo.klaviyo.deadlines import Deadline, HTTPConnection, Watchdog
from tap_klaviyo.klaviyo.session import at_origin, open_session
from tests.canned import Answer, answering

KEY = "pk_0123456789abcdef0123456789abcdef01"


def session_for(origin: str) -> requests.Session:
    return open_session(origin, lambda: f"Klaviyo-API-Key {KEY}", "tap", "2026-07-15", 1)


def test_the_key_is_not_sent_to_another_origin() -> None:
    with answering(lambda _: Answer(b"{}")) as one, answering(lambda _: Answer(b"{}")) as other:
        session = session_for(one)
        assert session.get(one).request.headers["Authorization"] == f"Klaviyo-API-Key {KEY}"
        with pytest.raises(ApiError, match="an origin other than base_url"):
            session.get(other)


def test_no_cookie_is_kept() -> None:
    with answering(lambda _: Answer(b"{}", headers={"Set-Cookie": "a=b; Path=/"})) as origin:
        session = session_for(origin)
        session.get(origin)
        assert "Cookie" not in session.get(origin).request.headers


def test_a_redirect_is_not_followed() -> None:
    with answering(lambda _: Answer(b"", 302, {"Location": "/api/elsewhere"})) as origin:
        answer = session_for(origin).get(origin)
        assert (answer.status_code, answer.history) == (302, [])


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://a.klaviyo.com/api/lists?page%5Bcursor%5D=x", "/api/lists?page%5Bcursor%5D=x"),
        ("https://user:word@a.klaviyo.com/api/lists", "/api/lists"),
        ("https://a.klaviyo.com/other", None),
        ("/api/lists?page%5Bcursor%5D=x", "/api/lists?page%5Bcursor%5D=x"),
        ("//elsewhere/api/lists", None),
        ("api/lists", None),
        ("?page%5Bcursor%5D=x", None),
        ("https://a.klaviyo.com/api/../lists", None),
        ("/api/%2e%2e/lists", None),
        ("ftp://a.klaviyo.com/api/lists", None),
        ("https://a.klaviyo.com:99999/api/lists", None),
    ],
)
def test_a_next_page_is_asked_for_at_our_own_origin(url: str, path: str | None) -> None:
    assert at_origin(url, "https://gateway") == (path and f"https://gateway{path}")


@pytest.mark.parametrize("is_done", [True, False])
def test_a_deadline_does_not_end_a_request_that_is_done(is_done: bool) -> None:
    deadline = Deadline()
    if is_done:
        deadline.end()
    deadline.pass_now()
    assert deadline.is_over is not is_done


def test_nothing_is_sent_on_a_connection_that_opens_after_the_deadline() -> None:
    class Slow(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            deadline.pass_now()  # while the first of several addresses did not answer
            return super()._new_conn()

    with socket.create_server(("127.0.0.1", 0)) as listener, Watchdog().limit(60) as deadline:
        connection = Slow("127.0.0.1", listener.getsockname()[1])
        with pytest.raises(TimeoutError):
            connection.request("GET", "/")
        connection.close()
        with listener.accept()[0] as accepted:
            assert accepted.recv(1) == b""
