"""The commands: discover, sync, test, verify, metrics, about."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from rich.console import Console

from tap_klaviyo import about, check, config, display, log
from tap_klaviyo.account_metrics import list_metrics, metrics_json, metrics_table
from tap_klaviyo.arguments import ALL_DAYS, is_sync, log_level_of, unused_arguments
from tap_klaviyo.config import Config
from tap_klaviyo.errors import CatalogError, ConfigError, OutputError, StateError, SyncError, TapError, UnavailableError
from tap_klaviyo.files import exposed_files, parse_json, read_config, read_json, read_text
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.memory import stay_small, tune_process
from tap_klaviyo.progress import Progress
from tap_klaviyo.signals import Ended, handled_signals
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.given_state import read_state
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.singer.selection import Selection, read_catalog
from tap_klaviyo.singer.state import State
from tap_klaviyo.standard_streams import open_stdout, print_text
from tap_klaviyo.streams.metric_streams import streams_with
from tap_klaviyo.streams.model import Stream
from tap_klaviyo.sync import Sync
from tap_klaviyo.verify import Verdict, Verification, parse_days, verdicts_json

# The exit code of a program that wrote to a pipe whose reader has ended: 128 + SIGPIPE.
_BROKEN_PIPE = 141
# Seconds that one check of --test may take, retries included, so that the whole ends within half a minute.
_TEST_SECONDS = 15.0
_RESUMES = "The next run resumes from the last STATE."


def run_command(options: argparse.Namespace) -> int:
    """Run what the arguments ask for, and return the exit code."""
    log.set_up(log_level_of(options))
    try:
        _run_mode(options)
    except OutputError as problem:
        return _ended_reader(problem)
    except TapError as problem:
        is_cut_short = is_sync(options) and isinstance(problem, UnavailableError)
        log.log_last(logging.CRITICAL, "%s%s", problem, f" {_RESUMES}" if is_cut_short else "")
        return problem.exit_code
    except Ended as ended:
        log.log_last(logging.WARNING, "Ended by %s.%s", ended.name, f" {_RESUMES}" if is_sync(options) else "")
        return 128 + ended.number
    except MemoryError:
        log.log_last(logging.CRITICAL, "Out of memory; raise the memory limit of this process.")
        return 1
    except Exception:
        log.logger.exception("Unexpected error.")
        log.log_last(logging.CRITICAL, "Unexpected error; please report the traceback above.")
        return 1
    return 0


def _ended_reader(problem: OutputError) -> int:
    """Say that stdout cannot be written, unless a person has just closed the pipe, as with `| head`."""
    if problem.is_closed_pipe and sys.stderr.isatty():
        return _BROKEN_PIPE
    log.log_last(logging.CRITICAL, "%s", problem)
    return problem.exit_code


def _run_mode(options: argparse.Namespace) -> None:
    for sentence in unused_arguments(options):
        log.logger.warning("%s", sentence)
    if options.about:
        _print_about(options.format)
        return
    values = read_config(options.config, config.setting_names())
    if options.discover:
        _warn_of_settings(values)
        _print_catalog(options, values)
        return
    if options.sandbox is None and not options.config:
        raise ConfigError(
            [
                "No configuration. Pass --config FILE with api_key and start_date, or --config ENV to read "
                "TAP_KLAVIYO_API_KEY and TAP_KLAVIYO_START_DATE; or try the tap with --sandbox."
            ]
        )
    with _served_sandbox(options.sandbox) as settings:
        values = _settings_for(values, settings)
        _warn_of_settings(values)
        _ask_klaviyo(options, values)


def _print_about(form: str | None) -> None:
    width = None if form else display.stdout_width()
    if width is not None:
        print_text(about.as_text(width))
    else:
        print_text(about.as_json() if form == "json" else about.as_markdown())


def _warn_of_settings(values: Mapping[str, Any]) -> None:
    for sentence in config.odd_settings(values):
        log.logger.warning("%s", sentence)


@contextmanager
def _served_sandbox(events: int | None) -> Iterator[dict[str, Any]]:
    """Serve the sandbox if it is asked for, and yield the settings that lead to it."""
    if events is None:
        yield {}
        return
    try:
        from tap_klaviyo.sandbox import Account, Sandbox
    except ModuleNotFoundError as missing:
        raise ConfigError(
            [f"--sandbox needs the package {missing.name}; in a clone of the tap, run: pip install '.[sandbox]'."]
        ) from None
    with Sandbox(Account.build(events=events)) as sandbox:
        yield sandbox.config


def _settings_for(values: Mapping[str, Any], sandbox: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user's settings; for the sandbox with its address and key, and its start date if there is none."""
    if not sandbox:
        return dict(values)
    unused = [name for name in config.ACCESS if values.get(name) not in (None, "")]
    if unused:
        log.logger.warning("--sandbox does not use these settings: %s.", ", ".join(unused))
    kept = {name: value for name, value in values.items() if name not in config.ACCESS and value not in (None, "")}
    return {**sandbox, **kept}


def _print_catalog(options: argparse.Namespace, values: Mapping[str, Any]) -> None:
    streams = streams_with(config.read_setting("metric_streams", values))
    catalog = discover_catalog(streams)
    if options.select is not None:
        catalog = select_by_names(catalog, options.select, streams)
    print_text(json.dumps(catalog, indent=2))


