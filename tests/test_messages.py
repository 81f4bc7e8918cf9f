"""The writer of messages: whole lines to a stream that takes a part of them, that fails, or that nobody reads."""

from __future__ import annotations

import errno
import io
import json
import os
import select
from typing import BinaryIO, cast

import pytest

from tap_klaviyo.errors import OutputError
from tap_klaviyo.singer.messages import Writer
from tests.running import Chunks


class Narrow(Chunks):
    """A stream that takes seven bytes of a write, and nothing of every other one."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def write(self, data: bytes | memoryview) -> int:
        self.calls += 1
        if self.calls % 2:
            return cast(int, None)
        return super().write(bytes(data[:7]))

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


class Full(Chunks):
    """A stream that takes the first half of a line, and fails then."""

    def write(self, data: bytes | memoryview) -> int:
        if self.written:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(data[: len(data) // 2]))


def writer_to(output: Chunks) -> Writer:
    return Writer(cast(BinaryIO, output))


def test_a_state_that_says_the_same_is_written_once() -> None:
    output = Chunks()
    writer = writer_to(output)
    for bookmark in (1, 1, 2, 2, 1):
        writer.state({"bookmarks": {"open": bookmark}})
    assert [json.loads(line)["value"]["bookmarks"]["open"] for line in output.written] == [1, 2, 1]


def test_a_stream_that_takes_a_part_of_a_line_gets_the_rest() -> None:
    output = Narrow()
    writer_to(output).records(b'{"type":"RECORD","stream":"open","record":{}}\n')
    assert b"".join(output.written) == b'{"type":"RECORD","stream":"open","record":{}}\n'


def test_nothing_follows_a_part_of_a_line() -> None:
    output = Full()
    writer = writer_to(output)
    with pytest.raises(OutputError, match="the disk is full"):
        writer.records(b'{"type":"RECORD"}\n')
    writer.state({"bookmarks": {}})
    assert output.written == [b'{"type":"']


@pytest.mark.skipif(not hasattr(select, "poll"), reason="this system cannot say whether a pipe is closed")
def test_a_reader_that_has_ended_is_noticed_without_a_write() -> None:
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as stdout:
        writer = Writer(cast(BinaryIO, stdout))
        writer.check_reader()
        os.close(reading)
        with pytest.raises(OutputError, match="closed the pipe"):
            writer.check_reader()
        writer.state({"bookmarks": {}})
