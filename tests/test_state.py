"""States: our own, other taps', and none."""

import pytest

from tap_klaviyo.errors import StateError
from tap_klaviyo.singer import state
from tap_klaviyo.singer.given_state import read_state
from tap_klaviyo.singer.other_taps import adopt_bookmarks
from tap_klaviyo.streams.table import BY_NAME
from tap_klaviyo.times import DAY, format_time, parse_time

OPEN, CLICK = BY_NAME["open"], BY_NAME["click"]
NOW = parse_time("2026-11-23T00:00:00Z")


def marks(**bookmarks: object) -> state.State:
    return {"bookmarks": bookmarks}


START_DATE = parse_time("2026-01-01")


def start(given: state.State, lookback_days: float = 7, start_date: int = START_DATE) -> int:
    return state.start_of(state.bookmark_of(given, OPEN), start_date, int(lookback_days * DAY), NOW)


def test_the_lookback_is_applied_on_reading() -> None:
    given = marks(open={"timestamp": "2026-11-20T12:00:00Z"})
    assert start(given) == parse_time("2026-11-13T12:00:00Z")
    assert start(given, lookback_days=0) == parse_time("2026-11-20T12:00:00Z")


def test_without_a_bookmark_the_start_date_holds_and_it_bounds_the_lookback() -> None:
    assert start({}) == start(marks(open={"timestamp": "2026-01-03T00:00:00Z"})) == START_DATE


def test_a_start_date_after_the_bookmark_skips_nothing() -> None:
    given = marks(open={"timestamp": "2026-11-20T12:00:00Z"})
    assert start(given, start_date=parse_time("2026-11-21")) == parse_time("2026-11-20T12:00:00Z")


def test_a_bookmark_far_in_the_future_is_not_believed() -> None:
    assert start(marks(open={"timestamp": "2027-01-01T00:00:00Z"})) == START_DATE


@pytest.mark.parametrize("lead", [0, 4, state.SMALL_LEAD])
def test_a_bookmark_a_little_ahead_of_klaviyos_clock_counts_as_now(lead: int) -> None:
    given = marks(open={"timestamp": format_time(NOW + lead)})
    assert start(given, lookback_days=0) == NOW
    assert start(given) == NOW - 7 * DAY


def test_bookmarks_only_grow_and_leave_the_given_state_alone() -> None:
    given = marks(open={"timestamp": "2026-11-20T00:00:00Z"}, other=1)
    further = state.advance_bookmark(given, OPEN, parse_time("2026-11-21"))
    assert further == marks(open={"timestamp": "2026-11-21T00:00:00Z"}, other=1)
    assert state.advance_bookmark(further, OPEN, parse_time("2026-11-20")) is further
    assert given == marks(open={"timestamp": "2026-11-20T00:00:00Z"}, other=1)


def test_new_metrics_are_covered_without_a_step_back_of_the_bookmark() -> None:
    given = marks(open={"timestamp": "2026-11-20T00:00:00Z", "metrics": ["A"]})
    covered = marks(open={"timestamp": "2026-11-20T00:00:00Z", "metrics": ["A", "B"]})
    for reached in ("2026-11-19", "2026-11-20"):
        assert state.advance_bookmark(given, OPEN, parse_time(reached), ["B", "A"]) == covered
    assert state.advance_bookmark(covered, OPEN, parse_time("2026-11-19"), ["B", "A"]) is covered


def test_a_bookmark_that_moves_keeps_the_parents_that_it_covers() -> None:
    given = marks(list_members={"joined_group_at": "2026-11-20T00:00:00Z", "parents": {"A": "1"}})
    moved = state.advance_bookmark(given, BY_NAME["list_members"], parse_time("2026-11-21"))
    assert moved == marks(list_members={"joined_group_at": "2026-11-21T00:00:00Z", "parents": {"A": "1"}})


def test_covering_metrics_keeps_the_other_bookmarks() -> None:
    open_, click = {"timestamp": "2026-11-20T00:00:00Z"}, {"timestamp": "2026-11-21T00:00:00Z"}
    assert state.cover_metrics(marks(open=open_, click=click), OPEN, ["B", "A"]) == marks(
        open={**open_, "metrics": ["A", "B"]}, click=click
    )


