"""`--verify`: as many events as Klaviyo counts? Reads events and counts of each day, and writes no record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from tap_klaviyo.completeness import describe_difference, describe_metric, differences_of
from tap_klaviyo.config import Config
from tap_klaviyo.errors import ApiError, AuthError, ConfigError, OfflineError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.log import logger
from tap_klaviyo.outcomes import judge_failure
from tap_klaviyo.progress import Progress
from tap_klaviyo.reading.account import Account, read_account
from tap_klaviyo.reading.batch import Batch, park_batch, parking_room
from tap_klaviyo.reading.comparison import add_counts
from tap_klaviyo.reading.counts import count_events
from tap_klaviyo.reading.hours import HourCounts, count_by_day, counts_outside, join_ranges
from tap_klaviyo.reading.planner import event_queries
from tap_klaviyo.reading.prefetch import Fetch, Pipeline
from tap_klaviyo.reading.query import Query, query_parameters
from tap_klaviyo.reading.tally import Tally
from tap_klaviyo.reading.time_range import time_range_fetches
from tap_klaviyo.reading.timeline import Timeline
from tap_klaviyo.singer.given_state import name_odd_parts
from tap_klaviyo.singer.other_taps import adopt_bookmarks
from tap_klaviyo.singer.selection import Selection, select_key
from tap_klaviyo.singer.state import State, bookmark_of
from tap_klaviyo.streams.events import chosen_without_metric
from tap_klaviyo.streams.metric_streams import streams_with
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.times import DAY, Clock, format_time, parse_time

# The only attributes that count. With such a choice, Klaviyo leaves out which metric an event belongs to.
_FIELDS = {"fields[event]": "datetime,timestamp"}
# Ranges of days that are read again. If more of them differ, the cause is not an event that came in between.
_MOST_RANGES = 10


@dataclass(frozen=True)
class VerifiedDay:
    """A day of a metric: how many events Klaviyo returns, and how many it counts."""

    stream: str
    metric: str
    metric_id: str
    day: str
    events: int
    counted: int


@dataclass(frozen=True)
class Verdict:
    """What the comparison of one metric of a stream shows.

    Args:
        stream: its name.
        metric: its name and id.
        days: each day that has events or counts.
        differences: a sentence for each day that differs.
        problem: why it could not be compared; empty if it could.
    """

    stream: str
    metric: str
    days: Sequence[VerifiedDay] = ()
    differences: Sequence[str] = ()
    problem: str = ""

    @property
    def is_good(self) -> bool:
        """Whether all days are equal."""
        return not self.problem and not self.differences

    def __str__(self) -> str:
        """Return the verdict in lines: one if all is well, else one for each day that differs."""
        if self.problem:
            return f"FAILS    {self.stream}: {self.problem}"
        if self.differences:
            return "\n".join(f"DIFFERS  {self.stream}: {each}" for each in self.differences)
        events = sum(day.events for day in self.days)
        return (
            f"ok       {self.stream}: {events:,} event{'' if events == 1 else 's'} of {self.metric}, as Klaviyo counts"
        )


@dataclass(frozen=True)
class _Part:
    """The events of one query, and the range that they are compared in."""

    stream: Stream
    query: Query
    start: int
    end: int

    @property
    def name(self) -> str:
        return f"{self.stream.name}/{self.query.name}" if self.query.name else self.stream.name


class Verification:
    """One comparison of the selected event streams with Klaviyo's counts."""

    def __init__(self, client: Client, settings: Config, clock: Clock | None = None) -> None:
        """Ask nothing yet; `progress` has the numbers while it goes on."""
        self._client = client
        self._settings = settings
        self._clock = clock or Clock()
        self.progress = Progress(self._clock.monotonic, unit="comparison", outcome="events compared")

    def verdicts(
        self, selections: Sequence[Selection], given: State, days: tuple[int, int] | None = None
    ) -> Iterator[Verdict]:
        """Yield the verdict on each metric of each stream.

        Args:
            selections: the selected streams; those without events have nothing to compare.
            given: the state; a stream is compared up to its bookmark, or without a state up to now.
            days: the range to compare, in epoch seconds; by default from `start_date`.

        Raises:
            AuthError, OfflineError: Klaviyo cannot be asked.
            ConfigError: no stream has days to compare.
        """
        streams = [each.stream for each in selections if each.stream.has_events]
        others = [each.stream.name for each in selections if not each.stream.has_events]
        if not streams:
            listed = ", ".join(others)
            raise ConfigError([f"--verify compares event streams only, but the selection has only {listed}."])
        if others:
            logger.info("--verify compares event streams only; it leaves out %s.", ", ".join(others))
        account = read_account(self._client, streams, self._clock.wall)
        if account.problem:
            raise account.problem
        for each in chosen_without_metric(streams, account.all_metrics):
            logger.warning("%s", each)
        table = streams_with(self._settings.metric_streams)
        name_odd_parts(given, account.metric_ids, table, account.listed_ids)
        state = adopt_bookmarks(given, account.metric_ids, table)
        parts = [part for stream in streams for part in self._parts(account, stream, state, days)]
        if not parts:
            raise ConfigError(
                [
                    "There is nothing to compare: no selected event stream was read in these days. Days count from "
                    f"start_date ({format_time(self._settings.start_date)[:10]}) to the bookmark, or to now "
                    f"({format_time(account.now)[:10]} by Klaviyo's clock)."
                ]
            )
        self.progress.now = account.now
        self.progress.names = [part.name for part in parts]
        with self._pipeline() as pipeline:
            for part in parts:
                pipeline.add(
                    part.name, self._fetches(part, part.query, part.start, part.end), part.stream.endpoint.path
                )
            for part in parts:
                yield from self._judge(pipeline, part, account.metric_names)

    def _pipeline(self) -> Pipeline[Batch]:
        return Pipeline(
            self._settings.max_concurrency,
            park_batch,
            disk=parking_room(),
            judge=judge_failure,
            taken=self._note_fetched,
        )

    def _note_fetched(self, _: Hashable, batch: Batch) -> None:
        self.progress.fetched += batch.rows

    def _parts(self, account: Account, stream: Stream, state: State, days: tuple[int, int] | None) -> Iterator[_Part]:
        mark, now = bookmark_of(state, stream), account.now
        reached = now if mark is None else min(mark + 1, now)
        first, last = days or (self._settings.start_date, now)
        start, end = max(first, self._settings.start_date), min(last, self._settings.end_date or now, reached)
        if mark is None and state.get("bookmarks"):
            logger.info("%s: no bookmark in the state, so there is nothing to compare yet.", stream.name)
        elif start < end and (queries := event_queries(stream, stream.project(select_key(stream).schema), account)):
            logger.info("%s: comparing from %s to %s.", stream.name, format_time(start), format_time(end))
            for query in queries:
                yield _Part(stream, query, start, end)

    def _fetches(self, part: _Part, query: Query, start: int, end: int) -> list[Fetch[Batch]]:
        selection = select_key(part.stream)
        timeline = Timeline(
            part.stream,
            self._client,
            part.stream.endpoint,
            {**query_parameters(part.stream, selection.fields), **({} if query.is_looked_up else _FIELDS)},
            count=partial(count_events, self._client),
            is_checked=True,
        )
        return time_range_fetches(timeline, [query], start, end)

    def _judge(self, pipeline: Pipeline[Batch], part: _Part, names: Mapping[str, str]) -> Iterator[Verdict]:
        self.progress.begin(part.name, part.start)
        try:
            tally = self._read(pipeline, part)
            self._read_again(pipeline, part, tally)
        except (AuthError, OfflineError):
            raise
        except ApiError as problem:
            yield Verdict(part.stream.name, part.query.name, problem=str(problem))
            return
        finally:
            self.progress.end(part.name)
        if sentences := list(_problems_in(tally, names)):
            yield Verdict(part.stream.name, part.query.name, problem=" ".join(sentences))
            return
        differences = differences_of(tally)
        found = (metric for metric in part.query.metrics if not part.query.is_looked_up or _has_events(tally, metric))
        for metric in found:
            yield Verdict(
                part.stream.name,
                describe_metric(metric, names),
                list(_days_of(part.stream.name, metric, tally, names)),
                [describe_difference(each, names) for each in differences if each.metric == metric],
            )

    def _read(self, pipeline: Pipeline[Batch], part: _Part) -> Tally:
        tally = Tally()
        for batch in pipeline.take(part.name):
            tally.add(batch)
            self.progress.add(part.name, batch.rows, batch.newest)
        return tally

    def _read_again(self, pipeline: Pipeline[Batch], part: _Part, tally: Tally) -> None:
        """Read the days that differ once more, events and counts: late events came, or the counts were behind."""
        differences = differences_of(tally)
        ranges = join_ranges(sorted({(each.start, each.end) for each in differences}))
        query = replace(part.query, metrics=tuple({each.metric for each in differences}))
        for start, end in ranges if len(ranges) <= _MOST_RANGES else []:
            pipeline.add(part.name, self._fetches(part, query, start, end), part.stream.endpoint.path, is_next=True)
            again = self._read(pipeline, part)
            for metric in query.metrics:
                hours = tally.read.get(metric, Counter())
                kept = counts_outside(hours, start, end)
                tally.read[metric] = Counter(kept) + again.read.get(metric, Counter())
            for each in again.counted:
                tally.counted = add_counts(tally.counted, each)


