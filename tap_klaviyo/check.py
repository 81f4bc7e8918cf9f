"""Whether the key is good, and has each scope that the selected streams need: a smallest request to each endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tap_klaviyo.errors import ApiError, AuthError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import METRICS, Endpoint
from tap_klaviyo.singer.selection import Selection
from tap_klaviyo.streams.model import Filters


@dataclass(frozen=True)
class Access:
    """What became of one check; `problem` is empty where all is well."""

    scope: str
    problem: str = ""

    def __str__(self) -> str:
        """Return the check as a line."""
        return f"ok     {self.scope}" if not self.problem else f"FAILS  {self.scope}  {self.problem}"


def check_access(client: Client, selections: Sequence[Selection]) -> Iterator[Access]:
    """Yield what became of each check; the first that the key itself fails ends them."""
    for endpoint, condition in _needed(selections).items():
        try:
            url = client.url(endpoint, {"filter": condition} if condition else {})
            with client.page(endpoint, url, 1 if endpoint.page_size else None):
                pass
        except AuthError as problem:
            yield Access("the key", str(problem))
            return
        except ApiError as problem:
            yield Access(endpoint.scopes[0], str(problem))
        else:
            yield Access(endpoint.scopes[0])


def _needed(selections: Sequence[Selection]) -> dict[Endpoint, str | None]:
    """Return the endpoints that the streams are read from, each with a filter that it accepts."""
    needed: dict[Endpoint, str | None] = {}
    for selection in selections:
        stream = selection.stream
        if stream.metric_names:
            needed[METRICS] = None
        needed[stream.endpoint] = next(iter(stream.split.each)) if isinstance(stream.split, Filters) else None
    return needed
