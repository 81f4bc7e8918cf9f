"""A query's pages, one after the other, by Klaviyo's cursors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tap_klaviyo.client import Answer, Client, Made
from tap_klaviyo.errors import CursorError
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.jsonapi import PLAIN, Page, PageDecoder
from tap_klaviyo.log import logger


def whole(document: Page) -> Page:
    """Make of a page just the page; for small ones."""
    return document


class Pages:
    """The pages of one query, one after the other, by Klaviyo's cursors."""

    def __init__(
        self,
        client: Client,
        endpoint: Endpoint,
        parameters: Mapping[str, str],
        decoder: PageDecoder = PLAIN,
        restarts: int = 5,
        size: int | None = None,
    ) -> None:
        """Ask for nothing yet.

        Args:
            client: asks Klaviyo.
            endpoint: the collection.
            parameters: of the query.
            decoder: what the pages are decoded by.
            restarts: how often to start over when Klaviyo refuses a cursor.
            size: how many resources to ask for at first; by default as many as the endpoint allows.
        """
        self._client = client
        self._endpoint = endpoint
        self._decoder = decoder
        self._restarts = restarts
        self._first = client.url(endpoint, parameters)
        self._url: str | None = self._first
        self._size = size or endpoint.page_size
        self._visited: set[str] = set()

    @property
    def ended(self) -> bool:
        """Whether the last page has been read."""
        return self._url is None

    def read(self, use: Callable[[Page], Made]) -> Answer[Made]:
        """Return what `use` makes of the next page, and go on behind it; after an error it can be read again.

        A page that could be had only at a smaller size is followed by one of twice that, up to the full size.
        Where a cursor is refused, the pages begin anew, so that resources can come a second time.

        Raises:
            ApiError: as `Client.get` does.
        """
        if self._url is None:
            raise LookupError("There is no page behind the last one.")
        try:
            answer = self._client.get(self._endpoint, self._url, self._size, use, self._decoder, self._visited)
        except CursorError as problem:
            if not self._restarts:
                raise
            self._restart(problem)
            return self.read(use)
        if self._endpoint.page_size and answer.page_size:
            self._size = min(self._endpoint.page_size, answer.page_size * 2)
        self._visited.add(self._url)
        self._url = answer.next
        return answer

    def _restart(self, problem: CursorError) -> None:
        logger.warning("%s It is read from its first page again.", problem)
        self._restarts -= 1
        self._visited.clear()
        self._url = self._first
