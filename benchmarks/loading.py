"""The whole way: `meltano run` into DuckDB, and the loader alone fed the same messages from a file."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from contenders import API_KEY, PARALLEL, PROJECT

if t.TYPE_CHECKING:
    import datetime as dt

MELTANO = Path(sys.executable).with_name("meltano")
MELTANO_DEV: list[str | Path] = [MELTANO, "--environment", "dev"]
LOADER = PROJECT / ".meltano" / "loaders" / "target-duckdb" / "venv" / "bin" / "target-duckdb"
FOLDER = PROJECT / "output" / "bench" / "loading"


def measured(url: str, start: dt.date, messages: Path, environment: dict[str, str]) -> dict[str, dict[str, t.Any]]:
    """Return the seconds of each, and the rows it loaded."""
    if not MELTANO.exists() or not LOADER.exists():
        sys.exit("--meltano needs the demo's environment: run `make demo` before")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    warehouse, alone = FOLDER / "warehouse.duckdb", FOLDER / "alone.duckdb"
    settings = {
        "TAP_BRAZE_SMS_API_KEY": API_KEY,
        "TAP_BRAZE_SMS_API_URL": url,
        "TAP_BRAZE_SMS_START_DATE": str(start),
        "TAP_BRAZE_SMS_MAX_PARALLEL_REQUESTS": str(PARALLEL),
        "TARGET_DUCKDB_FILEPATH": str(warehouse),
        # Bookmarks apart from the project's own.
        "MELTANO_DATABASE_URI": f"sqlite:///{FOLDER / 'meltano.db'}",
    }
    environment = {**environment, **settings, "NO_COLOR": "1"}
    config = FOLDER / "loader.json"
    config.write_text(
        json.dumps({"filepath": str(alone), "default_target_schema": "braze", "add_metadata_columns": False})
    )
    nothing = Path(os.devnull)
    # Meltano makes its database when it is first called, which a schedule's runs do not wait for.
    timed([*MELTANO_DEV, "state", "list"], environment, nothing)
    run = timed([*MELTANO_DEV, "run", "tap-braze-sms", "target-duckdb"], environment, nothing)
    loader = timed([LOADER, "--config", config], environment, messages)
    return {
        "meltano_run": {"wall": run, "written": rows(warehouse)},
        "loader_alone": {"wall": loader, "written": rows(alone)},
    }


def rows(warehouse: Path) -> int:
    """Count the rows loaded."""
    import duckdb  # noqa: PLC0415  (not needed where nothing is loaded)

    with duckdb.connect(str(warehouse), read_only=True) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM braze.invalid_phone_numbers").fetchall()
    return int(count)


def timed(command: list[str | Path], environment: dict[str, str], given: Path) -> float:
    """Return the seconds a command takes, its input from a file."""
    with contextlib.ExitStack() as files:
        log = files.enter_context((FOLDER / "log.txt").open("a"))
        source = files.enter_context(given.open("rb"))
        started = time.monotonic()
        subprocess.run(command, cwd=PROJECT, env=environment, stdin=source, stdout=log, stderr=log, check=True)
        return time.monotonic() - started
