"""The exceptions, split by what the user can do about them.

TapError
├── ConfigError         mend the configuration           exit 2
├── CatalogError        mend the catalog                 exit 2
├── StateError          mend or drop the state           exit 2
├── OutputError         look at the target               exit 1
├── ParkingError        use another disk               exit 1
├── SyncError           see each stream's own reason     exit 1
└── ApiError            Klaviyo's answer                 exit 1
    ├── AuthError         use another key
    ├── ScopeError        give the key the scope
    ├── PlanError         nothing: the account does not have the feature
    ├── RequestError      report it, or mend a setting
    │   ├── CursorError        read again from the last record
    │   ├── GoneError          there is nothing to read any more
    │   └── MetricDeniedError  run again when Klaviyo serves the metric
    └── UnavailableError  run again later
        ├── OfflineError         mend the network of this machine
        ├── RateLimitedError     nothing: the tap asks again
        └── UnreadablePageError  report it to Klaviyo
"""

from __future__ import annotations

from collections.abc import Sequence


class TapError(Exception):
    """Anything the tap can explain in a sentence; ends the run without a traceback."""

    exit_code = 1


class ConfigError(TapError):
    """The configuration is missing, unreadable or wrong; holds all its problems at once."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        """Join the problems to one line."""
        super().__init__(" ".join(problems))
        self.problems = tuple(problems)


class CatalogError(TapError):
    """The catalog is invalid."""

    exit_code = 2


class StateError(TapError):
    """The state is invalid."""

    exit_code = 2


class OutputError(TapError):
    """Standard output cannot be written: the target is gone, or the disk is full."""

    def __init__(self, message: str, is_closed_pipe: bool = False) -> None:
        """Keep whether the reader closed the pipe."""
        super().__init__(message)
        self.is_closed_pipe = is_closed_pipe


class ParkingError(TapError):
    """A page that waited on disk for its turn cannot be read back."""


class ThreadLimitError(TapError):
    """The system allows no threads."""


class SyncError(TapError):
    """Some streams could not be read to their end; the others were."""


class ApiError(TapError):
    """Klaviyo's answer, or the lack of one, stops a request; `status` is the HTTP status, None without one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """Keep the status beside the sentence."""
        super().__init__(message)
        self.status = status


class AuthError(ApiError):
    """Klaviyo does not accept the key (401)."""


class ScopeError(ApiError):
    """The key lacks the scope that an endpoint needs (403)."""


class PlanError(ApiError):
    """Klaviyo refuses an endpoint (403) to an account that does not have the feature."""


class RequestError(ApiError):
    """Klaviyo refuses a request, and retrying cannot help (other 4xx, a redirect)."""


class CursorError(RequestError):
    """Klaviyo no longer accepts a page cursor."""


class GoneError(RequestError):
    """Klaviyo does not have the resource (404): a parent was deleted since it was listed."""


class MetricDeniedError(RequestError):
    """Klaviyo says that a metric does not exist, although it lists it."""


class UnavailableError(ApiError):
    """Klaviyo gave no usable answer, for as long as was worth waiting."""


class OfflineError(UnavailableError):
    """This machine cannot reach Klaviyo, and has not since the run began; no other request can succeed either."""


class RateLimitedError(UnavailableError):
    """The rate limit does not allow a request soon, and the tap can do without for now; nothing was sent."""


class UnreadablePageError(UnavailableError):
    """Klaviyo cannot serve one item, though it serves others of the same collection."""
