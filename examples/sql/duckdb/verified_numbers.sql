-- The numbers to hand back to Braze: verified with the customer after Braze last detected them. They go where
-- meltano.yml's job verified-to-braze reads them, if this runs in the project's folder:
--
--   duckdb -readonly output/warehouse.duckdb -f examples/sql/duckdb/verified_numbers.sql
--   meltano run verified-to-braze
--
-- Needs customers(phone, phone_verified_at), the time with its time zone. Load the list right before: a number that
-- Braze has detected again since its verification must stay there. The job asks Braze which ones are still listed.

COPY (
  SELECT '+' || verified.phone AS phone
  FROM (
    SELECT
      regexp_replace(phone, '[^0-9]', '', 'g') AS phone,
      max(phone_verified_at) AT TIME ZONE 'UTC' AS verified_at
    FROM customers
    GROUP BY 1
  ) AS verified
  INNER JOIN (
    SELECT regexp_replace(phone, '[^0-9]', '', 'g') AS phone, max(invalid_detected_at) AS detected_at
    FROM braze.invalid_phone_numbers
    GROUP BY 1
  ) AS listed ON listed.phone = verified.phone AND verified.verified_at > listed.detected_at
  ORDER BY 1
) TO 'output/verified.csv' (FORMAT csv, HEADER true);
