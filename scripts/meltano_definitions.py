"""The tap as Meltano knows it: its example project, a definition for `meltano add`, and one for Meltano's Hub.

They are made from the table of settings by scripts/update_docs.py, so that none of them lacks a setting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tap_klaviyo.about import CAPABILITIES
from tap_klaviyo.config import SETTINGS, Setting
from tap_klaviyo.streams.model import CORE
from tap_klaviyo.streams.table import STREAMS

# The public index has another project under the tap's name, so no definition may name just that.
_PIP_URL = "$TAP_KLAVIYO_PIP_URL"
_KINDS = {
    "date": "date_iso8601",
    "number": "decimal",
    "whole number": "integer",
    "true or false": "boolean",
    "text": "string",
    "array": "array",
    "URL": "string",
}
# Scalars that YAML reads as text without quotes.
_PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off)$)[A-Za-z/.$]([\w./$:=<> -]*[\w./])?", re.IGNORECASE)

_PROJECT_HEAD = """\
# Klaviyo into files of JSON lines, DuckDB or PostgreSQL, by Meltano 4; see README.md.
requires_meltano: '>=4.0'
default_environment: dev
environments:
- name: dev
"""
_LOADERS: list[dict[str, Any]] = [
    {
        "name": "target-jsonl",
        "namespace": "target_jsonl",
        "pip_url": "target-jsonl==0.1.4",
        "executable": "target-jsonl",
        "settings": [
            {"name": "destination_path", "value": "output"},
            {"name": "do_timestamp_file", "kind": "boolean", "value": False},
        ],
    },
    {
        "name": "target-duckdb",
        "namespace": "target_duckdb",
        # With DuckDB 1.3 and later, this version loses the first row of each batch.
        "pip_url": "target-duckdb==0.8.0 duckdb<1.3",
        "executable": "target-duckdb",
        "settings": [
            {"name": "path", "value": "warehouse.duckdb"},
            {"name": "default_target_schema", "value": "klaviyo"},
        ],
    },
    {
        "name": "target-postgres",
        "namespace": "target_postgres",
        "pip_url": "meltanolabs-target-postgres==0.8.1",
        "executable": "target-postgres",
        "capabilities": ["activate-version"],
        "settings": [
            {"name": "host", "value": "localhost"},
            {"name": "port", "kind": "integer", "value": 5432},
            {"name": "user"},
            {"name": "password", "sensitive": True},
            {"name": "database"},
            {"name": "default_target_schema", "value": "klaviyo"},
            {"name": "validate_records", "kind": "boolean", "value": False},
        ],
    },
]
_ADD_HEAD = """\
# For `meltano add --from-ref tap-klaviyo.yml tap-klaviyo`; see README.md.
# Meltano drops `select` unless it is within `variants`.
"""
_HUB_HEAD = """\
# The definition for Meltano's Hub. Before it is handed in, put the public URL of the repository into pip_url.
"""


def project() -> str:
    """Return the example project, meltano.yml."""
    extractor = {"name": "tap-klaviyo", **_presentation(), **_definition("../..")}
    plugins = {"extractors": [extractor], "loaders": _LOADERS}
    return f"{_PROJECT_HEAD}{_yaml({'plugins': plugins})}project_id: 01a20a6a-27df-7ec1-a1b1-2719c328b252\n"


def addition() -> str:
    """Return the definition that `meltano add --from-ref` takes."""
    variant = {"name": "tap-klaviyo", **_definition(_PIP_URL)}
    return _ADD_HEAD + _yaml({"name": "tap-klaviyo", **_presentation(), "variants": [variant]})


def hub_entry() -> str:
    """Return the definition for Meltano's Hub."""
    about = {
        "variant": "tap-klaviyo",
        "description": "Events, lists, campaigns and suppressed profiles of a Klaviyo account.",
        "domain_url": "https://www.klaviyo.com",
        "keywords": ["api"],
        "maintenance_status": "active",
        "quality": "unknown",
    }
    return _HUB_HEAD + _yaml({"name": "tap-klaviyo", **_presentation(), **about, **_definition(_PIP_URL)})


def _presentation() -> dict[str, Any]:
    return {"namespace": "tap_klaviyo", "label": "Klaviyo"}


def _definition(pip_url: str) -> dict[str, Any]:
    return {
        "pip_url": pip_url,
        "executable": "tap-klaviyo",
        "capabilities": list(CAPABILITIES),
        "settings_group_validation": _groups(),
        "settings": [_setting(each) for each in SETTINGS],
        "select": _select(),
    }


def _groups() -> list[list[str]]:
    """Return the groups of settings of which one has to be set: the required ones, and those with OAuth."""
    required = [each for each in SETTINGS if each.required]
    groups = [[each.name for each in required]]
    for setting in required:
        if setting.unless:
            groups.append([*setting.unless, *(each.name for each in required if each is not setting)])
    return groups


def _select() -> list[str]:
    """Return patterns for the default selection; Meltano would select everything."""
    core = [stream for stream in STREAMS if stream.group == CORE]
    off: dict[str, list[str]] = {}
    for stream in core:
        for field in sorted(stream.off):
            off.setdefault(field, []).append(stream.name)
    return [f"{stream.name}.*" for stream in core] + [
        f"!{streams[0] if len(streams) == 1 else '*'}.{field}" for field, streams in off.items()
    ]


def _setting(setting: Setting) -> dict[str, Any]:
    label = setting.name.replace("_", " ").capitalize().replace("Api", "API").replace(" url", " URL")
    return {
        "name": setting.name,
        **({"aliases": list(setting.aliases)} if setting.aliases else {}),
        "label": label,
        "description": setting.description,
        "kind": _KINDS[setting.kind],
        **({} if setting.default is None else {"value": setting.default}),
        **({"sensitive": True} if setting.secret else {}),
    }


def _yaml(value: Mapping[str, Any], indent: str = "") -> str:
    """Return a mapping as YAML: its lists of mappings in blocks, all other lists in a line."""
    return "".join(f"{indent}{line}\n" for line in _lines(value))


def _lines(value: Mapping[str, Any]) -> Iterator[str]:
    for key, each in value.items():
        if isinstance(each, dict):
            yield f"{key}:"
            yield from (f"  {line}" for line in _lines(each))
        elif isinstance(each, list) and each and isinstance(each[0], dict):
            yield f"{key}:"
            for item in each:
                first, *rest = _lines(item)
                yield f"- {first}"
                yield from (f"  {line}" for line in rest)
        else:
            yield f"{key}: {_scalar(each)}"


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    is_plain = isinstance(value, str) and _PLAIN.fullmatch(value) and ": " not in value
    return value if is_plain else json.dumps(value, ensure_ascii=False)
