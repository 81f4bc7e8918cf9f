"""Converts the figures of a report to records, with columns for groupings, statistics and the period; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import UNSET, Raw

from tap_klaviyo.records.conversion import convert_objects
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.records.structs import Record

# The values of a row by column, as JSON or as text.
Row = Mapping[str, Any]


def build_figures(
    projection: Projection, key: Iterable[str], rows: Iterable[tuple[Row, Row]], findings: Findings
) -> list[Record]:
    """Convert rows to records. Rows without a value for a key column are left out and counted.

    Args:
        projection: has the columns.
        key: the columns of the key, which must not be null.
        rows: pairs of the values to convert and of the bounds of the period. The bounds keep the UTC offset of the
            account, so they are not converted. They are always selected, because they are part of the key.
        findings: counts unknown columns and the rows that are left out.
    """
    kind, name = projection.record_type, projection.source.name
    records: list[Record] = []
    fixed: list[Row] = []
    for values, own in rows:
        columns = {**values, **own}
        if any(_is_null(columns.get(each)) for each in key):
            findings.set_aside[name] += 1
            continue
        for each in columns.keys() - kind.names.keys():
            findings.unknown[(name, each)] += 1
        records.append(kind.struct(**{each: value for each, value in values.items() if each in kind.names}))
        fixed.append(own)
    convert_objects(kind, records, (name,), findings)
    for record, own in zip(records, fixed, strict=True):
        for each, value in own.items():
            setattr(record, each, value)
    return records


def _is_null(value: Any) -> bool:
    return value is None or value is UNSET or (isinstance(value, Raw) and bytes(value) in (b"null", b'""'))
