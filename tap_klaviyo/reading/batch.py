"""Batches: a page's records as they go to stdout, and how they wait on disk for their turn."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

from tap_klaviyo.errors import ParkingError
from tap_klaviyo.reading.comparison import Counted
from tap_klaviyo.reading.hours import HourCounts
from tap_klaviyo.reading.known_counts import Recounted
from tap_klaviyo.reading.prefetch import DISK_AHEAD
from tap_klaviyo.records.findings import Findings

# The target often writes to the same disk, so at least half of the free space is left to it.
_SHARE_OF_DISK = 0.5
_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True)
class ParkedLines:
    """RECORD lines in a temporary file: `size` bytes of them, which can be read once."""

    file: BinaryIO
    size: int

    def read_whole(self) -> bytes:
        """Return the lines; the file disappears.

        Raises:
            ParkingError: the file does not return the bytes that were written to it.
        """
        try:
            with self.file:
                self.file.seek(0)
                lines = self.file.read()
        except OSError as problem:
            raise ParkingError(f"A page in {tempfile.gettempdir()} cannot be read back: {problem.strerror}.") from None
        if len(lines) != self.size:
            raise ParkingError(
                f"Only {len(lines):,} of the {self.size:,} bytes of a page in {tempfile.gettempdir()} are still there. "
                "Set TMPDIR to a directory on another disk and run the tap again; it resumes from the last STATE."
            )
        return lines


@dataclass(frozen=True)
class Batch:
    """A page as it goes to stdout.

    Args:
        lines: whole RECORD lines, in memory or parked.
        size: their length in bytes.
        rows: their number.
        newest: the greatest time among them, in epoch seconds.
        findings: what the page has beside its records.
        query: the name of the query that found the rows.
        ids: the ids of the rows, if a later query must not bring them again.
        changes: the rows that changed during the run: their ids, with the time of the change as Klaviyo writes it.
        definitions: in a stream that others are read for, digests of what decides which rows belong to which, by id.
        parents: how many parents' rows begin here.
        parents_gone: the ids of parents that Klaviyo no longer has.
        denied: the ids of metrics that Klaviyo lists but says do not exist.
        problem: a sentence about something that was skipped here: the run continues and ends with exit code 1.
        left_over: a sentence about what is left to the next run, because Klaviyo's limit of a day is used up.
        bookmark_limit: in epoch seconds; the stream's bookmark must not pass it.
        read: how many of its rows lie in which hour, by metric, if they are compared with Klaviyo's counts.
        counted: Klaviyo's counts.
        uncounted: why Klaviyo's counts could not be had, if they were wanted.
        recounted: by metric, what Klaviyo's counts of the last weeks led to, if the settings ask for a recount.
        expected: how many rows Klaviyo counts in a range of which the reading has begun.
        silent_rows: how many rows it has that are read for other streams only, and are not written.
        parents_refused: the ids of parents whose rows cannot be read; `problem` says why.
        parents_found: the ids of parents that it has rows of, in a stream that is read by time.
    """

    lines: bytes | ParkedLines
    size: int
    rows: int
    newest: int | None = None
    findings: Findings = field(default_factory=Findings)
    query: str = ""
    ids: frozenset[str] = frozenset()
    changes: frozenset[tuple[str, str]] = frozenset()
    definitions: Mapping[str, str] = field(default_factory=dict)
    parents: int = 0
    parents_gone: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    problem: str | None = None
    left_over: str | None = None
    bookmark_limit: int | None = None
    read: HourCounts = field(default_factory=dict)
    counted: Sequence[Counted] = ()
    uncounted: str | None = None
    recounted: Mapping[str, Recounted] = field(default_factory=dict)
    expected: int = 0
    silent_rows: int = 0
    parents_refused: frozenset[str] = frozenset()
    parents_found: frozenset[str] = frozenset()

    def read_lines(self) -> bytes:
        """Return the RECORD lines; parked ones can be read once.

        Raises:
            ParkingError: parked lines do not come back whole.
        """
        return self.lines if isinstance(self.lines, bytes) else self.lines.read_whole()


# What a fetch gives that finds no rows.
NO_ROWS = Batch(b"", 0, 0)


def open_temporary() -> BinaryIO:
    """Return an unbuffered file in the system's temporary directory, which disappears when it is closed."""
    return cast(BinaryIO, tempfile.TemporaryFile(buffering=0))


def park_batch(batch: Batch, open_file: Callable[[], BinaryIO] = open_temporary) -> Batch:
    """Return the batch with its lines in a file; the batch itself stays whole if that fails.

    Raises:
        OSError: the disk has no room for all of it.
    """
    if not isinstance(batch.lines, bytes):
        return batch
    file = open_file()
    try:
        rest = memoryview(batch.lines)
        # An unbuffered file may take a part of a write, and reports a full disk only at the next one.
        while rest:
            taken = file.write(rest)
            if not taken:
                raise OSError("The disk took nothing.")
            rest = rest[taken:]
    except BaseException:
        file.close()
        raise
    return replace(batch, lines=ParkedLines(file, len(batch.lines)))


def free_bytes(directory: Path) -> int:
    """Return how many bytes are free on a directory's disk.

    Raises:
        OSError: the system does not say.
    """
    return shutil.disk_usage(directory).free


def parking_room(
    directory: Path | None = None, mounts: Path = _MOUNTS, free_in: Callable[[Path], int] = free_bytes
) -> int:
    """Return how many bytes of pages may be parked in the temporary directory.

    None if the directory is in memory itself: parking there would free no memory. On systems that do not say so (only
    Linux does), it counts as a disk.
    """
    try:
        place = directory or Path(tempfile.gettempdir())
        if _filesystem_of(place, mounts) in _IN_MEMORY:
            return 0
        return min(DISK_AHEAD, int(free_in(place) * _SHARE_OF_DISK))
    except OSError:
        return 0


def _filesystem_of(directory: Path, mounts: Path) -> str | None:
    """Return the type of a directory's file system; None if the system does not say.

    A line of mountinfo (proc(5)) has the device as its third field, and the type behind a lone hyphen.
    """
    device = directory.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}" if hasattr(os, "major") else None
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        fields, _, described = line.partition(" - ")
        if fields.split()[2:3] == [wanted] and described:
            return described.split()[0]
    return None
