"""Bodies to documents: what passes as it is, what is mended, what is refused."""

import pytest

from tap_klaviyo.klaviyo.jsonapi import MalformedError, error_detail, parse_page


def value_of(text: bytes) -> bytes:
    """Return an attribute's value after a body that holds it has been parsed."""
    body = b'{"data":[{"type":"event","id":"1","attributes":{"v":%b}}],"links":{"self":"x"}}' % text
    return bytes(parse_page(body).data[0].attributes).removeprefix(b'{"v":').removesuffix(b"}")


@pytest.mark.parametrize(
    "value",
    [
        b"123456789012345678901234567890",
        b"-0.10",
        b"1e400",
        b'{"a":{"b":[1,null]}}',
        '"\N{PARTY POPPER} \u20ac"'.encode(),
        rb'"\ud83c\udf89"',
        rb'"back\\u0000slash"',
        rb'"\"quoted\""',
    ],
)
def test_values_pass_as_they_came(value: bytes) -> None:
    assert value_of(value) == value


@pytest.mark.parametrize(
    ("value", "mended"),
    [
        (rb'"a\u0000b"', b'"ab"'),
        (rb'{"k\u0000":"\u0000"}', b'{"k":""}'),
        (rb'"\\\u0000"', rb'"\\"'),
        (rb'"cut \ud83c"', rb'"cut \ufffd"'),
        (rb'"\udf89 cut"', rb'"\ufffd cut"'),
        (rb'"\ud83c \ud83c\udf89 \\ud83c"', rb'"\ufffd \ud83c\udf89 \\ud83c"'),
        (b'{"a":\r\n1}', b'{"a":  1}'),
        (b'"\xff"', '"\ufffd"'.encode()),
    ],
)
def test_what_no_target_could_take_is_mended(value: bytes, mended: bytes) -> None:
    assert value_of(value) == mended


def test_relationships_of_each_kind() -> None:
    body = b"""{"data":[{"type":"event","id":"1","relationships":{"profile":{"data":{"type":"profile","id":"p"}},
        "campaign-message":{"data":{"type":"campaign-message","id":"m"}},"template":{"data":null},"lists":{"links":{}},
        "tags":{"data":[{"type":"tag","id":"t"}]},"image":{"links":{}},"flow":null}},{"type":"event","id":"2"}],
        "links":{"self":"s","next":null},"meta":{}}"""
    one, other = parse_page(body).data
    names = ("profile", "campaign_message", "template", "image", "flow", "event", "tags")
    assert [one.one(name) for name in names] == ["p", "m"] + [None] * 5
    assert [one.ids(name) for name in ("tags", "profile", "flow")] == [["t"], ["p"], []]
    assert (other.one("profile"), other.ids("tags")) == (None, [])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"data":[',
        b'{"data":[]}',
        b'{"data":{},"links":{"self":"x"}}',
        b'{"data":[{"id":1,"type":"event"}],"links":{"self":"x"}}',
        b'{"data":[{"type":"event","id":"1","attributes":{"v":' + b"[" * 100_000,
    ],
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_page(body)


def test_klaviyos_own_words() -> None:
    assert error_detail(b'{"errors":[{"detail":"a","id":"1"},{"detail":"a"},{"title":"b"}]}') == "a b"
    assert error_detail(b"<html>") == error_detail(b'{"message":"gone"}') == ""
