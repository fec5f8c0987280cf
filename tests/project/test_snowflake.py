"""Snowflake's loader, as docs/warehouses.md configures it, on a stand-in for Snowflake: messages, BATCH files, types.

It needs both, in an environment of their own: `make test-snowflake` makes that and names its Python in SNOWFLAKE. What
the stand-in is, and what it cannot say, is in `support/snowflake_stand_in.py`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from braze_simulator import Simulator, seeded
from support.paths import ROOT
from support.runs import KEY, config_for, fixed

PYTHON = os.environ.get("SNOWFLAKE")

pytestmark = pytest.mark.skipif(not PYTHON, reason="needs Snowflake's loader: `make test-snowflake` brings it")

stands_in = pytest.mark.skipif(sys.version_info < (3, 11), reason="fakesnow needs Python 3.11")

GUIDE = (ROOT / "docs" / "warehouses.md").read_text()
_, _, SECTION = GUIDE.partition("\n### Snowflake\n")
#: What fakesnow makes of Snowflake's types.
AS_DUCKDB = {"VARCHAR": "VARCHAR", "TIMESTAMP_NTZ": "TIMESTAMP", "DATE": "DATE", "DECIMAL": "BIGINT"}
(LOADER,) = yaml.safe_load(re.search(r"```yaml\n(.*?)```", SECTION, re.DOTALL)[1])


def stand_in(mode, *arguments, given=b""):
    script = ROOT / "tests" / "support" / "snowflake_stand_in.py"
    done = subprocess.run([PYTHON, script, mode, *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Warehouse:
    """Databases of the test's own, and the loader with the guide's settings."""

    def __init__(self, folder):
        self.folder = folder / "snowflake"
        self.folder.mkdir()
        self.config = folder / "target-snowflake.json"
        # Nobody looks at a key; a password takes its place, and no file.
        settings = {name: value for name, value in LOADER["config"].items() if name != "private_key_path"}
        self.config.write_text(json.dumps({**settings, "password": "none"}))

    def load(self, messages):
        """Load a tap's output, and return the last STATE."""
        out = stand_in("load", self.folder, "--config", self.config, given=messages)
        return json.loads(out.splitlines()[-1])

    def ask(self, statement):
        return [tuple(row) for row in json.loads(stand_in("ask", self.folder, statement))]

    def rows(self):
        columns = "phone, strftime(invalid_detected_at, '%Y-%m-%dT%H:%M:%S.%f+00:00'), reason"
        return sorted(self.ask(f"SELECT {columns} FROM braze.invalid_phone_numbers"), key=str)  # noqa: S608

    def columns(self):
        """Return the type of each column but the loader's own, by its name in small letters."""
        found = self.ask("SELECT lower(column_name), data_type FROM duckdb_columns() WHERE schema_name = 'BRAZE'")
        return {name: kind for name, kind in found if not name.startswith("_sdc_")}


def events(braze):
    return sorted(((entry.phone, fixed(entry.detected_at), entry.reason) for entry in braze.entries()), key=str)


@pytest.fixture
def braze():
    with Simulator(seeded(400, days=60), api_key=KEY) as serving:
        # Within the hour that every run reads again.
        serving.detect(5, minutes=40)
        yield serving


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path)


def columns_in_the_guide():
    """Return the type of each column in Snowflake, as the guide has it."""
    _, _, section = GUIDE.partition("\n### Types of columns\n")
    table = re.findall(r"^\| (`.*`) \| `(\w+)` \| `\w+` \|$", section.partition("\n### ")[0], re.MULTILINE)
    return {name: kind for names, kind in table for name in re.findall(r"`(\w+)`", names)}


def test_the_guide_names_the_release_that_is_tested():
    assert LOADER["pip_url"] in (ROOT / "requirements" / "snowflake.txt").read_text().splitlines()


def test_the_guide_says_which_types_columns_have():
    made = json.loads(stand_in("types", *(ROOT / "schemas").glob("*.json")))
    assert made["invalid_phone_numbers"]
    assert {name: kind for columns in made.values() for name, kind in columns.items()} == columns_in_the_guide()


@stands_in
@pytest.mark.parametrize("kind", ["messages", "BATCH"])
def test_each_row_is_there_once_after_a_first_load_and_the_next_run(command, braze, warehouse, tmp_path, kind):
    config = config_for(braze, read_windows=True)
    batches = {"batch_config": {"batch_size": 150, "storage": {"root": str(tmp_path)}}} if kind == "BATCH" else {}
    first = command("tap-braze-sms", config={**config, **batches})
    files = [Path(urlsplit(url).path) for batch in first.of("BATCH") for url in batch["manifest"]]
    assert len(files) == (3 if batches else 0)
    assert all(file.exists() for file in files)
    assert warehouse.load(first.out) == first.state
    assert warehouse.rows() == events(braze)
    # As the guide says: the loader deletes the files that it has loaded, and puts no metadata beside their rows.
    assert not any(file.exists() for file in files)
    (empty,) = warehouse.ask("SELECT count(*) FROM braze.invalid_phone_numbers WHERE _sdc_extracted_at IS NULL")
    assert empty == (len(braze.entries()) if batches else 0,)

    braze.detect(7, minutes=3)
    second = command("tap-braze-sms", config=config, state=first.state)
    again = [each for each in second.of("RECORD") if each["stream"] == "invalid_phone_numbers"]
    assert 7 < len(again) < 100
    assert warehouse.load(second.out) == second.state
    assert warehouse.rows() == events(braze)

    windows = [each for run in (first, second) for each in run.of("RECORD") if each["stream"] == "read_windows"]
    assert warehouse.ask("SELECT count(*) FROM braze.read_windows") == [(len(windows),)]
    told = columns_in_the_guide()
    sent = {name for message in second.of("SCHEMA") for name in message["schema"]["properties"]}
    assert warehouse.columns() == {name: AS_DUCKDB[told[name]] for name in sent}
