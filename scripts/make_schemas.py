"""Make the schemas of streams from Klaviyo's OpenAPI documents and scripts/schema_overrides.json; `--check` compares.

To move to a new revision of the API, put its document in place, run this, and read the diff.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tap_klaviyo.klaviyo import endpoints
from tap_klaviyo.klaviyo.endpoints import Endpoint

Schema = dict[str, Any]

ROOT = Path(__file__).parent.parent
SCHEMAS = ROOT / "tap_klaviyo" / "streams" / "schemas"
OVERRIDES = Path(__file__).parent / "schema_overrides.json"
DOCUMENTS = ROOT.parent / "shared" / "klaviyo-openapi"
# The beta's document describes what the revision after it made stable.
BY_REVISION = {None: "stable.json", endpoints.OMNICHANNEL: "beta-2026-07-15.pre.json"}
SCALARS = ("boolean", "integer", "number", "string")


class Document:
    """One OpenAPI document of Klaviyo's."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        """Take the document's content."""
        self._paths = {re.sub(r"\{\w+\}", "{}", path): methods for path, methods in content["paths"].items()}
        self._components: Mapping[str, Any] = content["components"]["schemas"]

    def resolve(self, definition: Mapping[str, Any]) -> Schema:
        """Return a definition without references at its top, and with the parts of an `allOf` merged."""
        resolved = dict(definition)
        while "$ref" in resolved:
            resolved = dict(self._components[resolved["$ref"].rpartition("/")[2]])
        for part in map(self.resolve, resolved.pop("allOf", ())):
            properties = dict(resolved.get("properties", {}))
            for name, inner in part.get("properties", {}).items():
                properties[name] = {"allOf": [properties[name], inner]} if name in properties else inner
            resolved = {**part, **resolved, "properties": properties}
        return resolved

    def attributes(self, endpoint: Endpoint) -> Schema:
        """Return the attributes of a collection's resources by name, optional ones last."""
        response = self._operation(endpoint)["responses"]["200"]
        data = self.resolve(_body(response))["properties"]["data"]
        resource = self.resolve(self.resolve(data)["items"])
        found: Schema = self.resolve(resource["properties"].get("attributes", {})).get("properties", {})
        return {name: found[name] for name in sorted(found, key=endpoint.additional.__contains__)}

    def statistics(self, endpoint: Endpoint) -> list[str]:
        """Return the statistics that a report can be asked for."""
        attributes = self.requested(endpoint)["attributes"]
        statistics = self.resolve(attributes.get("statistics") or attributes["measurements"])
        names: list[str] = self.resolve(statistics["items"])["enum"]
        return sorted(names)

    def requested(self, endpoint: Endpoint) -> Schema:
        """Return what the body of a request for a report has: its type, and the attributes by name."""
        request = self.resolve(_body(self._operation(endpoint)["requestBody"]))
        data = self.resolve(request["properties"]["data"])["properties"]
        kind: str = self.resolve(data["type"])["enum"][0]
        return {"type": kind, "attributes": self.resolve(data["attributes"])["properties"]}

    def _operation(self, endpoint: Endpoint) -> Mapping[str, Any]:
        path = re.sub(r"\{\w+\}", "{}", endpoint.path)
        operation: Mapping[str, Any] = self._paths[path][endpoint.method.lower()]
        return operation


