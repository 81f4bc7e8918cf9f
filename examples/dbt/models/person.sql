with profiles as (
    {{ loaded('profiles') }}
)

select
    id,
    email,
    phone_number,
    first_name,
    last_name,
    organization,
    title,
    created,
    updated,
    last_event_date,
    {{ json_text('location', ['address1']) }} as address_1,
    {{ json_text('location', ['address2']) }} as address_2,
    {{ json_text('location', ['city']) }} as city,
    {{ json_text('location', ['region']) }} as region,
    {{ json_text('location', ['zip']) }} as zip,
    {{ json_text('location', ['country']) }} as country,
    {{ json_text('location', ['timezone']) }} as timezone,
    {{ number_or_null(json_text('location', ['latitude'])) }} as latitude,
    {{ number_or_null(json_text('location', ['longitude'])) }} as longitude,
    {{ loaded_at('profiles') }} as _fivetran_synced
from profiles
