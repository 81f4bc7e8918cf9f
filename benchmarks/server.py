"""A sandbox in a separate process: it can keep the pages that it made, and reports its requests.

Run as `python -m benchmarks.server`; the first line of its output says where it listens and what it holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from email.utils import formatdate
from typing import Any

from aiohttp import web

from benchmarks.traffic import Served
from tap_klaviyo.sandbox import (
    API_KEY,
    CORE_STREAMS,
    SCOPES,
    Account,
    Api,
    Limits,
    RefusalError,
    Reply,
    Request,
    find_endpoints,
    refusal_reply,
    wire,
)
from tap_klaviyo.times import format_time

LOG = "/requests"
_FULL_PAGE = "page%5Bsize%5D=1000"


@dataclass(frozen=True)
class Service:
    """How the account is served; `page` bounds the rows of a page of events, whatever is asked for."""

    latency: float
    limits: bool
    gzip: bool
    keep: bool
    page: int | None


@dataclass(frozen=True)
class Answer:
    """A reply as it goes over the wire, and the number of rows in it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    rows: int


class Server:
    """Answers the tap, and under LOG the benchmark: GET gives the requests since the last DELETE."""

    def __init__(self, account: Account, service: Service, origin: str) -> None:
        """Serve an account under an origin."""
        self._service = service
        self._now = account.now
        self._api = Api(account, origin, SCOPES, None)
        self._limits = Limits(time.monotonic) if service.limits else None
        self._kept: dict[tuple[str, str, bytes], Answer] = {}
        self._log: list[Served] = []

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if http.path == LOG:
            return self._tell(http.method)
        began = time.monotonic()
        url, body = self._asked(http.raw_path), await http.read()
        request = Request(len(self._log), 1, http.method, url, http.headers, began, body=body)
        answer = self._admitted(request)
        # What it took to make the page is part of the time that it takes.
        await asyncio.sleep(began + self._service.latency - time.monotonic())
        served = Served(request.path, began, time.monotonic(), answer.status, answer.rows, len(answer.body))
        self._log.append(served)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    def _tell(self, method: str) -> web.Response:
        told = json.dumps([asdict(each) for each in self._log])
        if method == "DELETE":
            self._log.clear()
        return web.Response(text=told)

    def _asked(self, url: str) -> str:
        return url.replace(_FULL_PAGE, f"page%5Bsize%5D={self._service.page}") if self._service.page else url

    def _admitted(self, request: Request) -> Answer:
        """Answer within the rate limits; they count each request, also where the page is kept."""
        endpoint = next((each for each, _ in find_endpoints(request.path) if each.method == request.method), None)
        if self._limits is None or endpoint is None:
            return self._answer(request)
        try:
            told = self._limits.charge(endpoint.path, endpoint.limit)
        except RefusalError as refusal:
            return self._encoded(refusal_reply(refusal, request, {}), request)
        answer = self._answer(request)
        return replace(answer, headers={**answer.headers, **told})

    def _answer(self, request: Request) -> Answer:
        key = (request.url, request.headers.get("Accept-Encoding", ""), request.body)
        answer = self._kept.get(key) or self._encoded(self._api.answer(request, self._now), request)
        if self._service.keep:
            self._kept[key] = answer
        return answer

    def _encoded(self, reply: Reply, request: Request) -> Answer:
        accepted = request.headers.get("Accept-Encoding", "") if self._service.gzip else ""
        headers = {"Content-Type": reply.media_type, "Date": formatdate(self._now, usegmt=True), **reply.headers}
        body, headers = wire.encode_body(reply.body, headers, accepted)
        return Answer(reply.status, headers, body, len(reply.page.data) if reply.page else 0)


def only(account: Account, stream: str) -> Account:
    """Return the account with all of its events moved to a stream's first metric."""
    place = next(place for place, metric in enumerate(account.metrics) if metric.kind.stream == stream)
    metrics = array("B", [place]) * len(account.timeline.metrics)
    return replace(account, timeline=replace(account.timeline, metrics=metrics))


def rows_by_stream(account: Account) -> dict[str, list[int]]:
    """Return by event stream how many events each of its metrics has."""
    places = {
        stream: [i for i, metric in enumerate(account.metrics) if metric.kind.stream == stream]
        for stream in CORE_STREAMS
    }
    return {stream: [_visible(account, place) for place in found] for stream, found in places.items()}


def _visible(account: Account, place: int) -> int:
    timeline = account.timeline
    numbers = timeline.by_metric.get(place, array("I"))
    past = bisect_left(numbers, account.now, key=timeline.seconds.__getitem__)
    return sum(timeline.is_visible(number, account.now) for number in numbers[:past])


def description(account: Account, url: str) -> dict[str, Any]:
    """Return what the benchmark has to know of an account: a config for all of it, its time and its rows."""
    start = format_time(account.start)
    config = {"api_key": API_KEY, "base_url": url, "start_date": start}
    return {"config": config, "now": account.now, "rows": rows_by_stream(account)}


async def _serve(account: Account, service: Service) -> None:
    handle: list[Callable[[web.BaseRequest], Any]] = []
    runner = web.ServerRunner(web.Server(lambda http: handle[0](http), access_log=None, keepalive_timeout=600.0))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=256)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    handle.append(Server(account, service, url).handle)
    print(json.dumps(description(account, url)), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    add = parser.add_argument
    add("--events", type=int, default=2000, help="how many events the account has")
    add("--profiles", type=int, help="how many people it has; by default an eighth of the events")
    add("--lists", type=int, default=25, help="how many lists it has")
    add("--shape", choices=("even", "skewed"), default="even", help="how they lie in time")
    add("--only", metavar="STREAM", help="put all of them into one stream")
    add("--metrics", type=int, help="maximum number of metrics")
    add("--latency", type=float, default=0.0, help="seconds that each answer takes")
    add("--limits", action="store_true", help="keep to Klaviyo's rate limits")
    add("--gzip", action="store_true", help="compress")
    add("--keep", action="store_true", help="render each page once only")
    add("--page", type=int, help="the most events in a page")
    options = parser.parse_args()
    account = Account.build(events=options.events, shape=options.shape, profiles=options.profiles, lists=options.lists)
    account = replace(account, metrics=account.metrics[: options.metrics])
    if options.only:
        account = only(account, options.only)
    service = Service(options.latency, options.limits, options.gzip, options.keep, options.page)
    asyncio.run(_serve(account, service))


if __name__ == "__main__":
    main()
