"""What only the flows need: which of their actions send messages; pure."""

from __future__ import annotations

from tap_klaviyo.klaviyo.json_values import decode_object, decode_text
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.records.objects import attribute_value

# Klaviyo answers for every action, with an empty list for those that send nothing.
_SENDS = "send-"


def sends_messages(action: Resource) -> bool:
    """Return whether a flow's action may have messages: if it does not say what it does, it counts as one that does."""
    definition = decode_object(attribute_value(action, "definition")) or {}
    kind = decode_text(definition.get("type"))
    return kind is None or kind.startswith(_SENDS)
