"""Running the tap in a test: whole syncs against a sandbox, and reading their output."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import pytest

from tap_klaviyo import config
from tap_klaviyo.errors import TapError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.given_state import read_state
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.streams.table import STREAMS
from tap_klaviyo.sync import Sync
from tap_klaviyo.times import Clock


class Chunks:
    """An unbuffered binary stream that keeps each write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes | memoryview) -> int:
        self.written.append(bytes(data))
        return len(data)


@dataclass
class Time:
    """A clock whose waits take no time of ours."""

    now: float = field(default_factory=time.time)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep, lambda: self.now)


@dataclass
class Run:
    """What a run wrote, and how it ended."""

    messages: list[dict[str, Any]]
    error: TapError | None = None

    def of(self, kind: str, stream: str | None = None) -> list[dict[str, Any]]:
        """Return the messages of a type, of one stream or of all."""
        return [each for each in self.messages if each["type"] == kind and stream in (None, each.get("stream"))]

    def records(self, stream: str) -> list[dict[str, Any]]:
        """Return a stream's records."""
        return [each["record"] for each in self.of("RECORD", stream)]

    def keys(self) -> dict[str, list[str]]:
        """Return each stream's keys, in the order that they came in."""
        found: dict[str, list[str]] = {}
        for message in self.messages:
            if message["type"] == "SCHEMA":
                found[message["stream"]] = [
                    each[message["key_properties"][0]] for each in self.records(message["stream"])
                ]
        return found

    @property
    def states(self) -> list[dict[str, Any]]:
        """The states, in their order."""
        return [each["value"] for each in self.of("STATE")]

    @property
    def state(self) -> dict[str, Any]:
        """The last state."""
        return self.states[-1]


def last_line(stderr: str) -> str:
    """Return the last line of a log without the time, which lines have unless they go to a terminal."""
    found = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (.*)", stderr.splitlines()[-1])
    assert found, stderr
    return found[1]


def sync(
    sandbox: Sandbox,
    state: object = None,
    catalog: object = None,
    retries: Retries | None = None,
    streams: Sequence[Stream] = STREAMS,
    clock: Clock | None = None,
    **settings: object,
) -> Run:
    """Run a sync in this process, on a clock that does not wait: one that begins now, or the given one."""
    checked = config.check_settings({**sandbox.config, **settings})
    clock, output = clock or Time().clock, Chunks()
    tap = Sync(Client(checked, clock, retries), checked, Writer(cast(BinaryIO, output)), clock)
    error = None
    try:
        tap.run(read_catalog(catalog or discover_catalog(), streams), read_state(state))
    except TapError as problem:
        error = problem
    return Run([json.loads(line) for line in b"".join(output.written).splitlines()], error)


def all_events(account: Account, now: float, start: int = 0) -> list[str]:
    """Return the ids of an account's events of every metric, from a second on."""
    timeline = account.timeline
    numbers = range(len(timeline.seconds))
    return [
        timeline.id(number).decode()
        for number in numbers
        if start <= timeline.seconds[number] < now and timeline.is_visible(number, now)
    ]


def catalog_of(*streams: str, fields: Sequence[str] | None = None) -> dict[str, Any]:
    """Return a catalog with just these streams, in this order; with `fields`, only those selected."""
    catalog = select_by_names(discover_catalog(), ",".join(streams))
    entries = {entry["stream"]: entry for entry in catalog["streams"]}
    return {"streams": [_with_fields(entries[name], fields) for name in streams]}


def _with_fields(entry: dict[str, Any], fields: Iterable[str] | None) -> dict[str, Any]:
    if fields is None:
        return entry
    chosen = [
        {
            "breadcrumb": each["breadcrumb"],
            "metadata": {**each["metadata"], "selected": each["breadcrumb"][-1] in fields},
        }
        if each["breadcrumb"]
        else each
        for each in entry["metadata"]
    ]
    return {**entry, "metadata": chosen}


def hide_events(sandbox: Sandbox, ids: list[str]) -> None:
    """Let Klaviyo count events that it does not return."""
    whole = sandbox.account
    hidden = whole.without_events(ids)

    def serve(request: Request) -> Fault | None:
        sandbox.account = whole if request.path == "/api/metric-aggregates" else hidden
        return None

    sandbox.faults = serve


@contextmanager
def host_in(zone: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the host be in a time zone, as far as the system can do that."""
    monkeypatch.setenv("TZ", zone)
    if hasattr(time, "tzset"):
        time.tzset()
    yield
    monkeypatch.undo()
    if hasattr(time, "tzset"):
        time.tzset()
