"""Whether the key is good and may read what the selected streams need: the first requests of a sync, one item each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tap_klaviyo.errors import ApiError, AuthError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.reading.plan import FirstRequest, first_requests
from tap_klaviyo.singer.selection import Selection

# Requests at once: fewer than the number of endpoints would make a slow network's time-outs add up.
_AT_ONCE = 16


@dataclass(frozen=True)
class Access:
    """The result of one check; `problem` is empty if all is well."""

    scopes: str
    streams: tuple[str, ...]
    problem: str = ""

    def __str__(self) -> str:
        """Return the check as a line."""
        streams = f"{', '.join(self.streams[:3])}{f' and {len(self.streams) - 3} more' if self.streams[3:] else ''}"
        line = f"{'FAILS ' if self.problem else 'ok    '} {self.scopes} ({streams})"
        return f"{line}  {self.problem}" if self.problem else line


def check_access(client: Client, selections: Sequence[Selection]) -> Iterator[Access]:
    """Yield the result of each check; if Klaviyo does not accept the key itself, that one result only."""
    streams: dict[FirstRequest, list[str]] = {}
    for selection in selections:
        for request in first_requests(selection):
            streams.setdefault(request, []).append(selection.stream.name)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        problems = list(threads.map(lambda request: _problem_of(client, request), streams))
    refused = next((problem for problem in problems if isinstance(problem, AuthError)), None)
    if refused:
        yield Access("the API key", ("all streams",), str(refused))
        return
    for (request, names), problem in zip(streams.items(), problems, strict=True):
        yield Access(" ".join(request.endpoint.scopes), tuple(names), str(problem or ""))


def _problem_of(client: Client, request: FirstRequest) -> ApiError | None:
    endpoint = request.endpoint
    try:
        with client.page(endpoint, client.url(endpoint, dict(request.parameters)), 1 if endpoint.page_size else None):
            return None
    except ApiError as problem:
        return problem
