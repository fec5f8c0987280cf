-- The suppression file of one UTC day: the numbers detected on it that are still listed, in E.164 form, one a line,
-- without a header.
--
--   psql "$POSTGRES_URL" -q -v ON_ERROR_STOP=1 -v day=2026-03-01 -f examples/sql/postgres/daily_suppression.sql \
--     > suppression.csv
--
-- COPY to standard output, since \copy takes no variables and COPY to a file writes on the server. Make it after a load
-- that began when the day was over, or the last detections are missing. For everything since an instant, set `day` to
-- it in UTC, cast it to a timestamp and leave the last condition out.

COPY (
  SELECT DISTINCT '+' || regexp_replace(detection.phone, '[^0-9]', '', 'g') AS phone
  FROM braze.invalid_phone_numbers AS detection
  CROSS JOIN (SELECT CAST(:'day' AS date) AS day) AS asked
  WHERE
    detection._sdc_deleted_at IS NULL
    AND detection.invalid_detected_at >= asked.day
    AND detection.invalid_detected_at < asked.day + INTERVAL '1 day'
  ORDER BY phone
) TO STDOUT (FORMAT csv);
