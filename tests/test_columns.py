"""Single JSON values: decoded, made to fit a column's type, and what of that is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import Raw

from tap_klaviyo.klaviyo.json_values import decode_array, decode_integer, decode_object, decode_text
from tap_klaviyo.records.columns import column_of
from tap_klaviyo.records.dates import to_utc
from tests.running import host_in


@pytest.mark.parametrize(
    ("value", "cut", "is_remarkable"),
    [
        ('"abc"', '"abc"', False),
        ('"abcd"', '"abc"', True),
        ('"\\u00e9t\\u00e9s"', '"été"', True),
        ('"\\u00e9t\\u00e9"', '"\\u00e9t\\u00e9"', False),
        ("12345", '"123"', True),
        ("null", "null", False),
    ],
)
def test_a_text_is_cut_to_the_length_of_its_column_and_counted(value: str, cut: str, is_remarkable: bool) -> None:
    column = column_of({"type": ["null", "string"], "maxLength": 3})
    fitted, counted = column.fit(Raw(value.encode()))
    assert (bytes(fitted).decode(), counted) == (cut, is_remarkable)


@pytest.mark.parametrize(
    ("definition", "value", "fitted"),
    [
        ({"type": ["null", "array"], "items": {"type": "integer"}}, '["1", 2, "x"]', "[1,2,null]"),
        ({"type": ["null", "array"], "items": {"type": "string"}}, "5", '["5"]'),
        ({"type": ["null", "array"]}, '[1, "a"]', '[1, "a"]'),
        ({"type": ["null", "object"]}, "5", "null"),
        ({"type": ["null", "number"]}, '"1.50"', "1.50"),
        ({"type": ["null", "integer"]}, "1.5", "null"),
        ({}, '{"a": 1}', '{"a": 1}'),
    ],
)
def test_a_value_becomes_what_its_column_holds(definition: dict[str, Any], value: str, fitted: str) -> None:
    assert bytes(column_of(definition).fit(Raw(value.encode()))[0]).decode() == fitted


@pytest.fixture
def host_in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the host be in another time zone than Klaviyo, as far as the system can do that."""
    with host_in("America/New_York", monkeypatch):
        yield


@pytest.mark.usefixtures("host_in_new_york")
@pytest.mark.parametrize("text", ["2026-07-01T12:00:00", "2026-07-01 12:00", "2026-07-01T14:00:00+02:00"])
def test_a_date_means_the_same_wherever_the_host_is(text: str) -> None:
    assert bytes(to_utc(Raw(f'"{text}"'.encode()))) == b'"2026-07-01T12:00:00+00:00"'


@pytest.mark.parametrize(
    ("decode", "value", "found"),
    [
        (decode_object, Raw(b'{"a": 1}'), {"a": Raw(b"1")}),
        (decode_object, Raw(b"null"), None),
        (decode_object, Raw(b'{"a": ' * 200_000 + b"1" + b"}" * 200_000), None),
        (decode_object, {"a": 1}, None),
        (decode_array, Raw(b"[1, 2]"), [Raw(b"1"), Raw(b"2")]),
        (decode_array, Raw(b'{"a": 1}'), None),
        (decode_text, Raw(b'"a"'), "a"),
        (decode_text, '"a"', None),
        (decode_text, Raw(b"no JSON"), None),
        (decode_integer, Raw(b"5"), 5),
        (decode_integer, Raw(b'"5"'), None),
        (decode_integer, "5", None),
        (decode_integer, Raw(b"5.5"), None),
    ],
)
def test_a_json_value_is_decoded_only_if_it_has_the_type(
    decode: Callable[[object], object], value: object, found: object
) -> None:
    assert decode(value) == found
