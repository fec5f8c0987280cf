"""dlt's declarative REST source, extract step only: it requests, tracks the cursor and writes JSON lines to disk."""

from __future__ import annotations

import argparse
import datetime as dt
import typing as t

import dlt
from dlt.sources.rest_api import rest_api_source

PAGE_SIZE = 500
DAY = len("2026-03-01")


def incremental(args: argparse.Namespace) -> list[dict[str, t.Any]]:
    """Return one resource that follows the cursor from run to run."""
    cursor = {
        "cursor_path": "invalid_detected_at",
        "initial_value": str(args.start),
        "start_param": "start_date",
        "convert": lambda value: value[:DAY],
    }
    return [resource("invalid_phone_numbers", {"end_date": str(args.end)}, incremental=cursor)]


def windows(args: argparse.Namespace) -> list[dict[str, t.Any]]:
    """Return a resource for each of several date windows, to be extracted in parallel."""
    days = (args.end - args.start).days
    edges = [args.start + dt.timedelta(days=days * number // args.windows) for number in range(args.windows + 1)]
    return [
        {
            **resource(f"window_{start:%Y_%m_%d}", {"start_date": str(start), "end_date": str(end)}),
            "table_name": "invalid_phone_numbers",
        }
        for start, end in zip(edges, edges[1:])  # noqa: B905, RUF007  (pairs, on any Python)
    ]


def resource(name: str, params: dict[str, str], **endpoint: object) -> dict[str, t.Any]:
    """Return what resources have in common."""
    return {
        "name": name,
        "primary_key": ["phone", "invalid_detected_at"],
        "endpoint": {"path": "sms/invalid_phone_numbers", "params": params, "data_selector": "sms", **endpoint},
    }


def main() -> None:
    """Extract everything from `--start` up to `--end` into `--folder`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--start", type=dt.date.fromisoformat, required=True)
    parser.add_argument("--end", type=dt.date.fromisoformat, required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--windows", type=int, default=0, help="0: one resource, incremental")
    args = parser.parse_args()
    source = rest_api_source(
        {
            "client": {
                "base_url": args.url,
                "auth": {"type": "bearer", "token": args.key},
                "paginator": {"type": "offset", "limit": PAGE_SIZE, "total_path": None},
            },
            "resources": windows(args) if args.windows else incremental(args),
        },
        name="braze",
    )
    if args.windows:
        dlt.config["extract.workers"] = args.windows
        # In a resource's own declaration, `parallelized` changes nothing for resources without a parent (dlt 1.31).
        source.parallelize()
    dlt.pipeline("braze", pipelines_dir=args.folder).extract(source)


if __name__ == "__main__":
    main()
