{# A time in UTC, without a zone of its own. Loaders make the column so; where one made it an instant, it is turned. #}
{% macro utc(column) -%}
  {{ return(adapter.dispatch('utc')(column)) }}
{%- endmacro %}

{% macro default__utc(column) -%} cast({{ column }} as timestamp) {%- endmacro %}
{% macro snowflake__utc(column) -%} cast({{ column }} as timestamp_ntz) {%- endmacro %}

{# The same of a column that has a zone. #}
{% macro utc_of_instant(column) -%}
  {{ return(adapter.dispatch('utc_of_instant')(column)) }}
{%- endmacro %}

{% macro default__utc_of_instant(column) -%}
  cast({{ column }} as timestamp with time zone) at time zone 'UTC'
{%- endmacro %}
{% macro snowflake__utc_of_instant(column) -%}
  cast(convert_timezone('UTC', cast({{ column }} as timestamp_tz)) as timestamp_ntz)
{%- endmacro %}
{% macro bigquery__utc_of_instant(column) -%} cast({{ column }} as timestamp) {%- endmacro %}

{# Whole days from one time to another. #}
{% macro days_between(earlier, later) -%}
  {{ return(adapter.dispatch('days_between')(earlier, later)) }}
{%- endmacro %}

{% macro default__days_between(earlier, later) -%} cast({{ later }} as date) - cast({{ earlier }} as date) {%- endmacro %}
{% macro duckdb__days_between(earlier, later) -%} datediff('day', {{ earlier }}, {{ later }}) {%- endmacro %}
{% macro snowflake__days_between(earlier, later) -%} datediff(day, {{ earlier }}, {{ later }}) {%- endmacro %}
{% macro bigquery__days_between(earlier, later) -%}
  date_diff(date({{ later }}), date({{ earlier }}), day)
{%- endmacro %}
