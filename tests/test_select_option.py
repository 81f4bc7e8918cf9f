"""The --select option: what its names select, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tap_klaviyo.errors import ConfigError
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.singer.selection import Selection, read_catalog
from tap_klaviyo.streams.table import GROUPS, STREAMS

EVENT_STREAMS = {stream.name for stream in STREAMS if stream.metric_names}


def selected(names: str) -> dict[str, Selection]:
    catalog = select_by_names(discover_catalog(), names)
    return {each.stream.name: each for each in read_catalog(catalog)}


def defaults() -> dict[str, Any]:
    return {each.stream.name: each.fields for each in read_catalog(discover_catalog())}


def every() -> set[str]:
    return {stream.name for stream in STREAMS}


@pytest.mark.parametrize("names", ["core", "open , core", "core,!lists,lists", "core,"])
def test_core_selects_streams_with_their_default_fields(names: str) -> None:
    expected = {name: fields for name, fields in defaults().items() if "!" not in names or name != "lists"}
    assert {name: each.fields for name, each in selected(names).items()} == expected


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_selects_its_streams(group: str) -> None:
    assert set(selected(group)) == {stream.name for stream in STREAMS if stream.group == group}


def test_all_and_a_star_select_every_stream() -> None:
    assert set(selected("all")) == set(selected("*")) == every()
    assert set(selected("all,!shop,!audience,!l*")) == {
        stream.name for stream in STREAMS if stream.group not in ("shop", "audience") and stream.name[0] != "l"
    }
    assert set(selected("!open")) == set(defaults()) - {"open"}


def test_names_after_an_exclamation_mark_are_left_out_wherever_they_are() -> None:
    assert set(selected("!*_sms,*_email,*_sms,open,!*automated*")) == {"dropped_email", "open", "subscribed_to_email"}
    assert set(selected("!lists,!campaigns")) == set(defaults()) - {"lists", "campaigns"}


def test_a_field_left_out_of_all_streams_that_have_it() -> None:
    for name, selection in selected("core,!*.profile.email,!*.tags").items():
        assert "tags" not in selection.fields
        if name in EVENT_STREAMS:
            profile = selection.fields["profile"]
            assert profile is not None
            assert profile.keys() == (defaults()[name]["profile"] or {}).keys() - {"email"}


def test_a_field_adds_to_the_defaults_of_a_stream_that_is_selected_too() -> None:
    fields = selected("open,open.attributions.flow_id,open.profile.email")["open"].fields
    assert fields == {**defaults()["open"], "attributions": {"flow_id": None}}


def test_only_the_named_fields_and_the_automatic_ones() -> None:
    fields = {name: each.fields for name, each in selected("*.profile.location.c*,lists.name,open.metric").items()}
    place = {"profile": {"location": {"city": None, "country": None}}}
    assert fields["click"] == {"id": None, "timestamp": None, **place}
    assert fields["lists"] == {"id": None, "name": None}
    assert fields["open"] == {"id": None, "timestamp": None, **place, "metric": defaults()["open"]["metric"]}
    events = {stream.name for stream in STREAMS if stream.schema_name == "event"}
    assert set(fields) == events | {"lists"}


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("", 'names no stream; try --select "open,click.profile"'),
        (" , ", "names no stream"),
        ("!", 'unknown stream ""'),
        ("opens", 'unknown stream "opens"; did you mean "open"?'),
        ("Lists", 'unknown stream "Lists"; did you mean "lists"?'),
        ("Opened Email", 'unknown stream "Opened Email"; did you mean "open"?'),
        ("opened_email", 'unknown stream "opened_email"; did you mean "open"?'),
        ("received text mesage", 'did you mean "received_sms"?'),
        ("cores", 'did you mean "core"?'),
        ("zzz*", 'unknown stream "zzz*".'),
        ("open,!clicks", 'unknown stream "clicks"; did you mean "click"?'),
        ("open.profil", 'unknown field "profil" in open; did you mean "profile"?'),
        ("open.profile.mail", 'unknown field "mail" in open.profile; did you mean "email"?'),
        ("*.profile.Email", 'unknown field "Email" in any of these streams.profile; did you mean "email"?'),
        ("open.id.x", 'unknown field "x" in open.id.'),
        ("open.", 'unknown field "" in open'),
        ("core,!lists.nam", 'unknown field "nam" in lists; did you mean "name"?'),
        ("open,!open.id", "open.id is always emitted"),
        ("open,!open", "leaves no stream"),
        ("!*", "leaves no stream"),
    ],
)
def test_wrong_names_are_refused(names: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"--select.*{re.escape(sentence)}"):
        selected(names)
