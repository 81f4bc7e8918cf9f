with flows as (
    {{ loaded('flows') }}
)

select
    id,
    name,
    status,
    archived,
    trigger_type,
    created,
    updated,
    {{ loaded_at('flows') }} as _fivetran_synced
from flows
