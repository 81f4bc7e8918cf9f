"""Make tap_klaviyo/sandbox/contract.json from Klaviyo's OpenAPI documents; `--check` only compares.

The contract says what the sandbox's endpoints take and how their resources look. What the documents leave out is in
scripts/sandbox_contract_overrides.json, with a reason for each entry.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Schema = dict[str, Any]

ROOT = Path(__file__).parent.parent
CONTRACT = ROOT / "tap_klaviyo" / "sandbox" / "contract.json"
OVERRIDES = Path(__file__).parent / "sandbox_contract_overrides.json"
DOCUMENTS = ROOT.parent / "shared" / "klaviyo-openapi"
STABLE, OMNICHANNEL = "2026-07-15", "2026-10-15"
# The beta's document describes what the revision after it made stable.
DOCUMENT_OF = {STABLE: "stable.json", OMNICHANNEL: "beta-2026-07-15.pre.json"}
SERVED: Mapping[str, tuple[str, ...]] = {
    STABLE: (
        "accounts",
        "campaigns",
        "catalog-categories",
        "catalog-categories/{id}/relationships/items",
        "catalog-items",
        "catalog-variants",
        "coupon-codes",
        "coupons",
        "custom-metrics",
        "data-sources",
        "events",
        "flow-actions/{id}/flow-messages",
        "flows",
        "flows/{id}/flow-actions",
        "forms",
        "forms/{id}/form-versions",
        "images",
        "lists",
        "lists/{id}",
        "lists/{id}/profiles",
        "mapped-metrics",
        "metrics",
        "metrics/{id}/metric-properties",
        "object-types",
        "object-types/{id}/object-records",
        "profiles",
        "push-tokens",
        "reviews",
        "segments",
        "segments/{id}",
        "segments/{id}/profiles",
        "tag-groups",
        "tags",
        "template-universal-content",
        "templates",
        "tracking-settings",
        "web-feeds",
        "webhooks",
    ),
    OMNICHANNEL: (
        "billing-usage",
        "campaign-messages",
        "campaign-messages/{id}/campaign-variations",
        "campaigns",
        "campaigns/{id}/campaign-audiences",
        "translations",
    ),
}
POSTED = (
    "campaign-values-reports",
    "flow-series-reports",
    "flow-values-reports",
    "form-series-reports",
    "form-values-reports",
    "metric-aggregates",
    "segment-series-reports",
    "segment-values-reports",
)
# A few alternatives of a long union (blocks of templates, conditions of segments) are variety enough for a sandbox.
ALTERNATIVES = 3
WHOLE_UNIONS = frozenset({"FlowActionEncodedResponseObjectResource", "VariationDefinition"})
# Sparse fieldsets that reach deeper are kept as `name.*`.
DEEPEST_FIELD = 2


class Document:
    """One OpenAPI document, and the components of it that the contract refers to."""

    def __init__(self, name: str) -> None:
        """Read a document by its file name."""
        self._whole = json.loads((DOCUMENTS / name).read_text("utf-8"))
        self.schemas: dict[str, Schema] = {}

    def operation(self, path: str, method: str) -> Schema:
        """Return the operation at a path below /api."""
        found: Schema = self._whole["paths"][f"/api/{path}"][method]
        return found

    def resolved(self, schema: Schema) -> Schema:
        """Return a schema, or the component that it refers to."""
        while "$ref" in schema:
            schema = self._whole["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        for part in map(self.resolved, schema.get("allOf", ())):
            schema = _merged(schema, part)
        return schema

    def reduced(self, schema: Schema, component: str = "") -> Schema:
        """Return what a generator of values needs of a schema; components end up in `schemas`."""
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            if name not in self.schemas:
                self.schemas[name] = {}
                self.schemas[name] = self.reduced(self._whole["components"]["schemas"][name], name)
            return {"$ref": name, **({"nullable": True} if schema.get("nullable") else {})}
        schema = self.resolved(schema)
        result: Schema = {name: schema[name] for name in ("type", "format", "enum", "required") if name in schema}
        if schema.get("nullable"):
            result["nullable"] = True
        if "properties" in schema:
            # Klaviyo never sends write-only properties.
            sent = {name: each for name, each in schema["properties"].items() if not each.get("writeOnly")}
            result["properties"] = {name: self.reduced(each, component) for name, each in sent.items()}
        if "items" in schema:
            result["items"] = self.reduced(schema["items"], component)
        if alternatives := schema.get("oneOf", schema.get("anyOf", ())):
            kept = alternatives if component in WHOLE_UNIONS else alternatives[:ALTERNATIVES]
            result["oneOf"] = [self.reduced(each, component) for each in kept]
        return result


def _merged(first: Schema, second: Schema) -> Schema:
    """Return two schemas of objects as one that has the properties of both."""
    properties = {**first.get("properties", {}), **second.get("properties", {})}
    for name in first.get("properties", {}).keys() & second.get("properties", {}).keys():
        properties[name] = _merged(first["properties"][name], second["properties"][name])
    required = [*first.get("required", ()), *second.get("required", ())]
    return {**first, **second, "properties": properties, "required": required} if properties else {**first, **second}


def endpoint_row(document: Document, path: str, method: str, revision: str) -> Schema:
    """Return what the document says of one endpoint."""
    operation = document.operation(path, method)
    parameters = {each["name"]: each["schema"] for each in operation["parameters"]}
    size = parameters.get("page[size]")
    limits = operation["x-klaviyo-ratelimit"]
    row: Schema = {
        "path": f"/api/{path}",
        "method": method.upper(),
        "revision": revision,
        "scopes": operation["x-klaviyo-scopes"],
        "limit": [int(limits[each].split("/")[0]) for each in ("burst", "steady", "daily") if each in limits],
    }
    if method == "post":
        return {**row, "body": document.reduced(_body(operation)), **_described(document, operation)}
    return {
        **row,
        **_described(document, operation),
        "sizes": size and [size["default"], size["maximum"]],
        "cursor": "page[cursor]" in parameters,
        "sort": sorted({each.lstrip("-") for each in parameters.get("sort", {}).get("enum", ())}),
        "include": sorted(parameters.get("include", {}).get("items", {}).get("enum", ())),
        "fields": dict(_listed(parameters, "fields", document)),
        "additional": [name for _, names in _listed(parameters, "additional-fields", document) for name in names],
        "filters": {name: _filterable(each) for name, each in operation.get("x-klaviyo-filters", {}).items()},
    }


def _body(operation: Schema) -> Schema:
    content: Schema = operation["requestBody"]["content"]
    body: Schema = next(iter(content.values()))["schema"]
    return body


def _described(document: Document, operation: Schema) -> Schema:
    """Return the type of the resources that an operation answers with, and the component that describes them."""
    answer = document.resolved(operation["responses"]["200"]["content"]["application/vnd.api+json"]["schema"])
    data = document.resolved(answer["properties"]["data"])
    single = data.get("type") != "array"
    reference = answer["properties"]["data"] if single else data["items"]
    resource = document.resolved(reference)
    kind = document.resolved(resource["properties"]["type"])["enum"][0]
    row: Schema = {"type": kind, "single": single}
    if "attributes" in resource["properties"]:
        name = reference.get("$ref", "").rsplit("/", 1)[-1]
        row["attributes"] = document.reduced(resource["properties"]["attributes"], name)
        row["relationships"] = dict(_relationships(document, resource))
    return row


def _relationships(document: Document, resource: Schema) -> Iterator[tuple[str, Schema]]:
    described = document.resolved(resource["properties"].get("relationships", {})).get("properties", {})
    for name, each in described.items():
        data = document.resolved(each)["properties"]["data"]
        many = data.get("type") == "array"
        target = document.resolved(data["items"] if many else data)
        yield name, {"type": document.resolved(target["properties"]["type"])["enum"][0], "many": many}


def _listed(parameters: Mapping[str, Schema], parameter: str, document: Document) -> Iterator[tuple[str, list[str]]]:
    """Yield by resource type the names that a parameter such as fields[event] takes."""
    for name, schema in parameters.items():
        if found := re.fullmatch(rf"{parameter}\[(.+)\]", name):
            yield found[1], sorted(_shortened(document.resolved(schema["items"]).get("enum", ())))


def _shortened(names: tuple[str, ...]) -> set[str]:
    deep = {name.split(".")[0] for name in names if name.count(".") >= DEEPEST_FIELD}
    return {
        f"{first}.*" if first in deep and rest else name for name in names for first, _, rest in [name.partition(".")]
    }


def _filterable(described: Schema) -> Schema:
    value = described.get("value", {})
    operators = sorted({each for group in described["operators"].values() for each in group})
    row: Schema = {"kind": _kind(value, operators), "operators": operators}
    return {**row, "values": value["enum"]} if "enum" in value else row


def _kind(value: Schema, operators: list[str]) -> str:
    if operators == ["has"]:
        return "none"
    if value.get("format") in ("date-time", "date"):
        return "moment"
    return {"boolean": "flag", "integer": "number", "number": "number"}.get(value.get("type", ""), "text")


def contract() -> Schema:
    """Return the whole contract."""
    documents = {revision: Document(name) for revision, name in DOCUMENT_OF.items()}
    overrides = json.loads(OVERRIDES.read_text("utf-8"))
    rows = [
        endpoint_row(documents[revision], path, "get", revision) for revision, paths in SERVED.items() for path in paths
    ]
    rows += [endpoint_row(documents[STABLE], path, "post", STABLE) for path in POSTED]
    for row in rows:
        for override in overrides["endpoints"]:
            if (override["path"], override["revision"]) == (row["path"], row["revision"]):
                row.update(override["set"])
    included = {
        revision: {kind: _included_type(documents[revision], component, kind) for kind, component in components.items()}
        for revision, components in overrides["included"].items()
    }
    schemas = {revision: dict(sorted(document.schemas.items())) for revision, document in documents.items()}
    for override in overrides["schemas"]:
        component = schemas[override["revision"]].setdefault(override["component"], {"type": "object"})
        component["properties"] = {**component.get("properties", {}), **override["properties"]}
    return {"endpoints": rows, "included": included, "schemas": schemas}


def _included_type(document: Document, component: str, kind: str) -> Schema:
    resource = document.resolved({"$ref": f"#/components/schemas/{component}"})
    attributes = resource["properties"].get("attributes", {"type": "object"})
    return {
        "type": kind,
        "attributes": document.reduced(attributes, component),
        "relationships": dict(_relationships(document, resource)),
    }


def written(made: Schema) -> str:
    """Return the contract as the file's text: a line for each endpoint and each schema."""

    def compact(node: object) -> str:
        return json.dumps(node, ensure_ascii=False, separators=(",", ":"))

    lines = [",\n".join(map(compact, made["endpoints"]))]
    for part in ("included", "schemas"):
        by_revision = [
            f"{compact(revision)}:{{\n"
            + ",\n".join(f"{compact(name)}:{compact(each)}" for name, each in rows.items())
            + "}"
            for revision, rows in made[part].items()
        ]
        lines.append(",\n".join(by_revision))
    endpoints, included, schemas = lines
    return f'{{"endpoints":[\n{endpoints}],\n"included":{{\n{included}}},\n"schemas":{{\n{schemas}}}}}\n'


def main() -> None:
    """Write the contract, or with --check end with 1 if it is not what the documents give."""
    made = written(contract())
    if "--check" not in sys.argv[1:]:
        CONTRACT.write_text(made, "utf-8")
    elif CONTRACT.read_text("utf-8") != made:
        sys.exit("tap_klaviyo/sandbox/contract.json is not current: run scripts/make_sandbox_contract.py.")


if __name__ == "__main__":
    main()
