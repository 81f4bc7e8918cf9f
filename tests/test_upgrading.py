"""Coming from another tap: whole syncs with catalogs and states as singer-io's and MeltanoLabs' taps write them.

They are written here by hand, in the shapes that those taps' documents and discovery show.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from tap_klaviyo.sandbox import Account, Sandbox
from tap_klaviyo.singer.selection import read_catalog
from tap_klaviyo.streams.table import BY_NAME
from tap_klaviyo.times import DAY, format_time
from tests.running import all_events, sync

# singer-io 1.2 and later: its name for a metric's stream, if this tap's name differs.
TEXT_MESSAGES = {
    "Clicked Text Message": "clicked_text_message",
    "Subscribed to Text Messaging Marketing": "subscribed_to_text_message",
    "Failed to Deliver Text Message": "failed_to_deliver_text_message",
    "Failed to Deliver Automated Response Text Message": "failed_to_deliver_automated_response_text_message",
    "Received Automated Response Text Message": "received_automated_response_text_message",
    "Received Text Message": "received_text_message",
    "Sent Text Message": "sent_text_message",
    "Unsubscribed from Text Messaging Marketing": "unsubscribed_from_text_message",
}
OURS = {
    "clicked_text_message": "clicked_sms",
    "subscribed_to_text_message": "consented_to_receive",
    "failed_to_deliver_text_message": "failed_to_deliver",
    "failed_to_deliver_automated_response_text_message": "failed_to_deliver_automated_response",
    "received_automated_response_text_message": "received_automated_response",
    "received_text_message": "received_sms",
    "sent_text_message": "sent_sms",
    "unsubscribed_from_text_message": "unsubscribed_from_sms",
    # Before 1.2.
    "subscribed_to_sms": "consented_to_receive",
}
NOT_OURS = ("subscribed_to_push", "segment_exports")


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=1500, seed=5)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("tap_klaviyo")
    logger.addHandler(caplog.handler)
    with caplog.at_level("INFO", "tap_klaviyo"):
        yield caplog
    logger.removeHandler(caplog.handler)


def nullable(kind: str, **more: object) -> dict[str, Any]:
    return {"type": ["null", kind], **more}


SINGER_EVENT = {
    "type": nullable("string"),
    "uuid": nullable("string"),
    "timestamp": nullable("integer"),
    "datetime": nullable("string"),
    "id": nullable("string"),
    "event_properties": nullable("object", properties={}),
    "profile": nullable("array", items=nullable("object", properties={"id": nullable("string")})),
    "metric": nullable("array", items=nullable("object", properties={"name": nullable("string")})),
}
SINGER_LIST = {
    "type": nullable("string"),
    "id": nullable("string"),
    "name": nullable("integer"),
    "tags": nullable("array", items=nullable("object", properties={"type": nullable("string")})),
}


def singer_entry(
    stream: str,
    tap_stream_id: str,
    selected: object = None,
    properties: Mapping[str, Any] = SINGER_EVENT,
    without: Sequence[str] = (),
    key: str = "id",
) -> dict[str, Any]:
    """Return an entry as singer-io's tap discovers it, selected or not, with some fields deselected."""
    incremental = tap_stream_id != stream
    root: dict[str, Any] = {"inclusion": "available", "table-key-properties": [key]}
    root["forced-replication-method"] = "INCREMENTAL" if incremental else "FULL_TABLE"
    if incremental:
        root["valid-replication-keys"] = ["timestamp"]
    if selected is not None:
        root["selected"] = selected
    fields = [
        {
            "breadcrumb": ["properties", name],
            "metadata": {"inclusion": "automatic" if name in (key, "timestamp") else "available"}
            | ({"selected": False} if name in without else {}),
        }
        for name in properties
    ]
    return {
        "stream": stream,
        "tap_stream_id": tap_stream_id,
        "key_properties": [key],
        "schema": {"type": ["null", "object"], "properties": properties},
        "metadata": [{"breadcrumb": [], "metadata": root}, *fields],
    }


def singer_catalog(account: Account, selected: Iterable[str], without: Sequence[str] = ()) -> dict[str, Any]:
    """Return the catalog that singer-io's tap discovers, with the named streams selected."""
    chosen = set(selected)
    entries = [
        singer_entry(name, metric, name in chosen or None, without=without)
        for name, metric in singer_metrics(account).items()
    ]
    full = [
        singer_entry("global_exclusions", "global_exclusions", "global_exclusions" in chosen or None, {}),
        singer_entry("lists", "lists", "lists" in chosen or None, SINGER_LIST),
        singer_entry("campaigns", "campaigns", "campaigns" in chosen or None, {"campaign-messages": nullable("array")}),
    ]
    return {"streams": entries + full}


