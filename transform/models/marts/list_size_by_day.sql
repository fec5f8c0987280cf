-- How many numbers came and went on each day, and how many the list held at its end.
--
-- A number that is found invalid again is counted once: its older detection ends where the newer begins. A departure is
-- counted on the day on which it was noticed.
with spans as (
  select
    workspace,
    detected_on,
    left_noticed_at,
    lead(invalid_detected_at) over (partition by workspace, phone order by invalid_detected_at) as found_again_at
  from {{ ref('stg_braze__detections') }}
),

changes as (
  select workspace, detected_on as day, 1 as came, 0 as went
  from spans
  union all
  select
    workspace,
    cast(
      case
        when found_again_at is null or left_noticed_at < found_again_at then left_noticed_at
        else found_again_at
      end as date
    ) as day,
    0 as came,
    1 as went
  from spans
  where left_noticed_at is not null or found_again_at is not null
),

by_day as (
  select workspace, day, sum(came) as came, sum(went) as went
  from changes
  group by 1, 2
)

select
  day,
  workspace,
  came,
  went,
  sum(came - went) over (partition by workspace order by day rows unbounded preceding) as numbers
from by_day
