"""What --about says of settings and streams."""

from __future__ import annotations

import json

import pytest

from tap_klaviyo.about import as_json, as_markdown, as_text, settings_table, streams_table
from tap_klaviyo.config import SETTINGS
from tap_klaviyo.display import fitted_table
from tap_klaviyo.streams.table import GROUPS, STREAMS


def test_a_program_learns_which_settings_are_secret_and_what_they_default_to() -> None:
    settings = {each["name"]: each for each in json.loads(as_json())["settings"]}
    assert {name for name, each in settings.items() if each["sensitive"]} == {
        each.name for each in SETTINGS if each.secret
    }
    assert settings["api_key"]["sensitive"]
    assert settings["api_key"]["aliases"] == ["auth_token"]
    assert settings["activate_version"]["default"] is True


def test_a_setting_has_its_other_names_and_its_default_in_the_table() -> None:
    rows = {line.split("|")[1].strip(): line.split("|")[3].strip() for line in settings_table().splitlines()[2:]}
    assert rows["`api_key` or `auth_token`"] == "required, or OAuth"
    assert rows["`start_date`"] == "required"
    assert rows["`end_date`"] == ""
    assert rows["`activate_version`"] == "`true`"
    defaults = [each for each in SETTINGS if each.default is not None and not each.required]
    assert sum(text.startswith("`") for text in rows.values()) == len(defaults)


def test_each_stream_is_in_the_table_of_its_group_alone() -> None:
    tables = dict(zip(GROUPS, streams_table().split("\n\n**`"), strict=True))
    for stream in STREAMS:
        for group, table in tables.items():
            assert (f"| {stream.name} |" in table) == (group == stream.group), (stream.name, group)
    assert streams_table() in as_markdown()


@pytest.mark.parametrize("width", [80, 100, 132])
def test_what_a_terminal_gets_fits_it_and_names_every_setting_and_stream(width: int) -> None:
    lines = as_text(width).splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert {name for each in SETTINGS for name in (each.name, *each.aliases)} < set(words)
    assert {each.name for each in STREAMS} < set(words)
    assert not any("`" in word or word == "|" for word in words)


def test_a_table_wraps_between_words_and_names_are_whole() -> None:
    rows = [["a_long_name", "one two three"], ["b", "[bold]x"]]
    assert fitted_table(("name", "what"), rows, 20).splitlines() == [
        "name         what",
        "a_long_name  one two",
        "             three",
        "b            [bold]x",
    ]
    assert max(map(len, fitted_table(("name", "what"), [["x" * 50, "y" * 50]], 20).splitlines())) <= 20
