-- How many numbers are on the list, by the country's calling code and reason.
select
  workspace,
  coalesce(calling_code, 'none') as calling_code,
  reason,
  count(*) as numbers
from {{ ref('current_list') }}
group by 1, 2, 3
