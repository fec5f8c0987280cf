-- Compiled from transform/models/marts/detections_by_day.sql by `make sql`: change it there.
--
with __dbt__cte__stg_braze__detections as (
-- Every detection that was ever loaded, once, in one spelling and one form of time.
with loaded as (
  select
    cast('braze' as TEXT) as workspace,
    loaded.phone as phone_as_loaded,
    case when regexp_matches(loaded.phone, '^[[:space:]]*[+]?[0-9[:space:]()./‐-―-]*[0-9][0-9[:space:]()./‐-―-]*$') then '+' || regexp_replace(loaded.phone, '[^0-9]', '', 'g') else loaded.phone end as phone,
    cast(loaded.invalid_detected_at as timestamp) as invalid_detected_at,
    coalesce(loaded.reason, 'unknown') as reason,
    cast(null as timestamp) as left_noticed_at
  from "braze"."invalid_phone_numbers" as loaded
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
  regexp_matches(phone, '^[+][0-9]{7,15}$') as is_e164,
  case
      when not regexp_matches(phone, '^[+][0-9]{7,15}$') then null
      when substr(phone, 2, 1) in ('1', '7') then substr(phone, 1, 2)
      when substr(phone, 2, 2) in ('20', '27', '30', '31', '32', '33', '34', '36', '39', '40', '41', '43', '44', '45', '46', '47', '48', '49', '51', '52', '53', '54', '55', '56', '57', '58', '60', '61', '62', '63', '64', '65', '66', '81', '82', '84', '86', '90', '91', '92', '93', '94', '95', '98') then substr(phone, 1, 3)
      else substr(phone, 1, 4)
    end as calling_code,
  invalid_detected_at,
  cast(invalid_detected_at as date) as detected_on,
  reason,
  left_noticed_at
from numbered
where nth_spelling = 1
) -- How many numbers were found invalid on each day, by reason; also those that have left since. A day without has no row.
select
  detected_on as day,
  workspace,
  reason,
  count(distinct phone) as numbers
from __dbt__cte__stg_braze__detections
group by 1, 2, 3;
