"""The dbt project, by Meltano on Postgres and by itself on DuckDB: its marts say what Braze's list and its past say.

It needs dbt, in an environment of its own: `make test-transform` makes that and names it in the variable DBT.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import subprocess
import typing as t
from collections import Counter
from pathlib import Path

import pytest
import yaml

from braze_simulator import Entry, Simulator, seeded
from support.meltano_project import executable, variables
from support.paths import ROOT
from support.runs import KEY, config_for

DBT = os.environ.get("DBT")

pytestmark = [
    pytest.mark.timeout(480),
    pytest.mark.skipif(not DBT, reason="needs dbt: `make test-transform` brings it"),
]

UTC = dt.timezone.utc
TRANSFORM = ROOT / "transform"
QUERIES = ROOT / "examples" / "sql"
DAYS = 60
#: Of the sessions: nothing may depend on it.
ZONE = "America/New_York"


class Detection(t.NamedTuple):
    """What a mart is computed from here, by the plainest means."""

    phone: str
    at: dt.datetime
    reason: str
    left: dt.datetime | None = None
    workspace: str = "braze"


def spelled(phone):
    return f"+{phone.removeprefix('+')}"


def of_entries(entries, left=None):
    """Return the detections of a list in the simulator, with when each was noticed to have left."""
    return [
        Detection(spelled(entry.phone), entry.detected_at.replace(tzinfo=None), entry.reason or "unknown", noticed)
        for entry in entries
        for noticed in [(left or {}).get((entry.phone, entry.detected_at))]
    ]


def numbers_at_the_end_of(day, detections):
    """Count the numbers of which some detection had come and not gone."""
    listed = {
        (each.workspace, each.phone)
        for each in detections
        if each.at.date() <= day and not (each.left and each.left.date() <= day)
    }
    return len(listed)


def expected(detections, verified=()):
    """Return what each mart has to hold, as sorted rows of the columns named here."""
    by_number = {}
    for each in sorted(detections, key=lambda each: each.at):
        by_number.setdefault((each.workspace, each.phone), []).append(each)
    current = {
        number: [each for each in history if not each.left][-1]
        for number, history in by_number.items()
        if any(not each.left for each in history)
    }
    again = {number: history for number, history in by_number.items() if len(history) > 1}
    newly_verified = {phone for phone, _ in verified}
    back = {
        number: verified_at
        for number, each in current.items()
        for phone, verified_at in verified
        if phone == each.phone and verified_at > each.at
    }
    by_day = Counter(
        (each.at.date(), each.reason)
        for each in {(e.workspace, e.phone, e.at.date(), e.reason): e for e in detections}.values()
    )
    by_phone = {}
    for (workspace, phone), each in current.items():
        by_phone.setdefault(phone, {})[workspace] = each
    assert newly_verified >= {phone for _, phone in back}
    return {
        "current_list": [(*number, each.at, each.reason) for number, each in current.items()],
        "detections_by_day": [(*key, count) for key, count in by_day.items()],
        "left_the_list": [
            (
                each.workspace,
                each.phone,
                each.at,
                each.left,
                (each.left.date() - each.at.date()).days,
                number in current,
            )
            for number, history in by_number.items()
            for each in history
            if each.left
        ],
        "found_invalid_again": [
            (*number, len(h), h[0].at, h[-1].at, (h[-1].at.date() - h[0].at.date()).days) for number, h in again.items()
        ],
        "to_hand_back": [(*number, current[number].at, verified_at) for number, verified_at in back.items()],
        "to_reverify": [
            (*number, each.at, len(by_number[number]))
            for number, each in current.items()
            if each.reason == "deactivated" and number not in back
        ],
        "suppression_list": [
            (
                phone,
                len(lists),
                max(e.at for e in lists.values()),
                any(e.reason == "deactivated" for e in lists.values()),
            )
            for phone, lists in by_phone.items()
        ],
        "list_by_calling_code": [("+1", *rest) for rest in Counter(each.reason for each in current.values()).items()],
    }


COLUMNS = {
    "current_list": "workspace, phone, invalid_detected_at, reason",
    "detections_by_day": "day, reason, sum(numbers)",
    "left_the_list": "workspace, phone, invalid_detected_at, left_noticed_at, days_listed, is_listed_again",
    "found_invalid_again": "workspace, phone, detections, first_detected_at, last_detected_at, days_between",
    "to_hand_back": "workspace, phone, invalid_detected_at, verified_at",
    "to_reverify": "workspace, phone, invalid_detected_at, detections",
    "suppression_list": "phone, workspaces, last_detected_at, is_deactivated",
    "list_by_calling_code": "calling_code, reason, sum(numbers)",
}
GROUPED = {"detections_by_day", "list_by_calling_code"}
MARTS = {path.stem for path in (TRANSFORM / "models" / "marts").glob("*.sql")}


def compare(ask, detections, verified=(), schema="braze_marts"):
    """Hold every mart against what the detections say."""
    for mart, rows in expected(detections, verified).items():
        found = ask(f"SELECT {COLUMNS[mart]} FROM {schema}.{mart}{' GROUP BY 1, 2' if mart in GROUPED else ''}")  # noqa: S608
        assert sorted(map(tuple, found)) == sorted(rows), mart
    columns = "day, sum(came), sum(went), sum(numbers)"
    sizes = ask(f"SELECT {columns} FROM {schema}.list_size_by_day GROUP BY day ORDER BY day")  # noqa: S608
    assert sum(came for _, came, _, _ in sizes) == len(detections)
    # With several workspaces, one may have no row on a day of another.
    if len({each.workspace for each in detections}) == 1:
        assert [numbers for *_, numbers in sizes] == [numbers_at_the_end_of(day, detections) for day, *_ in sizes]
    assert {*expected(detections), "list_size_by_day"} == MARTS


def described():
    """Return the columns that have a description, by table."""
    files = [yaml.safe_load(path.read_text()) for path in (TRANSFORM / "models").rglob("*.yml")]
    models = [model for file in files for model in file.get("models", ())]
    assert all(model["description"] for model in models)
    return {model["name"]: {column["name"] for column in model["columns"] if column["description"]} for model in models}


def dbt(*arguments, folder, **variables):
    """Run dbt by itself; return what it printed."""
    places = ["--project-dir", TRANSFORM, "--profiles-dir", TRANSFORM, "--target-path", folder, "--log-path", folder]
    done = subprocess.run(
        [DBT, *arguments, *places],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start():
    return dt.datetime.now(UTC).date() - dt.timedelta(days=DAYS + 1)


def found_again(entries, later):
    """Return entries of the same numbers, found invalid once more some time later."""
    for entry in entries:
        when = min(entry.detected_at + later, dt.datetime.now(UTC) - dt.timedelta(hours=2))
        yield Entry(entry.phone, when, "deactivated", when.isoformat())


def test_marts_follow_the_list_and_what_they_name_goes_back_to_braze(tmp_path, database, meltano_project):
    executable("extractors", "tap-postgres")
    where = {"DBT_POSTGRES_HOST": database.uri.rpartition("host=")[2], "DBT_POSTGRES_DBNAME": database.name}
    database.ask(f"ALTER DATABASE {database.name} SET timezone = '{ZONE}'")
    with Simulator(seeded(1200, days=DAYS), api_key=KEY) as braze:
        braze.add(
            found_again([entry for entry in braze.entries() if entry.detected_at.day % 9 == 0], dt.timedelta(days=3))
        )
        project = meltano_project(
            variables(braze, days=DAYS)
            | where
            | {
                "TARGET_POSTGRES_SQLALCHEMY_URL": database.url,
                "TAP_POSTGRES_SQLALCHEMY_URL": database.tap_url,
            }
        )
        (project.folder / "transform").symlink_to(TRANSFORM)
        project("run", "braze-to-marts")
        compare(database.ask, of_entries(braze.entries()))

        # Nobody had verified anything, and there was no table of it. Now some have, one of them too early.
        listed = braze.entries()
        late, early = listed[10], listed[-10]
        database.ask("CREATE TABLE braze.verified_numbers (phone text, verified_at timestamptz)")
        for entry, hours in ((late, 1), (listed[20], 1), (early, -1)):
            # In the spelling of a form, in another zone, and twice.
            number = f"{spelled(entry.phone)[:2]} ({entry.phone[-10:-7]}) {entry.phone[-7:-4]}-{entry.phone[-4:]}"
            when = (entry.detected_at + dt.timedelta(hours=hours)).astimezone(dt.timezone(dt.timedelta(hours=9)))
            database.ask(f"INSERT INTO braze.verified_numbers VALUES ('{number}', '{when.isoformat()}')")  # noqa: S608
            database.ask(f"INSERT INTO braze.verified_numbers VALUES ('{number}', '2020-01-01')")  # noqa: S608
        gone = {(entry.phone, entry.detected_at): entry for entry in listed[100:160]}
        braze.remove([phone for phone, _ in gone])
        braze.detect(40, minutes=4)
        began = dt.datetime.now(UTC).replace(tzinfo=None)

        project("run", "braze-to-postgres-full", "braze-to-marts")

        left = [entry for entry in listed if entry not in braze.entries()]
        (noticed,) = {at for (at,) in database.ask("SELECT DISTINCT left_noticed_at FROM braze_marts.left_the_list")}
        # In UTC, whatever the session's zone.
        assert began < noticed < dt.datetime.now(UTC).replace(tzinfo=None)
        detections = of_entries(braze.entries()) + of_entries(
            left, {(entry.phone, entry.detected_at): noticed for entry in left}
        )
        latest = {spelled(entry.phone): entry.detected_at for entry in reversed(braze.entries())}
        verified = [
            (spelled(entry.phone), (entry.detected_at + dt.timedelta(hours=hours)).replace(tzinfo=None))
            for entry, hours in ((late, 1), (listed[20], 1), (early, -1))
            if spelled(entry.phone) in latest
        ]
        compare(database.ask, detections, verified)
        assert 0 < len(database.ask("SELECT * FROM braze_marts.to_hand_back")) < 3

        # The last tasks of the jobs hand-back and deactivated-to-csv, without loading and building once more.
        tasks = {job["name"]: job["tasks"] for job in yaml.safe_load((ROOT / "meltano.yml").read_text())["jobs"]}
        last = [tasks[job][-1] for job in ("hand-back", "deactivated-to-csv")]
        handed_back = {phone for (phone,) in database.ask("SELECT phone FROM braze_marts.to_hand_back")}
        project("run", *(word for task in last for word in task.split()))
        assert {spelled(phone) for post in braze.removal_posts for phone in post} == handed_back
        (file,) = (project.folder / "output").glob("*to_reverify*.csv")
        with file.open(newline="") as rows:
            asked = {row["phone"] for row in csv.DictReader(rows)}
        assert asked == {phone for (phone,) in database.ask("SELECT phone FROM braze_marts.to_reverify")}

    # What the project says of its tables is what they have.
    named = database.ask(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'braze_marts'"
    )
    assert {(table, column) for table, columns in described().items() for column in columns} == set(named)
    # The queries for those who have no dbt answer what its tables hold.
    for mart in MARTS:
        query = (QUERIES / "postgres" / f"{mart}.sql").read_text()
        assert sorted(map(repr, database.ask(query))) == sorted(
            map(repr, database.ask(f"SELECT * FROM braze_marts.{mart}"))  # noqa: S608
        ), mart

    dbt("source", "freshness", folder=tmp_path / "target", **where)
    (fresh,) = json.loads((tmp_path / "target" / "sources.json").read_text())["results"]
    assert (fresh["status"], fresh["max_loaded_at"][:10]) == ("pass", str(dt.datetime.now(UTC).date()))


def load(messages, folder, file):
    config = folder / "config.json"
    config.write_text(
        json.dumps({"filepath": str(file), "default_target_schema": "braze", "add_metadata_columns": False})
    )
    command = [executable("loaders", "target-duckdb"), "--config", config]
    subprocess.run(command, input=messages, capture_output=True, check=True)


def test_marts_of_two_workspaces_on_duckdb_know_what_left_by_a_full_run(tmp_path, command):
    engine = pytest.importorskip("duckdb")
    warehouse, full_run = tmp_path / "warehouse.duckdb", tmp_path / "full.duckdb"
    with (
        Simulator(seeded(400, days=DAYS), api_key=KEY) as shop,
        Simulator(seeded(300, days=DAYS, seed=7), api_key=KEY) as club,
    ):
        # One number is on both lists.
        club.add(found_again(shop.entries()[50:51], dt.timedelta(hours=1)))
        settings = config_for(shop, start_date=str(start()))
        before = shop.entries()
        load(command("tap-braze-sms", config=settings).out, tmp_path, warehouse)
        alias = {"stream_maps": {"invalid_phone_numbers": {"__alias__": "invalid_phone_numbers_club"}}}
        load(
            command("tap-braze-sms", config=config_for(club, start_date=str(start()), **alias)).out, tmp_path, warehouse
        )
        shop.remove([entry.phone for entry in before[100:130]])
        load(command("tap-braze-sms", config=settings).out, tmp_path, full_run)
        # After the full run: it cannot say that this left.
        shop.detect(20, minutes=1)
        load(command("tap-braze-sms", config=settings).out, tmp_path, warehouse)
        listed, of_club = shop.entries(), club.entries()
    noticed = max(entry.detected_at for entry in listed if entry in before).replace(tzinfo=None)
    left = [entry for entry in before if entry not in listed]
    detections = of_entries(listed) + of_entries(left, {(e.phone, e.detected_at): noticed for e in left})
    detections = [each._replace(workspace="shop") for each in detections]
    detections += [each._replace(workspace="club") for each in of_entries(of_club)]

    workspaces = [
        {
            "table": "invalid_phone_numbers",
            "workspace": "'shop'",
            "full_run": {"database": "full_run", "schema": "braze", "table": "invalid_phone_numbers"},
        },
        {"table": "invalid_phone_numbers_club", "workspace": "'club'"},
    ]
    variables = {"TARGET_DUCKDB_FILEPATH": str(warehouse), "BRAZE_SMS_FULL_RUN": str(full_run)}
    told = ["--vars", json.dumps({"workspaces": workspaces})]
    dbt("build", "--target", "duckdb", *told, folder=tmp_path / "target", **variables)

    with engine.connect(str(warehouse), read_only=True) as connection:
        connection.execute(f"SET TIME ZONE '{ZONE}'")

        def ask(sql):
            return connection.execute(sql).fetchall()

        compare(ask, detections)
        assert ask("SELECT count(*) FROM braze_marts.suppression_list WHERE workspaces = 2") == [(1,)]
        # The query for those who have no dbt is on the first table alone, where nothing is marked.
        query = (QUERIES / "duckdb" / "current_list.sql").read_text()
        numbers = {spelled(entry.phone) for entry in [*before, *listed]}
        assert sorted(phone for _, phone, *_ in ask(query)) == sorted(numbers)


#: Days ago, and how many numbers were found invalid then.
QUIET, BURST = (32, 100), (3, 700)
#: A hundred a day.
BUSY = [(ago, 100) for ago in range(4, 35)]


@pytest.mark.parametrize(
    "days, reason, warned",
    [
        ([QUIET, BURST], "provider_error", "no_spike_detections_by_day"),
        ([*BUSY, (3, 300)], "provider_error", None),
        (BUSY, "found_by_a_moth", "accepted_values_stg_braze__detections_reason"),
    ],
)
def test_a_spike_and_a_new_reason_are_warned_of(tmp_path, days, reason, warned):
    engine = pytest.importorskip("duckdb")
    warehouse = tmp_path / "warehouse.duckdb"
    with engine.connect(str(warehouse)) as connection:
        connection.execute("CREATE SCHEMA braze")
        connection.execute(
            "CREATE TABLE braze.invalid_phone_numbers (phone VARCHAR, invalid_detected_at TIMESTAMP, reason VARCHAR)"
        )
        for ago, numbers in days:
            connection.execute(
                "INSERT INTO braze.invalid_phone_numbers SELECT '1555' || (1000000 + number + 1000 * $ago), "
                "current_date - to_days($ago), $reason FROM range($numbers) rows(number)",
                {"ago": ago, "numbers": numbers, "reason": reason},
            )
    select = ["--select", "stg_braze__detections", "detections_by_day", "--exclude-resource-type", "unit_test"]
    folder = tmp_path / "target"
    dbt("build", "--target", "duckdb", *select, folder=folder, TARGET_DUCKDB_FILEPATH=str(warehouse))
    results = json.loads((folder / "run_results.json").read_text())["results"]
    found = [result["unique_id"].split(".")[2] for result in results if result["status"] == "warn"]
    assert len(found) == bool(warned)
    assert all(test.startswith(warned) for test in found)


def test_the_queries_for_those_without_dbt_are_those_that_it_compiles():
    """For all four warehouses, without a connection to any; each is parsed in its warehouse's dialect."""
    script = ROOT / "tools" / "compile_sql.py"
    done = subprocess.run(
        [Path(DBT).with_name("python"), script, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
