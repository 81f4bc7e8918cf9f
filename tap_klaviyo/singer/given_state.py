"""A state as a user passes it: unwrapped and checked, and its parts without effect named."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tap_klaviyo.errors import StateError
from tap_klaviyo.file_kinds import name_other_kind
from tap_klaviyo.singer.entries import show_value
from tap_klaviyo.singer.ignored import Ignored
from tap_klaviyo.singer.other_taps import known_names
from tap_klaviyo.singer.state import DATE_KEYS, OTHER_KEYS, State, whole_number
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.streams.table import PARENTS, STREAMS

# What programs put around a state: a STATE message, and what Meltano and Airbyte keep. Of several, the first that is
# not empty counts: Meltano's completed state is never ahead of its partial one.
_WRAPPERS = ("singer_state", "value", "completed", "completed_state", "state", "data", "partial", "partial_state")
# What a state has beside the bookmarks.
_BESIDE = ("currently_syncing", "full_tables", "day_limits", "recounts")
# The ids of metrics look like this; streams of the tap have other names.
_METRIC_ID = re.compile(r"[A-Za-z0-9]{6}")
# What a message has beside the state in it.
_OF_A_MESSAGE = {"type", "stream", "time_extracted"}
_EXAMPLE = '{"bookmarks": {"open": {"timestamp": "2026-11-20T12:00:00Z"}}}'


def read_state(value: Any, streams: Sequence[Stream] = STREAMS) -> State:
    """Return a state as the tap works with it, unwrapped from whatever programs put around it.

    Raises:
        StateError: it is not a state.
    """
    names = known_names(streams)
    value = _unwrap_state(value, names)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise StateError(f"Invalid state: it must be a JSON object such as {_EXAMPLE}.")
    _refuse_other_kind(value)
    if "bookmarks" not in value:
        value = _with_level(value, names)
    if not isinstance(value["bookmarks"], dict | None):
        raise StateError('Invalid state: "bookmarks" must be a JSON object, with one entry for each stream.')
    return {**value, "bookmarks": dict(value["bookmarks"] or {})}


def _unwrap_state(value: Any, names: Iterable[str]) -> Any:
    """Return the state inside the wrappers, and name what they hold beside it."""
    while isinstance(value, dict) and not _is_state(value, names):
        inner = [key for key in _WRAPPERS if key in value]
        if not inner:
            break
        _refuse_other_kind(value)
        chosen = next((key for key in inner if value[key]), inner[0])
        beside = (key for key, each in value.items() if each and key != chosen and key not in _OF_A_MESSAGE)
        ignored = Ignored()
        ignored.add(f'Ignored beside "{chosen}" in the state', *map(str, beside))
        ignored.log()
        value = value[chosen]
    return value


def _refuse_other_kind(value: Mapping[str, Any]) -> None:
    if other := name_other_kind(value, "state"):
        raise StateError(f"Invalid state: this file {other}")


def _is_state(value: Mapping[str, Any], names: Iterable[str]) -> bool:
    return "bookmarks" in value or _has_bookmarks(value, names)


def _has_bookmarks(value: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Return whether an object holds bookmarks itself, without the level around them."""
    return any(name in value for name in names) or any(map(_looks_like_bookmark, value.values()))


def _looks_like_bookmark(entry: Any) -> bool:
    return isinstance(entry, dict) and any(key in entry for key in DATE_KEYS)


def _with_level(value: Mapping[str, Any], names: Iterable[str]) -> State:
    """Return a state with its bookmarks under their key."""
    beside = {name: entry for name, entry in value.items() if name in _BESIDE}
    rest = {name: entry for name, entry in value.items() if name not in _BESIDE}
    if rest and not _has_bookmarks(rest, names):
        raise StateError(
            f"Invalid state: it has no bookmarks, only {show_value(list(rest))}. A state is a JSON object such as "
            f"{_EXAMPLE}."
        )
    return {"bookmarks": rest, **beside}


