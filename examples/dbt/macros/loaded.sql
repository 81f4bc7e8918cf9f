{# The rows of one of the tap's tables, without those that the target marked as deleted. #}
{% macro loaded(table) -%}
select * from {{ source('tap_klaviyo', table) }}
{%- if tap_klaviyo.has_column(table, '_sdc_deleted_at') %}
where _sdc_deleted_at is null
{%- endif %}
{%- endmacro %}


{# A column, or null if the table lacks it: a field that is not selected, or one that the target adds by a setting. #}
{% macro column_or_null(table, column, type) -%}
{{ column if tap_klaviyo.has_column(table, column) else 'cast(null as ' ~ type ~ ')' }}
{%- endmacro %}


{# When a row was loaded. Without the target's column it is now: incremental models then look at every row again. #}
{% macro loaded_at(table) -%}
cast({{ '_sdc_batched_at' if tap_klaviyo.has_column(table, '_sdc_batched_at') else 'current_timestamp' }} as timestamp)
{%- endmacro %}


{% macro has_column(table, column) %}
{%- if execute -%}
    {%- set columns = adapter.get_columns_in_relation(source('tap_klaviyo', table)) -%}
    {{ return(column in columns | map(attribute='name') | list) }}
{%- endif -%}
{{ return(false) }}
{% endmacro %}
