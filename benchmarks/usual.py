"""The usual way of a Singer tap, on the same streams, data and schemas: what the tap is compared with.

Pages of 200, one request at a time, `response.json()`, `singer.Transformer` and `singer.write_record` for each
record, a bookmark for each page. Run as `python -m benchmarks.usual CONFIG`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import requests
import singer
from singer import metadata, utils

from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.streams.table import BY_NAME

Resource = dict[str, Any]


def main(path: str) -> None:
    """Sync all event streams by a config file; count the records on stderr as the tap does."""
    config = json.loads(Path(path).read_text("utf-8"))
    session = _session(config)
    metrics = [each for page in _pages(session, f"{config['base_url']}/api/metrics", {}) for each in page["data"]]
    state: dict[str, Any] = {}
    for entry in discover_catalog()["streams"]:
        names = [name.casefold() for name in BY_NAME[entry["tap_stream_id"]].metric_names]
        if names:
            singer.write_schema(entry["tap_stream_id"], entry["schema"], ["id"], ["timestamp"])
            fed = [each for each in metrics if each["attributes"]["name"].casefold() in names and _is_native(each)]
            count = sum(_sync(session, config, entry, metric, state) for metric in fed)
            print(f'INFO METRIC: {{"metric": "record_count", "value": {count}}}', file=sys.stderr)


def _session(config: dict[str, str]) -> requests.Session:
    session = requests.Session()
    session.headers.update({"Authorization": f"Klaviyo-API-Key {config['api_key']}", "revision": "2026-07-15"})
    return session


def _is_native(metric: Resource) -> bool:
    integration = metric["attributes"]["integration"] or {"key": "klaviyo"}
    return "klaviyo" in [str(integration.get(name)).casefold() for name in ("key", "name")]


def _pages(session: requests.Session, url: str | None, parameters: dict[str, str]) -> Iterator[dict[str, Any]]:
    while url:
        response = session.get(url, params=parameters, timeout=300)
        response.raise_for_status()
        page: dict[str, Any] = response.json()
        yield page
        url, parameters = page["links"]["next"], {}


def _sync(
    session: requests.Session, config: dict[str, str], entry: dict[str, Any], metric: Resource, state: dict[str, Any]
) -> int:
    """Write a metric's events, and return how many they were."""
    stream, count = entry["tap_stream_id"], 0
    selected = metadata.to_map(entry["metadata"])
    until = datetime.fromisoformat(config["end_date"].replace("Z", "+00:00")).timestamp()
    query = {
        "filter": f'and(equals(metric_id,"{metric["id"]}"),greater-or-equal(datetime,{config["start_date"]}),'
        f"less-than(timestamp,{until:.0f}))",
        "include": "profile",
        "sort": "datetime",
        "page[size]": "200",
    }
    with singer.Transformer() as transformer:
        for page in _pages(session, f"{config['base_url']}/api/events", query):
            extracted = utils.now()
            profiles = {each["id"]: each for each in page.get("included", [])}
            for event in page["data"]:
                record = transformer.transform(_record(event, profiles, metric), entry["schema"], selected)
                singer.write_record(stream, record, time_extracted=extracted)
                state = singer.write_bookmark(state, stream, "timestamp", record["timestamp"])
                count += 1
            singer.write_state(state)
    return count


def _record(event: Resource, profiles: dict[str, Resource], metric: Resource) -> dict[str, Any]:
    related = event["relationships"].get("profile", {}).get("data") or {}
    profile = profiles.get(related.get("id", ""))
    return {
        "id": event["id"],
        "type": event["type"],
        **event["attributes"],
        "metric_id": metric["id"],
        "metric_name": metric["attributes"]["name"],
        "profile_id": related.get("id"),
        "profile": [{"id": profile["id"], **profile["attributes"]}] if profile else [],
        "metric": [{"id": metric["id"], **metric["attributes"]}],
    }


if __name__ == "__main__":
    main(sys.argv[1])
