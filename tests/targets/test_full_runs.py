"""A run with the replication method FULL_TABLE removes from PostgreSQL the rows that Klaviyo no longer has."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import pytest

from tap_klaviyo.sandbox import Account, Sandbox
from tap_klaviyo.times import parse_time
from tests.running import all_events, catalog_of
from tests.targets import warehouses
from tests.targets.programs import Json, sync
from tests.targets.warehouses import Warehouse

STREAMS: dict[str, tuple[str, ...]] = {
    "profiles": ("id",),
    "list_members": ("list_id", "profile_id"),
    "events": ("id",),
}
Key = tuple[str, ...]
Keys = dict[str, list[Key]]


@dataclass(frozen=True)
class Runs:
    """What Klaviyo had and what the tables held: after a first run, an incremental one after deletions, a full one."""

    klaviyo: list[Keys]
    tables: list[Keys]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(warehouses.meltanolabs_hard, id="rows-are-deleted"),
        pytest.param(warehouses.meltanolabs, id="rows-are-marked"),
    ],
)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    make: Callable[..., Warehouse] = request.param
    folder = tmp_path_factory.mktemp("full-runs")
    warehouse = make(folder, lambda: request.getfixturevalue("postgres"), validate_records=False)
    found = Runs([], [])
    with Sandbox(Account.build(events=1500, newcomers=800), limits=False) as sandbox:

        def run(state: Json | None, method: str) -> Json:
            state = sync(folder, sandbox.config, warehouse.command, state, catalog=read_as(method))
            found.klaviyo.append(keys_in_klaviyo(sandbox.account, sandbox.now))
            found.tables.append({stream: keys_in(warehouse, stream) for stream in STREAMS})
            return state

        state = run(None, "INCREMENTAL")
        sandbox.account = thinned(sandbox.account, found.klaviyo[0])
        sandbox.advance(3600)
        state = run(state, "INCREMENTAL")
        state = run(state, "FULL_TABLE")
        sandbox.advance(86_400)
        run(state, "INCREMENTAL")
    return found


def read_as(method: str) -> Json:
    """Return a catalog that has the streams read by a method, without the profiles and metrics within events."""
    catalog = catalog_of(*STREAMS)
    for entry in catalog["streams"]:
        for each in entry["metadata"]:
            if not each["breadcrumb"]:
                each["metadata"]["replication-method"] = method
            elif entry["stream"] == "events" and each["breadcrumb"][1] in ("profile", "metric"):
                each["metadata"]["selected"] = False
    return catalog


def thinned(account: Account, there: Keys) -> Account:
    """Return the account after some profiles and events were deleted, and others left their lists."""
    account = account.without_profiles([id for (id,) in there["profiles"][::7]])
    account = account.without_events([id for (id,) in there["events"][::5]])
    for group in {group for group, _ in there["list_members"]}:
        members = [profile for own, profile in there["list_members"] if own == group]
        account = account.with_left(group, members[::3])
    return account


def keys_in_klaviyo(account: Account, now: float) -> Keys:
    """Return the keys that the sandbox's ledger has, of what changed since the start of the events."""
    profiles = account.collection("/api/profiles", now)
    updated = {each["id"]: each["attributes"]["updated"] for each in profiles}
    members = account.collection("/api/lists/{id}/profiles", now)
    return {
        "profiles": sorted((id,) for id, time in updated.items() if time and account.start <= parse_time(time) < now),
        "list_members": sorted((each["parent_id"], each["id"]) for each in members),
        "events": sorted((id,) for id in all_events(account, now, account.start)),
    }


def keys_in(warehouse: Warehouse, stream: str) -> list[Key]:
    return sorted(tuple(row[name] for name in STREAMS[stream]) for row in warehouse.rows(stream))


def lost(before: Collection[Key], after: Collection[Key]) -> set[Key]:
    return set(before) - set(after)


@pytest.mark.parametrize("stream", STREAMS)
def test_an_incremental_run_keeps_what_klaviyo_lost(runs: Runs, stream: str) -> None:
    assert runs.tables[0][stream] == runs.klaviyo[0][stream]
    assert len(lost(runs.klaviyo[0][stream], runs.klaviyo[1][stream])) > 10
    assert lost(runs.tables[0][stream], runs.tables[1][stream]) == set()


@pytest.mark.parametrize("stream", STREAMS)
def test_a_full_run_removes_what_klaviyo_lost(runs: Runs, stream: str) -> None:
    assert runs.tables[2][stream] == runs.klaviyo[2][stream]
    assert len(runs.tables[2][stream]) > 100


@pytest.mark.parametrize("stream", STREAMS)
def test_the_next_incremental_run_resumes_from_the_full_one(runs: Runs, stream: str) -> None:
    assert runs.tables[3][stream] == runs.klaviyo[3][stream]
    assert lost(runs.klaviyo[3][stream], runs.klaviyo[2][stream])
