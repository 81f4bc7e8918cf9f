"""Chaos: whole runs under seeded faults emit all that the ledger has; so does a run from any STATE.

`--chaos N` tries N seeds, `--chaos-seed SEED` one. The seed alone determines each draw.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.sandbox import PASSING, Account, Fault, Request, Sandbox, Schedule, seeded_faults
from tests.chaos.harness import ALL, NO_RETRIES, QUICK, Run, Target, as_sets, run, selected

NAMES = [selection.stream.name for selection in ALL]
HOUR, DAY = 3600, 86_400
REASONS = ("USER_SUPPRESSED", "HARD_BOUNCE", "UNSUBSCRIBE", "INVALID_EMAIL", "SPAM_COMPLAINT")


@cache
def small(number: int) -> Account:
    """Return an account whose burst is a few of the small pages that the sandbox gives."""
    streams = ("receive", "consented_to_receive", "unsubscribe", "open")
    return Account.build(
        events=500 + 100 * number,
        seed=number,
        shape=("even", "skewed")[number % 2],
        burst=(0, 90, 130, 200)[number % 4],
        burst_stream=streams[number % len(streams)],
        lists=number * 7 % 31,
        campaigns=60,
        suppressed=60,
        absent=("mark_as_spam", "sent_sms")[: number % 3],
    )


@cache
def bursting() -> Account:
    """Return an account with more events in one second than Klaviyo's largest page, in a stream of three metrics."""
    return Account.build(events=4500, seed=7, burst=3300, burst_stream="consented_to_receive", campaigns=40)


@cache
def dense() -> Account:
    """Return an account whose densest stream is cut into slices."""
    return Account.build(events=8000, seed=8, shape="skewed", campaigns=40)


@dataclass(frozen=True)
class Plan:
    """The setup drawn for a seed."""

    account: Account
    names: tuple[str, ...]
    largest_page: int | None
    faults: Schedule
    concurrency: int
    lookback: float
    width: int

    @property
    def settings(self) -> dict[str, Any]:
        """The tap's settings."""
        return {"max_concurrency": self.concurrency, "lookback_days": self.lookback}

    def sandbox(self) -> Sandbox:
        """Return the sandbox, not entered yet."""
        return Sandbox(self.account, faults=self.faults, limits=False, largest_page=self.largest_page)

    def ledger(self) -> dict[str, list[str]]:
        """Return the expected keys by stream."""
        found = self.account.ledger(self.account.now)
        return {name: found[name] for name in self.names}


def plan(seed: int) -> Plan:
    """Draw what happens with a seed."""
    chance = random.Random(seed)
    kind = seed % 25
    account = dense() if kind == 24 else bursting() if kind == 12 else small(chance.randrange(8))
    names = {24: ["receive"], 12: ["consented_to_receive", "unsubscribe", "lists"]}.get(kind) or NAMES
    if kind not in (12, 24):
        names = sorted(chance.sample(NAMES, chance.randint(1, 5)), key=NAMES.index) if chance.random() < 0.9 else NAMES
    return Plan(
        account,
        tuple(names),
        {12: None, 24: 150}[kind] if kind in (12, 24) else chance.choice((15, 40, 40, 100, None)),
        seeded_faults(seed, chance.choice((0.02, 0.1, 0.3, 0.6)), some_kinds(chance)),
        chance.choice((1, 2, 3, 5, 16)),
        chance.choice((0, 0.5, 7, 30)),
        chance.choice((1000, 4096, 65_536, 2**20)),
    )


def some_kinds(chance: random.Random) -> tuple[Fault, ...]:
    """Return all kinds of fault that pass, or a few of them."""
    return PASSING if chance.random() < 0.5 else tuple(chance.sample(PASSING, 4))


def check_whole(result: Run, ledger: dict[str, list[str]], repeats: bool) -> None:
    """Check that a run emitted the ledger, each key once where nothing demanded a repetition."""
    found = result.keys()
    assert result.problem is None
    assert as_sets(found) == as_sets(ledger)
    assert list(found) == list(ledger)
    if not repeats:
        twice = {name: [key for key, count in Counter(keys).items() if count > 1] for name, keys in found.items()}
        assert {name: keys for name, keys in twice.items() if keys} == {}


def check_states(result: Run, now: float) -> None:
    """Check that bookmarks only grow, never pass the run's start, and match the emitted records."""
    before: dict[str, int] = {}
    for place, marks in zip(result.states, result.bookmarks(), strict=True):
        assert all(marks[name] >= mark for name, mark in before.items()), place
        assert all(mark < now for mark in marks.values()), place
        before = marks
    newest: dict[str, int] = {}
    for each in result.emitted:
        if each.type == "RECORD" and each.record and isinstance(each.record.timestamp, int):
            assert each.record.timestamp >= newest.get(each.stream, 0) or result.problem is None
            newest[each.stream] = max(newest.get(each.stream, 0), each.record.timestamp)
    assert before == newest


