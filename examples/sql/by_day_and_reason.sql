-- How many numbers were detected on each day, by reason. Numbers that have left the list since count all the same.
--
-- Days are UTC days, whatever the session's time zone: the column is a timestamp without one, in UTC. Where a loader
-- made it a timestamp with time zone, SET TIME ZONE 'UTC' first. A day without detections has no row.

SELECT
  CAST(invalid_detected_at AS date) AS day,
  coalesce(reason, 'unknown') AS reason,
  count(DISTINCT regexp_replace(phone, '[^0-9]', '', 'g')) AS numbers
FROM braze.invalid_phone_numbers
GROUP BY 1, 2
ORDER BY 1, 2;
