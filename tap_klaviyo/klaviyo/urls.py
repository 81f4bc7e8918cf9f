"""The URLs of pages; pure."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit


def place_of(url: str) -> str:
    """Return a page's path and query, to be found again; the key is in neither."""
    parts = urlsplit(url)
    return f"{parts.path}?{unquote(parts.query)}" if parts.query else parts.path


def resized_url(url: str, size: int | None) -> str:
    """Return the URL for a page of another size; the same if no size is given."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if size is None or ("page[size]", str(size)) in query:
        return url
    kept = [(name, value) for name, value in query if name != "page[size]"]
    return urlunsplit(parts._replace(query=urlencode([*kept, ("page[size]", str(size))])))
