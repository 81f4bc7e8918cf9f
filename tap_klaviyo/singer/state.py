"""The state: reading it, also as other taps wrote it, and moving bookmarks; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tap_klaviyo.config import Config
from tap_klaviyo.errors import StateError
from tap_klaviyo.singer.other_taps import ALL_EVENTS, other_names
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.streams.table import STREAMS
from tap_klaviyo.times import DAY, format_time, parse_time

State = dict[str, Any]
KEY = "timestamp"
_BOOKMARK_KEYS = (KEY, "since", "replication_key_value")


def read_state(value: Any) -> State:
    """Return a state as the tap works with it; a whole STATE message is unwrapped.

    Raises:
        StateError: it is no state.
    """
    if isinstance(value, dict) and value.get("type") == "STATE":
        value = value.get("value")
    if value is None:
        return {}
    bookmarks = value.get("bookmarks") if isinstance(value, dict) else {}
    if not isinstance(value, dict) or not isinstance(bookmarks, dict | None):
        raise StateError('The state is not one: it must be a JSON object such as {"bookmarks": {}}.')
    return {**value, "bookmarks": dict(bookmarks or {})}


def adopt(state: State, metric_ids: Mapping[str, Iterable[str]]) -> State:
    """Return the state with what other taps wrote of our streams under our own names.

    A stream takes the oldest of the bookmarks found for it, so that nothing is skipped; the other names' entries
    are dropped, so that they do not come back when a stream is reset. What is not ours is kept.

    Args:
        state: a state from `read_state`.
        metric_ids: the ids of the metrics that feed each stream, by tap_stream_id.

    Raises:
        StateError: a bookmark of ours is no date.
    """
    bookmarks = dict(state.get("bookmarks", {}))
    adopted: dict[str, Any] = {}
    replaced = {ALL_EVENTS}
    for stream in STREAMS:
        if stream.replication_key:
            names = [*other_names(stream), *metric_ids.get(stream.name, ())]
            found = [_bookmark(bookmarks.get(name), name) for name in (stream.name, *names, ALL_EVENTS)]
            oldest = min((each for each in found if each is not None), default=None)
            replaced.update([stream.name, *names])
            if oldest is not None:
                adopted[stream.name] = {KEY: format_time(oldest)}
    kept = {name: entry for name, entry in bookmarks.items() if name not in replaced}
    return {**state, "bookmarks": kept | adopted}


def bookmark(state: State, stream: Stream) -> int | None:
    """Return the stream's bookmark in epoch seconds, None without one."""
    return _bookmark(state.get("bookmarks", {}).get(stream.name), stream.name)


def start_of(state: State, stream: Stream, config: Config, now: int) -> int:
    """Return the timestamp to read a stream from: the bookmark less the lookback window, or the start date.

    A bookmark beyond now (epoch seconds) was moved there by a future-dated event, so that it tells nothing of what
    was read; the stream is read from its start date.
    """
    mark = bookmark(state, stream)
    if mark is None or mark > now:
        return config.start_date
    return max(config.start_date, mark - int(config.lookback_days * DAY))


def advance(state: State, stream: Stream, timestamp: int) -> State:
    """Return an adopted state with the stream's bookmark at the timestamp (epoch seconds), if that is further."""
    bookmarks, reached = state.get("bookmarks", {}), format_time(timestamp)
    mark = bookmarks.get(stream.name)
    # `adopt` writes all bookmarks in one format, in which the later is the greater text.
    if mark and mark[KEY] >= reached:
        return state
    return {**state, "bookmarks": {**bookmarks, stream.name: {KEY: reached}}}


def drop(state: State, stream: Stream) -> State:
    """Return the state without a bookmark for the stream."""
    bookmarks = {name: entry for name, entry in state.get("bookmarks", {}).items() if name != stream.name}
    return {**state, "bookmarks": bookmarks}


def syncing(state: State, stream: Stream | None) -> State:
    """Return the state with the stream as the one being synced, None for none."""
    rest = {name: value for name, value in state.items() if name != "currently_syncing"}
    return {**rest, "currently_syncing": stream.name} if stream else rest


def _bookmark(entry: Any, name: str) -> int | None:
    """Return the oldest date of an entry, under whichever key a tap keeps it."""
    if not isinstance(entry, dict):
        return None
    values = [entry[key] for key in _BOOKMARK_KEYS if entry.get(key) not in (None, "")]
    try:
        return min((_seconds(value) for value in values), default=None)
    except (ValueError, OverflowError):
        raise StateError(f"The state is not one: the bookmark of {name} is no date: {values[0]!r}.") from None


def _seconds(value: Any) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    seconds = int(value) if is_number else parse_time(value)
    format_time(seconds)
    return seconds
