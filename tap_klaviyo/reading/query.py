"""The query parameters of a stream's requests: the selection decides what Klaviyo is asked for; pure."""

from __future__ import annotations

from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.records.projection import Fields
from tap_klaviyo.streams.model import Stream


def query_parameters(stream: Stream, fields: Fields) -> dict[str, str]:
    """Return the parameters that every first page of the stream has: sort, include and sparse fieldsets."""
    query = {"sort": stream.endpoint.sort} if stream.endpoint.sort else {}
    if wanted := [each.relationship for each in stream.related if each.field in fields and each.shape != "id"]:
        query["include"] = ",".join(wanted)
    for each in stream.related:
        # Only profiles are so large that leaving out attributes pays.
        if each.type == "profile" and (profile := fields.get(each.field)):
            query["fields[profile]"] = ",".join(name for name in profile if name != "id") or "email"
    if stream.endpoint.additional:
        query |= _additional_fields(stream, fields)
    return query


def charged_endpoint(stream: Stream, fields: Fields) -> Endpoint:
    """Return the endpoint with the limit that the selected fields are charged to."""
    return stream.endpoint.charged_for(frozenset(fields))


def _additional_fields(stream: Stream, fields: Fields) -> dict[str, str]:
    """Return the sparse fieldset of profiles, with the fields that Klaviyo sends on request only."""
    sources = {source for attributes in stream.derived.values() for source in attributes}
    attributes = {name for name in fields if name not in stream.derived and name != "id"}
    asked = attributes | sources | set(stream.key) - {"id"}
    additional = [name for name in stream.endpoint.additional if name in asked]
    return {"additional-fields[profile]": ",".join(additional), "fields[profile]": ",".join(sorted(asked))}
