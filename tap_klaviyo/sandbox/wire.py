"""Sends replies, compressed or not, and simulates connections that fail."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress

from aiohttp import web

from tap_klaviyo.sandbox.faults import Fault

_SMALLEST_COMPRESSED = 500
# Seconds for bytes to arrive on loopback before the connection is reset.
_MOMENT = 0.02


def compress_body(body: bytes) -> bytes:
    """Return a body compressed by gzip, quickly and always to the same bytes."""
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(body) + packer.flush()


def encode_body(body: bytes, headers: Mapping[str, str], accepted: str) -> tuple[bytes, dict[str, str]]:
    """Return body and headers as they are sent; they are compressed if the client's Accept-Encoding allows it."""
    if "gzip" not in accepted or len(body) < _SMALLEST_COMPRESSED:
        return body, {**headers, "Content-Length": str(len(body))}
    body = compress_body(body)
    return body, {**headers, "Content-Encoding": "gzip", "Content-Length": str(len(body))}


async def send_reply(
    http: web.BaseRequest, status: int, headers: Mapping[str, str], body: bytes, fault: Fault | None
) -> web.StreamResponse:
    """Send a reply; a fault can spoil its delivery."""
    match fault.kind if fault else "":
        case "reset_before":
            _reset_connection(http)
        case "reset_headers":
            await _write_data(http, _head_bytes(status, headers)[:40])
            _reset_connection(http)
        case "reset_body":
            await _write_data(http, _head_bytes(status, headers) + _half_of(body))
            _reset_connection(http)
        case "cut_body":
            await _write_data(http, _head_bytes(status, headers) + _half_of(body))
            _close_connection(http)
        case "cut_chunked":
            chunked = {name: each for name, each in headers.items() if name != "Content-Length"}
            head = _head_bytes(status, {**chunked, "Transfer-Encoding": "chunked"})
            await _write_data(http, head + b"%x\r\n%b\r\n" % (len(_half_of(body)), _half_of(body)))
            _close_connection(http)
        case "slow" | "stall" if fault is not None:
            return await _trickle_body(http, status, headers, body, fault)
        case _:
            return web.Response(status=status, headers=headers, body=body)
    # aiohttp finds the connection closed and sends nothing.
    return web.Response(status=status)


async def _trickle_body(
    http: web.BaseRequest, status: int, headers: Mapping[str, str], body: bytes, fault: Fault
) -> web.StreamResponse:
    size = len(_half_of(body)) + 1 if fault.kind == "stall" else max(1, fault.size)
    response = web.StreamResponse(status=status, headers=headers)
    # The tap does not wait for the end of such an answer.
    with suppress(ConnectionResetError):
        await response.prepare(http)
        for start in range(0, len(body), size):
            if start:
                await asyncio.sleep(fault.seconds)
            await response.write(body[start : start + size])
        await response.write_eof()
    return response


def _half_of(body: bytes) -> bytes:
    return body[: len(body) // 2]


def _head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} OK", *(f"{name}: {each}" for name, each in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _write_data(http: web.BaseRequest, data: bytes) -> None:
    if http.transport is not None:
        http.transport.write(data)
        await asyncio.sleep(_MOMENT)


def _close_connection(http: web.BaseRequest) -> None:
    if http.transport is not None:
        http.transport.close()


def _reset_connection(http: web.BaseRequest) -> None:
    """Reset the connection: with a linger time of 0, TCP sends RST instead of FIN."""
    if http.transport is not None:
        connection = http.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        http.transport.abort()
