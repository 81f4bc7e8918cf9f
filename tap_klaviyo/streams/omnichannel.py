"""Campaigns of revision 2026-10-15, which send over several channels, as the flat rows of the ones before; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Raw

from tap_klaviyo.klaviyo.json_values import decode_array, decode_object, decode_text
from tap_klaviyo.klaviyo.resources import Resource

# Revision 2026-10-15 says "sent" where the ones before say "Sent". Of messages in several states, the first counts.
_STATES = ("sending", "scheduled", "draft", "sent", "cancelled")
# What revision 2026-10-15 calls the channels of a variation, as the ones before call them.
_CHANNELS = {"push": "mobile_push", "text": "sms", "sms": "sms", "email": "email", "whatsapp": "whatsapp"}
# The channel of a campaign whose messages have several.
SEVERAL_CHANNELS = "omnichannel"


@dataclass(frozen=True)
class Omnichannel:
    """A campaign as revision 2026-10-15 has it: its parts are resources, of which each has the attribute `definition`.

    Args:
        campaign: the campaign.
        audiences: who it is sent to.
        messages: what is sent, in order.
        variations: by the id of a message, its contents.
        tags: the campaign's tags.
        message_ids: the ids of all messages that the campaign names, in order, whether or not they came.
        tag_ids: the same for its tags.
    """

    campaign: Resource
    audiences: Sequence[Resource]
    messages: Sequence[Resource]
    variations: Mapping[str, Sequence[Resource]]
    tags: Sequence[Resource]
    message_ids: Sequence[str] = ()
    tag_ids: Sequence[str] = ()


def flat_page(campaigns: Sequence[Omnichannel]) -> bytes:
    """Return campaigns as a JSON:API document in the shape of revision 2026-07-15, with messages and tags included."""
    included = [_flat_message(message, each) for each in campaigns for message in each.messages]
    included += [_resource_object(tag.id, "tag", tag.attributes) for each in campaigns for tag in each.tags]
    return msgspec.json.encode(
        {"data": list(map(_flat_campaign, campaigns)), "included": included, "links": {"next": None}}
    )


def _flat_campaign(parts: Omnichannel) -> dict[str, Any]:
    attributes = decode_object(parts.campaign.attributes) or {}
    definition = decode_object(attributes.get("definition")) or {}
    first = _definition_of(parts.messages[0]) if parts.messages else {}
    options = decode_object(first.get("send_options")) or {}
    tracking = decode_object(first.get("tracking_options"))
    flat = {
        "name": definition.get("name"),
        "status": _state_of(parts.messages),
        "channel": _channel_name(parts),
        "archived": definition.get("archived"),
        "audiences": {name: _group_ids(parts.audiences, name) for name in ("included", "excluded")},
        "send_options": {"ignore_unsubscribes": options.get("is_ignoring_unsubscribes")},
        "tracking_options": None if tracking is None else _tracking_options(tracking),
        "send_strategy": {"method": options.get("send_strategy"), "datetime": options.get("send_time")},
        "created_at": attributes.get("created_at"),
        "updated_at": attributes.get("updated_at"),
        "send_time": options.get("send_time"),
    }
    related = {
        "campaign-messages": [{"type": "campaign-message", "id": id} for id in parts.message_ids],
        "tags": [{"type": "tag", "id": id} for id in parts.tag_ids],
    }
    return _resource_object(
        parts.campaign.id, "campaign", flat, {name: {"data": data} for name, data in related.items()}
    )


def _tracking_options(options: Mapping[str, Raw]) -> dict[str, Any]:
    return {
        "add_tracking_params": options.get("is_add_utm"),
        "is_tracking_clicks": options.get("is_tracking_clicks"),
        "is_tracking_opens": options.get("is_tracking_opens"),
    }


def _flat_message(message: Resource, parts: Omnichannel) -> dict[str, Any]:
    """Return a message with the content of its first variation; others are in the stream `campaign_variations`."""
    attributes, definition = decode_object(message.attributes) or {}, _definition_of(message)
    variations = parts.variations.get(message.id, ())
    details = decode_object(_definition_of(variations[0]).get("details")) if variations else None
    content = {name: value for name, value in (details or {}).items() if name not in ("channel", "template_id")}
    flat = {
        "definition": {"channel": _channel_of(details), "label": definition.get("name"), "content": content},
        "created_at": attributes.get("created"),
        "updated_at": attributes.get("updated"),
    }
    template = decode_text((details or {}).get("template_id"))
    related = {"template": {"data": {"type": "template", "id": template}}} if template else {}
    return _resource_object(message.id, "campaign-message", flat, related)


def _resource_object(
    id: str, kind: str, attributes: Any, related: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    return {"type": kind, "id": id, "attributes": attributes, "relationships": dict(related)}


def _definition_of(resource: Resource) -> Mapping[str, Raw]:
    return decode_object((decode_object(resource.attributes) or {}).get("definition")) or {}


def _state_of(messages: Sequence[Resource]) -> str | None:
    found = {decode_text(_definition_of(each).get("status")) for each in messages} - {None}
    ordered = [*(state for state in _STATES if state in found), *sorted(map(str, found.difference(_STATES)))]
    return ordered[0].capitalize() if ordered else None


def _channel_name(parts: Omnichannel) -> str | None:
    """Return the channel that all variations have, "omnichannel" for several, None for a campaign without any."""
    details = [
        decode_object(_definition_of(variation).get("details"))
        for message in parts.messages
        for variation in parts.variations.get(message.id, ())
    ]
    channels = {channel for each in details if (channel := _channel_of(each))}
    return SEVERAL_CHANNELS if len(channels) > 1 else next(iter(channels), None)


def _channel_of(details: Mapping[str, Raw] | None) -> str | None:
    name = decode_text((details or {}).get("channel"))
    return _CHANNELS.get(name, name) if name else None


def _group_ids(audiences: Sequence[Resource], name: str) -> list[str]:
    """Return the ids of the lists and segments of all audiences, each once."""
    values = [each for audience in audiences for each in decode_array(_definition_of(audience).get(name)) or ()]
    return list(dict.fromkeys(filter(None, map(decode_text, values))))
