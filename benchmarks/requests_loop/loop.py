"""What one writes in an afternoon: a session, a loop over 30-day windows, a loop over offsets, JSON lines out."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

PAGE_SIZE = 500
WINDOW = dt.timedelta(days=30)


def main() -> None:
    """Write every record from `--start` up to `--end` to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--start", type=dt.date.fromisoformat, required=True)
    parser.add_argument("--end", type=dt.date.fromisoformat, required=True)
    args = parser.parse_args()
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {args.key}"
    retry = Retry(total=8, backoff_factor=1, status_forcelist=[429, 500, 502, 503, 504])
    session.mount("http://", HTTPAdapter(max_retries=retry))
    first = args.start
    while first < args.end:
        end = min(first + WINDOW, args.end)
        offset = 0
        while True:
            params = {"start_date": str(first), "end_date": str(end), "limit": PAGE_SIZE, "offset": offset}
            response = session.get(f"{args.url}/sms/invalid_phone_numbers", params=params, timeout=60)
            response.raise_for_status()
            records = response.json()["sms"]
            sys.stdout.writelines(json.dumps(record) + "\n" for record in records)
            if len(records) < PAGE_SIZE:
                break
            offset += PAGE_SIZE
        first = end


if __name__ == "__main__":
    main()
