"""Standard output without a buffer, and the numbers of streams that were closed at the start."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from tap_klaviyo.errors import OutputError
from tap_klaviyo.singer.messages import write_all


def keep_standard_streams() -> None:
    """Keep the numbers of streams that were closed at the start: a connection must not become standard output."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process lives


@contextmanager
def open_stdout() -> Iterator[BinaryIO]:
    """Open stdout without a buffer, whatever PYTHONUNBUFFERED makes of sys.stdout.

    Raises:
        OutputError: it was closed when the tap started.
    """
    if sys.stdout is None:
        raise OutputError("Standard output is closed; pipe the tap into a target or a file.")
    with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as stdout:
        yield cast(BinaryIO, stdout)


def print_text(text: str) -> None:
    """Write a text and a line end to stdout.

    Raises:
        OutputError: stdout is closed, or cannot be written.
    """
    with open_stdout() as stdout:
        write_all(stdout, f"{text}\n".encode())
