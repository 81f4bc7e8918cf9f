"""A report's request and answer on their own: bodies, odd answers, and days and months of a time zone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tap_klaviyo import config
from tap_klaviyo.errors import UnavailableError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.jsonapi import MalformedError, parse_page
from tap_klaviyo.klaviyo.reports import ReportQuery, ResourceDecoder, aggregates_body, report_labels
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.daily_counts import CountRequests, count_fetch
from tap_klaviyo.reading.day_limit import DayLimit
from tap_klaviyo.reading.periods import (
    Period,
    Unit,
    cut_windows,
    format_bound,
    format_local,
    labelled_date,
    period_after,
    periods_between,
)
from tap_klaviyo.reading.reports import ReportRequests, report_fetch
from tap_klaviyo.singer.day_limits import with_requests
from tap_klaviyo.streams.table import BY_NAME
from tap_klaviyo.times import DAY, format_time, parse_time
from tests.canned import Answer, answering
from tests.running import Time

ZONE = ZoneInfo("US/Eastern")
CAIRO, KIRITIMATI = ZoneInfo("Africa/Cairo"), ZoneInfo("Pacific/Kiritimati")
LINKS = {"self": "https://a.klaviyo.com/api/x", "next": None, "prev": None}


@contextmanager
def client_of(*bodies: Mapping[str, Any], heard: list[bytes] | None = None) -> Iterator[Client]:
    """Yield a client whose requests are answered with these bodies, one after the other; `heard` gets their own."""
    given = iter(bodies)
    with answering(lambda _: Answer(json.dumps(next(given)).encode()), heard=heard) as origin:
        settings = config.check_settings({"api_key": "pk_x", "start_date": "2026-01-01", "base_url": origin})
        yield Client(settings, Time().clock, Retries(total=0))


def days_of(first: str, count: int) -> list[Period]:
    noon = parse_time(f"{first}T16:00:00Z")
    return periods_between("day", noon, noon + (count - 1) * DAY + 1, ZONE)


def read_report(
    name: str, client: Client, window: Sequence[Period], *statistics: str, settled: str = "2026-12-01"
) -> Batch:
    """Return the batch of a report's first page."""
    stream = BY_NAME[name]
    interval = "daily" if "series" in name else None
    metric = "METRIC" if "flow" in name else None
    requests = ReportRequests(
        stream,
        client,
        ReportQuery(name.replace("_", "-"), statistics, interval=interval, conversion_metric_id=metric),
        "flow" in name,
        stream.project(stream.schema),
        ZONE,
        window[-1].end,
        parse_time(settled),
        DayLimit(client, stream.endpoint, {}, lambda: 0.0),
    )
    return report_fetch(requests, [window])().item


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    return [json.loads(line)["record"] for line in batch.read_lines().splitlines()]


def answer(*results: Any, labels: Sequence[str] = (), **links: Any) -> dict[str, Any]:
    attributes = {"results": results, "date_times": labels}
    return {"data": {"type": "report", "attributes": attributes}, "links": {**LINKS, **links}}


def figures(groupings: Any, **statistics: Any) -> dict[str, Any]:
    return {"groupings": groupings, "statistics": statistics}


# The request.


def test_a_body_has_what_a_report_is_asked_for() -> None:
    query = ReportQuery("flow-series-report", ("opens",), ("flow_id", "flow_message_id"), "daily", "METRIC")
    bounds = ("2026-03-01T00:00:00+00:00", "2026-03-15T00:00:00+00:00")
    assert json.loads(query.body(*bounds)) == {
        "data": {
            "type": "flow-series-report",
            "attributes": {
                "statistics": ["opens"],
                "timeframe": {"start": bounds[0], "end": bounds[1]},
                "group_by": ["flow_id", "flow_message_id"],
                "interval": "daily",
                "conversion_metric_id": "METRIC",
            },
        }
    }
    plain = json.loads(ReportQuery("form-values-report", ("submits",)).body(*bounds))
    assert plain["data"]["attributes"].keys() == {"statistics", "timeframe"}


