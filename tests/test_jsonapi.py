"""Bodies to documents: accepted, repaired, or refused."""

import json

import pytest
from msgspec import Raw, defstruct

from tap_klaviyo.klaviyo.jsonapi import (
    ErrorWords,
    MalformedError,
    PageDecoder,
    describe_body,
    parse_page,
    read_errors,
)
from tap_klaviyo.klaviyo.resources import UndeclaredRelationshipError, plain_resource, related_ids, typed_resource


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
    expected = {
        "profile": ["p"],
        "campaign-message": ["m"],
        "tags": ["t"],
        **{name: [] for name in ("template", "lists", "image", "flow", "event")},
    }
    data = parse_page(body, PageDecoder(plain_resource(expected))).data
    found = {name: [list(ids) for ids in related_ids(data, name)] for name in expected}
    assert found == {name: [ids, []] for name, ids in expected.items()}


@pytest.mark.parametrize("item", [b'{"id":"1","relationships":{"tags":{"data":null}}}', b'{"id":1}', b'{"id":"1"}'])
@pytest.mark.parametrize("declared", [(), ("profile",)])
def test_a_relationship_that_was_not_declared_raises_where_it_is_asked_for(item: bytes, declared: list[str]) -> None:
    page = parse_page(b'{"data":[%b],"included":[%b]}' % (item, item), PageDecoder(*[plain_resource(declared)] * 2))
    for resources in (page.data, page.included):
        with pytest.raises(UndeclaredRelationshipError, match='"tags" is not declared'):
            related_ids(resources, "tags")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"errors":[]}',
        b'{"data":[',
        b'{"data":null}',
        b'{"data":{},"links":{"self":"x"}}',
        b'{"data":[],"links":{"next":5}}',
        b'{"data":[]}{}',
        b'{"data":[{"type":"event","id":"1","attributes":{"v":' + b"[" * 100_000,
    ],
)
def test_only_a_body_that_is_not_a_collection_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_page(body)


EVENT = b'{"type":"event","id":"1"}'


@pytest.mark.parametrize(
    ("links", "following"),
    [
        (b"", None),
        (b',"links":null', None),
        (b',"links":[]', None),
        (b',"links":{}', None),
        (b',"links":{"next":null}', None),
        (b',"links":{"next":""}', None),
        *((b',"links":{"next":%b}' % empty, None) for empty in (b"false", b"{}", b"[]", b"0", b'{"href":false}')),
        (b',"links":{"self":5,"next":"n"}', "n"),
        (b',"links":{"next":{"href":"n"}}', "n"),
        (b',"links":{"next":{"href":""}}', None),
        (b',"links":{"next":""},"included":null', None),
        (b',"links":{"next":"first","next":"n"}', "n"),
    ],
)
def test_links_of_odd_shape_name_the_next_page_or_none(links: bytes, following: str | None) -> None:
    page = parse_page(b'{"data":[%b]%b}' % (EVENT, links))
    assert (len(page.data), page.next, page.set_aside) == (1, following, {})
    assert page.has_links == (b"{" in links)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (b'{"id":5,"type":"event"}', "5"),
        (b'{"id":-5.0,"type":"event"}', "-5.0"),
        (b'{"id":"a","type":null}', "a"),
        (b'{"id":"a"}', "a"),
        (b'{"id":null,"id":"a"}', "a"),
        (b'{"id":"a","attributes":null,"relationships":[]}', "a"),
        (b'{"id":"a","attributes":[],"relationships":"x"}', "a"),
        (b'{"id":"a","relationships":{"profile":[],"tags":5}}', "a"),
    ],
)
def test_an_item_needs_an_id_and_nothing_else(item: bytes, expected: str) -> None:
    page = parse_page(b'{"data":[%b,%b],"included":[%b]}' % (item, EVENT, item))
    assert [each.id for each in page.data] == [expected, "1"]
    assert [each.id for each in page.included] == [expected]
    assert not page.set_aside


@pytest.mark.parametrize("item", [b"null", b"[]", b"{}", b'{"id":null}', b'{"id":""}', b'{"id":true}', b'{"id":{}}'])
def test_an_item_without_an_id_is_set_aside_and_costs_no_other(item: bytes) -> None:
    page = parse_page(b'{"data":[%b,%b],"included":[%b,%b]}' % (item, EVENT, EVENT, item))
    assert [each.id for each in page.data + page.included] == ["1", "1"]
    assert page.set_aside == {"data": 1, "included": 1}


@pytest.mark.parametrize(("included", "set_aside"), [(b"null", {}), (b"{}", {"included": 1}), (b"5", {"included": 1})])
def test_included_that_is_not_an_array_costs_no_row(included: bytes, set_aside: dict[str, int]) -> None:
    page = parse_page(b'{"data":[%b],"included":%b}' % (EVENT, included))
    assert ([each.id for each in page.data], page.included, page.set_aside) == (["1"], [], set_aside)


@pytest.mark.parametrize(
    ("relationship", "ids"),
    [
        (b'{"data":[{"id":"a"},null,{"id":null},{"id":7},"x"]}', ["a", "7"]),
        (b'{"data":{"id":7}}', ["7"]),
        (b'{"data":{"type":"tag"}}', []),
        (b'{"data":"a"}', []),
        (b'{"data":5}', []),
        (b"[]", []),
        (b"null", []),
    ],
)
def test_a_relationship_of_odd_shape_has_the_ids_that_can_be_read(relationship: bytes, ids: list[str]) -> None:
    body = b'{"data":[{"id":"1","type":"list","relationships":{"tags":%b,"campaign-messages":{"data":[{"id":"m"}]}}}]}'
    data = parse_page(body % relationship, PageDecoder(plain_resource(("tags", "campaign-messages")))).data
    assert [list(*related_ids(data, name)) for name in ("tags", "campaign-messages")] == [ids, ["m"]]


