"""States as users pass them: wrapped, with parts that have no effect, or something else altogether."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tap_klaviyo.errors import StateError
from tap_klaviyo.singer import state
from tap_klaviyo.singer.day_limits import pages_of_period, request_times
from tap_klaviyo.singer.given_state import name_odd_parts, read_state
from tap_klaviyo.singer.other_taps import adopt_bookmarks
from tap_klaviyo.streams.table import BY_NAME, STREAMS

Json = dict[str, Any]
METRIC_IDS = {"open": ["OpenId"]}

SERIES, VALUES = "/api/flow-series-reports", "/api/flow-values-reports"
BOOKMARKS = {"open": {"timestamp": "2026-11-20T00:00:00Z"}}


@pytest.mark.parametrize(
    "wrapped",
    [
        {"singer_state": {"bookmarks": BOOKMARKS}},
        {"value": {"bookmarks": BOOKMARKS}},
        {"type": "STATE", "value": {"bookmarks": BOOKMARKS}},
        {"type": "STATE", "value": {"singer_state": {"bookmarks": BOOKMARKS}}},
        {"completed": {"singer_state": {"bookmarks": BOOKMARKS}}, "partial_state": {}},
        {"completed": {"bookmarks": BOOKMARKS}, "partial_state": {"bookmarks": {}}},
        {"completed": None, "partial_state": {"singer_state": {"bookmarks": BOOKMARKS}}},
        {"completed_state": {"singer_state": {"bookmarks": BOOKMARKS}}, "partial_state": {}},
        {"completed": {}, "partial": {"singer_state": {"bookmarks": BOOKMARKS}}},
        {"type": "STATE", "state": {"data": {"bookmarks": BOOKMARKS}}},
        {"type": "LEGACY", "data": BOOKMARKS},
        {"value": {"bookmarks": BOOKMARKS}, "stream": "open"},
        BOOKMARKS,
    ],
    ids=[
        "meltano",
        "value",
        "message",
        "both",
        "meltano database",
        "completed and partial",
        "partial only",
        "completed and partial under longer names",
        "partial under a shorter name",
        "airbyte",
        "airbyte without a level",
        "beside something else",
        "without a level",
    ],
)
def test_a_state_is_unwrapped(wrapped: object) -> None:
    assert read_state(wrapped) == {"bookmarks": BOOKMARKS}


def test_bookmarks_without_their_level_keep_the_interrupted_stream() -> None:
    assert read_state({**BOOKMARKS, "currently_syncing": "open"}) == {
        "bookmarks": BOOKMARKS,
        "currently_syncing": "open",
    }


def test_bare_dates_without_their_level_are_bookmarks_if_a_stream_has_the_name() -> None:
    assert read_state({"opened_email": "2026-11-20"}) == {"bookmarks": {"opened_email": "2026-11-20"}}


def test_a_catalog_is_not_a_state() -> None:
    with pytest.raises(StateError, match="--catalog"):
        read_state({"streams": []})


@pytest.mark.parametrize("beside", [{}, {"bookmarks": BOOKMARKS}])
def test_a_config_is_not_a_state_and_its_key_is_not_shown(beside: dict[str, object]) -> None:
    with pytest.raises(StateError, match="--config") as refused:
        read_state({"api_key": "pk_secret", "start_date": "2026-01-01", **beside})
    assert "pk_secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["client_secret", "refresh_token"])
@pytest.mark.parametrize("around", [lambda each: each, lambda each: {"value": each}], ids=["alone", "wrapped"])
def test_secrets_beside_bookmarks_or_a_wrapper_are_refused(name: str, around: Callable[[Json], Json]) -> None:
    with pytest.raises(StateError, match="--config"):
        read_state(around({name: "x", "bookmarks": BOOKMARKS}))
    with pytest.raises(StateError, match="--config"):
        read_state(around({name: "x", "state": {}}))


def test_a_second_state_in_a_wrapper_is_named_and_ignored(said: pytest.LogCaptureFixture) -> None:
    partial = {"singer_state": {"bookmarks": {"click": {"timestamp": DATE}}}}
    read_state({"completed": {"singer_state": {"bookmarks": BOOKMARKS}}, "partial": partial, "type": "STATE"})
    assert [each.getMessage() for each in said.records] == ['Ignored beside "completed" in the state: partial.']


def test_numbers_that_a_program_wrote_as_floats_are_used_without_a_word(said: pytest.LogCaptureFixture) -> None:
    given = {"bookmarks": {}, "full_tables": {"lists": {"version": 1.7e12, "rows": {"0": 3.0, "1": 0}}}}
    assert warnings_of(given, said) == []
    assert state.last_version(given, BY_NAME["lists"]) == 1_700_000_000_000
    assert state.rows_by_query(given, BY_NAME["lists"]) == {"0": 3, "1": 0}


@pytest.mark.parametrize("value", [-1, 2.5, float("nan"), float("inf"), 2**63, True, "3", None])
def test_other_values_are_not_numbers_of_a_state(value: object) -> None:
    assert state.whole_number(value) is None


def test_bookmarks_under_the_id_of_any_metric_are_not_odd(said: pytest.LogCaptureFixture) -> None:
    given = {"bookmarks": {"Cl1cKd": {"timestamp": DATE}, "opn": {"timestamp": DATE}}}
    for all_metrics, is_named in (({"Cl1cKd"}, False), (None, False), ({"Op3nEd"}, True)):
        said.clear()
        name_odd_parts(given, {}, STREAMS, all_metrics)
        (line,) = [each.getMessage() for each in said.records]
        assert ("Cl1cKd" in line, "opn" in line) == (is_named, True)


@pytest.mark.parametrize(
    "value", [{"Bookmarks": BOOKMARKS}, {"payload": {"bookmarks": BOOKMARKS}}, {"opn": "2026-11-20"}]
)
def test_an_object_without_bookmarks_is_refused_with_its_keys(value: dict[str, object]) -> None:
    with pytest.raises(StateError, match=f'it has no bookmarks, only .*"{next(iter(value))}"'):
        read_state(value)


@pytest.mark.parametrize("value", [[], "x", 1, {"bookmarks": []}, {"bookmarks": "x"}, {"type": "STATE", "value": 3}])
def test_invalid_states_are_refused(value: object) -> None:
    with pytest.raises(StateError, match="Invalid state"):
        read_state(value)


def warnings_of(given: object, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that name parts of a state."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "tap_klaviyo"):
        name_odd_parts(read_state(given), METRIC_IDS)
    return [record.getMessage() for record in caplog.records]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("tap_klaviyo"), "propagate", True)
    return caplog


DATE = "2026-11-20T12:00:00Z"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"bookmarks": {"opne": {"timestamp": DATE}, "theirs": 1, "opened_email": {}}},
            'Ignored bookmarks of the state, which belong to no stream: opne (did you mean "open"?), theirs.',
        ),
        (
            {"bookmarks": {"OPEN": {"timestamp": DATE}}},
            'Ignored bookmarks of the state, which belong to no stream: OPEN (did you mean "open"?).',
        ),
        (
            {"bookmarks": {"Opened Email": {"timestamp": DATE}}},
            'Ignored bookmarks of the state, which belong to no stream: Opened Email (did you mean "opened_email"?).',
        ),
        (
            {"bookmarks": {"lists": {"timestamp": DATE}}},
            "Ignored bookmarks of the state, since these streams are read in full: lists.",
        ),
        (
            {"bookmarks": {"open": {"timestamp": DATE, "offset": 3}}},
            "Ignored fields of bookmarks: open: offset.",
        ),
        (
            {"bookmarks": {"listmembers": {"partitions": [{"replication_key_value": DATE}]}}},
            "Ignored bookmarks of the state, which have no date: listmembers.",
        ),
        (
            {"bookmarks": {"open": {"progress_markers": {"replication_key_value": DATE}}}},
            "Ignored bookmarks of the state, which have no date: open.",
        ),
        (
            {"bookmarks": {}, "currently_syncing": ["open"]},
            'Ignored currently_syncing of the state, which is not a stream: ["open"].',
        ),
        ({"bookmarks": {}, "bookmark": {}}, "Ignored keys at the top of the state: bookmark."),
        ({"bookmarks": {}, "full_tables": []}, 'Ignored parts of "full_tables" in the state: [].'),
        (
            {"bookmarks": {}, "full_tables": {"list": {"version": 1}, "lists": {"version": "1", "rows": {"0": 2}}}},
            'Ignored parts of "full_tables" in the state: list (not a stream), lists: version.',
        ),
        (
            {"bookmarks": {}, "full_tables": {"lists": {"version": 1, "rows": {"0": "2"}}}},
            'Ignored parts of "full_tables" in the state: lists: rows.',
        ),
        (
            {"bookmarks": {}, "day_limits": {SERIES: {"requests": [[DATE, DATE, "9"]], "pages": "1"}, VALUES: 3}},
            f'Ignored parts of "day_limits" in the state: {SERIES}: requests, {SERIES}: pages, {VALUES}.',
        ),
        (
            {"bookmarks": {}, "day_limits": {"x": {}}},
            'Ignored parts of "day_limits" in the state: x (not an endpoint).',
        ),
        ({"bookmarks": {}, "recounts": 5}, 'Ignored parts of "recounts" in the state: 5.'),
        (
            {"bookmarks": {}, "recounts": {"opn": {}, "open": [], "click": {"metrics": {}}}},
            'Ignored parts of "recounts" in the state: opn (not a stream), open.',
        ),
        (
            {"bookmarks": {}, "full_tables": {"lists": {"version": -5, "rows": {"0": 2.5}}}},
            'Ignored parts of "full_tables" in the state: lists: version, lists: rows.',
        ),
    ],
)
def test_parts_without_effect_are_named(given: Json, line: str, said: pytest.LogCaptureFixture) -> None:
    assert warnings_of(given, said) == [line]


GOOD: Json = {
    "bookmarks": {
        "open": {"timestamp": DATE, "metrics": ["OpenId"]},
        "clicked_email": {"since": DATE},
        "OpenId": {"replication_key_value": "2026-11-19"},
        "list_members": {"joined_group_at": DATE, "parents": {"L1": "d1"}},
    },
    "full_tables": {"lists": {"version": 1795392000000, "rows": {"0": 25}}},
    "day_limits": {"/api/flow-values-reports": {"requests": [[DATE, DATE, 3]], "pages": 2}},
    "currently_syncing": "click",
}


def test_a_state_as_the_tap_writes_it_has_no_warning(said: pytest.LogCaptureFixture) -> None:
    assert warnings_of(GOOD, said) == []


def mutants(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[str, Json]]:
    """Yield each state that has one key removed or renamed, or one value replaced, with what was done."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        here = (*place, key)
        for odd in (None, "", "x", 0, -1, True, [], {}, [1], {"x": 1}, "2031-13-01", 1795132800000):
            if odd != value[key] or type(odd) is not type(value[key]):
                yield f"{here} = {odd!r}", _changed(here, odd)
        if isinstance(value, dict):
            yield f"without {here}", _changed(here, ...)
            yield f"{here} renamed", _changed(here, value[key], f"{key}x")
        yield from mutants(value[key], here)


