"""The list in a real Postgres: types, keys, what left the list, BATCH files, and the way back to Braze."""

from __future__ import annotations

import datetime as dt
import json

import pytest
import yaml

from braze_simulator import Simulator, seeded
from support.commands import Command, launcher
from support.meltano_project import executable, variables
from support.paths import ROOT
from support.runs import KEY, config_for, detections

pytestmark = pytest.mark.timeout(240)

TABLE = "invalid_phone_numbers"
LOADER = "target-postgres"
DAYS = 30


@pytest.fixture(scope="session")
def launch_loader():
    with launcher("target_postgres.target", python=executable("loaders", LOADER).with_name("python")) as launch:
        yield launch


@pytest.fixture
def load(database, tmp_path, launch_loader):
    """Load Singer messages as meltano.yml tells the loader to."""
    project = yaml.safe_load((ROOT / "meltano.yml").read_text())
    (told,) = (plugin["config"] for plugin in project["plugins"]["loaders"] if plugin["name"] == LOADER)
    config = told | {"sqlalchemy_url": database.url}
    loader = Command(tmp_path, launch_loader)

    def load(messages, **settings):
        run = loader(executable("loaders", LOADER), config=config | settings, stdin=messages)
        assert run.code == 0, run.log

    yield load
    loader.end()


@pytest.fixture
def braze():
    with Simulator(seeded(300, days=DAYS), api_key=KEY) as serving:
        yield serving


@pytest.fixture
def settings(braze):
    start = dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=DAYS + 1)
    return config_for(braze, start_date=start.isoformat(), emit_activate_version_messages=True)


@pytest.fixture
def full_table(command, settings):
    """A catalog that asks for the whole list."""
    catalog = json.loads(command.text("tap-braze-sms", "--discover", config=settings).stdout)
    (stream,) = (stream for stream in catalog["streams"] if stream["stream"] == TABLE)
    stream["replication_method"] = "FULL_TABLE"
    return {"streams": [stream]}


def test_rows_have_types_and_a_key_and_a_record_read_again_replaces_its_row(braze, database, load, command, settings):
    loaded = command("tap-braze-sms", config=settings).out
    load(loaded)
    assert database.rows() == detections(braze)
    columns = "FROM information_schema.columns WHERE table_schema = 'braze'"
    types = dict(database.ask(f"SELECT column_name, data_type {columns}"))
    assert types["phone"] == types["reason"] == "text"
    assert types["invalid_detected_at"] == "timestamp without time zone"
    keys = f"FROM pg_constraint WHERE conrelid = 'braze.{TABLE}'::regclass AND contype = 'p'"
    (key,) = database.ask(f"SELECT pg_get_constraintdef(oid) {keys}")
    assert key == ("PRIMARY KEY (phone, invalid_detected_at)",)

    load(loaded.replace(b'"provider_error"', b'"deactivated"'))
    assert database.rows() == detections(braze)
    assert database.ask(f"SELECT count(*) FROM braze.{TABLE} WHERE reason = 'provider_error'") == [(0,)]  # noqa: S608


def test_a_full_read_marks_what_left_the_list_but_not_one_that_fails(
    braze, database, load, command, settings, full_table
):
    load(command("tap-braze-sms", config=settings).out)
    before = detections(braze)
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
    load(failed.out)
    assert database.rows(where="_sdc_deleted_at IS NULL") == before

    braze.behaviour.fault_rate = 0.0
    load(command("tap-braze-sms", config=settings, catalog=full_table).out)
    assert database.rows(where="_sdc_deleted_at IS NULL") == detections(braze)
    assert database.rows() == before


def test_a_full_read_can_delete_what_left_the_list(braze, database, load, command, settings, full_table):
    # Not by a full read: versions are the SDK's, in whole seconds, and two would be of the same one.
    load(command("tap-braze-sms", config=settings).out, hard_delete=True)
    braze.remove_any(20)
    load(command("tap-braze-sms", config=settings, catalog=full_table).out, hard_delete=True)
    assert database.rows() == detections(braze)


@pytest.mark.parametrize("compression", [{"compression": "gzip"}, {"compression": "none"}, {}], ids=str)
def test_batch_files_are_loaded_with_the_stream_map_applied(
    braze, database, load, command, settings, tmp_path, compression
):
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
    load(run.out)
    assert [when for _, when in sorted(database.rows(), key=lambda event: event[1])] == sorted(
        when for _, when in detections(braze)
    )
    assert all(len(phone) == 64 for phone, _ in database.rows())


def test_the_loop_from_braze_to_the_warehouse_to_the_customer_and_back(braze, database, command, meltano_project):
    """As README tells it: load, verify, hand back, look up, and the next full read marks them."""
    executable("extractors", "tap-postgres")
    urls = {"TARGET_POSTGRES_SQLALCHEMY_URL": database.url, "TAP_POSTGRES_SQLALCHEMY_URL": database.tap_url}
    project = meltano_project(variables(braze, days=DAYS) | urls)

    project("run", "braze-to-postgres")
    some = "SELECT phone, now() AS verified_at FROM braze.invalid_phone_numbers ORDER BY phone LIMIT 120"
    database.ask(f"CREATE TABLE braze.verified_numbers AS {some}")
    verified = [phone for (phone,) in database.ask("SELECT phone FROM braze.verified_numbers")]

    project("run", "verified-in-postgres-to-braze", "braze-to-postgres-full")
    assert [len(post) for post in braze.removal_posts] == [50, 50, 50, 50, 40]
    assert len(braze.entries()) == 300 - 120

    run = command("tap-braze-sms", config=config_for(braze, phone_numbers=verified))
    status = [message["record"] for message in run.of("RECORD") if message["stream"] == "phone_number_status"]
    assert sorted(record["phone"] for record in status) == sorted(verified)
    assert not any(record["is_invalid"] for record in status)

    gone = "_sdc_deleted_at IS NOT NULL"
    assert sorted(phone for phone, _ in database.rows(where=gone)) == sorted(verified)
    assert database.rows(where=f"NOT ({gone})") == detections(braze)


def test_older_days_read_again_show_what_left_the_list_and_what_is_loaded(braze, database, load, command, settings):
    """The queries are those of the guide."""
    guide = (ROOT / "docs" / "warehouses.md").read_text()
    left, loaded = (
        guide.split(f"```sql\n-- {name}\n")[1].split("```")[0] for name in ("left the list", "listed and loaded")
    )
    settings = settings | {"reread_days": 8, "read_windows": True, "emit_activate_version_messages": False}
    run = command("tap-braze-sms", config=settings)
    load(run.out)
    assert database.ask(left) == []

    before, gone, seen = detections(braze), set(), []
    for _ in range(4):
        gone |= {(entry.phone, entry.detected_at.replace(tzinfo=None)) for entry in braze.remove_any(15)}
        run = command("tap-braze-sms", config=settings, state=run.state)
        load(run.out)
        seen.append(set(database.ask(left)))
        assert seen[-1] <= gone
    # Once around: what left before the first of these runs is known by now, and nothing that was there then is untold.
    assert seen == sorted(seen, key=len)
    still = set(database.rows()) - seen[-1]
    assert set(detections(braze)) <= still
    for _ in range(4):
        run = command("tap-braze-sms", config=settings, state=run.state)
        load(run.out)
    assert set(database.ask(left)) == gone
    assert set(database.rows()) - gone == set(detections(braze))
    assert len(before) == len(gone) + len(detections(braze))
    assert all(listed == there for *_, listed, there in database.ask(loaded))
