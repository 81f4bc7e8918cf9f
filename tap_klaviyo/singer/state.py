"""The state: what it records, and how that moves; pure.

A state as the tap writes it:

    {"bookmarks": {"open": {"timestamp": "2026-11-20T12:00:00Z", "metrics": ["SkDfHe"]}},
     "full_tables": {"lists": {"version": 1795392000000, "rows": {"0": 25}}},
     "currently_syncing": "open"}

A bookmark holds the greatest replication value written, under the stream's replication key. `metrics` are the ids of
the metrics whose events it covers. `full_tables` remembers, for each stream that was read in full, its last version and
how many rows each of its queries found; it is not among the bookmarks, since a full table has none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tap_klaviyo.errors import StateError
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.times import format_time, parse_time

State = dict[str, Any]

# The keys under which a bookmark's date is found: ours, singer-io's and the Meltano SDK's.
DATE_KEYS = ("timestamp", "since", "replication_key_value")
# What else a bookmark may hold: the ids of the metrics, and what other taps keep beside the date.
OTHER_KEYS = frozenset(
    {
        *("metrics", "parents", "replication_key", "version", "starting_replication_value", "partitions"),
        *("progress_markers", "replication_key_signpost"),
    }
)
# A bookmark this many seconds ahead of Klaviyo's clock counts as now: its servers' clocks differ by seconds.
# Anything further ahead was moved there by an event dated in the future, so it does not show how far a run read.
SMALL_LEAD = 300
# Versions are kept in columns of 64 bits, and the next one is higher.
_NO_VERSION = 2**63 - 1


def bookmark_of(state: State, stream: Stream) -> int | None:
    """Return the stream's bookmark in epoch seconds, None without one.

    Raises:
        StateError: the bookmark is not understood.
    """
    return read_bookmark(state.get("bookmarks", {}).get(stream.name), stream.name, stream.replication_key or "")


def covered_metrics(state: State, stream: Stream) -> Collection[str] | None:
    """Return the ids of the metrics that the stream's bookmark covers, None if it does not say: then it covers all."""
    entry = state.get("bookmarks", {}).get(stream.name)
    ids = entry.get("metrics") if isinstance(entry, dict) else None
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise StateError(f'Invalid state: "metrics" in the bookmark of {stream.name} must be an array of metric ids.')
    return ids


def covered_parents(state: State, stream: Stream) -> Mapping[str, str]:
    """Return the parents whose rows the stream's bookmark covers: digests of their definitions by id."""
    entry = state.get("bookmarks", {}).get(stream.name)
    parents = entry.get("parents", {}) if isinstance(entry, dict) else {}
    if not isinstance(parents, dict):
        raise StateError(f'Invalid state: "parents" in the bookmark of {stream.name} must be an object of ids.')
    return parents


def cover_parents(state: State, stream: Stream, parents: Mapping[str, str]) -> State:
    """Return a state whose bookmark of the stream covers just these parents."""
    mark = state.get("bookmarks", {}).get(stream.name) or {}
    return {**state, "bookmarks": {**state.get("bookmarks", {}), stream.name: {**mark, "parents": dict(parents)}}}


def start_of(mark: int | None, start_date: int, lookback: int, now: int) -> int:
    """Return the timestamp to read a stream from: the bookmark less the lookback, or the start date.

    The start date bounds the lookback, but never skips events after the bookmark.

    Args:
        mark: the bookmark, None without one; one that `is_future` counts as none.
        start_date: from the settings.
        lookback: seconds before the bookmark that are read again.
        now: the time by Klaviyo's clock. All are epoch seconds.
    """
    if mark is None or is_future(mark, now):
        return start_date
    mark = min(mark, now)
    return min(mark, max(start_date, mark - lookback))


def is_future(mark: int, now: int) -> bool:
    """Return whether a bookmark is so far ahead of now that it does not show how far a run read."""
    return mark > now + SMALL_LEAD


