-- Compiled from transform/models/marts/list_size_by_day.sql by `make sql`: change it there.
--
-- How many numbers came and went on each day, and how many the list held at its end.
--
-- A number that is found invalid again is counted once: its older detection ends where the newer begins. A departure is
-- counted on the day on which it was noticed.
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
), spans as (
  select
    workspace,
    detected_on,
    left_noticed_at,
    lead(invalid_detected_at) over (partition by workspace, phone order by invalid_detected_at) as found_again_at
  from __dbt__cte__stg_braze__detections
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
from by_day;
