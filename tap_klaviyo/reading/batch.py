"""Batches: a page's records as they go to stdout, and how they wait on disk for their turn."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast

from tap_klaviyo.records.findings import Findings


@dataclass(frozen=True)
class Batch:
    """A page as it goes to stdout.

    `lines` are whole RECORD lines, or a file of them; `size` is their length in bytes, `rows` their number, and
    `newest` the greatest timestamp among them (epoch seconds). `shared` are the lines, by key, of rows that another
    partition of the stream may contain as well. `findings` are what the page has beside its records.

    `denied` are the ids of metrics that Klaviyo lists but says do not exist. `problem` is a sentence about something
    that was skipped here: the run continues and ends with exit code 1, and the stream's bookmark must not pass
    `bookmark_limit` (epoch seconds).
    """

    lines: bytes | BinaryIO
    size: int
    rows: int
    newest: int | None = None
    shared: Mapping[str, bytes] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    denied: frozenset[str] = frozenset()
    problem: str | None = None
    bookmark_limit: int | None = None


def park_batch(batch: Batch) -> Batch:
    """Return the batch with its lines in a temporary file, which disappears once they are written.

    Raises:
        OSError: the disk has no room.
    """
    if not isinstance(batch.lines, bytes):
        return batch
    file = cast(BinaryIO, tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - the writer closes it
    file.write(batch.lines)
    file.seek(0)
    return replace(batch, lines=file)
