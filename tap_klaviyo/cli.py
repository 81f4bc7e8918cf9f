"""The command line: it parses the arguments, and calls `commands`, which takes a moment to import."""

from __future__ import annotations

from collections.abc import Sequence

from tap_klaviyo.arguments import argument_parser, contradictions_in


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Raises:
        SystemExit: with code 2 for wrong usage, and 0 for help.
    """
    parser = argument_parser()
    options = parser.parse_args(arguments)
    if contradictions := contradictions_in(options):
        parser.error(" ".join(contradictions))
    from tap_klaviyo.commands import run_command
    from tap_klaviyo.standard_streams import keep_standard_streams

    keep_standard_streams()
    return run_command(options)
