-- What share of the customers that have a phone have a number on the list.
--
-- Needs customers(customer_id, phone), a row for each phone; a customer with several counts once, and is affected when
-- one of them is on the list. Two customers who share a number are two.
-- Digits are compared with digits: a phone kept without its country code, or with 00 before it, matches nothing.

SELECT
  count(DISTINCT customer.customer_id) AS customers_with_phone,
  count(DISTINCT CASE WHEN listed.phone IS NOT NULL THEN customer.customer_id END) AS affected,
  CAST(
    100.0 * count(DISTINCT CASE WHEN listed.phone IS NOT NULL THEN customer.customer_id END)
    / nullif(count(DISTINCT customer.customer_id), 0) AS decimal(5, 2)
  ) AS percent_affected
FROM (
  SELECT customer_id, regexp_replace(phone, '[^0-9]', '', 'g') AS phone
  FROM customers
) AS customer
LEFT JOIN (
  SELECT regexp_replace(phone, '[^0-9]', '', 'g') AS phone
  FROM braze.invalid_phone_numbers AS detection
  -- Not what left the list; see current_list.sql.
  WHERE (row_to_json(detection) ->> '_sdc_deleted_at') IS NULL
) AS listed ON listed.phone = customer.phone
WHERE customer.phone <> '';