def test_a_body_for_counts_has_no_sort() -> None:
    body = json.loads(
        aggregates_body("METRIC", ("count",), "2026-03-01T05:00:00Z", "2026-03-02T05:00:00Z", "US/Eastern")
    )
    assert body["data"]["attributes"] == {
        "metric_id": "METRIC",
        "measurements": ["count"],
        "interval": "day",
        "timezone": "US/Eastern",
        "filter": ["greater-or-equal(datetime,2026-03-01T05:00:00Z)", "less-than(datetime,2026-03-02T05:00:00Z)"],
    }


# The answer.


@pytest.mark.parametrize("data", [None, [], "x", {}, {"attributes": None}, {"attributes": []}])
def test_an_answer_without_one_resource_with_attributes_is_malformed(data: object) -> None:
    body = json.dumps({"data": data, "links": LINKS}).encode()
    with pytest.raises(MalformedError):
        parse_page(body, ResourceDecoder())


@pytest.mark.parametrize("interval", [None, "daily"])
@pytest.mark.parametrize("odd", [None, "x", {}, 0])
def test_an_answer_without_an_array_of_figures_is_malformed(interval: str | None, odd: object) -> None:
    query = ReportQuery("flow-series-report", ("opens",), interval=interval)
    whole: dict[str, object] = {"results": [], "date_times": []}
    parse_page(json.dumps({"data": {"attributes": whole}}).encode(), ResourceDecoder(arrays=query.arrays))
    for name in query.arrays:
        for attributes in ({**whole, name: odd}, {each: whole[each] for each in whole if each != name}):
            body = json.dumps({"data": {"attributes": attributes}}).encode()
            with pytest.raises(MalformedError, match=f'"{name}" is not an array'):
                parse_page(body, ResourceDecoder(arrays=query.arrays))


def test_an_answer_of_a_report_with_pages_needs_links_and_that_of_another_does_not() -> None:
    body = json.dumps({"data": {"attributes": {}}}).encode()
    assert parse_page(body, ResourceDecoder()).has_links
    assert not parse_page(body, ResourceDecoder(is_paged=True)).has_links
    with pytest.raises(MalformedError):
        parse_page(b'{"data": {"attributes": {}}, "links": {"next": 7}}', ResourceDecoder(is_paged=True))


def test_odd_values_are_made_to_fit_and_counted() -> None:
    results = [
        figures({"form_id": "A", "mood": "good"}, submits="12", viewed_form=1.5, closed_form=None, qualified_form={}),
        figures({"form_id": 7}, submits=3),
    ]
    (october,) = periods_between("month", parse_time("2026-10-10"), parse_time("2026-10-11"), ZONE)
    with client_of(answer(*results)) as client:
        batch = read_report("form_values_report", client, [october], "submits")
    own = {"period_start": "2026-10-01T00:00:00-04:00", "period_end": "2026-11-01T00:00:00-04:00"}
    assert rows_of(batch) == [
        {"form_id": "A", **own, "submits": 12, "viewed_form": 1.5, "closed_form": None, "qualified_form": None},
        {"form_id": "7", **own, "submits": 3},
    ]
    assert batch.findings.unknown == {("form_values_report", "mood"): 1}
    assert sum(batch.findings.changed.values()) == 3


def test_an_item_without_its_key_is_set_aside_and_costs_no_other() -> None:
    results = [
        None,
        {"groupings": {"form_id": "B"}},
        figures({}, submits=1),
        figures({"form_id": None}, submits=1),
        figures({"form_id": ""}, submits=1),
        figures({"form_id": "A"}, submits=2),
    ]
    with client_of(answer(*results)) as client:
        batch = read_report("form_values_report", client, days_of("2026-10-01", 1), "submits")
    assert [(row["form_id"], row["submits"]) for row in rows_of(batch)] == [("A", 2)]
    assert batch.findings.set_aside == {"form_values_report": 5}


def test_a_series_has_just_the_days_that_were_asked_for() -> None:
    labels = [f"2026-11-{day:02}T00:00:00+00:00" for day in range(1, 5)]
    result = figures({"form_id": "A"}, submits=[1, 2, 3, 4], viewed_form=[10, 20], closed_form=5)
    with client_of(answer(result, labels=[*labels, "soon"])) as client:
        batch = read_report("form_series_report", client, days_of("2026-11-02", 2), "submits")
    rows = rows_of(batch)
    assert [row["period_start"] for row in rows] == ["2026-11-02T00:00:00-05:00", "2026-11-03T00:00:00-05:00"]
    # An array that is too short leaves null, and so does a figure that is not an array.
    assert [(row["submits"], row["viewed_form"], row["closed_form"]) for row in rows] == [
        (2, 20, None),
        (3, None, None),
    ]


