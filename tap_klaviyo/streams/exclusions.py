"""What only the global exclusions need: a profile's suppressions, and the newest of them; pure."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from msgspec import UNSET, Raw

from tap_klaviyo.klaviyo.json_values import NULL, decode_array, decode_object, decode_text
from tap_klaviyo.records.dates import to_utc
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.objects import read_objects, set_value
from tap_klaviyo.records.projection import Projection
from tap_klaviyo.records.structs import Record

_EPOCH = datetime.fromtimestamp(0, timezone.utc)


def complete_exclusions(records: list[Record], projection: Projection, findings: Findings) -> list[Record]:
    """Return suppressed profiles with their suppressions; one without an e-mail address, the key, is set aside."""
    complete = []
    for record in records:
        if isinstance(record.email, Raw):
            set_value(projection.record_type, record, "email", record.email, (projection.source.name,), findings)
        email = record.email if isinstance(record.email, str) else decode_text(record.email)
        if not email:
            findings.set_aside["profile without email"] += 1
            continue
        _add_suppressions(record, projection, findings)
        complete.append(record)
    return complete


def _add_suppressions(record: Record, projection: Projection, findings: Findings) -> None:
    email = decode_object(getattr(record.subscriptions, "email", None)) or {}
    marketing = decode_object(email.get("marketing")) or {}
    for name, source in (("suppressions", "suppression"), ("list_suppressions", "list_suppressions")):
        values = decode_array(marketing.get(source))
        part, where = projection.record_type.nested[name], (projection.source.name, name)
        setattr(record, name, None if values is None else read_objects(part, values, where, findings))
    none: Record = projection.record_type.nested["suppressions"].struct()
    newest = max(record.suppressions or (), key=_suppression_time, default=none)
    record.reason, record.timestamp = _or_null(newest.reason), _or_null(newest.timestamp)


def _suppression_time(suppression: Record) -> datetime:
    """Return when a suppression began; 1970 if it does not say."""
    date = decode_text(to_utc(suppression.timestamp)) if isinstance(suppression.timestamp, Raw) else None
    return datetime.fromisoformat(date.replace("Z", "+00:00")) if date else _EPOCH


def _or_null(value: Any) -> Any:
    return NULL if value is UNSET else value
