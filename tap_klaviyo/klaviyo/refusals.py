"""An answer that is not a page: what it means, in Klaviyo's own words."""

from __future__ import annotations

import re
from datetime import timezone
from email.utils import parsedate_to_datetime

import requests

from tap_klaviyo.errors import (
    ApiError,
    AuthError,
    CursorError,
    GoneError,
    MetricDeniedError,
    PlanError,
    RequestError,
    ScopeError,
)
from tap_klaviyo.klaviyo.auth import Authorization
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.jsonapi import read_errors
from tap_klaviyo.klaviyo.retries import TryAgainError
from tap_klaviyo.log import mask_secrets

# 2020-01-01 and 2100-01-01. A clock beyond them is wrong, and by its time every bookmark would be in the future, or no
# date could be written any more.
_FIRST_TIME, _LAST_TIME = 1_577_836_800, 4_102_444_800
_CURSOR_REFUSED = "Invalid cursor provided"
_METRIC_DENIED = re.compile(r"\bMetric IDs?\b.*\bdo(es)? not exist")
# A 403 that speaks of one of these is about the key's scopes; any other is about the account's plan or the request.
_ABOUT_SCOPES = re.compile(r"\bscopes?\b|\bpermissions?\b", re.IGNORECASE)


def refusal_of(
    endpoint: Endpoint, response: requests.Response, body: bytes, authorization: Authorization, wall: float
) -> Exception:
    """Return the error that an answer means: TryAgainError if it may pass, else one of the API's.

    Args:
        endpoint: the endpoint of the request.
        response: its status and headers.
        body: its body.
        authorization: its secrets are masked if Klaviyo repeats them.
        wall: the host's clock in epoch seconds, for a `Retry-After` that is a date.
    """
    status = response.status_code
    errors = read_errors(body)
    detail, number = (
        mask_secrets(errors.detail, *authorization.secrets),
        mask_secrets(errors.id, *authorization.secrets),
    )
    if status == 429 or status >= 500 or status == 408 or _is_challenge(response):
        said = f" ({'; '.join(filter(None, (detail.rstrip('.'), number and f'error id {number}')))})" if detail else ""
        return TryAgainError(f"HTTP {status}{said}", status, _retry_after(response, wall))
    said = f"Klaviyo answers {status} to {endpoint.method} {endpoint.path}" + (
        f": {detail.rstrip('.')}." if detail else "."
    )
    return _lasting_error(endpoint, status, detail, said, authorization.hint)


def _lasting_error(endpoint: Endpoint, status: int, detail: str, said: str, hint: str) -> ApiError:
    if status == 401:
        return AuthError(f"{said} {hint}", status)
    if status == 403 and endpoint.is_optional and detail and not _ABOUT_SCOPES.search(detail):
        return PlanError(said, status)
    if status == 403:
        return ScopeError(said + _scope_hint(endpoint, detail), status)
    if status == 404:
        return GoneError(said, status)
    if status == 410:
        return RequestError(f"{said} Set api_revision to a revision that Klaviyo still serves.", status)
    if 300 <= status < 400:
        return RequestError(f"{said} It is a redirect, which the tap does not follow with a key.", status)
    if _CURSOR_REFUSED in detail:
        return CursorError(said, status)
    if _METRIC_DENIED.search(detail):
        return MetricDeniedError(said, status)
    return RequestError(said, status)


def _scope_hint(endpoint: Endpoint, detail: str) -> str:
    """Return which scopes to give the key, unless Klaviyo named them or refuses for another reason."""
    if re.search(r"\b[a-z-]+:(read|write)\b", detail) or (detail and not _ABOUT_SCOPES.search(detail)):
        return ""
    plural = "s" if len(endpoint.scopes) > 1 else ""
    return f" The key needs the scope{plural} {' and '.join(endpoint.scopes)}."


def time_of(response: requests.Response) -> int | None:
    """Return Klaviyo's time, from the Date header, in epoch seconds; None if it is missing or odd."""
    moment = _header_time(response.headers.get("Date", ""))
    return int(moment) if moment is not None and _FIRST_TIME <= moment < _LAST_TIME else None


def _retry_after(response: requests.Response, wall: float) -> float | None:
    """Return the seconds to wait; a date is meant by Klaviyo's clock, so it is compared with the Date header."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    until, now = _header_time(text), time_of(response)
    return max(0.0, until - (now or wall)) if until is not None else None


def _header_time(text: str) -> float | None:
    """Return a header's date in epoch seconds; one without a zone is in UTC."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _is_challenge(response: requests.Response) -> bool:
    """Return whether it is Cloudflare's challenge: a 403 that says nothing of the key, and passes by itself."""
    kind = response.headers.get("Content-Type", "")
    return response.status_code == 403 and ("cf-mitigated" in response.headers or kind.startswith("text/html"))
