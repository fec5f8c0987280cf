"""A first load by BATCH files into Postgres, as Meltano's users do it (promise 24)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from braze_simulator import Simulator, seeded
from support.meltano_project import variables
from support.runs import KEY, detections

pytestmark = pytest.mark.timeout(240)

DAYS = 40
JOB = "braze-to-postgres"
CLEAN = ("invoke", "--no-install", "tap-braze-sms:clean")


@pytest.fixture
def braze():
    with Simulator(seeded(2_000, days=DAYS), api_key=KEY) as serving:
        yield serving


@pytest.fixture
def root(tmp_path):
    """Where the folders of runs lie; the project's own folder for temporary files, which every run looks through."""
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


@pytest.fixture
def project(braze, database, root, meltano_project, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(root))
    settings = {"TAP_BRAZE_SMS_LOOKBACK_MINUTES": 0, "TARGET_POSTGRES_SQLALCHEMY_URL": database.url}
    return meltano_project(variables(braze, days=DAYS) | settings)


def numbers_in(root):
    """Return the files below a folder that hold a phone number; a run may be taking some away meanwhile."""
    found = []
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                if b'"phone":' in path.read_bytes():
                    found.append(path)
    return found


@pytest.mark.parametrize("how", ["batch_files", "batch_config"])
def test_a_first_load_in_files_and_the_hourly_runs_by_messages_share_one_state(project, braze, database, root, how):
    whole = json.dumps({"storage": {"root": str(root)}, "batch_size": 700})
    setting = {"TAP_BRAZE_SMS_BATCH_FILES": "true"} if how == "batch_files" else {"TAP_BRAZE_SMS_BATCH_CONFIG": whole}
    project.env(**{name: f"'{value}'" for name, value in setting.items()})
    log = project("run", JOB)
    assert database.rows() == detections(braze)
    assert "Read 2000 records" in log
    assert len(numbers_in(root)) == (1 if how == "batch_files" else 3)
    # As docs/warehouses.md says: loaders built on the SDK put no metadata beside rows of BATCH files.
    empty = (
        "_sdc_extracted_at IS NULL AND _sdc_received_at IS NULL AND _sdc_batched_at IS NULL "
        "AND _sdc_sequence IS NULL AND _sdc_table_version IS NULL AND _sdc_deleted_at IS NULL"
    )
    assert len(database.rows(where=empty)) == 2_000

    assert "Took away the BATCH files of 1 run; 0 more under way" in project(*CLEAN)
    assert list(root.glob("tap-braze-sms*")) == []

    project.env(TAP_BRAZE_SMS_BATCH_FILES="false")
    braze.detect(40, minutes=4)
    log = project("run", JOB)
    assert "Read 40 records" in log
    assert database.rows() == detections(braze)
    assert len(database.rows(where="_sdc_extracted_at IS NOT NULL")) == 40
    assert numbers_in(root) == []


def started_and_stuck(project, braze, root):
    """Start a run, and let Braze stop answering once the loader has some files and another is being written."""
    braze.behaviour.change({"fault_rate": 0.0, "latency": 0.1})
    before = len(numbers_in(root))
    run = project.start("run", "--force", JOB)
    # Those of the run before are gone, and some are there again.
    run.until(lambda: 2 < len(numbers_in(root)) != before)
    braze.behaviour.change({"fault_rate": 1.0, "fault_kinds": ["hang"], "latency": 0.0})
    answered = len(braze.requests)
    run.until(lambda: len(braze.requests) > answered)
    return run


def test_after_kill_9_of_tap_loader_and_meltano_the_next_run_completes_the_table_and_no_number_is_left(
    project, braze, database, root
):
    batches = {"storage": {"root": str(root)}, "batch_size": 60}
    project.env(
        TAP_BRAZE_SMS_BATCH_CONFIG=f"'{json.dumps(batches)}'",
        TAP_BRAZE_SMS_WINDOW_DAYS=2,
        TAP_BRAZE_SMS_PAGE_SIZE=50,
        TAP_BRAZE_SMS_MAX_PARALLEL_REQUESTS=2,
    )
    run = started_and_stuck(project, braze, root)
    run.plugin("tap-braze-sms").send_signal(signal.SIGKILL)
    assert "Extractor failed" in run.ends(failing=True)
    assert numbers_in(root)

    run = started_and_stuck(project, braze, root)
    run.plugin("target-postgres").send_signal(signal.SIGKILL)
    assert "Loader failed" in run.ends(failing=True)
    assert numbers_in(root)

    started_and_stuck(project, braze, root).kill()
    assert numbers_in(root)
    dead = set(root.glob("tap-braze-sms*"))
    assert dead

    braze.behaviour.fault_rate = 0.0
    project("run", "--force", JOB)
    assert database.rows() == detections(braze)
    assert dead.isdisjoint(root.glob("tap-braze-sms*"))

    # The next one by messages, as an hourly one is, takes away the files of the one before.
    assert numbers_in(root)
    project.env(TAP_BRAZE_SMS_BATCH_FILES="false")
    project("run", "--force", JOB)
    assert list(root.glob("*tap-braze-sms*")) == []
    assert numbers_in(root) == []
