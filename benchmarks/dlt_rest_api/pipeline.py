"""dlt's declarative REST source: its extract step only, which writes JSON lines to disk, or all the way to a warehouse.

The way to a warehouse merges on the keys that the tap declares, by the file format that dlt loads fastest there.
"""

from __future__ import annotations

import argparse
import datetime as dt
import typing as t

import dlt
from dlt.sources.rest_api import rest_api_source

PAGE_SIZE = 500
DAY = len("2026-03-01")
#: Several times as fast as dlt's own choice for these, INSERT statements.
FILE_FORMATS = {"postgres": "csv", "duckdb": "parquet"}


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


def readable(record: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return a record with its time as dlt can read it: of the spellings that Braze's documents show, all but one."""
    if record["invalid_detected_at"][DAY] == " ":
        record["invalid_detected_at"] = record["invalid_detected_at"].replace(" +", "+")
    return record


def main() -> None:
    """Extract everything from `--start` up to `--end` into `--folder`, and load it where there is an `--into`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--start", type=dt.date.fromisoformat, required=True)
    parser.add_argument("--end", type=dt.date.fromisoformat, required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--windows", type=int, default=0, help="0: one resource, incremental")
    parser.add_argument("--into", choices=FILE_FORMATS, help="load it, too")
    parser.add_argument("--warehouse", help="its address, or its file")
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
    if args.into:
        for table in source.resources.values():
            table.apply_hints(columns={"invalid_detected_at": {"data_type": "timestamp"}})
            table.add_map(readable)
    if args.windows:
        dlt.config["extract.workers"] = args.windows
        # In a resource's own declaration, `parallelized` changes nothing for resources without a parent (dlt 1.31).
        source.parallelize()
    if not args.into:
        dlt.pipeline("braze", pipelines_dir=args.folder).extract(source)
        return
    destination = getattr(dlt.destinations, args.into)(credentials=args.warehouse)
    pipeline = dlt.pipeline("braze", pipelines_dir=args.folder, destination=destination, dataset_name="braze")
    loaded = pipeline.run(source, write_disposition="merge", loader_file_format=FILE_FORMATS[args.into])
    loaded.raise_on_failed_jobs()


if __name__ == "__main__":
    main()
