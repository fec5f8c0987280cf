"""The whole way into DuckDB: `meltano run`, and its parts: the loader alone, with the tap, and with Meltano."""

from __future__ import annotations

import json
import shutil
import sys
import typing as t
from pathlib import Path

import measure
from contenders import API_KEY, MOST, PROJECT

if t.TYPE_CHECKING:
    import datetime as dt

MELTANO = Path(sys.executable).with_name("meltano")
MELTANO_DEV: list[str | Path] = [MELTANO, "--environment", "dev"]
LOADER = PROJECT / ".meltano" / "loaders" / "target-duckdb" / "venv" / "bin" / "target-duckdb"
FOLDER = PROJECT / "output" / "bench" / "loading"
COUNTED = "counted"

#: The loader, telling afterwards how long it was there, and how long it waited for input: for the first record, and
#: from then on.
TIMED = """\
#!{python}
import io, json, sys, time
began = time.monotonic()
from target_duckdb import main

class Input(io.FileIO):
    waited = [0.0, 0.0]
    recording = False

    def readinto(self, buffer):
        asked = time.monotonic()
        size = super().readinto(buffer)
        self.waited[self.recording] += time.monotonic() - asked
        self.recording |= b'"RECORD"' in bytes(buffer[:size])
        return size

sys.stdin = io.TextIOWrapper(io.BufferedReader(Input(0)))
main()
first, later = Input.waited
with open({times!r}, "w") as file:
    json.dump({{"loader_wall": time.monotonic() - began, "for_the_first": first, "for_later": later}}, file)
"""


def measured(url: str, start: dt.date, messages: Path, environment: dict[str, str]) -> dict[str, dict[str, t.Any]]:
    """Return of each the seconds, those of CPU, those of the loader, and the rows it loaded."""
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
    times = FOLDER / "loader_times.json"
    loader_script = FOLDER / "target-duckdb"
    script(loader_script, TIMED.format(python=LOADER.with_name("python"), times=str(times)))
    load = f"{loader_script} --config {FOLDER / 'loader.json'}"
    shell = ["/usr/bin/env", "bash", "-o", "pipefail", "-c"]
    project = installed(messages, loader_script)

    def measured_in_project(name: str, command: list[str | Path]) -> dict[str, t.Any]:
        output, log = FOLDER / f"{name}.out", FOLDER / f"{name}.log"
        result = measure.run(command, environment=environment, output=output, log=log, folder=project)
        if result["exit"]:
            sys.exit(f"{name} failed: see {log}")
        return result

    # Its own database, and what the tap can do, Meltano finds out once; a schedule's runs do not wait for that.
    measured_in_project("discovery", [*MELTANO_DEV, "invoke", "--no-install", "--dump=catalog", "tap-braze-sms"])
    run = [*MELTANO_DEV, "run", "--no-install"]
    jobs: dict[str, list[str | Path]] = {
        "loader_alone": [*shell, f"{load} < {messages}"],
        "pipe": [*shell, f"{tap} --config=ENV | {load}"],
        "meltano_recorded": [*run, "tap-recorded", "target-duckdb"],
        "meltano_unloaded": [*run, "tap-braze-sms", "target-counting"],
        "meltano_run": [*run, "tap-braze-sms", "target-duckdb"],
    }
    found = {}
    for name, command in jobs.items():
        warehouse.unlink(missing_ok=True)
        times.unlink(missing_ok=True)
        result = measured_in_project(name, command)
        found[name] = {"wall": result["wall"], "cpu": result["cpu"]}
        if times.exists():
            found[name] |= {"written": rows(warehouse), **json.loads(times.read_text())}
        else:
            found[name]["written"] = int((project / COUNTED).read_text())
    return found


def script(path: Path, text: str) -> None:
    """Write a file that can be run."""
    path.write_text(text)
    path.chmod(0o755)


def installed(messages: Path, loader: Path) -> Path:
    """Make a Meltano project of the tap as users have it and this loader, and one of either that costs nothing."""
    project = FOLDER / "project"
    (project / ".meltano").mkdir(parents=True)
    for kind in ("extractors", "loaders"):
        (project / ".meltano" / kind).symlink_to(PROJECT / ".meltano" / kind)
    replay = project / "replay"
    script(replay, f'#!/bin/sh\nexec cat "{messages}"\n')
    counting = project / "counting"
    script(counting, f"""#!/bin/sh\nexec grep -c '^{{"type":"RECORD"' > "{project / COUNTED}"\n""")
    (project / "plugins").symlink_to(PROJECT / "plugins")
    whole = (PROJECT / "meltano.yml").read_text()
    for kind, name, program in (
        ("extractors", "tap-recorded", replay),
        ("loaders", "target-counting", counting),
    ):
        plugin = f"  - {{name: {name}, namespace: {name.replace('-', '_')}, executable: {program}}}\n"
        whole = whole.replace(f"  {kind}:\n", f"  {kind}:\n{plugin}", 1)
    # Of an editable plugin, Meltano asks the catalog before each run.
    whole = whole.replace("pip_url: -e .", "pip_url: tap-braze-sms")
    (project / "meltano.yml").write_text(whole.replace("executable: target-duckdb", f"executable: {loader}"))
    return project


def rows(warehouse: Path) -> int:
    """Count the rows loaded."""
    import duckdb  # noqa: PLC0415  (not needed where nothing is loaded)

    with duckdb.connect(str(warehouse), read_only=True) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM braze.invalid_phone_numbers").fetchall()
    return int(count)
