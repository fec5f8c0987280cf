"""Braze's invalid phone numbers into DuckDB with dlt, read by the tap's core, without Singer.

python braze_sms.py                          what was detected since the last run; at first, since START
python braze_sms.py 2025-01-01 2025-04-01    these days alone, whatever was loaded before
"""

from __future__ import annotations

import datetime as dt
import itertools
import sys
import typing as t

import dlt

from tap_braze_sms.braze.list_reader import read_records

if t.TYPE_CHECKING:
    from collections.abc import Iterator

START = dt.datetime(2025, 1, 1, tzinfo=dt.timezone.utc)

#: Seconds: a detection can become visible some minutes after its own time.
LOOKBACK = 3600

#: Records that dlt takes at once.
PAGE = 5_000


@dlt.resource(
    primary_key=("phone", "invalid_detected_at"),
    write_disposition="merge",
    columns={"reason": {"data_type": "text", "nullable": True}},
)
def invalid_phone_numbers(
    api_key: str = dlt.secrets.value,
    instance: str | None = None,
    api_url: str | None = None,
    # Without a key of its own, as the merge already knows what was read again.
    detected: dlt.sources.incremental[dt.datetime] = dlt.sources.incremental(  # noqa: B008 (dlt's way to declare one)
        "invalid_detected_at", initial_value=START, lag=LOOKBACK, primary_key=()
    ),
) -> Iterator[list[dict[str, t.Any]]]:
    """Yield numbers that Braze found invalid, oldest first."""
    records = read_records(
        api_key=api_key, instance=instance, api_url=api_url, since=detected.start_value, until=detected.end_value
    )
    while page := list(itertools.islice(records, PAGE)):
        yield [
            {**record, "invalid_detected_at": dt.datetime.fromisoformat(record["invalid_detected_at"])}
            for record in page
        ]


def main(days: list[str]) -> None:
    """Load what is new, or the days from the first up to the second."""
    resource = invalid_phone_numbers
    if len(days) == 1:
        sys.exit("takes two days, the first wanted and the first that is not, or none")
    if days:
        first, end = (dt.datetime.fromisoformat(day).replace(tzinfo=dt.timezone.utc) for day in days)
        # With an end, dlt neither uses nor moves what it remembers.
        resource = resource(
            detected=dlt.sources.incremental("invalid_detected_at", initial_value=first, end_value=end, primary_key=())
        )
    pipeline = dlt.pipeline("braze_sms", destination=dlt.destinations.duckdb("warehouse.duckdb"), dataset_name="braze")
    print(pipeline.run(resource))


if __name__ == "__main__":
    main(sys.argv[1:])
