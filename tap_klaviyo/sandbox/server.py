"""The sandbox as a server on loopback, in a separate thread."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from email.utils import formatdate
from types import TracebackType

from aiohttp import web

from tap_klaviyo.sandbox import faults as breakage
from tap_klaviyo.sandbox import wire
from tap_klaviyo.sandbox.account import Account
from tap_klaviyo.sandbox.api import API_KEY, Api
from tap_klaviyo.sandbox.endpoints import SCOPES
from tap_klaviyo.sandbox.faults import Fault, Schedule
from tap_klaviyo.sandbox.limits import Clock, Limits
from tap_klaviyo.sandbox.oauth import OAuth
from tap_klaviyo.sandbox.templates import time_stamp
from tap_klaviyo.sandbox.traffic import Exchange, Reply, Request, page_of

_UNSENT = ("reset_before", "reset_headers")
_GRACE = 0.05
# Seconds for the connections to close after the last answer.
_LAST_TURNS = 0.01


class Sandbox:
    """A small Klaviyo on loopback; it runs as long as its `with` block.

    Its time does not change unless it is advanced or runs in real time. `account` and `faults` can be replaced
    between requests.
    """

    api_key = API_KEY

    def __init__(
        self,
        account: Account,
        *,
        latency: float = 0.0,
        limits: bool = True,
        scopes: Iterable[str] = SCOPES,
        faults: Schedule | None = None,
        clock: Clock = time.monotonic,
        record: bool = False,
        gzip: bool = True,
        port: int = 0,
        realtime: bool = False,
        largest_page: int | None = None,
        oauth: OAuth | None = None,
    ) -> None:
        """Prepare to serve an account.

        Args:
            account: the data.
            latency: seconds before each answer.
            limits: whether there are rate limits.
            scopes: what the key may read; endpoints that need other scopes answer 403.
            faults: decides for each request what goes wrong with it.
            clock: the clock of the rate limits, in seconds.
            record: whether to keep whole exchanges.
            gzip: whether to compress answers if the client accepts that.
            port: to listen on; 0 takes a free one.
            realtime: whether time passes by itself.
            largest_page: the most resources of a page that has a cursor, whatever a request asks for.
            oauth: the app that can get access tokens at /oauth/token; by default one that does not rotate its
                refresh token.
        """
        self.faults = faults
        self.requests: list[Request] = []
        self.exchanges: list[Exchange] = []
        self._latency, self._gzip, self._record, self._port = latency, gzip, record, port
        self._scopes = frozenset(scopes)
        self._largest_page = largest_page
        self.oauth = OAuth() if oauth is None else oauth
        self._clock = clock
        self._limits = Limits(clock) if limits else None
        self._now, self._since = float(account.now), time.monotonic() if realtime else None
        self._attempts: Counter[str] = Counter()
        self._received = 0
        self._url = ""
        self.account = account

    def __enter__(self) -> Sandbox:
        """Start to listen."""
        listening = socket.create_server(("127.0.0.1", self._port), backlog=256)
        self._url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        # Links begin with the origin, which is known only now.
        self.account = self._account
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening, ready), name="sandbox", daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all connections and end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def url(self) -> str:
        """The origin, such as http://127.0.0.1:8010; empty before the sandbox is entered."""
        return self._url

    @property
    def config(self) -> dict[str, str]:
        """A config that makes the tap read all of the account's past."""
        return {"api_key": self.api_key, "base_url": self.url, "start_date": self._start_date}

    @property
    def oauth_config(self) -> dict[str, str]:
        """A config like `config`, with the credentials of the app instead of the key."""
        app = self.oauth
        return {
            "client_id": app.client_id,
            "client_secret": app.client_secret,
            "refresh_token": app.refresh_token,
            "base_url": self.url,
            "start_date": self._start_date,
        }

    @property
    def _start_date(self) -> str:
        return time_stamp(self._account.start).decode().replace("+00:00", "Z")

    @property
    def account(self) -> Account:
        """The account that is served."""
        return self._account

    @account.setter
    def account(self, account: Account) -> None:
        self._account = account
        self._api = Api(account, self._url, self._scopes, self._limits, self._largest_page, self.oauth)

    @property
    def now(self) -> float:
        """The sandbox's time in epoch seconds; it decides which data are visible, and goes out in the Date header."""
        return self._now if self._since is None else self._now + time.monotonic() - self._since

    @now.setter
    def now(self, now: float) -> None:
        self._now, self._since = now, None if self._since is None else time.monotonic()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def _run(self, listening: socket.socket, ready: threading.Event) -> None:
        try:
            self._loop.run_until_complete(self._serve(listening, ready))
        finally:
            self._loop.close()

    async def _serve(self, listening: socket.socket, ready: threading.Event) -> None:
        server = web.Server(self._handle, handler_cancellation=True, access_log=None, keepalive_timeout=600.0)
        runner = web.ServerRunner(server, shutdown_timeout=_GRACE)
        await runner.setup()
        await web.SockSite(runner, listening, backlog=256).start()
        ready.set()
        await self._stop.wait()
        await runner.cleanup()
        # The loop closes a connection in a later turn, and one that ends before that leaves its socket open.
        await asyncio.sleep(_LAST_TURNS)

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        request = self._received_as(http, await http.read())
        fault = self.faults(request) if self.faults else None
        if self._latency:
            await asyncio.sleep(self._latency)
        reply = self._reply(request, fault)
        self.requests.append(replace(request, status=0 if fault and fault.kind in _UNSENT else reply.status))
        headers = {"Content-Type": reply.media_type, "Date": formatdate(self.now, usegmt=True), **reply.headers}
        accepted = request.headers.get("Accept-Encoding", "") if self._gzip else ""
        body, headers = wire.encode_body(reply.body, headers, accepted)
        if fault and fault.kind == "cut_gzip":
            body, headers = _cut_gzip(reply.body, headers)
        if self._record:
            self.exchanges.append(self._exchange(request, reply, headers))
        return await wire.send_reply(http, reply.status, headers, body, fault)

    def _received_as(self, http: web.BaseRequest, body: bytes) -> Request:
        url = http.raw_path
        page = page_of(url, body)
        self._attempts[page] += 1
        index, self._received = self._received, self._received + 1
        return Request(index, self._attempts[page], http.method, url, http.headers, self._clock(), body=body)

    def _reply(self, request: Request, fault: Fault | None) -> Reply:
        if fault and (reply := breakage.replace_reply(fault, request)):
            return reply
        reply = self._api.answer(request, self.now, repeat=fault is not None and fault.kind == "duplicate")
        return breakage.change_reply(fault, reply) if fault else reply

    def _exchange(self, request: Request, reply: Reply, headers: Mapping[str, str]) -> Exchange:
        url = f"{self.url}{request.url}"
        return Exchange(request.method, url, request.headers, reply.status, headers, reply.body, request.body)


def _cut_gzip(body: bytes, headers: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    whole = wire.compress_body(body)
    cut = whole[: len(whole) // 2]
    return cut, {**headers, "Content-Encoding": "gzip", "Content-Length": str(len(cut))}
