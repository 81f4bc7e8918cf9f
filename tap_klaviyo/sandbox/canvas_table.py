"""THE TABLE of revision 2026-10-15: campaigns of several channels, their audiences, messages, variations, translations.

Every campaign of the stable revision is here too, with its id and the ids of its messages. Others were made on the new
canvas: those of several channels, and of WhatsApp, which the stable revision cannot list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random

from tap_klaviyo.sandbox.items import Item
from tap_klaviyo.sandbox.shop import ABSENT, Row, Shop, changed_item
from tap_klaviyo.sandbox.shop_table import NAMED_GROUP, make_ulid, some_ids
from tap_klaviyo.sandbox.values import make_component

# Messages that the properties of events name.
NAMED_MESSAGES = ("01JD3K7R8W9XYZ0ABCDEFGHJKM", "01JD3K9T2V4XYZ0ABCDEFGHJKM")
_CANVAS_CAMPAIGNS = 12
_DETAILS: Mapping[str, str] = {
    "email": "EmailChannelDetails",
    "mobile_push": "PushChannelDetails",
    "sms": "SMSChannelDetails",
    "whatsapp": "WhatsAppChannelDetails",
}
# The channels of the messages of campaigns from the canvas, in turn; each campaign has the messages of one entry.
_CHANNELS: tuple[tuple[str, ...], ...] = (("email", "sms"), ("whatsapp",), ("mobile_push", "email", "whatsapp"), ())
_STATUSES: Mapping[str, str] = {"Draft": "draft", "Scheduled": "scheduled", "Sending": "sending", "Sent": "sent"}
_USAGES = ("email_sends", "sms_credits", "customer_hub_active_profiles", "reviews_orders")


def derived_id(kind: str, parent: str, place: int) -> str:
    """Return the id of a parent's child, the same each time."""
    return make_ulid(Random(f"{kind} {parent} {place}"), place)


def _message_channels(shop: Shop) -> Iterator[tuple[Item, str, str]]:
    """Yield each message's campaign, id and channel."""
    messages = {message.id: message for message in shop.neighbours.messages}
    for campaign in shop.neighbours.campaigns:
        for each in campaign.related["campaign-messages"] or ():
            if each in messages:
                yield campaign, each, campaign.hidden["messages.channel"]
    named = list(NAMED_MESSAGES)
    for place, campaign in enumerate(canvas_campaigns(shop)):
        for turn, channel in enumerate(_CHANNELS[place % len(_CHANNELS)]):
            yield campaign, named.pop(0) if named else derived_id("message", campaign.id, turn), channel


def canvas_campaigns(shop: Shop) -> Iterator[Item]:
    """Yield the campaigns that only this revision lists."""
    return shop.plain("campaign", shop.random("canvas"))


def _make_campaigns(shop: Shop, random: Random) -> Iterator[Item]:
    messages: dict[str, list[str]] = {}
    for campaign, message, _ in _message_channels(shop):
        messages.setdefault(campaign.id, []).append(message)
    for number, base in enumerate(shop.neighbours.campaigns):
        made = shop.item("campaign", number, base.id, random)
        yield _joined_campaign(with_base(made, base), messages.get(base.id, ()), _tags_of(base))
    tags = [tag.id for tag in shop.neighbours.tags]
    for number, made in enumerate(canvas_campaigns(shop)):
        definition = {**made.attributes["definition"], "builder": "canvas", "archived": number % 5 == 4}
        canvas = changed_item(made, {"definition": definition})
        yield _joined_campaign(canvas, messages.get(made.id, ()), some_ids(random, tags, 2))


def with_base(made: Item, base: Item) -> Item:
    """Return a campaign with what the stable revision says of it too."""
    own = base.attributes
    definition = {
        **made.attributes["definition"],
        "name": own["name"],
        "archived": own["archived"],
        "builder": "wizard",
    }
    dates = {name: own[name] for name in ("created_at", "updated_at")}
    return _with_hidden(changed_item(made, {"definition": definition, **dates}))


def _with_hidden(campaign: Item) -> Item:
    definition = campaign.attributes["definition"]
    names = {name: definition.get(name) for name in ("name", "archived", "builder")}
    return replace(campaign, hidden={**campaign.hidden, **names})


