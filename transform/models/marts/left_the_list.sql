-- Which detections are no longer on the list, when that was noticed, and whether the number is on it again.
with known as (
  select
    *,
    max(case when left_noticed_at is null then 1 else 0 end) over (partition by workspace, phone) as still_listed
  from {{ ref('stg_braze__detections') }}
)

select
  workspace,
  phone,
  invalid_detected_at,
  reason,
  left_noticed_at,
  {{ days_between('invalid_detected_at', 'left_noticed_at') }} as days_listed,
  still_listed = 1 as is_listed_again
from known
where left_noticed_at is not null
