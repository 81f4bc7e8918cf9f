with events as (
    {{ loaded('events') }}
),

campaigns as (
    {{ loaded('campaigns') }}
),

-- An event names the message that it is about; the campaign is the one that has this message.
messages as (
    select
        {{ json_text('each.item', ['id']) }} as message_id,
        min(campaigns.id) as campaign_id
    from campaigns
    {{ json_elements('campaigns.campaign_messages') }}
    group by 1
),

named as (
    select
        *,
        {{ json_text('event_properties', ['$message']) }} as named_message_id,
        {{ json_text('event_properties', ['$flow']) }} as named_flow_id,
        {{ json_text('event_properties', ['$variation']) }} as named_variation_id,
        {{ json_first(column_or_null('events', 'attributions', 'json')) }} as attribution,
        {{ loaded_at('events') }} as loaded_at
    from events
)

select
    named.id,
    named.uuid,
    named.metric_id,
    named.metric_name as type,
    named.profile_id as person_id,
    named.datetime as datetime,
    named.datetime as timestamp,
    -- An event about a message belongs to that message; any other, such as an order, to what Klaviyo attributes it to.
    case
        when named.named_message_id is null then {{ json_text('named.attribution', ['campaign_id']) }}
        when named.named_flow_id is null then coalesce(messages.campaign_id, named.named_message_id)
    end as campaign_id,
    case
        when named.named_message_id is null then {{ json_text('named.attribution', ['flow_id']) }}
        else named.named_flow_id
    end as flow_id,
    case
        when named.named_message_id is null then {{ json_text('named.attribution', ['flow_message_id']) }}
        when named.named_flow_id is not null then named.named_message_id
    end as flow_message_id,
    coalesce(
        named.named_variation_id,
        {{ json_text('named.attribution', ['flow_message_variation_id']) }}
    ) as _variation,
    {{ json_text('named.event_properties', ['$value']) }} as property_value,
    cast(named.attribution as {{ dbt.type_string() }}) as property_attribution,
    named.loaded_at as _fivetran_synced
from named
left join messages on messages.message_id = named.named_message_id
