-- The list as it is: one row a number, by its latest detection that has not left.
with listed as (
  select
    *,
    row_number() over (partition by workspace, phone order by invalid_detected_at desc) as nth_latest
  from {{ ref('stg_braze__detections') }}
  where left_noticed_at is null
)

select workspace, phone, is_e164, calling_code, invalid_detected_at, reason
from listed
where nth_latest = 1
