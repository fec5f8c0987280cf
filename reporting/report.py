"""A page about the list in your warehouse: what was found invalid, how large the list is, what left it, the last runs.

The page needs nothing but itself: no script, no font, no network. It holds counts, never a number. Its figures are
those of the marts (transform/), read from their tables or, where there is no dbt, by the queries that dbt compiled from
them (examples/sql).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import html
import os
import sqlite3
import sys
import typing as t
from collections import Counter
from pathlib import Path

import charts

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Row = dict[str, t.Any]
    Ask = Callable[[str], list[Row]]

ROOT = Path(__file__).resolve().parent.parent
QUERIES = ROOT / "examples" / "sql"

#: What is shown of that which has no end.
CALLING_CODES, DEPARTURES, RUNS = 15, 10, 10
WEEK = dt.timedelta(days=7)

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 52rem; padding: 2rem 1rem 4rem; background: #f6f8fa; color: #1f2328;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0; }
p.about { color: #59636e; margin: .25rem 0 1.5rem; }
section, dl { background: #fff; border: 1px solid #d1d9e0; border-radius: 8px; margin: 0 0 1rem; overflow-x: auto; }
section.text { padding: 1rem 1.25rem; }
h2 { font-size: 1.15rem; margin: 0 0 .5rem; }
svg { display: block; max-width: 100%; height: auto; }
dl { display: flex; flex-wrap: wrap; padding: 1rem 1.25rem; gap: 1rem 2.5rem; }
dt { color: #59636e; font-size: .85rem; }
dd { margin: 0; font-size: 1.5rem; font-weight: 600; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid #d1d9e0; white-space: nowrap; }
th { color: #59636e; font-weight: 500; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
"""


class ReportError(Exception):
    """What is wrong, in one line."""


# Where the figures come from


@contextlib.contextmanager
def postgres(url: str) -> Iterator[Ask]:
    """Ask a Postgres; a URL as SQLAlchemy has it will do."""
    import psycopg  # noqa: PLC0415  (only where it is asked)
    from psycopg.rows import dict_row  # noqa: PLC0415

    scheme, _, rest = url.partition("://")
    url = f"{scheme.partition('+')[0]}://{rest}"
    try:
        with psycopg.connect(url, options="-c timezone=UTC", row_factory=dict_row) as connection:
            yield lambda sql: connection.execute(sql.encode()).fetchall()
    except psycopg.Error as error:
        raise ReportError(" ".join(str(error).split())) from None


