"""`list_sizes`: how many members each list and segment has, once a day."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from tap_klaviyo import config
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import SEGMENT_VALUES
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.day_limit import DayLimit
from tap_klaviyo.reading.periods import periods_between
from tap_klaviyo.reading.sizes import SizeRequests, size_fetches
from tap_klaviyo.sandbox import Sandbox, error_status
from tap_klaviyo.streams.table import BY_NAME
from tap_klaviyo.times import format_time, parse_time
from tests.canned import Answer, answering
from tests.reporting import ACCOUNT, ZONE
from tests.running import Run, Time, catalog_of, sync

LIST_SIZES = catalog_of("list_sizes")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(ACCOUNT, limits=False) as sandbox:
        yield sandbox


def sizes(run: Run) -> dict[tuple[str, str], int]:
    return {(each["type"], each["id"]): each["profile_count"] for each in run.records("list_sizes")}


def expected_sizes() -> dict[tuple[str, str], int]:
    lists, segments = (ACCOUNT.collection(f"/api/{name}", ACCOUNT.now) for name in ("lists", "segments"))
    members = Counter(
        (kind, each["parent_id"])
        for kind in ("list", "segment")
        for each in ACCOUNT.collection(f"/api/{kind}s/{{id}}/profiles", ACCOUNT.now)
    )
    ids = [("list", each["id"]) for each in lists] + [("segment", each["id"]) for each in segments]
    return {each: members[each] for each in ids}


@pytest.mark.slow
def test_the_sizes_are_those_of_the_ledger(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=LIST_SIZES)
    assert run.error is None
    found, expected = sizes(run), expected_sizes()
    # Of each kind, one is being deleted: it is listed, but has no members to read any more.
    differing = [key for key in expected if found.get(key) != expected[key]]
    assert len(differing) <= 2
    assert sum(count > 0 for count in found.values()) > 10
    assert {each["period_start"] for each in run.records("list_sizes")} == {"2026-11-22T00:00:00-05:00"}


def test_segments_are_asked_for_from_midnight_to_now(sandbox: Sandbox) -> None:
    sync(sandbox, catalog=LIST_SIZES)
    (body,) = [json.loads(each.body) for each in sandbox.requests if each.method == "POST"]
    local = datetime.fromtimestamp(int(sandbox.now) - 5, ZONE).replace(tzinfo=timezone.utc)
    timeframe = {"start": "2026-11-22T00:00:00+00:00", "end": local.isoformat()}
    assert body["data"]["attributes"]["timeframe"] == timeframe


def test_a_run_at_midnight_takes_the_sizes_of_the_day_that_begins(sandbox: Sandbox) -> None:
    sandbox.advance(parse_time("2026-11-23T05:00:05Z") - ACCOUNT.now)
    run = sync(sandbox, catalog=LIST_SIZES)
    assert run.error is None
    assert {kind for kind, _ in sizes(run)} == {"list", "segment"}
    assert {each["period_start"] for each in run.records("list_sizes")} == {"2026-11-23T00:00:00-05:00"}


def sizes_from(answer: object, name: str) -> Batch:
    """Return the batch that an answer about segments or about a list makes."""
    stream, now = BY_NAME["list_sizes"], parse_time("2026-11-22T12:00:00Z")
    lists = {"data": [{"type": "list", "id": "L", "attributes": {}}], "links": {"self": "", "next": None}}
    bodies = [answer] if name == "segments" else [lists, answer]
    given = iter(bodies)
    with answering(lambda _: Answer(json.dumps(next(given)).encode())) as origin:
        settings = config.check_settings({"api_key": "pk_x", "start_date": "2026-01-01", "base_url": origin})
        client = Client(settings, Time().clock, Retries(total=0))
        (today,) = periods_between("day", now, now + 1, ZONE)
        limit = DayLimit(client, SEGMENT_VALUES, {}, lambda: float(now))
        project = stream.project(stream.schema)
        fetched = size_fetches(SizeRequests(stream, client, project, ZONE, today, now, limit))[name]()
        return fetched.item if name == "segments" else fetched.then[0]().item


def test_a_segment_that_cannot_be_read_is_counted_and_costs_no_other() -> None:
    results = [None, {"groupings": {"segment_id": "S"}, "statistics": {"total_members": "12"}}]
    attributes = {"results": results, "date_times": []}
    batch = sizes_from({"data": {"type": "segment-values-report", "attributes": attributes}}, "segments")
    (line,) = batch.read_lines().splitlines()
    assert (json.loads(line)["record"]["id"], json.loads(line)["record"]["profile_count"]) == ("S", 12)
    assert batch.findings.set_aside == {"list_sizes": 1}
    assert sum(batch.findings.changed.values()) == 1


@pytest.mark.parametrize("attributes", [{}, {"profile_count": None}])
def test_a_list_without_a_size_has_null(attributes: dict[str, Any]) -> None:
    batch = sizes_from({"data": {"type": "list", "id": "L", "attributes": attributes}}, "lists")
    assert [json.loads(line)["record"]["profile_count"] for line in batch.read_lines().splitlines()] == [None]


def test_all_segments_take_one_request_and_each_list_one(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=LIST_SIZES)
    lists = {id for kind, id in sizes(run) if kind == "list"}
    assert [each.path for each in sandbox.requests if each.method == "POST"] == ["/api/segment-values-reports"]
    single = Counter(each.path for each in sandbox.requests if each.path.startswith("/api/lists/"))
    assert {path: single[path] for path in (f"/api/lists/{id}" for id in lists)} == {
        f"/api/lists/{id}": 1 for id in lists
    }


def test_sizes_are_taken_once_a_day_of_the_account(sandbox: Sandbox) -> None:
    first = sync(sandbox, catalog=LIST_SIZES)
    assert first.state["bookmarks"]["list_sizes"] == {"period_start": "2026-11-22T05:00:00Z"}
    assert sync(sandbox, first.state, LIST_SIZES).records("list_sizes") == []
    sandbox.advance(parse_time("2026-11-23T05:00:10Z") - ACCOUNT.now)
    next_day = sync(sandbox, first.state, LIST_SIZES)
    assert {each["period_start"] for each in next_day.records("list_sizes")} == {"2026-11-23T00:00:00-05:00"}
    assert next_day.state["bookmarks"]["list_sizes"] == {"period_start": "2026-11-23T05:00:00Z"}


def test_a_list_that_was_deleted_meanwhile_has_no_size(sandbox: Sandbox) -> None:
    gone = ACCOUNT.collection("/api/lists", ACCOUNT.now)[0]["id"]
    sandbox.faults = lambda request: error_status(404) if request.path == f"/api/lists/{gone}" else None
    run = sync(sandbox, catalog=LIST_SIZES)
    assert run.error is None
    assert ("list", gone) not in sizes(run)
    assert len(sizes(run)) > 20


def test_a_day_without_room_for_the_report_is_tried_again_by_the_next_run(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tap_klaviyo")
    time = Time()
    spent = [[format_time(int(time.now) - 7200), format_time(int(time.now) - 3600), 225]]
    state: dict[str, Any] = {"day_limits": {"/api/segment-values-reports": {"requests": spent, "pages": 1}}}
    with Sandbox(ACCOUNT, limits=False) as sandbox:
        run = sync(sandbox, state, LIST_SIZES, clock=time.clock)
        assert run.error is None
        assert {kind for kind, _ in sizes(run)} == {"list"}
        assert any("leaves their sizes to the next run" in each.message for each in caplog.records)
        time.now += 86_400
        again = sync(sandbox, run.state, LIST_SIZES, clock=time.clock)
        assert {kind for kind, _ in sizes(again)} == {"list", "segment"}


def test_a_full_run_keeps_the_sizes_of_earlier_days(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    catalog = catalog_of("list_sizes")
    for each in catalog["streams"][0]["metadata"]:
        if not each["breadcrumb"]:
            each["metadata"] = {**each["metadata"], "replication-method": "FULL_TABLE"}
    run = sync(sandbox, catalog=catalog)
    assert run.of("ACTIVATE_VERSION") == []
    assert any("Klaviyo keeps no past sizes" in each.message for each in caplog.records)
