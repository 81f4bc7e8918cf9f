"""States: our own, other taps', and none."""

import pytest

from tap_klaviyo.config import Config, check
from tap_klaviyo.errors import StateError
from tap_klaviyo.singer import state
from tap_klaviyo.streams.table import BY_NAME
from tap_klaviyo.times import parse_time

OPEN, CLICK = BY_NAME["open"], BY_NAME["click"]
NOW = parse_time("2026-11-23T00:00:00Z")


def configured(**values: object) -> Config:
    return check({"api_key": "pk_1", "start_date": "2026-01-01", **values})


def marks(**bookmarks: object) -> state.State:
    return {"bookmarks": bookmarks}


def start(given: state.State, **settings: object) -> int:
    return state.start_of(given, OPEN, configured(**settings), NOW)


def test_the_lookback_is_applied_on_reading() -> None:
    given = marks(open={"timestamp": "2026-11-20T12:00:00Z"})
    assert start(given) == parse_time("2026-11-13T12:00:00Z")
    assert start(given, lookback_days=0) == parse_time("2026-11-20T12:00:00Z")


def test_without_a_bookmark_and_before_the_start_date_the_start_date_holds() -> None:
    assert start({}) == start(marks(open={"timestamp": "2026-01-03T00:00:00Z"})) == parse_time("2026-01-01")


def test_a_bookmark_in_the_future_is_not_believed() -> None:
    assert start(marks(open={"timestamp": "2027-01-01T00:00:00Z"})) == parse_time("2026-01-01")


def test_bookmarks_only_grow_and_leave_the_given_state_alone() -> None:
    given = marks(open={"timestamp": "2026-11-20T00:00:00Z"}, other=1)
    further = state.advance(given, OPEN, parse_time("2026-11-21"))
    assert further == marks(open={"timestamp": "2026-11-21T00:00:00Z"}, other=1)
    assert state.advance(further, OPEN, parse_time("2026-11-20")) is further
    assert given == marks(open={"timestamp": "2026-11-20T00:00:00Z"}, other=1)


def test_currently_syncing_comes_and_goes() -> None:
    during = state.syncing({"bookmarks": {}}, OPEN)
    assert during == {"bookmarks": {}, "currently_syncing": "open"}
    assert state.syncing(during, None) == {"bookmarks": {}}


@pytest.mark.parametrize(
    "entry",
    [
        {"since": "2026-11-20T00:00:00Z"},
        {"since": "2026-11-20 00:00:00"},
        {"since": 1795132800},
        {"replication_key": "datetime", "replication_key_value": "2026-11-20T00:00:00+00:00"},
    ],
)
@pytest.mark.parametrize("name", ["open", "SkDfHe", "opened_email", "events"])
def test_other_taps_bookmarks_are_adopted(name: str, entry: object) -> None:
    adopted = state.adopt(marks(**{name: entry}), {"open": ["SkDfHe"]})
    assert adopted["bookmarks"]["open"] == {"timestamp": "2026-11-20T00:00:00Z"}


@pytest.mark.parametrize("entry", [{"page": 3}, {"timestamp": None}, {"timestamp": ""}, 7])
def test_an_entry_of_ours_without_a_date_is_no_bookmark(entry: object) -> None:
    adopted = state.adopt(marks(open=entry, other=1), {})
    assert adopted == marks(other=1)
    reached = state.advance(adopted, OPEN, parse_time("2026-11-20"))
    assert reached == marks(open={"timestamp": "2026-11-20T00:00:00Z"}, other=1)


def test_of_two_bookmarks_the_older_holds_and_only_what_is_not_ours_is_kept() -> None:
    given = {
        **marks(open={"timestamp": "2026-11-20T00:00:00Z"}, SkDfHe={"since": "2026-11-19T00:00:00Z"}, theirs={"x": 1}),
        "extra": True,
    }
    assert state.adopt(given, {"open": ["SkDfHe"]}) == {
        **marks(open={"timestamp": "2026-11-19T00:00:00Z"}, theirs={"x": 1}),
        "extra": True,
    }


def test_a_reset_stream_starts_anew_though_another_tap_left_a_bookmark() -> None:
    adopted = state.adopt(marks(SkDfHe={"since": "2026-11-19T00:00:00Z"}), {"open": ["SkDfHe"]})
    del adopted["bookmarks"]["open"]
    assert state.bookmark(state.adopt(adopted, {"open": ["SkDfHe"]}), OPEN) is None


def test_the_text_message_names_are_known() -> None:
    adopted = state.adopt(marks(clicked_text_message={"since": "2026-11-19T00:00:00Z"}), {})
    assert list(adopted["bookmarks"]) == ["clicked_sms"]


@pytest.mark.parametrize("value", [[], "x", 1, {"bookmarks": []}, {"bookmarks": "x"}, {"type": "STATE", "value": 3}])
def test_what_is_no_state_is_refused(value: object) -> None:
    with pytest.raises(StateError, match="The state is not one"):
        state.read_state(value)


@pytest.mark.parametrize("date", ["soon", [], {}, 1e40, True, "2026-99-99"])
def test_a_bookmark_that_is_no_date_is_named(date: object) -> None:
    with pytest.raises(StateError, match="the bookmark of open is no date"):
        state.adopt(state.read_state(marks(open={"timestamp": date})), {})


@pytest.mark.parametrize("value", [None, {}, {"bookmarks": None}, {"bookmarks": {}}, {"type": "STATE", "value": {}}])
def test_an_empty_state_is_one(value: object) -> None:
    assert state.adopt(state.read_state(value), {})["bookmarks"] == {}


@pytest.mark.parametrize("entry", [None, 5, "x", [], {}, {"timestamp": None}])
def test_an_entry_without_a_bookmark_is_none(entry: object) -> None:
    assert state.bookmark(state.adopt(marks(click=entry), {}), CLICK) is None
