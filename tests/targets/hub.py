"""What Meltano's Hub asks of a definition of an extractor.

The rules restate, in our words, schemas/plugin_definitions/extractors.schema.json of github.com/meltano/hub and the
schemas that it refers to, as of commit 319e8b41.
"""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_KINDS = [
    "oauth",
    "hidden",
    "password",
    "date_iso8601",
    "file",
    "email",
    "integer",
    "options",
    "object",
    "array",
    "boolean",
    "string",
    "decimal",
]
_CAPABILITIES = [
    "properties",
    "catalog",
    "discover",
    "state",
    "about",
    "stream-maps",
    "schema-flattening",
    "activate-version",
    "batch",
    "test",
    "log-based",
    "structured-logging",
]

SETTING: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        **dict.fromkeys(
            ("name", "label", "placeholder", "description", "tooltip", "documentation", "env", "docs"), _TEXT
        ),
        "aliases": _TEXTS,
        "kind": {"enum": _KINDS},
        "value": {},
        "hidden": {"type": "boolean"},
        "sensitive": {"type": "boolean"},
        "value_processor": {"enum": ["upcase_string", "nest_object", "stringify"]},
        "value_post_processor": {"enum": ["upcase_string", "nest_object", "stringify"]},
        "oauth": {"type": "object", "required": ["provider"]},
        "options": {"type": "array", "items": {"type": "object"}},
    },
}
EXTRACTOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "namespace", "variant", "quality"],
    "additionalProperties": False,
    "properties": {
        **dict.fromkeys(("name", "namespace", "variant", "label", "description", "pip_url", "executable"), _TEXT),
        **dict.fromkeys(("repo", "docs", "python", "definition", "next_steps", "settings_preamble"), _TEXT),
        **dict.fromkeys(("usage", "prereq", "log_parser", "domain_url"), _TEXT),
        "logo_url": {"type": ["string", "null"]},
        "hidden": {"type": "boolean"},
        "settings": {"type": "array", "items": SETTING},
        "settings_group_validation": {"type": "array", "items": _TEXTS},
        "capabilities": {"type": "array", "items": {"enum": _CAPABILITIES}},
        "keywords": _TEXTS,
        "select": _TEXTS,
        "supported_python_versions": _TEXTS,
        "maintenance_status": {"enum": ["active", "beta", "development", "inactive", "unknown"]},
        "quality": {"enum": ["gold", "silver", "bronze", "unknown"]},
        **{key: {"type": "object"} for key in ("commands", "requires", "metadata", "schema")},
    },
}
