-- Which numbers were found invalid two times or more: those to look into before they are verified once more.
select
  workspace,
  phone,
  count(*) as detections,
  min(invalid_detected_at) as first_detected_at,
  max(invalid_detected_at) as last_detected_at,
  {{ days_between('min(invalid_detected_at)', 'max(invalid_detected_at)') }} as days_between
from {{ ref('stg_braze__detections') }}
group by 1, 2
having count(*) > 1
