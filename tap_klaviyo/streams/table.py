"""THE TABLE: a stream is a row here and a schema file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from tap_klaviyo.klaviyo import endpoints as at
from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.records.projection import Related
from tap_klaviyo.streams.campaigns import MESSAGES
from tap_klaviyo.streams.events import ATTRIBUTIONS
from tap_klaviyo.streams.exclusions import complete_exclusions
from tap_klaviyo.streams.flows import sends_messages
from tap_klaviyo.streams.model import (
    CORE,
    KLAVIYO,
    AllMetrics,
    DailyCounts,
    Filters,
    Metrics,
    Parent,
    Report,
    Sizes,
    Split,
    Stream,
    TimeRange,
)

_TAGS = Related("tags", "tags", "tag")


def event_stream(name: str, *metric_names: str, group: str = CORE, integration: str | None = KLAVIYO) -> Stream:
    """Return the row of a stream of events: those of metrics with these names, of an integration or of all (None)."""
    return _timeline_stream(name, group, Metrics(metric_names, integration))


def _timeline_stream(name: str, group: str, split: Split) -> Stream:
    return Stream(
        name=name,
        group=group,
        endpoint=at.EVENTS,
        schema_name="event",
        replication_key="timestamp",
        range=TimeRange("datetime", fixed=True),
        split=split,
        related=(
            Related("profile", "profile", "profile", is_sparse=True),
            Related("profile_id", "profile", "profile", "id"),
            ATTRIBUTIONS,
        ),
        off=frozenset({"attributions"}),
    )


def _member_stream(name: str, parent: str, endpoint: Endpoint) -> Stream:
    key = f"{parent.removesuffix('s')}_id"
    return Stream(
        name=name,
        group="audience",
        endpoint=endpoint,
        key=(key, "profile_id"),
        replication_key="joined_group_at",
        range=TimeRange("joined_group_at", ordered=False),
        split=Parent(parent, key),
        id_field="profile_id",
    )


def _report_stream(name: str, endpoint: Endpoint, report: Report) -> Stream:
    metric = ("conversion_metric_id",) if report.has_conversions else ()
    return Stream(
        name=name,
        group="reports",
        endpoint=endpoint,
        key=(*report.groups, *metric, "period_start", "period_end"),
        replication_key="period_start",
        split=report,
    )


def _id_of(name: str, relationship: str = "", kind: str = "", is_named: bool = False) -> Related:
    """Return the field that holds the id which a to-one relationship points at."""
    relationship = relationship or name.replace("_", "-")
    return Related(f"{name}_id", relationship, kind or relationship, "id", is_named=is_named)


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

_BY_CAMPAIGN = Report("campaigns", ("campaign_id", "campaign_message_id", "send_channel"), has_conversions=True)
_BY_FLOW = Report("flows", ("flow_id", "flow_message_id", "send_channel"), has_conversions=True)
_BY_FORM = Report("forms", ("form_id",))
# Klaviyo has figures of segments from this day on.
_BY_SEGMENT = Report("segments", ("segment_id",), begins="2023-06-01")

# Archived flows and hidden images are left out of the list unless it is asked for them.
_ARCHIVED = Filters({f"equals(archived,{each})": {} for each in ("false", "true")}, changed_by="updated")
_HIDDEN = Filters({f"equals(hidden,{each})": {} for each in ("false", "true")}, changed_by="updated_at")

# The names before and after Klaviyo called SMS "Text Message" (July 2026) feed one stream, so no table is split.
STREAMS: tuple[Stream, ...] = (
    event_stream("receive", "Received Email"),
    event_stream("click", "Clicked Email"),
    event_stream("open", "Opened Email"),
    event_stream("bounce", "Bounced Email"),
    event_stream("dropped_email", "Dropped Email"),
    event_stream("mark_as_spam", "Marked Email as Spam"),
    event_stream("unsubscribe", "Unsubscribed from Email Marketing", "Unsubscribed"),
    event_stream("subscribe_list", "Subscribed to List"),
    event_stream("unsub_list", "Unsubscribed from List"),
    event_stream("update_email_preferences", "Updated Email Preferences"),
    event_stream("clicked_sms", "Clicked Text Message", "Clicked SMS"),
    event_stream(
        "consented_to_receive",
        "Subscribed to Text Messaging Marketing",
        "Subscribed to SMS Marketing",
        "Consented to Receive SMS",
    ),
    event_stream("failed_to_deliver", "Failed to Deliver Text Message", "Failed to Deliver SMS"),
    event_stream(
        "failed_to_deliver_automated_response",
        "Failed to Deliver Automated Response Text Message",
        "Failed to deliver Automated Response SMS",
    ),
    event_stream(
        "received_automated_response",
        "Received Automated Response Text Message",
        "Received Automated Response SMS",
    ),
    event_stream("received_sms", "Received Text Message", "Received SMS"),
    event_stream("sent_sms", "Sent Text Message", "Sent SMS"),
    event_stream(
        "unsubscribed_from_sms",
        "Unsubscribed from Text Messaging Marketing",
        "Unsubscribed from SMS Marketing",
        "Unsubscribed from SMS",
    ),
    Stream(name="lists", endpoint=at.LISTS, schema_name="list", related=(_TAGS,)),
    Stream(
        name="campaigns",
        endpoint=at.CAMPAIGNS,
        schema_name="campaign",
        split=_CHANNELS,
        related=(MESSAGES, _TAGS),
        omnichannel_from=at.OMNICHANNEL,
    ),
    Stream(
        name="global_exclusions",
        endpoint=at.SUPPRESSED_PROFILES,
        schema_name="global_exclusion",
        key=("email",),
        split=_SUPPRESSED,
        derived=dict.fromkeys(("reason", "timestamp", "suppressions", "list_suppressions"), ("subscriptions",)),
        off=frozenset({"predictive_analytics"}),
        finish=complete_exclusions,
    ),
    event_stream("subscribed_to_email", "Subscribed to Email Marketing", group="other_events"),
    event_stream(
        "subscribed_to_text_message_transactional",
        "Subscribed to Text Messaging Transactional",
        "Subscribed to SMS Transactional",
        group="other_events",
    ),
    event_stream(
        "unsubscribed_from_text_message_transactional",
        "Unsubscribed from Text Messaging Transactional",
        "Unsubscribed from SMS Transactional",
        group="other_events",
    ),
    _timeline_stream("events", "other_events", AllMetrics()),
    Stream(name="metrics", group="other_events", endpoint=at.METRICS),
    Stream(
        name="metric_properties",
        group="other_events",
        endpoint=at.METRIC_PROPERTIES,
        split=Parent("metrics", "metric_id"),
        off=frozenset({"sample_values"}),
    ),
    Stream(
        name="custom_metrics",
        group="other_events",
        endpoint=at.CUSTOM_METRICS,
        related=(Related("metrics", "metrics", "metric", is_sparse=True),),
    ),
    Stream(
        name="mapped_metrics",
        group="other_events",
        endpoint=at.MAPPED_METRICS,
        related=(_id_of("metric"), _id_of("custom_metric")),
    ),
    Stream(
        name="profiles",
        group="audience",
        endpoint=at.PROFILES_BY_UPDATE,
        replication_key="updated",
        range=TimeRange("updated", "greater-than"),
        off=frozenset({"predictive_analytics"}),
    ),
    _member_stream("list_members", "lists", at.LIST_MEMBERS),
    Stream(name="segments", group="audience", endpoint=at.SEGMENTS, related=(_TAGS,)),
    _member_stream("segment_members", "segments", at.SEGMENT_MEMBERS),
    Stream(name="push_tokens", group="audience", endpoint=at.PUSH_TOKENS, related=(_id_of("profile", is_named=True),)),
    Stream(name="flows", group="automation", endpoint=at.FLOWS, split=_ARCHIVED, related=(_TAGS,)),
    Stream(
        name="flow_actions",
        group="automation",
        endpoint=at.FLOW_ACTIONS,
        split=Parent("flows", "flow_id", included=Related("", "flow-actions", "flow-action")),
    ),
    Stream(
        name="flow_messages",
        group="automation",
        endpoint=at.FLOW_MESSAGES,
        split=Parent("flow_actions", "flow_action_id", only=sends_messages),
        related=(_id_of("template"),),
    ),
    Stream(
        name="campaign_messages",
        group="content",
        endpoint=at.CAMPAIGN_MESSAGES,
        related=(_id_of("campaign"), _id_of("campaign_audience")),
    ),
    Stream(
        name="campaign_audiences",
        group="content",
        endpoint=at.CAMPAIGN_AUDIENCES,
        split=Parent("omnichannel_campaigns", "campaign_id"),
    ),
    Stream(
        name="campaign_variations",
        group="content",
        endpoint=at.CAMPAIGN_VARIATIONS,
        split=Parent("campaign_messages", "campaign_message_id"),
        related=(_id_of("translation"), _id_of("image")),
    ),
    Stream(
        name="translations",
        group="content",
        endpoint=at.TRANSLATIONS,
        related=(
            _id_of("campaign_variation"),
            _id_of("flow_message"),
            _id_of("template"),
            _id_of("universal_content", "template-universal-content"),
        ),
    ),
    Stream(name="tags", group="content", endpoint=at.TAGS, related=(_id_of("tag_group"),)),
    Stream(name="tag_groups", group="content", endpoint=at.TAG_GROUPS),
    Stream(
        name="templates",
        group="content",
        endpoint=at.TEMPLATES,
        replication_key="updated",
        range=TimeRange("updated"),
        off=frozenset({"definition"}),
    ),
    Stream(name="universal_content", group="content", endpoint=at.UNIVERSAL_CONTENT),
    Stream(
        name="images",
        group="content",
        endpoint=at.IMAGES,
        replication_key="updated_at",
        range=TimeRange("updated_at"),
        split=_HIDDEN,
    ),
    Stream(name="forms", group="content", endpoint=at.FORMS),
    Stream(name="form_versions", group="content", endpoint=at.FORM_VERSIONS, split=Parent("forms", "form_id")),
    Stream(name="web_feeds", group="content", endpoint=at.WEB_FEEDS),
    Stream(
        name="reviews",
        group="shop",
        endpoint=at.REVIEWS,
        replication_key="created",
        range=TimeRange("created", "greater-or-equal", "less-or-equal", fixed=True),
        related=(_id_of("catalog_item", "item", "catalog-item"),),
    ),
    Stream(
        name="catalog_items",
        group="shop",
        endpoint=at.CATALOG_ITEMS,
        related=(Related("variants", "variants", "catalog-variant", is_sparse=True),),
    ),
    Stream(name="catalog_variants", group="shop", endpoint=at.CATALOG_VARIANTS),
    Stream(name="catalog_categories", group="shop", endpoint=at.CATALOG_CATEGORIES),
    Stream(
        name="catalog_category_items",
        group="shop",
        endpoint=at.CATALOG_CATEGORY_ITEMS,
        key=("catalog_category_id", "catalog_item_id"),
        split=Parent("catalog_categories", "catalog_category_id"),
        id_field="catalog_item_id",
    ),
    Stream(name="coupons", group="shop", endpoint=at.COUPONS),
    Stream(
        name="coupon_codes",
        group="shop",
        endpoint=at.COUPON_CODES,
        split=Parent("coupons", "coupon_id", 'equals(coupon.id,"{coupon_id}")'),
        related=(_id_of("profile"),),
    ),
    Stream(name="accounts", group="settings", endpoint=at.ACCOUNTS),
    Stream(name="tracking_settings", group="settings", endpoint=at.TRACKING_SETTINGS),
    Stream(
        name="webhooks",
        group="settings",
        endpoint=at.WEBHOOKS,
        related=(Related("topics", "webhook-topics", "webhook-topic"),),
    ),
    Stream(name="data_sources", group="settings", endpoint=at.DATA_SOURCES),
    Stream(
        name="object_types",
        group="settings",
        endpoint=at.OBJECT_TYPES,
        related=(
            _id_of("current_schema", "current-schema", "object-schema", is_named=True),
            _id_of("draft_schema", "draft-schema", "object-schema", is_named=True),
        ),
    ),
    Stream(
        name="object_records",
        group="settings",
        endpoint=at.OBJECT_RECORDS,
        split=Parent("object_types", "object_type_id"),
    ),
    Stream(name="billing_usage", group="settings", endpoint=at.BILLING_USAGE),
    Stream(
        name="metric_aggregates",
        group="reports",
        endpoint=at.METRIC_AGGREGATES,
        key=("metric_id", "period_start", "period_end"),
        replication_key="period_start",
        split=DailyCounts(),
    ),
    Stream(
        name="list_sizes",
        group="reports",
        endpoint=at.LIST,
        key=("type", "id", "period_start"),
        replication_key="period_start",
        split=Sizes(),
    ),
    _report_stream("campaign_values_report", at.CAMPAIGN_VALUES, _BY_CAMPAIGN),
    _report_stream("flow_values_report", at.FLOW_VALUES, _BY_FLOW),
    _report_stream("flow_series_report", at.FLOW_SERIES, replace(_BY_FLOW, is_series=True)),
    _report_stream("form_values_report", at.FORM_VALUES, _BY_FORM),
    _report_stream("form_series_report", at.FORM_SERIES, replace(_BY_FORM, is_series=True)),
    _report_stream("segment_values_report", at.SEGMENT_VALUES, _BY_SEGMENT),
    _report_stream("segment_series_report", at.SEGMENT_SERIES, replace(_BY_SEGMENT, is_series=True)),
)

# What streams are listed under, and selected by, with what is in each.
GROUPS: Mapping[str, str] = MappingProxyType(
    {
        CORE: "Selected by default: the events of e-mails and text messages, lists, campaigns and suppressed profiles",
        "other_events": "All other events, and the metrics that they belong to",
        "audience": "Profiles, segments, and who is in which list or segment",
        "automation": "Flows, what they do and what they send",
        "content": "What campaigns send and to whom, templates, forms, images and tags",
        "shop": "The shop's catalog, coupons and reviews",
        "reports": "What messages, forms and segments achieved, and counts of events, by month or by day",
        "settings": "The account's settings and custom objects",
    }
)

# Streams that are read for others, and that no catalog has: the campaigns of the revision that made them omnichannel.
PARENTS: tuple[Stream, ...] = (
    Stream(
        name="omnichannel_campaigns",
        group="content",
        endpoint=at.OMNICHANNEL_CAMPAIGNS,
        schema_name="campaign",
        split=Filters({f"equals(archived,{each})": {} for each in ("false", "true")}, changed_by="updated_at"),
    ),
)

BY_NAME: Mapping[str, Stream] = MappingProxyType({stream.name: stream for stream in (*STREAMS, *PARENTS)})
