"""The grammar of filters, the checks that Klaviyo makes of them, and what they mean for a resource.

filter    = condition {"," condition}
condition = "and(" condition {"," condition} ")" | operator "(" field ["," value] ")"
value     = "text" | 'text' | [value, ...] | a bare word: number, true, false, date-time
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from tap_klaviyo.sandbox.endpoints import LIST_SUPPRESSIONS, SUPPRESSION, Endpoint, Filterable
from tap_klaviyo.sandbox.refusals import RefusalError, invalid_parameter

_HEAD = re.compile(r"([a-z-]+)\(")
_FIELD = re.compile(r"[A-Za-z_][\w.]*")
_TEXT = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""", re.DOTALL)
_WORD = re.compile(r"""[^,()\[\]"']+""")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# Operators that take a list, or nothing.
_SEVERAL = ("any", "contains-all", "contains-any", "equals", "has")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d)(:\d\d)?(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?)?")

Value = str | float | bool


@dataclass(frozen=True)
class Condition:
    """One condition; moments are epoch seconds. `any` and `equals` can have several values, `has` has none."""

    operator: str
    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class _Token:
    """A value as written."""

    text: str
    quoted: bool


def parse_filter(text: str, endpoint: Endpoint) -> tuple[Condition, ...]:
    """Return the conditions of a filter that the endpoint takes.

    Raises:
        RefusalError: as Klaviyo would refuse it.
    """
    found, end = _parse_conditions(text, 0, endpoint)
    if end != len(text):
        raise _malformed_filter()
    _check_together(found, endpoint)
    return tuple(found)


def _parse_conditions(text: str, at: int, endpoint: Endpoint) -> tuple[list[Condition], int]:
    found: list[Condition] = []
    while True:
        head = _HEAD.match(text, at)
        if head is None:
            raise _malformed_filter()
        if head[1] == "and":
            inner, at = _parse_conditions(text, head.end(), endpoint)
            found += inner
            at = _expect_char(")", text, at)
        else:
            condition, at = _parse_condition(head[1], text, head.end(), endpoint)
            found.append(condition)
        if text[at : at + 1] != ",":
            return found, at
        at += 1


def _parse_condition(operator: str, text: str, at: int, endpoint: Endpoint) -> tuple[Condition, int]:
    name = _FIELD.match(text, at)
    if name is None:
        raise _malformed_filter()
    at, tokens = name.end(), list[_Token]()
    if text[at : at + 1] == ",":
        tokens, at = _parse_values(text, at + 1)
    at = _expect_char(")", text, at)
    filterable = endpoint.filters.get(name[0])
    if filterable is None:
        raise invalid_parameter(f"'{name[0]}' is not a filterable field for the resource '{endpoint.type}'.", "filter")
    if operator not in filterable.operators:
        raise invalid_parameter(f"'{operator}' is not an allowed operator for the field '{name[0]}'.", "filter")
    if (filterable.kind == "none") != (not tokens) or (len(tokens) != 1 and operator not in _SEVERAL):
        raise _malformed_filter()
    return Condition(operator, name[0], tuple(_check_token(token, name[0], filterable) for token in tokens)), at


def _parse_values(text: str, at: int) -> tuple[list[_Token], int]:
    if text[at : at + 1] != "[":
        token, at = _parse_token(text, at)
        return [token], at
    tokens = []
    while text[at : at + 1] in ("[", ","):
        token, at = _parse_token(text, at + 1)
        tokens.append(token)
    return tokens, _expect_char("]", text, at)


def _parse_token(text: str, at: int) -> tuple[_Token, int]:
    if quoted := _TEXT.match(text, at):
        return _Token(_ESCAPED.sub(r"\1", quoted[0][1:-1]), True), quoted.end()
    if word := _WORD.match(text, at):
        return _Token(word[0], False), word.end()
    raise _malformed_filter()


def _expect_char(char: str, text: str, at: int) -> int:
    if text[at : at + 1] != char:
        raise _malformed_filter()
    return at + 1


def _malformed_filter() -> RefusalError:
    return invalid_parameter("Invalid filter provided.", "filter")


