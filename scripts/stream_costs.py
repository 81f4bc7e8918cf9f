"""What each stream costs in requests, from the table of streams; `update_docs.py` writes it to docs/costs.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import ceil

from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.reading.query import charged_endpoint
from tap_klaviyo.streams.model import DailyCounts, Filters, Metrics, Parent, Report, Sizes, Stream
from tap_klaviyo.streams.table import GROUPS, STREAMS

# The rows of each stream in a small, a middle and a large account. Those of `flow_messages` are also the number of
# actions that send messages: one request each.
SIZES = ("small", "middle", "large")
ROWS: Mapping[str, tuple[int, int, int]] = {
    "events": (500_000, 5_000_000, 50_000_000),
    "lists": (10, 50, 200),
    "campaigns": (60, 300, 1_000),
    "campaign_messages": (70, 350, 1_200),
    "campaign_audiences": (60, 300, 1_000),
    "campaign_variations": (80, 400, 1_500),
    "translations": (1, 20, 200),
    "global_exclusions": (1_000, 15_000, 75_000),
    "metrics": (50, 120, 200),
    "metric_properties": (500, 1_200, 2_000),
    "custom_metrics": (2, 5, 20),
    "mapped_metrics": (7, 7, 7),
    "profiles": (10_000, 100_000, 500_000),
    "list_members": (15_000, 200_000, 5_000_000),
    "segments": (15, 80, 300),
    "segment_members": (30_000, 800_000, 15_000_000),
    "push_tokens": (500, 5_000, 50_000),
    "flows": (15, 80, 400),
    "flow_actions": (150, 1_200, 6_000),
    "flow_messages": (60, 480, 2_400),
    "tags": (10, 50, 100),
    "tag_groups": (2, 5, 10),
    "templates": (100, 600, 2_000),
    "universal_content": (5, 20, 100),
    "images": (200, 2_000, 10_000),
    "forms": (5, 20, 100),
    "form_versions": (8, 40, 300),
    "web_feeds": (1, 3, 10),
    "reviews": (200, 5_000, 100_000),
    "catalog_items": (200, 5_000, 50_000),
    "catalog_variants": (600, 20_000, 200_000),
    "catalog_categories": (10, 100, 500),
    "catalog_category_items": (400, 15_000, 150_000),
    "coupons": (3, 20, 100),
    "coupon_codes": (1_000, 50_000, 1_000_000),
    "accounts": (1, 1, 1),
    "tracking_settings": (1, 1, 1),
    "webhooks": (1, 2, 5),
    "data_sources": (1, 2, 5),
    "object_types": (1, 2, 5),
    "object_records": (1_000, 50_000, 1_000_000),
    "billing_usage": (1, 1, 1),
}
# Streams that are read for others only, and the stream that has as many rows.
_SAME_ROWS = {"omnichannel_campaigns": "campaigns"}
# The share of all events that belong to the metrics of a group's streams.
EVENT_SHARES = {"core": 0.8, "other_events": 0.02}
# A run a day later reads a day and the lookback of a week, if the history is a year.
YEAR, LATER_DAYS = 365, 8
# Klaviyo returns metrics in pages of this size, whatever a request asks for.
_METRICS_PAGE = 200

Rows = Callable[[str], float]


@dataclass(frozen=True)
class Line:
    """A line of the table: a stream, or several that read the same endpoint.

    Attributes:
        name: the stream, or what the streams are.
        endpoint: whose limits apply.
        requests: by size of the account.
        later: requests of a later run in the largest account.
    """

    name: str
    endpoint: Endpoint
    requests: tuple[int, ...]
    later: int


def count_requests(stream: Stream, rows: Rows, days: int = YEAR) -> int:
    """Return the requests that read a stream, without those for its parent.

    Args:
        stream: one that is not split by metrics.
        rows: returns how many rows a stream has.
        days: how many days of reports are read.
    """
    match stream.split:
        case Parent() as parent:
            return _count_for_parents(stream, parent, rows)
        case Report() as report:
            return _count_for_report(report, rows, days)
        case DailyCounts():
            return ceil(rows("metrics")) * ceil(days / YEAR)
        case Sizes():
            return ceil(rows("lists")) + 1
        case _:
            return _count_for_collection(stream, rows)


def _count_for_parents(stream: Stream, parent: Parent, rows: Rows) -> int:
    """Return the requests for the rows of all parents, spread evenly over them."""
    parents = rows(stream.name if parent.only else parent.stream)
    if parent.included or not parents:
        return 0
    return ceil(parents * max(1, ceil(rows(stream.name) / parents / _page_size(stream))))


def _count_for_report(report: Report, rows: Rows, days: int) -> int:
    """Return the requests for a report: a window is a month, or 60 days of a series; some have pages of 100 rows."""
    windows = ceil(days / 60) if report.is_series else int(days * 12 / YEAR) + 1
    if not report.has_conversions:
        return windows
    in_window = rows("campaign_messages") / 12 if report.about == "campaigns" else rows("flow_messages")
    return windows * max(1, ceil(in_window / 100))


def _count_for_collection(stream: Stream, rows: Rows) -> int:
    pages = max(1, ceil(rows(stream.name) / _page_size(stream)))
    requests = pages
    if isinstance(stream.split, Filters):
        # Each filter leaves a page that is not full; a read in full asks again for what changed meanwhile.
        queries = len(stream.split.each)
        requests += queries - 1 + (queries if stream.split.changed_by and not stream.range else 0)
    if stream.omnichannel_from:
        # The newer revision lists all campaigns again, and the messages of those that the older one lacks.
        requests += 2 * (pages + 1)
    return requests


def _page_size(stream: Stream) -> float:
    """Return the most rows of a page; infinite for endpoints that return everything at once."""
    return stream.endpoint.page_size or (_METRICS_PAGE if stream.name == "metrics" else float("inf"))


def format_time(requests: int, endpoint: Endpoint) -> str:
    """Return how long requests take: at the burst rate, at the steady one beyond a minute's worth, or over days."""
    limit = endpoint.limit
    if limit.daily and requests > limit.daily:
        return f"{ceil(requests / limit.daily)} days"
    seconds = requests / limit.burst if requests <= limit.steady else requests * 60 / limit.steady
    if seconds < 1:
        return "< 1 s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"


