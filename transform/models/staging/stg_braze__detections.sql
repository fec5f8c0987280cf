-- Every detection that was ever loaded, once, in one spelling and one form of time.
with loaded as (
{%- for entry in var('workspaces') %}
  {%- if not loop.first %}
  union all
  {%- endif %}
  select
    cast({{ entry.workspace }} as {{ dbt.type_string() }}) as workspace,
    loaded.phone as phone_as_loaded,
    {{ phone('loaded.phone') }} as phone,
    {{ utc('loaded.invalid_detected_at') }} as invalid_detected_at,
    coalesce(loaded.reason, 'unknown') as reason,
    {%- if entry.full_run %}
    case when listed.phone is null then full_run.read_up_to end as left_noticed_at
    {%- elif departures_are_marked() %}
    {{ utc('loaded._sdc_deleted_at') }} as left_noticed_at
    {%- else %}
    cast(null as timestamp) as left_noticed_at
    {%- endif %}
  from {{ loaded_table(entry) }} as loaded
  {%- if entry.full_run %}
  -- What was detected after the full run's last record may have come while it read, and is not judged.
  left join (select max({{ utc('invalid_detected_at') }}) as read_up_to from {{ full_run_table(entry) }}) as full_run
    on {{ utc('loaded.invalid_detected_at') }} <= full_run.read_up_to
  left join (
    select distinct {{ phone('phone') }} as phone, {{ utc('invalid_detected_at') }} as invalid_detected_at
    from {{ full_run_table(entry) }}
  ) as listed
    on listed.phone = {{ phone('loaded.phone') }} and listed.invalid_detected_at = {{ utc('loaded.invalid_detected_at') }}
  {%- endif %}
{%- endfor %}
),

-- A number that Braze spelled in two ways was loaded twice. It is on the list where either spelling is.
numbered as (
  select
    *,
    row_number() over (
      partition by workspace, phone, invalid_detected_at
      order by case when left_noticed_at is null then 0 else 1 end, phone_as_loaded
    ) as nth_spelling
  from loaded
)

select
  workspace,
  phone,
  {{ is_e164('phone') }} as is_e164,
  {{ calling_code('phone') }} as calling_code,
  invalid_detected_at,
  cast(invalid_detected_at as date) as detected_on,
  reason,
  left_noticed_at
from numbered
where nth_spelling = 1
