with metrics as (
    {{ loaded('metrics') }}
)

select
    id,
    name,
    created,
    updated,
    {{ json_text('integration', ['id']) }} as integration_id,
    {{ json_text('integration', ['name']) }} as integration_name,
    -- The category of an app is an object, that of any other integration is text.
    coalesce(
        {{ json_text('integration', ['category', 'category']) }},
        {{ json_text('integration', ['category']) }}
    ) as integration_category,
    {{ loaded_at('metrics') }} as _fivetran_synced
from metrics
