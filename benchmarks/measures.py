"""The measures: each runs what it needs and says what it found; the points are those of the list of goals."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from operator import itemgetter
from pathlib import Path

from benchmarks import traffic
from benchmarks.report import Finding, Result, Row, row
from benchmarks.runs import Run, Server, into_file, read_late, run_tap, run_usual, serving

CONCURRENCY = 16
STEADY = 3500
_EXTRACTED = re.compile(rb',"time_extracted":"[^"]*"')
_MB = 2**20
# Before the last update of any profile.
_BEGINNING = "2015-01-01T00:00:00Z"


@dataclass(frozen=True)
class Scale:
    """How much is measured: events, seconds of latency, rounds of which the best counts."""

    cpu: int = 240_000
    usual_days: int = 25
    rounds: int = 6
    waiting: int = 400_000
    latency: float = 2.0
    limited: int = 560_000
    memory: tuple[int, ...] = (100_000, 600_000)
    order: int = 60_000
    people: int = 30_000
    pressure: int = 500_000
    stall: float = 20.0


QUICK = Scale(100_000, 15, 2, 200_000, 2.0, 150_000, (50_000, 200_000), 20_000, 10_000, 250_000, 8.0)
FULL = Scale(memory=(100_000, 5_000_000), people=100_000)


def cpu(scale: Scale) -> Result:
    """CPU time for an event, of the tap and of the usual way."""
    rows = []
    with serving("--events", str(scale.cpu), "--keep") as server:
        run_tap(server)
        idle, usual_idle = _idle(server), run_usual(server, **_span(server, 0))
        # In turns, since the machine is faster at some times than at others.
        pairs = [(run_tap(server), run_usual(server, **_span(server, scale.usual_days))) for _ in range(scale.rounds)]
        own, usual = _least([run for run, _ in pairs], idle), _least([run for _, run in pairs], usual_idle)
        _check(own[1], server)
        multiples = [_each(second, usual_idle) / _each(first, idle) for first, second in pairs]
        rows += [row("this tap", own[1], server, cpu=own[0]), row("the usual way", usual[1], cpu=usual[0])]
    with serving("--events", str(scale.cpu), "--keep", "--gzip") as server:
        run_tap(server)
        packed = _least([run_tap(server) for _ in range(scale.rounds)], _idle(server))
        rows.insert(1, row("this tap, gzip", packed[1], server, cpu=packed[0]))
    rows.append(Row("the limit: 3,500 requests a minute", cpu=60e6 / STEADY / 1000, rate=STEADY * 1000 / 60))
    most = max(_each(run, idle) for run, _ in pairs)
    found = f"{own[0]:.1f} µs, worst round {most:.1f} µs ({packed[0]:.1f} µs with gzip)"
    multiple = f"{usual[0] / own[0]:.0f}; by round {min(multiples):.0f} to {max(multiples):.0f}"
    return Result(
        rows,
        [
            Finding(1, "CPU an event", "≤ 17 µs", found, own[0] <= 17),
            Finding(1, "the usual way's CPU, as a multiple", "≥ 30", multiple, usual[0] >= 30 * own[0]),
        ],
    )


def _idle(server: Server) -> Run:
    """Return a run that has its start-up, each stream's schema, and no event: its end is just after its start."""
    runs = [run_tap(server, end_date=_moment(_start(server) + 1)) for _ in range(3)]
    return min(runs, key=lambda run: run.cpu)


def _span(server: Server, days: int) -> dict[str, str]:
    return {"start_date": _moment(server.now - max(days * 86_400, 1)), "end_date": _moment(server.now - (not days))}


def _each(run: Run, idle: Run) -> float:
    """Return the microseconds for an event."""
    return (run.cpu - idle.cpu) / (run.records - idle.records) * 1e6


def _least(runs: Sequence[Run], idle: Run) -> tuple[float, Run]:
    """Return the microseconds of the round that took the least, and its run."""
    return min(((_each(run, idle), run) for run in runs), key=itemgetter(0))