def _changed(place: tuple[Any, ...], value: Any, name: str | None = None) -> Json:
    given = copy.deepcopy(GOOD)
    at: Any = given
    for key in place[:-1]:
        at = at[key]
    del at[place[-1]]
    if isinstance(at, list):
        at.insert(place[-1], value)
    elif value is not ...:
        at[name or place[-1]] = value
    return given


def effect_of(given: Json) -> object:
    """Return what a run takes from a state."""
    adopted = adopt_bookmarks(read_state(given), METRIC_IDS)
    limits = "/api/flow-values-reports"
    return (
        [state.bookmark_of(adopted, stream) for stream in STREAMS],
        state.covered_metrics(adopted, BY_NAME["open"]),
        state.covered_parents(adopted, BY_NAME["list_members"]),
        [(state.last_version(adopted, stream), state.rows_by_query(adopted, stream)) for stream in STREAMS],
        adopted.get("currently_syncing"),
        (request_times(adopted, limits), pages_of_period(adopted, limits)),
    )


def test_no_change_of_a_state_is_silent(said: pytest.LogCaptureFixture) -> None:
    before, silent = effect_of(GOOD), []
    for what, mutant in mutants(GOOD):
        try:
            if effect_of(mutant) == before and not warnings_of(mutant, said):
                silent.append(what)
        except StateError:
            pass
    assert silent == []
