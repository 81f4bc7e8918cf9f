"""What the sandbox's resources have to be in a table: their main columns, worked out without the tap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.targets.programs import Json

FULL_TABLES = ("lists", "campaigns", "global_exclusions")
_RELATED = ("profile", "metric", "tags", "campaign_messages")
_MOMENTS = ("datetime", "timestamp", "created", "updated", "created_at", "updated_at", "scheduled_at", "send_time")


def key_of(stream: str) -> str:
    """Return the column that is a stream's key."""
    return "email" if stream == "global_exclusions" else "id"


def rows_of(stream: str, resources: Iterable[Json]) -> list[Json]:
    """Return the main columns of the rows that resources have to become, by key."""
    make = {"lists": _list, "campaigns": _campaign, "global_exclusions": _exclusion}.get(stream, _event)
    return comparable(stream, map(make, resources))


def comparable(stream: str, rows: Iterable[Mapping[str, Any]], like: Iterable[str] | None = None) -> list[Json]:
    """Return rows in one spelling, by key; only the columns named in `like`, by default all.

    Moments lose how a database writes them, related resources all but their ids; empty arrays and objects count as
    null, which some targets make of them.
    """
    chosen = [{name: row[name] for name in like} for row in rows] if like else [dict(row) for row in rows]
    spelled = [{name: _spelled(name, value) for name, value in row.items()} for row in chosen]
    return sorted(spelled, key=lambda row: str(row[key_of(stream)]))


def _spelled(name: str, value: Any) -> Any:
    if name in _RELATED and value:
        return [each["id"] for each in value]
    if name in _MOMENTS and isinstance(value, str):
        whole, _, fraction = value.removesuffix("+00:00").replace(" ", "T").partition(".")
        return f"{whole}.{fraction.rstrip('0')}"
    return None if value in ([], {}) else _without_nul(value)


def _without_nul(value: Any) -> Any:
    """Return a JSON value without NUL characters, which the tap leaves out."""
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(each) for name, each in value.items()}
    if isinstance(value, list):
        return list(map(_without_nul, value))
    return value.replace("\0", "") if isinstance(value, str) else value


def _event(resource: Json) -> Json:
    profile = (resource["relationships"].get("profile") or {}).get("data")
    metric = resource["metric"]
    return {
        "id": resource["id"],
        "type": "event",
        **resource["attributes"],
        "metric_id": metric["id"],
        "metric_name": metric["attributes"]["name"],
        "metric": [metric],
        "profile_id": profile["id"] if profile else None,
        "profile": [profile] if profile else [],
    }


def _list(resource: Json) -> Json:
    return {"id": resource["id"], **resource["attributes"], "tags": resource["tags"]}


def _campaign(resource: Json) -> Json:
    attributes = {name: value for name, value in resource["attributes"].items() if name != "send_strategy"}
    related = {name: resource[name] for name in ("tags", "campaign_messages")}
    return {"id": resource["id"], **attributes, **related}


def _exclusion(resource: Json) -> Json:
    attributes = dict(resource["attributes"])
    suppressions = attributes["subscriptions"]["email"]["marketing"]["suppression"]
    newest = max(suppressions, key=lambda each: str(each["timestamp"]))
    known = ("email", "phone_number", "external_id", "first_name", "last_name", "created", "updated", "properties")
    return {
        "id": resource["id"],
        **{name: attributes[name] for name in known},
        "reason": newest["reason"],
        "timestamp": newest["timestamp"],
    }