def _problems_in(tally: Tally, names: Mapping[str, str]) -> Iterator[str]:
    yield from tally.problems
    for metric in sorted(tally.denied):
        yield f"Klaviyo lists {describe_metric(metric, names)}, but says that it does not exist."
    if tally.uncounted:
        yield f"There are no counts to compare with. {tally.uncounted}"


def _has_events(tally: Tally, metric: str) -> bool:
    return metric in tally.read or any(each.total for each in tally.counted if each.metric == metric)


def _days_of(stream: str, metric: str, tally: Tally, names: Mapping[str, str]) -> Iterator[VerifiedDay]:
    counted: HourCounts = {each.metric: each.hours for each in tally.counted}
    events, counts = count_by_day(tally.read.get(metric, {})), count_by_day(counted.get(metric, {}))
    for day in sorted(events.keys() | counts.keys()):
        date = format_time(day)[:10]
        yield VerifiedDay(stream, names.get(metric, ""), metric, date, events[day], counts[day])


def verdicts_json(verdicts: Iterable[Verdict]) -> str:
    """Return all days of some verdicts as a JSON array of objects."""
    return json.dumps([asdict(day) for each in verdicts for day in each.days], indent=2, ensure_ascii=False)


def parse_days(text: str) -> tuple[int, int]:
    """Return the range of a day such as 2026-11-03, or of 2026-11-01..2026-11-07 inclusive, in epoch seconds.

    Raises:
        ConfigError: the text has another form.
    """
    first, dots, last = text.partition("..")
    try:
        start, end = parse_time(first), parse_time(last if dots else first)
    except ValueError:
        start, end = 0, -1
    if end < start or start % DAY or end % DAY:
        raise ConfigError(
            [f"--verify takes a day such as 2026-11-03, or 2026-11-01..2026-11-07, not {json.dumps(text)}."]
        )
    return start, end + DAY