def test_a_day_without_a_label_has_no_row() -> None:
    result = figures({"form_id": "A"}, submits=[3])
    with client_of(answer(result, labels=["2026-11-03T00:00:00+00:00"])) as client:
        batch = read_report("form_series_report", client, days_of("2026-11-02", 2), "submits")
    assert [row["period_start"] for row in rows_of(batch)] == ["2026-11-03T00:00:00-05:00"]


NEXT = "https://a.klaviyo.com/api/flow-series-reports?page_cursor=2"


def flow_requests(client: Client, window: Sequence[Period], settled: int = 0, spent: int = 0) -> ReportRequests:
    """Return the requests for a report with pages, after as many requests a minute ago."""
    stream, now = BY_NAME["flow_series_report"], 1_800_000_000.0
    state = with_requests({}, stream.endpoint.path, [now - 120.0] * spent, 1)
    return ReportRequests(
        stream,
        client,
        ReportQuery("flow-series-report", ("opens",), interval="daily", conversion_metric_id="METRIC"),
        True,
        stream.project(stream.schema),
        ZONE,
        window[-1].end,
        settled,
        DayLimit(client, stream.endpoint, state, lambda: now),
    )


def test_only_the_last_page_moves_the_bookmark_and_only_past_settled_periods() -> None:
    window = days_of("2026-10-01", 3)
    with client_of(answer(next=NEXT), answer()) as client:
        page = report_fetch(flow_requests(client, window, settled=window[1].end), [window])()
        (rest,) = page.then
        last = rest()
    assert (page.item.newest, last.item.newest) == (None, window[1].start)
    assert last.then == []


def test_pages_that_never_end_are_an_error() -> None:
    again = answer(next=NEXT)
    with client_of(again, again) as client:
        window = days_of("2026-10-01", 1)
        (rest,) = report_fetch(flow_requests(client, window), [window])().then
        with pytest.raises(UnavailableError, match="leads back to an earlier one"):
            rest()


def test_a_report_that_the_limit_of_a_day_cuts_between_two_pages_is_left_to_a_run_with_more_room() -> None:
    window = days_of("2026-10-01", 1)
    with client_of(answer(next=NEXT)) as client:
        requests = flow_requests(client, window, spent=224)
        (rest,) = report_fetch(requests, [window])().then
        cut = rest()
    assert (cut.item.newest, cut.then) == (None, ())
    assert "leaves the figures from 2026-10-01 on to the next runs" in str(cut.item.left_over)
    entry = requests.limit.record({})["day_limits"]["/api/flow-series-reports"]
    assert (entry["pages"], sum(count for _, _, count in entry["requests"])) == (2, 225)


def test_a_period_that_was_read_needs_as_much_room_the_next_time() -> None:
    window = days_of("2026-10-01", 1)
    with client_of(answer(next=NEXT), answer()) as client:
        requests = flow_requests(client, window)
        (rest,) = report_fetch(requests, [window])().then
        rest()
    assert requests.limit.record({})["day_limits"]["/api/flow-series-reports"]["pages"] == 2


def test_a_period_that_klaviyo_cuts_between_two_pages_needs_more_room_the_next_time() -> None:
    window, given = days_of("2026-10-01", 1), iter([Answer(json.dumps(answer(next=NEXT)).encode())])
    refused = Answer(b'{"errors": [{"detail": "Request was throttled."}]}', 429, {"Retry-After": "40000"})
    with answering(lambda _: next(given, refused)) as origin:
        settings = config.check_settings({"api_key": "pk_x", "start_date": "2026-01-01", "base_url": origin})
        requests = flow_requests(Client(settings, Time().clock, Retries(total=0)), window)
        (rest,) = report_fetch(requests, [window])().then
        cut = rest()
    assert "leaves the figures from 2026-10-01 on to the next runs" in str(cut.item.left_over)
    assert requests.limit.record({})["day_limits"]["/api/flow-series-reports"]["pages"] == 4