def test_a_bookmark_that_names_an_empty_list_of_metrics_covers_none() -> None:
    assert state.covered_metrics(marks(open={"timestamp": "2026-11-20T00:00:00Z", "metrics": []}), OPEN) == []
    assert state.covered_metrics(marks(open={"timestamp": "2026-11-20T00:00:00Z"}), OPEN) is None


@pytest.mark.parametrize("key", ["since", "replication_key_value"])
@pytest.mark.parametrize("other", ["2026-11-18T00:00:00Z", "2026-11-22T00:00:00Z"])
def test_of_several_dates_in_one_bookmark_the_oldest_holds(key: str, other: str) -> None:
    given = marks(open={"timestamp": "2026-11-20T00:00:00Z", key: other})
    assert state.bookmark_of(given, OPEN) == parse_time(min(other, "2026-11-20T00:00:00Z"))


def test_currently_syncing_comes_and_goes() -> None:
    during = state.with_currently_syncing({"bookmarks": {}}, OPEN)
    assert during == {"bookmarks": {}, "currently_syncing": "open"}
    assert state.with_currently_syncing(during, None) == {"bookmarks": {}}


@pytest.mark.parametrize(
    "entry",
    [
        {"since": "2026-11-20T00:00:00Z"},
        {"since": "2026-11-20 00:00:00"},
        {"since": 1795132800},
        {"replication_key": "datetime", "replication_key_value": "2026-11-20T00:00:00+00:00"},
    ],
)
@pytest.mark.parametrize("name", ["open", "SkDfHe", "opened_email"])
def test_other_taps_bookmarks_are_adopted(name: str, entry: object) -> None:
    adopted = adopt_bookmarks(marks(**{name: entry}), {"open": ["SkDfHe"]})
    assert adopted["bookmarks"]["open"] == {"timestamp": "2026-11-20T00:00:00Z"}


@pytest.mark.parametrize("entry", [{"timestamp": None}, {"timestamp": ""}, {}, None, "", {"replication_key": "x"}])
def test_an_entry_of_ours_without_a_date_does_not_count_as_a_bookmark(entry: object) -> None:
    adopted = adopt_bookmarks(marks(open=entry, other=1), {})
    assert adopted == marks(other=1)
    reached = state.advance_bookmark(adopted, OPEN, parse_time("2026-11-20"))
    assert reached == marks(open={"timestamp": "2026-11-20T00:00:00Z"}, other=1)


@pytest.mark.parametrize("entry", ["2026-11-20T00:00:00Z", "2026-11-20", 1795132800])
def test_a_bookmark_may_be_a_bare_date(entry: object) -> None:
    assert adopt_bookmarks(marks(open=entry), {})["bookmarks"] == {"open": {"timestamp": "2026-11-20T00:00:00Z"}}


@pytest.mark.parametrize("entry", [{"page": 3}, {"time": "2026-11-20"}, [1]])
def test_a_bookmark_of_ours_that_is_not_understood_is_an_error(entry: object) -> None:
    with pytest.raises(StateError, match="the bookmark of open"):
        adopt_bookmarks(marks(open=entry), {})


def test_the_covered_metrics_outlive_the_adoption_and_move_with_the_bookmark() -> None:
    given = marks(open={"timestamp": "2026-11-20T00:00:00Z", "metrics": ["A"]})
    adopted = adopt_bookmarks(given, {"open": ["A", "B"]})
    assert state.covered_metrics(adopted, OPEN) == ["A"]
    further = state.advance_bookmark(adopted, OPEN, parse_time("2026-11-21"), {"B", "A"})
    assert further == marks(open={"timestamp": "2026-11-21T00:00:00Z", "metrics": ["A", "B"]})
    assert state.cover_metrics(adopted, OPEN, ["A"]) is adopted
    assert state.cover_metrics({"bookmarks": {}}, OPEN, ["A"]) == {"bookmarks": {}}