def test_a_byte_order_mark_is_not_part_of_the_page() -> None:
    assert len(parse_page(b'\xef\xbb\xbf{"data":[%b]}' % EVENT).data) == 1


def test_nan_and_infinity_become_null_and_are_counted_outside_of_texts_only() -> None:
    value = b'[NaN,-Infinity,Infinity,"NaN \\" Infinity",1]'
    page = parse_page(b'{"data":[{"id":"1","attributes":{"v":%b}},%b]}' % (value, EVENT))
    assert bytes(page.data[0].attributes) == b'{"v":[null,null,null,"NaN \\" Infinity",1]}'
    assert (len(page.data), page.changed) == (2, {"NaN or Infinity": 3})


# How deep the decoder goes depends on the Python: 3.13 reads 5,000 levels, and no version reads 100,000.
@pytest.mark.parametrize("depth", [50_000, 100_000])
def test_values_nested_too_deep_become_text_and_cost_no_row(depth: int) -> None:
    value = b'["]",' * depth + b'"\\"x"' + b"]" * depth
    page = parse_page(b'{"data":[{"id":"1","attributes":{"v":%b,"w":[[1]]}},%b]}' % (value, EVENT))
    kept = json.loads(bytes(page.data[0].attributes))
    assert (len(page.data), kept["w"], page.changed.total()) == (2, [[1]], 1)
    level = kept["v"]
    while isinstance(level, list):
        level = level[-1]
    assert value.decode().endswith(level + "]" * (depth - level.count("[")))


def test_a_body_is_mended_of_all_that_it_has() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    body = rb'{"data":[{"id":"1","attributes":{"a":NaN,"b":"\ud83c","c":%b}}]}' % deep
    page = parse_page(body)
    assert bytes(page.data[0].attributes).startswith(rb'{"a":null,"b":"\ufffd"')
    assert page.changed.total() == 2


@pytest.mark.parametrize("value", [rb'"\ud83c"', b"NaN", b"[" * 100_000 + b"]" * 100_000])
@pytest.mark.parametrize("odd", [b'{"id":5}', b'{"id":"1","type":7}', b'{"id":null}', b'"x"'])
def test_an_odd_item_before_a_value_that_has_to_be_mended_costs_no_row(odd: bytes, value: bytes) -> None:
    page = parse_page(b'{"data":[%b,{"id":"2","attributes":{"a":%b}}],"links":{"next":null}}' % (odd, value))
    assert page.data[-1].id == "2"
    assert page.data[-1].attributes


def test_klaviyos_own_words() -> None:
    found = read_errors(b'{"errors":[{"detail":"a","id":"1"},{"detail":"a"},{"title":"b"}]}')
    assert found == ErrorWords("a b", "1")
    assert read_errors(b"<html>") == read_errors(b'{"message":"gone"}') == ErrorWords()


def test_an_odd_item_keeps_its_type_and_attributes() -> None:
    page = parse_page(b'{"data":[{"id":5,"type":"list","attributes":{"a":1}}],"links":{"next":null}}')
    (item,) = page.data
    assert (item.id, item.type, bytes(item.attributes)) == ("5", "list", b'{"a":1}')


def test_klaviyos_words_are_one_short_line() -> None:
    assert read_errors(b'{"errors":[{"detail":"No\\n such  list.","id":"1 2"}]}') == ErrorWords("No such list.", "12")
    assert len(read_errors(b'{"errors":[{"detail":"%b"}]}' % (b"x" * 5000)).detail) == 1000
    assert read_errors(b'{"errors":[{"detail":"caf\xe9"}]}').detail == "caf\ufffd"


def test_an_odd_included_resource_has_the_relationships_of_its_type() -> None:
    body = b"""{"data":[],"links":{},"included":[{"id":5,"type":"campaign-message","attributes":{},
        "relationships":{"template":{"data":{"type":"template","id":"t"}}}}]}"""
    decoder = PageDecoder(plain_resource(()), plain_resource(["template"], "campaign-message"))
    assert related_ids(parse_page(body, decoder).included, "template") == [("t",)]


def test_an_included_resource_of_another_type_keeps_its_type() -> None:
    body = b'{"data":[],"links":{},"included":[{"id":"1","type":"tag","attributes":{"name":"a"}}]}'
    profile = typed_resource(defstruct("Profile", [("name", Raw, Raw(b"null"))]), "profile")
    assert [each.type for each in parse_page(body, PageDecoder(plain_resource(()), profile)).included] == ["tag"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"errors":[{"detail":"The gateway is closed."}]}', "it says: The gateway is closed."),
        (
            b" <!DOCTYPE html><HEAD><Title lang=en>Sign  in\n\x1b to &amp; use Wi-Fi</title>",
            'a web page titled "Sign in to & use Wi-Fi"',
        ),
        (b"<html><body>Hello</body></html>", "a web page"),
        (b'{"data":{}}', ""),
        (b"\x8b\x02\x80<title>no</title>", ""),
        (b"", ""),
    ],
)
def test_a_body_that_is_no_page_is_described(body: bytes, words: str) -> None:
    assert describe_body(body) == words
