"""target-snowflake without an account: on fakesnow, which is Snowflake's connector on top of DuckDB.

It is run by the Python that has both, see `make test-snowflake`, as one of

    snowflake_stand_in.py load FOLDER OPTION…    target-snowflake; the databases are files in FOLDER
    snowflake_stand_in.py ask FOLDER STATEMENT   rows of the database RAW there, as JSON, by plain DuckDB
    snowflake_stand_in.py types FILE…            types of the columns that the loader makes of JSON schemas, as JSON

fakesnow 0.12.1 does not know all that target-snowflake 0.20.4 says. Its PUT names the user's stage, in quotes
(`'@~/…'`), and its MERGE selects from there: SQLAlchemy's event before each statement says both as fakesnow knows
them. REMOVE and DROP FILE FORMAT, which it does not know either, do nothing: each batch has a folder of its own.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

#: As docs/warehouses.md configures the loader.
DATABASE, SCHEMA = "RAW", "BRAZE"

#: Stands for the stage of the user.
STAGE = f"{DATABASE}.{SCHEMA}.UPLOADS"
UPLOAD = re.compile(r"(put .*) '@~/([^']+)'")
MERGE = re.compile(r"(merge into .* using) \((select .* from )'@~/([^']+)'\(file_format => [^)]+\)(.*)\) s (on .*)")
NOT_KNOWN = ["remove ", "drop file format "]


def translate(_connection, cursor, statement, parameters, _context, _many):
    """Say a statement of the loader's as fakesnow knows it; a MERGE in steps, as its source selects from a stage."""
    if match := UPLOAD.fullmatch(statement):
        upload, folder = match.groups()
        cursor.execute(f"create stage if not exists {STAGE}")
        statement = f"{upload} @{STAGE}/{folder}/"
    elif match := MERGE.fullmatch(statement):
        merge, select, folder, one_a_key, on = match.groups()
        # Temporary tables cannot be named with their schema.
        cursor.execute(f"use schema {DATABASE}.{SCHEMA}")
        cursor.execute("create or replace temporary table lines (line variant)")
        cursor.execute(f"copy into lines from @{STAGE}/{folder}/ file_format = (type = json)")
        select, one_a_key = select.replace("$1:", "line:"), one_a_key.replace("SEQ8()", "rowid")
        cursor.execute(f"create or replace temporary table staged as {select} lines {one_a_key}")
        statement = f"{merge} staged s {on}"
    return statement, parameters


def load(folder, *options):
    # fakesnow makes a folder for its stages when it is imported, and leaves it behind, files and all.
    tempfile.tempdir = folder
    import fakesnow
    import sqlalchemy

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", translate, retval=True)
    with fakesnow.patch(db_path=folder, nop_regexes=NOT_KNOWN):
        from target_snowflake.target import TargetSnowflake

        # Streams one after another: fakesnow's own tables do not take two writers.
        TargetSnowflake.max_parallelism = 1
        TargetSnowflake.cli(options)


def ask(folder, statement):
    import duckdb

    with duckdb.connect(str(Path(folder) / f"{DATABASE}.db"), read_only=True) as database:
        json.dump(database.execute(statement).fetchall(), sys.stdout, default=str)


def types(*files):
    from snowflake.sqlalchemy.snowdialect import SnowflakeDialect
    from target_snowflake.connector import SnowflakeConnector

    connector, dialect = SnowflakeConnector(config={}), SnowflakeDialect()
    columns = {
        Path(file).stem: {
            name: connector.to_sql_type(schema).compile(dialect=dialect)
            for name, schema in json.loads(Path(file).read_text())["properties"].items()
        }
        for file in files
    }
    json.dump(columns, sys.stdout)


if __name__ == "__main__":
    {"load": load, "ask": ask, "types": types}[sys.argv[1]](*sys.argv[2:])
