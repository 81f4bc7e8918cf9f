"""Lists, campaigns, their messages and tags: small collections that are held in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from random import Random
from typing import Any
from uuid import UUID

from tap_klaviyo.sandbox.items import Item
from tap_klaviyo.sandbox.metrics import short_ids
from tap_klaviyo.sandbox.templates import time_stamp

_TAGS = ("popular", "VIP 🌟", "autumn", "do not send", "ümlaut")
STATUSES = (
    *("Sent", "Draft", "Scheduled", "Sending", "Cancelled", "Sent", "Variations Sent", "Adding Recipients", "Sent"),
    *("Cancelled: No Recipients", "Queued without Recipients", "Preparing to send", "Sending Segments", "Unknown"),
    *("Cancelled: Smart Sending", "Preparing to schedule", "Cancelled: Account Disabled", "Cancelled: Billing Limit"),
    *("Cancelled: Internal Error", "Cancelled: Misconfigured"),
)
_SCHEDULE = "2026-09-04T15:00:00+00:00"
_STRATEGIES: tuple[Mapping[str, Any], ...] = (
    {"method": "static", "datetime": _SCHEDULE, "options": {"is_local": False}},
    {"method": "immediate"},
    {
        "method": "static",
        "datetime": _SCHEDULE,
        "options": {"is_local": True, "send_past_recipients_immediately": False},
    },
    {"method": "throttled", "datetime": _SCHEDULE, "throttle_percentage": 20},
    {"method": "ab_test_campaign"},
    {"method": "smart_send_time", "date": "2026-09-04"},
    {"method": "static", "datetime": _SCHEDULE, "options": None},
    {"method": "unsupported"},
)
_TRACKING: tuple[Mapping[str, Any] | None, ...] = (
    {
        "add_tracking_params": True,
        "custom_tracking_params": [
            {"type": "dynamic", "value": "campaign_id", "name": "utm_medium"},
            {"type": "static", "value": "autumn", "name": "utm_campaign"},
        ],
        "is_tracking_clicks": True,
        "is_tracking_opens": None,
    },
    None,
    {"add_tracking_params": False, "custom_tracking_params": []},
)
_DEFINITIONS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "email": (
        {
            "channel": "email",
            "label": "Autumn",
            "content": {
                "subject": "Autumn 🍂",
                "preview_text": "For a few days only",
                "from_email": "hello@shop.example",
                "from_label": "Example",
                "reply_to_email": None,
                "cc_email": None,
                "bcc_email": None,
            },
        },
        {"channel": "email", "label": None, "content": {"subject": None, "from_email": "hello@shop.example"}},
    ),
    "sms": (
        {
            "channel": "sms",
            "content": {"body": "20% off", "media_url": None},
            "render_options": {
                "shorten_links": True,
                "add_org_prefix": True,
                "add_info_link": False,
                "add_opt_out_language": None,
            },
        },
    ),
    "mobile_push": (
        {
            "channel": "mobile_push",
            "notification_type": "standard",
            "content": {"title": "New", "body": "See what is new", "dynamic_image": None},
            "kv_pairs": {"screen": "sale"},
            "options": {"on_open": {"type": "open_app"}, "badge": {"display": False}, "play_sound": True},
        },
        {"channel": "mobile_push", "notification_type": "silent", "kv_pairs": {"refresh": "1"}},
    ),
}
CHANNELS = ("email", "sms", "email", "mobile_push", "email", "email", "email", "email")


ACCOUNT = Item(
    "account",
    "AbC123",
    {
        "test_account": True,
        "contact_information": {
            "default_sender_name": "Example",
            "default_sender_email": "hello@shop.example",
            "website_url": "https://shop.example",
            "organization_name": "Example",
            "street_address": dict.fromkeys(("address1", "address2", "city", "region", "country", "zip")),
        },
        "industry": None,
        "timezone": "US/Eastern",
        "preferred_currency": "USD",
        "public_api_key": "AbC123",
        "locale": "en-US",
    },
)


def build_tags(random: Random) -> tuple[Item, ...]:
    """Return the account's tags."""
    related = dict.fromkeys(("tag-group", "lists", "segments", "campaigns", "flows"))
    ids = [str(UUID(int=random.getrandbits(128), version=4)) for _ in _TAGS]
    return tuple(Item("tag", each, {"name": name}, related) for each, name in zip(ids, _TAGS, strict=True))


