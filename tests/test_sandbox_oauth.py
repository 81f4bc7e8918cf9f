"""OAuth in the sandbox: access tokens are issued, and expire; each app has its own limits."""

from __future__ import annotations

import pytest
import requests

from tap_klaviyo.sandbox import Account, OAuth, Sandbox

ACCOUNT = Account.build(events=60)


def refresh(sandbox: Sandbox, token: str | None = None, **form: str) -> requests.Response:
    app = sandbox.oauth
    asked = {"grant_type": "refresh_token", "refresh_token": app.refresh_token if token is None else token, **form}
    return requests.post(f"{sandbox.url}/oauth/token", data=asked, auth=(app.client_id, app.client_secret), timeout=5)


def read(sandbox: Sandbox, access_token: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {access_token}", "revision": "2026-07-15"}
    return requests.get(f"{sandbox.url}/api/metrics", headers=headers, timeout=5)


def test_a_refresh_token_gives_an_access_token_that_expires() -> None:
    with Sandbox(ACCOUNT) as sandbox:
        issued = refresh(sandbox).json()
        assert (issued["token_type"], issued["expires_in"]) == ("Bearer", 3600)
        assert "metrics:read" in issued["scope"].split()
        assert issued["refresh_token"] == sandbox.oauth_config["refresh_token"]
        assert read(sandbox, issued["access_token"]).status_code == 200
        sandbox.advance(3599)
        assert read(sandbox, issued["access_token"]).status_code == 200
        sandbox.advance(1)
        expired = read(sandbox, issued["access_token"])
        assert (expired.status_code, expired.json()["errors"][0]["code"]) == (401, "not_authenticated")
        assert read(sandbox, refresh(sandbox).json()["access_token"]).status_code == 200


def test_an_earlier_access_token_stays_valid() -> None:
    with Sandbox(ACCOUNT) as sandbox:
        first, second = (refresh(sandbox).json()["access_token"] for _ in range(2))
        assert first != second
        assert read(sandbox, first).status_code == 200


def test_a_rotated_refresh_token_replaces_the_old_one() -> None:
    with Sandbox(ACCOUNT, oauth=OAuth(rotates=True, lifetime=60)) as sandbox:
        old = sandbox.oauth.refresh_token
        new = refresh(sandbox).json()["refresh_token"]
        assert new != old
        assert refresh(sandbox, old).json()["error"] == "invalid_grant"
        assert refresh(sandbox, new).status_code == 200


def test_an_app_that_was_uninstalled_gets_no_tokens() -> None:
    with Sandbox(ACCOUNT) as sandbox:
        issued = refresh(sandbox).json()["access_token"]
        sandbox.oauth.uninstall()
        refused = refresh(sandbox)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        assert refused.headers["Content-Type"] == "application/json"
        assert read(sandbox, issued).status_code == 401


@pytest.mark.parametrize(
    ("auth", "form", "status", "error"),
    [
        (("sandbox-client", "wrong"), {}, 401, "invalid_client"),
        (None, {}, 401, "invalid_client"),
        (("sandbox-client", "sandbox-secret-0123456789"), {"grant_type": "password"}, 400, "unsupported_grant_type"),
        (("sandbox-client", "sandbox-secret-0123456789"), {"refresh_token": "other"}, 400, "invalid_grant"),
    ],
)
def test_what_the_token_endpoint_refuses(
    auth: tuple[str, str] | None, form: dict[str, str], status: int, error: str
) -> None:
    with Sandbox(ACCOUNT) as sandbox:
        asked = {"grant_type": "refresh_token", "refresh_token": sandbox.oauth.refresh_token, **form}
        response = requests.post(f"{sandbox.url}/oauth/token", data=asked, auth=auth, timeout=5)
    assert (response.status_code, response.json()["error"]) == (status, error)


def test_an_app_has_its_own_limits() -> None:
    with Sandbox(ACCOUNT, clock=lambda: 60.0) as sandbox:
        token = refresh(sandbox).json()["access_token"]
        key = {"Authorization": f"Klaviyo-API-Key {sandbox.api_key}", "revision": "2026-07-15"}
        for _ in range(10):
            assert requests.get(f"{sandbox.url}/api/metrics", headers=key, timeout=5).status_code == 200
        assert requests.get(f"{sandbox.url}/api/metrics", headers=key, timeout=5).status_code == 429
        assert read(sandbox, token).status_code == 200
