"""OAuth: tokens are refreshed in time and once when refused; a new refresh token and a refusal are reported."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo import config
from tap_klaviyo.errors import AuthError, ConfigError, UnavailableError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import LISTS
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.sandbox import Account, OAuth, Sandbox, error_status
from tests.running import Time
from tests.test_cli import assert_sentence, tap

ACCOUNT = Account.build(events=300)
TOKEN = "/oauth/token"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(ACCOUNT, limits=False, oauth=OAuth(rotates=True)) as sandbox:
        yield sandbox


def client_of(sandbox: Sandbox, time: Time, **changes: str) -> Client:
    settings = config.check_settings({**sandbox.oauth_config, **changes})
    return Client(settings, time.clock, Retries(total=60.0))


def read(client: Client) -> int:
    with client.page(LISTS, client.url(LISTS, {}), 10) as answer:
        return len(answer.page.data)


def tokens(sandbox: Sandbox) -> int:
    return sum(request.path == TOKEN for request in sandbox.requests)


def test_one_token_serves_all_threads(sandbox: Sandbox) -> None:
    client = client_of(sandbox, Time())
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: read(client), range(16))) == [10] * 16
    assert tokens(sandbox) == 1


def test_a_token_is_refreshed_a_minute_before_it_ends(sandbox: Sandbox) -> None:
    time = Time()
    client = client_of(sandbox, time)
    read(client)
    time.now += 3600 - 61
    read(client)
    assert tokens(sandbox) == 1
    time.now += 2
    read(client)
    assert tokens(sandbox) == 2


def test_a_token_that_klaviyo_no_longer_accepts_is_refreshed_once(sandbox: Sandbox) -> None:
    client = client_of(sandbox, Time())
    read(client)
    sandbox.advance(7200)
    assert read(client) == 10
    assert tokens(sandbox) == 2


def test_a_new_token_that_klaviyo_refuses_ends_the_run() -> None:
    with Sandbox(ACCOUNT, limits=False, oauth=OAuth(lifetime=0)) as sandbox:
        with pytest.raises(AuthError, match=r"401 to GET /api/lists.*Check that the app is still installed"):
            read(client_of(sandbox, Time()))
        assert tokens(sandbox) == 1


def test_a_new_refresh_token_is_used_and_reported_without_its_value(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time()
    client = client_of(sandbox, time)
    logging.getLogger("tap_klaviyo").addHandler(caplog.handler)
    try:
        for _ in range(3):
            read(client)
            time.now += 3600
    finally:
        logging.getLogger("tap_klaviyo").removeHandler(caplog.handler)
    assert tokens(sandbox) == 3
    reported = [record.getMessage() for record in caplog.records if "refresh_token" in record.getMessage()]
    assert len(reported) == 1
    assert sandbox.oauth.refresh_token not in caplog.text


def test_an_uninstalled_app_is_a_sentence(sandbox: Sandbox) -> None:
    client = client_of(sandbox, Time())
    read(client)
    sandbox.oauth.uninstall()
    with pytest.raises(AuthError, match=r"invalid_grant.*Authorize the app again, and set the new refresh_token\."):
        read(client)


def test_a_wrong_secret_is_a_sentence(sandbox: Sandbox) -> None:
    with pytest.raises(AuthError, match=r"client_id or client_secret \(invalid_client\)") as refused:
        read(client_of(sandbox, Time(), client_secret="wrong-secret"))
    assert "wrong-secret" not in str(refused.value)


def test_failures_of_the_token_endpoint_are_retried(sandbox: Sandbox) -> None:
    sandbox.faults = lambda request: error_status(503) if request.path == TOKEN and tokens(sandbox) <= 2 else None
    assert read(client_of(sandbox, Time())) == 10
    sandbox.faults = lambda request: error_status(503) if request.path == TOKEN else None
    with pytest.raises(UnavailableError, match="no access token from POST /oauth/token"):
        read(client_of(sandbox, Time(), refresh_token=sandbox.oauth.refresh_token))


def test_a_whole_sync_with_oauth_shows_no_secret(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(sandbox.oauth_config))
    secrets = [sandbox.oauth.client_secret, sandbox.oauth.refresh_token]
    ended = tap("-v", "-c", path, "--select", "open,lists")
    assert ended.returncode == 0, ended.stderr
    for secret in (*secrets, sandbox.oauth.refresh_token, *sandbox.oauth.issued):
        assert secret not in ended.stdout + ended.stderr
    sandbox.oauth.uninstall()
    assert_sentence(tap("-c", path, "--select", "lists"), 1, "invalid_grant")


GOOD = {"start_date": "2026-01-01", "client_id": "a", "client_secret": "b", "refresh_token": "c"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"client_secret": None}, r"OAuth also needs client_secret\."),
        ({"client_secret": "", "refresh_token": None}, r"OAuth also needs client_secret and refresh_token\."),
        ({"api_key": "pk_1"}, "Set either api_key or client_id, client_secret and refresh_token, not both"),
        ({"auth_token": "pk_1"}, "not both"),
        ({"client_secret": "two words"}, "client_secret must be one word"),
    ],
)
def test_incomplete_and_doubled_credentials_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as problem:
        config.check_settings({**GOOD, **change})
    assert "two words" not in str(problem.value)


def test_the_settings_show_no_secret() -> None:
    settings = config.check_settings({**GOOD, "client_secret": "hidden-1", "refresh_token": "hidden-2"})
    assert settings.secrets == ("hidden-1", "hidden-2")
    assert "hidden" not in repr(settings)
