"""Validates exchanges with Klaviyo against its OpenAPI document, by openapi-core.

    python -m tests.openapi.validate stable.json < exchanges.jsonl

Each line of stdin is an exchange: {"method", "url", "request_headers", "status", "response_headers", "body"}, for a
POST with "request_body" too.
Stdout is a JSON list of violations: {"exchange", "part", "problem"}. The exchange is the number of its
line, from 0, and the part is request or response.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jsonschema.exceptions import ValidationError
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from tests.openapi.document import fit

HOST = "https://a.klaviyo.com"
_LONGEST = 400
_TEXT = re.compile(r"""(["'])(?:\\.|(?!\1).)*\1""")
_CONDITION = re.compile(r"([a-z-]+)\(([\w.]+)(?:,([^()]*))?\)")

Exchange = dict[str, Any]
Operation = dict[str, Any]


def main() -> None:
    """Read exchanges from stdin, write violations to stdout."""
    with open(sys.argv[1], encoding="utf-8") as file:
        document = json.load(file)
    json.dump(violations(document, [json.loads(line) for line in sys.stdin]), sys.stdout)


def violations(document: dict[str, Any], exchanges: list[Exchange]) -> list[dict[str, Any]]:
    """Return what the document forbids in the exchanges."""
    paths = {_template(exchange["url"], document["paths"]) for exchange in exchanges} & document["paths"].keys()
    contract = fit(document, sorted(paths))
    openapi = OpenAPI.from_dict(contract)
    return [
        {"exchange": number, "part": part, "problem": problem}
        for number, exchange in enumerate(exchanges)
        for part, problem in _problems(openapi, contract["paths"], exchange)
    ]


def _problems(openapi: OpenAPI, paths: dict[str, Any], exchange: Exchange) -> Iterator[tuple[str, str]]:
    path = _template(exchange["url"], paths)
    if path not in paths:
        yield "request", f"The document has no path {path}."
        return
    request = _request(exchange)
    response = MockResponse(
        exchange["body"].encode(),
        status_code=exchange["status"],
        headers=exchange["response_headers"],
        content_type=_header(exchange["response_headers"], "content-type"),
    )
    (operation,) = paths[path].values()
    for problem in _unknown(request, operation):
        yield "request", problem
    for problem in _in_words(openapi.iter_request_errors(request)):
        yield "request", problem
    for problem in _in_words(openapi.iter_response_errors(request, response)):
        yield "response", problem


def _template(url: str, paths: Iterable[str]) -> str:
    """Return the path of the document that a URL's path fits, or the path itself if none does."""
    path = urlsplit(url).path
    fitting = (
        each for each in paths if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", re.sub(r"([.])", r"\\\1", each)), path)
    )
    return path if path in paths else next(fitting, path)


def _request(exchange: Exchange) -> MockRequest:
    url = urlsplit(exchange["url"])
    # A "+" that is not encoded is a space, and so an error in date-times.
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    headers = exchange["request_headers"]
    return MockRequest(
        HOST,
        exchange["method"],
        url.path,
        args=query,
        headers=headers,
        data=exchange.get("request_body", "").encode() or None,
        content_type=_header(headers, "content-type") or "application/json",
    )


def _header(headers: dict[str, str], wanted: str) -> str:
    return next((value for name, value in headers.items() if name.lower() == wanted), "")


def _unknown(request: MockRequest, operation: Operation) -> Iterator[str]:
    """Yield what openapi-core does not look for: unknown parameters, and unknown conditions in filters."""
    known = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
    query = request.parameters.query
    for name in query:
        if name not in known:
            yield f"The parameter {name} is unknown."
    if "filter" in query:
        yield from _wrong_conditions(query["filter"], operation.get("x-klaviyo-filters", {}))


def _wrong_conditions(text: str, filters: dict[str, Any]) -> Iterator[str]:
    conditions = _CONDITION.findall(_TEXT.sub('""', text))
    if not conditions:
        yield f"The filter {text} has no condition."
    for operator, field, value in conditions:
        known = filters.get(field, {"operators": {}})
        if operator not in {name for names in known["operators"].values() for name in names}:
            yield f"The filter {text} has a condition that the endpoint does not take: {operator}({field})."
        elif value and value[0] != "[" and (value == '""') != _is_text(known["value"]):
            yield f"The filter {text} has a value for {field} in the wrong quotes."


def _is_text(value: dict[str, str]) -> bool:
    return value["type"] == "string" and value.get("format") != "date-time"


def _in_words(errors: Iterable[Exception]) -> Iterator[str]:
    """Yield one line for each error."""
    for error in errors:
        schema_errors = getattr(error.__cause__, "schema_errors", ())
        if not schema_errors:
            yield f"{error}: {error.__cause__}"[:_LONGEST]
        for each in schema_errors:
            cause = _cause(each)
            yield f"{'/'.join(map(str, cause.absolute_path))}: {cause.message}"[:_LONGEST]


def _cause(error: ValidationError) -> ValidationError:
    """Return the error in the nearest alternative: the one with the innermost, then fewest errors."""
    while error.context:
        alternatives = defaultdict(list)
        for each in error.context:
            alternatives[each.schema_path[0]].append(each)
        error = min(alternatives.values(), key=lambda errors: (-max(len(each.path) for each in errors), len(errors)))[0]
    return error


if __name__ == "__main__":
    main()