def _body(message: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = next(iter(message["content"].values()))["schema"]
    return schema


@cache
def read_document(revision: str | None) -> Document:
    """Return the document of a revision, None for the tap's default revision."""
    return Document(json.loads((DOCUMENTS / BY_REVISION[revision]).read_text("utf-8")))


def column_of(document: Document, definition: Mapping[str, Any]) -> Schema:
    """Return the column for a definition of the document.

    Targets load one type plus null, so alternatives become text if they are scalars, and a free object otherwise.
    """
    resolved = document.resolve(definition)
    alternatives = [document.resolve(each) for each in (*resolved.get("oneOf", ()), *resolved.get("anyOf", ()))]
    kind = resolved.get("type")
    if alternatives:
        kinds = {each.get("type", "object") for each in alternatives}
        kind = (kinds.pop() if len(kinds) == 1 else "string") if kinds <= set(SCALARS) else "object"
    column: Schema = {"type": ["null", kind or "object"]}
    if kind == "string" and resolved.get("format") == "date-time":
        column["format"] = "date-time"
    if text := plain_description(resolved.get("description", "")):
        column["description"] = text
    if kind == "array":
        items = column_of(document, resolved.get("items", {"type": "string"}))
        items.pop("description", None)
        column["items"] = items
    elif resolved.get("properties") and not alternatives:
        column["properties"] = {name: column_of(document, each) for name, each in resolved["properties"].items()}
    return column


def plain_description(text: str) -> str:
    """Return the first sentence of one of Klaviyo's descriptions, without markup and without the format of dates."""
    text = re.sub(r",? in ISO 8601 format \([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(text.split())).replace("`", "")
    sentence = re.split(r"(?<=[.!?]) (?=[A-Z])", text)[0].strip()
    return f"{sentence.rstrip('.')}." if sentence else ""


def override_column(column: Schema, override: str | Mapping[str, Any]) -> Schema:
    """Return a column with our own description, type or fields; a text is a description only.

    An override of the type drops the document's fields; this turns a definition into a free-form object.
    """
    if isinstance(override, str):
        return {**column, "description": override}
    changed = dict(column)
    if "type" in override:
        changed = {key: column[key] for key in ("description",) if key in column}
        changed["type"] = ["null", override["type"]]
    changed.update({key: override[key] for key in ("description", "format", "items") if key in override})
    inner = changed.get("items", changed)
    if fields := override.get("fields"):
        merged = dict(inner.get("properties", {}))
        for name, each in fields.items():
            merged[name] = override_column(merged.get(name, {"type": ["null", "string"]}), each)
        inner["properties"] = merged
    return changed


def describe_fields(column: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """Give the fields inside a column, at any depth, the descriptions that we have for their names."""
    for name, field in column.get("items", column).get("properties", {}).items():
        if name in texts:
            field["description"] = texts[name]
        describe_fields(field, texts)


def make_schema(name: str, overrides: Mapping[str, Any]) -> Schema:
    """Return the schema of a stream.

    Raises:
        ValueError: a field has no description, or an override is for an attribute that the document lacks.
    """
    row = overrides["streams"][name]
    endpoint: Endpoint = getattr(endpoints, row["endpoint"])
    document = read_document(endpoint.revision)
    if endpoint.method == "POST":
        made = {each: {"type": ["null", "number"]} for each in document.statistics(endpoint)}
        common = overrides["statistics"]
    else:
        made = {each: column_of(document, definition) for each, definition in document.attributes(endpoint).items()}
        common = overrides["attributes"]
    for each in row.get("omit", ()):
        del made[each]
    for each, column in made.items():
        if each in common:
            column["description"] = common[each].format(thing=row["thing"])
        describe_fields(column, overrides["fields"])
    if unknown := set(row.get("columns", {})) - set(made):
        raise ValueError(f"{name}: the document has no {', '.join(sorted(unknown))}.")
    for each, override in row.get("columns", {}).items():
        made[each] = override_column(made[each], override)
    key = row.get("key", ["id"])
    added = {each: _added_column(each, row, overrides) for each in (*key, *row.get("added", {}))}
    first = {each: {**added[each], "type": [added[each]["type"][-1]]} for each in key}
    schema = {"type": "object", "properties": {**first, **{**made, **added, **first}}}
    if missing := list(undescribed_fields(schema)):
        raise ValueError(f"{name}: no description for {', '.join(missing)}.")
    return schema


def _added_column(name: str, row: Mapping[str, Any], overrides: Mapping[str, Any]) -> Schema:
    """Return a column that is not an attribute: a key, a related id, or a computed value."""
    own = row.get("added", {}).get(name) or overrides["added"][name]
    if isinstance(own, str):
        own = {"description": own}
    own = {**own, "description": own["description"].format(thing=row["thing"])}
    return override_column({"type": ["null", "string"]}, own)


def undescribed_fields(schema: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yield the path of each field without a description."""
    for name, column in schema.get("properties", {}).items():
        if not column.get("description"):
            yield before + name
        yield from undescribed_fields(column.get("items", column), f"{before}{name}.")


def written_schema(schema: Mapping[str, Any]) -> str:
    """Return the text of a schema file: a line for each plain field."""
    return "{\n" + '  "type": "object",\n  "properties": ' + _written_fields(schema["properties"], "  ") + "\n}\n"


def _written_fields(fields: Mapping[str, Any], indent: str) -> str:
    lines = [f"{indent}  {json.dumps(name)}: {_written_column(each, indent + '  ')}" for name, each in fields.items()]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def _written_column(column: Mapping[str, Any], indent: str) -> str:
    inner = column.get("items", column)
    if "properties" not in inner:
        return json.dumps(column, ensure_ascii=False)
    parts = {
        key: json.dumps(value, ensure_ascii=False)
        for key, value in column.items()
        if key not in ("properties", "items")
    }
    if "items" in column:
        parts["items"] = _written_column(inner, indent + "  ")
    else:
        parts["properties"] = _written_fields(column["properties"], indent + "  ")
    return "{\n" + ",\n".join(f"{indent}  {json.dumps(key)}: {text}" for key, text in parts.items()) + f"\n{indent}}}"


def generated() -> dict[Path, str]:
    """Return each generated schema file with the text that it should have."""
    overrides = json.loads(OVERRIDES.read_text("utf-8"))
    return {SCHEMAS / f"{name}.json": written_schema(make_schema(name, overrides)) for name in overrides["streams"]}


def main(arguments: list[str]) -> int:
    """Write, or with --check compare, and return the exit code."""
    texts = generated()
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        print("".join(f"{path.name} is not current; run scripts/make_schemas.py.\n" for path in stale), end="")
        return bool(stale)
    for path in stale:
        path.write_text(texts[path], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