def advance_bookmark(state: State, stream: Stream, timestamp: int, metrics: Collection[str] | None = None) -> State:
    """Return a state with the stream's bookmark at a timestamp (epoch seconds), if that is further.

    Args:
        state: from `other_taps.adopt_bookmarks`, which writes all bookmarks in one format.
        stream: the stream.
        timestamp: the greatest replication value written.
        metrics: the ids of the metrics that the bookmark covers from now on; None for a stream without metrics.
    """
    key = stream.replication_key or ""
    bookmarks, reached = state.get("bookmarks", {}), format_time(timestamp)
    mark = bookmarks.get(stream.name) or {}
    # In this format, the later time is the greater text.
    if mark.get(key, "") >= reached and (metrics is None or mark.get("metrics") == sorted(metrics)):
        return state
    entry = {**mark, key: max(mark.get(key, ""), reached)}
    if metrics is not None:
        entry["metrics"] = sorted(metrics)
    return {**state, "bookmarks": {**bookmarks, stream.name: entry}}


def cover_metrics(state: State, stream: Stream, metrics: Collection[str]) -> State:
    """Return a state whose bookmark of the stream covers these metrics; unchanged if it has no bookmark."""
    mark = state.get("bookmarks", {}).get(stream.name)
    if not mark or mark.get("metrics") == sorted(metrics):
        return state
    return {**state, "bookmarks": {**state["bookmarks"], stream.name: {**mark, "metrics": sorted(metrics)}}}


def drop_bookmark(state: State, stream: Stream) -> State:
    """Return the state without a bookmark for the stream."""
    bookmarks = {name: entry for name, entry in state.get("bookmarks", {}).items() if name != stream.name}
    return {**state, "bookmarks": bookmarks}


def with_currently_syncing(state: State, stream: Stream | None) -> State:
    """Return the state with the stream as the one being synced, None for none."""
    rest = {name: value for name, value in state.items() if name != "currently_syncing"}
    return {**rest, "currently_syncing": stream.name} if stream else rest


def last_version(state: State, stream: Stream) -> int:
    """Return the version that the stream was last read with, 0 if it never was."""
    return whole_number(_full_table(state, stream).get("version")) or 0


def rows_by_query(state: State, stream: Stream) -> Mapping[str, int]:
    """Return how many rows each of the stream's queries found when it was last read in full."""
    rows = _full_table(state, stream).get("rows")
    counts = {query: whole_number(count) for query, count in rows.items()} if isinstance(rows, dict) else {}
    return {query: count for query, count in counts.items() if count is not None}


def whole_number(value: Any) -> int | None:
    """Return a number that the tap wrote into a state, None for anything else.

    Programs that keep states may write a whole number as a float. The tap writes no negative numbers there, and none
    that a target cannot hold in 64 bits.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _NO_VERSION:
        return None
    return int(value) if value == int(value) else None


def with_full_table(state: State, stream: Stream, version: int, rows: Mapping[str, int]) -> State:
    """Return the state after a full read of the stream."""
    entry = {"version": version, "rows": dict(rows)}
    return {**state, "full_tables": {**_full_tables(state), stream.name: entry}}


def _full_tables(state: State) -> Mapping[str, Any]:
    found = state.get("full_tables")
    return found if isinstance(found, dict) else {}


def _full_table(state: State, stream: Stream) -> Mapping[str, Any]:
    found = _full_tables(state).get(stream.name)
    return found if isinstance(found, dict) else {}


def read_bookmark(entry: Any, name: str, replication_key: str = "timestamp") -> int | None:
    """Return a bookmark in epoch seconds, under whichever key a tap keeps it: of several dates the oldest.

    Args:
        entry: the bookmark; a bare date counts as one, and null or an empty object as none.
        name: the stream's name, or the name that another tap gives it.
        replication_key: the key that the stream's own bookmarks have.

    Raises:
        StateError: it is not understood.
    """
    if entry in (None, "", {}):
        return None
    if not isinstance(entry, dict):
        entry = {replication_key: entry}
    keys = (replication_key, *DATE_KEYS)
    values = [entry[key] for key in dict.fromkeys(keys) if entry.get(key) not in (None, "")]
    if not values:
        if entry.keys() <= {*keys, *OTHER_KEYS}:
            return None
        raise StateError(
            f"Invalid state: the bookmark of {name} holds {', '.join(map(repr, entry))}; expected "
            f'"{replication_key}" with a date. Remove the bookmark to read the stream from start_date.'
        )
    try:
        return min(_seconds_in(value) for value in values)
    except (ValueError, OverflowError, OSError):
        # The last two are for numbers too large for a date, such as milliseconds.
        raise StateError(f"Invalid state: the bookmark of {name} is not a date: {values[0]!r}.") from None


def _seconds_in(value: Any) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    seconds = int(value) if is_number else parse_time(value)
    format_time(seconds)
    return seconds