@contextlib.contextmanager
def duckdb(file: str) -> Iterator[Ask]:
    """Ask a DuckDB file."""
    import duckdb as engine  # noqa: PLC0415  (it is not on every Python)

    try:
        with engine.connect(file, read_only=True) as connection:

            def ask(sql: str) -> list[Row]:
                cursor = connection.execute(sql)
                names = [name for name, *_ in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

            yield ask
    except engine.Error as error:
        raise ReportError(" ".join(str(error).split())) from None


class Marts:
    """The marts, from their tables or by their queries."""

    def __init__(self, ask: Ask, warehouse: str, schema: str | None) -> None:
        self.ask = ask
        self.warehouse = warehouse
        self.schema = schema

    def _of(self, mart: str) -> str:
        if self.schema:
            return f'"{self.schema}".{mart}'
        query = (QUERIES / self.warehouse / f"{mart}.sql").read_text(encoding="utf-8").rstrip().removesuffix(";")
        return f"(\n{query}\n) AS {mart}"

    def rows(self, mart: str, columns: str, rest: str = "") -> list[Row]:
        """Return rows of a mart, with days as YYYY-MM-DD."""
        found = self.ask(f"SELECT {columns} FROM {self._of(mart)} {rest}")  # noqa: S608  (no text of anybody else's)
        return [
            {name: value.isoformat() if isinstance(value, dt.date) else value for name, value in row.items()}
            for row in found
        ]

    def detections(self) -> list[Row]:
        """Return `day`, `reason`, `numbers`, over all workspaces."""
        return self.rows(
            "detections_by_day", "day, reason, cast(sum(numbers) AS int) AS numbers", "GROUP BY 1, 2 ORDER BY 1, 2"
        )

    def sizes(self) -> list[Row]:
        """Return `day`, `came`, `went`, `numbers` at its end, over all workspaces."""
        changes = self.rows(
            "list_size_by_day",
            "day, cast(sum(came) AS int) AS came, cast(sum(went) AS int) AS went",
            "GROUP BY 1 ORDER BY 1",
        )
        numbers = 0
        for change in changes:
            numbers += change["came"] - change["went"]
            change["numbers"] = numbers
        return changes

    def departures(self) -> list[Row]:
        """Return `day` of notice, `reason`, `numbers`, how many are listed `again`, and how many `days` they were."""
        columns = """
            cast(left_noticed_at AS date) AS day, reason, count(*) AS numbers,
            cast(sum(CASE WHEN is_listed_again THEN 1 ELSE 0 END) AS int) AS again,
            cast(round(avg(days_listed)) AS int) AS days
        """
        return self.rows("left_the_list", columns, "GROUP BY 1, 2 ORDER BY 1 DESC, 3 DESC")

    def calling_codes(self) -> list[Row]:
        """Return `name`, `numbers`, the most first."""
        columns = "calling_code AS name, cast(sum(numbers) AS int) AS numbers"
        return self.rows("list_by_calling_code", columns, "GROUP BY 1 ORDER BY 2 DESC, 1")


def runs(database: Path) -> list[Row]:
    """Return the last runs that Meltano knows of: `job`, `started_at`, `seconds`, `state`."""
    with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute(
            """
            SELECT job_name, started_at, ended_at, state FROM runs
            WHERE job_name LIKE '%braze%' ORDER BY started_at DESC LIMIT ?
            """,
            (RUNS,),
        ).fetchall()
    listed = []
    for run in found:
        started, ended = (dt.datetime.fromisoformat(run[at]) if run[at] else None for at in ("started_at", "ended_at"))
        listed.append(
            {
                "job": run["job_name"],
                "started_at": started,
                "seconds": (ended - started).total_seconds() if started and ended else None,
                "state": run["state"].lower(),
            }
        )
    return listed


# The page


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an HTML table, numbers to the right."""
    body = list(rows)
    right = [all(isinstance(row[place], int | float | None) for row in body) for place in range(len(header))]

    def cell(kind: str, value: object, place: int) -> str:
        text = "" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)
        opening = f'{kind} class="number"' if right[place] else kind
        return f"<{opening}>{html.escape(text)}</{kind}>"

    lines = [
        f"<tr>{''.join(cell(kind, value, place) for place, value in enumerate(row))}</tr>"
        for kind, row in (("th", header), *(("td", row) for row in body))
    ]
    return "\n".join(["<table>", *lines, "</table>"])


def section(content: str, title: str = "") -> str:
    """Return a part of the page: text below its title, or a picture that has its own."""
    return f'<section class="text"><h2>{title}</h2>\n{content}</section>' if title else f"<section>{content}</section>"


def page(marts: Marts, database: Path | None, now: dt.datetime) -> str:
    """Return the whole page.

    Raises:
        ReportError: There is nothing to show.
    """
    detections, sizes, departures = marts.detections(), marts.sizes(), marts.departures()
    if not detections:
        msg = "no number was loaded yet: there is nothing to show"
        raise ReportError(msg)
    codes = marts.calling_codes()
    left: Counter[str] = Counter()
    for row in departures:
        left[row["reason"]] += row["numbers"]
    since = (now - WEEK).date().isoformat()
    tiles = {
        "numbers on the list": sizes[-1]["numbers"],
        "detections in all": sum(row["numbers"] for row in detections),
        "in the last 7 days": sum(row["numbers"] for row in detections if row["day"] > since),
        "left the list": left.total(),
    }
    parts = [
        "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value:,}</dd></div>" for name, value in tiles.items()) + "</dl>",
        section(charts.svg(charts.detections(detections))),
        section(charts.svg(charts.list_size(sizes))),
    ]
    if departures:
        header = ("noticed on", "reason", "numbers", "listed again", "days listed, on average")
        rows = [
            (row["day"], row["reason"], row["numbers"], row["again"], row["days"]) for row in departures[:DEPARTURES]
        ]
        text = table(header, rows)
    else:
        text = "<p>Nothing, as far as is known. A full run finds what left (docs/warehouses.md).</p>"
    parts.append(section(text, "What left the list"))
    if codes:
        subtitle = (
            f"The most of {len(codes)}" if len(codes) > CALLING_CODES else "Countries that share a code share a bar"
        )
        drawn = charts.bars(codes[:CALLING_CODES], "Numbers on the list, by calling code", subtitle)
        parts.append(section(charts.svg(drawn)))
    if database:
        rows_of_runs = [
            (
                f"{run['started_at']:%Y-%m-%d %H:%M:%S}",
                run["job"],
                run["seconds"] and round(run["seconds"], 1),
                run["state"],
            )
            for run in runs(database)
        ]
        parts.append(
            section(table(("started (UTC)", "state id", "seconds", "ended as"), rows_of_runs), "The last runs")
        )
    newline = "\n"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Braze's invalid phone numbers</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Braze's invalid phone numbers</h1>
<p class="about">As the warehouse has them, {now:%Y-%m-%d %H:%M} UTC. Counts alone: the page holds no phone number.</p>
{newline.join(parts)}
</body>
</html>
"""


def main() -> None:
    """Write the page, and the chart of detections as a picture of its own where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--postgres", metavar="URL", default=os.environ.get("BRAZE_REPORT_SQLALCHEMY_URL"))
    where.add_argument("--duckdb", metavar="FILE")
    parser.add_argument(
        "--marts", metavar="SCHEMA", help="read dbt's tables there, instead of querying what the tap loaded"
    )
    parser.add_argument("--runs", metavar="FILE", type=Path, help="Meltano's own database, .meltano/meltano.db")
    parser.add_argument("--picture", metavar="FILE", type=Path, action="append", default=[], help="SVG or PNG")
    parser.add_argument("page", type=Path, help="HTML file to write")
    options = parser.parse_args()
    if not options.postgres and not options.duckdb:
        parser.error("one of --postgres and --duckdb is needed")
    opened = duckdb(options.duckdb) if options.duckdb else postgres(options.postgres)
    try:
        with opened as ask:
            marts = Marts(ask, "duckdb" if options.duckdb else "postgres", options.marts)
            database = options.runs if options.runs and options.runs.exists() else None
            written = page(marts, database, dt.datetime.now(dt.timezone.utc))
            if options.picture:
                charts.write(charts.detections(marts.detections()), *options.picture)
    except ReportError as error:
        sys.exit(f"{parser.prog}: {error}")
    options.page.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
