"""What only the campaigns need: the fields that their messages had in older revisions; pure."""

from __future__ import annotations

from msgspec import UNSET

from tap_klaviyo.klaviyo.json_values import decode_object
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.records.objects import set_value
from tap_klaviyo.records.projection import Related
from tap_klaviyo.records.structs import Record, RecordType


def complete_message(kind: RecordType, message: Record, findings: Findings) -> None:
    """Repeat beside a message's definition the fields that revisions before 2025-01-15 had there."""
    definition = decode_object(message.definition) or {}
    for name in ("label", "channel", "content", "render_options"):
        if name in definition and getattr(message, name) is UNSET:
            set_value(kind, message, name, definition[name], ("campaign-message",), findings)


MESSAGES = Related(
    "campaign_messages",
    "campaign-messages",
    "campaign-message",
    related=(Related("template_id", "template", "template", "id"), Related("image_id", "image", "image", "id")),
    finish=complete_message,
)
