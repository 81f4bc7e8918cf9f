"""Whole runs of the tap in this process, on a sandbox: what they emit, and what a target makes of it."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import msgspec

from tap_klaviyo import config
from tap_klaviyo.errors import TapError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.sandbox import Sandbox
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.given_state import read_state
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.singer.selection import Selection, read_catalog
from tap_klaviyo.streams.table import BY_NAME, STREAMS
from tap_klaviyo.sync import Sync
from tap_klaviyo.times import Clock, parse_time

QUICK = Retries(factor=0.001, longest=0.01)
NO_RETRIES = Retries(factor=0.001, longest=0.01, total=0.0)
ALL = tuple(read_catalog(discover_catalog()))
_BY_NAME = {each.stream.name: each for each in read_catalog(select_by_names(discover_catalog(), "all"))}
# What the suites look at of a record: the keys of all streams, and the time of events.
Row: Any = msgspec.defstruct(
    "Row",
    [
        *((name, str | None, None) for name in sorted({name for stream in STREAMS for name in stream.key})),
        ("timestamp", int | str | None, None),
    ],
)


class Message(msgspec.Struct):
    """A Singer message."""

    type: str
    stream: str = ""
    record: Row | None = None
    version: int | None = None
    value: dict[str, Any] = {}

    @property
    def key(self) -> str:
        """The key of a record."""
        return "/".join(str(getattr(self.record, name)) for name in BY_NAME[self.stream].key)


_message = msgspec.json.Decoder(Message)


def messages(lines: Iterable[bytes]) -> list[Message]:
    """Return the messages on some lines."""
    return [_message.decode(line) for line in lines]


class Narrow(io.RawIOBase):
    """A stream that takes a limited number of bytes per write, as a pipe does."""

    def __init__(self, width: int) -> None:
        """Begin empty."""
        self.data = bytearray()
        self._width = width

    def writable(self) -> bool:
        """Return that it is."""
        return True

    def write(self, data: Any) -> int:
        """Take some of the data."""
        taken = bytes(data[: self._width])
        self.data += taken
        return len(taken)


class PatientTime:
    """A clock that makes nothing wait: sleeping moves it forward."""

    def __init__(self, wall: float) -> None:
        """Begin at an epoch second."""
        self._lock = threading.Lock()
        self._slept = 0.0
        self._began = wall

    def monotonic(self) -> float:
        """Return the seconds slept so far, by all threads."""
        return self._slept

    def sleep(self, seconds: float) -> None:
        """Move time on."""
        with self._lock:
            self._slept += seconds

    def wall(self) -> float:
        """Return the epoch second."""
        return self._began + self._slept

    def clock(self) -> Clock:
        """Return it as the tap takes it."""
        return Clock(self.monotonic, self.sleep, self.wall)


def hasty(wall: float) -> Clock:
    """Return a clock by which a STATE is due at every page."""
    ticks = iter(range(10**9))
    return Clock(lambda: next(ticks) * 20.0, lambda _: None, lambda: wall)


@dataclass(frozen=True)
class Run:
    """What a run emitted, and what it ended with if not well."""

    emitted: Sequence[Message]
    problem: TapError | None = None

    @property
    def states(self) -> list[int]:
        """The places of the STATE messages."""
        return [place for place, each in enumerate(self.emitted) if each.type == "STATE"]

    def keys(self, end: int | None = None) -> dict[str, list[str]]:
        """Return the records' keys by stream, in order, of the messages before a place."""
        found: dict[str, list[str]] = {}
        for each in self.emitted[:end]:
            if each.type == "SCHEMA":
                found.setdefault(each.stream, [])
            elif each.type == "RECORD":
                found[each.stream].append(each.key)
        return found

    def bookmarks(self) -> Iterator[dict[str, int]]:
        """Yield the bookmarks of each STATE in epoch seconds."""
        for place in self.states:
            marks = self.emitted[place].value["bookmarks"]
            yield {name: parse_time(mark[BY_NAME[name].replication_key or ""]) for name, mark in marks.items()}


def selected(names: Iterable[str]) -> list[Selection]:
    """Return the selections of some streams, all of their fields."""
    return [_BY_NAME[name] for name in names]


def run(
    sandbox: Sandbox,
    state: Mapping[str, Any] | None = None,
    *,
    selections: Sequence[Selection] = ALL,
    retries: Retries = QUICK,
    wall: float | None = None,
    width: int = 2**20,
    **settings: Any,
) -> Run:
    """Run the tap once, from a state on, with a host's clock that shows `wall` (epoch seconds)."""
    checked = config.check_settings({**sandbox.config, **settings})
    wall = sandbox.now if wall is None else wall
    client = Client(checked, PatientTime(wall).clock(), retries)
    out = Narrow(width)
    problem = None
    try:
        Sync(client, checked, Writer(cast(BinaryIO, out)), hasty(wall)).run(selections, read_state(state))
    except TapError as found:
        problem = found
    assert out.data.endswith(b"\n") or not out.data
    return Run(messages(bytes(out.data).splitlines()), problem)


@dataclass
class Target:
    """A database that knows ACTIVATE_VERSION: by stream and key the version of the row.

    As real targets do, it removes the rows whose version is older than the activated one.
    """

    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    state: Mapping[str, Any] | None = None

    def load(self, emitted: Iterable[Message]) -> None:
        """Take messages in."""
        for each in emitted:
            if each.type == "RECORD":
                self.rows.setdefault(each.stream, {})[each.key] = each.version or 0
            elif each.type == "ACTIVATE_VERSION":
                kept = self.rows.get(each.stream, {}).items()
                self.rows[each.stream] = {key: version for key, version in kept if version >= (each.version or 0)}
            elif each.type == "STATE":
                self.state = each.value

    def keys(self) -> dict[str, set[str]]:
        """Return the keys that it holds, by stream that has any."""
        return {stream: set(rows) for stream, rows in self.rows.items() if rows}


def as_sets(ledger: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Return the keys of each stream that has any."""
    return {stream: found for stream, keys in ledger.items() if (found := set(keys))}
