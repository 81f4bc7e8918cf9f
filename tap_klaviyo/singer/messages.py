"""Singer messages: records to lines, and the one writer to stdout."""

from __future__ import annotations

import errno
import json
import select
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, BinaryIO

import msgspec
import singer
from msgspec import UNSET, Struct, UnsetType

from tap_klaviyo.errors import OutputError
from tap_klaviyo.records.structs import Record

# Seconds between two tries to write where the system cannot say when a stream takes more.
_NAP = 0.01
_CLOSED = "The target closed the pipe; see its own messages."
_encoder = msgspec.json.Encoder()


class _RecordMessage(Struct, tag="RECORD", tag_field="type", gc=False):
    stream: str
    record: Record
    version: int | UnsetType
    time_extracted: str


def encode_records(stream: str, records: Sequence[Record], version: int | None = None) -> bytes:
    """Return the RECORD lines of records that were fetched just now."""
    extracted = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    shared = (UNSET if version is None else version, extracted)
    return _encoder.encode_lines([_RecordMessage(stream, record, *shared) for record in records])


class Writer:
    """Writes whole messages, each call at once: what a target has read is never part of a line for long."""

    def __init__(self, stdout: BinaryIO) -> None:
        """Take over an unbuffered stream; nothing else may write to it."""
        self._stdout = stdout
        self._last_state: bytes | None = None
        self._broken = False
        self._is_closed = _closed_pipe(stdout)

    def schema(self, stream: str, schema: Mapping[str, Any], key: Sequence[str], replication_key: str | None) -> None:
        """Write a SCHEMA message."""
        self._write(_message_line(singer.SchemaMessage(stream, schema, list(key), replication_key)))

    def records(self, lines: bytes) -> None:
        """Write RECORD lines made by encode_records."""
        self._write(lines)

    def check_reader(self) -> None:
        """Notice a target that has ended, without a write; does nothing if the system cannot say.

        Raises:
            OutputError: the target has closed the pipe. Nothing more is written then.
        """
        if self._is_closed is not None and self._is_closed():
            self._broken = True
            raise OutputError(_CLOSED, is_closed_pipe=True)

    def state(self, state: Mapping[str, Any]) -> None:
        """Write a STATE message, unless it would say what the last one said."""
        line = _message_line(singer.StateMessage(state))
        if line != self._last_state:
            self._write(line)
            self._last_state = line

    def activate_version(self, stream: str, version: int) -> None:
        """Write an ACTIVATE_VERSION message."""
        self._write(_message_line(singer.ActivateVersionMessage(stream, version)))

    def _write(self, data: bytes) -> None:
        if self._broken:
            return
        self._broken = True  # until the whole of it is out: nothing may follow a part of a line
        write_all(self._stdout, data)
        self._broken = False


def _closed_pipe(stdout: BinaryIO) -> Callable[[], bool] | None:
    """Return what asks whether the other end of a pipe is closed; None if that cannot be known."""
    try:
        poll = select.poll()
        # Without any event to wait for, only errors and hang-ups are reported.
        poll.register(stdout.fileno(), 0)
    except (AttributeError, OSError):
        return None
    return lambda: any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def write_all(stdout: BinaryIO, data: bytes) -> None:
    """Write all of the data to an unbuffered stream.

    Raises:
        OutputError: the reader is gone, or the disk is full.
    """
    rest = memoryview(data)
    try:
        while rest:
            taken = stdout.write(rest)
            # A stream that does not block takes nothing while its reader is busy.
            if taken is None:
                _wait_until_writable(stdout)
            rest = rest[taken or 0 :]
    except BrokenPipeError:
        raise OutputError(_CLOSED, is_closed_pipe=True) from None
    except OSError as problem:
        what = "the disk is full" if problem.errno == errno.ENOSPC else problem.strerror
        raise OutputError(f"Standard output cannot be written: {what}.") from None


def _wait_until_writable(stdout: BinaryIO) -> None:
    try:
        select.select([], [stdout], [])
    except (OSError, ValueError):
        # Not a stream that can be waited for, such as a pipe on Windows.
        time.sleep(_NAP)


def _message_line(message: singer.Message) -> bytes:
    """Return a message as a line of ASCII: a user's state or catalog may hold halves of surrogate pairs."""
    return json.dumps(message.asdict(), separators=(",", ":")).encode() + b"\n"