def _ask_klaviyo(options: argparse.Namespace, values: dict[str, Any]) -> None:
    """Run a command that asks Klaviyo."""
    settings = _read_settings(options, values)
    console = display.stderr_terminal()
    log.set_up(log_level_of(options), settings.secrets, display.TerminalHandler(console) if console else None)
    if options.metrics:
        _list_metrics(options, settings)
        return
    days = None if options.verify in (None, ALL_DAYS) else parse_days(options.verify)
    streams = streams_with(settings.metric_streams)
    selections = _read_selections(options, streams)
    if options.test:
        _run_test(options, settings, selections)
    elif options.verify is not None:
        _run_verification(options, settings, selections, _read_given_state(options, streams), days, console)
    else:
        _run_sync(options, settings, selections, _read_given_state(options, streams), console)


def _read_settings(options: argparse.Namespace, values: Mapping[str, Any]) -> Config:
    """Return the checked settings, and warn of files with them that other users can read."""
    settings = config.check_settings(values)
    for file in exposed_files(options.config):
        log.logger.warning("Other users can read %s, which may hold the API key; run: chmod 600 %s", file, file)
    return settings


def _read_selections(options: argparse.Namespace, streams: Sequence[Stream]) -> list[Selection]:
    given = discover_catalog(streams)
    if options.select is not None:
        given = select_by_names(given, options.select, streams)
    elif options.catalog is not None:
        given = read_json(options.catalog, "catalog", CatalogError)
    selections = read_catalog(given, streams)
    if not selections:
        log.logger.warning(
            "The catalog selects no stream, so there is nothing to do. To select a stream, set "
            '"selected": true in its metadata with the empty breadcrumb.'
        )
    return selections


def _read_given_state(options: argparse.Namespace, streams: Sequence[Stream]) -> State:
    if options.state is None:
        return {}
    # Read once: it may be a pipe.
    text = read_text(options.state, "state", StateError)
    if text.strip() in ("", "null"):
        log.logger.warning("The state file %s is empty; reading all streams from start_date.", options.state)
        return {}
    return read_state(parse_json(text, options.state, "state", StateError), streams)


def _list_metrics(options: argparse.Namespace, settings: Config) -> None:
    rows = list_metrics(Client(settings), streams_with(settings.metric_streams))
    print_text(metrics_json(rows) if options.format == "json" else metrics_table(rows, display.stdout_width()))


def _run_test(options: argparse.Namespace, settings: Config, selections: Sequence[Selection]) -> None:
    if not options.verbose:
        # The result of each check says enough; its retries would hide it.
        log.logger.setLevel(logging.ERROR)
    failed = 0
    patient = replace(settings, request_timeout=min(settings.request_timeout, _TEST_SECONDS))
    client = Client(patient, retries=Retries(total=_TEST_SECONDS, local=5.0))
    for each in check.check_access(client, selections):
        print_text(str(each))
        failed += isinstance(each, check.Access) and bool(each.problem)
    if failed:
        raise SyncError(f"{failed} {'check' if failed == 1 else 'checks'} failed; see the lines above.")
    print_text("All checks passed.")


def _run_verification(
    options: argparse.Namespace,
    settings: Config,
    selections: Sequence[Selection],
    given: State,
    days: tuple[int, int] | None,
    console: Console | None,
) -> None:
    tune_process()
    client = Client(settings, after_page=stay_small)
    verification, found = Verification(client, settings), list[Verdict]()
    width = console.width if console else None
    with handled_signals(_raise_reason), _lines_shown(options, verification.progress, client, width):
        for each in verification.verdicts(selections, given, days):
            found.append(each)
            if options.format != "json":
                print_text(str(each))
    if options.format == "json":
        print_text(verdicts_json(found))
    if bad := [each for each in found if not each.is_good]:
        raise SyncError(
            f"{len(bad)} of {len(found)} comparisons failed or show a difference. docs/completeness.md explains the "
            "causes."
        )


def _raise_reason(reason: BaseException) -> None:
    raise reason


def _run_sync(
    options: argparse.Namespace,
    settings: Config,
    selections: Sequence[Selection],
    given: State,
    console: Console | None,
) -> None:
    tune_process()
    with open_stdout() as stdout:
        client = Client(settings, after_page=stay_small)
        sync = Sync(client, settings, Writer(stdout))
        with handled_signals(sync.interrupt) as signals, _progress_shown(options, sync, client, console):
            try:
                sync.run(selections, given)
            except OutputError:
                # Ctrl-C ends the target as well, so the broken pipe is not worth a line.
                signals.raise_if_asked()
                raise
    log.logger.debug("Rate limits delayed requests by %.0f s in all, over all threads.", client.waited)
    log.log_last(logging.INFO, "%s", display.final_line(sync.progress, client.requests))


def _progress_shown(
    options: argparse.Namespace, sync: Sync, client: Client, console: Console | None
) -> AbstractContextManager[None]:
    """Return the display of a sync's progress."""
    if not options.quiet and console and display.can_redraw(console):
        return display.shown_live(sync.progress, console, lambda: client.requests)
    return _lines_shown(options, sync.progress, client, console.width if console else None)


def _lines_shown(
    options: argparse.Namespace, progress: Progress, client: Client, width: int | None
) -> AbstractContextManager[None]:
    return nullcontext() if options.quiet else display.shown_in_lines(progress, lambda: client.requests, width)
