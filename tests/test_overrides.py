"""Definitions of single fields in a user's catalog: the SCHEMA has them, and every RECORD fits it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft4Validator, FormatChecker

from tap_klaviyo.sandbox import Account, Sandbox
from tests.running import Run, catalog_of, sync

Json = dict[str, Any]

TEXT = {"type": ["null", "string"]}


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=2000, seed=4)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


def run_with(sandbox: Sandbox, stream: str, definitions: Json) -> Run:
    """Run a stream whose schema in the catalog has these definitions, by path; check each record by its SCHEMA."""
    catalog = json.loads(json.dumps(catalog_of(stream)))
    for path, definition in definitions.items():
        *parents, name = path.split(".")
        properties = catalog["streams"][0]["schema"]["properties"]
        for parent in parents:
            properties = properties[parent].get("items", properties[parent])["properties"]
        properties[name] = definition
    run = sync(sandbox, catalog=catalog)
    assert run.error is None
    (message,) = run.of("SCHEMA")
    validator = Draft4Validator(message["schema"], format_checker=FormatChecker())
    assert len(run.records(stream)) > 10
    for record in run.records(stream):
        validator.validate(record)
    return run


def test_an_object_as_text_is_its_json(sandbox: Sandbox) -> None:
    plain = run_with(sandbox, "open", {})
    run = run_with(sandbox, "open", {"event_properties": TEXT, "profile.properties": TEXT})
    assert run.of("SCHEMA")[0]["schema"]["properties"]["event_properties"] == TEXT
    for record, before in zip(run.records("open"), plain.records("open"), strict=True):
        properties = record["event_properties"]
        assert before["event_properties"] == (None if properties is None else json.loads(properties))


def test_an_array_of_objects_as_text_is_its_json(sandbox: Sandbox) -> None:
    plain = run_with(sandbox, "open", {})
    run = run_with(sandbox, "open", {"profile": TEXT, "metric": TEXT})
    for record, before in zip(run.records("open"), plain.records("open"), strict=True):
        assert json.loads(record["profile"]) == before["profile"]
        assert json.loads(record["metric"]) == before["metric"]


def test_a_metric_as_text_is_no_changed_value(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    run_with(sandbox, "open", {"metric": TEXT})
    assert "metric" not in " ".join(each for each in caplog.messages if "changed values" in each)


def test_numbers_flags_and_dates_as_text(sandbox: Sandbox) -> None:
    plain = run_with(sandbox, "open", {})
    run = run_with(sandbox, "open", {"datetime": TEXT, "profile.location": TEXT})
    for record, before in zip(run.records("open"), plain.records("open"), strict=True):
        places = [profile.get("location") for profile in record["profile"]]
        assert [place and json.loads(place) for place in places] == [each.get("location") for each in before["profile"]]
    assert run.state == plain.state
    campaigns = run_with(sandbox, "campaigns", {"archived": TEXT, "audiences": TEXT, "tags": TEXT})
    assert {record["archived"] for record in campaigns.records("campaigns")} == {"true", "false"}


def test_an_integer_as_a_number_is_the_same(sandbox: Sandbox) -> None:
    plain, run = run_with(sandbox, "open", {}), run_with(sandbox, "open", {"timestamp": {"type": ["null", "number"]}})
    assert (run.records("open"), run.state) == (plain.records("open"), plain.state)


def test_text_is_cut_to_the_length_of_its_column(sandbox: Sandbox) -> None:
    plain = run_with(sandbox, "lists", {})
    run = run_with(sandbox, "lists", {"name": {**TEXT, "maxLength": 5}})
    names = [record["name"] for record in plain.records("lists")]
    assert [record["name"] for record in run.records("lists")] == [name and name[:5] for name in names]
    run_with(sandbox, "open", {f"profile.location.{name}": {**TEXT, "maxLength": 3} for name in ("latitude", "city")})