def singer_metrics(account: Account) -> dict[str, str]:
    """Return the metric that singer-io's tap has for each of its streams: every metric of a name that it knows."""
    return {
        TEXT_MESSAGES.get(metric.kind.name, metric.kind.stream): metric.id
        for metric in account.metrics
        if metric.kind.stream and metric.kind.listed
    }


def test_entries_named_by_metric_ids_and_text_messages_are_written_under_our_names(sandbox: Sandbox) -> None:
    names = [name for name in singer_metrics(sandbox.account) if name in OURS or name in BY_NAME]
    text_messages = set(names) & set(OURS)
    assert len(text_messages) > 3
    run = sync(sandbox, catalog=singer_catalog(sandbox.account, [*names, "lists"]))
    expected = sandbox.account.ledger(sandbox.now)
    wanted = {*(OURS.get(name, name) for name in names), "lists"}
    assert run.error is None
    assert {stream: sorted(keys) for stream, keys in run.keys().items()} == {
        stream: sorted(expected[stream]) for stream in wanted
    }


@pytest.mark.parametrize(("name", "ours"), OURS.items())
def test_each_text_message_name_is_one_of_our_streams(name: str, ours: str) -> None:
    (selection,) = read_catalog({"streams": [singer_entry(name, "VfTks9", selected=True)]})
    assert selection.stream is BY_NAME[ours]


def test_only_what_that_catalog_selects_is_read_and_our_definitions_hold(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=singer_catalog(sandbox.account, ["open", "lists"], without=["profile", "uuid"]))
    assert list(run.keys()) == ["open", "lists"]
    opened, lists = (message["schema"]["properties"] for message in run.of("SCHEMA"))
    ours = BY_NAME["open"].schema["properties"]
    assert opened == {name: ours[name] for name in ours if name not in ("profile", "uuid", "attributions")}
    assert lists == BY_NAME["lists"].schema["properties"]
    assert set(run.records("open")[0]) == opened.keys()
    assert not any("include=profile" in request.url for request in sandbox.requests)


def test_two_metrics_of_one_stream_are_one_stream() -> None:
    entries = [singer_entry("clicked_sms", "A1"), singer_entry("clicked_text_message", "B2", True, without=["uuid"])]
    (selection,) = read_catalog({"streams": entries})
    assert (selection.stream.name, "uuid" in selection.fields) == ("clicked_sms", False)


def test_streams_that_are_not_ours_are_named_and_passed_over(sandbox: Sandbox, said: pytest.LogCaptureFixture) -> None:
    foreign = [singer_entry(name, f"X{place}mL8M", True) for place, name in enumerate(NOT_OURS)]
    run = sync(sandbox, catalog={"streams": [*foreign, singer_entry("received_text_message", "SrU8uS", True)]})
    assert list(run.keys()) == ["received_sms"]
    warnings = [record.getMessage() for record in said.records if record.levelno == logging.WARNING]
    assert [name for name in NOT_OURS if any(f'"{name}"' in each for each in warnings)] == list(NOT_OURS)
    assert "The stream received_text_message of the catalog is read and written as received_sms." in said.messages


@pytest.mark.parametrize("place", ["entry", "schema"])
@pytest.mark.parametrize(("flag", "streams"), [(True, ["open"]), (False, []), ("true", ["open"])])
def test_a_catalog_without_metadata_selects_beside_or_in_the_schema(
    place: str, flag: object, streams: list[str]
) -> None:
    entry: dict[str, Any] = {"stream": "open", "tap_stream_id": "Si4C3N", "key_properties": "id", "metadata": None}
    entry["schema"] = {"type": "object", "properties": SINGER_EVENT}
    (entry if place == "entry" else entry["schema"])["selected"] = flag
    assert [each.stream.name for each in read_catalog({"streams": [entry]})] == streams


def test_a_state_by_metric_ids_is_resumed(sandbox: Sandbox) -> None:
    metrics = singer_metrics(sandbox.account)
    names = ["open", "received_text_message", "unsubscribed_from_text_message"]
    mark = int(sandbox.now) - 60 * DAY
    state = {
        "bookmarks": {metrics[name]: {"since": format_time(mark)} for name in names},
        "target_state": {"lists": "fullLoadEnd"},
    }
    run = sync(sandbox, state=state, catalog=singer_catalog(sandbox.account, names))
    later = sandbox.account.ledger(sandbox.now, mark - 7 * DAY)
    assert run.keys() == {OURS.get(name, name): later[OURS.get(name, name)] for name in names}
    assert 0 < len(later["open"]) < len(sandbox.account.ledger(sandbox.now)["open"])
    assert run.state["bookmarks"].keys() == {"open", "received_sms", "unsubscribed_from_sms"}
    assert run.state["target_state"] == {"lists": "fullLoadEnd"}


