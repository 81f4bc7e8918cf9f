"""What the targets hold after a first run, a run on from its state, and one after deletions, is what Klaviyo holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tap_klaviyo.sandbox import Account, Sandbox
from tests.targets import warehouses
from tests.targets.documented import documented_types
from tests.targets.expected import FULL_TABLES, comparable, key_of, rows_of
from tests.targets.odd import EVENTS, odd_klaviyo
from tests.targets.programs import Json, sync
from tests.targets.warehouses import Server, Warehouse

DAY = 86_400.0
Keys = dict[str, list[str]]


@dataclass(frozen=True)
class Loaded:
    """A target after three runs: the keys in it after each, beside those of the sandbox's ledger."""

    warehouse: Warehouse
    account: Account
    now: float
    found: list[Keys]
    ledger: list[Keys]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(warehouses.jsonl, id="target-jsonl"),
        pytest.param(warehouses.duckdb, id="target-duckdb"),
        pytest.param(warehouses.pipelinewise, id="pipelinewise-target-postgres"),
        pytest.param(warehouses.meltanolabs, id="meltanolabs-target-postgres"),
        pytest.param(warehouses.meltanolabs_hard, id="meltanolabs-target-postgres-hard-delete"),
    ],
)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    make: Callable[[Path, Server], Warehouse] = request.param
    folder = tmp_path_factory.mktemp("warehouse")
    return three_runs(folder, make(folder, lambda: request.getfixturevalue("postgres")))


def three_runs(folder: Path, warehouse: Warehouse) -> Loaded:
    found: list[Keys] = []
    ledger: list[Keys] = []
    account = Account.build(events=3000)
    with Sandbox(account, limits=False) as sandbox:

        def run(state: Json | None) -> Json:
            state = sync(folder, sandbox.config, warehouse.command, state)
            ledger.append(sandbox.account.ledger(sandbox.now, start=account.start))
            found.append({stream: keys_in(warehouse, stream) for stream in ledger[-1]})
            return state

        state = run(None)
        sandbox.advance(7 * DAY)
        state = run(state)
        sandbox.account = thinned(account, ledger[-1])
        run(state)
        return Loaded(warehouse, sandbox.account, sandbox.now, found, ledger)


def thinned(account: Account, ledger: Keys) -> Account:
    """Return the account after some of each full table were deleted."""
    return account.without(*(ledger[stream][::7] for stream in FULL_TABLES))


def keys_in(warehouse: Warehouse, stream: str) -> list[str]:
    """Return the keys of the rows of a table; each once if the target repeats rows by design."""
    keys = [row[key_of(stream)] for row in warehouse.rows(stream)]
    return sorted(set(keys) if warehouse.repeats else keys)


def sorted_keys(ledger: Keys) -> Keys:
    return {stream: sorted(keys) for stream, keys in ledger.items()}


def test_first_run_loads_the_ledger(loaded: Loaded) -> None:
    assert loaded.found[0] == sorted_keys(loaded.ledger[0])


def test_run_on_from_the_targets_state_adds_new_and_late_events(loaded: Loaded) -> None:
    added = {stream: set(loaded.ledger[1][stream]) - set(keys) for stream, keys in loaded.ledger[0].items()}
    assert sum(map(len, added.values())) > 20
    assert loaded.found[1] == sorted_keys(loaded.ledger[1])


def test_deletions_arrive_where_the_target_knows_them(loaded: Loaded) -> None:
    there = loaded.ledger[1] if loaded.warehouse.deleted == "kept" else loaded.ledger[2]
    assert loaded.ledger[1] != loaded.ledger[2]
    assert loaded.found[2] == sorted_keys(there)


@pytest.mark.parametrize("stream", ["receive", "open", "clicked_sms", *FULL_TABLES])
def test_values_are_those_of_the_resources(loaded: Loaded, stream: str) -> None:
    rows = {row[key_of(stream)]: row for row in loaded.warehouse.rows(stream)}
    expected = rows_of(stream, loaded.account.resources(stream, loaded.now, start=loaded.account.start))
    there = [rows[row[key_of(stream)]] for row in expected]
    assert comparable(stream, there, like=expected[0]) == expected


@pytest.mark.parametrize("stream", ["receive", "unsubscribed_from_sms", *FULL_TABLES])
def test_columns_have_the_documented_types(loaded: Loaded, stream: str) -> None:
    types = loaded.warehouse.types
    if types is None:
        pytest.skip("a file of JSON lines has no types")
    columns = {name: kind for name, kind in types(stream).items() if not name.startswith("_sdc_")}
    assert columns == documented_types(stream, loaded.warehouse.name)


@pytest.mark.parametrize("make", [warehouses.pipelinewise, warehouses.duckdb])
def test_flattening_loses_the_properties_of_events_as_documented(
    make: warehouses.Maker, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    warehouse = make(tmp_path, lambda: request.getfixturevalue("postgres"), data_flattening_max_level=1)
    with Sandbox(Account.build(events=300), limits=False) as sandbox:
        sync(tmp_path, sandbox.config, warehouse.command, select="receive")
    rows = warehouse.rows("receive")
    assert len(rows) > 10
    assert {row.get("event_properties") for row in rows} == {None}


@pytest.mark.parametrize("make", [warehouses.jsonl, warehouses.duckdb, warehouses.pipelinewise, warehouses.meltanolabs])
def test_odd_values_are_loaded_row_for_row(
    make: warehouses.Maker, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    warehouse = make(tmp_path, lambda: request.getfixturevalue("postgres"))
    with odd_klaviyo() as config:
        sync(tmp_path, config, warehouse.command, select="open")
    assert keys_in(warehouse, "open") == sorted(each["id"] for each in EVENTS)
