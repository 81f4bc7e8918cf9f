"""What measures give, and the tables that are made of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import traffic
from benchmarks.runs import Run, Server


@dataclass(frozen=True)
class Row:
    """A line of the table of runs; None if not measured. CPU in µs per event, without start-up."""

    what: str
    events: int | None = None
    cpu: float | None = None
    rate: float | None = None
    peak: int | None = None
    requests: int | None = None
    waste: float | None = None
    refused: int | None = None


@dataclass(frozen=True)
class Finding:
    """A goal, by the number of its point in the list of goals, and the measured value."""

    point: int
    what: str
    goal: str
    found: str
    met: bool


@dataclass(frozen=True)
class Result:
    """What a measure gives."""

    rows: Sequence[Row] = ()
    findings: Sequence[Finding] = ()


def row(what: str, run: Run, server: Server | None = None, cpu: float | None = None, rate: float | None = None) -> Row:
    """Return the line of a run; the server is named where the run read all that it has."""
    asked = traffic.of_events(run.requests)
    return Row(
        what,
        events=run.records,
        cpu=cpu,
        rate=rate or traffic.rate(run.requests),
        peak=run.peak,
        requests=len(asked),
        waste=traffic.waste(asked, server.rows) if server else None,
        refused=traffic.refused(asked),
    )


def runs_table(rows: Sequence[Row]) -> str:
    """Return the table of runs in Markdown."""
    head = ["run", "events", "CPU µs/event", "events/s", "peak MB", "requests", "over the least", "429"]
    return _table(head, [_cells(each) for each in rows])


def findings_table(findings: Sequence[Finding]) -> str:
    """Return the table of goals in Markdown."""
    ordered = sorted(findings, key=lambda each: each.point)
    cells = [[str(each.point), each.what, each.goal, each.found, "yes" if each.met else "**no**"] for each in ordered]
    return _table(["", "measure", "goal", "found", "met"], cells)


def placed(text: str, tables: str) -> str:
    """Return a page with the tables between its markers."""
    pattern = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{tables}\n{match[2]}", text)


def _cells(each: Row) -> list[str]:
    return [
        each.what,
        _shown(each.events, ","),
        _shown(each.cpu, ".1f"),
        _shown(each.rate, ",.0f"),
        _shown(None if each.peak is None else each.peak / 2**20, ".0f"),
        _shown(each.requests, ","),
        _shown(each.waste, ".1%"),
        _shown(each.refused, ","),
    ]


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
