"""The command: arguments, modes, signals, exit codes, and the last CRITICAL line."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from tap_klaviyo import __version__

if TYPE_CHECKING:
    from tap_klaviyo.sync import Sync

_EPILOG = """\
A first sync, step by step:
  tap-klaviyo --config config.json --discover > catalog.json
  tap-klaviyo --config config.json --catalog catalog.json | target-jsonl > state.jsonl
  tail -n 1 state.jsonl > state.json
  tap-klaviyo --config config.json --catalog catalog.json --state state.json | target-jsonl >> state.jsonl

Without an account, on a small Klaviyo of its own:
  tap-klaviyo --sandbox 2000 | head

Exit codes: 0 all read; 1 not all could be read; 2 usage or configuration; 130 or 143 ended by a signal.
"""


class Ended(BaseException):
    """A signal asks the tap to end."""

    def __init__(self, number: int) -> None:
        """Keep the signal's number."""
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: the command line without the program's name; by default the process's own.
    """
    options = _parser().parse_args(arguments)
    from tap_klaviyo import log
    from tap_klaviyo.errors import TapError

    log.set_up()
    try:
        return _run(options)
    except TapError as problem:
        log.logger.critical("%s", problem)
        return problem.exit_code
    except Ended as ended:
        log.logger.warning("Ended by %s; the last STATE tells where to go on.", signal.Signals(ended.number).name)
        return 128 + ended.number
    except Exception:
        log.logger.exception("This should not have happened; please report it with the lines below.")
        log.logger.critical("Ended by an unexpected error; its traceback stands above.")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tap-klaviyo",
        description="Reads Klaviyo's events, lists, campaigns and exclusions; writes Singer messages to stdout.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"tap-klaviyo {__version__}")
    add(
        *("-c", "--config"),
        metavar="FILE",
        action="append",
        default=[],
        help="settings as JSON; of several, later ones win; ENV takes TAP_KLAVIYO_* from the environment",
    )
    add("-d", "--discover", action="store_true", help="print the catalog and end; needs no network")
    add(
        *("-p", "--catalog", "--properties"),
        metavar="FILE",
        help="what to sync; without it, all that is selected by default",
    )
    add("-s", "--state", metavar="FILE", help="where the last run ended")
    add(
        "--sandbox",
        metavar="EVENTS",
        nargs="?",
        const=2000,
        type=int,
        help="read from a small Klaviyo on this machine that has so many events (2000)",
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    from tap_klaviyo.config import read_config
    from tap_klaviyo.errors import ConfigError

    values = read_config(options.config)
    if options.discover:
        return _discover()
    if options.sandbox is None and not options.config:
        raise ConfigError(
            ["No config: name one with --config FILE, with api_key and start_date in it; or try --sandbox."]
        )
    if options.sandbox is not None:
        from tap_klaviyo.sandbox import Account, Sandbox

        with Sandbox(Account.build(events=options.sandbox)) as sandbox:
            return _sync(options, {**values, **sandbox.config})
    return _sync(options, values)


def _discover() -> int:
    import json

    from tap_klaviyo.catalog import discover
    from tap_klaviyo.messages import write_all

    with _stdout() as stdout:
        write_all(stdout, json.dumps(discover(), indent=2).encode() + b"\n")
    return 0


def _sync(options: argparse.Namespace, values: dict[str, Any]) -> int:
    from tap_klaviyo import config, log
    from tap_klaviyo.catalog import discover, read_catalog
    from tap_klaviyo.client import Client
    from tap_klaviyo.errors import CatalogError, StateError
    from tap_klaviyo.messages import Writer
    from tap_klaviyo.state import read_state
    from tap_klaviyo.sync import Sync

    for sentence in config.unknown_settings(values):
        log.logger.warning("%s", sentence)
    settings = config.check(values)
    log.set_up(secrets=(settings.api_key,))
    catalog = config.read_json(options.catalog, "catalog", CatalogError) if options.catalog else discover()
    given = read_state(config.read_json(options.state, "state", StateError) if options.state else None)
    selections = read_catalog(catalog)
    if not selections:
        log.logger.warning(
            'The catalog selects no stream, so there is nothing to do. Set "selected": true in the metadata of the '
            "streams that you want, where the breadcrumb is empty."
        )
    _tune_interpreter()
    with _stdout() as stdout:
        sync = Sync(Client(settings), settings, Writer(stdout))
        with _signals(sync):
            sync.run(selections, given)
    return 0


def _tune_interpreter() -> None:
    """Let the interpreter work by the page: pages are thousands of short-lived objects that form no cycles."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    sys.setswitchinterval(0.05)


@contextmanager
def _stdout() -> Iterator[BinaryIO]:
    """Open stdout without a buffer, whatever PYTHONUNBUFFERED makes of sys.stdout."""
    with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as stdout:
        yield cast(BinaryIO, stdout)


@contextmanager
def _signals(sync: Sync) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the sync with a last STATE; a second one ends it at once."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def end_now(number: int, _: FrameType | None) -> None:
        raise Ended(number)

    def end(number: int, _: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, end_now)
        sync.interrupt(Ended(number))

    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
