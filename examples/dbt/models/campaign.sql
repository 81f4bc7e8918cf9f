with campaigns as (
    {{ loaded('campaigns') }}
),

-- A campaign that tests variations has a message for each of them.
first_message as (
    select
        *,
        {{ json_first('campaign_messages') }} as message,
        {{ loaded_at('campaigns') }} as loaded_at
    from campaigns
)

select
    id,
    name,
    channel as campaign_type,
    lower(status) as status,
    status as status_label,
    archived,
    {{ json_text('message', ['content', 'subject']) }} as subject,
    {{ json_text('message', ['content', 'from_email']) }} as from_email,
    {{ json_text('message', ['content', 'from_label']) }} as from_name,
    {{ json_text('message', ['template_id']) }} as email_template_id,
    created_at as created,
    updated_at as updated,
    scheduled_at as scheduled,
    send_time,
    case when status = 'Sent' then send_time end as sent_at,
    loaded_at as _fivetran_synced
from first_message
