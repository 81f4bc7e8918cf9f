"""What a stream's pages have beside records: counted, and reported in one bounded line."""

from __future__ import annotations

import json
import logging
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tap_klaviyo.records.findings import Findings
from tap_klaviyo.sandbox import Sandbox
from tests.canned import Answer, answering
from tests.running import catalog_of, sync


def test_the_line_names_the_most_frequent_and_counts_the_rest() -> None:
    unknown: Counter[tuple[str, ...]] = Counter({("e", f"{n}"): n for n in range(1, 31)})
    summary = Findings(unknown=unknown).summary()
    assert summary.startswith("ignored attributes that the schema does not define: e.30 (30), e.29 (29), ")
    assert summary.endswith(", e.11 (11) and 10 more")


def test_the_line_is_bounded_whatever_klaviyo_sends() -> None:
    names: Counter[tuple[str, ...]] = Counter({("event", f"{n}" + "x\n" * 5_000): 1_000_000 for n in range(5_000)})
    summary = Findings(names, names, Counter({"y" * 9_000: 1})).summary()
    assert len(summary) <= 1_000
    assert "\n" not in summary
    assert summary.count("more") == 2


def test_nothing_found_is_nothing_said() -> None:
    assert Findings().summary() == ""


def test_findings_add_up() -> None:
    whole = Findings(Counter({("a",): 1}), Counter({("b",): 1}), Counter({"c": 1}))
    whole.add(Findings(Counter({("a",): 2}), Counter({("d",): 1}), Counter({"c": 1})))
    assert whole == Findings(Counter({("a",): 3}), Counter({("b",): 1, ("d",): 1}), Counter({"c": 2}))


def test_a_run_reports_what_a_stream_left_out_once_and_reads_all_else(caplog: pytest.LogCaptureFixture) -> None:
    def page(url: str) -> Answer:
        last = "cursor" in url
        data: list[Any] = [
            None,
            {"id": 5 if last else "a", "type": "list", "attributes": {"name": 7, "mood": 1}, "relationships": []},
            {"id": "c" if last else "b", "type": "list", "attributes": {"name": "x", "created": "05/16/2021"}},
        ]
        following = None if last else f"{origin}/api/lists?page[cursor]=2"
        return Answer(json.dumps({"data": data, "included": None, "links": {"next": following}}).encode())

    with answering(page) as origin, caplog.at_level(logging.WARNING):
        settings = {"api_key": Sandbox.api_key, "base_url": origin, "start_date": "2026-01-01"}
        run = sync(cast(Sandbox, SimpleNamespace(config=settings)), catalog=catalog_of("lists"))
    assert [(each["id"], each["name"]) for each in run.records("lists")] == [
        *(("a", "7"), ("b", "x"), ("5", "7"), ("c", "x")),
    ]
    assert [each.getMessage() for each in caplog.records] == [
        "lists: ignored attributes that the schema does not define: list.mood (2); "
        "changed values that do not fit the schema: list.created (2), list.name (2); "
        "left out items without a key: list (2)."
    ]
