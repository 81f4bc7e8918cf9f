"""The type of a column, and the conversion of values that do not fit it; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from tap_klaviyo.klaviyo.json_values import NULL, decode_array, decode_text
from tap_klaviyo.records.dates import to_utc

_KINDS = {b'"': "string", b"{": "object", b"[": "array", b"n": "null", b"t": "boolean", b"f": "boolean"}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"(-?)0*(\d{1,100})(?:\.0+)?", re.ASCII)
# A Struct checks these types while it decodes. All other columns stay bytes, and are checked page by page.
_DECODED: Mapping[frozenset[str], Any] = {
    frozenset({"string"}): str | None,
    frozenset({"boolean"}): bool | None,
    frozenset({"integer"}): int | None,
}


@dataclass(frozen=True)
class Column:
    """The schema of a value without fields.

    Args:
        types: the JSON types that are allowed besides null. Empty allows all types.
        is_date: whether text must be a date-time.
        items: the schema of the items of an array. None allows any items.
        takes_numbers: whether Klaviyo documents numbers as well as text. Numbers then become text without a report.
        is_loose: whether values of other types were seen. A Struct then does not check the type while it decodes.
        max_length: the maximum number of characters. Longer text is cut. None allows any length.
    """

    types: frozenset[str]
    is_date: bool = False
    items: Column | None = None
    takes_numbers: bool = False
    is_loose: bool = False
    max_length: int | None = None

    @cached_property
    def decoded_as(self) -> Any:
        """The type that a Struct decodes the value as. With `Raw`, the value stays bytes."""
        if self.is_loose or self.is_date or self.takes_numbers:
            return Raw
        if self.types == {"array"} and self.items and self.items.decoded_as is not Raw:
            return list[self.items.decoded_as] | None  # type: ignore[name-defined]
        if self.max_length is not None:
            return Annotated[str, Meta(max_length=self.max_length)] | None
        return _DECODED.get(self.types, Raw)

    def fit(self, value: Raw) -> tuple[Raw, bool]:
        """Return a JSON value that fits the column, and whether to report a change of its type, date or length.

        In a text column, a scalar or structure becomes its JSON text. In other columns, text such as "5" or "true"
        becomes a number or boolean, and a single value becomes an array with one item. Anything else becomes null.
        """
        text = bytes(value).decode()
        kind = _KINDS.get(text[:1].encode(), "number")
        if kind == "null" or not self.types:
            return value, False
        if kind == "string" and self.is_date and "string" in self.types:
            date = to_utc(value)
            return date, date is NULL
        if kind == "array" and "array" in self.types:
            return self._fit_items(value)
        if self.max_length is not None and len(found := decode_text(value) or text) > self.max_length:
            return Raw(msgspec.json.encode(found[: self.max_length])), True
        if kind in self.types or (kind == "number" and "integer" in self.types and text.lstrip("-").isdecimal()):
            return value, False
        return self._converted(value, text, kind), not (self.takes_numbers and kind == "number")

    def _converted(self, value: Raw, text: str, kind: str) -> Raw:
        spelled = decode_text(value) if kind == "string" else text
        if "string" in self.types:
            return to_utc(value) if self.is_date else Raw(msgspec.json.encode(text))
        if "integer" in self.types and (found := _INTEGER.fullmatch(spelled or "")):
            return Raw((found[1] + found[2]).encode())
        if "number" in self.types and _NUMBER.fullmatch(spelled or ""):
            return Raw((spelled or "").encode())
        if "boolean" in self.types and spelled in ("true", "false"):
            return Raw(spelled.encode())
        if "array" in self.types:
            return self._fit_items(Raw(b"[%b]" % bytes(value)))[0]
        return NULL

    def _fit_items(self, value: Raw) -> tuple[Raw, bool]:
        if self.items is None:
            return value, False
        fitted = [self.items.fit(each) for each in decode_array(value) or []]
        if any(is_changed for _, is_changed in fitted) or self.items.is_date:
            return Raw(b"[%b]" % b",".join(item for item, _ in fitted)), any(is_changed for _, is_changed in fitted)
        return value, False


def column_of(definition: Mapping[str, Any], takes_numbers: bool = False, is_loose: bool = False) -> Column:
    """Return the column that a JSON schema defines."""
    types = definition.get("type", [])
    named = frozenset([types] if isinstance(types, str) else types) - {"null"}
    items = definition.get("items")
    return Column(
        named,
        is_date=definition.get("format") == "date-time",
        items=column_of(items) if isinstance(items, Mapping) else None,
        takes_numbers=takes_numbers and named == {"string"} and "maxLength" not in definition,
        is_loose=is_loose,
        max_length=definition.get("maxLength"),
    )