def check_versions(result: Run) -> None:
    """Check that a full table ends in ACTIVATE_VERSION with the version of its rows."""
    for place, each in enumerate(result.emitted):
        if each.type == "ACTIVATE_VERSION":
            own = {other.version for other in result.emitted if other.type == "RECORD" and other.stream == each.stream}
            assert own <= {each.version}
            assert not any(other.type == "RECORD" and other.stream == each.stream for other in result.emitted[place:])


def check_resumed(sandbox: Sandbox, drawn: Plan, result: Run, places: Iterable[int]) -> None:
    """Check that the records before a STATE, with those of a run from that STATE, are the ledger."""
    sandbox.faults = None
    whole = as_sets(drawn.ledger())
    for place in places:
        state = result.emitted[place].value
        resumed = run(sandbox, state, selections=selected(drawn.names), **drawn.settings)
        assert resumed.problem is None
        assert as_sets(joined(result.keys(place), resumed.keys())) == whole, state


def joined(*parts: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the keys of several runs together."""
    found: dict[str, list[str]] = {}
    for part in parts:
        for name, keys in part.items():
            found[name] = found.get(name, []) + keys
    return found


def demands_repetition(sandbox: Sandbox) -> bool:
    """Return whether a cursor was refused, so that something had to be read from before it."""
    return any(request.status == 400 for request in sandbox.requests)


def test_whole_runs_under_faults_lose_nothing(chaos_seed: int) -> None:
    drawn = plan(chaos_seed)
    with drawn.sandbox() as sandbox:
        result = run(sandbox, selections=selected(drawn.names), width=drawn.width, **drawn.settings)
        assert as_sets(result.keys()) == as_sets(drawn.ledger())
        check_whole(result, drawn.ledger(), repeats=demands_repetition(sandbox))
        check_states(result, sandbox.now)
        check_versions(result)
        count = min(len(result.states), 3 if chaos_seed % 10 == 0 else 1)
        check_resumed(sandbox, drawn, result, random.Random(chaos_seed).sample(result.states, count))


@pytest.mark.parametrize("number", range(4))
def test_every_state_is_safe_to_resume_from(number: int) -> None:
    names = ("receive", "consented_to_receive", "unsubscribe", "lists")
    drawn = replace(
        plan(number), account=small(number), names=names, largest_page=60, faults=seeded_faults(number, 0.1)
    )
    with drawn.sandbox() as sandbox:
        result = run(sandbox, selections=selected(names), **drawn.settings)
        assert len(result.states) > len(names)
        check_resumed(sandbox, drawn, result, result.states)


@pytest.mark.parametrize("number", range(10))
def test_a_run_that_fails_leaves_a_state_to_resume_from(number: int) -> None:
    chance = random.Random(number)
    drawn = replace(plan(number), account=small(number % 8), names=tuple(NAMES), faults=hopeless(number, 0.25))
    with drawn.sandbox() as sandbox:
        result = run(sandbox, retries=NO_RETRIES, **drawn.settings)
        assert result.problem is not None
        check_states(result, sandbox.now)
        check_versions(result)
        check_resumed(sandbox, drawn, result, [result.states[-1], chance.choice(result.states)])


def hopeless(seed: int, rate: float) -> Schedule:
    """Return a schedule by which some pages never come, whatever is tried; those of the metrics do."""
    choose = seeded_faults(seed, rate)
    return lambda request: None if request.path == "/api/metrics" else choose(replace(request, attempt=1))


@dataclass
class History:
    """An account over some weeks, the target that it is read into, and what happens to both."""

    chance: random.Random
    sandbox: Sandbox
    target: Target
    names: list[str]

    def advance(self) -> None:
        """Let some time pass, in which late events appear, the dates of future ones pass, and things are deleted."""
        self.sandbox.advance(self.chance.choice((60, HOUR, 9 * HOUR, 2 * DAY, 6 * DAY)))
        account, some = self.sandbox.account, self.chance.random() / 5
        ledger = account.ledger(self.sandbox.now)
        doomed = [
            {key for key in ledger[name] if self.chance.random() < some}
            for name in ("lists", "campaigns", "global_exclusions")
        ]
        self.sandbox.account = account.without(*doomed)

    def run(self, seed: int, retries: Retries, lost: bool) -> None:
        """Run the tap from the target's state; where `lost`, the target gets a part of what it emits only."""
        hopeful = retries is QUICK
        self.sandbox.faults = seeded_faults(seed, 0.1) if hopeful else hopeless(seed, 0.1)
        wall = self.sandbox.now + self.chance.randrange(HOUR)
        result = run(
            self.sandbox,
            self.target.state,
            selections=selected(self.names),
            retries=retries,
            wall=wall,
            lookback_days=7,
        )
        assert result.problem is None or not hopeful
        end = self.chance.randrange(len(result.emitted)) if lost else len(result.emitted)
        self.target.load(result.emitted[:end])


@dataclass
class Restless:
    """A schedule of faults that also changes the account, between one request and the next."""

    chance: random.Random
    sandbox: Sandbox
    faults: Schedule
    changes: int = 0

    def __call__(self, request: Request) -> Fault | None:
        """Change something at one request in four, and return what goes wrong with this one."""
        if self.chance.random() < 0.25 and self.changes < 12 and request.path != "/api/metrics":
            self.changes += 1
            self._change()
        return self.faults(request)

    def _change(self) -> None:
        account, now = self.sandbox.account, self.sandbox.now
        campaigns = self.chance.sample([each.id for each in account.campaigns], 3)
        emails = self.chance.sample(account.ledger(now)["global_exclusions"], 3)
        account = account.with_archived(campaigns, now, archived=self.chance.random() < 0.6)
        self.sandbox.account = account.with_suppressed(emails, self.chance.choice(REASONS), now)


@pytest.mark.parametrize("number", range(20))
def test_rows_that_change_while_they_are_read_are_neither_lost_nor_removed(number: int) -> None:
    chance, names = random.Random(f"restless {number}"), ["campaigns", "global_exclusions", "lists"]
    target = Target()
    with Sandbox(small(number % 8), limits=False, largest_page=chance.choice((10, 25, 60))) as sandbox:
        for step in range(3):
            sandbox.faults = Restless(chance, sandbox, seeded_faults(number * 3 + step, 0.05))
            width = chance.choice((1, 4, 16))
            result = run(sandbox, target.state, selections=selected(names), max_concurrency=width)
            assert result.problem is None
            target.load(result.emitted)
            whole = sandbox.account.ledger(sandbox.now)
            assert target.keys() == as_sets({name: whole[name] for name in names})
            sandbox.advance(9 * HOUR)


def test_after_any_history_the_target_holds_what_klaviyo_holds(history_seed: int) -> None:
    chance = random.Random(f"history {history_seed}")
    names = sorted(chance.sample(NAMES[:-3], 3), key=NAMES.index) + NAMES[-3:]
    account = small(chance.randrange(8))
    with Sandbox(account, limits=False, largest_page=chance.choice((30, 100, None))) as sandbox:
        history = History(chance, sandbox, Target(), names)
        for step in range(chance.randint(2, 5)):
            retries = chance.choice((QUICK, QUICK, NO_RETRIES))
            history.run(history_seed * 10 + step, retries, lost=chance.random() < 0.4)
            history.advance()
        # Rows of a query that finds none any more are removed by the second run that finds none.
        for _ in range(2):
            history.run(history_seed, QUICK, lost=False)
        ledger = sandbox.account.ledger(sandbox.now)
        assert history.target.keys() == as_sets({name: ledger[name] for name in names})


def ids_of(account: Account, stream: str) -> list[str]:
    """Return the ids of the metrics that feed a stream."""
    return [metric.id for metric in account.metrics if metric.kind.stream == stream]


def denied(metric: str, with_cursor: bool) -> Schedule:
    """Return a schedule by which a metric that is listed is said not to exist, or so behind its first page."""
    return lambda request: (
        Fault("deny_metric")
        if metric in request.query.get("filter", "") and with_cursor <= ("page[cursor]" in request.query)
        else None
    )


def test_a_metric_that_is_denied_from_the_start_ends_the_run_with_an_error_and_costs_no_other() -> None:
    account = small(4)
    first, *others = ids_of(account, "unsubscribe")
    with Sandbox(account, limits=False, faults=denied(first, with_cursor=False)) as sandbox:
        result = run(sandbox, selections=selected(["unsubscribe", "lists"]))
        whole = account.ledger(sandbox.now)
    found = result.keys()
    assert "Incomplete streams: unsubscribe" in str(result.problem)
    assert set(found["lists"]) == set(whole["lists"])
    assert others
    assert 0 < len(found["unsubscribe"]) < len(whole["unsubscribe"])


def test_a_metric_that_is_denied_midway_ends_its_stream() -> None:
    drawn = replace(plan(0), account=small(2), names=("open", "lists"), largest_page=20)
    (metric,) = ids_of(drawn.account, "open")
    with replace(drawn, faults=denied(metric, with_cursor=True)).sandbox() as sandbox:
        result = run(sandbox, selections=selected(drawn.names), **drawn.settings)
        assert "open" in str(result.problem)
        assert len(result.keys()["open"]) == 20
        check_resumed(sandbox, drawn, result, result.states)
