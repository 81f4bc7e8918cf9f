"""What only the campaigns need: the fields that their messages had in older revisions; pure."""

from __future__ import annotations

from msgspec import UNSET

from tap_klaviyo.klaviyo.json_values import decode_object
from tap_klaviyo.records.projection import Related
from tap_klaviyo.records.structs import Record


def complete_message(message: Record) -> None:
    """Repeat beside a message's definition the fields that revisions before 2025-01-15 had there."""
    definition = decode_object(message.definition) or {}
    for name in ("label", "channel", "content", "render_options"):
        if name in definition and getattr(message, name) is UNSET:
            setattr(message, name, definition[name])


MESSAGES = Related(
    "campaign_messages",
    "campaign-messages",
    "campaign-message",
    related=(Related("template_id", "template", "template", "id"), Related("image_id", "image", "image", "id")),
    finish=complete_message,
)