def lines() -> Iterable[Line]:
    """Yield the lines of the table, in the order of the groups."""
    for group in GROUPS:
        own = [stream for stream in STREAMS if stream.group == group]
        by_metric = [stream for stream in own if isinstance(stream.split, Metrics)]
        if by_metric:
            yield _events_line(group, by_metric)
        for stream in own:
            if stream not in by_metric:
                requests = tuple(count_requests(stream, _rows_of(place)) for place in range(len(SIZES)))
                later = _later(stream)
                # The sizes of lists come on request only, which always costs the lower limit.
                asked = stream.endpoint.additional if isinstance(stream.split, Sizes) else ()
                endpoint = stream.endpoint.charged_for(frozenset(asked))
                yield Line(f"`{stream.name}`", endpoint, requests, later)
                for field in sorted(stream.off):
                    costly = charged_endpoint(stream, {field: None})
                    if costly != stream.endpoint:
                        yield Line(f"`{stream.name}` with `{field}`", costly, requests, later)


def _events_line(group: str, streams: list[Stream]) -> Line:
    """Return the line of event streams: the pages of their events, of which the last of each stream is not full."""
    endpoint, share = streams[0].endpoint, EVENT_SHARES[group]
    events = [rows * share for rows in (*ROWS["events"], ROWS["events"][-1] * LATER_DAYS / YEAR)]
    *requests, later = (ceil(each / (endpoint.page_size or 1)) + len(streams) for each in events)
    return Line(f"the {len(streams)} event streams of `{group}`", endpoint, tuple(requests), later)


def _rows_of(place: int) -> Rows:
    return lambda name: _rows(name)[place]


def _rows(name: str) -> tuple[int, int, int]:
    name = _SAME_ROWS.get(name, name)
    if name not in ROWS:
        raise KeyError(f"scripts/stream_costs.py: add to ROWS how many rows {name} has.")
    return ROWS[name]


def _later(stream: Stream) -> int:
    """Return the requests of a later run in the largest account; a parent is read whole each time."""

    def rows(name: str) -> float:
        share = LATER_DAYS / YEAR if name == stream.name and stream.replication_key else 1
        return _rows(name)[-1] * share

    return count_requests(stream, rows, LATER_DAYS)


def costs_page() -> str:
    """Return the page of costs."""
    return "\n".join(
        [_HEAD, _sizes_table(), "", _REQUESTS.format(later=f"{LATER_DAYS / YEAR:.1%}"), _requests_table(), ""]
    )


def _sizes_table() -> str:
    sizes = {f"`{name}`": rows for name, rows in ROWS.items()}
    first, *others = sizes.items()
    shares = {
        f"of these, in the event streams of `{group}`": tuple(int(rows * share) for rows in ROWS["events"])
        for group, share in EVENT_SHARES.items()
    }
    rows = [first, *shares.items(), *others]
    return _table(("rows", *SIZES), ((name, *(f"{each:,}" for each in numbers)) for name, numbers in rows))


def _requests_table() -> str:
    head = ("stream", *SIZES, "large, at the limit", "large, a later run", "its time")
    return _table(head, map(_cells, lines()))


def _cells(line: Line) -> tuple[str, ...]:
    requests = (f"{each:,}" for each in line.requests)
    times = [format_time(each, line.endpoint) for each in (line.requests[-1], line.later)]
    return line.name, *requests, times[0], f"{line.later:,}", times[1]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    marks = ("---", *("---:" for _ in head[1:]))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, marks, *rows))


_HEAD = """\
# Costs

How many requests each stream takes, and how long Klaviyo's rate limits make them last. `scripts/update_docs.py`
generates this page from the table of streams: page sizes, limits, and what is read for each parent.

The figures are for three accounts of these sizes, with a history of one year. Members, messages and other children are
spread evenly over their parents. For an account like yours, scale the line of a stream by its rows.
"""
_REQUESTS = """\
## Requests

- Each endpoint has its own limits, in requests per second and per minute ([streams.md](streams.md) has them), and
  streams of different endpoints are read in parallel. So a run takes about as long as its slowest line, if Klaviyo
  answers quickly enough and the target keeps up.
- *At the limit* is the least time that Klaviyo allows for the requests of the large account.
- *A later run* starts from a bookmark: it reads one day and the lookback of a week, here {later} of the rows, as if
  they were spread evenly over a year. Streams without a bookmark are read in full each time.
- Streams that are read for each row of another (such as `list_members` for `lists`) need the requests of that stream
  too, whether or not it is selected. A stream that is selected with its children is read once.
- `flow_actions` come with the pages of `flows`.
- Klaviyo also limits reports to 225 requests a day and report. What does not fit into a day is left to the next run.
- Streams that are read by time take up to a tenth more requests, since they are read in slices side by side. Each run
  also looks up the metrics, with one request for 200 of them.
- Other programs that use private keys of the same account share its limits.
"""