def _joined_campaign(campaign: Item, messages: Sequence[str], tags: Sequence[str]) -> Item:
    audiences = _audience_ids(campaign.id)
    return _with_hidden(
        changed_item(campaign, campaign_audiences=audiences, campaign_messages=tuple(messages), tags=tuple(tags))
    )


def _tags_of(campaign: Item) -> Sequence[str]:
    return campaign.related["tags"] or ()


def _audience_ids(campaign_id: str) -> tuple[str, ...]:
    count = 1 + sum(map(ord, campaign_id)) % 2
    return tuple(derived_id("audience", campaign_id, place) for place in range(count))


def _make_audiences(shop: Shop, random: Random) -> Iterator[Item]:
    groups = [*shop.neighbours.lists, NAMED_GROUP]
    number = 0
    for campaign in shop.items("campaign"):
        for each in _audience_ids(campaign.id):
            made = shop.item("campaign-audience", number, each, random)
            included = list(some_ids(random, groups, 3)) if number % 6 else None
            definition = {**made.attributes["definition"], "included": included, "excluded": [] if number % 3 else None}
            yield changed_item(made, {"definition": definition}, campaign=campaign.id, campaign_messages=None)
            number += 1


def _make_messages(shop: Shop, random: Random) -> Iterator[Item]:
    statuses = {each.id: each.attributes["status"] for each in shop.neighbours.campaigns}
    for number, (campaign, message_id, _) in enumerate(_message_channels(shop)):
        made = shop.item("campaign-message", number, message_id, random)
        status = _STATUSES.get(statuses.get(campaign.id, ""), "cancelled" if number % 2 else "sent")
        definition = {**made.attributes["definition"], "status": status}
        joined = changed_item(
            made,
            {"definition": definition},
            campaign=campaign.id,
            campaign_audience=_audience_ids(campaign.id)[0],
            campaign_variations=_variation_ids(message_id),
        )
        known = {"campaign_id": campaign.id, "name": definition.get("name"), "status": status}
        yield replace(joined, hidden={**joined.hidden, **known})


def _variation_ids(message_id: str) -> tuple[str, ...]:
    count = 1 + sum(map(ord, message_id)) % 3 // 2
    return tuple(derived_id("variation", message_id, place) for place in range(count))


def _make_variations(shop: Shop, random: Random) -> Iterator[Item]:
    images = shop.neighbours.ids("image")
    number = 0
    for campaign, message_id, channel in _message_channels(shop):
        for each in _variation_ids(message_id):
            made = shop.item("campaign-variation", number, each, random)
            details = make_component(_DETAILS[channel], shop.revision, number, shop.now, random)
            definition = {**made.attributes["definition"], "details": details}
            joined = changed_item(
                made,
                {"definition": definition},
                campaign_message=message_id,
                translation=ABSENT,
                image=images[number % len(images)] if channel == "mobile_push" else ABSENT,
            )
            yield replace(joined, hidden={**joined.hidden, "campaign.id": campaign.id})
            number += 1


def _make_translations(shop: Shop, random: Random) -> Iterator[Item]:
    targets = {
        "campaign-variation": shop.ids("campaign-variation"),
        "flow-message": shop.neighbours.ids("flow-message"),
        "template": shop.neighbours.ids("template"),
        "template-universal-content": shop.neighbours.ids("template-universal-content"),
    }
    for number, made in enumerate(shop.plain("translation", random)):
        kind = list(targets)[number % len(targets)]
        target = targets[kind][number % len(targets[kind])]
        joined = changed_item(made, **{each: target if each == kind else ABSENT for each in targets})
        known = {"resource_type": kind.replace("-", "_"), "related_resource_id": target}
        yield replace(joined, hidden={**joined.hidden, **known})


def _make_usages(shop: Shop, random: Random) -> Iterator[Item]:
    for number, name in enumerate(_USAGES):
        yield shop.item("billing-usage", number, name, random)


CANVAS_TABLE: Mapping[str, Row] = {
    "billing-usage": Row(0, make_ulid, _make_usages),
    "campaign": Row(_CANVAS_CAMPAIGNS, make_ulid, _make_campaigns),
    "campaign-audience": Row(0, make_ulid, _make_audiences),
    "campaign-message": Row(0, make_ulid, _make_messages),
    "campaign-variation": Row(0, make_ulid, _make_variations),
    "translation": Row(22, make_ulid, _make_translations),
}
