"""The list in a real Postgres: types, keys, what left the list, BATCH files, and the way back to Braze."""

from __future__ import annotations

import datetime as dt
import json
import subprocess

import pytest

from braze_simulator import Simulator, seeded
from support.meltano_project import Project, executable
from support.paths import ROOT
from support.runs import KEY, config_for

pytestmark = pytest.mark.timeout(240)

TABLE = "invalid_phone_numbers"


@pytest.fixture
def warehouse(server, request, tmp_path):
    """A schema of the test's own."""
    return Warehouse(server, request.node.name, tmp_path)


class Warehouse:
    def __init__(self, server, schema, folder):
        self.uri = server.get_uri()
        self.url = self.uri.replace("postgresql://", "postgresql+psycopg://")
        self.schema = schema[:60]
        self.folder = folder
        self.command = executable("loaders", "target-postgres")

    def load(self, messages, **settings):
        """Load Singer messages as meltano.yml tells it to."""
        config = {
            "sqlalchemy_url": self.url,
            "default_target_schema": self.schema,
            "use_copy": True,
            "validate_records": False,
            **settings,
        }
        file = self.folder / "target-postgres.json"
        file.write_text(json.dumps(config))
        done = subprocess.run([self.command, "--config", file], input=messages, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def ask(self, sql):
        import psycopg

        with psycopg.connect(self.uri, options=f"-c search_path={self.schema} -c timezone=UTC") as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def events(self, where="true"):
        return sorted(self.ask(f"SELECT phone, invalid_detected_at FROM {TABLE} WHERE {where}"))  # noqa: S608


@pytest.fixture
def braze():
    with Simulator(seeded(300, days=30), api_key=KEY) as serving:
        yield serving


def events(serving):
    return sorted((entry.phone, entry.detected_at.replace(tzinfo=None)) for entry in serving.entries())


def start(days=31):
    return (dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=days)).isoformat()


@pytest.fixture
def settings(braze):
    return config_for(braze, start_date=start(), emit_activate_version_messages=True)


@pytest.fixture
def full_table(command, settings):
    """A catalog that asks for the whole list."""
    catalog = json.loads(command.text("tap-braze-sms", "--discover", config=settings).stdout)
    (stream,) = (stream for stream in catalog["streams"] if stream["stream"] == TABLE)
    stream["replication_method"] = "FULL_TABLE"
    return {"streams": [stream]}


def test_rows_have_types_and_a_key_and_a_record_read_again_replaces_its_row(braze, warehouse, command, settings):
    loaded = command("tap-braze-sms", config=settings).out
    warehouse.load(loaded)
    assert warehouse.events() == events(braze)
    columns = f"FROM information_schema.columns WHERE table_schema = '{warehouse.schema}'"
    types = dict(warehouse.ask(f"SELECT column_name, data_type {columns}"))
    assert types["phone"] == types["reason"] == "text"
    assert types["invalid_detected_at"] == "timestamp without time zone"
    keys = f"FROM pg_constraint WHERE conrelid = '{TABLE}'::regclass AND contype = 'p'"
    (key,) = warehouse.ask(f"SELECT pg_get_constraintdef(oid) {keys}")
    assert key == ("PRIMARY KEY (phone, invalid_detected_at)",)

    warehouse.load(loaded.replace(b'"provider_error"', b'"deactivated"'))
    assert warehouse.events() == events(braze)
    assert warehouse.ask(f"SELECT count(*) FROM {TABLE} WHERE reason = 'provider_error'") == [(0,)]  # noqa: S608


def test_a_full_read_marks_what_left_the_list_but_not_one_that_fails(braze, warehouse, command, settings, full_table):
    warehouse.load(command("tap-braze-sms", config=settings).out)
    before = events(braze)
    gone = [entry.phone for entry in braze.entries()[::10]]
    braze.remove(gone)

    slowly = settings | {"window_days": 2, "page_size": 10, "max_parallel_requests": 1}
    braze.behaviour.latency = 0.05
    answered = len(braze.requests)
    run = command.start("tap-braze-sms", config=slowly, catalog=full_table)
    run.until(lambda: len(braze.requests) > answered + 8)
    braze.behaviour.change({"fault_rate": 1.0, "fault_kinds": ["403"], "latency": 0.0})
    failed = run.finish()
    assert failed.code
    assert 0 < len(failed.records) < len(braze.entries())
    warehouse.load(failed.out)
    assert warehouse.events("_sdc_deleted_at IS NULL") == before

    braze.behaviour.fault_rate = 0.0
    warehouse.load(command("tap-braze-sms", config=settings, catalog=full_table).out)
    assert warehouse.events("_sdc_deleted_at IS NULL") == events(braze)
    assert warehouse.events() == before


