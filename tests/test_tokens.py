"""Access tokens of OAuth, against a token endpoint that answers whatever a test wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests

from tap_klaviyo.errors import AuthError
from tap_klaviyo.klaviyo.auth import ApiKey, OAuth, OAuthApp
from tap_klaviyo.klaviyo.retries import TryAgainError
from tests.canned import Answer, answering
from tests.running import Time


class Tokens:
    """Answers with a new token each time, and counts."""

    def __init__(self, **more: object) -> None:
        self.issued = 0
        self.more = more

    def __call__(self, path: str) -> Answer:
        self.issued += 1
        return Answer(json.dumps({"access_token": f"token-{self.issued}", **self.more}).encode())


@contextmanager
def oauth_of(answer: Callable[[str], Answer], time: Time) -> Iterator[OAuth]:
    """Yield the tokens of an app whose token endpoint gives these answers."""
    with answering(answer) as origin, requests.Session() as session:
        yield OAuth(OAuthApp("client", "secret", "refresh"), session.post, origin, time.clock)


def test_a_key_is_sent_in_klaviyos_scheme_and_not_replaced() -> None:
    key = ApiKey("pk_1")
    assert (key.header(), key.secrets, key.renew(key.header())) == ("Klaviyo-API-Key pk_1", ("pk_1",), False)
    assert "pk_1" not in repr(key)


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({"expires_in": 3600}, 3540),
        ({"expires_in": 100}, 75),
        ({"expires_in": 0}, 3540),
        ({"expires_in": "100"}, 3540),
        ({}, 3540),
    ],
)
def test_a_token_is_replaced_before_it_ends(more: dict[str, object], seconds: float) -> None:
    tokens, time = Tokens(**more), Time(1000.0)
    with oauth_of(tokens, time) as oauth:
        assert oauth.header() == "Bearer token-1"
        time.now += seconds - 1
        assert oauth.header() == "Bearer token-1"
        time.now += 2
        assert oauth.header() == "Bearer token-2"


def test_the_answer_to_an_older_token_does_not_accept_the_new_one() -> None:
    tokens, time = Tokens(), Time(1000.0)
    with oauth_of(tokens, time) as oauth:
        first = oauth.header()
        time.now += 3600
        second = oauth.header()
        oauth.accept(first)
        assert not oauth.renew(second)
        oauth.accept(second)
        assert oauth.renew(second)
    assert tokens.issued == 3


def test_a_token_that_several_threads_were_refused_is_replaced_once() -> None:
    tokens = Tokens()
    with oauth_of(tokens, Time()) as oauth:
        first = oauth.header()
        oauth.accept(first)
        assert oauth.renew(first)
        assert oauth.renew(first)
        assert oauth.header() == "Bearer token-2"
    assert tokens.issued == 2


def test_every_secret_is_masked() -> None:
    with oauth_of(Tokens(refresh_token="rotated"), Time()) as oauth:
        oauth.header()
        assert set(oauth.secrets) == {"secret", "refresh", "rotated", "token-1"}


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"access_token": 5}',
        b'{"access_token": ""}',
        b'{"access_token": "a\\nb"}',
        '{"access_token": "\u65e5"}'.encode(),
        b"[]",
        b"no JSON",
        json.dumps({"padding": "x" * 70_000, "access_token": "token"}).encode(),
    ],
    ids=["empty", "number", "no letters", "two lines", "other letters", "array", "text", "large"],
)
def test_an_answer_without_a_token_is_tried_again(body: bytes) -> None:
    with oauth_of(lambda _: Answer(body), Time()) as oauth, pytest.raises(TryAgainError) as trouble:
        oauth.header()
    assert trouble.value.status == 401


def test_a_redirect_is_not_followed() -> None:
    asked = list[str]()

    def answer(path: str) -> Answer:
        asked.append(path)
        return Answer(status=302, headers={"Location": "/elsewhere"})

    with oauth_of(answer, Time()) as oauth, pytest.raises(AuthError, match=r"answers 302 .*Check base_url"):
        oauth.header()
    assert asked == ["/oauth/token"]
