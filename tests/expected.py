"""What a complete sync of any stream emits, by the sandbox's ledger."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tap_klaviyo.config import DEFAULT_REVISION
from tap_klaviyo.sandbox import Account
from tap_klaviyo.streams.model import CORE, Stream
from tap_klaviyo.streams.table import BY_NAME
from tap_klaviyo.times import parse_time
from tests.running import all_events


def expected_rows(account: Account, stream: Stream, now: float, start: int = 0) -> Sequence[Mapping[str, Any]]:
    """Return the ledger's resources of a stream that changed from a second on, if it follows a replication key."""
    path = re.sub(r"\{\w+\}", "{id}", stream.endpoint.path)
    found = account.collection(path, int(now), revision=stream.endpoint.revision or DEFAULT_REVISION)
    key = stream.replication_key
    if key is None or stream.parent:
        return found
    times = [each["attributes"][key] for each in found]
    return [each for each, time in zip(found, times, strict=True) if time and start <= parse_time(time) < now]


def expected_keys(account: Account, stream: Stream, now: float, start: int = 0) -> list[tuple[str, ...]]:
    parent_id = {"coupon_codes": lambda each: each["relationships"]["coupon"]["data"]["id"]}
    keys = []
    for each in expected_rows(account, stream, now, start):
        ids = {stream.id_field: each["id"]}
        if stream.parent:
            ids[stream.parent.key] = parent_id.get(stream.name, lambda each: each["parent_id"])(each)
        keys.append(tuple(ids[name] for name in stream.key))
    return sorted(keys)


def ledger_of(account: Account, names: Iterable[str], now: float) -> dict[str, list[str]]:
    """Return by stream the keys that a first sync emits, the parts of a key joined by slashes."""
    core, found = account.ledger(now), dict[str, list[str]]()
    for name in names:
        if BY_NAME[name].group == CORE:
            found[name] = core[name]
        elif name == "events":
            found[name] = all_events(account, now, account.start)
        else:
            found[name] = ["/".join(key) for key in expected_keys(account, BY_NAME[name], now, account.start)]
    return found
