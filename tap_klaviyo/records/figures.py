"""Figures of a report to records: groupings, statistics and the period as columns; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import UNSET, Raw

from tap_klaviyo.records.conversion import convert_objects
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.records.structs import Record

# A row as it was answered: values by column, as JSON or as text.
Row = Mapping[str, Any]


def build_figures(
    projection: Projection, key: Iterable[str], rows: Iterable[tuple[Row, Row]], findings: Findings
) -> list[Record]:
    """Return the records of rows; one without a value of the key is set aside.

    Args:
        projection: has the columns.
        key: the columns that may not be null.
        rows: the values that have to fit the columns, and those that stay as they are: the bounds of the period, which
            keep the account's offset. The bounds are part of the key, so that they are always selected.
        findings: counts what the rows have beside the records.
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
