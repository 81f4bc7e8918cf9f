"""The endpoints that the sandbox serves, read from contract.json.

scripts/make_sandbox_contract.py makes that file from Klaviyo's OpenAPI documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

Kind = Literal["text", "moment", "number", "flag", "none"]
Schema = Mapping[str, Any]

SUPPRESSION = "subscriptions.email.marketing.suppression"
LIST_SUPPRESSIONS = "subscriptions.email.marketing.list_suppressions"
# The older of the two revisions that the sandbox knows also answers for every revision before it.
STABLE, OMNICHANNEL = "2026-07-15", "2026-10-15"
# The beta that became OMNICHANNEL.
BETA = "2026-07-15.pre"


@dataclass(frozen=True)
class Limit:
    """Requests allowed in a second, in a minute, and for reports in a day."""

    burst: int
    steady: int
    daily: int | None = None


@dataclass(frozen=True)
class Filterable:
    """A field that can be filtered: the kind of its values, the operators, and the only values allowed, if any."""

    kind: Kind
    operators: tuple[str, ...]
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relationship:
    """The type of what a relationship points at, and whether it can point at several."""

    type: str
    many: bool


@dataclass(frozen=True)
class ResourceType:
    """A type of resource: the schema of its attributes, and its relationships by name."""

    name: str
    attributes: Schema
    relationships: Mapping[str, Relationship]


@dataclass(frozen=True, kw_only=True, eq=False)
class Endpoint:
    """What an endpoint takes.

    Attributes:
        path: a template, with `{id}` for the parent of its resources.
        revision: the first revision that the row describes; STABLE rows describe earlier revisions too.
        type: the type of its resources.
        single: whether it answers with one resource instead of a page.
        sizes: the usual and the largest page size; None if it takes no `page[size]`.
        fixed_size: the page size where none can be asked for; None if everything comes on one page.
        cursor: whether it takes `page[cursor]`.
        fields: by resource type, the fields that a sparse fieldset can name; `x.*` means every field within x.
        additional: attributes that come only on request.
        charged: the limit of requests that ask for an attribute of `additional`, if they have a separate one.
        required_filter: fields of which the filter must name one.
        left_out: a flag; resources that have it set come only if the filter names it.
        sort_follows_filter: whether a filter on a date allows no sort but by that date.
    """

    path: str
    method: str
    revision: str
    type: str
    single: bool
    scopes: tuple[str, ...]
    limit: Limit
    sizes: tuple[int, int] | None = None
    fixed_size: int | None = None
    cursor: bool = False
    sort: tuple[str, ...] = ()
    default_sort: str = "id"
    include: tuple[str, ...] = ()
    fields: Mapping[str, frozenset[str]] = field(default_factory=dict)
    additional: tuple[str, ...] = ()
    charged: Mapping[str, Limit] = field(default_factory=dict)
    filters: Mapping[str, Filterable] = field(default_factory=dict)
    required_filter: tuple[str, ...] = ()
    left_out: str | None = None
    sort_follows_filter: bool = False
    body: Schema = field(default_factory=dict)


def _read_endpoint(row: dict[str, Any]) -> Endpoint:
    described = {"attributes", "relationships"}
    plain: dict[str, Any] = {name: value for name, value in row.items() if name not in described}
    tuples: dict[str, Any] = {
        name: tuple(plain[name])
        for name in ("scopes", "sort", "include", "additional", "required_filter")
        if name in plain
    }
    read: dict[str, Any] = {
        "limit": Limit(*row["limit"]),
        "sizes": row.get("sizes") and tuple(row["sizes"]),
        "fields": {name: frozenset(names) for name, names in row.get("fields", {}).items()},
        "charged": {name: Limit(*limit) for name, limit in row.get("charged", {}).items()},
        "filters": {name: _read_filterable(each) for name, each in row.get("filters", {}).items()},
    }
    return Endpoint(**(plain | tuples | read))


def _read_filterable(row: dict[str, Any]) -> Filterable:
    return Filterable(row["kind"], tuple(row["operators"]), tuple(row.get("values", ())))


def _read_types(revision: str) -> Iterator[tuple[str, ResourceType]]:
    """Yield the resource types of a revision, the best description of each last: a whole collection's."""
    rows = [row for row in _CONTRACT["endpoints"] if row["revision"] == revision and row.get("attributes")]
    rows.sort(key=lambda row: (not row["single"], "{id}" not in row["path"]))
    for row in (*_CONTRACT["included"][revision].values(), *rows):
        related = {name: Relationship(**each) for name, each in row["relationships"].items()}
        yield row["type"], ResourceType(row["type"], row["attributes"], related)


_CONTRACT = json.loads(Path(__file__).with_name("contract.json").read_text("utf-8"))
ENDPOINTS: tuple[Endpoint, ...] = tuple(map(_read_endpoint, _CONTRACT["endpoints"]))
_STABLE_TYPES = dict(_read_types(STABLE))
TYPES: Mapping[str, Mapping[str, ResourceType]] = {
    STABLE: _STABLE_TYPES,
    OMNICHANNEL: {**_STABLE_TYPES, **dict(_read_types(OMNICHANNEL))},
}
SCHEMAS: Mapping[str, Mapping[str, Schema]] = _CONTRACT["schemas"]
SCOPES = frozenset(scope for endpoint in ENDPOINTS for scope in endpoint.scopes)
# By type, the attributes that come only on request; included resources never have them.
ON_REQUEST: Mapping[str, frozenset[str]] = {
    each.type: frozenset(each.additional) for each in ENDPOINTS if each.additional and not each.single
}
_PATTERNS = [(re.compile(each.path.replace("{id}", "([^/]+)")), each) for each in ENDPOINTS]


def find_endpoints(path: str) -> Iterator[tuple[Endpoint, str | None]]:
    """Yield the endpoints at a path, of all methods and revisions, each with the parent's id if it has one."""
    for pattern, endpoint in _PATTERNS:
        if found := pattern.fullmatch(path):
            yield endpoint, unquote(found[1]) if pattern.groups else None


def find_endpoint(path: str, revision: str = STABLE, method: str = "GET") -> Endpoint:
    """Return the endpoint of a path or template at a revision; KeyError if there is none."""
    rows = [row for row, _ in find_endpoints(path) if row.method == method and row.revision <= revision]
    if not rows:
        raise KeyError(path)
    return max(rows, key=lambda row: row.revision)


def collection_name(resource_type: str) -> str:
    """Return what a type of resource is called in paths: catalog-categories for catalog-category."""
    if resource_type in ("billing-usage", "template-universal-content"):
        return resource_type
    return f"{resource_type[:-1]}ies" if resource_type.endswith("y") else f"{resource_type}s"
