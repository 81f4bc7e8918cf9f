"""How the API refuses requests: error documents, with recorded or documented texts as far as any are known."""

from __future__ import annotations

import json
from typing import Any

TITLES = {
    "invalid": "Invalid input.",
    "not_authenticated": "Authentication credentials were not provided.",
    "authentication_failed": "Incorrect authentication credentials.",
    "permission_denied": "You do not have permission to perform this action.",
    "not_found": "Not found.",
    "method_not_allowed": "Method not allowed.",
    "gone": "Gone.",
    "unsupported_media_type": "Unsupported media type.",
    "throttled": "Request was throttled.",
    "error": "A server error occurred.",
}
_STATUSES = {
    "invalid": 400,
    "not_authenticated": 401,
    "authentication_failed": 401,
    "permission_denied": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "gone": 410,
    "unsupported_media_type": 415,
    "throttled": 429,
    "error": 500,
}


class RefusalError(Exception):
    """The API refuses a request.

    Attributes:
        code: one of TITLES.
        source: the faulty part of the request, such as {"parameter": "filter"}.
        retry_after: seconds.
    """

    def __init__(
        self, code: str, detail: str, *, retry_after: int | None = None, status: int | None = None, **source: str
    ) -> None:
        """Take the status from the code, unless the caller gives another."""
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.status = status or _STATUSES[code]
        self.source = source or {"pointer": "/data/"}

    def body(self, request: int) -> bytes:
        """Return the error document; the error's id is made from the request's number."""
        error: dict[str, Any] = {
            "id": f"{request:08x}-5a5a-4a5a-8a5a-5a5a5a5a5a5a",
            "status": self.status,
            "code": self.code,
            "title": TITLES[self.code],
            "detail": self.detail,
            "source": self.source,
            "meta": {},
        }
        if self.code == "throttled":
            guide = "https://developers.klaviyo.com/en/docs/rate_limits_and_error_handling#rate-limits"
            error["links"] = {"type": guide}
        return json.dumps({"errors": [error]}).encode()


def invalid_parameter(detail: str, parameter: str) -> RefusalError:
    """Return the refusal of a query parameter."""
    return RefusalError("invalid", detail, parameter=parameter)


def throttled_request(seconds: int) -> RefusalError:
    """Return the refusal of a request that exceeds a rate limit; the next one is allowed after some seconds."""
    plural = "" if seconds == 1 else "s"
    detail = f"Request was throttled. Expected available in {seconds} second{plural}."
    return RefusalError("throttled", detail, retry_after=seconds, pointer="/data")
