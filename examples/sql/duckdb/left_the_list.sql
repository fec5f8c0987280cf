-- Which detections are no longer on the list: those that a full run, loaded into a file of its own, did not find.
--
--   rm -f output/full.duckdb
--   TARGET_DUCKDB_FILEPATH=output/full.duckdb meltano run tap-braze-sms--full target-duckdb
--   duckdb -readonly output/warehouse.duckdb -cmd "ATTACH 'output/full.duckdb' AS full_run (READ_ONLY)" \
--     -f examples/sql/duckdb/left_the_list.sql
--
-- The full run needs the start_date and reason of the table. What was detected after its last record may have come while
-- it read, and is not judged.

SELECT
  regexp_replace(kept.phone, '[^0-9]', '', 'g') AS phone,
  kept.invalid_detected_at,
  kept.reason
FROM braze.invalid_phone_numbers AS kept
WHERE
  kept.invalid_detected_at <= (SELECT max(invalid_detected_at) FROM full_run.braze.invalid_phone_numbers)
  AND NOT EXISTS (
    SELECT 1
    FROM full_run.braze.invalid_phone_numbers AS listed
    WHERE
      listed.invalid_detected_at = kept.invalid_detected_at
      AND regexp_replace(listed.phone, '[^0-9]', '', 'g') = regexp_replace(kept.phone, '[^0-9]', '', 'g')
  )
ORDER BY kept.invalid_detected_at, phone;
