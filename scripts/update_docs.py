"""Write what is generated into the repository: the README's tables and catalog.json; `--check` only compares."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from tap_klaviyo.catalog import discover, select_all
from tap_klaviyo.config import SETTINGS, Setting
from tap_klaviyo.streams import STREAMS, Stream

ROOT = Path(__file__).parent.parent


def main(arguments: list[str]) -> int:
    """Write, or with --check compare, and return the exit code."""
    stale = [path for path, text in generated().items() if path.read_text("utf-8") != text]
    if "--check" in arguments:
        print("\n".join(f"{path.name} is not current; run scripts/update_docs.py." for path in stale))
        return bool(stale)
    for path in stale:
        path.write_text(generated()[path], "utf-8")
    return 0


def generated() -> dict[Path, str]:
    """Return each generated file with the text that it should have."""
    readme = ROOT / "README.md"
    text = _between(readme.read_text("utf-8"), "streams", streams_table())
    return {
        readme: _between(text, "settings", settings_table()),
        ROOT / "catalog.json": json.dumps(select_all(discover()), indent=2, ensure_ascii=False) + "\n",
    }


def streams_table() -> str:
    """Return the table of streams."""
    rows = [f"| {each.tap_stream_id} | {each.replication_method} | {each.key} | {_source(each)} |" for each in STREAMS]
    return "\n".join(["| stream | replication | key | from |", "|---|---|---|---|", *rows])


def settings_table() -> str:
    """Return the table of settings."""
    head = ["| setting | what it is | default |", "|---|---|---|"]
    return "\n".join(head + [f"| {_name(each)} | {each.description} | {_default(each)} |" for each in SETTINGS])


def _source(stream: Stream) -> str:
    return " · ".join(stream.metric_names) or stream.endpoint.path


def _name(setting: Setting) -> str:
    names = [setting.name, *setting.aliases]
    return " or ".join(f"`{name}`" for name in names)


def _default(setting: Setting) -> str:
    if setting.required:
        return "required"
    return "" if setting.default is None else f"`{json.dumps(setting.default)}`"


def _between(text: str, name: str, content: str) -> str:
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
