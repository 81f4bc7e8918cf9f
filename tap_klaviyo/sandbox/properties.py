"""The event properties of each family of metrics, in variants that resemble what real senders send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tap_klaviyo.sandbox.templates import text_slot, value_slot

NULL = 15
VARIANTS = 16

_EMAIL: Mapping[str, Any] = {
    "Subject": "Our autumn sale begins, up to 20% off",
    "Campaign Name": "Autumn sale",
    "Email Domain": "mail.example",
    "Inbox Provider": "Gsuite",
    "Recipient Email Address": text_slot("email"),
    "$message": "01JD3K7R8W9XYZ0ABCDEFGHJKM",
    "$flow": "XyZ123",
    "$_cohort$message_send_cohort": text_slot("second") + ":01JD3K7R8W9XYZ0ABCDEFGHJKM",
    "$ESP": 1,
    "$group_ids": ["Y6nRLr"],
    "$internal": {"IpPool": "shared", "Sending Domain": "send.example", "Preview Text": "For a few days only"},
    "$event_id": "01JD3K7R8W9XYZ0ABCDEFGHJKM:" + text_slot("number"),
}
_CLIENT: Mapping[str, Any] = {
    "Client Name": "Chrome Mobile",
    "Client Type": "mobile browser",
    "Client OS": "Android",
    "Client OS Family": "Linux",
    "Bot Click": False,
}
_SMS: Mapping[str, Any] = {
    "From Number": "+15550001111",
    "To Number": "+15559990000",
    "From Phone Region": "US",
    "To Phone Region": "US",
    "Message Body": "Example: 20% off until Sunday. Reply STOP to opt out",
    "Message Type": "campaign",
    "Message Name": "Autumn text",
    "Message Format": "SMS",
    "Segment Count": 1,
    "$usage_amount": 0.0079,
    "$message": "01JD3K9T2V4XYZ0ABCDEFGHJKM",
    "$event_id": "01JD3K9T2V4XYZ0ABCDEFGHJKM:" + text_slot("number"),
}
_FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "email": _EMAIL,
    "open": {**_EMAIL, **_CLIENT, "machine_open": True},
    "click": {
        **_EMAIL,
        **_CLIENT,
        "URL": "https://shop.example/sale?id=" + text_slot("number") + "&utm_source=klaviyo",
    },
    "bounce": {**_EMAIL, "Bounce Type": "Hard"},
    "list": {"List": "Newsletter", "$event_id": text_slot("number"), "Method": "API", "$value": 0},
    "sms": _SMS,
    "sms_click": {**_SMS, "URL": "https://shop.example/s/" + text_slot("number")},
    "sms_consent": {
        "From Number": "+15550001111",
        "Method": "Form",
        "form_id": "AbC123",
        "$event_id": text_slot("number"),
    },
    "sms_failure": {**_SMS, "Failure Source": "carrier", "Failure Type": "Device Unreachable"},
    "order": {
        "$value": value_slot("cents"),
        "$value_currency": "EUR",
        "Items": ["Lamp", "Chair"],
        "$event_id": text_slot("number"),
    },
}

_PECULIAR: Mapping[int, Mapping[str, Any]] = {
    10: {"Subject": "🎉 Für dich — 20 % auf alles", "名前": "花子", "Emoji 👩‍👩‍👧": "👍🏽"},
    11: {"with\0NUL": "in\0the\0text", "nested": {"key\0": ["\0", "ab\0"]}, "both": "\\\0 and \\u0000"},
    12: {"literal": "\\u0000 is not a NUL", "back\\u0000slash": "C:\\u0000", "quote": '"\\"\n\ttab'},
    13: {
        "big": 123456789012345678901234567890,
        "negative": -36893488147419103232,
        "edge": 18446744073709551616,
        "float": 0.1,
        "whole": 3.0,
        "small": 1.5e-7,
    },
    14: {"nested": [[1, [2, [3, {"deep": [None, True, {}]}]]], []], "$extra": {"lines": [{"sku": "A", "price": 9.99}]}},
}


def event_properties(family: str, variant: int, padding: int) -> dict[str, Any] | None:
    """Return the template of an event's properties.

    Args:
        family: the metric's family.
        variant: from 0 to VARIANTS - 1; an event of the variant NULL has no properties.
        padding: the number of characters to add under `$extra`.
    """
    if variant == NULL:
        return None
    found = {**_FAMILIES[family], "$variation": f"v{variant}", **_PECULIAR.get(variant, {})}
    return {**found, "$extra": {"padding": "x" * padding}} if padding else found


def variant_of(bits: int) -> int:
    """Return the variant of an event, chosen by some of its bits: usually a plain one, rarely NULL."""
    choice = bits & 63
    if choice < 10:
        return 10 + choice % 5
    return NULL if choice == 10 else choice % 10
