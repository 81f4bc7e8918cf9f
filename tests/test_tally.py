"""What the batches of a stream show together."""

from __future__ import annotations

import pytest

from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.tally import Tally
from tap_klaviyo.records.findings import Findings


def findings_of(name: str) -> Findings:
    found = Findings()
    found.set_aside[name] += 1
    return found


def tally_of(*batches: Batch) -> Tally:
    tally = Tally()
    for each in batches:
        tally.add(each)
    return tally


def test_all_that_batches_show_comes_together() -> None:
    first = Batch(
        b"", 0, 3, 200, findings_of("a"), "0", frozenset("A"), frozenset({("A", "t1"), ("B", "t1")}), {"A": "x"},
        1, frozenset("G"), frozenset("M"), "One.", "Left.",
    )  # fmt: skip
    second = Batch(
        b"", 0, 4, 100, findings_of("b"), "1", frozenset("B"), frozenset({("A", "t2")}), {"B": "y"},
        2, frozenset("GH"), frozenset("N"), "Two.", "More.",
    )  # fmt: skip
    tally = tally_of(
        first,
        second,
        Batch(b"", 0, 1, query="1", silent_rows=20, parents_refused=frozenset("R"), parents_found=frozenset("F")),
    )
    assert (tally.rows, tally.newest, tally.rows_by_query) == (8, 200, {"0": 3, "1": 25})
    assert (tally.ids, tally.changes) == ({"A", "B"}, {"A": "t2", "B": "t1"})
    assert (tally.definitions, tally.parents, tally.parents_gone) == ({"A": "x", "B": "y"}, 3, {"G", "H"})
    assert (tally.parents_refused, tally.parents_found) == ({"R"}, {"F"})
    assert (tally.denied, tally.problems, tally.left_over) == ({"M", "N"}, ["One.", "Two."], ["Left.", "More."])
    assert tally.findings.set_aside == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("limits", "expected"),
    [([None, None], 1000), ([500, None], 500), ([None, 500], 500), ([700, 500, 600], 500), ([2000], 1000), ([0], 0)],
)
def test_the_earliest_limit_of_a_bookmark_counts(limits: list[int | None], expected: int) -> None:
    assert tally_of(*(Batch(b"", 0, 0, bookmark_limit=limit) for limit in limits)).limited(1000) == expected
