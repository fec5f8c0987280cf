{% test no_spike(model, days) %}
-- Of the last days: those on which far more numbers were found invalid than on a day of the four weeks before.
with by_day as (
  select workspace, day, sum(numbers) as numbers
  from {{ model }}
  group by 1, 2
),

compared as (
  select
    later.workspace,
    later.day,
    later.numbers,
    -- A day without has no row, and counts.
    coalesce(sum(earlier.numbers), 0) / 28.0 as usual
  from by_day as later
  left join by_day as earlier
    on earlier.workspace = later.workspace
    and earlier.day < later.day
    and {{ days_between('earlier.day', 'later.day') }} <= 28
  where {{ days_between('later.day', '(select max(day) from by_day)') }} < {{ days }}
    -- What is usual is known after four weeks.
    and {{ days_between('(select min(day) from by_day)', 'later.day') }} >= 28
  group by 1, 2, 3
)

select workspace, day, numbers, usual
from compared
where numbers >= {{ var('spike_detections') }} and numbers > {{ var('spike_factor') }} * usual
{% endtest %}
