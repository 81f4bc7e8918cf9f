"""What reports know of the account: its time zone and its metric of conversions, from answers of any kind."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from msgspec import Raw

from tap_klaviyo import config
from tap_klaviyo.errors import AuthError, RequestError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.reading.account import Account
from tap_klaviyo.reading.report_account import ReportAccount, read_report_account
from tap_klaviyo.streams.table import BY_NAME
from tests.canned import Answer, answering
from tests.running import Time

ORDER = Resource("PLACED", "metric", Raw(b'{"name": "Placed Order"}'))
ACCOUNT = Account({}, 0, all_metrics=[ORDER])


def page(*data: object, following: str | None = None) -> Answer:
    return Answer(json.dumps({"data": data, "links": {"self": "", "next": following}}).encode())


def in_zone(zone: object) -> Answer:
    return page({"type": "account", "id": "A", "attributes": {"timezone": zone}})


def mapping(id: str, *metrics: str) -> dict[str, object]:
    data = {"type": "metric", "id": metrics[0]} if metrics else None
    return {"type": "mapped-metric", "id": id, "attributes": {}, "relationships": {"metric": {"data": data}}}


def known_of(
    zone: Answer,
    mappings: Sequence[Answer] = (),
    account: Account = ACCOUNT,
    wanted: str | None = None,
    stream: str = "flow_values_report",
) -> ReportAccount:
    """Return what is known if Klaviyo answers so, page by page."""
    given = iter(mappings)
    with answering(lambda path: zone if path.startswith("/api/accounts") else next(given)) as origin:
        settings = config.check_settings({"api_key": "pk_x", "start_date": "2026-01-01", "base_url": origin})
        client = Client(settings, Time().clock, Retries(total=0))
        return read_report_account(client, account, [BY_NAME[stream]], wanted)


UTC = in_zone("UTC")
REFUSED = Answer(b'{"errors": [{"code": "not_authenticated", "detail": "no"}]}', 401)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../UTC", "", None, 7])
def test_an_odd_time_zone_is_a_sentence(zone: object) -> None:
    known = known_of(in_zone(zone))
    assert known.zone is None
    assert "is not a time zone. Check the time zone in Klaviyo" in str(known.zone_problem)


@pytest.mark.parametrize("stream", ["form_values_report", "metric_aggregates", "list_sizes"])
def test_the_time_zone_is_read_for_reports_of_every_kind(stream: str) -> None:
    assert str(known_of(UTC, stream=stream).zone) == "UTC"


def test_without_a_report_nothing_is_read() -> None:
    assert known_of(REFUSED, stream="lists") == ReportAccount()


@pytest.mark.parametrize(("zone", "mappings"), [(REFUSED, []), (UTC, [REFUSED])])
def test_a_key_that_is_refused_ends_the_run_at_once(zone: Answer, mappings: Sequence[Answer]) -> None:
    with pytest.raises(AuthError):
        known_of(zone, mappings)


@pytest.mark.parametrize("wanted", [None, "Placed Order"])
def test_metrics_that_could_not_be_read_are_the_problem(wanted: str | None) -> None:
    problem = RequestError("Klaviyo answers 403.", 403)
    known = known_of(UTC, account=Account({}, 0, problem), wanted=wanted)
    assert (known.conversion_metric, known.metric_problem) == (None, problem)


@pytest.mark.parametrize(
    ("mappings", "expected"),
    [
        ([page(mapping("revenue", "M"))], "M"),
        ([page(mapping("started_checkout", "N"), mapping("revenue", "M"))], "M"),
        ([page(mapping("started_checkout", "N"))], "PLACED"),
        # A custom metric is mapped by another relationship.
        ([page(mapping("revenue"))], "PLACED"),
        ([Answer(b"{}", 404)], "PLACED"),
    ],
)
def test_the_metric_mapped_to_revenue_counts_else_placed_order(mappings: list[Answer], expected: str) -> None:
    assert known_of(UTC, mappings).conversion_metric == expected


def test_mappings_are_read_to_their_last_page() -> None:
    following = "https://a.klaviyo.com/api/mapped-metrics?page%5Bcursor%5D=2"
    mappings = [page(mapping("started_checkout", "N"), following=following), page(mapping("revenue", "M"))]
    assert known_of(UTC, mappings).conversion_metric == "M"
