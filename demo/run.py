"""The demo: Braze's list into DuckDB with `meltano run`, twice, verified numbers back, and a chart of what was loaded.

`make demo` calls it, and a simulated Braze answers. It runs the project's own meltano.yml, keeps all it writes in
output/demo, which it empties first, and fails where the warehouse and Braze do not hold the same records in the end.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import typing as t
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import chart
import duckdb

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

RECORDS = 50_000
DAYS = 365
#: The part of the list that one bad day brought.
BURST_SHARE = 0.03
#: As if Braze were in another town, so that one request after another would be felt.
LATENCY_MS = 50
DETECTIONS = 120
DETECTED_WITHIN_MINUTES = 30
VERIFIED = 120
PAGE_SIZE = 500

#: Seconds: what must have gone wrong after so long is better read than waited for.
SIMULATOR_STARTS_WITHIN = 30
COMMAND_ENDS_WITHIN = 300
PROCESS_STOPS_WITHIN = 10

PROJECT = Path(__file__).resolve().parent.parent
#: Not the project's own output: a warehouse with real rows may lie there.
FOLDER = PROJECT / "output" / "demo"
WAREHOUSE = FOLDER / "warehouse.duckdb"
ENV_FILE = FOLDER / "demo.env"
LOG = FOLDER / "meltano.log"
PICTURE = FOLDER / "invalid-numbers-per-day.svg"
VERIFIED_FILE = FOLDER / "verified.csv"

#: Beside the Python that runs this, whatever PATH says.
MELTANO = Path(sys.executable).with_name("meltano")
API_KEY = "demo-key"
#: Where Meltano keeps what the runs leave, here in files; apart from the project's own.
STATES = FOLDER / "state"
STATE_ID = "dev:tap-braze-sms-to-target-duckdb"
#: Settings that Meltano would rather take from the caller's environment than from the demo's file.
FOREIGN = ("MELTANO_", "TAP_BRAZE_SMS_", "TARGET_BRAZE_SMS_", "TARGET_DUCKDB_")

INDENT = "   "


class DemoError(Exception):
    """What ends the demo early, in words for its reader."""


@dataclass(frozen=True, slots=True)
class Braze:
    """The simulated Braze, seen through its control endpoint."""

    url: str

    def totals(self) -> dict[str, t.Any]:
        """Return how many entries it holds and how many requests it answered."""
        return self._control("GET", "")

    def detect(self, count: int, minutes: int) -> None:
        """Let it find further numbers invalid, within the last minutes."""
        self._control("POST", "/detect", {"count": count, "minutes": minutes})

    def listed(self, phones: set[str]) -> int:
        """Return how many of some numbers are on the list."""
        return sum(phone in phones for phone, _ in self.detections())

    def detections(self) -> set[tuple[str, dt.datetime]]:
        """Return all it holds: which number, and when it was found invalid."""
        entries = self._control("GET", f"/entries?limit={2 * RECORDS}")["entries"]
        return {(entry["phone"], dt.datetime.fromisoformat(entry["detected_at"])) for entry in entries}

    def _control(self, method: str, path: str, body: dict[str, int] | None = None) -> dict[str, t.Any]:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.url}/_simulator{path}", data, method=method)  # noqa: S310  (localhost)
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  (localhost)
            answer: dict[str, t.Any] = json.load(response)
        return answer


# What the reader sees


def say(text: str = "") -> None:
    """Print an indented paragraph, at once even into a pipe."""
    print("\n".join(f"{INDENT}{line}".rstrip() for line in text.split("\n")), flush=True)


_steps = itertools.count(1)


def headline(text: str) -> None:
    """Print the next step's number and title."""
    print(f"\n{next(_steps)}  {text}", flush=True)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns, numbers to the right."""
    body = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    to_the_right = [
        all(cell.replace(",", "").replace(".", "").isdecimal() for cell in column) for column in zip(*body, strict=True)
    ]
    for cells in [header, ["─" * width for width in widths], *body]:
        aligned = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, to_the_right, strict=True)
        )
        say("  " + "   ".join(aligned))


def shown(path: Path) -> str:
    """Name a file as seen from the project."""
    return os.path.relpath(path, PROJECT)


# What is asked of the programs


def query(sql: str) -> list[tuple[t.Any, ...]]:
    """Ask the warehouse, and let go of it: DuckDB has one writer."""
    if not WAREHOUSE.exists():
        return []
    with duckdb.connect(str(WAREHOUSE), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def rows_in_warehouse() -> int:
    """Count the rows, 0 before there is a table."""
    ((count,),) = query(f"SELECT count(*) FROM {chart.TABLE}") or [(0,)]  # noqa: S608  (a constant)
    return int(count)


def stop(process: subprocess.Popen[t.Any]) -> None:
    """End a process that has not ended: asked first, then made to."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(PROCESS_STOPS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def meltano(*arguments: str) -> None:
    """Run a Meltano command with the demo's settings; all it says goes to the log file.

    Raises:
        DemoError: It failed, or did not end.
    """
    command = [str(MELTANO), "--environment", "dev", "--env-file", str(ENV_FILE), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    with LOG.open("a", encoding="utf-8") as log:
        print("$ meltano", *arguments, file=log, flush=True)
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**environment, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            process.wait(COMMAND_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            msg = f"`meltano {' '.join(arguments)}` did not end within {COMMAND_ENDS_WITHIN} seconds"
            raise DemoError(msg) from None
        finally:
            stop(process)
    if process.returncode:
        msg = f"`meltano {' '.join(arguments)}` failed with exit code {process.returncode}"
        raise DemoError(msg)


@contextlib.contextmanager
def simulator() -> Iterator[Braze]:
    """Run Braze's simulator in a process of its own while the demo lasts."""
    port_file = FOLDER / "simulator.port"
    options = {
        "--api-key": API_KEY,
        "--records": RECORDS,
        "--days": DAYS,
        "--burst-share": BURST_SHARE,
        "--latency-ms": LATENCY_MS,
        "--port": 0,
        "--port-file": port_file,
    }
    command = [sys.executable, "-m", "braze_simulator", *itertools.chain.from_iterable(options.items())]
    with (FOLDER / "simulator.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + SIMULATOR_STARTS_WITHIN
        while not port_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                msg = f"the simulator did not start; see {shown(FOLDER / 'simulator.log')}"
                raise DemoError(msg)
            time.sleep(0.05)
        yield Braze(f"http://127.0.0.1:{port_file.read_text(encoding='ascii').strip()}")
    finally:
        stop(process)


# The acts


def prepare(braze: Braze) -> None:
    """Write the settings that a real project would keep in .env."""
    settings = {
        "TAP_BRAZE_SMS_API_KEY": API_KEY,
        "TAP_BRAZE_SMS_API_URL": braze.url,
        "TAP_BRAZE_SMS_START_DATE": dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=DAYS + 1),
        "TAP_BRAZE_SMS__VERIFIED_PHONE_NUMBERS_FILE": VERIFIED_FILE,
        "TARGET_BRAZE_SMS_API_KEY": API_KEY,
        "TARGET_BRAZE_SMS_API_URL": braze.url,
        "TARGET_DUCKDB_FILEPATH": WAREHOUSE,
        "MELTANO_DATABASE_URI": f"sqlite:///{FOLDER / 'meltano.db'}",
        "MELTANO_STATE_BACKEND_URI": STATES.as_uri(),
    }
    ENV_FILE.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
    headline("A stand-in for Braze starts on this machine")
    say(f"{braze.url} lists {braze.totals()['entries']:,} phone numbers found invalid")
    say(f"in the last {DAYS} days, and takes {LATENCY_MS} ms for each answer.")


def load(braze: Braze) -> None:
    """Run the pipeline and print what it cost and brought."""
    rows, requests = rows_in_warehouse(), braze.totals()["requests"]
    say("$ meltano run tap-braze-sms target-duckdb")
    started = time.monotonic()
    meltano("run", "tap-braze-sms", "target-duckdb")
    seconds = time.monotonic() - started
    after = rows_in_warehouse()
    # Starting Meltano, two plugins and DuckDB's work are in the seconds, too; the tap measures its own.
    *_, reading = re.findall(r"metric_name=sync_duration metric_value=([\d.]+)", LOG.read_text(encoding="utf-8"))
    table(
        ("rows in the warehouse", "new", "requests to Braze", "seconds", "tap alone"),
        [(after, after - rows, braze.totals()["requests"] - requests, f"{seconds:.1f}", f"{float(reading):.1f}")],
    )


def first_load(braze: Braze) -> None:
    """Load everything."""
    headline("The first run reads the whole list")
    load(braze)
    say(f"Braze gives at most {PAGE_SIZE} numbers a request: {RECORDS // PAGE_SIZE} requests would be the fewest.")
    say("The rest of the seconds is Meltano and the plugins starting, and DuckDB.")


def second_load(braze: Braze) -> None:
    """Load what came since."""
    headline(f"Braze finds {DETECTIONS} more numbers invalid, and the same command runs again")
    braze.detect(DETECTIONS, DETECTED_WITHIN_MINUTES)
    load(braze)
    say("Meltano kept the bookmark that the first run left, so the second asked only")
    say("for what came since, and for the hour before, in case Braze was late with")
    say("something. The bookmark now:")
    (file,) = (file for file in STATES.rglob("state.json") if file.parent.name == STATE_ID)
    state = json.loads(file.read_text(encoding="utf-8"))["completed"]["singer_state"]
    say(json.dumps(state, indent=2))


def compare(braze: Braze) -> None:
    """Hold the warehouse against Braze, record by record.

    Raises:
        DemoError: They differ.
    """
    headline("The warehouse against Braze, record by record")
    held = braze.detections()
    rows = query(f"SELECT phone, invalid_detected_at FROM {chart.TABLE}")  # noqa: S608  (a constant)
    loaded = {(phone, when.replace(tzinfo=dt.timezone.utc)) for phone, when in rows}
    table(
        ("Braze holds", "the warehouse", "missing", "not Braze's", "doubled"),
        [(len(held), len(rows), len(held - loaded), len(loaded - held), len(rows) - len(loaded))],
    )
    if held != loaded or len(rows) != len(held):
        msg = "the warehouse does not hold what Braze holds"
        raise DemoError(msg)
    say("The same.")


def hand_back(braze: Braze) -> None:
    """Take numbers that were verified off the list, and look them up again.

    Raises:
        DemoError: Some are still on it.
    """
    headline(f"{VERIFIED} customers confirm their numbers, which go back to Braze")
    phones = [phone for (phone,) in query(f"SELECT phone FROM {chart.TABLE} ORDER BY hash(phone) LIMIT {VERIFIED}")]  # noqa: S608
    VERIFIED_FILE.write_text("".join(f"{phone}\n" for phone in ["phone", *phones]), encoding="utf-8")
    with ENV_FILE.open("a", encoding="utf-8") as file:
        file.write(f"TAP_BRAZE_SMS_PHONE_NUMBERS_FILE={VERIFIED_FILE}\n")
    before, posts = braze.listed(set(phones)), braze.totals()["removal_posts"]
    say(f"Their numbers are in {shown(VERIFIED_FILE)}. The job verified-to-braze")
    say("asks Braze which of them it lists, and takes those off. The usual run after")
    say("it looks them all up, into the table braze.phone_number_status.")
    say("$ meltano run verified-to-braze tap-braze-sms target-duckdb")
    meltano("run", "verified-to-braze", "tap-braze-sms", "target-duckdb")
    ((asked, valid),) = query("SELECT count(*), count(*) FILTER (NOT is_invalid) FROM braze.phone_number_status")
    table(
        ("on Braze's list before", "after", "requests that removed", "looked up", "valid"),
        [(before, braze.listed(set(phones)), braze.totals()["removal_posts"] - posts, asked, valid)],
    )
    if not before == asked == valid:
        msg = "Braze does not hold all verified numbers for valid"
        raise DemoError(msg)


def look_inside(_braze: Braze) -> None:
    """Show what an analyst would ask first."""
    headline(f"What the warehouse knows: the table {chart.TABLE}")
    say("The newest:")
    table(
        ("phone", "invalid_detected_at", "reason"),
        query(f"""
            SELECT phone, strftime(invalid_detected_at, '%Y-%m-%d %H:%M:%S.%g'), coalesce(reason, '')
            FROM {chart.TABLE} ORDER BY invalid_detected_at DESC LIMIT 3
        """),  # noqa: S608  (constants)
    )
    say()
    say("In all:")
    table(
        ("reason", "numbers"),
        query(f"SELECT coalesce(reason, '(none)'), count(*) FROM {chart.TABLE} GROUP BY 1 ORDER BY 2 DESC"),  # noqa: S608  (a constant)
    )
    say()
    say("Found invalid a week, by reason:")
    say()
    drawing = chart.Chart(query(chart.PER_DAY))
    for line in drawing.text(colours=chart.in_colour()):
        say(f"  {line}")
    PICTURE.write_text(drawing.picture(), encoding="utf-8")
    say()
    say(f"Day by day, as a picture: {shown(PICTURE)}")


ACTS = (prepare, first_load, second_load, compare, hand_back, look_inside)


def main() -> None:
    """Play the acts, clean up, and say where to look further."""
    # A plain kill ends the demo like Ctrl-C does, so that no process is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    print("Braze's list of invalid phone numbers, kept in a warehouse")
    try:
        with simulator() as braze:
            for act in ACTS:
                act(braze)
    except DemoError as error:
        lines = LOG.read_text(encoding="utf-8").splitlines() if LOG.exists() else []
        sys.exit("\n".join(["", *lines[-40:], "", f"The demo failed: {error}.", f"Meltano's log: {shown(LOG)}"]))
    except KeyboardInterrupt:
        print("\nStopped.")
        sys.exit(128 + signal.SIGINT)
    script = (
        f"import duckdb; db = duckdb.connect('{shown(WAREHOUSE)}'); "
        "db.table('braze.phone_number_status').limit(5).show()"
    )
    print("\nTo look further")
    say(f"the warehouse   {shown(WAREHOUSE)}")
    say(f"the picture     {shown(PICTURE)}")
    say(f"Meltano's log   {shown(LOG)}")
    say("a query")
    say(f'{shown(Path(sys.executable))} -c "{script}"')


if __name__ == "__main__":
    main()
