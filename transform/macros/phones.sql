{# What is one number is the tap's own rule: the digits, of a text that has only digits and what people put between them.
   Such a number is spelled +digits, in one way; any other text stands for itself. #}

{% macro phone(column) -%}
  case when {{ matches(column, is_written_as_number()) }} then '+' || {{ digits(column) }} else {{ column }} end
{%- endmacro %}

{% macro is_written_as_number() -%}
  ^[[:space:]]*[+]?[0-9[:space:]()./‐-―-]*[0-9][0-9[:space:]()./‐-―-]*$
{%- endmacro %}

{# By E.164: what other senders take, and Braze takes back. #}
{% macro is_e164(phone) -%}
  {{ matches(phone, '^[+][0-9]{7,15}$') }}
{%- endmacro %}

{# Calling codes are prefix-free, so that the digits alone tell where the code ends. #}
{% macro calling_code(phone) -%}
  {%- set two = [20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58,
                 60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98] -%}
  case
      when not {{ is_e164(phone) }} then null
      when substr({{ phone }}, 2, 1) in ('1', '7') then substr({{ phone }}, 1, 2)
      when substr({{ phone }}, 2, 2) in ('{{ two | join("', '") }}') then substr({{ phone }}, 1, 3)
      else substr({{ phone }}, 1, 4)
    end
{%- endmacro %}

{% macro matches(text, pattern) -%}
  {{ return(adapter.dispatch('matches')(text, pattern)) }}
{%- endmacro %}

{% macro default__matches(text, pattern) -%} {{ text }} ~ '{{ pattern }}' {%- endmacro %}
{% macro duckdb__matches(text, pattern) -%} regexp_matches({{ text }}, '{{ pattern }}') {%- endmacro %}
{% macro snowflake__matches(text, pattern) -%} regexp_like({{ text }}, '{{ pattern }}') {%- endmacro %}
{% macro bigquery__matches(text, pattern) -%} regexp_contains({{ text }}, r'{{ pattern }}') {%- endmacro %}

{% macro digits(text) -%}
  {{ return(adapter.dispatch('digits')(text)) }}
{%- endmacro %}

{# Postgres and DuckDB replace once, unless told otherwise. #}
{% macro default__digits(text) -%} regexp_replace({{ text }}, '[^0-9]', '', 'g') {%- endmacro %}
{% macro snowflake__digits(text) -%} regexp_replace({{ text }}, '[^0-9]', '') {%- endmacro %}
{% macro bigquery__digits(text) -%} regexp_replace({{ text }}, r'[^0-9]', '') {%- endmacro %}
