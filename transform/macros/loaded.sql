{# The table of a workspace. Tables beside the first are named in the variable `workspaces` alone. #}
{% macro loaded_table(entry) -%}
  {%- set first = source('braze', 'invalid_phone_numbers') -%}
  {%- if entry.table == 'invalid_phone_numbers' -%} {{ first }}
  {%- else -%} {{ first.incorporate(path={'identifier': entry.table}) }}
  {%- endif -%}
{%- endmacro %}

{# The table of a full run, where the loader marks nothing by itself. #}
{% macro full_run_table(entry) -%}
  {{ api.Relation.create(database=entry.full_run.database, schema=entry.full_run.schema, identifier=entry.full_run.table) }}
{%- endmacro %}

{# Whether the loader marks what a full run no longer saw, in _sdc_deleted_at: all but target-duckdb do. #}
{% macro departures_are_marked() -%}
  {{ return(var('departures_marked', target.type != 'duckdb')) }}
{%- endmacro %}

{# Whether a table that not everybody has is there. Where SQL is only compiled, it is taken to be. #}
{% macro there_is(relation) -%}
  {{ return(not execute or not flags.INTROSPECT or load_relation(relation) is not none) }}
{%- endmacro %}