def build_lists(random: Random, count: int, tags: Sequence[Item]) -> tuple[Item, ...]:
    """Return the account's lists, by id."""
    items = []
    for number, list_id in enumerate(sorted(short_ids(random, count))):
        created = f"2022-{number % 12 + 1:02}-0{number % 9 + 1}T09:15:{number % 60:02}+00:00"
        known = number % 13 != 7
        attributes = {
            "name": ("Newsletter 📰" if number % 5 == 3 else f"List {number}") if known else None,
            "created": created if known else None,
            "updated": f"2026{created[4:]}" if known else None,
            "opt_in_process": ("double_opt_in", "single_opt_in")[number % 2] if known else None,
        }
        related = {"profiles": None, "tags": _some_of(random, tags, number % 3), "flow-triggers": ()}
        items.append(Item("list", list_id, attributes, related))
    return tuple(items)


def build_campaigns(
    random: Random, count: int, now: int, tags: Sequence[Item], lists: Sequence[Item]
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Return the account's campaigns, by id, and their messages."""
    old = short_ids(random, count // 4)
    new = [f"01J{random.getrandbits(110):023X}"[:26] for _ in range(count - len(old))]
    campaigns, messages = [], []
    for number, campaign_id in enumerate(sorted([*old, *new])):
        channel = CHANNELS[number % len(CHANNELS)]
        own = [_make_message(random, campaign_id, channel, each, now) for each in range(1 + (number % 7 == 3) * 2)]
        campaigns.append(_make_campaign(random, campaign_id, number, channel, now, own, tags, lists))
        messages += own
    return tuple(campaigns), tuple(messages)


def _make_campaign(
    random: Random,
    campaign_id: str,
    number: int,
    channel: str,
    now: int,
    messages: Sequence[Item],
    tags: Sequence[Item],
    lists: Sequence[Item],
) -> Item:
    created = now - random.randint(10**6, 9 * 10**7)
    status = STATUSES[number % len(STATUSES)]
    attributes = {
        "name": "Herbst 🍂 & <mehr>" if number % 17 == 4 else f"Campaign {number}",
        "status": status,
        "archived": number % 5 == 4,
        "audiences": {"included": list(_some_of(random, lists, 1)), "excluded": None if number % 3 else []},
        # Klaviyo's document dropped ignore_unsubscribes in revision 2025-01-15; it is still sent.
        "send_options": {"use_smart_sending": number % 2 == 0, "ignore_unsubscribes": False} if number % 4 else {},
        "tracking_options": _TRACKING[number % len(_TRACKING)],
        "send_strategy": _STRATEGIES[number % len(_STRATEGIES)],
        "created_at": _precise_time(random, created),
        "scheduled_at": None if status == "Draft" else _precise_time(random, created + 5000),
        "updated_at": _precise_time(random, created + 9000),
        "send_time": _SCHEDULE if status == "Sent" else None,
    }
    related = {"campaign-messages": tuple(each.id for each in messages), "tags": _some_of(random, tags, number % 3)}
    return Item("campaign", campaign_id, attributes, related, {"messages.channel": channel})


def _make_message(random: Random, campaign_id: str, channel: str, number: int, now: int) -> Item:
    definitions = _DEFINITIONS[channel]
    bits = random.getrandbits(110)
    attributes = {
        "definition": None if bits % 37 == 5 else definitions[bits % len(definitions)],
        "send_times": [{"datetime": _SCHEDULE, "is_local": number == 1}] if bits % 3 else [],
        "created_at": _precise_time(random, now - bits % 10**7),
        "updated_at": None if bits % 5 == 2 else _precise_time(random, now - bits % 10**6),
    }
    related: dict[str, str | tuple[str, ...] | None] = {"campaign": campaign_id, "template": None, "image": None}
    if channel == "email":
        related["template"] = short_ids(random, 1)[0]
    elif channel == "mobile_push":
        related["image"] = str(bits % 10**8)
    return Item("campaign-message", f"01K{bits:023X}"[:26], attributes, related)


def _some_of(random: Random, items: Sequence[Item], count: int) -> tuple[str, ...]:
    return tuple(each.id for each in random.sample(list(items), min(count, len(items))))


def _precise_time(random: Random, second: int) -> str:
    moment = time_stamp(second).decode()
    return f"{moment[:19]}.{random.randrange(10**6):06}{moment[19:]}"


def without_ids(items: Iterable[Item], ids: Collection[str]) -> tuple[Item, ...]:
    """Return the items without those that have some ids."""
    return tuple(item for item in items if item.id not in ids)
