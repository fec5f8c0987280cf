-- Compiled from transform/models/marts/current_list.sql by `make sql`: change it there.
--
-- The list as it is: one row a number, by its latest detection that has not left.
with  __dbt__cte__stg_braze__detections as (
-- Every detection that was ever loaded, once, in one spelling and one form of time.
with loaded as (
  select
    cast('braze' as string) as workspace,
    loaded.phone as phone_as_loaded,
    case when regexp_contains(loaded.phone, r'^[[:space:]]*[+]?[0-9[:space:]()./‐-―-]*[0-9][0-9[:space:]()./‐-―-]*$') then '+' || regexp_replace(loaded.phone, r'[^0-9]', '') else loaded.phone end as phone,
    cast(loaded.invalid_detected_at as timestamp) as invalid_detected_at,
    coalesce(loaded.reason, 'unknown') as reason,
    cast(loaded._sdc_deleted_at as timestamp) as left_noticed_at
  from `braze`.`invalid_phone_numbers` as loaded
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
  regexp_contains(phone, r'^[+][0-9]{7,15}$') as is_e164,
  case
      when not regexp_contains(phone, r'^[+][0-9]{7,15}$') then null
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
), listed as (
  select
    *,
    row_number() over (partition by workspace, phone order by invalid_detected_at desc) as nth_latest
  from __dbt__cte__stg_braze__detections
  where left_noticed_at is null
)
select workspace, phone, is_e164, calling_code, invalid_detected_at, reason
from listed
where nth_latest = 1;