def test_a_period_with_more_pages_than_a_day_has_requests_is_an_error() -> None:
    window = days_of("2026-10-01", 1)
    pages = [answer(next=f"{NEXT}{number}") for number in range(226)]
    with client_of(*pages) as client:
        fetched = report_fetch(flow_requests(client, window), [window])()
        while fetched.then:
            fetched = fetched.then[0]()
    assert "more than 225 pages" in str(fetched.item.problem)


def counts_answer(dates: Sequence[str], **counts: Any) -> dict[str, Any]:
    data = [{"dimensions": [], "measurements": counts}]
    return {"data": {"type": "metric-aggregate", "attributes": {"dates": dates, "data": data}}}


def count_requests(client: Client, now: int, zone: ZoneInfo = ZONE, version: int | None = None) -> CountRequests:
    stream = BY_NAME["metric_aggregates"]
    project = stream.project(stream.schema)
    return CountRequests(stream, client, ("count", "unique"), project, zone, now, now, version)


def test_counts_belong_to_the_local_day_of_their_instant() -> None:
    dates = ["2026-11-01T04:00:00+00:00", "2026-11-02T05:00:00Z", "2026-11-08T05:00:00+00:00", "soon"]
    window = days_of("2026-11-01", 3)
    with client_of(counts_answer(dates, count=[1, "2", 3], unique=[1])) as client:
        batch = count_fetch(count_requests(client, window[-1].start), "M", [window])().item
    # A day without a date has no row, and an array that is too short leaves null.
    assert [(row["metric_id"], row["period_start"], row["count"], row["unique"]) for row in rows_of(batch)] == [
        ("M", "2026-11-01T00:00:00-04:00", 1, 1),
        ("M", "2026-11-02T00:00:00-05:00", 2, None),
    ]
    assert (batch.query, batch.newest, sum(batch.findings.changed.values())) == ("M", window[1].start, 1)


def test_counts_of_a_zone_ahead_of_utc_belong_to_its_own_day() -> None:
    noon = parse_time("2026-11-01T12:00:00+14:00")
    window = periods_between("day", noon, noon + 1, KIRITIMATI)
    with client_of(counts_answer(["2026-10-31T10:00:00Z"], count=[7], unique=[5])) as client:
        batch = count_fetch(count_requests(client, noon, KIRITIMATI, 5), "M", [window])().item
    assert [(row["period_start"], row["count"]) for row in rows_of(batch)] == [("2026-11-01T00:00:00+14:00", 7)]
    assert [json.loads(line)["version"] for line in batch.read_lines().splitlines()] == [5]


def test_counts_are_asked_for_window_by_window_up_to_now() -> None:
    windows, bodies, empty = cut_windows(days_of("2026-11-01", 3), 2), list[bytes](), counts_answer([])
    with client_of(empty, empty, heard=bodies) as client:
        fetched = count_fetch(count_requests(client, windows[1][0].start + 3600), "M", windows)()
        (rest,) = fetched.then
        assert rest().then == []
    bounds = [json.loads(body)["data"]["attributes"]["filter"] for body in bodies]
    assert [(start[-21:-1], end[-21:-1]) for start, end in bounds] == [
        ("2026-11-01T04:00:00Z", "2026-11-03T05:00:00Z"),
        ("2026-11-03T05:00:00Z", "2026-11-03T06:00:00Z"),
    ]


@pytest.mark.parametrize(("zone", "spelled"), [("Europe/Kyiv", "Europe/Kiev"), ("US/Eastern", "US/Eastern")])
def test_counts_are_asked_for_by_a_name_of_the_time_zone_that_the_endpoint_takes(zone: str, spelled: str) -> None:
    stream, bodies = BY_NAME["metric_aggregates"], list[bytes]()
    body = {"data": {"type": "metric-aggregate", "attributes": {"dates": [], "data": []}}}
    with client_of(body, heard=bodies) as client:
        window = days_of("2026-11-01", 1)
        requests = CountRequests(
            stream, client, ("count",), stream.project(stream.schema), ZoneInfo(zone), window[-1].end, 0
        )
        count_fetch(requests, "M", [window])()
    assert json.loads(bodies[0])["data"]["attributes"]["timezone"] == spelled


# Days and months of a time zone.


