"""The account as it is read before the streams: its metrics, and what becomes of an error."""

from __future__ import annotations

import json
import socket

import pytest

from tap_klaviyo import config
from tap_klaviyo.errors import AuthError, OfflineError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.reading.account import Account, read_account
from tap_klaviyo.streams.table import BY_NAME
from tests.canned import Answer, answering
from tests.running import Time

METRIC = {"type": "metric", "id": "M", "attributes": {"name": "Opened Email", "integration": {"key": "klaviyo"}}}


def read_from(origin: str, *streams: str) -> Account:
    settings = config.check_settings({"api_key": "pk_x", "start_date": "2026-01-01", "base_url": origin})
    clock = Time(1_800_000_000.0).clock
    return read_account(Client(settings, clock), [BY_NAME[name] for name in streams], clock.wall)


def test_the_metrics_of_each_stream_are_found() -> None:
    body = json.dumps({"data": [METRIC], "links": {"self": "", "next": None}}).encode()
    with answering(lambda _: Answer(body)) as origin:
        account = read_from(origin, "open", "click", "lists")
    assert account.metric_ids == {"open": ["M"], "click": [], "lists": []}
    assert [each.id for each in account.all_metrics] == ["M"]
    # The answer has no date, so that the host's clock counts, less the margin.
    assert (account.now, account.problem) == (1_799_999_995, None)


def test_an_error_is_kept_for_the_streams_that_need_the_metrics() -> None:
    with answering(lambda _: Answer(b"{}", 403)) as origin:
        account = read_from(origin, "open")
    assert "403" in str(account.problem)
    assert account.metric_ids == {"open": []}


def test_a_key_that_is_refused_ends_the_run() -> None:
    with answering(lambda _: Answer(b"{}", 401)) as origin, pytest.raises(AuthError):
        read_from(origin, "open")


def test_a_machine_without_a_network_ends_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(OfflineError):
        read_from(f"http://127.0.0.1:{port}", "open")


def test_without_streams_nothing_is_asked_for() -> None:
    with answering(lambda _: Answer(b"{}", 401)) as origin:
        assert read_from(origin) == Account({}, 1_800_000_000)
