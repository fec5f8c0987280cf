{% test unique_together(model, columns) %}
-- Rows that share what should be theirs alone.
select {{ columns | join(', ') }}
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
