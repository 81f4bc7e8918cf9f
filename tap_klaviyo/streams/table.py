"""THE TABLE: a stream is a row here and a schema file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tap_klaviyo.klaviyo.endpoints import CAMPAIGNS, EVENTS, LISTS, SUPPRESSED_PROFILES
from tap_klaviyo.records.projection import Related
from tap_klaviyo.streams.campaigns import MESSAGES
from tap_klaviyo.streams.events import ATTRIBUTIONS
from tap_klaviyo.streams.exclusions import complete_exclusions
from tap_klaviyo.streams.model import Filters, Metrics, Stream, TimeRange

_TAGS = Related("tags", "tags", "tag")
_BY_DATETIME = TimeRange("datetime")


def _event_stream(name: str, *metric_names: str) -> Stream:
    return Stream(
        name=name,
        endpoint=EVENTS,
        schema_name="event",
        replication_key="timestamp",
        range=_BY_DATETIME,
        split=Metrics(metric_names),
        related=(
            Related("profile", "profile", "profile"),
            Related("profile_id", "profile", "profile", "id"),
            ATTRIBUTIONS,
        ),
        off=frozenset({"attributions"}),
    )


# The endpoint lists nothing without a filter for the channel, and omits archived campaigns unless asked for them.
_CHANNELS = Filters(
    {
        f'and(equals(messages.channel,"{channel}"),equals(archived,{archived}))': {"channel": channel}
        for channel in ("email", "sms", "mobile_push")
        for archived in ("false", "true")
    },
    changed_by="updated_at",
)
# One query finds the suppressed profiles whatever the reason, also one that changes while they are read.
_SUPPRESSED = Filters(
    {"greater-or-equal(subscriptions.email.marketing.suppression.timestamp,1970-01-01T00:00:00Z)": {}}
)

# The names before and after Klaviyo called SMS "Text Message" (July 2026) feed one stream, so no table is split.
STREAMS: tuple[Stream, ...] = (
    _event_stream("receive", "Received Email"),
    _event_stream("click", "Clicked Email"),
    _event_stream("open", "Opened Email"),
    _event_stream("bounce", "Bounced Email"),
    _event_stream("dropped_email", "Dropped Email"),
    _event_stream("mark_as_spam", "Marked Email as Spam"),
    _event_stream("unsubscribe", "Unsubscribed from Email Marketing", "Unsubscribed"),
    _event_stream("subscribe_list", "Subscribed to List"),
    _event_stream("unsub_list", "Unsubscribed from List"),
    _event_stream("update_email_preferences", "Updated Email Preferences"),
    _event_stream("clicked_sms", "Clicked Text Message", "Clicked SMS"),
    _event_stream(
        "consented_to_receive",
        "Subscribed to Text Messaging Marketing",
        "Subscribed to SMS Marketing",
        "Consented to Receive SMS",
    ),
    _event_stream("failed_to_deliver", "Failed to Deliver Text Message", "Failed to Deliver SMS"),
    _event_stream(
        "failed_to_deliver_automated_response",
        "Failed to Deliver Automated Response Text Message",
        "Failed to deliver Automated Response SMS",
    ),
    _event_stream(
        "received_automated_response",
        "Received Automated Response Text Message",
        "Received Automated Response SMS",
    ),
    _event_stream("received_sms", "Received Text Message", "Received SMS"),
    _event_stream("sent_sms", "Sent Text Message", "Sent SMS"),
    _event_stream(
        "unsubscribed_from_sms",
        "Unsubscribed from Text Messaging Marketing",
        "Unsubscribed from SMS Marketing",
        "Unsubscribed from SMS",
    ),
    Stream(name="lists", endpoint=LISTS, schema_name="list", related=(_TAGS,)),
    Stream(
        name="campaigns",
        endpoint=CAMPAIGNS,
        schema_name="campaign",
        split=_CHANNELS,
        related=(MESSAGES, _TAGS),
    ),
    Stream(
        name="global_exclusions",
        endpoint=SUPPRESSED_PROFILES,
        schema_name="global_exclusion",
        key=("email",),
        split=_SUPPRESSED,
        derived=dict.fromkeys(("reason", "timestamp", "suppressions", "list_suppressions"), ("subscriptions",)),
        off=frozenset({"predictive_analytics"}),
        finish=complete_exclusions,
    ),
)

BY_NAME: Mapping[str, Stream] = MappingProxyType({stream.name: stream for stream in STREAMS})
