"""The --select option: names of streams and fields to a catalog with exactly those selected; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tap_klaviyo.errors import ConfigError
from tap_klaviyo.nearest import with_nearest_name
from tap_klaviyo.singer.entries import FieldPath, path_of
from tap_klaviyo.singer.other_taps import other_names
from tap_klaviyo.streams.model import CORE, METRIC_STREAMS, Stream
from tap_klaviyo.streams.table import GROUPS, STREAMS

ALL = "all"
_EXAMPLE = 'try --select "open,click.profile"'


@dataclass
class _Choice:
    """The selection within a stream: its default fields, fields by name, and fields to leave out."""

    has_defaults: bool = False
    fields: set[FieldPath] = field(default_factory=set)
    left_out: set[FieldPath] = field(default_factory=set)


def select_by_names(catalog: Mapping[str, Any], text: str, streams: Sequence[Stream] = STREAMS) -> dict[str, Any]:
    """Return the catalog with what the text names selected, and nothing else.

    Args:
        catalog: what discovery gives of the streams.
        text: names separated by commas. `open` selects a stream with its default fields; `click.profile` and
            `click.profile.email` only these fields of one, and the automatic ones; both add up. A group such as
            `audience` is all its streams, `core` those that are
            selected by default, `all` every stream. `*` and `?` match any characters and any one. A name
            after `!` is left out, whatever else selects it; if there are only such names, they are left out of `core`.

    Raises:
        ConfigError: the text names nothing, a name is unknown (the message has the nearest), or nothing remains.
    """
    terms = [each.strip() for each in text.split(",") if each.strip()]
    if not terms:
        raise ConfigError([f"--select names no stream; {_EXAMPLE}."])
    rows = {stream.name: stream for stream in streams}
    entries = {name: _Fields.of(entry, rows[name]) for entry in catalog["streams"] if (name := entry["tap_stream_id"])}
    chosen: dict[str, _Choice] = {}
    included = [each for each in terms if not each.startswith("!")] or [CORE]
    for term in included:
        for stream, paths in _streams_matched(term, entries):
            choice = chosen.setdefault(stream, _Choice())
            choice.has_defaults |= not paths
            choice.fields.update(paths)
    for term in (each[1:].strip() for each in terms if each.startswith("!")):
        for stream, paths in _streams_matched(term, entries, leave_out=True):
            if not paths:
                chosen.pop(stream, None)
            elif stream in chosen:
                chosen[stream].left_out.update(paths)
    if not chosen:
        raise ConfigError([f"--select leaves no stream; {_EXAMPLE}."])
    return {"streams": [_entry_with(entry, chosen.get(entry["tap_stream_id"])) for entry in catalog["streams"]]}


@dataclass(frozen=True)
class _Fields:
    """The fields of a catalog entry, at every depth, and the row of its stream."""

    row: Stream
    paths: tuple[FieldPath, ...]
    automatic: frozenset[FieldPath]

    @classmethod
    def of(cls, entry: Mapping[str, Any], row: Stream) -> _Fields:
        by_path = {path_of(each["breadcrumb"]) or (): each["metadata"] for each in entry["metadata"]}
        automatic = [path for path, metadata in by_path.items() if metadata.get("inclusion") == "automatic"]
        return cls(row, tuple(path for path in by_path if path), frozenset(automatic))

    def matching(self, pattern: FieldPath) -> list[FieldPath]:
        return [path for path in self.paths if len(path) == len(pattern) and all(map(fnmatchcase, path, pattern))]


def _streams_matched(
    term: str, entries: Mapping[str, _Fields], leave_out: bool = False
) -> Iterator[tuple[str, list[FieldPath]]]:
    """Yield each stream that a term names, with the fields that it names; with none if it names the whole stream."""
    name, *path = term.split(".")
    streams = _streams_named(name, entries)
    if not path:
        yield from ((stream, []) for stream in streams)
        return
    found = {stream: entries[stream].matching(tuple(path)) for stream in streams}
    if not any(found.values()):
        raise _unknown_field(streams, tuple(path), entries)
    if leave_out:
        found = {name: [each for each in paths if each not in entries[name].automatic] for name, paths in found.items()}
        if not any(found.values()):
            raise ConfigError([f"--select: {term} is always emitted, because targets find rows by it."])
    yield from ((stream, paths) for stream, paths in found.items() if paths)


def _streams_named(name: str, entries: Mapping[str, _Fields]) -> list[str]:
    """Return the streams of a group, of a pattern, or of a name."""
    if name in (*GROUPS, METRIC_STREAMS, ALL):
        return [stream for stream, fields in entries.items() if name in (ALL, fields.row.group)]
    found = [stream for stream in entries if fnmatchcase(stream, name)]
    if not found:
        raise ConfigError([with_nearest_name(f'--select: unknown stream "{name}"', name, _streams_by_word(entries))])
    return found


def _streams_by_word(entries: Mapping[str, _Fields]) -> dict[str, str]:
    """Return the streams and groups by their names, by those of their metrics, and by what other taps call them."""
    by_word = {each: each for each in (*entries, *GROUPS, ALL)}
    for stream in (fields.row for fields in entries.values()):
        by_word |= {word.lower(): stream.name for word in (*other_names(stream), *stream.metric_names)}
    return by_word


def _unknown_field(streams: Iterable[str], path: FieldPath, entries: Mapping[str, _Fields]) -> ConfigError:
    """Return an error that names the first part of a path that none of the streams has."""
    streams = list(streams)
    known = [each for stream in streams for each in entries[stream].paths]
    depth = 0
    while any(len(each) > depth and all(map(fnmatchcase, each, path[: depth + 1])) for each in known):
        depth += 1
    beside = {each[depth] for each in known if len(each) == depth + 1 and all(map(fnmatchcase, each, path[:depth]))}
    where = ".".join((streams[0] if len(streams) == 1 else "any of these streams", *path[:depth]))
    sentence = f'--select: unknown field "{path[depth]}" in {where}'
    return ConfigError([with_nearest_name(sentence, path[depth], {each: each for each in sorted(beside)})])


def _entry_with(entry: Mapping[str, Any], choice: _Choice | None) -> dict[str, Any]:
    return {**entry, "metadata": [_metadata_with(each, choice) for each in entry["metadata"]]}


def _metadata_with(each: Mapping[str, Any], choice: _Choice | None) -> Mapping[str, Any]:
    path = path_of(each["breadcrumb"])
    selected = choice is not None if not path else _is_chosen(path, choice) if choice else None
    return each if selected is None else {**each, "metadata": {**each["metadata"], "selected": selected}}


def _is_chosen(path: FieldPath, choice: _Choice) -> bool | None:
    """Return whether a field is selected; None if that is left to the default."""
    if path in choice.left_out:
        return False
    if choice.has_defaults:
        return True if path in choice.fields else None
    return any(path[: len(each)] == each[: len(path)] for each in choice.fields)