def test_a_full_read_can_delete_what_left_the_list(braze, warehouse, command, settings, full_table):
    warehouse.load(command("tap-braze-sms", config=settings, catalog=full_table).out, hard_delete=True)
    braze.remove_any(20)
    warehouse.load(command("tap-braze-sms", config=settings, catalog=full_table).out, hard_delete=True)
    assert warehouse.events() == events(braze)


@pytest.mark.parametrize("compression", [{"compression": "gzip"}, {"compression": "none"}, {}], ids=str)
def test_batch_files_are_loaded_with_the_stream_map_applied(braze, warehouse, command, settings, tmp_path, compression):
    files = tmp_path / "batches"
    files.mkdir()
    batches = {
        "batch_config": {
            "encoding": {"format": "jsonl"} | compression,
            "storage": {"root": files.as_uri(), "prefix": "braze-"},
        },
        "stream_maps": {TABLE: {"phone": "sha256(phone)"}},
    }
    run = command("tap-braze-sms", config=settings | batches)
    assert run.of("BATCH")
    assert not run.records
    warehouse.load(run.out)
    assert [when for _, when in sorted(warehouse.events(), key=lambda event: event[1])] == sorted(
        when for _, when in events(braze)
    )
    assert all(len(phone) == 64 for phone, _ in warehouse.events())


def test_the_loop_from_braze_to_the_warehouse_to_the_customer_and_back(braze, warehouse, command, tmp_path):
    """As README tells it: load, verify, hand back, look up, and the next full read marks them."""
    executable("extractors", "tap-postgres")
    made = Project(
        tmp_path / "project",
        {
            "TAP_BRAZE_SMS_API_KEY": KEY,
            "TAP_BRAZE_SMS_API_URL": braze.url,
            "TAP_BRAZE_SMS_START_DATE": start(),
            "TARGET_BRAZE_SMS_API_KEY": KEY,
            "TARGET_BRAZE_SMS_API_URL": braze.url,
            "TARGET_POSTGRES_SQLALCHEMY_URL": warehouse.url,
            # This plugin wants all parts of a URL; a socket needs neither password nor host name.
            "TAP_POSTGRES_SQLALCHEMY_URL": warehouse.uri.replace(
                "postgresql://postgres:@/", "postgresql+psycopg2://postgres:none@socket/"
            ),
        },
    )
    warehouse.schema = "braze"
    try:
        made("run", "braze-to-postgres")
        warehouse.ask(
            f"CREATE TABLE verified_numbers AS SELECT phone, now() AS verified_at FROM {TABLE} ORDER BY phone LIMIT 120"  # noqa: S608
        )
        verified = [phone for (phone,) in warehouse.ask("SELECT phone FROM verified_numbers")]

        made("run", "verified-in-postgres-to-braze", "braze-to-postgres-full")
        assert [len(post) for post in braze.removal_posts] == [50, 50, 50, 50, 40]
        assert len(braze.entries()) == 300 - 120

        run = command("tap-braze-sms", config=config_for(braze, phone_numbers=verified))
        status = [message["record"] for message in run.of("RECORD") if message["stream"] == "phone_number_status"]
        assert sorted(record["phone"] for record in status) == sorted(verified)
        assert not any(record["is_invalid"] for record in status)

        gone = "_sdc_deleted_at IS NOT NULL"
        assert sorted(phone for phone, _ in warehouse.events(gone)) == sorted(verified)
        assert warehouse.events(f"NOT ({gone})") == events(braze)
    finally:
        made.end()


def test_older_days_read_again_show_what_left_the_list_and_what_is_loaded(braze, warehouse, command, settings):
    """The queries are those of the guide."""
    guide = (ROOT / "docs" / "warehouses.md").read_text()
    left, loaded = (
        guide.split(f"```sql\n-- {name}\n")[1].split("```")[0].replace("braze.", "")
        for name in ("left the list", "listed and loaded")
    )
    settings = settings | {"reread_days": 8, "read_windows": True, "emit_activate_version_messages": False}
    run = command("tap-braze-sms", config=settings)
    warehouse.load(run.out)
    assert warehouse.ask(left) == []

    before, gone, seen = events(braze), set(), []
    for _ in range(4):
        gone |= {(entry.phone, entry.detected_at.replace(tzinfo=None)) for entry in braze.remove_any(15)}
        run = command("tap-braze-sms", config=settings, state=run.state)
        warehouse.load(run.out)
        seen.append(set(warehouse.ask(left)))
        assert seen[-1] <= gone
    # Once around: what left before the first of these runs is known by now, and nothing that was there then is untold.
    assert seen == sorted(seen, key=len)
    still = set(warehouse.events()) - seen[-1]
    assert set(events(braze)) <= still
    for _ in range(4):
        run = command("tap-braze-sms", config=settings, state=run.state)
        warehouse.load(run.out)
    assert set(warehouse.ask(left)) == gone
    assert set(warehouse.events()) - gone == set(events(braze))
    assert len(before) == len(gone) + len(events(braze))
    assert all(listed == there for *_, listed, there in warehouse.ask(loaded))
