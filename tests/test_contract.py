"""Every endpoint and every row of the table of streams agrees with Klaviyo's OpenAPI document."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo.klaviyo import endpoints
from tap_klaviyo.klaviyo.endpoints import OMNICHANNEL, XL, Endpoint, S
from tap_klaviyo.records.projection import Related
from tap_klaviyo.streams.model import (
    AllMetrics,
    Filters,
    Metrics,
    Parent,
    Report,
    Sizes,
    Stream,
    TimeRange,
    Whole,
)
from tap_klaviyo.streams.table import BY_NAME, STREAMS

DOCUMENTS = Path(__file__).parents[1].parent / "shared" / "klaviyo-openapi"
# The beta's document describes what the revision after it made stable.
BY_REVISION = {None: "stable.json", OMNICHANNEL: "beta-2026-07-15.pre.json"}
# What the stable revision added to its beta, according to Klaviyo's SDK for Python, 25.0.0.
ADDED_SINCE_THE_BETA = {("/api/campaigns", "tags")}
MAKER = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "make_schemas.py"))
# What an event's metric fills, which is known before any page is read.
OF_A_METRIC = {"metric", "metric_id", "metric_name"}
ENDPOINTS = {name: each for name, each in vars(endpoints).items() if isinstance(each, Endpoint)}

pytestmark = pytest.mark.skipif(
    not all((DOCUMENTS / name).exists() for name in BY_REVISION.values()),
    reason="Klaviyo's OpenAPI documents are not in ../shared/klaviyo-openapi",
)


@dataclass(frozen=True)
class Operation:
    """What a document says of one method of one path."""

    definition: Mapping[str, Any]
    parameters: Mapping[str, Mapping[str, Any]]

    def allowed(self, parameter: str) -> list[str]:
        """Return the values that a parameter takes, none if the operation has no such parameter."""
        schema = self.parameters.get(parameter, {}).get("schema", {})
        values: list[str] = schema.get("items", schema).get("enum", [])
        return values

    @property
    def additional(self) -> list[str]:
        """The fields that the operation sends on request only."""
        names = [name for name in self.parameters if name.startswith("additional-fields")]
        return [value for name in names for value in self.allowed(name)]

    def operators(self, field: str) -> set[str]:
        """Return the operators that the operation has for a field in a filter."""
        kinds = self.definition.get("x-klaviyo-filters", {}).get(field, {}).get("operators", {})
        return {operator for operators in kinds.values() for operator in operators}


@cache
def document(name: str) -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads((DOCUMENTS / name).read_text("utf-8"))
    return loaded


def any_name(path: str) -> str:
    """Return a path template without the names of its parameters, which are Klaviyo's there and ours here."""
    return re.sub(r"\{\w+\}", "{}", path)


def operation_of(endpoint: Endpoint) -> Operation | None:
    """Return what the document of the endpoint's revision says of it, None if it is not there."""
    source = document(BY_REVISION[endpoint.revision])
    methods = {any_name(path): methods for path, methods in source["paths"].items()}.get(any_name(endpoint.path), {})
    definition = methods.get(endpoint.method.lower())
    if definition is None:
        return None
    shared = source["components"].get("parameters", {})
    resolved = (
        shared[each["$ref"].rpartition("/")[2]] if "$ref" in each else each for each in definition.get("parameters", ())
    )
    return Operation(definition, {each["name"]: each for each in resolved})


def endpoint_disagreements(endpoint: Endpoint) -> Iterator[str]:
    """Yield each fact about an endpoint that its document denies."""
    operation = operation_of(endpoint)
    if operation is None:
        yield f"no {endpoint.method} {endpoint.path}"
        return
    limits = operation.definition["x-klaviyo-ratelimit"].values()
    documented = tuple(int(limit.partition("/")[0]) for limit in limits)
    ours = tuple(each for each in (endpoint.limit.burst, endpoint.limit.steady, endpoint.limit.daily) if each)
    if ours != documented:
        yield f"limits {ours}, not {documented}"
    if set(endpoint.scopes) != set(operation.definition["x-klaviyo-scopes"]):
        yield f"scopes {endpoint.scopes}"
    largest = operation.parameters.get("page[size]", {}).get("schema", {}).get("maximum")
    if endpoint.page_size != largest:
        yield f"page size {endpoint.page_size}, not {largest}"
    if endpoint.sort and endpoint.sort not in operation.allowed("sort"):
        yield f"no sort {endpoint.sort}"
    if not endpoint.sort and "id" in operation.allowed("sort"):
        yield "not sorted, so that pages may shift"
    if bool(endpoint.additional) != (f"additional-fields[{endpoint.resource}]" in operation.parameters):
        yield f"additional fields of {endpoint.resource or 'nothing'}"
    for name in sorted(set(endpoint.additional) - set(operation.additional)):
        yield f"no additional field {name}"


