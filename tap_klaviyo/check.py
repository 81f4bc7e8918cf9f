"""Whether the key is good and may read what the selected streams need: the first requests of a sync, one item each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tap_klaviyo.errors import ApiError, AuthError, OfflineError, ScopeError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import ACCOUNTS
from tap_klaviyo.reading.account import read_account
from tap_klaviyo.reading.plan import FirstRequest, first_requests
from tap_klaviyo.reading.workers import call_in_parallel
from tap_klaviyo.singer.selection import Selection
from tap_klaviyo.streams.events import chosen_without_metric
from tap_klaviyo.streams.model import METRIC_STREAMS, Stream
from tap_klaviyo.times import Clock

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


def account_line(client: Client) -> str:
    """Return which account the key belongs to, as a line; without the scope for it, only that.

    Raises:
        ApiError: Klaviyo does not answer.
    """
    try:
        with client.page(ACCOUNTS, client.url(ACCOUNTS, {}), None) as answer:
            account = answer.page.data[0]
            contact = json.loads(bytes(account.attributes))["contact_information"]
            return f"Account: {contact['organization_name']} ({account.id})"
    except ScopeError:
        return "Account: unknown, because the key lacks the scope accounts:read (optional)."
    except (LookupError, TypeError, ValueError):
        return "Account: unnamed."


def check_access(client: Client, selections: Sequence[Selection]) -> Iterator[Access | str]:
    """Yield the account, and the result of each check; only one if Klaviyo refuses the key or cannot be reached."""
    streams: dict[FirstRequest, list[str]] = {}
    for selection in selections:
        for request in first_requests(selection):
            streams.setdefault(request, []).append(selection.stream.name)
    chosen = [selection.stream for selection in selections if selection.stream.group == METRIC_STREAMS]
    calls: list[Callable[[], str | ApiError | None]] = [
        partial(_account_or_none, client),
        partial(_missing_metrics, client, chosen),
    ]
    calls += [partial(_problem_of, client, request) for request in streams]
    account, missing, *problems = call_in_parallel(calls, _AT_ONCE)
    if stops := [problem for problem in problems if isinstance(problem, AuthError | OfflineError)]:
        what = "the credentials" if isinstance(stops[0], AuthError) else "the connection"
        yield Access(what, ("all streams",), str(stops[0]))
        return
    if account:
        yield str(account)
    for (request, names), problem in zip(streams.items(), problems, strict=True):
        yield Access(" ".join(request.endpoint.scopes), tuple(names), str(problem or ""))
    if missing:
        yield str(missing)


def _account_or_none(client: Client) -> str | None:
    try:
        return account_line(client)
    except ApiError:
        return None


def _missing_metrics(client: Client, streams: Sequence[Stream]) -> str | None:
    """Return a line for each stream of `metric_streams` whose metric the account lacks; a sync warns of the same."""
    try:
        account = read_account(client, streams, Clock().wall)
    except ApiError:
        return None
    missing = [] if account.problem else chosen_without_metric(streams, account.all_metrics)
    return "\n".join(f"note   {each}" for each in missing) or None


def _problem_of(client: Client, request: FirstRequest) -> ApiError | None:
    endpoint = request.endpoint
    try:
        with client.page(endpoint, client.url(endpoint, dict(request.parameters)), 1 if endpoint.page_size else None):
            return None
    except ApiError as problem:
        return problem
