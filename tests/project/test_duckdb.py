"""The list in DuckDB, where its loader installs: loaded by its schedule, once, and typed."""

from __future__ import annotations

import datetime as dt

import pytest

from braze_simulator import Simulator, seeded
from support.meltano_project import Project, executable
from support.runs import KEY

pytestmark = pytest.mark.timeout(240)

DAYS = 30


def test_the_list_is_loaded_into_a_file_and_a_record_read_again_replaces_its_row(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    executable("loaders", "target-duckdb")
    with Simulator(seeded(2500, days=DAYS), api_key=KEY) as braze:
        settings = {
            "TAP_BRAZE_SMS_API_KEY": KEY,
            "TAP_BRAZE_SMS_API_URL": braze.url,
            "TAP_BRAZE_SMS_START_DATE": dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=DAYS + 1),
        }
        project = Project(tmp_path / "project", settings)
        try:
            project("schedule", "run", "daily-braze")
            braze.detect(40, minutes=4)
            # The lookback reads some again, as every run does.
            project("run", "braze-to-duckdb")
        finally:
            project.end()
        listed = sorted((entry.phone, entry.detected_at.replace(tzinfo=None)) for entry in braze.entries())
    with duckdb.connect(str(project.folder / "output" / "warehouse.duckdb"), read_only=True) as warehouse:
        table = warehouse.table("braze.invalid_phone_numbers")
        assert dict(zip(table.columns, map(str, table.types), strict=True)) == {
            "phone": "VARCHAR",
            "invalid_detected_at": "TIMESTAMP",
            "reason": "VARCHAR",
        }
        assert sorted(table.select("phone", "invalid_detected_at").fetchall()) == listed
