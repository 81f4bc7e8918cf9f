"""A selection in words, as --select takes it, to a catalog with just that selected; pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from tap_klaviyo.errors import ConfigError

Path = tuple[str, ...]


def select_by_names(catalog: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return the catalog with what the words name selected, and nothing else.

    Args:
        catalog: what discovery gives.
        text: names by commas: "open" takes a stream with its default fields, "click.profile" and
            "click.profile.email" only those of its fields, and the automatic ones.

    Raises:
        ConfigError: a stream or field is unknown; the nearest name is told.
    """
    entries = {entry["tap_stream_id"]: entry for entry in catalog["streams"]}
    chosen: dict[str, set[Path]] = {}
    for words in filter(None, (each.strip() for each in text.split(","))):
        stream, *path = words.split(".")
        _require(stream, entries, "stream")
        chosen.setdefault(stream, set())
        if path:
            _require_field(entries[stream], tuple(path))
            chosen[stream].add(tuple(path))
    if not chosen:
        raise ConfigError(["--select names no stream; try --select open,click.profile."])
    return {"streams": [_selected(entry, chosen.get(name)) for name, entry in entries.items()]}


def _selected(entry: Mapping[str, Any], paths: set[Path] | None) -> dict[str, Any]:
    metadata = [
        {**each, "metadata": {**each["metadata"], "selected": paths is not None}}
        if not each["breadcrumb"]
        else {**each, "metadata": {**each["metadata"], "selected": (each["breadcrumb"][1],) in _heads(paths)}}
        if paths
        else each
        for each in entry["metadata"]
    ]
    nested = [each for path in sorted(paths or ()) for each in _siblings(entry["schema"], path, paths or set())]
    return {**entry, "metadata": metadata + nested}


def _siblings(schema: Mapping[str, Any], path: Path, paths: set[Path]) -> Iterable[dict[str, Any]]:
    """Yield the metadata of the fields beside those on a path within an object: selected are those on one."""
    breadcrumb: list[str] = []
    for depth, name in enumerate(path):
        if depth:
            on_path = {each[depth] for each in paths if each[:depth] == path[:depth] and len(each) > depth}
            for field in schema["properties"]:
                yield {"breadcrumb": [*breadcrumb, "properties", field], "metadata": {"selected": field in on_path}}
        breadcrumb += ["properties", name]
        schema = schema["properties"][name]
        if "items" in schema:
            breadcrumb, schema = [*breadcrumb, "items"], schema["items"]


def _heads(paths: set[Path]) -> set[Path]:
    return {path[:1] for path in paths}


def _require_field(entry: Mapping[str, Any], path: Path) -> None:
    schema = entry["schema"]
    for depth, name in enumerate(path):
        _require(name, schema.get("properties", {}), f"field of {'.'.join((entry['tap_stream_id'], *path[:depth]))}")
        schema = schema["properties"][name]
        schema = schema.get("items", schema)


def _require(name: str, known: Iterable[str], what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, list(known), 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError([f"--select: {name} is no {what}.{hint}"])
