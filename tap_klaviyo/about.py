"""What the tap is and takes, for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import Any

from tap_klaviyo import __version__
from tap_klaviyo.config import SETTINGS, Setting
from tap_klaviyo.display import fitted_table
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.streams.table import GROUPS, STREAMS

CAPABILITIES = ("catalog", "discover", "properties", "state", "about", "activate-version", "structured-logging")

_SETTING_HEAD = ("setting", "what it is", "default")
_STREAM_HEAD = ("stream", "replication", "key", "from")


def as_json() -> str:
    """Return name, version, capabilities, settings and streams as JSON."""
    facts: dict[str, Any] = {
        "name": "tap-klaviyo",
        "version": __version__,
        "capabilities": CAPABILITIES,
        "settings": [_setting_entry(each) for each in SETTINGS],
        "streams": [each.name for each in STREAMS],
    }
    return json.dumps(facts, indent=2)


def as_markdown() -> str:
    """Return the same as a page of Markdown."""
    return (
        f"# tap-klaviyo {__version__}\n\nCapabilities: {', '.join(CAPABILITIES)}\n\n"
        f"## Settings\n\n{settings_table()}\n\n## Streams\n\n{streams_table()}"
    )


def as_text(width: int) -> str:
    """Return the same for a terminal with `width` columns."""
    plain = [[cell.replace("`", "") for cell in row] for row in _setting_rows()]
    parts = [f"tap-klaviyo {__version__}", fill(f"Capabilities: {', '.join(CAPABILITIES)}", width)]
    parts.append(fitted_table(_SETTING_HEAD, plain, width))
    for group, what in GROUPS.items():
        parts += [fill(f"{group}: {what}.", width), fitted_table(_STREAM_HEAD, _stream_rows(group), width)]
    return "\n\n".join(parts)


def streams_table() -> str:
    """Return the tables of streams, one for each group."""
    return "\n\n".join(f"**`{group}`**: {what}.\n\n{_group_table(group)}" for group, what in GROUPS.items())


def _group_table(group: str) -> str:
    return _markdown_table(_STREAM_HEAD, _stream_rows(group))


def _stream_rows(group: str) -> list[list[str]]:
    return [
        [each.name, each.replication_method, ", ".join(each.key), _source_of(each)]
        for each in STREAMS
        if each.group == group
    ]


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines])


def _source_of(stream: Stream) -> str:
    names = " · ".join(stream.metric_names)
    return names or f"{stream.endpoint.path}{f', revision {stream.endpoint.revision}' * bool(stream.endpoint.revision)}"


def settings_table() -> str:
    """Return the table of settings."""
    return _markdown_table(_SETTING_HEAD, _setting_rows())


def _setting_rows() -> list[list[str]]:
    return [[_names_of(each), each.description, _default_of(each)] for each in SETTINGS]


def _setting_entry(setting: Setting) -> dict[str, Any]:
    return {
        "name": setting.name,
        "aliases": setting.aliases,
        "kind": setting.kind,
        "required": setting.required,
        "unless": setting.unless,
        "sensitive": setting.secret,
        "default": setting.default,
        "description": setting.description,
    }


def _names_of(setting: Setting) -> str:
    return " or ".join(f"`{name}`" for name in (setting.name, *setting.aliases))


def _default_of(setting: Setting) -> str:
    if setting.required:
        return "required, or OAuth" if setting.unless else "required"
    return "" if setting.default is None else f"`{json.dumps(setting.default)}`"
