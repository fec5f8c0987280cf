-- Numbers that were verified with the customer, each with its latest verification; none where there is no such table.
{%- set verified = source('braze', 'verified_numbers') %}
{%- if there_is(verified) %}
select
  {{ phone('phone') }} as phone,
  max({{ utc_of_instant('verified_at') }}) as verified_at
from {{ verified }}
where phone is not null
group by 1
{%- else %}
select cast(null as {{ dbt.type_string() }}) as phone, cast(null as timestamp) as verified_at
where false
{%- endif %}
