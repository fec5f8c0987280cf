-- Which numbers are on the list, since when and why: one row a number, its latest detection.
--
-- Braze spells numbers with or without `+`; the digits decide which number is meant.
-- row_to_json finds _sdc_deleted_at, in which target-postgres marks what a full run no longer saw, and finds nothing
-- where the loader has no such column (target-duckdb): there, numbers that left the list stay. On a table of millions
-- that has the column, _sdc_deleted_at IS NULL says the same in a tenth of the time.

SELECT
  phone,
  invalid_detected_at,
  reason
FROM (
  SELECT
    regexp_replace(phone, '[^0-9]', '', 'g') AS phone,
    invalid_detected_at,
    reason,
    row_number() OVER (
      PARTITION BY regexp_replace(phone, '[^0-9]', '', 'g')
      ORDER BY invalid_detected_at DESC, phone
    ) AS nth_latest
  FROM braze.invalid_phone_numbers AS detection
  WHERE (row_to_json(detection) ->> '_sdc_deleted_at') IS NULL
) AS detections
WHERE nth_latest = 1
ORDER BY invalid_detected_at DESC, phone;
