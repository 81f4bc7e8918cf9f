"""What passes between a client and the sandbox, as values."""

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

    `index` counts all requests from 0, `attempt` those for the same page from 1; `url` is path and query as they
    were sent; `at` is the limiter's clock in seconds; `status` is what was answered, 0 where no status was sent.
    """

    index: int
    attempt: int
    method: str
    url: str
    headers: Mapping[str, str]
    at: float
    status: int = 0

    @property
    def path(self) -> str:
        """The path, without the query."""
        return self.url.partition("?")[0]

    @cached_property
    def query(self) -> dict[str, str]:
        """The decoded parameters; of several with one name the last."""
        return dict(self.parameters)

    @cached_property
    def parameters(self) -> list[tuple[str, str]]:
        """The decoded parameters, in the order and as often as they came."""
        return parse_qsl(self.url.partition("?")[2], keep_blank_values=True)

    @property
    def page(self) -> str:
        """What makes the page the same page: the URL but for its page size."""
        return page_of(self.url)


def page_of(url: str) -> str:
    """Return a URL without its page size."""
    path, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if not _named(pair, "page[size]")]
    return f"{path}?{'&'.join(kept)}"


@dataclass(frozen=True)
class Page:
    """A page of encoded resources; `included` is None if nothing was to be included.

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
    """An answer before it is compressed and sent; `page` is what the body was made of, if it is one."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = MEDIA_TYPE
    page: Page | None = None


@dataclass(frozen=True)
class Exchange:
    """A request with its whole answer, `body` decompressed."""

    method: str
    url: str
    request_headers: Mapping[str, str]
    status: int
    response_headers: Mapping[str, str]
    body: bytes


def next_url(url: str, cursor: str) -> str:
    """Return a URL with all of its parameters as they are, and another cursor."""
    path, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair and not _named(pair, "page[cursor]")]
    kept.append(f"page%5Bcursor%5D={quote(cursor, safe='')}")
    return f"{path}?{'&'.join(kept)}"


def _named(pair: str, name: str) -> bool:
    return any(key == name for key, _ in parse_qsl(pair, keep_blank_values=True))
