"""Klaviyo's limit of a day for reports: what a run leaves over, and what the next ones do with it."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from tap_klaviyo import config
from tap_klaviyo.errors import SyncError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import FLOW_SERIES
from tap_klaviyo.reading.day_limit import DayLimit
from tap_klaviyo.sandbox import Fault, Request, Sandbox, error_status
from tap_klaviyo.singer.day_limits import request_times, with_requests
from tap_klaviyo.times import DAY, Clock, format_time
from tests.reporting import ACCOUNT, MONTHS, SINCE, asked, is_about_september, starts_of
from tests.running import Time, catalog_of, sync

FORMS = catalog_of("form_values_report", fields=("submits",))
PATH = "/api/form-values-reports"
# The last evening of December 1995 in the account's time zone: 372 months up to now.
LONG_AGO = "1996-01-01"


def limited(time: Time) -> Sandbox:
    return Sandbox(ACCOUNT, clock=lambda: time.now)


def read_in_full(stream: str) -> dict[str, Any]:
    catalog = catalog_of(stream)
    for each in catalog["streams"][0]["metadata"]:
        if not each["breadcrumb"]:
            each["metadata"] = {**each["metadata"], "replication-method": "FULL_TABLE"}
    return catalog


@pytest.mark.slow
def test_what_a_days_limit_leaves_over_is_read_on_the_next_days(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    time, state = Time(), None
    months: list[list[str]] = []
    left: list[list[str]] = []
    began = time.now
    with limited(time) as sandbox:
        for day in range(3):
            # Each run begins at the same time of the day.
            time.now = began + day * DAY
            sandbox.requests.clear()
            caplog.clear()
            run = sync(sandbox, state, FORMS, clock=time.clock, start_date=LONG_AGO)
            assert run.error is None
            assert {each.status for each in sandbox.requests} == {200}
            months.append([start for start, _ in asked(sandbox, "form_values_report")])
            left.append([each.message for each in caplog.records if "leaves the figures" in each.message])
            state = run.state
    expected = [f"{1995 + (11 + place) // 12}-{(11 + place) % 12 + 1:02}-01" for place in range(372)]
    assert months == [expected[:225], expected[225:], expected[-2:]]
    # Two requests a minute take almost two hours.
    until = format_time(int(began) + 112 * 60 + DAY)[:10]
    assert left == [
        [
            "form_values_report: Klaviyo's limit of 225 requests a day leaves the figures from 2014-09-01 on to the "
            f"next runs; all of them can be read by {until}."
        ],
        [],
        [],
    ]


def spent(time: Time, requests: int) -> dict[str, Any]:
    """Return the state after as many requests within the last hour."""
    span = [format_time(int(time.now) - 3600), format_time(int(time.now) - 60), requests]
    return {"day_limits": {PATH: {"requests": [span], "pages": 1}}}


def test_the_runs_of_a_day_send_nothing_over_the_limit() -> None:
    time = Time()
    with limited(time) as sandbox:
        first = sync(sandbox, spent(time, 222), FORMS, clock=time.clock, start_date=SINCE)
        assert first.error is None
        assert starts_of(first, "form_values_report") == MONTHS[:3]
        sandbox.requests.clear()
        time.now += 3600
        second = sync(sandbox, first.state, FORMS, clock=time.clock, start_date=SINCE)
        assert (second.error, asked(sandbox, "form_values_report")) == (None, [])
    assert sum(count for _, _, count in second.state["day_limits"][PATH]["requests"]) == 225
    assert second.state["bookmarks"] == first.state["bookmarks"]


def test_a_limit_that_another_program_has_used_up_leaves_the_rest_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def refuse(request: Request) -> Fault | None:
        return error_status(429, retry_after=40_000) if is_about_september(request) else None

    with Sandbox(ACCOUNT, limits=False, faults=refuse) as sandbox:
        run = sync(sandbox, catalog=catalog_of("form_values_report", "lists"), start_date=SINCE)
    assert run.error is None
    assert starts_of(run, "form_values_report") == MONTHS[:1]
    assert run.state["bookmarks"]["form_values_report"] == {"period_start": "2026-08-01T04:00:00Z"}
    assert any("leaves the figures from 2026-09-01 on" in each.message for each in caplog.records)


def test_other_streams_do_not_wait_for_the_limits_of_reports() -> None:
    time, others_done = Time(), threading.Event()
    waited: list[bool] = []

    def sleep(seconds: float) -> None:
        # Only a report waits for the rest of a minute. It does so here until all else has been read.
        if seconds > 20:
            waited.append(others_done.wait(30))
        time.sleep(seconds)

    class Watched(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("profiles: ") and "records" in record.getMessage():
                others_done.set()

    clock, watched = Clock(lambda: time.now, sleep, lambda: time.now), Watched()
    logger = logging.getLogger("tap_klaviyo")
    logger.addHandler(watched)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with limited(time) as sandbox:
            # Reports come last, whatever their place in the catalog.
            catalog = catalog_of("form_values_report", "open", "lists", "profiles")
            run = sync(sandbox, catalog=catalog, clock=clock, start_date="2026-05-01")
    finally:
        logger.setLevel(level)
        logger.removeHandler(watched)
    assert run.error is None
    assert len(waited) >= 2
    assert all(waited)
    streams = list(dict.fromkeys(each["stream"] for each in run.of("SCHEMA")))
    assert streams == ["open", "lists", "profiles", "form_values_report"]


def test_a_full_run_reads_all_periods_and_removes_other_rows() -> None:
    with Sandbox(ACCOUNT, limits=False) as sandbox:
        first = sync(sandbox, catalog=catalog_of("form_values_report"), start_date=SINCE)
        run = sync(sandbox, first.state, read_in_full("form_values_report"), start_date=SINCE)
    assert starts_of(run, "form_values_report") == MONTHS[:4]
    (version,) = {each["version"] for each in run.of("RECORD")}
    assert [each["version"] for each in run.of("ACTIVATE_VERSION")] == [version]


def test_a_full_run_that_a_days_limit_cuts_short_removes_nothing_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    with limited(time) as sandbox:
        run = sync(sandbox, spent(time, 223), read_in_full("form_values_report"), clock=time.clock, start_date=SINCE)
    assert isinstance(run.error, SyncError)
    assert run.of("ACTIVATE_VERSION") == []
    assert any("Use the replication-method INCREMENTAL" in each.message for each in caplog.records)


# The limit itself, without a run.


def limit_after(requests: int, pages: int, age: float = 3600.0, time: Time | None = None) -> DayLimit:
    """Return a limit after requests a second apart, the last of which was sent `age` seconds ago."""
    time = time or Time()
    client = Client(config.check_settings({"api_key": "pk_x", "start_date": "2026-01-01"}), time.clock)
    times = [time.now - age - place for place in reversed(range(requests))]
    return DayLimit(client, FLOW_SERIES, with_requests({}, FLOW_SERIES.path, times, pages), time.clock.wall)


@pytest.mark.parametrize(
    ("requests", "pages", "has_room"),
    [
        (0, 1, True),
        (224, 1, True),
        (225, 1, False),
        (201, 24, True),
        (202, 24, False),
        (0, 300, True),
        (10, 300, False),
    ],
)
def test_a_period_is_begun_only_if_all_its_pages_have_room(requests: int, pages: int, has_room: bool) -> None:
    assert limit_after(requests, pages).has_room() is has_room


def test_the_next_page_of_a_period_needs_room_for_itself_only() -> None:
    assert limit_after(224, 24).has_room(pages_read=3)
    assert not limit_after(225, 24).has_room(pages_read=3)


def test_requests_of_a_day_ago_are_waited_for_if_they_are_free_again_soon() -> None:
    assert limit_after(225, 1, age=DAY - 760).has_room()
    assert not limit_after(225, 1, age=DAY - 770).has_room()


def test_a_period_that_was_cut_needs_more_room_the_next_time() -> None:
    limit = limit_after(215, 1)
    assert limit.has_room()
    limit.end_period(10, is_cut=True)
    assert not limit.has_room()
    assert limit_after(205, 1).record({})["day_limits"][FLOW_SERIES.path]["pages"] == 1
    assert limit.record({})["day_limits"][FLOW_SERIES.path]["pages"] == 20


def test_requests_of_a_host_whose_clock_was_ahead_count_for_a_day_from_now() -> None:
    time = Time()
    limit = limit_after(225, 1, age=-3600, time=time)
    assert not limit.has_room()
    time.now += DAY - 500
    assert limit.has_room()


@pytest.mark.parametrize(
    ("pages", "is_cut", "periods", "days"),
    [
        (1, False, 225, 1),
        (1, False, 226, 2),
        (10, False, 45, 2),
        (10, True, 45, 4),
        (200, True, 1, 1),
        (200, True, 3, 3),
    ],
)
def test_the_date_by_which_all_can_be_read_follows_from_the_pages_of_a_period(
    pages: int, is_cut: bool, periods: int, days: int
) -> None:
    limit = limit_after(0, 1, time=Time(1_800_000_000.0))
    limit.end_period(pages, is_cut=is_cut)
    assert limit.until(periods) == format_time(1_800_000_000 + days * DAY)[:10]


def test_reports_that_share_a_limit_count_together() -> None:
    time = Time()
    path = "/api/segment-values-reports"
    span = [format_time(int(time.now) - 3600), format_time(int(time.now) - 60), 100]
    state = {"day_limits": {path: {"requests": [span], "pages": 1}}}
    with limited(time) as sandbox:
        catalog = catalog_of("segment_values_report", "list_sizes")
        run = sync(sandbox, state, catalog, clock=time.clock, start_date=SINCE)
        sent = sum(each.path == path for each in sandbox.requests)
    assert run.error is None
    assert sum(count for _, _, count in run.state["day_limits"][path]["requests"]) == 100 + sent


def test_the_state_keeps_requests_in_spans() -> None:
    times = [1_000_000.0, 1_000_030.0, 1_000_060.0, 1_000_500.0]
    state = with_requests({"bookmarks": {}}, "/api/x", times, 3)
    spans = [["1970-01-12T13:46:40Z", "1970-01-12T13:47:40Z", 3], ["1970-01-12T13:55:00Z", "1970-01-12T13:55:00Z", 1]]
    assert state == {"bookmarks": {}, "day_limits": {"/api/x": {"requests": spans, "pages": 3}}}
    assert request_times(state, "/api/x") == times


@pytest.mark.parametrize(
    "kept",
    [None, [], "x", {"/api/x": None}, {"/api/x": {"requests": [[1], None, ["a", "b", 2], ["2026-01-01", None, "c"]]}}],
)
def test_a_limit_in_the_state_that_is_not_understood_counts_as_none(kept: object) -> None:
    state = {"day_limits": kept}
    assert request_times(state, "/api/x") == []
    assert with_requests(state, "/api/y", [], 1)["day_limits"]["/api/y"] == {"requests": [], "pages": 1}


def test_a_span_of_absurdly_many_requests_is_cut() -> None:
    state = {"day_limits": {"/api/x": {"requests": [["2026-01-01", "2026-01-02", 10**12]]}}}
    assert len(request_times(state, "/api/x")) == 1000
