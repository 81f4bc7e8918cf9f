"""Runs the sandbox alone: python -m tap_klaviyo.sandbox."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tap_klaviyo.sandbox import Account, Sandbox

_PORTS = 65_536


def main() -> None:
    """Serve until SIGINT or SIGTERM; print the tap's config as one line of JSON."""
    options = _argument_parser().parse_args()
    if options.events < 0:
        _argument_parser().error("--events must not be negative")
    if not 0 <= options.port < _PORTS:
        _argument_parser().error(f"--port must be from 0 to {_PORTS - 1}")
    account = Account.build(
        events=options.events,
        seed=options.seed,
        days=options.days,
        shape=options.shape,
        event_bytes=options.event_bytes,
    )
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with (
        _explain_failure(options.port),
        Sandbox(
            account,
            latency=options.latency,
            limits=options.limits,
            gzip=options.gzip,
            port=options.port,
            realtime=options.realtime,
        ) as sandbox,
    ):
        print(json.dumps(sandbox.config), flush=True)
        ended.wait()


@contextmanager
def _explain_failure(port: int) -> Iterator[None]:
    """Explain why the sandbox cannot listen on a port."""
    try:
        yield
    except OSError as problem:
        _argument_parser().error(f"cannot listen on port {port}: {problem.strerror or problem}")


def _argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tap_klaviyo.sandbox",
        description="A small Klaviyo on this machine. Prints the config for tap-klaviyo, and serves until Ctrl-C.",
        epilog="Example: in one terminal, python -m tap_klaviyo.sandbox > sandbox.json; in another, "
        "tap-klaviyo --config sandbox.json.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="the port on 127.0.0.1; 0 takes a free one")
    add("--events", type=int, default=2000, help="the number of events of the account")
    add("--seed", type=int, default=1, help="the same seed gives the same account")
    add("--days", type=int, default=365, help="the number of days that the events go back")
    add("--shape", choices=("even", "skewed"), default="even", help="skewed: half of all events on one day")
    add("--event-bytes", type=int, metavar="N", help="pad each event with its profile to about N bytes")
    add("--latency", type=float, default=0.0, metavar="SECONDS", help="the time before each answer")
    add("--limits", action=argparse.BooleanOptionalAction, default=True, help="keep to Klaviyo's rate limits")
    add(
        "--gzip",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compress answers if the client accepts that",
    )
    add("--realtime", action="store_true", help="let time pass, so that new events arrive")
    return parser


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