def name_odd_parts(
    state: State,
    metric_ids: Mapping[str, Iterable[str]],
    streams: Sequence[Stream] = STREAMS,
    all_metrics: Collection[str] | None = (),
) -> None:
    """Name the parts of a state that have no effect, in a warning for each reason.

    Args:
        state: from `read_state`.
        metric_ids: the ids of the metrics that feed each stream, by the stream's name.
        streams: all that the catalog has.
        all_metrics: the ids of all metrics, which may name bookmarks of streams that are not selected; None if they are
            not known.
    """
    ignored, names = Ignored(), known_names(streams)
    known = dict(names)
    for stream in streams:
        known |= dict.fromkeys(metric_ids.get(stream.name, ()), stream)
    beside = state.keys() - {"bookmarks", *_BESIDE}
    ignored.add("Ignored keys at the top of the state", *sorted(map(str, beside)))
    for name, entry in state.get("bookmarks", {}).items():
        if name in known:
            _name_odd_bookmark(name, entry, known[name], ignored)
        elif not _may_be_metric(name, all_metrics):
            shown = f"{name or show_value(name)}{_nearest_name(name, names)}"
            ignored.add("Ignored bookmarks of the state, which belong to no stream", shown)
    current = state.get("currently_syncing")
    if current is not None and current not in list(names):
        ignored.add("Ignored currently_syncing of the state, which is not a stream", show_value(current))
    own = {stream.name for stream in streams}
    read_in_full = own | {stream.name for stream in PARENTS}
    for key, owners in (
        ("full_tables", read_in_full),
        ("recounts", own),
        ("day_limits", {at.endpoint.path for at in streams}),
    ):
        _name_odd_memory(state, key, owners, ignored)
    ignored.log()


def _may_be_metric(name: str, all_metrics: Collection[str] | None) -> bool:
    """Return whether a bookmark has the id of a metric as its name, as those of some taps have."""
    return bool(_METRIC_ID.fullmatch(name)) if all_metrics is None else name in all_metrics


def _nearest_name(name: str, names: Iterable[str]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    near = difflib.get_close_matches(slug, list(names), 1, cutoff=0.7)
    return f' (did you mean "{near[0]}"?)' if near else ""


def _name_odd_bookmark(name: str, entry: Any, stream: Stream, ignored: Ignored) -> None:
    """Add what a bookmark of ours holds without effect."""
    key = stream.replication_key
    if key is None:
        ignored.add("Ignored bookmarks of the state, since these streams are read in full", name, level=logging.INFO)
    elif isinstance(entry, dict):
        dates = [entry.get(each) for each in {key, *DATE_KEYS}]
        fields = entry.keys() - {key, *DATE_KEYS, *OTHER_KEYS}
        ignored.add("Ignored fields of bookmarks", *(f"{name}: {field}" for field in sorted(fields)))
        if entry and all(date in (None, "") for date in dates):
            ignored.add("Ignored bookmarks of the state, which have no date", name)


def _name_odd_memory(state: State, key: str, owners: Collection[str], ignored: Ignored) -> None:
    """Add the entries of what the tap remembers beside the bookmarks, if they are not as it wrote them."""
    reason, memory = f'Ignored parts of "{key}" in the state', state.get(key)
    if not isinstance(memory, dict | None):
        ignored.add(reason, show_value(memory))
        return
    for name, entry in (memory or {}).items():
        if name not in owners:
            ignored.add(reason, f"{name} (not {'an endpoint' if key == 'day_limits' else 'a stream'})")
        elif not isinstance(entry, dict):
            ignored.add(reason, name)
        elif key != "recounts":
            odd = (part for part, value in entry.items() if not _is_as_written(part, value))
            ignored.add(reason, *(f"{name}: {part}" for part in odd))


def _is_as_written(part: str, value: Any) -> bool:
    """Return whether a part of an entry of `full_tables` or `day_limits` has the form that the tap gives it."""
    if part == "version":
        return whole_number(value) is not None
    if part == "pages":
        return type(value) is int
    if part == "rows":
        return isinstance(value, dict) and all(whole_number(each) is not None for each in value.values())
    is_list = part == "requests" and isinstance(value, list)
    return is_list and all(isinstance(span, list) and len(span) == 3 and type(span[2]) is int for span in value)
