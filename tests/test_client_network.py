"""The client against real sockets that misbehave, and against a network that does not lead to Klaviyo."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo import config
from tap_klaviyo.errors import OfflineError, RequestError, UnavailableError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import LISTS
from tap_klaviyo.klaviyo.retries import Retries
from tests.canned import Answer, answering

KEY = "pk_0123456789abcdef0123456789abcdef01"
ONE_TRY = Retries(total=1.5, factor=0.001, longest=0.01, local=0.05)


def ask(origin: str, **more: Any) -> None:
    """Ask for a page of lists, with a second for each try."""
    values = {"api_key": KEY, "base_url": origin, "start_date": "2026-01-01", "request_timeout": 1}
    client = Client(config.check_settings(values), retries=more.pop("retries", ONE_TRY), **more)
    with client.page(LISTS, client.url(LISTS, {}), 10):
        pass


@contextmanager
def speaking(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve every connection with a function that has the socket; yield the origin."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            speak(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def say_nothing(connection: socket.socket) -> None:
    connection.recv(1)


def drip_on(connection: socket.socket, byte: bytes) -> None:
    while True:
        connection.sendall(byte)
        time.sleep(0.02)


def drip_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    drip_on(connection, b"X")


def drip_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    drip_on(connection, b" ")


def drip_redirect(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 100000\r\n\r\n")
    drip_on(connection, b" ")


@pytest.mark.parametrize("speak", [say_nothing, drip_headers, drip_body, drip_redirect])
def test_a_try_ends_at_its_deadline_whatever_the_server_does(speak: Callable[[socket.socket], None]) -> None:
    began = time.monotonic()
    with (
        speaking(speak) as origin,
        pytest.raises(UnavailableError, match=r"not? complete .*after [\d.]+ s|no answer in time"),
    ):
        ask(origin)
    # The budget of 1.5 s counts the tries too: one of a second, and one of the rest.
    assert time.monotonic() - began < 3


def drip_handshake(connection: socket.socket) -> None:
    connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
    drip_on(connection, b"\x03")


def drip_tunnel(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    drip_on(connection, b"1")


def test_a_try_ends_at_its_deadline_while_tls_is_set_up() -> None:
    began = time.monotonic()
    with speaking(drip_handshake) as origin, pytest.raises(UnavailableError, match="no complete answer after"):
        ask(origin.replace("http:", "https:"))
    assert time.monotonic() - began < 3


def test_a_try_ends_at_its_deadline_while_a_proxy_opens_its_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    with speaking(drip_tunnel) as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(UnavailableError, match="no complete answer after"):
            ask("https://a.example.com")
    assert time.monotonic() - began < 3


def test_a_try_ends_at_its_deadline_while_it_connects() -> None:
    """A listener whose queue is full leaves new connections unanswered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as queued:
        for _ in range(3):
            waiting = queued.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=r"no answer in time|no complete answer"):
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert time.monotonic() - began < 6


def test_a_body_that_swells_when_it_is_decompressed_takes_little_memory() -> None:
    bomb = Answer(gzip.compress(bytes(300_000_000), 9), headers={"Content-Encoding": "gzip"})
    with answering(lambda _: bomb) as origin:
        tracemalloc.start()
        try:
            with pytest.raises(UnavailableError, match="a body of more than 1 MiB"):
                ask(origin, body_limit=2**20, retries=Retries(total=0))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 16 * 2**20


def test_the_body_of_a_redirect_is_bounded() -> None:
    sent = list[int]()

    def send_much(connection: socket.socket) -> None:
        sent.append(0)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 300000000\r\n\r\n")
        for _ in range(300):
            connection.sendall(bytes(1_000_000))
            sent[-1] += 1_000_000

    with speaking(send_much) as origin, pytest.raises((RequestError, UnavailableError)):
        ask(origin, body_limit=2**20)
    assert max(sent) < 50_000_000


def test_a_server_that_asks_for_no_wait_is_not_asked_without_end() -> None:
    asked = list[str]()

    def answer(url: str) -> Answer:
        asked.append(url)
        return Answer(status=429, headers={"Retry-After": "0"})

    with answering(answer) as origin, pytest.raises(UnavailableError, match="HTTP 429"):
        ask(origin, retries=Retries(total=0.5, factor=0.01, longest=0.1))
    assert 3 < len(asked) < 200


def test_a_port_that_refuses_is_named_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnavailableError, match=rf"cannot connect to 127\.0\.0\.1:{port}: Connection refused"):
        ask(f"http://127.0.0.1:{port}")


def test_a_host_that_cannot_be_resolved_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"cannot resolve klaviyo\.invalid: \w+"):
        ask("https://klaviyo.invalid")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"https_proxy": "http://user:secret@127.0.0.1:{port}"},
            r"cannot connect to the proxy 127\.0\.0\.1:\d+: Connection refused",
        ),
        ({"https_proxy": "socks5://127.0.0.1:{port}"}, "needs the package PySocks"),
        ({"https_proxy": "http://a..b:{port}"}, r"the proxy http://a\.\.b:\d+ is not a valid URL"),
        ({"REQUESTS_CA_BUNDLE": "/nowhere/ca.pem"}, r"REQUESTS_CA_BUNDLE names \(/nowhere/ca.pem\) does not exist"),
    ],
    ids=["refused", "socks", "host", "ca file"],
)
def test_problems_on_this_side_are_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("no_proxy", "")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(port=port))
    with pytest.raises(UnavailableError, match=words) as ended:
        ask("https://klaviyo.invalid")
    assert "secret" not in str(ended.value)


@pytest.mark.parametrize(
    ("ca_file", "words"),
    [
        ("", r"a TLS connection to 127.* cannot be set up: .*(wrong version|http)"),
        (__file__, r"REQUESTS_CA_BUNDLE names \(.*\) holds no certificate"),
    ],
    ids=["plain", "no certificates"],
)
def test_what_prevents_tls_is_named_within_seconds(monkeypatch: pytest.MonkeyPatch, ca_file: str, words: str) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    with (
        speaking(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as plain,
        pytest.raises(OfflineError, match=words),
    ):
        ask(plain.replace("http:", "https:"), retries=Retries(local=1.0))


def test_a_proxy_that_wants_a_password_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with speaking(refuse) as proxy:
        monkeypatch.setenv("https_proxy", proxy.replace("//", "//user:secret@"))
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(
            UnavailableError, match="407 Proxy Authentication Required; check the user and pass"
        ) as ended:
            ask("https://klaviyo.invalid")
    assert "secret" not in str(ended.value)
    assert "user:***@" in str(ended.value)


def test_a_missing_ca_file_is_not_retried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="does not exist"):
        ask("https://klaviyo.invalid", retries=Retries())
    assert time.monotonic() - began < 5
