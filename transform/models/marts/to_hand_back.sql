-- Which numbers to hand back to Braze: on the list, and verified with the customer after Braze last found them invalid.
select
  listed.workspace,
  listed.phone,
  listed.invalid_detected_at,
  verified.verified_at
from {{ ref('current_list') }} as listed
inner join {{ ref('stg_braze__verified_numbers') }} as verified
  on verified.phone = listed.phone and verified.verified_at > listed.invalid_detected_at
where listed.is_e164
