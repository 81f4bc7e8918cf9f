"""What only the global exclusions need: a profile's suppressions, and the newest of them; pure."""

from __future__ import annotations

from datetime import datetime, timezone

from msgspec import Raw, UnsetType

from tap_klaviyo.klaviyo.json_values import NULL, decode_array, decode_object, decode_text
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.projection import Projection, to_utc
from tap_klaviyo.records.structs import Record, read_objects

_EPOCH = datetime.fromtimestamp(0, timezone.utc)


def complete_exclusions(records: list[Record], projection: Projection, findings: Findings) -> list[Record]:
    """Return suppressed profiles with their suppressions; one without an e-mail address has no key, and is counted."""
    complete = []
    for record in records:
        email = decode_text(record.email)
        if email is None:
            findings.unknown["profile without email"] += 1
            continue
        _add_suppressions(record, projection, findings)
        complete.append(record)
    return complete


def _add_suppressions(record: Record, projection: Projection, findings: Findings) -> None:
    email = decode_object(getattr(record.subscriptions, "email", None)) or {}
    marketing = decode_object(email.get("marketing")) or {}
    for name, source in (("suppressions", "suppression"), ("list_suppressions", "list_suppressions")):
        values = decode_array(marketing.get(source))
        part, where = projection.record_type.nested[name], f"profile.{name}"
        setattr(record, name, None if values is None else read_objects(part, values, where, findings.unknown))
    none: Record = projection.record_type.nested["suppressions"].struct()
    newest = max(record.suppressions or (), key=_moment, default=none)
    record.reason, record.timestamp = _or_null(newest.reason), _or_null(newest.timestamp)


def _moment(suppression: Record) -> datetime:
    try:
        return datetime.fromisoformat((decode_text(to_utc(suppression.timestamp)) or "").replace("Z", "+00:00"))
    except (TypeError, ValueError):
        return _EPOCH


def _or_null(value: Raw | UnsetType) -> Raw:
    return NULL if isinstance(value, UnsetType) else value
