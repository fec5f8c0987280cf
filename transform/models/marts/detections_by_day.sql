-- How many numbers were found invalid on each day, by reason; also those that have left since. A day without has no row.
select
  detected_on as day,
  workspace,
  reason,
  count(distinct phone) as numbers
from {{ ref('stg_braze__detections') }}
group by 1, 2, 3