def row_disagreements(stream: Stream, rows: Mapping[str, Stream]) -> Iterator[str]:
    """Yield each fact about a row of the table that the document, or the rest of the table, denies."""
    yield from endpoint_disagreements(stream.endpoint)
    operation = operation_of(stream.endpoint)
    if operation is None:
        return
    for related in stream.related:
        added = (stream.endpoint.path, related.relationship) in ADDED_SINCE_THE_BETA and stream.endpoint.revision
        if related.shape != "id" and related.relationship not in operation.allowed("include") and not added:
            yield f"no include {related.relationship}"
    if stream.range:
        yield from range_disagreements(stream, stream.range, operation)
    yield from split_disagreements(stream, operation, rows)
    if isinstance(stream.split, Report):
        yield from report_disagreements(stream, stream.split, rows)
    yield from column_disagreements(stream)


def column_disagreements(stream: Stream) -> Iterator[str]:
    """Yield each column that a row names and the schema lacks, and each that nothing fills, so that it stays null."""
    columns = stream.schema["properties"]
    made = {*(related.field for related in stream.related), *stream.derived}
    for name in sorted({*stream.automatic, *stream.off, *made}):
        if name not in columns:
            yield f"no column {name}"
    if stream.endpoint.method == "POST" or isinstance(stream.split, Sizes):
        return  # A report has no attributes: its groupings and statistics fill its columns.
    filled = {
        stream.id_field,
        "type",
        *made,
        *MAKER["read_document"](stream.endpoint.revision).attributes(stream.endpoint),
    }
    if isinstance(stream.split, Metrics | AllMetrics):
        filled |= OF_A_METRIC
    elif isinstance(stream.split, Parent):
        filled.add(stream.split.key)
    elif isinstance(stream.split, Filters):
        filled.update(*stream.split.each.values())
    for name in sorted(set(columns) - filled):
        yield f"nothing fills the column {name}"


def report_disagreements(stream: Stream, report: Report, rows: Mapping[str, Stream]) -> Iterator[str]:
    """Yield each fact about what a report is asked for that the document denies, and a statistic without a column."""
    asked = MAKER["read_document"](None).requested(stream.endpoint)
    if asked["type"] != f"{stream.endpoint.path.rpartition('/')[2].removesuffix('s')}":
        yield f"no type {asked['type']}"
    attributes = asked["attributes"]
    if report.has_conversions != ("conversion_metric_id" in attributes):
        yield "a conversion metric"
    if report.is_series != ("interval" in attributes):
        yield "an interval"
    if report.has_conversions:
        for group in sorted(set(report.groups) - set(attributes["group_by"]["items"]["enum"])):
            yield f"no group {group}"
    statistics = set(MAKER["read_document"](None).statistics(stream.endpoint))
    for name in sorted(statistics ^ (set(stream.schema["properties"]) - set(stream.key))):
        yield f"the statistic {name}"
    if rows[report.about].endpoint.scopes != stream.endpoint.scopes:
        yield f"not about {report.about}"


def range_disagreements(stream: Stream, time_range: TimeRange, operation: Operation) -> Iterator[str]:
    """Yield each operator of a row's time range that the endpoint lacks, and a sort by something else."""
    for operator in (time_range.after, time_range.before):
        if operator and operator not in operation.operators(time_range.field):
            yield f"no filter {operator}({time_range.field})"
    if stream.endpoint.sort != time_range.field:
        yield f"sorted by {stream.endpoint.sort}, not by {time_range.field}"


def split_disagreements(stream: Stream, operation: Operation, rows: Mapping[str, Stream]) -> Iterator[str]:
    """Yield the errors in the queries that a row is divided into: their filters, and their parent."""
    filters: list[str] = []
    placeholders = set(re.findall(r"\{(\w+)\}", stream.endpoint.path))
    if isinstance(stream.split, Filters):
        filters = list(stream.split.each)
    elif isinstance(stream.split, Metrics):
        filters = ['equals(metric_id,"")']
    elif isinstance(stream.split, Parent):
        if stream.split.stream not in rows:
            yield f"no parent {stream.split.stream}"
        filters = [stream.split.filter] if stream.split.filter else []
        filled = placeholders | set(re.findall(r"\{(\w+)\}", stream.split.filter or ""))
        if filled != {stream.split.key}:
            yield f"the parent fills {stream.split.key}, not {sorted(filled)}"
    if placeholders and not isinstance(stream.split, Parent | Sizes):
        yield f"nothing fills {sorted(placeholders)}"
    if operation.parameters.get("filter", {}).get("required") and not filters:
        yield "needs a filter"
    for operator, field in {each for text in filters for each in re.findall(r"([a-z-]+)\(([\w.-]+),", text)}:
        if operator not in operation.operators(field):
            yield f"no filter {operator}({field})"


@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_is_as_klaviyo_documents_it(name: str) -> None:
    assert list(endpoint_disagreements(ENDPOINTS[name])) == []


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_a_row_of_the_table_is_as_klaviyo_documents_it(stream: Stream) -> None:
    assert list(row_disagreements(stream, BY_NAME)) == []


