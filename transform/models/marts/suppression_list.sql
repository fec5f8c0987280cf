-- Which numbers no other sender should write to: one row a number, over all workspaces.
select
  phone,
  count(distinct workspace) as workspaces,
  max(invalid_detected_at) as last_detected_at,
  max(case when reason = 'deactivated' then 1 else 0 end) = 1 as is_deactivated
from {{ ref('current_list') }}
where is_e164
group by 1
