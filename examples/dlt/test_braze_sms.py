"""The pipeline as its README runs it, on a simulated Braze: what DuckDB holds, what the next run reads, what fails."""

from __future__ import annotations

import datetime as dt
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from braze_simulator import Simulator, digits, seeded

HERE = Path(__file__).resolve().parent
KEY = "simulator-key"
DAY = re.compile(r"\d{4}-\d\d-\d\d")


class Pipeline:
    """The example in a folder of its own, and the warehouse that it fills."""

    def __init__(self, braze, folder):
        self.folder = folder
        (folder / ".venv").symlink_to(sys.prefix)
        shutil.copy(HERE / "braze_sms.py", folder)
        shutil.copytree(HERE / ".dlt", folder / ".dlt")
        # dlt remembers in the user's home, or root's in /var, where a pipeline of this name writes.
        self.environment = {**os.environ, "DLT_DATA_DIR": str(folder), "SOURCES__BRAZE_SMS__API_URL": braze.url}
        self.lines = re.search(r"```shell\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL)[1].splitlines()

    def run(self, *days, key=KEY, failing=False):
        """Run README's line that names as many days as these; return what it said."""
        (line,) = (line for line in self.lines if "braze_sms.py" in line and len(DAY.findall(line)) == len(days))
        fitting = iter(days)
        arguments = shlex.split(DAY.sub(lambda _: next(fitting), line), comments=True)
        variable = re.search(r"(\w+)=…", "\n".join(self.lines))[1]
        done = subprocess.run(
            arguments,
            cwd=self.folder,
            env={**self.environment, variable: key},
            capture_output=True,
            text=True,
            check=False,
        )
        assert bool(done.returncode) is failing, done.stderr
        return done.stderr

    def rows(self):
        with duckdb.connect(str(self.folder / "warehouse.duckdb"), read_only=True) as warehouse:
            select = "SELECT phone, invalid_detected_at, reason FROM braze.invalid_phone_numbers"
            return sorted((digits(phone), at, reason or "") for phone, at, reason in warehouse.sql(select).fetchall())


def events(entries):
    return sorted((digits(entry.phone), entry.detected_at, entry.reason or "") for entry in entries)


@pytest.fixture
def braze():
    with Simulator(seeded(3_000, days=200), api_key=KEY) as serving:
        yield serving


@pytest.fixture
def pipeline(braze, tmp_path):
    return Pipeline(braze, tmp_path)


def test_the_list_is_loaded_once_and_then_what_came(braze, pipeline):
    pipeline.run()
    assert pipeline.rows() == events(braze.entries())

    braze.detect(5, minutes=3)
    braze.requests.clear()
    pipeline.run()
    assert pipeline.rows() == events(braze.entries())
    assert len(braze.requests) <= 2


def test_nothing_is_lost_while_numbers_leave_the_list(braze, pipeline):
    before = {tuple(event) for event in events(braze.entries())}
    braze.behaviour.change({"removals_per_page": 0.4})
    pipeline.run()
    assert braze.removed
    assert set(events(braze.entries())) <= set(pipeline.rows()) <= before
    assert len(pipeline.rows()) == len(set(pipeline.rows()))


def test_some_days_alone_leave_the_rest_and_the_place_to_go_on_from(braze, pipeline):
    today = dt.datetime.now(dt.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    first, end = (today - dt.timedelta(days=ago) for ago in (90, 60))
    wanted = events(entry for entry in braze.entries() if first <= entry.detected_at < end)
    assert wanted
    for _ in range(2):
        pipeline.run(str(first.date()), str(end.date()))
        assert pipeline.rows() == wanted

    pipeline.run()
    assert pipeline.rows() == events(braze.entries())


def test_a_run_that_fails_leaves_everything_as_it_was_and_says_why(braze, pipeline):
    pipeline.run()
    rows = pipeline.rows()
    braze.detect(5, minutes=3)

    assert "it does not accept the API key" in pipeline.run(key="another", failing=True)
    assert pipeline.rows() == rows

    pipeline.run()
    assert pipeline.rows() == events(braze.entries())
