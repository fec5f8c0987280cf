"""The whole way into DuckDB: `meltano run`, and its parts: the loader alone, with the tap, and with Meltano."""

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

from contenders import API_KEY, MOST, PROJECT

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
    warehouse = FOLDER / "warehouse.duckdb"
    loader = {"filepath": str(warehouse), "default_target_schema": "braze", "add_metadata_columns": False}
    (FOLDER / "loader.json").write_text(json.dumps(loader))
    settings = {
        "TAP_BRAZE_SMS_API_KEY": API_KEY,
        "TAP_BRAZE_SMS_API_URL": url,
        "TAP_BRAZE_SMS_START_DATE": str(start),
        "TAP_BRAZE_SMS_MAX_PARALLEL_REQUESTS": str(MOST),
        "TARGET_DUCKDB_FILEPATH": str(warehouse),
        # Bookmarks apart from the project's own.
        "MELTANO_DATABASE_URI": f"sqlite:///{FOLDER / 'meltano.db'}",
    }
    environment = {**environment, **settings, "NO_COLOR": "1"}
    tap = PROJECT / ".meltano" / "extractors" / "tap-braze-sms" / "venv" / "bin" / "tap-braze-sms"
    pipe = f"{tap} --config=ENV | {LOADER} --config loader.json"
    nothing = Path(os.devnull)
    # Meltano makes its database when it is first called, which a schedule's runs do not wait for.
    timed([*MELTANO_DEV, "state", "list"], environment, nothing)
    jobs: dict[str, tuple[list[str | Path], Path, Path]] = {
        "loader_alone": ([LOADER, "--config", "loader.json"], FOLDER, messages),
        "pipe": (["bash", "-o", "pipefail", "-c", pipe], FOLDER, nothing),
        "meltano_recorded": ([*MELTANO_DEV, "run", "tap-recorded", "target-duckdb"], recorded(messages), nothing),
        "meltano_run": ([*MELTANO_DEV, "run", "tap-braze-sms", "target-duckdb"], PROJECT, nothing),
    }
    found = {}
    for name, (command, folder, given) in jobs.items():
        warehouse.unlink(missing_ok=True)
        wall = timed(command, environment, given, folder)
        found[name] = {"wall": wall, "written": rows(warehouse)}
    return found


def recorded(messages: Path) -> Path:
    """Make a Meltano project like this one, with a tap that prints what another has written, and return its folder."""
    project = FOLDER / "project"
    (project / ".meltano").mkdir(parents=True)
    (project / ".meltano" / "loaders").symlink_to(PROJECT / ".meltano" / "loaders")
    replay = project / "replay"
    replay.write_text(f'#!/bin/sh\nexec cat "{messages}"\n')
    replay.chmod(0o755)
    plugin = f"  - {{name: tap-recorded, namespace: tap_recorded, executable: {replay}}}\n"
    whole = (PROJECT / "meltano.yml").read_text()
    (project / "meltano.yml").write_text(whole.replace("  extractors:\n", "  extractors:\n" + plugin, 1))
    return project


def rows(warehouse: Path) -> int:
    """Count the rows loaded."""
    import duckdb  # noqa: PLC0415  (not needed where nothing is loaded)

    with duckdb.connect(str(warehouse), read_only=True) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM braze.invalid_phone_numbers").fetchall()
    return int(count)


def timed(command: list[str | Path], environment: dict[str, str], given: Path, folder: Path = PROJECT) -> float:
    """Return the seconds a command takes, its input from a file."""
    with contextlib.ExitStack() as files:
        log = files.enter_context((FOLDER / "log.txt").open("a"))
        source = files.enter_context(given.open("rb"))
        started = time.monotonic()
        subprocess.run(command, cwd=folder, env=environment, stdin=source, stdout=log, stderr=log, check=True)
        return time.monotonic() - started
