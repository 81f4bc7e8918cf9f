"""The numbers of a run by stream: rows written and fetched, and how much is left. `display` shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# A share below this says little about the time left.
_LEAST_SHARE = 0.02


@dataclass
class StreamProgress:
    """One stream's numbers.

    Args:
        began: when its writing began (monotonic seconds).
        since: where its time range begins (epoch seconds); None for a stream without a range.
        until: where its time range ends.
        expected: the number of rows by Klaviyo's count; None if it is not known.
        rows: rows written.
        reported: the rows of these that METRIC lines have counted.
        seconds: how long it has been written.
        reached: the time that its rows have reached (epoch seconds).
        has_ended: whether it is complete, or was given up.
    """

    began: float
    since: int | None = None
    until: int | None = None
    expected: int | None = None
    rows: int = 0
    reported: int = 0
    seconds: float = 0.0
    reached: int | None = None
    has_ended: bool = False

    @property
    def rate(self) -> float:
        """Rows per second; 0 if the stream was too short to measure, because it was read in parallel with another."""
        return self.rows / self.seconds if self.seconds >= 1 else 0.0

    @property
    def share(self) -> float | None:
        """The share that is written, from 0 to 1: of the expected rows, or else of the time range."""
        if self.has_ended:
            return 1.0
        if self.expected:
            return min(self.rows / self.expected, 1.0)
        if self.since is None or self.until is None or self.until <= self.since:
            return None
        reached = self.since if self.reached is None else self.reached
        return min(max((reached - self.since) / (self.until - self.since), 0.0), 1.0)


@dataclass
class Progress:
    """A run's numbers.

    Args:
        monotonic: the clock, in seconds.
        streams: the streams that have begun, in their order.
        names: all streams of the run, in their order.
        expected: by stream, the number of rows by Klaviyo's count, or by that of the last run.
        fetched: rows fetched from Klaviyo, whether written yet or not.
        now: the start of the run by Klaviyo's clock (epoch seconds).
        unit: what the names are of: "stream", or "comparison" for the comparisons of `--verify`.
        outcome: what becomes of the rows: "records written", "events compared".
    """

    monotonic: Callable[[], float]
    streams: dict[str, StreamProgress] = field(default_factory=dict)
    names: Sequence[str] = ()
    expected: dict[str, int] = field(default_factory=dict)
    fetched: int = 0
    now: int | None = None
    unit: str = "stream"
    outcome: str = "records written"

    def __post_init__(self) -> None:
        """Start the clock."""
        self._began = self.monotonic()

    def begin(self, stream: str, since: int | None = None) -> None:
        """Note that a stream begins, and where its time range does (epoch seconds)."""
        self.streams[stream] = StreamProgress(
            self.monotonic(), since, None if since is None else self.now, self.expected.get(stream)
        )

    def expect(self, stream: str, rows: int) -> None:
        """Note that a stream has this many rows in addition, by Klaviyo's count."""
        self.expected[stream] = self.expected.get(stream, 0) + rows
        if stream in self.streams:
            self.streams[stream].expected = self.expected[stream]

    def add(self, stream: str, rows: int, reached: int | None) -> None:
        """Note a page of written rows, and the time that it reached (epoch seconds)."""
        progress = self.streams[stream]
        progress.rows += rows
        progress.seconds = self.monotonic() - progress.began
        progress.reached = reached if reached is not None else progress.reached

    def end(self, stream: str) -> None:
        """Note that a stream has ended."""
        self.streams[stream].has_ended = True

    def take_unreported(self, stream: str) -> int:
        """Return how many rows there are since the last call."""
        progress = self.streams[stream]
        rows, progress.reported = progress.rows - progress.reported, progress.rows
        return rows

    @property
    def rows(self) -> int:
        """Rows written."""
        return sum(each.rows for each in list(self.streams.values()))

    @property
    def elapsed(self) -> float:
        """Seconds since the start of the run."""
        return self.monotonic() - self._began

    @property
    def current(self) -> tuple[str, StreamProgress] | None:
        """The stream that began last."""
        return next(reversed(list(self.streams.items())), None)

    @property
    def share(self) -> float | None:
        """The share of the run that is written, from 0 to 1; None unless the rows of each stream are expected.

        Streams differ too much in size to take the share of the streams for the share of the rows.
        """
        if not self.names or any(name not in self.expected for name in self.names):
            return None
        total = sum(self.expected.values())
        written = sum(min(each.rows, self.expected.get(name, 0)) for name, each in list(self.streams.items()))
        return written / total if total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds left of the run or, if that is not known, of the current stream; None if neither is."""
        if self.share is not None:
            return _seconds_left(self.share, self.elapsed)
        if self.current is None or self.current[1].share is None:
            return None
        return _seconds_left(self.current[1].share, self.monotonic() - self.current[1].began)


def _seconds_left(share: float, seconds: float) -> float | None:
    return seconds * (1 - share) / share if share >= _LEAST_SHARE else None