@pytest.mark.parametrize("metrics", ["A", [1], {"A": 1}])
def test_covered_metrics_that_are_not_ids_are_refused(metrics: object) -> None:
    with pytest.raises(StateError, match="must be an array of metric ids"):
        state.covered_metrics(marks(open={"timestamp": "2026-11-20T00:00:00Z", "metrics": metrics}), OPEN)


def test_a_full_read_is_remembered_beside_the_bookmarks() -> None:
    lists = BY_NAME["lists"]
    assert (state.last_version({}, lists), state.rows_by_query({}, lists)) == (0, {})
    after = state.with_full_table({"bookmarks": {}}, lists, 17, {"0": 25})
    assert (state.last_version(after, lists), state.rows_by_query(after, lists)) == (17, {"0": 25})
    assert after["bookmarks"] == {}
    both = state.with_full_table(after, BY_NAME["campaigns"], 18, {"0": 1})
    assert (state.last_version(both, lists), state.last_version(both, BY_NAME["campaigns"])) == (17, 18)


@pytest.mark.parametrize("odd", [None, [], {"lists": 1}, {"lists": {"version": True, "rows": []}}])
def test_an_odd_memory_of_full_reads_counts_as_none(odd: object) -> None:
    given = {"bookmarks": {}, "full_tables": odd}
    assert (state.last_version(given, BY_NAME["lists"]), state.rows_by_query(given, BY_NAME["lists"])) == (0, {})
    assert state.with_full_table(given, OPEN, 1, {})["full_tables"]["open"] == {"version": 1, "rows": {}}


@pytest.mark.parametrize(
    ("version", "last"),
    [(1795392000000.0, 1795392000000), (9e18, 9 * 10**18), (2**63 - 2, 2**63 - 2), (2**63, 0), (1e308, 0), (-1, 0)],
)
def test_a_last_version_may_be_any_whole_number_that_a_target_can_hold(version: float, last: int) -> None:
    given = {"bookmarks": {}, "full_tables": {"lists": {"version": version}}}
    assert state.last_version(given, BY_NAME["lists"]) == last


def test_the_older_of_two_bookmarks_counts_and_only_foreign_ones_are_kept() -> None:
    given = {
        **marks(open={"timestamp": "2026-11-20T00:00:00Z"}, SkDfHe={"since": "2026-11-19T00:00:00Z"}, theirs={"x": 1}),
        "extra": True,
    }
    assert adopt_bookmarks(given, {"open": ["SkDfHe"]}) == {
        **marks(open={"timestamp": "2026-11-19T00:00:00Z"}, theirs={"x": 1}),
        "extra": True,
    }


def test_a_reset_stream_starts_over_though_another_tap_left_a_bookmark() -> None:
    adopted = adopt_bookmarks(marks(SkDfHe={"since": "2026-11-19T00:00:00Z"}), {"open": ["SkDfHe"]})
    del adopted["bookmarks"]["open"]
    assert state.bookmark_of(adopt_bookmarks(adopted, {"open": ["SkDfHe"]}), OPEN) is None


def test_the_text_message_names_are_known() -> None:
    adopted = adopt_bookmarks(marks(clicked_text_message={"since": "2026-11-19T00:00:00Z"}), {})
    assert list(adopted["bookmarks"]) == ["clicked_sms"]


@pytest.mark.parametrize("date", ["soon", [], {}, 1e40, 2**53, 2**56, -(2**56), 10**30, True, "2026-99-99"])
def test_a_bookmark_that_is_not_a_date_is_named(date: object) -> None:
    with pytest.raises(StateError, match="the bookmark of open is not a date"):
        adopt_bookmarks(read_state(marks(open={"timestamp": date})), {})


@pytest.mark.parametrize("value", [None, {}, {"bookmarks": None}, {"bookmarks": {}}, {"type": "STATE", "value": {}}])
def test_an_empty_state_is_one(value: object) -> None:
    assert adopt_bookmarks(read_state(value), {})["bookmarks"] == {}
