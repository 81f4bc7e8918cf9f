"""The arguments of the command: what they are, and which of them exclude each other."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import Any

from tap_klaviyo import __version__

_EPILOG = """\
A first sync, step by step:
  tap-klaviyo --config config.json --test
  tap-klaviyo --config config.json | target-jsonl > state.jsonl
  tail -n 1 state.jsonl > state.json
  tap-klaviyo --config config.json --state state.json \\
    | target-jsonl >> state.jsonl

config.json needs at least api_key and start_date; --about lists all settings
and streams.

Without an account, using the built-in sandbox:
  tap-klaviyo --sandbox 2000 --select open,lists | head

Exit codes: 0 complete; 1 incomplete; 2 wrong usage or configuration;
129, 130 or 143 ended by a signal.
"""

# The value of --verify without days.
ALL_DAYS = "all"
_INPUTS = ("config", "catalog", "state", "select")


class _Once(argparse.Action):
    """Stores a value, and refuses a second one, which would silently replace it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Take the value that the command line gives."""
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, "may be given only once")
        setattr(namespace, self.dest, values)


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="tap-klaviyo",
        description="Reads a Klaviyo account, and writes Singer messages to stdout.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tap-klaviyo {__version__}")
    _add_modes(parser.add_argument_group("modes, instead of a sync").add_mutually_exclusive_group())
    _add_inputs(parser.add_argument_group("input"))
    output = parser.add_argument_group("logging").add_mutually_exclusive_group()
    output.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors")
    output.add_argument("-v", "--verbose", action="store_true", help="more detail, with a METRIC line for each request")
    return parser


def _add_modes(group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument("-d", "--discover", action="store_true", help="print the catalog; needs no network")
    group.add_argument("--test", action="store_true", help="check the API key and each scope that the streams need")
    group.add_argument(
        "--metrics", action="store_true", help="list the account's metrics, and the streams that have them"
    )
    group.add_argument(
        "--verify",
        action=_Once,
        metavar="DAYS",
        nargs="?",
        const=ALL_DAYS,
        help="compare the events of each day with Klaviyo's own count, up to the bookmarks of --state; DAYS is a day "
        "such as 2026-11-03, or 2026-11-01..2026-11-07",
    )
    group.add_argument("--about", action="store_true", help="print version, settings and streams")


def _add_inputs(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        *("-c", "--config"),
        metavar="FILE",
        action="append",
        default=[],
        help="settings as JSON; later files override earlier ones; ENV reads TAP_KLAVIYO_* variables and .env",
    )
    group.add_argument(
        *("-p", "--catalog", "--properties"),
        action=_Once,
        metavar="FILE",
        help="the streams and fields to sync; by default the core streams",
    )
    group.add_argument("-s", "--state", action=_Once, metavar="FILE", help="the last STATE of the previous run")
    group.add_argument(
        "--select",
        action=_Once,
        metavar="NAMES",
        help='instead of a catalog: streams and fields, such as "core,!*.profile.email" or "open,click.profile"; '
        "core selects the default streams, all every stream, ! leaves out; with --discover, prints that catalog",
    )
    group.add_argument(
        "--sandbox",
        action=_Once,
        metavar="EVENTS",
        nargs="?",
        const=2000,
        type=int,
        help="read from the built-in sandbox, with this many events (2000); a --config beside it is used, except for "
        "credentials and base_url",
    )
    group.add_argument(
        "--format",
        action=_Once,
        choices=("json", "markdown"),
        help="the format of --about (markdown), --metrics (a table) and --verify (lines)",
    )


def contradictions_in(options: argparse.Namespace) -> list[str]:
    """Return a sentence for each argument that is wrong, or that another one excludes."""
    is_verifying = options.verify is not None
    rules = {
        "--config, --catalog and --state need the name of a file.": (
            "" in (*options.config, options.catalog, options.state)
        ),
        "--select and --catalog exclude each other; --discover --select prints a catalog.": (
            options.select is not None and options.catalog
        ),
        "--format is for --about, --metrics and --verify only.": (
            options.format and not (options.about or options.metrics or is_verifying)
        ),
        "--verify cannot print Markdown; --format json lists all days.": options.format == "markdown" and is_verifying,
        "--metrics cannot print Markdown; without --format, it prints a table.": (
            options.format == "markdown" and options.metrics
        ),
        "--metrics lists the metrics of the account; it takes no catalog, selection or state.": (
            options.metrics and _given_inputs(options) - {"--config"}
        ),
        "--sandbox takes a number of events of 0 or more.": options.sandbox is not None and options.sandbox < 0,
        "--sandbox needs a command that asks Klaviyo: a sync, --test, --metrics or --verify.": (
            options.sandbox is not None and (options.about or options.discover)
        ),
    }
    return [sentence for sentence, is_broken in rules.items() if is_broken]


def unused_arguments(options: argparse.Namespace) -> list[str]:
    """Return a sentence for each argument that the command does not need."""
    unused = {
        "--about": options.about and _given_inputs(options),
        "--discover": options.discover and _given_inputs(options) & {"--catalog", "--state"},
        "--test": options.test and _given_inputs(options) & {"--state"},
    }
    return [f"{command} does not use {' or '.join(sorted(names))}." for command, names in unused.items() if names]


def _given_inputs(options: argparse.Namespace) -> set[str]:
    return {f"--{name}" for name in _INPUTS if getattr(options, name) not in (None, [])}


def is_sync(options: argparse.Namespace) -> bool:
    """Return whether no mode takes the place of a sync."""
    return not (options.discover or options.test or options.metrics or options.about or options.verify is not None)


def log_level_of(options: argparse.Namespace) -> int:
    """Return the level of `logging` that the arguments ask for; results on stdout need no lines on stderr."""
    if options.verbose:
        return logging.DEBUG
    return logging.WARNING if options.quiet or options.test or options.metrics else logging.INFO
