"""A query's pages, one after the other, by Klaviyo's cursors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from tap_klaviyo.errors import CursorError
from tap_klaviyo.klaviyo.client import Answer, Client
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.jsonapi import PLAIN, PageDecoder
from tap_klaviyo.log import logger


class Pages:
    """The pages of one query, one after the other, by Klaviyo's cursors."""

    def __init__(
        self,
        client: Client,
        endpoint: Endpoint,
        parameters: Mapping[str, str],
        decoder: PageDecoder = PLAIN,
        restarts: int = 5,
        ids: Mapping[str, str] | None = None,
        size: int | None = None,
        has_items: bool = False,
    ) -> None:
        """Begin before the first page.

        Args:
            client: asks Klaviyo.
            endpoint: the collection.
            parameters: of the first page; those of the others are in Klaviyo's links.
            decoder: decodes the pages.
            restarts: how often to start over when Klaviyo refuses a cursor.
            ids: the parents' ids, which fill the names in the endpoint's path.
            size: how many resources to ask for at first; by default as many as the endpoint allows.
            has_items: whether the first page is known to have resources. The others are: the page before names them.
        """
        self._client = client
        self._endpoint = endpoint
        self._decoder = decoder
        self._restarts = restarts
        self._first = client.url(endpoint, parameters, **(ids or {}))
        self._url: str | None = self._first
        self._size = size or endpoint.page_size
        self._has_items = has_items
        self._visited: set[str] = set()

    @property
    def ended(self) -> bool:
        """Whether the last page has been read."""
        return self._url is None

    @property
    def reduced_size(self) -> int | None:
        """How many resources the next page is asked for; None for as many as the endpoint allows."""
        return self._size if self._size != self._endpoint.page_size else None

    @contextmanager
    def next(self) -> Iterator[Answer]:
        """Lend the next page until the block ends; after an error it can be asked for again.

        After a page that Klaviyo could serve only at a smaller size, the next one has that size too: if an item cannot
        be rendered, it is among the next ones. After that the size doubles with each page, up to the full size.

        If Klaviyo refuses the cursor, the pages start over, so resources can come twice.

        Raises:
            ApiError: as `Client.page` does.
        """
        if self._url is None:
            raise LookupError("There is no page after the last one.")
        with ExitStack() as lent:
            yield self._opened(self._url, lent)

    def _opened(self, url: str, lent: ExitStack) -> Answer:
        is_reduced = self.reduced_size is not None
        try:
            page = self._client.page(
                self._endpoint,
                url,
                self._size,
                self._decoder,
                self._visited,
                is_reduced,
                has_items=self._has_items or bool(self._visited),
            )
            answer = lent.enter_context(page)
        except CursorError as problem:
            if not self._restarts:
                raise
            self._restart(problem)
            return self._opened(self._first, lent)
        if self._endpoint.page_size and answer.page_size:
            doubled = min(self._endpoint.page_size, answer.page_size * 2)
            self._size = doubled if answer.page_size == self._size else answer.page_size
        self._visited.add(url)
        self._url = answer.page.next
        return answer

    def _restart(self, problem: CursorError) -> None:
        logger.warning("%s Starting over from the first page.", problem)
        self._restarts -= 1
        self._visited.clear()
