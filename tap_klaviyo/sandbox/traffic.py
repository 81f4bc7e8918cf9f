"""Requests, pages and replies, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import parse_qsl, quote

MEDIA_TYPE = "application/vnd.api+json"


@dataclass(frozen=True)
class Request:
    """A request as it was received.

    Attributes:
        index: counts all requests from 0.
        attempt: counts the requests for the same page from 1.
        url: path and query as they were sent.
        at: the limiter's clock, in seconds.
        status: of the answer; 0 if no status was sent.
        body: of a POST.
    """

    index: int
    attempt: int
    method: str
    url: str
    headers: Mapping[str, str]
    at: float
    status: int = 0
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path, without the query."""
        return self.url.partition("?")[0]

    @cached_property
    def query(self) -> dict[str, str]:
        """The decoded parameters; if a name comes several times, the last value counts."""
        return dict(self.parameters)

    @cached_property
    def parameters(self) -> list[tuple[str, str]]:
        """The decoded parameters as they came, in order and with repetitions."""
        return parse_qsl(self.url.partition("?")[2], keep_blank_values=True)

    @property
    def page(self) -> str:
        """What makes two requests ask for the same page: the URL without its page size, and the body."""
        return page_of(self.url, self.body)


def page_of(url: str, body: bytes = b"") -> str:
    """Return a URL without its page size, followed by the body."""
    path, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if not _is_named(pair, "page[size]")]
    return f"{path}?{'&'.join(kept)}{body.decode(errors='replace')}"


@dataclass(frozen=True)
class Page:
    """A page of encoded resources; `included` is a tuple, or None if the request included nothing.

    A `single` page has one resource, and no links to other pages.
    """

    url: str
    data: tuple[bytes, ...]
    included: tuple[bytes, ...] | None
    next: str | None
    single: bool = False

    def body(self, with_links: bool = True) -> bytes:
        """Return the page as a JSON:API document; without a next or previous page, its link is null."""
        data = b",".join(self.data)
        parts = [b'{"data":', data if self.single else b"[%b]" % data]
        if self.included is not None:
            parts += [b',"included":[', b",".join(self.included), b"]"]
        if with_links:
            links = {"self": self.url} if self.single else {"self": self.url, "next": self.next, "prev": None}
            parts += [b',"links":', json.dumps(links, separators=(",", ":")).encode()]
        return b"".join([*parts, b"}"])


@dataclass(frozen=True)
class Reply:
    """An answer before it is compressed and sent; if the body is a page, `page` is what it was made of."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = MEDIA_TYPE
    page: Page | None = None


@dataclass(frozen=True)
class Exchange:
    """A request with its whole answer; `body` is the answer's, decompressed, `request_body` that of a POST."""

    method: str
    url: str
    request_headers: Mapping[str, str]
    status: int
    response_headers: Mapping[str, str]
    body: bytes
    request_body: bytes = b""


def next_url(url: str, cursor: str) -> str:
    """Return a URL with another cursor; its other parameters stay as they are."""
    path, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair and not _is_named(pair, "page[cursor]")]
    kept.append(f"page%5Bcursor%5D={quote(cursor, safe='')}")
    return f"{path}?{'&'.join(kept)}"


def _is_named(pair: str, name: str) -> bool:
    return any(key == name for key, _ in parse_qsl(pair, keep_blank_values=True))