LISTS, OPEN, CAMPAIGNS = BY_NAME["lists"], BY_NAME["open"], BY_NAME["campaigns"]
MEMBERS = Stream(
    name="list_members",
    endpoint=endpoints.LIST_MEMBERS,
    key=("list_id", "profile_id"),
    split=Parent("lists", "list_id"),
    id_field="profile_id",
)
FLOW_REPORT = BY_NAME["flow_values_report"]
FLOW_GROUPS = ("flow_id", "flow_message_id", "send_channel")
WRONG: Mapping[str, tuple[Stream, list[str]]] = {
    "path": (replace(LISTS, endpoint=replace(LISTS.endpoint, path="/api/list")), ["no GET /api/list"]),
    "method": (
        replace(LISTS, endpoint=replace(LISTS.endpoint, method="POST", path="/api/tags/{id}")),
        ["no POST /api/tags/{id}"],
    ),
    "revision": (replace(OPEN, endpoint=replace(OPEN.endpoint, revision=OMNICHANNEL)), ["no GET /api/events"]),
    "limit": (replace(LISTS, endpoint=replace(LISTS.endpoint, limit=XL)), ["limits (350, 3500), not (75, 750)"]),
    "daily limit": (
        replace(LISTS, endpoint=replace(endpoints.FORM_VALUES, limit=S)),
        ["limits (3, 60), not (1, 2, 225)", "no include tags"],
    ),
    "scope": (replace(LISTS, endpoint=replace(LISTS.endpoint, scopes=("list:read",))), ["scopes ('list:read',)"]),
    "page size": (replace(LISTS, endpoint=replace(LISTS.endpoint, page_size=100)), ["page size 100, not 10"]),
    "page size of an endpoint that takes none": (
        Stream(name="metrics", endpoint=replace(endpoints.METRICS, page_size=100)),
        ["page size 100, not None"],
    ),
    "sort": (replace(LISTS, endpoint=replace(LISTS.endpoint, sort="opt_in_process")), ["no sort opt_in_process"]),
    "missing sort": (
        replace(LISTS, endpoint=replace(LISTS.endpoint, sort=None)),
        ["not sorted, so that pages may shift"],
    ),
    "additional field": (
        replace(LISTS, endpoint=replace(LISTS.endpoint, additional={"profile_count": None})),
        ["additional fields of nothing", "no additional field profile_count"],
    ),
    "include": (replace(LISTS, related=(Related("tags", "profiles", "profile"),)), ["no include profiles"]),
    "column": (
        replace(LISTS, related=(Related("labels", "tags", "tag"),)),
        ["no column labels", "nothing fills the column tags"],
    ),
    "key": (replace(LISTS, key=("list_id",)), ["no column list_id"]),
    "range operator": (
        replace(LISTS, endpoint=replace(LISTS.endpoint, sort="updated"), range=TimeRange("updated", "greater-than")),
        ["no filter less-than(updated)"],
    ),
    "range field": (
        replace(OPEN, range=TimeRange("time")),
        ["no filter greater-or-equal(time)", "no filter less-than(time)", "sorted by datetime, not by time"],
    ),
    "filter": (replace(LISTS, split=Filters({"equals(archived,true)": {}})), ["no filter equals(archived)"]),
    "operator of a filter": (
        replace(CAMPAIGNS, split=Filters({'any(messages.channel,["email"])': {}})),
        ["no filter any(messages.channel)", "nothing fills the column channel"],
    ),
    "required filter": (replace(CAMPAIGNS, split=Whole()), ["needs a filter", "nothing fills the column channel"]),
    "parent": (
        Stream(name="form_versions", endpoint=endpoints.FORM_VERSIONS, split=Parent("formulas", "form_id")),
        ["no parent formulas"],
    ),
    "key of the parent": (
        replace(MEMBERS, split=Parent("lists", "id")),
        ["the parent fills id, not ['list_id']", "nothing fills the column list_id"],
    ),
    "conversion metric of a report": (
        replace(FLOW_REPORT, split=Report("flows", FLOW_GROUPS)),
        ["a conversion metric"],
    ),
    "group of a report": (
        replace(FLOW_REPORT, split=Report("flows", (*FLOW_GROUPS, "campaign_id"), has_conversions=True)),
        ["no group campaign_id"],
    ),
    "interval of a report": (
        replace(FLOW_REPORT, split=Report("flows", FLOW_GROUPS, is_series=True, has_conversions=True)),
        ["an interval"],
    ),
    "statistic of a report": (replace(FLOW_REPORT, key=FLOW_REPORT.key[1:]), ["the statistic flow_id"]),
    "subject of a report": (
        replace(FLOW_REPORT, split=Report("lists", FLOW_GROUPS, has_conversions=True)),
        ["not about lists"],
    ),
    "no parent": (
        replace(MEMBERS, split=Whole()),
        ["nothing fills ['list_id']", "nothing fills the column list_id"],
    ),
}


def test_a_row_of_members_that_is_right_passes() -> None:
    assert list(row_disagreements(MEMBERS, BY_NAME)) == []


@pytest.mark.parametrize("fault", WRONG)
def test_a_row_with_a_wrong_fact_is_found(fault: str) -> None:
    stream, expected = WRONG[fault]
    assert sorted(row_disagreements(stream, BY_NAME)) == sorted(expected)
