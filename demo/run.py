"""The demo: Braze's list into Postgres with `meltano run`, twice, verified numbers back, what left marked, and a page.

`make demo` calls it; a simulated Braze answers, and Postgres is one that came in a wheel. It runs the project's own
meltano.yml, keeps all it writes in output/demo, which it empties first, and fails where the warehouse and Braze do not
hold the same records in the end.
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

import warehouse

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from warehouse import Warehouse

RECORDS = 30_000
DAYS = 365
#: The part of the list that one bad day brought.
BURST_SHARE = 0.03
#: As if Braze were in another town, so that one request after another would be felt.
LATENCY_MS = 50
DETECTIONS = 120
DETECTED_WITHIN_MINUTES = 30
VERIFIED = 120
#: Taken off the list by someone else, behind the warehouse's back.
LEFT = 80
PAGE_SIZE = 500

#: Seconds: what must have gone wrong after so long is better read than waited for.
SIMULATOR_STARTS_WITHIN = 30
COMMAND_ENDS_WITHIN = 300
PROCESS_STOPS_WITHIN = 10

PROJECT = Path(__file__).resolve().parent.parent
#: Not the project's own output: a warehouse with real rows may lie there.
FOLDER = PROJECT / "output" / "demo"
ENV_FILE = FOLDER / "demo.env"
LOG = FOLDER / "meltano.log"
MELTANO_DATABASE = FOLDER / "meltano.db"
REPORT = FOLDER / "report.html"
PICTURE = FOLDER / "invalid-numbers-per-day.svg"
LOOKED_UP_FILE = FOLDER / "verified.csv"

#: Beside the Python that runs this, whatever PATH says.
MELTANO = Path(sys.executable).with_name("meltano")
TABLE = "braze.invalid_phone_numbers"
API_KEY = "demo-key"
#: Where Meltano keeps what the runs leave, here in files; apart from the project's own.
STATES = FOLDER / "state"
STATE_ID = "dev:tap-braze-sms-to-target-postgres"
#: Settings that Meltano would rather take from the caller's environment than from the demo's file.
FOREIGN = ("DBT_", "MELTANO_", "TAP_", "TARGET_")

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

    def remove_any(self, count: int) -> None:
        """Let numbers leave the list, as if somebody else had taken them off."""
        self._control("POST", "/remove", {"count": count})

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


def rows_in(table: str, held: Warehouse) -> int:
    """Count the rows of a table, 0 before there is one."""
    if held.query(f"SELECT to_regclass('{table}')") == [(None,)]:
        return 0
    ((count,),) = held.query(f"SELECT count(*) FROM {table}")  # noqa: S608  (a constant)
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


def prepare(braze: Braze, held: Warehouse) -> None:
    """Write the settings that a real project would keep in .env."""
    settings = {
        "TAP_BRAZE_SMS_API_KEY": API_KEY,
        "TAP_BRAZE_SMS_API_URL": braze.url,
        "TAP_BRAZE_SMS_START_DATE": dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=DAYS + 1),
        "TARGET_BRAZE_SMS_API_KEY": API_KEY,
        "TARGET_BRAZE_SMS_API_URL": braze.url,
        "TARGET_POSTGRES_SQLALCHEMY_URL": held.loader_url,
        "TAP_POSTGRES_SQLALCHEMY_URL": held.tap_url,
        # For `make marts`.
        "DBT_POSTGRES_HOST": held.socket,
        "MELTANO_DATABASE_URI": f"sqlite:///{MELTANO_DATABASE}",
        "MELTANO_STATE_BACKEND_URI": STATES.as_uri(),
    }
    ENV_FILE.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
    headline("A stand-in for Braze and an empty Postgres start on this machine")
    say(f"{braze.url} lists {braze.totals()['entries']:,} phone numbers found invalid")
    say(f"in the last {DAYS} days, and takes {LATENCY_MS} ms for each answer.")


def load(braze: Braze, held: Warehouse) -> None:
    """Run the pipeline and print what it cost and brought."""
    rows, requests = rows_in(TABLE, held), braze.totals()["requests"]
    say("$ meltano run tap-braze-sms target-postgres")
    started = time.monotonic()
    meltano("run", "tap-braze-sms", "target-postgres")
    seconds = time.monotonic() - started
    after = rows_in(TABLE, held)
    # Starting Meltano, two plugins and Postgres' work are in the seconds, too; the tap measures its own.
    *_, reading = re.findall(r"metric_name=sync_duration metric_value=([\d.]+)", LOG.read_text(encoding="utf-8"))
    table(
        ("rows in the warehouse", "new", "requests to Braze", "seconds", "tap alone"),
        [(after, after - rows, braze.totals()["requests"] - requests, f"{seconds:.1f}", f"{float(reading):.1f}")],
    )


def first_load(braze: Braze, held: Warehouse) -> None:
    """Load everything."""
    headline("The first run reads the whole list")
    load(braze, held)
    say(f"Braze gives at most {PAGE_SIZE} numbers a request: {RECORDS // PAGE_SIZE} requests would be the fewest.")
    say("The rest of the seconds is Meltano and the plugins starting, and Postgres.")


def second_load(braze: Braze, held: Warehouse) -> None:
    """Load what came since."""
    headline(f"Braze finds {DETECTIONS} more numbers invalid, and the same command runs again")
    braze.detect(DETECTIONS, DETECTED_WITHIN_MINUTES)
    load(braze, held)
    say("Meltano kept the bookmark that the first run left, so the second asked only")
    say("for what came since, and for the hour before, in case Braze was late with")
    say("something. The bookmark now:")
    (file,) = (file for file in STATES.rglob("state.json") if file.parent.name == STATE_ID)
    state = json.loads(file.read_text(encoding="utf-8"))["completed"]["singer_state"]
    say(json.dumps(state, indent=2))


def hand_back(braze: Braze, held: Warehouse) -> None:
    """Take numbers that were verified off the list, and look them up again.

    Raises:
        DemoError: Some are still on it.
    """
    headline(f"{VERIFIED} customers confirm their numbers, which go back to Braze")
    held.query(f"""
        CREATE TABLE braze.verified_numbers AS
        SELECT phone, now() AS verified_at FROM {TABLE} ORDER BY md5(phone) LIMIT {VERIFIED}
    """)  # noqa: S608  (constants)
    phones = [phone for (phone,) in held.query("SELECT phone FROM braze.verified_numbers")]
    # What the tap is asked to look up; without this it only reads the list.
    LOOKED_UP_FILE.write_text("".join(f"{phone}\n" for phone in ["phone", *phones]), encoding="utf-8")
    with ENV_FILE.open("a", encoding="utf-8") as file:
        file.write(f"TAP_BRAZE_SMS_PHONE_NUMBERS_FILE={LOOKED_UP_FILE}\n")
    before, posts = braze.listed(set(phones)), braze.totals()["removal_posts"]
    say("Their numbers are in the table braze.verified_numbers. A job asks Braze to take")
    say("them off the list; the usual run after it looks them up, into the table")
    say("braze.phone_number_status.")
    say("$ meltano run verified-in-postgres-to-braze tap-braze-sms target-postgres")
    meltano("run", "verified-in-postgres-to-braze", "tap-braze-sms", "target-postgres")
    ((asked, valid),) = held.query("SELECT count(*), count(*) FILTER (WHERE NOT is_invalid) FROM phone_number_status")
    table(
        ("on Braze's list before", "after", "requests that removed", "looked up", "valid"),
        [(before, braze.listed(set(phones)), braze.totals()["removal_posts"] - posts, asked, valid)],
    )
    if not before == asked == valid:
        msg = "Braze does not hold all verified numbers for valid"
        raise DemoError(msg)


def mark_what_left(braze: Braze, held: Warehouse) -> None:
    """Read the whole list, so that the loader marks the rows that Braze no longer has."""
    headline(f"{LEFT} more numbers leave the list, and a full run finds all that left")
    braze.remove_any(LEFT)
    say("$ meltano run braze-to-postgres-full")
    meltano("run", "braze-to-postgres-full")
    ((rows, left, handed_back),) = held.query(f"""
        SELECT count(*), count(_sdc_deleted_at), count(verified.phone) FILTER (WHERE _sdc_deleted_at IS NOT NULL)
        FROM {TABLE} LEFT JOIN (SELECT DISTINCT phone FROM braze.verified_numbers) AS verified USING (phone)
    """)  # noqa: S608  (a constant)
    table(
        ("rows in the warehouse", "marked as gone", "of them handed back"),
        [(rows, left, handed_back)],
    )
    say("Marked in _sdc_deleted_at; the rows stay, as history.")


def compare(braze: Braze, held: Warehouse) -> None:
    """Hold the warehouse against Braze, record by record.

    Raises:
        DemoError: They differ.
    """
    headline("The warehouse against Braze, record by record")
    listed = braze.detections()
    rows = held.query(f"SELECT phone, invalid_detected_at FROM {TABLE} WHERE _sdc_deleted_at IS NULL")  # noqa: S608  (a constant)
    loaded = {(phone, when.replace(tzinfo=dt.timezone.utc)) for phone, when in rows}
    table(
        ("Braze holds", "the warehouse", "missing", "not Braze's", "doubled"),
        [(len(listed), len(rows), len(listed - loaded), len(loaded - listed), len(rows) - len(loaded))],
    )
    if listed != loaded or len(rows) != len(listed):
        msg = "the warehouse does not hold what Braze holds"
        raise DemoError(msg)
    say("The same.")


def look_inside(_braze: Braze, held: Warehouse) -> None:
    """Show what an analyst would ask first."""
    headline(f"What the warehouse knows: the table {TABLE}")
    say("The newest:")
    table(
        ("phone", "invalid_detected_at", "reason"),
        held.query(f"""
            SELECT phone, to_char(invalid_detected_at, 'YYYY-MM-DD HH24:MI:SS.MS'), coalesce(reason, '')
            FROM {TABLE} ORDER BY invalid_detected_at DESC LIMIT 3
        """),  # noqa: S608  (constants)
    )
    say()
    say("In all:")
    table(
        ("reason", "numbers"),
        held.query(f"SELECT coalesce(reason, '(none)'), count(*) FROM {TABLE} GROUP BY 1 ORDER BY 2 DESC"),  # noqa: S608  (a constant)
    )


def report(_braze: Braze, held: Warehouse) -> None:
    """Write the page, as the job braze-to-report does.

    Raises:
        DemoError: It could not be written.
    """
    headline("A page to look at")
    script = str(PROJECT / "reporting" / "report.py")
    command = [sys.executable, script, "--postgres", held.uri, "--runs", str(MELTANO_DATABASE)]
    with LOG.open("a", encoding="utf-8") as log:
        done = subprocess.run([*command, "--picture", str(PICTURE), str(REPORT)], stdout=log, stderr=log, check=False)
    if done.returncode:
        msg = "the page was not written"
        raise DemoError(msg)
    say(f"{REPORT.as_uri()}")
    say("Detections by day and reason, the size of the list, what left it, country codes,")
    say("and the last runs; a file that needs no server and no network.")


ACTS = (prepare, first_load, second_load, hand_back, mark_what_left, compare, look_inside, report)


def main() -> None:
    """Play the acts, clean up, and say where to look further."""
    # A plain kill ends the demo like Ctrl-C does, so that no process is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    print("Braze's list of invalid phone numbers, kept in a warehouse")
    try:
        with simulator() as braze, warehouse.serving(warehouse.FOLDER) as held:
            for act in ACTS:
                act(braze, held)
    except DemoError as error:
        lines = LOG.read_text(encoding="utf-8").splitlines() if LOG.exists() else []
        sys.exit("\n".join(["", *lines[-40:], "", f"The demo failed: {error}.", f"Meltano's log: {shown(LOG)}"]))
    except KeyboardInterrupt:
        print("\nStopped.")
        sys.exit(128 + signal.SIGINT)
    print("\nTo look further")
    say("the warehouse   make warehouse, a prompt; the server comes and goes with it")
    say("a query         make warehouse ARGS=\"-c 'SELECT * FROM phone_number_status LIMIT 5'\"")
    say("dbt's tables    make marts")
    say(f"the page        {shown(REPORT)}")
    say(f"Meltano's log   {shown(LOG)}")


if __name__ == "__main__":
    main()
