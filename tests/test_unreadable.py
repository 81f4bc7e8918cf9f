"""An event that Klaviyo cannot render costs its second, not the events after it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox
from tap_klaviyo.times import parse_time
from tests.running import Run, catalog_of, sync

_FILTER = re.compile(r'"(\w+)"\),greater-or-equal\(datetime,([^)]+)\),less-than\(datetime,([^)]+)\)')


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=900, seed=3)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


class Unreadable:
    """A schedule by which every page fails that contains a given event."""

    def __init__(self, records: list[dict[str, Any]], bad: dict[str, Any]) -> None:
        self._events = [(each["timestamp"], each["id"], each["metric_id"]) for each in records]
        self._bad = (bad["timestamp"], bad["id"], bad["metric_id"])

    def __call__(self, request: Request) -> Fault | None:
        found = _FILTER.search(request.query.get("filter", ""))
        if request.path != "/api/events" or not found:
            return None
        metric, start, end = found[1], parse_time(found[2]), parse_time(found[3])
        cursor = request.query.get("page[cursor]")
        after = tuple(json.loads(base64.b64decode(cursor))[:2]) if cursor else (start, "")
        ahead = sorted(each for each in self._events if each[2] == metric and start <= each[0] < end)
        page = [each for each in ahead if each[:2] > after][: int(request.query["page[size]"])]
        return Fault("status", code=500) if self._bad in page else None


@pytest.mark.parametrize(("stream", "share"), [("receive", 0.0), ("receive", 0.4), ("unsubscribe", 0.5), ("open", 1.0)])
def test_an_event_that_klaviyo_cannot_render_costs_its_second_and_the_bookmark_stays_there(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, stream: str, share: float
) -> None:
    records = sync(sandbox, catalog=catalog_of(stream)).records(stream)
    bad = records[int(share * (len(records) - 1))]
    sandbox.faults = Unreadable(records, bad)
    with caplog.at_level("ERROR", "tap_klaviyo"):
        ended: Run = sync(sandbox, catalog=catalog_of(stream))
    others = {each["id"] for each in records if each["timestamp"] != bad["timestamp"]}
    assert others <= set(ended.keys()[stream]) < {each["id"] for each in records}
    assert ended.error is not None
    assert parse_time(ended.state["bookmarks"][stream]["timestamp"]) <= bad["timestamp"]
    assert stream in caplog.text
    sandbox.faults = None
    later = sync(sandbox, ended.state, catalog=catalog_of(stream))
    assert later.error is None
    assert set(later.keys()[stream]) | set(ended.keys()[stream]) == {each["id"] for each in records}


@pytest.mark.parametrize(("stream", "share"), [("receive", 0.0), ("receive", 0.5), ("unsubscribe", 0.2), ("open", 0.7)])
def test_an_event_that_klaviyo_cannot_render_costs_a_few_dozen_requests(
    sandbox: Sandbox, stream: str, share: float
) -> None:
    records = sync(sandbox, catalog=catalog_of(stream)).records(stream)
    usual = len(sandbox.requests)
    sandbox.faults = Unreadable(records, records[int(share * (len(records) - 1))])
    sync(sandbox, catalog=catalog_of(stream))
    assert len(sandbox.requests) - 2 * usual < 70


def test_a_full_read_that_skipped_an_event_removes_no_row(sandbox: Sandbox) -> None:
    catalog = catalog_of("receive")
    for entry in catalog["streams"]:
        for each in entry["metadata"]:
            if not each["breadcrumb"]:
                each["metadata"]["replication-method"] = "FULL_TABLE"
    whole = sync(sandbox, catalog=catalog)
    assert whole.of("ACTIVATE_VERSION")
    records = whole.records("receive")
    sandbox.faults = Unreadable(records, records[len(records) // 2])
    partly = sync(sandbox, whole.state, catalog)
    assert partly.error is not None
    assert len(partly.records("receive")) < len(records)
    assert partly.of("ACTIVATE_VERSION") == []


def test_of_two_events_that_klaviyo_cannot_render_the_earlier_one_holds_the_bookmark(sandbox: Sandbox) -> None:
    records = sync(sandbox, catalog=catalog_of("receive")).records("receive")
    early, late = records[len(records) // 3], records[2 * len(records) // 3]
    faults = [Unreadable(records, each) for each in (early, late)]
    sandbox.faults = lambda request: next((fault for each in faults if (fault := each(request))), None)
    ended = sync(sandbox, catalog=catalog_of("receive"))
    assert parse_time(ended.state["bookmarks"]["receive"]["timestamp"]) <= early["timestamp"]
    sandbox.faults = None
    later = sync(sandbox, ended.state, catalog=catalog_of("receive"), lookback_days=0)
    assert set(later.keys()["receive"]) | set(ended.keys()["receive"]) == {each["id"] for each in records}


def test_a_metric_whose_history_has_an_event_that_cannot_be_rendered_stays_uncovered(sandbox: Sandbox) -> None:
    whole = sync(sandbox, catalog=catalog_of("unsubscribe"))
    records, mark = whole.records("unsubscribe"), whole.state["bookmarks"]["unsubscribe"]
    bad = records[len(records) // 3]
    others = [each for each in mark["metrics"] if each != bad["metric_id"]]
    sandbox.faults = Unreadable(records, bad)
    given = {"bookmarks": {"unsubscribe": {**mark, "metrics": others}}}
    ended = sync(sandbox, given, catalog_of("unsubscribe"), lookback_days=0)
    assert ended.error is not None
    assert ended.state["bookmarks"]["unsubscribe"]["metrics"] == others
    sandbox.faults = None
    later = sync(sandbox, ended.state, catalog_of("unsubscribe"), lookback_days=0)
    assert bad["id"] in later.keys()["unsubscribe"]
