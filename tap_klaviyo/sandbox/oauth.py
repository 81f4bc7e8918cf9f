"""OAuth: POST /oauth/token exchanges a refresh token for an access token that expires."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from tap_klaviyo.sandbox.traffic import Reply, Request

TOKEN_PATH = "/oauth/token"
FORM = "application/x-www-form-urlencoded"


@dataclass
class OAuth:
    """An app that the account has installed, with the tokens issued so far.

    Attributes:
        client_id: of the app.
        client_secret: of the app.
        refresh_token: the valid refresh token.
        lifetime: how many seconds an access token is valid. Klaviyo's are valid for an hour.
        rotates: whether each refresh makes a new refresh token and invalidates the old one. Klaviyo was seen to return
            the same one, but its own SDKs store the returned one.
        issued: the access tokens, each with the epoch second at which it expires.
    """

    client_id: str = "sandbox-client"
    client_secret: str = "sandbox-secret-0123456789"
    refresh_token: str = "sandbox-refresh-0"
    lifetime: float = 3600.0
    rotates: bool = False
    issued: dict[str, float] = field(default_factory=dict)
    is_installed: bool = True

    def uninstall(self) -> None:
        """Invalidate all tokens, as if the account had uninstalled the app."""
        self.is_installed = False
        self.issued.clear()

    def is_valid(self, access_token: str, now: float) -> bool:
        """Return whether an access token can be used at a time (epoch seconds)."""
        return self.issued.get(access_token, 0.0) > now

    def answer(self, request: Request, scopes: Iterable[str], now: float) -> Reply:
        """Return the reply to a request for a token at a time (epoch seconds)."""
        if request.method != "POST":
            return _refused_token(405, "invalid_request", f'Method "{request.method}" not allowed.')
        if request.headers.get("Content-Type", "").partition(";")[0] != FORM:
            return _refused_token(400, "invalid_request", f"The body must be {FORM}.")
        if _read_client(request) != (self.client_id, self.client_secret):
            return _refused_token(401, "invalid_client", "The client is unknown, or its secret is wrong.")
        form = parse_qs(request.body.decode(errors="replace"))
        if form.get("grant_type") != ["refresh_token"]:
            return _refused_token(400, "unsupported_grant_type", "The grant type must be refresh_token.")
        if not self.is_installed or form.get("refresh_token") != [self.refresh_token]:
            return _refused_token(400, "invalid_grant", "The refresh token is invalid, expired or revoked.")
        return self._issue(scopes, now)

    def _issue(self, scopes: Iterable[str], now: float) -> Reply:
        number = len(self.issued) + 1
        access_token = f"sandbox-access-{number}"
        self.issued[access_token] = now + self.lifetime
        if self.rotates:
            self.refresh_token = f"sandbox-refresh-{number}"
        return _json_reply(
            200,
            {
                "access_token": access_token,
                "token_type": "Bearer",
                "expires_in": int(self.lifetime),
                "refresh_token": self.refresh_token,
                "scope": " ".join(sorted(scopes)),
            },
        )


def _read_client(request: Request) -> tuple[str, str] | None:
    """Return the id and the secret from a request's Basic authorization, None if there are none."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return (client_id, secret) if scheme == "Basic" else None


def _refused_token(status: int, error: str, description: str) -> Reply:
    return _json_reply(status, {"error": error, "error_description": description})


def _json_reply(status: int, content: dict[str, str | int]) -> Reply:
    return Reply(status, json.dumps(content).encode(), media_type="application/json")