def _check_token(token: _Token, name: str, filterable: Filterable) -> Value:
    """Return a value of the field's kind."""
    kind, text = filterable.kind, token.text
    if kind == "moment":
        found = None if token.quoted else parse_moment(text)
        if found is None:
            raise invalid_parameter("Invalid filter provided. Verify your datetimes are not in quotes.", "filter")
        return found
    if (kind == "text") != token.quoted:
        raise _malformed_filter()
    if kind == "number" and _NUMBER.fullmatch(text):
        return float(text)
    if kind == "flag" and text in ("true", "false"):
        return text == "true"
    if kind != "text":
        raise _malformed_filter()
    if filterable.values and text not in filterable.values:
        known = ", ".join(filterable.values)
        raise invalid_parameter(f"'{name.rsplit('.', 1)[-1]}' must be one of: {known} (got {text})", "filter")
    return text


def parse_moment(text: str) -> float | None:
    """Return a date or date-time, in UTC where it says no zone, as epoch seconds; None if it is neither."""
    parts = _MOMENT.fullmatch(text)
    if parts is None:
        return None
    day, minute, second, fraction, zone = parts.groups()
    zone = "+00:00" if zone in (None, "Z") else zone
    try:
        found = datetime.fromisoformat(f"{day}T{minute or '00:00'}{second or ':00'}{zone}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
    return found.timestamp() + float(fraction or 0)


def _check_together(conditions: Sequence[Condition], endpoint: Endpoint) -> None:
    names = {condition.field for condition in conditions}
    of_lists = {name for name in names if name.startswith(LIST_SUPPRESSIONS)}
    if endpoint.required_filter and not names.intersection(endpoint.required_filter):
        raise missing_filter(endpoint)
    if of_lists and f"{LIST_SUPPRESSIONS}.list_id" not in names:
        raise invalid_parameter(f"'{LIST_SUPPRESSIONS}.list_id' is required to filter list suppressions.", "filter")
    if of_lists and any(name.startswith(f"{SUPPRESSION}.") for name in names):
        raise invalid_parameter("Global and list suppressions cannot be filtered together.", "filter")


def missing_filter(endpoint: Endpoint) -> RefusalError:
    """Return the refusal of a request without the filter that its endpoint requires."""
    names = " or ".join(f"'{name}'" for name in endpoint.required_filter)
    return invalid_parameter(f"A filter on {names} is required to list {endpoint.path.rsplit('/', 1)[1]}.", "filter")


_COMPARISONS: Mapping[str, Callable[[Any, tuple[Any, ...]], bool]] = {
    "equals": lambda own, given: own in given,
    "any": lambda own, given: own in given,
    "contains": lambda own, given: given[0] in own,
    "contains-any": lambda own, given: own in given,
    "starts-with": lambda own, given: own.startswith(given[0]),
    "ends-with": lambda own, given: own.endswith(given[0]),
    "greater-than": lambda own, given: own > given[0],
    "greater-or-equal": lambda own, given: own >= given[0],
    "less-than": lambda own, given: own < given[0],
    "less-or-equal": lambda own, given: own <= given[0],
}


def meets_condition(condition: Condition, own: object, endpoint: Endpoint) -> bool:
    """Return whether a resource's own value meets a condition.

    Null meets no condition. If the resource has several values, one is enough.
    """
    if condition.operator == "contains-all":
        return isinstance(own, tuple) and set(condition.values) <= set(own)
    if isinstance(own, tuple):
        return any(meets_condition(condition, each, endpoint) for each in own)
    if own is None:
        return False
    if endpoint.filters[condition.field].kind == "moment":
        own = parse_moment(str(own))
    return _COMPARISONS[condition.operator](own, condition.values)


def time_bounds(conditions: Sequence[Condition]) -> tuple[float, float]:
    """Return the conditions on time as one range in epoch seconds: low <= time < high, for whole seconds."""
    low, high = float("-inf"), float("inf")
    for condition in conditions:
        if condition.field in ("datetime", "timestamp"):
            second = float(condition.values[0])
            match condition.operator:
                case "greater-or-equal":
                    low = max(low, second)
                case "greater-than":
                    low = max(low, second // 1 + 1)
                case "less-than":
                    high = min(high, second)
                case _:
                    high = min(high, second // 1 + 1)
    return low, high
