"""Moments: as users, states and records have them, and as messages say durations."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from msgspec import UNSET, Raw

from tap_klaviyo.records.times import epoch_seconds
from tap_klaviyo.times import format_duration, format_time, parse_time, parse_utc
from tests.running import host_in


@pytest.fixture(params=["America/New_York", "UTC"])
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the host be in a time zone, as far as the system can do that."""
    with host_in(request.param, monkeypatch):
        yield


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-02-01", "2026-02-01T00:00:00Z"),
        ("02/01/2026", "2026-02-01T00:00:00Z"),
        (" 2026-02-01 \n", "2026-02-01T00:00:00Z"),
        ("2026-02-01T08:30:00", "2026-02-01T08:30:00Z"),
        ("2026-02-01T08:30:00.900Z", "2026-02-01T08:30:00Z"),
        ("2026-02-01T08:30:00+02:00", "2026-02-01T06:30:00Z"),
        ("2026-02-01T08:30:00+00:00", "2026-02-01T08:30:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_a_date_is_in_utc_wherever_the_host_is(text: str, time: str) -> None:
    assert format_time(parse_time(text)) == time
    assert format_time(parse_utc(text)) == time


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:00:00-05:00", "0001-01-01T00:00:00+05:00", "1/2/2026 8:00", "20260201", "P1D", "12:30", ""]
)
def test_what_is_no_date_that_can_be_written_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a date such as"):
        parse_time(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (3600, "1 h 0 min"), (7859, "2 h 10 min")],
)
def test_a_duration_has_two_units(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_the_times_of_records_are_read_from_whatever_they_are() -> None:
    moment = "2026-02-01T00:00:00+00:00"
    values = [5, moment, Raw(f'"{moment}"'.encode()), Raw(b"7"), "x", Raw(b'"x"'), Raw(b"null"), None, UNSET]
    records = [*(SimpleNamespace(updated=value) for value in values), SimpleNamespace()]
    seconds = parse_time(moment)
    assert epoch_seconds(records, "updated") == [5, seconds, seconds, 7, 0, 0, 0, 0, 0, 0]


def test_the_times_of_records_that_are_numbers_pass() -> None:
    assert epoch_seconds([SimpleNamespace(timestamp=each) for each in (3, 1, 2)], "timestamp") == [3, 1, 2]
