-- The suppression file of one UTC day: the numbers detected on it, in E.164 form, one a line, without a header. It goes
-- to suppression.csv in the folder where this runs.
--
--   duckdb -readonly output/warehouse.duckdb -cmd "SET VARIABLE day = '2026-03-01'" \
--     -f examples/sql/duckdb/daily_suppression.sql
--
-- Make it after a load that began when the day was over, or the last detections are missing. For everything since an
-- instant, set `day` to it in UTC, cast it to a timestamp and leave the last condition out.

COPY (
  SELECT DISTINCT '+' || regexp_replace(detection.phone, '[^0-9]', '', 'g') AS phone
  FROM braze.invalid_phone_numbers AS detection
  CROSS JOIN (SELECT CAST(coalesce(getvariable('day'), error('set the variable day')) AS date) AS day) AS asked
  WHERE
    detection.invalid_detected_at >= asked.day
    AND detection.invalid_detected_at < asked.day + INTERVAL '1 day'
  ORDER BY phone
) TO 'suppression.csv' (FORMAT csv, HEADER false);
