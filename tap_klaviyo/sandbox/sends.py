"""The sends and views that reports count, by day and by group.

The ids of messages and forms determine the numbers. Messages are opened and clicked for five days after they were
sent, so the figures of the last days grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from zlib import crc32

from tap_klaviyo.sandbox.account import Account
from tap_klaviyo.sandbox.endpoints import OMNICHANNEL
from tap_klaviyo.sandbox.filters import parse_moment
from tap_klaviyo.sandbox.items import Item
from tap_klaviyo.sandbox.templates import mixed_bits

_DAY = 86_400
# Klaviyo's usual window for attributing a conversion to an e-mail.
_ATTRIBUTED = 5 * _DAY
_CHANNELS: Mapping[str, str] = {
    "push": "push-notification",
    "Email": "email",
    "SMS": "sms",
    "Push": "push-notification",
}

_SENT = ("Sending", "Sent", "Variations Sent")

Groups = Mapping[str, str | tuple[str, ...]]
Counts = dict[str, float]


@dataclass(frozen=True)
class Counted:
    """Counts that belong to one second, with the groups that they can be reported by."""

    second: int
    groups: Groups
    counts: Counts


def campaign_sends(account: Account, start: float, end: float, now: float, metric: str) -> Iterator[Counted]:
    """Yield the messages that campaigns sent from `start` to `end` (epoch seconds), as known `now`.

    Campaigns of the stable revision count if they were sent, on the day for which they were scheduled.
    """
    variations = account.holdings.children("campaign-variation", "campaign-message", OMNICHANNEL)
    for message in account.holdings.items_of("campaign-message", OMNICHANNEL):
        campaign_id = str(message.related["campaign"])
        second = _send_second(account, campaign_id, message)
        if second is None or not start <= second < min(end, now):
            continue
        campaign = account.holdings.item("campaign", campaign_id, OMNICHANNEL)
        own = variations.get(message.id, ())
        definition = own[0].attributes["definition"]
        channel = definition["details"]["channel"]
        groups = {
            "campaign_id": campaign_id,
            "campaign_message_id": message.id,
            "campaign_message_name": message.attributes["definition"].get("name") or "",
            "group": _first_group(account, campaign_id),
            "group_name": "",
            "send_channel": _CHANNELS.get(channel, channel),
            "text_message_format": "SMS" if channel == "sms" else "",
            "variation": own[0].id,
            "variation_name": definition.get("name") or "",
            **_tags_of(account, campaign),
        }
        yield Counted(second, groups, _message_counts(message.id, second, 400, channel, now, metric))


def _send_second(account: Account, campaign_id: str, message: Item) -> int | None:
    stable = account.holdings.item("campaign", campaign_id)
    if stable is not None:
        planned = stable.attributes["scheduled_at"] if stable.attributes["status"] in _SENT else None
    else:
        sent = message.attributes["definition"]["status"] == "sent"
        campaign = account.holdings.item("campaign", campaign_id, OMNICHANNEL)
        planned = campaign.attributes["created_at"] if sent and campaign else None
    second = parse_moment(planned) if planned else None
    return None if second is None else int(second)


def _first_group(account: Account, campaign_id: str) -> str:
    audiences = account.holdings.children("campaign-audience", "campaign", OMNICHANNEL).get(campaign_id, ())
    included = [each for audience in audiences for each in audience.attributes["definition"]["included"] or ()]
    return included[0] if included else ""


def _tags_of(account: Account, item: Item | None) -> Groups:
    ids = (item.related["tags"] or ()) if item else ()
    names = tuple(str(tag.attributes["name"]) for each in ids if (tag := account.holdings.item("tag", each)))
    return {"tag_id": tuple(ids), "tag_name": names}


def flow_sends(account: Account, start: float, end: float, now: float, metric: str) -> Iterator[Counted]:
    """Yield the messages that flows sent, most of them daily; the arguments are those of `campaign_sends`."""
    actions = {action.id: action for action in account.holdings.items_of("flow-action")}
    for message in account.holdings.items_of("flow-message"):
        flow = account.holdings.item("flow", str(actions[str(message.related["flow-action"])].related["flow"]))
        if flow is None:
            continue
        channel = _CHANNELS.get(message.attributes["channel"] or "Email", "email")
        groups = {
            "flow_id": flow.id,
            "flow_name": flow.attributes["name"] or "",
            "flow_message_id": message.id,
            "flow_message_name": (message.attributes["definition"] or {}).get("name") or "",
            "send_channel": channel,
            "text_message_format": "SMS" if channel == "sms" else "",
            "variation": "",
            "variation_name": "",
            **_tags_of(account, flow),
        }
        created = parse_moment(message.attributes["created"] or "") or start
        for second in _most_days(message.id, max(start, created), min(end, now)):
            yield Counted(second, groups, _message_counts(message.id, second, 12, channel, now, metric))


def _most_days(name: str, start: float, end: float) -> Iterator[int]:
    """Yield a second of most days in a time."""
    seed = crc32(name.encode())
    for day in range(int(start // _DAY), int(end // _DAY) + 1):
        bits = mixed_bits(seed + day)
        second = day * _DAY + (bits >> 20) % _DAY
        if bits >> 50 & 3 and start <= second < end:
            yield second


def _message_counts(message_id: str, second: int, most: int, channel: str, now: float, metric: str) -> Counts:
    bits = mixed_bits(crc32(message_id.encode()) + second)
    recipients = 1 + bits % most
    bounced, failed = recipients * (bits >> 8 & 7) // 100, int(bits >> 12 & 63 == 1)
    delivered = max(0, recipients - bounced - failed)
    seen = min(1.0, (now - second) / _ATTRIBUTED)
    opens_unique = int(delivered * (bits >> 16 & 127) / 200 * seen)
    clicks_unique = opens_unique * (bits >> 24 & 15) // 40
    # Another conversion metric gives other conversions.
    conversions = clicks_unique * (crc32(metric.encode()) % 4 + 1) // 8
    texts = float(channel == "sms") * delivered
    unsubscribes = int(bits >> 28 & 31 == 3)
    return {
        "recipients": recipients,
        "bounced": bounced,
        "failed": failed,
        "delivered": delivered,
        "opens": opens_unique * 2,
        "opens_unique": opens_unique,
        "clicks": clicks_unique + clicks_unique // 3,
        "clicks_unique": clicks_unique,
        "conversions": conversions,
        "conversion_uniques": conversions - conversions // 5,
        "conversion_value": round(conversions * 39.95, 2),
        "unsubscribes": unsubscribes,
        "unsubscribe_uniques": unsubscribes,
        "spam_complaints": int(bits >> 34 & 255 == 9),
        "message_segment_count_sum": texts,
        "text_message_credit_usage_amount": texts,
        "text_message_spend": round(texts * 0.0079, 4),
    }


def form_views(account: Account, start: float, end: float, now: float) -> Iterator[Counted]:
    """Yield how often forms were viewed, closed and submitted, as known `now`."""
    for version in account.holdings.items_of("form-version"):
        form_id = str(version.related["form"])
        if account.holdings.item("form", form_id) is None:
            continue
        groups = {"form_id": form_id, "form_version_id": version.id}
        for second in _most_days(version.id, start, min(end, now)):
            bits = mixed_bits(crc32(version.id.encode()) + second)
            views = 1 + bits % 90
            submits = views * (bits >> 8 & 15) // 60
            yield Counted(second, groups, _form_counts(views, submits))


def _form_counts(views: int, submits: int) -> Counts:
    return {
        "viewed_form": views,
        "viewed_form_uniques": views - views // 6,
        "viewed_form_step": views + submits,
        "viewed_form_step_uniques": views,
        "closed_form": (views - submits) // 2,
        "closed_form_uniques": (views - submits) // 2,
        "qualified_form": views - views // 8,
        "qualified_form_uniques": views - views // 6,
        "submits": submits,
        "submitted_form_step": submits,
        "submitted_form_step_uniques": submits,
    }
