"""Chaos for the streams beyond the core: collections, children, members and profiles under faults and changes."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest

from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox, Schedule, seeded_faults
from tap_klaviyo.streams.model import CORE
from tap_klaviyo.streams.table import BY_NAME, STREAMS
from tap_klaviyo.times import format_time
from tests.chaos.harness import NO_RETRIES, QUICK, Run, Target, as_sets, run, selected
from tests.chaos.test_chaos import hopeless, some_kinds
from tests.expected import ledger_of

HOUR, DAY = 3600, 86_400
NAMES = [each.name for each in STREAMS if each.group not in (CORE, "reports") and each.schema_name != "event"]
MEMBERS = ("list_members", "segment_members")


@cache
def small(number: int) -> Account:
    """Return an account with a few of everything."""
    return Account.build(events=120, seed=50 + number, profiles=150, lists=7, campaigns=12, suppressed=5)


def draw(seed: int) -> tuple[list[str], dict[str, Any], Schedule, int | None]:
    """Return the streams, the settings, the faults and the largest page of a seed."""
    chance = random.Random(f"whole account {seed}")
    names = sorted(chance.sample([*NAMES, "events"], chance.randint(1, 5)))
    settings = {"max_concurrency": chance.choice((1, 2, 5, 16)), "lookback_days": chance.choice((0, 0.5, 7))}
    faults = seeded_faults(seed, chance.choice((0.02, 0.1, 0.3)), some_kinds(chance))
    return names, settings, faults, chance.choice((3, 10, 40, None))


def check_versions(result: Run) -> None:
    """Check that a full table ends in ACTIVATE_VERSION with the version of its rows."""
    for each in result.emitted:
        if each.type == "ACTIVATE_VERSION":
            assert {row.version for row in result.emitted if row.type == "RECORD" and row.stream == each.stream} <= {
                each.version
            }


def test_whole_runs_of_any_stream_under_faults_lose_nothing(chaos_seed: int) -> None:
    names, settings, faults, largest = draw(chaos_seed)
    account = small(chaos_seed % 5)
    with Sandbox(account, faults=faults, limits=False, largest_page=largest) as sandbox:
        result = run(sandbox, selections=selected(names), **settings)
        assert result.problem is None
        whole = as_sets(ledger_of(account, names, sandbox.now))
        assert as_sets(result.keys()) == whole
        check_versions(result)
        sandbox.faults = None
        place = random.Random(chaos_seed).choice(result.states)
        resumed = run(sandbox, result.emitted[place].value, selections=selected(names), **settings)
        assert resumed.problem is None
        found = {name: {*result.keys(place).get(name, ()), *resumed.keys().get(name, ())} for name in names}
        assert as_sets(found) == whole


class Restless:
    """A schedule of faults that also changes the account, between one request and the next."""

    def __init__(self, chance: random.Random, sandbox: Sandbox, faults: Schedule) -> None:
        """Change nothing yet."""
        self._chance = chance
        self._sandbox = sandbox
        self._faults = faults
        self._changes = 0

    def __call__(self, request: Request) -> Fault | None:
        """Change something at one request in four, and return what goes wrong with this one."""
        if self._chance.random() < 0.25 and self._changes < 10:
            self._changes += 1
            change(self._chance, self._sandbox)
        return self._faults(request)


def change(chance: random.Random, sandbox: Sandbox) -> None:
    """Update profiles, let members join, archive and rename flows: what keeps every row in its collection."""
    account, now = sandbox.account, int(sandbox.now)
    profiles = [each["id"] for each in account.collection("/api/profiles", now)]
    group = chance.choice([item.id for item in account.lists])
    flows = [each["id"] for each in account.collection("/api/flows", now)]
    account = account.with_updated(chance.sample(profiles, 3), now)
    account = account.with_joined(group, chance.sample(profiles, 2), now)
    moment = format_time(now).replace("Z", "+00:00")
    account = account.with_changed(chance.choice(flows), archived=chance.random() < 0.5, updated=moment)
    sandbox.account = account


@pytest.mark.parametrize("number", range(20))
def test_after_any_history_the_target_holds_what_klaviyo_holds(number: int) -> None:
    chance = random.Random(f"whole history {number}")
    names = sorted({*chance.sample(NAMES, 3), chance.choice(MEMBERS), "profiles", "flows"})
    target = Target()
    with Sandbox(small(number % 5), limits=False, largest_page=chance.choice((5, 20, None))) as sandbox:
        for step in range(chance.randint(2, 4)):
            seed = number * 10 + step
            retries = chance.choice((QUICK, QUICK, NO_RETRIES))
            faults = seeded_faults(seed, 0.05) if retries is QUICK else hopeless(seed, 0.05)
            sandbox.faults = Restless(chance, sandbox, faults)
            result = run(sandbox, target.state, selections=selected(names), retries=retries, lookback_days=7)
            assert result.problem is None or retries is NO_RETRIES
            lost = chance.random() < 0.3
            target.load(result.emitted[: chance.randrange(len(result.emitted)) if lost else None])
            sandbox.advance(chance.choice((60, HOUR, 9 * HOUR, 3 * DAY)))
        sandbox.faults = None
        for _ in range(2):
            result = run(sandbox, target.state, selections=selected(names), lookback_days=7)
            assert result.problem is None
            target.load(result.emitted)
        whole = as_sets(ledger_of(sandbox.account, names, sandbox.now - 5))
        for name in names:
            # Only a full table tells what has gone; a member of a group that is deleted stays.
            held, wanted = target.keys().get(name, set()), whole.get(name, set())
            assert held >= wanted if BY_NAME[name].replication_key else held == wanted, name
