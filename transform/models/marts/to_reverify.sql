-- Which numbers to verify with the customer: on the list because a carrier deactivated them, and not verified since.
--
-- Braze's advice: a deactivated number may belong to somebody else by now, so verify it before it is taken off the list.
select
  listed.workspace,
  listed.phone,
  listed.invalid_detected_at,
  coalesce(again.detections, 1) as detections
from {{ ref('current_list') }} as listed
left join {{ ref('found_invalid_again') }} as again
  on again.workspace = listed.workspace and again.phone = listed.phone
left join {{ ref('stg_braze__verified_numbers') }} as verified
  on verified.phone = listed.phone and verified.verified_at > listed.invalid_detected_at
where listed.reason = 'deactivated' and listed.is_e164 and verified.phone is null
