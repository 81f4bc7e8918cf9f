"""Daily member counts of lists and segments: one report covers all segments, and each list takes one request.

Klaviyo offers no report on lists. A run reads only new members, so counting them would not give the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Raw

from tap_klaviyo.errors import GoneError, RequestError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import LISTS, SEGMENT_VALUES
from tap_klaviyo.klaviyo.json_values import decode_object
from tap_klaviyo.klaviyo.pages import Pages
from tap_klaviyo.klaviyo.reports import ReportQuery, ResourceDecoder, report_figures
from tap_klaviyo.reading.batch import NO_ROWS, Batch
from tap_klaviyo.reading.day_limit import DayLimit
from tap_klaviyo.reading.lost_parents import skipped_sentence
from tap_klaviyo.reading.periods import Period, format_bound, format_local
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.records.figures import Row, build_figures
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.streams.model import Stream

_COUNT = "profile_count"
_MEMBERS = ReportQuery("segment-values-report", ("total_members",))


@dataclass(frozen=True)
class SizeRequests:
    """The shared settings of one snapshot's requests.

    Args:
        stream: the stream of the sizes.
        client: asks Klaviyo.
        projection: has the columns.
        zone: the account's time zone.
        today: the local day of the run's start.
        now: the run's start by Klaviyo's clock, in epoch seconds.
        limit: the requests of a day to the report about segments.
    """

    stream: Stream
    client: Client
    projection: Projection
    zone: ZoneInfo
    today: Period
    now: int
    limit: DayLimit


def size_fetches(requests: SizeRequests) -> dict[str, Fetch[Batch]]:
    """Return the first fetches of a snapshot by name, for segments and for lists."""
    return {
        "segments": partial(_read_segments, requests),
        "lists": partial(_read_lists, requests, Pages(requests.client, LISTS, {"sort": "id"})),
    }


def _read_segments(requests: SizeRequests) -> Fetched[Batch]:
    if not requests.limit.has_room():
        sentence = (
            f"Klaviyo's limit of {requests.limit.requests:,} requests a day to the report about segments leaves their "
            "sizes to the next run."
        )
        # Without the bookmark of today, the next run asks for all of it again.
        return Fetched(Batch(b"", 0, 0, left_over=sentence, bookmark_limit=requests.today.start - 1), 0)
    start, end = requests.today.start, max(requests.now, requests.today.start + 1)
    body = _MEMBERS.body(format_bound(start, requests.zone), format_bound(end, requests.zone))
    url = requests.client.url(SEGMENT_VALUES, {})
    findings = Findings()
    decoder = ResourceDecoder(arrays=_MEMBERS.arrays)
    with requests.client.page(SEGMENT_VALUES, url, None, decoder, body=body) as answer:
        rows: list[Row] = []
        for figures in report_figures(answer.page):
            if figures is None:
                findings.set_aside[requests.stream.name] += 1
            else:
                rows.append(
                    _size_row("segment", figures.groupings.get("segment_id"), figures.statistics.get("total_members"))
                )
        batch = _size_batch(requests, rows, findings)
    return Fetched(batch, batch.size, (), answer.attempts, answer.queued)


def _read_lists(requests: SizeRequests, pages: Pages) -> Fetched[Batch]:
    """Read a page of lists, then request the size of each."""
    with pages.next() as answer:
        then = [partial(_read_list, requests, each.id) for each in answer.page.data]
    if not pages.ended:
        then.append(partial(_read_lists, requests, pages))
    return Fetched(NO_ROWS, 0, then, answer.attempts, answer.queued)


def _read_list(requests: SizeRequests, id: str) -> Fetched[Batch]:
    endpoint = requests.stream.endpoint.charged_for(frozenset({_COUNT}))
    url = requests.client.url(endpoint, {f"additional-fields[{endpoint.resource}]": _COUNT}, list_id=id)
    try:
        with requests.client.page(endpoint, url, None, ResourceDecoder()) as answer:
            count = (decode_object(answer.page.data[0].attributes) or {}).get(_COUNT)
            batch = _size_batch(requests, [_size_row("list", Raw(msgspec.json.encode(id)), count)], Findings())
    except GoneError:
        return Fetched(NO_ROWS, 0)
    except RequestError as problem:
        # Without the bookmark of today, the next run asks for all of it again.
        sentence = skipped_sentence(problem, "list", id)
        return Fetched(replace(NO_ROWS, problem=sentence, bookmark_limit=requests.today.start - 1), 0)
    return Fetched(batch, batch.size, (), answer.attempts, answer.queued)


def _size_row(kind: str, id: Raw | None, count: Raw | None) -> dict[str, Any]:
    return {"type": Raw(msgspec.json.encode(kind)), "id": id, _COUNT: count}


def _size_batch(requests: SizeRequests, rows: Sequence[Row], findings: Findings) -> Batch:
    own = {"period_start": format_local(requests.today.start, requests.zone)}
    records = build_figures(requests.projection, requests.stream.key, [(row, own) for row in rows], findings)
    lines = encode_records(requests.stream.name, records)
    return Batch(lines, len(lines), len(records), requests.today.start, findings)
