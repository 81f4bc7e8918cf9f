"""The --select option: what its names select, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tap_klaviyo.errors import ConfigError
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.singer.selection import Selection, read_catalog
from tap_klaviyo.streams.table import STREAMS

CHOICES = ("core", "all", "core,lists", "!open")
EVENT_STREAMS = {stream.name for stream in STREAMS if stream.metric_names}


def selected(names: str) -> dict[str, Selection]:
    catalog = select_by_names(discover_catalog(), names)
    return {each.stream.name: each for each in read_catalog(catalog)}


def defaults() -> dict[str, Any]:
    return {each.stream.name: each.fields for each in read_catalog(discover_catalog())}


@pytest.mark.parametrize("names", ["core", "open , core", "*", "!lists,lists,*", "core,"])
def test_core_and_patterns_select_streams_with_their_default_fields(names: str) -> None:
    expected = {name: fields for name, fields in defaults().items() if "!" not in names or name != "lists"}
    assert {name: each.fields for name, each in selected(names).items()} == expected


def test_core_leaves_out_fields_that_are_off_by_default_and_all_does_not() -> None:
    catalog = discover_catalog()
    (lists,) = [entry for entry in catalog["streams"] if entry["stream"] == "lists"]
    lists["metadata"][0]["metadata"]["selected-by-default"] = False
    assert lists["metadata"][0]["breadcrumb"] == []
    found = {names: read_catalog(select_by_names(catalog, names)) for names in CHOICES}
    streams = {names: {each.stream.name for each in selections} for names, selections in found.items()}
    assert streams["core"] == streams["all"] - {"lists"}
    assert streams["!open"] == streams["core"] - {"open"}
    assert streams["all"] == streams["core,lists"] == set(defaults())


def test_names_after_an_exclamation_mark_are_left_out_wherever_they_are() -> None:
    assert set(selected("!*_sms,*_email,*_sms,open,!*automated*")) == {"dropped_email", "open"}
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
    assert set(fields) == EVENT_STREAMS | {"lists"}


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
