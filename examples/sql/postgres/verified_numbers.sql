-- The numbers to hand back to Braze: verified with the customer after Braze last detected them. A view, created once,
-- that meltano.yml's job verified-in-postgres-to-braze reads:
--
--   psql "$POSTGRES_URL" -v ON_ERROR_STOP=1 -f examples/sql/postgres/verified_numbers.sql
--   meltano run braze-to-postgres verified-in-postgres-to-braze
--
-- Needs customers(phone, phone_verified_at), the time with its time zone: the list's is UTC without one, and Postgres
-- would compare the two in the session's. The job reads what was verified since it last ran, so let it follow a load,
-- as above: a number whose detection is loaded only after a run that read later verifications would be passed over.

CREATE OR REPLACE VIEW braze.verified_numbers AS
SELECT
  '+' || verified.phone AS phone,
  verified.verified_at
FROM (
  SELECT regexp_replace(phone, '[^0-9]', '', 'g') AS phone, max(phone_verified_at) AS verified_at
  FROM customers
  GROUP BY 1
) AS verified
INNER JOIN (
  SELECT regexp_replace(phone, '[^0-9]', '', 'g') AS phone, max(invalid_detected_at) AS detected_at
  FROM braze.invalid_phone_numbers
  WHERE _sdc_deleted_at IS NULL
  GROUP BY 1
) AS listed ON listed.phone = verified.phone AND verified.verified_at AT TIME ZONE 'UTC' > listed.detected_at;
