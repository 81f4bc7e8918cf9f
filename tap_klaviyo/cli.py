"""The command: arguments, modes, signals, exit codes, and the last CRITICAL line."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from tap_klaviyo import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from tap_klaviyo.config import Config
    from tap_klaviyo.singer.selection import Selection
    from tap_klaviyo.sync import Sync

_EPILOG = """\
A first sync, step by step:
  tap-klaviyo --config config.json --test
  tap-klaviyo --config config.json --discover > catalog.json
  tap-klaviyo --config config.json --catalog catalog.json | target-jsonl > state.jsonl
  tail -n 1 state.jsonl > state.json
  tap-klaviyo --config config.json --catalog catalog.json --state state.json | target-jsonl >> state.jsonl

config.json holds at least api_key and start_date; --about tells all settings and streams.

Without an account, on a small Klaviyo of its own:
  tap-klaviyo --sandbox 2000 --select open,lists | head

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

    log.set_up(_level(options))
    try:
        return _run(options)
    except TapError as problem:
        log.last(logging.CRITICAL, "%s", problem)
        return problem.exit_code
    except Ended as ended:
        name = signal.Signals(ended.number).name
        log.last(logging.WARNING, "Ended by %s; the last STATE tells where to go on.", name)
        return 128 + ended.number
    except Exception:
        log.logger.exception("This should not have happened; please report it with the lines below.")
        log.last(logging.CRITICAL, "Ended by an unexpected error; its traceback stands above.")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tap-klaviyo",
        description="Reads Klaviyo's events, lists, campaigns and exclusions; writes Singer messages to stdout.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tap-klaviyo {__version__}")
    _add_modes(parser.add_argument_group("instead of a sync").add_mutually_exclusive_group())
    _add_inputs(parser.add_argument_group("what to sync"))
    output = parser.add_argument_group("what is said on stderr").add_mutually_exclusive_group()
    output.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors")
    output.add_argument("-v", "--verbose", action="store_true", help="more, also METRIC lines on a terminal")
    parser.add_argument("--format", choices=("json", "markdown"), default="markdown", help="of --about (markdown)")
    return parser


def _add_modes(group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument("-d", "--discover", action="store_true", help="print the catalog; needs no network")
    group.add_argument("--test", action="store_true", help="try the key, and each scope that the streams need")
    group.add_argument("--about", action="store_true", help="print what the tap is, its settings and streams")


def _add_inputs(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        *("-c", "--config"),
        metavar="FILE",
        action="append",
        default=[],
        help="settings as JSON; of several, later ones win; ENV takes TAP_KLAVIYO_* from the environment and .env",
    )
    group.add_argument(
        *("-p", "--catalog", "--properties"),
        metavar="FILE",
        help="streams and fields; without it, all that is selected by default",
    )
    group.add_argument("-s", "--state", metavar="FILE", help="where the last run ended")
    group.add_argument(
        "--select",
        metavar="NAMES",
        help='instead of a catalog: streams and fields, such as "core,!*.profile.email" or "open,click.profile"; '
        "core is what is selected by default, all is every stream, ! leaves out; with --discover, prints that catalog",
    )
    group.add_argument(
        "--sandbox",
        metavar="EVENTS",
        nargs="?",
        const=2000,
        type=int,
        help="read from a small Klaviyo on this machine that has so many events (2000)",
    )


def _level(options: argparse.Namespace) -> int:
    if options.verbose:
        return logging.DEBUG
    return logging.WARNING if options.quiet or options.test else logging.INFO


def _run(options: argparse.Namespace) -> int:
    from tap_klaviyo.config import read_config
    from tap_klaviyo.errors import ConfigError

    if options.about:
        return _about(options.format)
    values = read_config(options.config)
    if options.discover:
        return _discover(options.select)
    if options.sandbox is None and not options.config:
        raise ConfigError(
            ["No config: name one with --config FILE, with api_key and start_date in it; or try --sandbox."]
        )
    if options.sandbox is None:
        return _ask(options, values)
    from tap_klaviyo.sandbox import Account, Sandbox

    with Sandbox(Account.build(events=options.sandbox)) as sandbox:
        return _ask(options, {**values, **sandbox.config})


def _about(form: str) -> int:
    from tap_klaviyo import about

    return _print(about.as_json() if form == "json" else about.as_markdown())


def _discover(names: str | None) -> int:
    import json

    from tap_klaviyo.singer.catalog import discover_catalog
    from tap_klaviyo.singer.select_option import select_by_names

    catalog = discover_catalog()
    return _print(json.dumps(catalog if names is None else select_by_names(catalog, names), indent=2))


def _ask(options: argparse.Namespace, values: dict[str, Any]) -> int:
    """Do what needs Klaviyo: a sync, or the test of the key."""
    from tap_klaviyo import config, log, progress

    for sentence in config.unknown_settings(values):
        log.logger.warning("%s", sentence)
    settings = config.check(values)
    console = progress.terminal()
    log.set_up(_level(options), (settings.api_key,), progress.TerminalHandler(console) if console else None)
    selections = _selections(options)
    return _test(settings, selections) if options.test else _sync(options, settings, selections, console)


def _selections(options: argparse.Namespace) -> list[Selection]:
    from tap_klaviyo import config, log
    from tap_klaviyo.errors import CatalogError, ConfigError
    from tap_klaviyo.singer.catalog import discover_catalog
    from tap_klaviyo.singer.select_option import select_by_names
    from tap_klaviyo.singer.selection import read_catalog

    given = discover_catalog()
    if options.select is not None:
        if options.catalog:
            raise ConfigError(["--select and --catalog exclude each other; --discover --select prints a catalog."])
        given = select_by_names(given, options.select)
    elif options.catalog:
        given = config.read_json(options.catalog, "catalog", CatalogError)
    selections = read_catalog(given)
    if not selections:
        log.logger.warning(
            'The catalog selects no stream, so there is nothing to do. Set "selected": true in the metadata of the '
            "streams that you want, where the breadcrumb is empty."
        )
    return selections


def _test(settings: Config, selections: Sequence[Selection]) -> int:
    from tap_klaviyo import check
    from tap_klaviyo.errors import SyncError
    from tap_klaviyo.klaviyo.client import Client
    from tap_klaviyo.klaviyo.retries import Retries

    failed = 0
    for each in check.check_access(Client(settings, retries=Retries(total=30)), selections):
        _print(str(each))
        failed += bool(each.problem)
    if failed:
        raise SyncError(f"{failed} of the checks failed; see the lines above.")
    return 0


def _sync(
    options: argparse.Namespace, settings: Config, selections: Sequence[Selection], console: Console | None
) -> int:
    from tap_klaviyo.config import read_json
    from tap_klaviyo.errors import StateError
    from tap_klaviyo.klaviyo.client import Client
    from tap_klaviyo.memory import stay_small, tune
    from tap_klaviyo.progress import shown_live
    from tap_klaviyo.singer.messages import Writer
    from tap_klaviyo.singer.state import read_state
    from tap_klaviyo.sync import Sync

    given = read_state(read_json(options.state, "state", StateError) if options.state else None)
    tune()
    with _stdout() as stdout:
        client = Client(settings, after_page=stay_small)
        sync = Sync(client, settings, Writer(stdout))
        watched = console is not None and not options.quiet and selections
        shown = shown_live(sync.progress, console, client.spent) if console and watched else nullcontext()
        with _signals(sync), shown:
            sync.run(selections, given)
    return 0


def _print(text: str) -> int:
    from tap_klaviyo.singer.messages import write_all

    with _stdout() as stdout:
        write_all(stdout, f"{text}\n".encode())
    return 0


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