def waiting(scale: Scale) -> Result:
    """Events a second where each page takes its time: one stream, all streams, and skewed data."""
    ceiling = CONCURRENCY * 1000 / scale.latency
    cases: Mapping[str, tuple[float, tuple[str, ...]]] = {
        "one stream": (0.9, ("--only", "receive")),
        "18 streams": (0.9, ()),
        "one stream, skewed": (0.72, ("--only", "receive", "--shape", "skewed")),
    }
    rows, findings = [], []
    for name, (share, options) in cases.items():
        with serving("--events", str(scale.waiting), "--latency", str(scale.latency), *options) as server:
            run = run_tap(server, max_concurrency=CONCURRENCY)
            _check(run, server)
            warm = traffic.warm_rate(run.requests, CONCURRENCY)
            rows.append(row(f"pages of {scale.latency:g} s: {name}", run, server))
            goal, found = f"≥ {share:.0%} of {ceiling:,.0f}/s", f"{warm / ceiling:.0%} ({warm:,.0f}/s)"
            findings.append(Finding(2, f"{name}, {scale.latency:g} s a page", goal, found, warm >= share * ceiling))
            wasted = traffic.waste(run.requests, server.rows)
            findings.append(Finding(4, f"requests over the least: {name}", "< 10%", f"{wasted:.1%}", wasted < 0.1))
    return Result(rows, findings)


def limit(scale: Scale) -> Result:
    """Requests a minute under Klaviyo's steady limit; pages of 100 events, so that nothing but the limit binds."""
    options = ("--only", "receive", "--limits", "--page", "100")
    with serving("--events", str(scale.limited), *options) as server:
        run = run_tap(server, max_concurrency=CONCURRENCY)
        _check(run, server)
    asked = traffic.of_events(run.requests)
    reached = traffic.pace(run.requests) * 60 / STEADY
    share = traffic.refused(asked) / len(asked)
    busiest = traffic.busiest_minute(run.requests)
    return Result(
        [row("the steady limit, pages of 100", run)],
        [
            Finding(2, "requests under the steady limit", "≥ 95%", f"{reached:.1%}", reached >= 0.95),
            Finding(2, "requests answered 429", "< 1%", f"{share:.2%}; {busiest} a minute", share < 0.01),
        ],
    )


def small(scale: Scale) -> Result:
    """A run from a state, with a few new events in each of the streams."""
    with serving("--events", "3000", "--latency", str(scale.latency)) as server:
        bookmark = {"timestamp": _moment(server.now - 3600)}
        run = run_tap(server, state={"bookmarks": dict.fromkeys(server.rows, bookmark)})
        of_metrics = [each for each in run.requests if each not in traffic.of_events(run.requests)]
        feeding = sum(map(len, server.rows.values()))
    asked = traffic.of_events(run.requests)
    waits = (max(each.ended for each in run.requests) - min(each.began for each in run.requests)) / scale.latency
    most, found = 2 * len(server.rows), f"{len(asked)}, and {len(of_metrics)} for the metrics"
    return Result(
        [row(f"small run, {len(server.rows)} streams of {feeding} metrics", run)],
        [
            Finding(3, "requests in a small run", f"≤ {most}", found, len(asked) <= most),
            Finding(3, "its time, in requests one after the other", "≤ 8", f"{waits:.1f}", waits <= 8),
        ],
    )


def waste(scale: Scale) -> Result:
    """Requests for events over the least, with no latency, in all shapes."""
    rows, findings = [], []
    for name, options in _shapes():
        with serving("--events", str(scale.waiting), *options) as server:
            run = run_tap(server)
            _check(run, server)
            wasted = traffic.waste(run.requests, server.rows)
            rows.append(row(f"no latency: {name}", run, server))
            findings.append(Finding(4, f"requests over the least: {name}", "< 10%", f"{wasted:.1%}", wasted < 0.1))
    return Result(rows, findings)


def _shapes() -> Iterator[tuple[str, tuple[str, ...]]]:
    for shape in ("even", "skewed"):
        yield f"18 streams, {shape}", ("--shape", shape)
        yield f"one stream, {shape}", ("--only", "open", "--shape", shape)


def memory(scale: Scale) -> Result:
    """Peak memory by the number of events, and the time to the first record."""
    rows = []
    for events in scale.memory:
        with serving("--events", str(events)) as server:
            run = run_tap(server)
            _check(run, server)
            rows.append(row(f"memory: {events:,} events in the account", run, server))
    peaks = [(each.peak or 0) / _MB for each in rows]
    found = ", then ".join(f"{peak:.0f} MB" for peak in peaks)
    same = peaks[-1] <= peaks[0] * 1.15
    # Of 219 metrics, which are two pages, 150 are left: accounts have fewer than the 200 of a page mostly.
    with serving("--events", "20000", "--latency", str(scale.latency), "--metrics", "150") as server:
        run = run_tap(server)
    began = min(each.began for each in run.requests)
    waits = ((run.first_record or 0) - began) / scale.latency
    return Result(
        rows,
        [
            Finding(5, "peak memory", "< 150 MB", found, max(peaks) < 150),
            Finding(5, "the same for more events", "≤ 1.15 times", f"{peaks[-1] / peaks[0]:.2f} times", same),
            Finding(
                5,
                "first record, in requests after the first began",
                "≤ 2, and 0.2 for the work",
                f"{waits:.2f}",
                waits <= 2.2,
            ),
        ],
    )


