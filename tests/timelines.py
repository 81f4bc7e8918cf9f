"""A Klaviyo in memory that has events only, and a prefetcher of one thread: whole timelines without HTTP, fast."""

from __future__ import annotations

import json
import random
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

from tap_klaviyo.errors import CursorError, MetricDeniedError, RequestError, UnreadablePageError
from tap_klaviyo.klaviyo.client import Answer, Client
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.jsonapi import PLAIN, PageDecoder, parse_page
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.planner import metric_queries
from tap_klaviyo.reading.prefetch import Fetch
from tap_klaviyo.reading.time_range import time_range_fetches
from tap_klaviyo.reading.timeline import CountRows, Timeline
from tap_klaviyo.times import format_time, parse_time
from tests.chaos.harness import ALL

_FILTER = re.compile(
    r'and\(equals\(metric_id,"(\w+)"\),greater-or-equal\(datetime,([^)]+)\),less-than\(datetime,([^)]+)\)\)'
)
STREAM = "unsubscribe"


@dataclass(frozen=True, order=True)
class Event:
    """An event with a time in Klaviyo's index, which its record need not show."""

    time: int
    id: str
    metric: str
    has_timestamp: bool = field(default=True, compare=False)
    datetime: str | None = field(default=None, compare=False)
    is_readable: bool = field(default=True, compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return it as a resource."""
        shown = {"timestamp": self.time if self.has_timestamp else None, "datetime": self.datetime}
        return {"type": "event", "id": self.id, "attributes": {**shown, "event_properties": {}, "uuid": None}}


@dataclass
class Memory:
    """Serves events by Klaviyo's filter and cursors.

    `refuse` decides whether a cursor is refused, `spoil` whether a page by cursor fails like one with an event that
    cannot be rendered, and `err` whether the answer to a small page is wrong. `now` is the clock of the server: a bound
    ahead of it is refused. `counts` is asked how many events there are; None if there are no counts.
    """

    events: Sequence[Event]
    page_size: int
    refuse: Callable[[], bool] = lambda: False
    now: int = 2**40
    requests: list[tuple[str, int, int, bool, bool]] = field(default_factory=list)
    late: list[Event] = field(default_factory=list)
    denied: frozenset[str] = frozenset()
    err: Callable[[], bool] = lambda: False
    spoil: Callable[[], bool] = lambda: False
    probes: int = 0
    counts: CountRows | None = None
    questions: int = 0

    def __post_init__(self) -> None:
        """Sort the events of each metric."""
        self.of_metric: dict[str, list[Event]] = {}
        for event in sorted(self.events):
            self.of_metric.setdefault(event.metric, []).append(event)

    def count(self, metric: str, start: int, end: int, is_needed: bool = False) -> Mapping[int, int]:
        """Return how many events a metric has by hour."""
        self.questions += 1
        return Counter(each.time // 3600 * 3600 for each in self.of_metric.get(metric, ()) if start <= each.time < end)

    def url(self, endpoint: Endpoint, parameters: Mapping[str, str], **ids: str) -> str:
        """Return a first page."""
        found = _FILTER.fullmatch(parameters["filter"])
        assert found
        return json.dumps([found[1], parse_time(found[2]), parse_time(found[3]), None])

    @contextmanager
    def page(
        self,
        endpoint: Endpoint,
        url: str,
        size: int | None,
        decoder: PageDecoder = PLAIN,
        visited: Set[str] = frozenset(),
        is_reduced: bool = False,
        has_items: bool = False,
    ) -> Iterator[Answer]:
        """Lend a page."""
        metric, start, end, cursor = json.loads(url)
        if metric in self.denied:
            raise MetricDeniedError(f"Klaviyo answers 400: Metric IDs ['{metric}'] do not exist.", 400)
        if end > self.now:
            raise RequestError("Klaviyo answers 400: a bound is in the future.", 400)
        if cursor and self.spoil():
            raise UnreadablePageError("Klaviyo answers 500 to a cursor.", 500)
        if cursor and self.refuse():
            raise CursorError("Klaviyo answers 400: Invalid cursor provided.", 400)
        events = self.of_metric.get(metric, [])
        place = bisect_left(events, (start, ""), key=lambda each: (each.time, each.id))
        if cursor:
            place = bisect_left(events, (cursor[0], cursor[1] + " "), key=lambda each: (each.time, each.id))
        found = [each for each in events[place : place + self.page_size + 1] if each.time < end]
        assert found or not has_items, "An empty page would be asked for again, although nothing is missing."
        page, has_more = found[: self.page_size], len(found) > self.page_size
        bad = next((n for n, each in enumerate(page) if not each.is_readable), None)
        if bad is not None:
            page, has_more = page[:bad], True
        self.requests.append((metric, start, end, bool(cursor), has_more))
        if bad == 0:
            raise UnreadablePageError("Klaviyo answers 500 to a page of one event.", 500)
        following = json.dumps([metric, start, end, [page[-1].time, page[-1].id]]) if has_more else None
        document = {"data": [each.as_json() for each in page], "links": {"self": url, "next": following}}
        page_read = replace(parse_page(json.dumps(document).encode(), decoder), next=following)
        yield Answer(replace(page_read, next=following), None, size, False)
        if self.late:
            event = self.late.pop()
            self.of_metric.setdefault(event.metric, []).append(event)
            self.of_metric[event.metric].sort()

    def answers(self, endpoint: Endpoint, url: str, size: int = 1) -> bool:
        """Return whether the first events at a URL can be rendered; the answer is wrong now and then."""
        metric, start, end, _ = json.loads(url)
        self.probes += 1
        found = [each for each in self.of_metric.get(metric, []) if start <= each.time < end]
        return all(each.is_readable for each in found[:size]) and not self.err()


def metric_resources(names: Sequence[str]) -> list[Resource]:
    """Return metrics as Klaviyo lists them."""
    data = [{"type": "metric", "id": name, "attributes": {"name": name}} for name in names]
    body = json.dumps({"data": data, "links": {"self": "", "next": None}})
    return list(parse_page(body.encode()).data)


_SELECTION = next(each for each in ALL if each.stream.name == STREAM)
_PROJECTION = _SELECTION.stream.project(_SELECTION.schema)


def fetches_of(memory: Memory, metrics: Sequence[str], start: int, end: int) -> list[Fetch[Batch]]:
    """Return the fetches of a range."""
    stream = _SELECTION.stream
    timeline = Timeline(stream, cast(Client, memory), stream.endpoint, {}, count=memory.counts)
    return time_range_fetches(timeline, metric_queries(_PROJECTION, metric_resources(metrics)), start, end)


class _Place:
    def __init__(self, fetch: Fetch[Batch]) -> None:
        self.fetch: Fetch[Batch] | None = fetch
        self.batch: Batch | None = None


def batches(fetches: Sequence[Fetch[Batch]], chance: random.Random, most: int, idle: Callable[[], int]) -> list[Batch]:
    """Run fetches, any of the first `most` that wait, and return what they give in order."""
    places = [_Place(fetch) for fetch in fetches]
    while waiting := [n for n, place in enumerate(places) if place.fetch]:
        number = chance.choice(waiting[:most])
        place = places[number]
        assert place.fetch
        result = place.fetch()
        place.fetch, place.batch = None, result.item
        following = [*result.then, *(result.rest(idle()) if result.rest else ())]
        places[number + 1 : number + 1] = [_Place(fetch) for fetch in following]
    return [place.batch for place in places if place.batch]


def ids_in(batch: Batch) -> Iterator[str]:
    """Yield the ids of a batch's events."""
    for line in batch.read_lines().splitlines():
        yield json.loads(line)["record"]["id"]


@dataclass(frozen=True)
class Reading:
    """A timeline as it was read."""

    batches: Sequence[Batch]
    memory: Memory

    @property
    def ids(self) -> list[str]:
        """The ids in their order."""
        return [id for batch in self.batches for id in ids_in(batch)]

    @property
    def doubled(self) -> dict[str, int]:
        """The ids that came more than once."""
        return {id: count for id, count in Counter(self.ids).items() if count > 1}

    @property
    def problems(self) -> list[str]:
        """The problems with skipped events."""
        return [batch.problem for batch in self.batches if batch.problem]

    @property
    def meetings(self) -> int:
        """How many slices began with unfinished pages of two metrics."""
        firsts = {
            (metric, start, end) for metric, start, end, cursor, more in self.memory.requests if not cursor and more
        }
        return sum(count > 1 for count in Counter((start, end) for _, start, end in firsts).values())


def read_timeline(
    memory: Memory,
    metrics: Sequence[str],
    start: int,
    end: int,
    *,
    chance: random.Random | None = None,
    most: int = 1,
    idle: Callable[[], int] = lambda: 0,
) -> Reading:
    """Read a range of a timeline."""
    found = batches(fetches_of(memory, metrics, start, end), chance or random.Random(0), most, idle)
    return Reading(found, memory)


def shown(time: int) -> str:
    """Return a time as Klaviyo shows it in `datetime`."""
    return format_time(time).replace("Z", "+00:00")
