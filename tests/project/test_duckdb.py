"""The list in DuckDB, where its loader installs: loaded by its schedule, once, and typed."""

from __future__ import annotations

import pytest

from braze_simulator import Simulator, seeded
from support.meltano_project import executable, variables
from support.runs import KEY, detections

pytestmark = pytest.mark.timeout(240)

DAYS = 30


def test_the_list_is_loaded_into_a_file_and_a_record_read_again_replaces_its_row(meltano_project):
    duckdb = pytest.importorskip("duckdb")
    executable("loaders", "target-duckdb")
    with Simulator(seeded(2500, days=DAYS), api_key=KEY) as braze:
        project = meltano_project(variables(braze, days=DAYS))
        project("schedule", "run", "daily-braze")
        braze.detect(40, minutes=4)
        # The lookback reads some again, as every run does.
        project("run", "braze-to-duckdb")
        listed = detections(braze)
    with duckdb.connect(str(project.folder / "output" / "warehouse.duckdb"), read_only=True) as warehouse:
        table = warehouse.table("braze.invalid_phone_numbers")
        assert dict(zip(table.columns, map(str, table.types), strict=True)) == {
            "phone": "VARCHAR",
            "invalid_detected_at": "TIMESTAMP",
            "reason": "VARCHAR",
        }
        assert sorted(table.select("phone", "invalid_detected_at").fetchall()) == listed
