-- Which numbers were detected again after they had been taken off the list: those to look into before they are
-- verified once more.
--
-- Needs a history: detections that came and went before the first load are unknown. One instant under two spellings
-- is one detection. Days are counted between the dates, in UTC.

SELECT
  regexp_replace(phone, '[^0-9]', '', 'g') AS phone,
  count(DISTINCT invalid_detected_at) AS detections,
  min(invalid_detected_at) AS first_detected_at,
  max(invalid_detected_at) AS last_detected_at,
  CAST(max(invalid_detected_at) AS date) - CAST(min(invalid_detected_at) AS date) AS days_between
FROM braze.invalid_phone_numbers
GROUP BY 1
HAVING count(DISTINCT invalid_detected_at) > 1
ORDER BY detections DESC, phone;