def starts(unit: Unit, start: str, end: str, zone: ZoneInfo) -> list[str]:
    """Return the starts of periods as dates, hours and offsets."""
    periods = periods_between(unit, parse_time(start), parse_time(end), zone)
    assert all(one.end == another.start for one, another in pairwise(periods))
    texts = [format_local(period.start, zone) for period in periods]
    return [f"{text[:13]} {text[19:]}" for text in texts]


@pytest.mark.parametrize(
    ("unit", "start", "end", "zone", "expected"),
    [
        (
            "month",
            "2025-12-31T20:00:00Z",
            "2026-02-01T04:59:59Z",
            ZONE,
            ["2025-12-01T00 -05:00", "2026-01-01T00 -05:00"],
        ),
        ("month", "2026-02-01T05:00:00Z", "2026-02-01T05:00:01Z", ZONE, ["2026-02-01T00 -05:00"]),
        ("month", "2026-02-01T05:00:00Z", "2026-02-01T05:00:00Z", ZONE, []),
        ("day", "2026-02-01T12:00:00Z", "2026-02-01T11:00:00Z", ZONE, []),
        ("day", "2026-02-01T05:00:00Z", "2026-02-02T05:00:00Z", ZONE, ["2026-02-01T00 -05:00"]),
        ("day", "2026-03-08T05:00:00Z", "2026-03-09T04:00:01Z", ZONE, ["2026-03-08T00 -05:00", "2026-03-09T00 -04:00"]),
        ("day", "2026-02-28", "2026-03-01", KIRITIMATI, ["2026-02-28T00 +14:00", "2026-03-01T00 +14:00"]),
        # The clocks skip the midnight of that day.
        ("day", "2026-04-24T12:00:00Z", "2026-04-24T13:00:00Z", CAIRO, ["2026-04-24T01 +03:00"]),
    ],
)
def test_periods_are_whole_days_or_months_of_the_time_zone(
    unit: Unit, start: str, end: str, zone: ZoneInfo, expected: list[str]
) -> None:
    assert starts(unit, start, end, zone) == expected


@pytest.mark.parametrize(
    ("unit", "moment", "zone", "expected"),
    [
        ("month", "2026-10-01T04:00:00Z", ZONE, "2026-11-01T04:00:00Z"),
        ("month", "2026-10-01T03:59:59Z", ZONE, "2026-10-01T04:00:00Z"),
        ("month", "2026-12-15", ZONE, "2027-01-01T05:00:00Z"),
        ("month", "2026-01-31T12:00:00Z", ZONE, "2026-02-01T05:00:00Z"),
        ("day", "2026-11-01T04:00:00Z", ZONE, "2026-11-02T05:00:00Z"),
        ("day", "2026-04-23T12:00:00Z", CAIRO, "2026-04-23T22:00:00Z"),
    ],
)
def test_the_period_after_a_moment_begins_at_the_next_local_midnight(
    unit: Unit, moment: str, zone: ZoneInfo, expected: str
) -> None:
    assert format_time(period_after(unit, parse_time(moment), zone)) == expected


def test_a_bound_is_the_local_time_written_as_utc() -> None:
    assert format_bound(parse_time("2026-07-01T04:00:00Z"), ZONE) == "2026-07-01T00:00:00+00:00"
    assert format_local(parse_time("2026-07-01T04:00:00Z"), ZONE) == "2026-07-01T00:00:00-04:00"


@pytest.mark.parametrize(("label", "expected"), [("2026-07-01T00:00:00+00:00", date(2026, 7, 1)), ("soon", None)])
def test_a_label_is_a_local_date(label: str, expected: date | None) -> None:
    assert labelled_date(label) == expected


def test_windows_hold_all_periods_in_groups_of_a_maximum() -> None:
    days = days_of("2026-01-01", 130)
    found = cut_windows(days, 60)
    assert [len(window) for window in found] == [60, 60, 10]
    assert [day for window in found for day in window] == days


def test_a_label_that_is_no_text_keeps_its_place() -> None:
    attributes = {"results": [], "date_times": ["2026-01-01T00:00:00+00:00", 5, "2026-01-03T00:00:00+00:00"]}
    body = json.dumps({"data": {"type": "report", "attributes": attributes}, "links": LINKS}).encode()
    assert report_labels(parse_page(body, ResourceDecoder())) == [
        "2026-01-01T00:00:00+00:00",
        "",
        "2026-01-03T00:00:00+00:00",
    ]
