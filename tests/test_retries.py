"""The budget of one request: its waits, and when it is spent."""

from __future__ import annotations

import pytest

from tap_klaviyo.errors import UnavailableError
from tap_klaviyo.klaviyo.retries import Budget, Retries, TryAgainError
from tests.running import Time

ENDLESS = Retries(total=1e9)


def waits(trouble: TryAgainError, retries: Retries = ENDLESS, count: int = 40, is_other: bool = False) -> list[float]:
    """Return the waits before so many tries, each of which takes no time."""
    budget = Budget(retries, Time().clock, "GET /api/lists")
    found = []
    for _ in range(count):
        budget.begin_try()
        found.append(budget.next_wait(trouble, is_other))
    return found


def test_waits_grow_up_to_the_longest() -> None:
    found = waits(TryAgainError("HTTP 503", 503), count=200)
    assert max(found) <= 60
    assert max(found[:3]) <= 8
    assert max(found) > 30


def test_a_smaller_page_is_asked_for_within_seconds() -> None:
    assert max(waits(TryAgainError("HTTP 503", 503), is_other=True)) <= 4


def test_requests_that_are_told_to_wait_do_not_return_in_the_same_instant() -> None:
    found = waits(TryAgainError("HTTP 429", 429, 7.0))
    assert all(7 <= wait <= 7.7 for wait in found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("asked", [None, 0.0])
def test_a_server_that_asks_for_no_wait_gets_the_usual_ones(asked: float | None) -> None:
    with pytest.raises(UnavailableError, match=r"GET /api/lists: HTTP 429 \(try \d\d, after \d{3} s\)"):
        waits(TryAgainError("HTTP 429", 429, asked), Retries(), count=1000)


def test_what_is_local_ends_within_seconds() -> None:
    with pytest.raises(UnavailableError, match=r"after (\d|1[0-5]) s\)\. Check the network"):
        waits(TryAgainError("cannot connect", is_local=True), Retries(), count=1000)