def audience(scale: Scale) -> Result:
    """Peak memory by the number of people: profiles, members of lists, and all their events in one run."""
    people = str(scale.people)
    with serving("--events", people, "--profiles", people, "--lists", "6") as server:
        run = run_tap(server, streams=("profiles", "list_members", "events"), start_date=_BEGINNING)
    if run.records < 2 * scale.people:
        raise RuntimeError(f"{run.records} records came of {people} people: the figures would mean nothing.")
    what = f"profiles, members and events of {scale.people:,} people"
    return Result(
        [Row(what, events=run.records, peak=run.peak, requests=len(run.requests))],
        [Finding(5, f"peak memory: {what}", "< 150 MB", f"{run.peak / _MB:.0f} MB", run.peak < 150 * _MB)],
    )


def order(scale: Scale) -> Result:
    """Whether many requests at once give the same RECORD lines as one at a time, and bookmarks that only grow."""
    with serving("--events", str(scale.order), "--latency", "0.02") as server, tempfile.TemporaryDirectory() as place:
        outputs = [Path(place, str(count)) for count in (CONCURRENCY, 1)]
        for path, concurrency in zip(outputs, (CONCURRENCY, 1), strict=True):
            _check(run_tap(server, reader=into_file(path), max_concurrency=concurrency), server)
        same = len({_fingerprint(path) for path in outputs}) == 1
        grow = all(map(_only_grows, outputs))
    return Result(
        findings=[
            Finding(6, "RECORD lines of 16 requests at once and of 1", "the same", "the same" if same else "not", same),
            Finding(6, "bookmarks", "only grow", "only grow" if grow else "fall", grow),
        ]
    )


def _fingerprint(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as lines:
        for line in lines:
            if line.startswith(b'{"type":"RECORD"'):
                digest.update(_EXTRACTED.sub(b"", line))
    return digest.hexdigest()


def _only_grows(path: Path) -> bool:
    reached: dict[str, str] = {}
    with path.open("rb") as lines:
        for line in lines:
            if line.startswith(b'{"type":"STATE"'):
                marks = {name: mark["timestamp"] for name, mark in json.loads(line)["value"]["bookmarks"].items()}
                if any(marks.get(name, "") < mark for name, mark in reached.items()):
                    return False
                reached = marks
    return True


def pressure(scale: Scale) -> Result:
    """A reader that stops for a while: memory stays, nothing times out for it, and the run ends right."""
    with serving("--events", str(scale.pressure), "--latency", "0.1") as server:
        free = run_tap(server, request_timeout=5)
        held = run_tap(server, reader=read_late(scale.stall), request_timeout=5)
        _check(held, server)
    ahead = [each for each in traffic.of_events(held.requests) if each.began < held.requests[0].began + scale.stall]
    memory = f"{held.peak / _MB:.0f} MB, {free.peak / _MB:.0f} MB when it reads on"
    return Result(
        [
            row("back pressure: reads on", free, server),
            row(f"back pressure: {scale.stall:g} s of nothing", held, server),
        ],
        [
            Finding(7, "peak memory with a reader that stops", "< 150 MB", memory, held.peak < 150 * _MB),
            Finding(
                7, "read ahead while it stops", "not all", _ahead(ahead, held), len(ahead) < len(held.requests) - 20
            ),
            Finding(7, "requests that failed for it", "0", str(held.retries), held.retries == 0),
        ],
    )


def _ahead(ahead: list[traffic.Served], run: Run) -> str:
    return f"{len(ahead)} of {len(run.requests)} requests, {sum(each.size for each in ahead) / _MB:.0f} MB"


def _check(run: Run, server: Server) -> None:
    if run.records != server.events:
        raise RuntimeError(
            f"{run.records} records came, but there are {server.events}: the figures would mean nothing."
        )


def _start(server: Server) -> int:
    return int(datetime.fromisoformat(server.config["start_date"].replace("Z", "+00:00")).timestamp())


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


MEASURES: Mapping[str, Callable[[Scale], Result]] = {
    measure.__name__: measure for measure in (cpu, waiting, limit, small, waste, memory, audience, order, pressure)
}
