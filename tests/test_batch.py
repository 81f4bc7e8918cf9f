"""Parked pages: they come back whole, or stay in memory, or end the run."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo.errors import ParkingError
from tap_klaviyo.reading.batch import Batch, open_temporary, park_batch, parking_room
from tap_klaviyo.reading.prefetch import DISK_AHEAD, Fetched, Pipeline
from tap_klaviyo.singer.messages import Writer

LINES = b"".join(b'{"type":"RECORD","number":%d}\n' % number for number in range(20_000))


def batch(lines: bytes = LINES) -> Batch:
    return Batch(lines, len(lines), lines.count(b"\n"))


class SmallDisk(io.FileIO):
    """A file on a disk with little room, which takes `width` bytes of a write at a time."""

    def __init__(self, room: int, width: int) -> None:
        descriptor, path = tempfile.mkstemp()
        super().__init__(descriptor, "w+b")
        os.unlink(path)
        self._room, self._width = room, width

    def write(self, data: Any) -> int:
        if not self._room:
            raise OSError(28, "No space left on device")
        taken = super().write(bytes(data[: min(self._room, self._width)]))
        self._room -= taken
        return taken


def test_a_parked_page_is_read_back_whole() -> None:
    parked = park_batch(batch())
    assert not isinstance(parked.lines, bytes)
    assert parked.read_lines() == LINES
    assert parked.lines.file.closed


@pytest.mark.parametrize("width", [1000, 4097, len(LINES)])
def test_a_file_that_takes_parts_of_a_write_gets_the_whole_page(width: int) -> None:
    parked = park_batch(batch(), lambda: SmallDisk(len(LINES), width))
    assert parked.read_lines() == LINES


@pytest.mark.parametrize("room", [0, 1, 100_000, len(LINES) - 1])
def test_a_disk_with_room_for_a_part_leaves_the_page_in_memory(room: int) -> None:
    file = SmallDisk(room, 50_000)
    whole = batch()
    with pytest.raises(OSError, match="No space"):
        park_batch(whole, lambda: file)
    assert (whole.read_lines(), file.closed) == (LINES, True)


def test_a_file_that_takes_nothing_is_full() -> None:
    with pytest.raises(OSError, match="took nothing"):
        park_batch(batch(), lambda: SmallDisk(10**9, 0))


def test_a_parked_page_that_comes_back_short_ends_the_run() -> None:
    parked = park_batch(batch())
    assert not isinstance(parked.lines, bytes)
    os.ftruncate(parked.lines.file.fileno(), 1000)
    with pytest.raises(ParkingError, match=r"1,000 of the .* are still there\. Set TMPDIR"):
        parked.read_lines()


def test_a_disk_that_fills_up_stops_parking_and_every_page_comes_whole_in_order() -> None:
    pages = [b"%d\n" % number * 1000 for number in range(60)]
    disks, tried = [400_000], []

    def park(whole: Batch) -> Batch:
        tried.append(whole.size)
        parked = park_batch(whole, lambda: SmallDisk(disks[0] if len(tried) <= 10 else 100, 10**6))
        return parked

    with Pipeline[Batch](8, park, memory=10_000, disk=10**9) as pipeline:
        pipeline.add("a", [lambda page=page: Fetched(batch(page), len(page)) for page in pages])  # type: ignore[misc]
        found = [each.read_lines() for each in pipeline.take("a")]
    assert found == pages
    assert len(tried) == 11


class BrokenDisk(io.BytesIO):
    """A file that can be written and fails when it is read."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(5, "Input/output error")


def test_a_parked_page_that_cannot_be_read_ends_the_run_in_a_sentence() -> None:
    parked = park_batch(batch(), BrokenDisk)
    with pytest.raises(ParkingError, match=r"cannot be read back: Input/output error\."):
        parked.read_lines()


def test_a_parked_page_is_not_parked_twice() -> None:
    parked = park_batch(batch())
    assert park_batch(parked) is parked
    assert parked.read_lines() == LINES


LIMITED = """
import resource
from tap_klaviyo.reading.batch import Batch, park_batch
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
whole = Batch(b"x" * 150_000, 150_000, 1)
try:
    park_batch(whole)
except OSError:
    print("stays in memory", len(whole.read_lines()))
print("parked", len(park_batch(Batch(b"x" * 100_000, 100_000, 1)).read_lines()))
# What measures coverage writes a larger file at the end.
resource.setrlimit(resource.RLIMIT_FSIZE, before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no limit to a file's size")
def test_a_real_file_that_may_not_grow_leaves_the_page_in_memory() -> None:
    ended = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=60)
    assert (ended.stdout.splitlines(), ended.stderr) == (["stays in memory 150000", "parked 100000"], "")


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 300 kB in memory; only root can."""
    mount = shutil.which("mount")
    if not mount:
        pytest.skip("this system has no mount")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_file_system_in_memory_is_not_parked_to_and_a_full_one_leaves_the_page(small_tmpfs: Path) -> None:
    assert parking_room(small_tmpfs) == 0

    def open_there() -> Any:
        return tempfile.TemporaryFile(buffering=0, dir=small_tmpfs)

    with pytest.raises(OSError, match="No space"):
        park_batch(batch(), open_there)
    assert park_batch(batch(LINES[:200_000]), open_there).read_lines() == LINES[:200_000]


@pytest.mark.parametrize(
    ("mounts", "has_room"),
    [
        ("36 35 {device} / /tmp rw,noatime shared:1 - tmpfs tmpfs rw", False),
        ("36 35 {device} / /tmp rw,noatime - ramfs ramfs rw", False),
        ("36 35 {device} / / rw,noatime - ext4 /dev/sda1 rw", True),
        ("36 35 99999:1 / /run rw,noatime - tmpfs tmpfs rw", True),
        ("", True),
    ],
    ids=["tmpfs", "ramfs", "disk", "another tmpfs", "unknown"],
)
@pytest.mark.skipif(not hasattr(os, "major"), reason="this system has no device numbers")
def test_parking_in_memory_makes_no_room(tmp_path: Path, mounts: str, has_room: bool) -> None:
    device = tmp_path.stat().st_dev
    table = tmp_path / "mountinfo"
    table.write_text(mounts.format(device=f"{os.major(device)}:{os.minor(device)}") + "\n")
    assert (parking_room(tmp_path, table) > 0) is has_room


@pytest.mark.parametrize(("free", "room"), [(0, 0), (1000, 500), (2 * DISK_AHEAD, DISK_AHEAD), (2**50, DISK_AHEAD)])
def test_up_to_half_of_the_free_disk_is_parked_on(tmp_path: Path, free: int, room: int) -> None:
    assert parking_room(tmp_path, tmp_path / "none", lambda _: free) == room


def test_nothing_is_parked_in_a_directory_that_is_missing(tmp_path: Path) -> None:
    assert parking_room(tmp_path / "missing") == 0
    assert parking_room(tmp_path) > 0


def test_a_file_is_temporary() -> None:
    with open_temporary() as file:
        assert file.write(b"abc") == 3


@pytest.mark.skipif(sys.platform == "win32", reason="this system shows a closed pipe only by a write")
def test_a_target_that_has_ended_is_noticed_without_a_write() -> None:
    from tap_klaviyo.errors import OutputError

    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as stdout:
        writer = Writer(stdout)
        writer.check_reader()
        os.close(reading)
        with pytest.raises(OutputError, match="closed the pipe"):
            writer.check_reader()
        writer.records(b"not written, and no second error\n")