def test_a_state_by_stream_names_is_resumed_from_the_older_of_two(sandbox: Sandbox) -> None:
    now = int(sandbox.now)
    bookmarks = {
        "clicked_sms": {"since": format_time(now - 90 * DAY)},
        "clicked_text_message": {"since": format_time(now - 30 * DAY)},
        "subscribed_to_sms": {"since": format_time(now - 50 * DAY)},
        "subscribed_to_push": {"since": format_time(now - 50 * DAY)},
    }
    catalog = singer_catalog(sandbox.account, ["clicked_sms", "clicked_text_message", "subscribed_to_text_message"])
    run = sync(sandbox, state={"bookmarks": bookmarks}, catalog=catalog, lookback_days=0)
    clicked = sandbox.account.ledger(sandbox.now, now - 90 * DAY)["clicked_sms"]
    consented = sandbox.account.ledger(sandbox.now, now - 50 * DAY)["consented_to_receive"]
    assert run.keys() == {"clicked_sms": clicked, "consented_to_receive": consented}
    assert run.state["bookmarks"]["subscribed_to_push"] == bookmarks["subscribed_to_push"]
    assert run.state["bookmarks"].keys() == {*run.keys(), "subscribed_to_push"}


MELTANO_EVENT = {
    "id": nullable("string"),
    "type": nullable("string"),
    "name": nullable("string"),
    "datetime": nullable("string", format="date-time"),
    "attributes": nullable("object", properties={"uuid": nullable("string")}),
}


def meltano_catalog(**selected: bool) -> dict[str, Any]:
    """Return the catalog of MeltanoLabs' tap as Meltano hands it over: `selected` on every breadcrumb."""

    def entry(stream: str, properties: Mapping[str, Any], replication_key: str | None) -> dict[str, Any]:
        chosen = {"inclusion": "available", "selected": selected.get(stream, False)}
        fields = [
            {"breadcrumb": ["properties", name], "metadata": {**chosen, "inclusion": "available"}}
            for name in properties
        ]
        nested = {"breadcrumb": ["properties", "attributes", "properties", "uuid"], "metadata": chosen}
        return {
            "tap_stream_id": stream,
            "stream": stream,
            "selected": chosen["selected"],
            "key_properties": ["id"],
            "replication_key": replication_key,
            "replication_method": "INCREMENTAL" if replication_key else "FULL_TABLE",
            "is_view": False,
            "schema": {"properties": properties, "type": "object"},
            "metadata": [{"breadcrumb": [], "metadata": chosen}, *fields, nested],
        }

    lists = {"id": nullable("string"), "updated": nullable("string"), "attributes": nullable("object")}
    return {
        "streams": [
            entry("events", MELTANO_EVENT, "datetime"),
            entry("profiles", {"id": nullable("string")}, "updated"),
            entry("listmembers", {"id": nullable("string")}, None),
            entry("lists", lists, "updated"),
        ]
    }


def test_meltanolabs_streams_are_read_as_ours_of_the_same_name(
    sandbox: Sandbox, said: pytest.LogCaptureFixture
) -> None:
    mark = int(sandbox.now) - 40 * DAY
    state = {
        "bookmarks": {
            "events": {"replication_key": "datetime", "replication_key_value": format_time(mark)},
            "lists": {"replication_key": "updated", "replication_key_value": "2026-01-01T00:00:00+00:00"},
            "campaigns": {"partitions": [{"context": {"filter": "equals(messages.channel,'sms')"}}]},
        }
    }
    catalog = meltano_catalog(events=True, lists=True, profiles=True, listmembers=True)
    run = sync(sandbox, state=state, catalog=catalog)
    assert sorted(run.keys()["events"]) == sorted(all_events(sandbox.account, sandbox.now, mark - 7 * DAY))
    assert sorted(run.keys()) == ["events", "list_members", "lists", "profiles"]
    assert {"id", "timestamp", "event_properties", "profile", "metric"} <= run.records("events")[0].keys()
    assert run.state["bookmarks"]["events"].keys() == {"timestamp"}
    assert "The stream listmembers of the catalog is read and written as list_members." in said.messages


def test_meltanolabs_events_can_be_left_out(sandbox: Sandbox) -> None:
    assert list(sync(sandbox, catalog=meltano_catalog(lists=True)).keys()) == ["lists"]


def test_the_first_entry_that_selects_a_stream_holds() -> None:
    entry = singer_entry("open", "open", True, without=["uuid"])
    second = singer_entry("open", "open", True)
    (only,) = read_catalog({"streams": [entry, second]})
    assert (only.stream.name, "uuid" in only.fields) == ("open", False)
