"""What other Klaviyo taps call our streams, and how their bookmarks become ours; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tap_klaviyo.singer.state import State, read_bookmark
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.streams.table import STREAMS
from tap_klaviyo.times import format_time

# Names that singer-io's tap gives to some streams, if they differ from the metric's name.
_SHORTENED = {
    "consented_to_receive": ("subscribed_to_sms", "subscribed_to_text_message"),
    "unsubscribed_from_sms": ("unsubscribed_from_text_message",),
    "list_members": ("listmembers",),
}


def other_names(stream: Stream) -> list[str]:
    """Return the names that other taps give the stream: its metrics' names in snake case, and shortened ones."""
    slugs = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in stream.metric_names]
    names = [*slugs, *_SHORTENED.get(stream.name, ())]
    return [name for name in names if name != stream.name]


def known_names(streams: Sequence[Stream]) -> Mapping[str, Stream]:
    """Return the streams by each of their names; a stream's own name counts before what another tap calls others."""
    return {name: stream for stream in streams for name in other_names(stream)} | {each.name: each for each in streams}


def adopt_bookmarks(
    state: State, metric_ids: Mapping[str, Iterable[str]], streams: Sequence[Stream] = STREAMS
) -> State:
    """Return the state with the bookmarks that other taps wrote for our streams under our own names, in our format.

    A stream takes the oldest of the bookmarks found for it, so that nothing is skipped. The entries under other names
    are dropped, so that they do not come back when a stream is reset. Entries of unknown streams are kept.

    Args:
        state: from `given_state.read_state`.
        metric_ids: the ids of the metrics that feed each stream, by the stream's name.
        streams: all that the catalog has.

    Raises:
        StateError: a bookmark of one of our streams is not understood.
    """
    bookmarks = dict(state.get("bookmarks", {}))
    adopted: dict[str, Any] = {}
    replaced: set[str] = set()
    own_names = {stream.name for stream in streams}
    for stream in streams:
        if stream.replication_key:
            key, own = stream.replication_key, bookmarks.get(stream.name)
            names = [name for name in other_names(stream) if name not in own_names]
            names += metric_ids.get(stream.name, ())
            found = [
                read_bookmark(own, stream.name, key),
                *(read_bookmark(bookmarks.get(name), name) for name in names),
            ]
            oldest = min((each for each in found if each is not None), default=None)
            replaced.update([stream.name, *names])
            if oldest is not None:
                kept = {name: own[name] for name in ("metrics", "parents") if isinstance(own, dict) and name in own}
                adopted[stream.name] = {**kept, key: format_time(oldest)}
    rest = {name: entry for name, entry in bookmarks.items() if name not in replaced}
    return {**state, "bookmarks": rest | adopted}
