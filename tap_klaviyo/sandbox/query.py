"""The parameters of a request, checked at least as strictly as Klaviyo checks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tap_klaviyo.sandbox import filters
from tap_klaviyo.sandbox.endpoints import Endpoint
from tap_klaviyo.sandbox.filters import Condition
from tap_klaviyo.sandbox.refusals import RefusalError, invalid_parameter


@dataclass(frozen=True)
class Query:
    """What a request asks of an endpoint.

    `fields` holds the sparse fieldsets by resource type; `size` is the page size, or None to get everything at once.
    """

    endpoint: Endpoint
    conditions: tuple[Condition, ...]
    include: frozenset[str]
    fields: Mapping[str, frozenset[str]]
    sort: str
    descending: bool
    size: int | None
    cursor: str | None
    additional: tuple[str, ...]


def parse_query(endpoint: Endpoint, parameters: Sequence[tuple[str, str]]) -> Query:
    """Return the query that the parameters make.

    Raises:
        RefusalError: a parameter is unknown, is given twice, or has a value that the endpoint does not take.
    """
    given = dict(parameters)
    if len(given) < len(parameters):
        raise invalid_parameter("A parameter may be given only once.", "query")
    for name in given:
        _check_known(endpoint, name)
    sort, descending = _parse_sort(endpoint, given.get("sort"))
    conditions = _parse_conditions(endpoint, given.get("filter"))
    if endpoint.sort_follows_filter and "sort" in given:
        _check_sort(endpoint, conditions, sort)
    return Query(
        endpoint,
        conditions,
        frozenset(_parse_names(given, "include", endpoint.include, endpoint)),
        {
            kind: frozenset(_parse_fields(given, kind, endpoint))
            for kind in endpoint.fields
            if f"fields[{kind}]" in given
        },
        sort,
        descending,
        _parse_size(endpoint, given.get("page[size]")),
        given.get("page[cursor]"),
        tuple(_parse_names(given, f"additional-fields[{endpoint.type}]", endpoint.additional, endpoint)),
    )


def _check_known(endpoint: Endpoint, name: str) -> None:
    known = {f"fields[{kind}]" for kind in endpoint.fields}
    known |= {"filter"} if endpoint.filters else set()
    known |= {"include"} if endpoint.include else set()
    known |= {"sort"} if endpoint.sort else set()
    known |= {"page[cursor]"} if endpoint.cursor else set()
    known |= {f"additional-fields[{endpoint.type}]"} if endpoint.additional else set()
    if name == "page[size]" and endpoint.sizes is None:
        detail = f"'page_size' is not a valid field for the resource '{endpoint.type}'."
        raise RefusalError("invalid", detail, pointer="/data/attributes/page_size")
    if name not in known and name != "page[size]":
        raise invalid_parameter(f"'{name}' is not an allowed parameter for this resource.", name)


def _parse_conditions(endpoint: Endpoint, text: str | None) -> tuple[Condition, ...]:
    if text is None:
        if endpoint.required_filter:
            raise filters.missing_filter(endpoint)
        return ()
    return filters.parse_filter(text, endpoint)


def _parse_sort(endpoint: Endpoint, text: str | None) -> tuple[str, bool]:
    """Return the field to sort by, and whether the order is descending."""
    asked = endpoint.default_sort if text is None else text
    name = asked.removeprefix("-")
    if text is not None and name not in endpoint.sort:
        raise invalid_parameter(f"'{text}' is not an allowed sort parameter for this resource.", "sort")
    return name, asked.startswith("-")


def _check_sort(endpoint: Endpoint, conditions: Sequence[Condition], sort: str) -> None:
    dates = {each.field for each in conditions if endpoint.filters[each.field].kind == "moment"}
    if dates - {sort}:
        raise invalid_parameter("If a date filter is provided, sort field must also match or be omitted.", "sort")


def _parse_names(given: Mapping[str, str], name: str, allowed: Sequence[str], endpoint: Endpoint) -> list[str]:
    if name not in given:
        return []
    names = given[name].split(",")
    for each in names:
        if each not in allowed:
            parameter = name.partition("[")[0]
            raise invalid_parameter(f"'{each}' is not an allowed {parameter} parameter for this resource.", name)
    return names


def _parse_fields(given: Mapping[str, str], kind: str, endpoint: Endpoint) -> list[str]:
    allowed, names = endpoint.fields[kind], given[f"fields[{kind}]"].split(",")
    for each in names:
        if each not in allowed and f"{each.rpartition('.')[0].partition('.')[0]}.*" not in allowed:
            raise invalid_parameter(f"'{each}' is not a valid field for the resource '{kind}'.", f"fields[{kind}]")
    return names


def _parse_size(endpoint: Endpoint, text: str | None) -> int | None:
    if endpoint.sizes is None:
        return endpoint.fixed_size
    usual, largest = endpoint.sizes
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= largest):
        detail = f"Page size must be an integer between 1 and {largest}."
        raise RefusalError("invalid", detail, parameter="page[size]")
    return int(text)
