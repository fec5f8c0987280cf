"""Compiles the dbt project's marts to plain SQL, for those who have no dbt: examples/sql, a folder for each warehouse.

`make sql` writes the files, `make sql ARGS=--check` says which are not what the models say. Nothing is asked of any
warehouse. It runs in the environment that has dbt, and in that one alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import sqlglot  # type: ignore[import-not-found]  # dbt's own; the project's environment has neither.

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples" / "sql"
DBT = Path(sys.executable).with_name("dbt")
WAREHOUSES = ("postgres", "duckdb", "snowflake", "bigquery")

HEADER = "-- Compiled from transform/models/marts/{name}.sql by `make sql`: change it there.\n--\n"


def compiled(warehouse: str) -> dict[str, str]:
    """Return the text of each mart for a warehouse, by name."""
    with tempfile.TemporaryDirectory() as folder:
        command: list[str | Path] = [DBT, "--quiet", "compile", "--select", "marts", "--target", warehouse]
        # What a query reads becomes a part of it, and nothing is looked up.
        command += ["--vars", json.dumps({f"{layer}_materialized": "ephemeral" for layer in ("staging", "marts")})]
        command += ["--no-introspect", "--no-populate-cache", "--no-partial-parse"]
        places: list[str | Path] = ["--project-dir", ROOT / "transform", "--profiles-dir", ROOT / "transform"]
        # BigQuery's plugin looks for credentials at once, even where nothing is asked.
        environment = {**os.environ, "BIGQUERY_METHOD": "oauth-secrets", "BIGQUERY_TOKEN": "none"}
        done = subprocess.run(
            [*command, *places, "--target-path", folder, "--log-path", folder],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{warehouse}: {done.stdout}{done.stderr}")
        written = sorted(Path(folder, "compiled", "braze_sms", "models", "marts").glob("*.sql"))
        return {path.stem: standing_alone(path.stem, path.read_text(encoding="utf-8"), warehouse) for path in written}


def standing_alone(name: str, text: str, warehouse: str) -> str:
    """Return a query without the name of a database, which is where it runs, and without the gaps that macros leave."""
    text = re.sub(r'("postgres"|"warehouse"|\bRAW|`your-project`)\.(?=["`\w])', "", text)
    lines = [line.rstrip() for line in text.strip().splitlines()]
    text = "\n".join(line for line in lines if line)
    # A mart that another one reads is a part of it, too, and says again what it is for.
    (query,) = sqlglot.parse(text, read=warehouse)
    if query is None:
        sys.exit(f"{warehouse}, {name}: no query")
    return f"{HEADER.format(name=name)}{text};\n"


def main() -> None:
    """Write the files, or compare."""
    parser = argparse.ArgumentParser(prog="make sql", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where a file is not as compiled")
    options = parser.parse_args()
    wanted = {
        FOLDER / warehouse / f"{name}.sql": text
        for warehouse in WAREHOUSES
        for name, text in compiled(warehouse).items()
    }
    there = {path: path.read_text(encoding="utf-8") for path in FOLDER.glob("*/*.sql")}
    stale = sorted(path for path in wanted.keys() | there.keys() if wanted.get(path) != there.get(path))
    if options.check and stale:
        sys.exit("Not as compiled: " + ", ".join(str(path.relative_to(ROOT)) for path in stale) + ". Run `make sql`.")
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()


if __name__ == "__main__":
    main()
