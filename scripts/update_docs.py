"""Write the generated files: tables of the documents, catalog.json, Meltano's definitions; `--check` only compares."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import meltano_definitions
import stream_costs

from tap_klaviyo.about import settings_table, streams_table
from tap_klaviyo.klaviyo.endpoints import METRICS, Endpoint
from tap_klaviyo.reading.query import charged_endpoint
from tap_klaviyo.singer.catalog import discover_catalog, select_defaults
from tap_klaviyo.singer.other_taps import other_names
from tap_klaviyo.streams.model import CORE, DailyCounts, Parent, Report, Sizes, Stream
from tap_klaviyo.streams.table import STREAMS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
MELTANO = ROOT / "examples" / "meltano"
UPGRADING = ROOT / "docs" / "upgrading.md"

_STREAMS_HEAD = """\
# Streams

Every table and column that the tap writes. `scripts/update_docs.py` generates this page from the schemas
and the table of streams; the [README](../README.md#streams) has a shorter list.

- The catalog always has all of these streams. Those of the group `core` are selected by default; you can select a
  whole group by its name: `--select core,audience`.
- A field in **bold** is always written: the key, and the replication key. You can deselect all others in the catalog;
  fields marked *off* are written only if you select them.
- In a path, a dot leads into an object, and `[]` into the objects of an array. An `object` without listed fields is
  written as Klaviyo sent it.
- The bounds of a report's period are midnights in the account's time zone, with their offset, such as
  `2026-03-01T00:00:00-05:00`.
- Any field but the key may be null. Any other `date-time` is text in RFC 3339, in UTC; timestamps that are
  integers count seconds since 1970-01-01T00:00:00Z.
- Rate limits apply per account, in requests per second and per minute; all streams of an endpoint share them.
- Klaviyo does not document whether an included profile or tag needs its own scope, so give the key `profiles:read` and
  `tags:read` as well.
"""
_EVENTS_HEAD = """\
## Event streams

Each of these streams has the events of the metrics beside it, if they belong to Klaviyo's integration. All have the
same fields."""


def main(arguments: list[str]) -> int:
    """Write, or with --check compare, and return the exit code."""
    texts = generated()
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        print("\n".join(f"{path.name} is not current; run scripts/update_docs.py." for path in stale))
        return bool(stale)
    for path in stale:
        path.write_text(texts[path], "utf-8")
    return 0


def generated() -> dict[Path, str]:
    """Return each generated file with the text that it should have."""
    readme = _between(README.read_text("utf-8"), "streams", streams_table())
    return {
        README: _between(readme, "settings", settings_table()),
        ROOT / "catalog.json": json.dumps(select_defaults(discover_catalog()), indent=2, ensure_ascii=False) + "\n",
        ROOT / "docs" / "streams.md": streams_page(),
        ROOT / "docs" / "costs.md": stream_costs.costs_page(),
        MELTANO / "meltano.yml": meltano_definitions.project(),
        MELTANO / "tap-klaviyo.yml": meltano_definitions.addition(),
        MELTANO / "hub.yml": meltano_definitions.hub_entry(),
        UPGRADING: _between(UPGRADING.read_text("utf-8"), "names", names_table()),
    }


def names_table() -> str:
    """Return the table of the names that other taps give the streams."""
    rows = ((f"`{each.name}`", _codes(other_names(each))) for each in STREAMS if other_names(each))
    return _table(("stream here", "also known as"), rows)


def streams_page() -> str:
    """Return the page of all streams and fields: the event streams, which share a schema, and each full table."""
    event_streams = [stream for stream in STREAMS if stream.schema_name == "event"]
    metrics = _table(
        ("stream", "group", "metrics"),
        ((f"`{each.name}`", f"`{each.group}`", " · ".join(each.metric_names) or "all") for each in event_streams),
    )
    note = (
        f"The metrics are looked up at `{METRICS.path}` (scope `{METRICS.scopes[0]}`, {_limits(METRICS)}) once a run."
    )
    parts = [_STREAMS_HEAD, f"{_EVENTS_HEAD}\n\n{_facts(event_streams[0])}\n\n{note}\n", f"{metrics}\n"]
    parts.append(f"### Fields of an event\n\n{fields_table(event_streams[0])}\n")
    for stream in STREAMS:
        if stream not in event_streams:
            parts.append(f"## {stream.name}\n\n{_facts(stream)}\n\n{fields_table(stream)}\n")
    return "\n".join(parts)


def fields_table(stream: Stream) -> str:
    """Return the table of a stream's fields, nested ones by their paths."""
    rows = (
        (_path(stream, path), _type(definition), _description(stream, path, definition))
        for path, definition in _fields(stream.schema)
    )
    return _table(("field", "type", "what it is"), rows)


def _fields(schema: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the path and definition of each field, and of those within it."""
    for name, definition in schema["properties"].items():
        path = f"{before}{name}"
        yield path, definition
        inner = definition.get("items", definition)
        if inner.get("properties"):
            yield from _fields(inner, f"{path}{'[]' * ('items' in definition)}.")


def _path(stream: Stream, path: str) -> str:
    return f"**`{path}`**" if path in stream.automatic else f"`{path}`"


def _type(definition: Mapping[str, Any]) -> str:
    (kind,) = (each for each in definition["type"] if each != "null")
    if "items" in definition:
        return f"array of {_type(definition['items'])}s"
    return str(definition.get("format", kind))


def _description(stream: Stream, path: str, definition: Mapping[str, Any]) -> str:
    off = "*Off.* " if path in stream.off else ""
    return off + str(definition["description"]).replace("|", r"\|")


def _facts(stream: Stream) -> str:
    """Return a stream's key, replication, endpoint, scopes and limits as a list."""
    endpoint = stream.endpoint
    follows = f" by `{stream.replication_key}`" if stream.replication_key else ""
    facts = [f"Key `{', '.join(stream.key)}`, {stream.replication_method}{follows}, {_group(stream)}."]
    scopes = " and ".join(f"`{scope}`" for scope in endpoint.scopes)
    plural = "s" * (len(endpoint.scopes) > 1)
    revision = f" in the API's revision {endpoint.revision}" if endpoint.revision else ""
    facts.append(f"Read from `{endpoint.path}`{revision}, which needs the scope{plural} {scopes}.")
    if stream.parent:
        facts.append(
            f"{_for_parent(stream.parent)} An unselected `{stream.parent.stream}` is read too, but not written."
        )
    if requests := _report_requests(stream):
        facts.append(requests)
    facts.append(f"{_sentence(_limits(endpoint))}{_page(endpoint)}.")
    for name in sorted(stream.off):
        costly = charged_endpoint(stream, {name: None})
        if costly != endpoint:
            facts.append(f"{_sentence(_limits(costly))} where `{name}` is selected.")
    return "\n".join(f"- {fact}" for fact in facts)


def _report_requests(stream: Stream) -> str:
    """Return what a report takes requests for, and what it needs of the account; empty for other streams."""
    match stream.split:
        case Report() as report:
            period = "up to 60 days" if report.is_series else "each calendar month"
            also = "`accounts:read` and `metrics:read`" if report.has_conversions else "`accounts:read`"
            return f"One request or more for {period}. It also needs {also}."
        case DailyCounts():
            return "One request for each metric and up to 365 days. It also needs `accounts:read`."
        case Sizes():
            return (
                "One request for each list, and one for all segments, in the first run of a day. It also needs "
                "`segments:read` and `accounts:read`."
            )
    return ""


def _group(stream: Stream) -> str:
    return "selected by default" if stream.group == CORE else f"group `{stream.group}`, off by default"


def _for_parent(parent: Parent) -> str:
    if parent.included:
        return f"The rows come with the pages of `{parent.stream}`; a request is sent only for what was cut short."
    return f"One request or more for each row of `{parent.stream}`{' that sends messages' if parent.only else ''}."


def _limits(endpoint: Endpoint) -> str:
    limit = endpoint.limit
    minute = f"{limit.burst} request{'s' * (limit.burst > 1)} per second and {limit.steady:,} per minute"
    return f"{minute}, and {limit.daily:,} per day" if limit.daily else minute


def _page(endpoint: Endpoint) -> str:
    return f", {endpoint.page_size:,} rows each" if endpoint.page_size else ""


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _between(text: str, name: str, content: str) -> str:
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
