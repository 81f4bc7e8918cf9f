"""Faults as values, and schedules that decide which request gets which fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal

from tap_klaviyo.sandbox import cursors
from tap_klaviyo.sandbox.refusals import TITLES, RefusalError, invalid_parameter, throttled_request
from tap_klaviyo.sandbox.traffic import Page, Reply, Request

Kind = Literal[
    "status",
    "challenge",
    "reset_before",
    "reset_headers",
    "reset_body",
    "cut_body",
    "cut_chunked",
    "cut_gzip",
    "cut_json",
    "no_links",
    "html_200",
    "slow",
    "stall",
    "invalid_cursor",
    "deny_metric",
    "loop",
    "foreign",
    "redirect",
    "duplicate",
    "huge",
    "echo_key",
    "bad_shape",
    "no_date",
    "empty_page",
    "empty_rest",
]

_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1><p>cloudflare</p></body></html>"


@dataclass(frozen=True)
class Fault:
    """One fault of an answer.

    Kinds, and the fields that they use:
        status: an error with this `code`, with `retry_after` (the header's text), as a page of `html` or as JSON
        challenge: Cloudflare's 403, in HTML
        reset_before, reset_headers, reset_body: the connection is reset before, in the headers, in the body
        cut_body, cut_chunked: the connection is closed after half of the body
        cut_gzip, cut_json: the response is complete, but the compressed stream or the JSON in it ends halfway
        no_links: half of the resources, and no `links`
        html_200: a web page instead of the document
        slow: the body comes in pieces of `size` bytes, `seconds` apart
        stall: the body stops halfway for `seconds`, then continues
        invalid_cursor, deny_metric: the matching 400, if the request has a cursor or names a metric
        loop: the next page is this one
        foreign, redirect: the link to the next page, or a 302 for this one, leads to another origin, `to`
        duplicate: a page with a cursor begins with the last item of the page before
        huge: `size` bytes of blanks follow the body
        echo_key: a 400 that repeats the Authorization header
        bad_shape: JSON that is not a JSON:API document
        no_date: the Date header is empty
        empty_page: the page has no items and no next page
        empty_rest: the same, if the page has a cursor, so that the page before promised items
    """

    kind: Kind
    code: int = 0
    retry_after: str | None = None
    html: bool = False
    seconds: float = 0.0
    size: int = 0
    to: str = "https://foreign.example"


Schedule = Callable[[Request], "Fault | None"]


def error_status(code: int, retry_after: float | str | None = None, html: bool = False) -> Fault:
    """Return a fault that answers with an error status."""
    return Fault("status", code, None if retry_after is None else str(retry_after), html)


PASSING: tuple[Fault, ...] = (
    error_status(429, retry_after=1),
    error_status(500),
    error_status(502, html=True),
    error_status(503),
    error_status(504, html=True),
    error_status(520, html=True),
    error_status(524, html=True),
    Fault("challenge"),
    Fault("reset_before"),
    Fault("reset_headers"),
    Fault("reset_body"),
    Fault("cut_body"),
    Fault("cut_chunked"),
    Fault("cut_gzip"),
    Fault("cut_json"),
    Fault("no_links"),
    Fault("html_200"),
    Fault("invalid_cursor"),
    Fault("loop"),
    Fault("foreign"),
    Fault("duplicate"),
    Fault("bad_shape"),
    Fault("empty_rest"),
)


def seeded_faults(seed: int, rate: float, kinds: Sequence[Fault] = PASSING, patience: int = 3) -> Schedule:
    """Return a schedule that depends only on the page and the attempt, not on the order of requests.

    Args:
        seed: chooses the faults.
        rate: the share of requests that get a fault, 0 to 1.
        kinds: the faults to choose from.
        patience: later attempts at a page get no fault.
    """

    def choose_fault(request: Request) -> Fault | None:
        if request.attempt > patience:
            return None
        bits = blake2b(f"{seed} {request.attempt} {request.page}".encode(), digest_size=16).digest()
        if int.from_bytes(bits[:8], "big") >= rate * 2**64:
            return None
        return kinds[int.from_bytes(bits[8:], "big") % len(kinds)]

    return choose_fault


def fail_first(times: int, fault: Fault, path: str = "") -> Schedule:
    """Return a schedule that gives the first attempts at each page a fault, of one path or of all."""
    return lambda request: fault if request.attempt <= times and path in ("", request.path) else None


def time_out_above(largest: int, path: str = "/api/events", usual: int = 200) -> Schedule:
    """Return a schedule that lets each request for more than `largest` resources time out."""

    def choose_fault(request: Request) -> Fault | None:
        size = request.query.get("page[size]", str(usual))
        return error_status(504) if request.path == path and size.isdecimal() and int(size) > largest else None

    return choose_fault


def replace_reply(fault: Fault, request: Request) -> Reply | None:
    """Return the reply that replaces the answer; None if the fault only cuts or changes the answer."""
    match fault.kind:
        case "status":
            return _error_reply(fault, request)
        case "challenge":
            body = _HTML.format("Just a moment...").encode()
            return Reply(403, body, {"cf-mitigated": "challenge"}, "text/html; charset=UTF-8")
        case "html_200":
            return Reply(200, _HTML.format("Maintenance").encode(), media_type="text/html")
        case "invalid_cursor" if {"page[cursor]", "page_cursor"} & request.query.keys():
            return _refusal_reply(cursors.refused_cursor(), request)
        case "deny_metric" if "metric_id" in request.query.get("filter", "") or b'"metric_id"' in request.body:
            return _refusal_reply(invalid_parameter("Metric IDs ['XXXXXX'] do not exist.", "filter"), request)
        case "redirect":
            return Reply(302, b"", {"Location": f"{fault.to}{request.url}"})
        case "echo_key":
            detail = f"Unexpected header Authorization: {request.headers.get('Authorization', '')}"
            return _refusal_reply(RefusalError("invalid", detail), request)
        case "bad_shape":
            return Reply(200, b'{"data":{"type":"event","id":7},"links":[]}')
        case _:
            return None


def change_reply(fault: Fault, reply: Reply) -> Reply:
    """Return an answer with the fault in it; faults of delivery do not change it."""
    match fault.kind:
        case "cut_json":
            return replace(reply, body=reply.body[: len(reply.body) // 2])
        case "huge":
            return replace(reply, body=reply.body + b" " * fault.size)
        case "no_date":
            return replace(reply, headers={**reply.headers, "Date": ""})
    page = reply.page
    if page is None:
        return reply
    match fault.kind:
        case "loop":
            return _with_next(reply, page, page.url)
        case "foreign":
            path = (page.next or page.url).split("/", 3)[3]
            return _with_next(reply, page, f"{fault.to}/{path}")
        case "no_links":
            return replace(reply, body=replace(page, data=page.data[: len(page.data) // 2]).body(with_links=False))
        case "empty_rest" if "cursor" not in page.url:
            return reply
        case "empty_page" | "empty_rest":
            return replace(reply, body=replace(page, data=(), included=None, next=None).body())
        case _:
            return reply


def _with_next(reply: Reply, page: Page, url: str) -> Reply:
    return replace(reply, body=replace(page, next=url).body())


def _error_reply(fault: Fault, request: Request) -> Reply:
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    if fault.html:
        return Reply(fault.code, _HTML.format(f"Error {fault.code}").encode(), headers, "text/html; charset=UTF-8")
    codes = {401: "authentication_failed", 403: "permission_denied", 429: "throttled"}
    code = codes.get(fault.code, "error" if fault.code >= 500 else "invalid")
    refusal = throttled_request(1) if code == "throttled" else RefusalError(code, TITLES[code], status=fault.code)
    return Reply(fault.code, refusal.body(request.index), headers)


def _refusal_reply(refusal: RefusalError, request: Request) -> Reply:
    return Reply(refusal.status, refusal.body(request.index))
