"""A page's records made to fit their schema, each column over all of them at once; pure.

Where all values of a column fit, which is the rule, they are looked at together, as one run of bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from operator import attrgetter

import msgspec
from msgspec import UNSET, Raw

from tap_klaviyo.records.columns import Column
from tap_klaviyo.records.dates import are_utc
from tap_klaviyo.records.findings import Findings, Path
from tap_klaviyo.records.structs import Record, RecordType

_numbers = msgspec.json.Decoder(list[float | None])


def convert_objects(
    kind: RecordType, objects: Sequence[Record], where: Path, findings: Findings, apart: Collection[str] = ()
) -> None:
    """Change objects in place so that they fit the schema.

    Args:
        kind: the type of the objects.
        objects: of one page.
        where: their place, such as ("event",).
        findings: counts changed values, and attributes that the schema does not define.
        apart: nested fields that were converted elsewhere.
    """
    for name in kind.dropped:
        for each in objects:
            setattr(each, name, UNSET)
    for name, attribute in kind.unknown.items():
        _remove_attribute(objects, name, (*where, attribute), findings)
    for name in _unfit_columns(kind, objects):
        _fit_values(objects, name, kind.columns[name], (*where, name), findings)
    for name, inner in kind.nested.items():
        if name not in kind.dropped and name not in apart:
            convert_objects(inner, _objects_within(objects, name), (*where, name), findings)
    for name, column in kind.refitted.items():
        _fit_values(objects, name, column, (*where, name), findings)


def _remove_attribute(objects: Sequence[Record], name: str, where: Path, findings: Findings) -> None:
    """Remove an attribute that the schema does not define, and count it."""
    found = [each for each in objects if getattr(each, name) is not UNSET]
    for each in found:
        setattr(each, name, UNSET)
    if found:
        findings.unknown[where] += len(found)


def _unfit_columns(kind: RecordType, objects: Sequence[Record]) -> list[str]:
    """Return the columns that have values which may not fit."""
    unfit = list(kind.others)
    if kind.dates and not are_utc(*_join_values(objects, kind.dates, b",")):
        unfit += kind.dates
    unfit += [name for name in kind.spelled if not _spell_numbers(objects, name)]
    unfit += [name for name in kind.texts if not _are_texts(*_join_values(objects, (name,), b"\n"))]
    unfit += [name for name in kind.objects if not _are_objects(*_join_values(objects, (name,), b"\n"))]
    if kind.numbers and not _are_numbers(_join_values(objects, kind.numbers, b",")[0]):
        unfit += kind.numbers
    return unfit


def _join_values(objects: Sequence[Record], names: Sequence[str], separator: bytes) -> tuple[bytes, int]:
    """Return the JSON values of some fields in one piece, and how many of them are set."""
    values = list(chain.from_iterable(map(attrgetter(name), objects) for name in names))
    try:
        return separator.join(values), len(values)
    except TypeError:  # some are not set, or are ids, which are texts already
        found = [value if type(value) is Raw else msgspec.json.encode(value) for value in values if value is not UNSET]
        return separator.join(found), len(found)


def _are_objects(lines: bytes, count: int) -> bool:
    return _lines_begun(lines, b"{") + _lines_begun(lines, b"null") == count


def _are_texts(lines: bytes, count: int) -> bool:
    return _lines_begun(lines, b'"') + _lines_begun(lines, b"null") == count


def _lines_begun(lines: bytes, mark: bytes) -> int:
    """Return how many of some lines begin with a mark."""
    return lines.startswith(mark) + lines.count(b"\n" + mark)


def _spell_numbers(objects: Sequence[Record], name: str) -> bool:
    """Make the JSON numbers of a field texts of the same digits, and return whether all else is text or null."""
    lines, count = _join_values(objects, (name,), b"\n")
    fitting = _lines_begun(lines, b'"') + _lines_begun(lines, b"null")
    if fitting == count:
        return True
    if count < len(objects):
        return False
    for each, text in zip(objects, lines.split(b"\n"), strict=True):
        if b"-" <= text < b":":
            setattr(each, name, text.decode())
            fitting += 1
    return fitting == count


def _are_numbers(text: bytes) -> bool:
    try:
        _numbers.decode(b"[%b]" % text)
    except msgspec.DecodeError:
        return False
    return True


def _fit_values(objects: Sequence[Record], name: str, column: Column, where: Path, findings: Findings) -> None:
    """Make each value of a field fit its column."""
    for each in objects:
        value = getattr(each, name)
        if value is UNSET:
            continue
        fitted, is_remarkable = column.fit(value if type(value) is Raw else Raw(msgspec.json.encode(value)))
        setattr(each, name, fitted)
        if is_remarkable:
            findings.changed[where] += 1


def _objects_within(objects: Sequence[Record], name: str) -> list[Record]:
    """Return the objects in a field that holds one each, or an array of them."""
    values = [value for value in map(attrgetter(name), objects) if value]
    if list in set(map(type, values)):
        return [each for value in values for each in (value if isinstance(value, list) else [value]) if each]
    return values
