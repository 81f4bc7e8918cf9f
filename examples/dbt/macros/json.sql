{# What PostgreSQL and DuckDB write differently about JSON. A path is a list of names that lead into objects. #}

{% macro json_text(column, path) %}{{ adapter.dispatch('json_text', 'tap_klaviyo')(column, path) }}{% endmacro %}

{% macro default__json_text(column, path) -%}
to_jsonb({{ column }}) #>> '{ {%- for name in path -%} "{{ name }}"{{ ',' if not loop.last }} {%- endfor -%} }'
{%- endmacro %}

{% macro duckdb__json_text(column, path) -%}
({{ column }} ->> '${% for name in path %}."{{ name }}"{% endfor %}')
{%- endmacro %}


{# The first element of an array, as JSON; null if there is none. Some targets load arrays as jsonb, some as jsonb[]. #}
{% macro json_first(column) %}{{ adapter.dispatch('json_first', 'tap_klaviyo')(column) }}{% endmacro %}

{% macro default__json_first(column) %}(to_jsonb({{ column }}) -> 0){% endmacro %}

{% macro duckdb__json_first(column) %}({{ column }} -> '$[0]'){% endmacro %}


{# What to join a table with so that it has a row for each element of an array, in the column `each.item`. #}
{% macro json_elements(column) %}{{ adapter.dispatch('json_elements', 'tap_klaviyo')(column) }}{% endmacro %}

{% macro default__json_elements(column) -%}
cross join lateral jsonb_array_elements(
    case when jsonb_typeof(to_jsonb({{ column }})) = 'array' then to_jsonb({{ column }}) end
) as each(item)
{%- endmacro %}

{% macro duckdb__json_elements(column) -%}
cross join lateral unnest(cast({{ column }} as json[])) as each(item)
{%- endmacro %}


{# A number, or null if the text is something else: Klaviyo takes any text for a latitude. #}
{% macro number_or_null(text) %}{{ adapter.dispatch('number_or_null', 'tap_klaviyo')(text) }}{% endmacro %}

{% macro default__number_or_null(text) -%}
case when {{ text }} ~ '^[+-]?[0-9]+([.][0-9]+)?$' then cast({{ text }} as double precision) end
{%- endmacro %}

{% macro duckdb__number_or_null(text) %}try_cast({{ text }} as double){% endmacro %}
