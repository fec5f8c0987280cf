"""Measure the tap beside other ways to read the same list, against a simulated Braze on this machine.

`make bench` calls it. It builds each contender's environment when it is first needed, writes RESULTS.md, results.json
and a chart beside this file, and keeps the last runs' logs in output/bench. With --quick it only shows that all works.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import typing as t
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import contenders
import loading
import measure
import report
from contenders import ALL, OTHERS, OURS_10, OURS_16, OURS_HALF, PROJECT, Contender, Job

if t.TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = 365
RECORDS, MANY, FEW = 100_000, 1_000_000, 50_000
LATENCY = 0.15
LIMIT, LIMIT_WINDOW = 120, 10
#: What --quick divides the records by, and the limit with them.
QUICK = 5

FOLDER = PROJECT / "output" / "bench"
#: Settings a contender would take from the caller's environment.
FOREIGN = ("TAP_", "TARGET_", "MELTANO_", "SINGER_", "DESTINATION__", "EXTRACT__", "PYTHON")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A list and a server's manners, and who reads it."""

    name: str
    records: int = RECORDS
    burst_share: float = 0.0
    behaviour: dict[str, t.Any] = field(default_factory=dict)
    contenders: tuple[Contender, ...] = (OURS_16, OURS_10, *OTHERS)
    idle: bool = False  #: measure the run after a completed one
    loader: bool = False  #: measure the way into a warehouse
    moves: bool = False  #: numbers leave the list while it is read, so each run has a list of its own


SLOW = {"latency": LATENCY}
SCENARIOS = (
    Scenario("local"),
    Scenario("spread", behaviour=SLOW),
    Scenario("one_day", burst_share=0.8, behaviour=SLOW),
    Scenario("idle", behaviour=SLOW, contenders=tuple(c for c in (OURS_10, *OTHERS) if c.keeps_state), idle=True),
    Scenario(
        "limited",
        behaviour={"rate_limit": LIMIT, "rate_window": float(LIMIT_WINDOW)},
        contenders=(OURS_10, OURS_HALF, *OTHERS),
    ),
    Scenario("moving", behaviour={"removals_per_page": 0.4}, moves=True),
    Scenario("few", records=FEW, burst_share=0.8, contenders=(OURS_16,)),
    Scenario("many", records=MANY, burst_share=0.8, contenders=(OURS_16,)),
    Scenario("loading_local", contenders=(OURS_16,), loader=True),
    Scenario("loading", behaviour=SLOW, contenders=(OURS_16,), loader=True),
    Scenario("loading_many", records=5 * RECORDS, behaviour=SLOW, contenders=(OURS_16,), loader=True),
)


@dataclass(slots=True)
class Braze:
    """The simulated Braze, seen through its control endpoint."""

    url: str
    numbers: frozenset[bytes] = frozenset()

    def control(self, path: str, **body: object) -> bytes:
        """Ask the simulator itself, or tell it."""
        data = json.dumps(body).encode() if body else None
        method = "POST" if body or path == "reset_log" else "GET"
        request = urllib.request.Request(f"{self.url}/_simulator/{path}", data, method=method)  # noqa: S310  (localhost)
        with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310  (localhost)
            content: bytes = response.read()
        return content


@contextlib.contextmanager
def simulated(scenario: Scenario, until: dt.date) -> Iterator[Braze]:
    """Run the simulator in a process of its own."""
    options = {
        "records": scenario.records,
        "days": DAYS,
        "until": f"{until}T00:00:00+00:00",
        "burst_share": scenario.burst_share,
        "api_key": contenders.API_KEY,
        **scenario.behaviour,
    }
    process = subprocess.Popen(
        [sys.executable, contenders.HERE / "braze.py", json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:  # Whose end closes its input, which ends it.
        braze = Braze(t.cast("t.IO[str]", process.stdout).readline().strip())
        braze.numbers = frozenset(braze.control("numbers").split())
        yield braze


def environment() -> dict[str, str]:
    """Return the environment contenders run in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    local = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    dlt = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DATA_WRITER__DISABLE_COMPRESSION": "true"}
    return {**kept, **local, **dlt}


@dataclass(slots=True)
class Bench:
    """All that is measured in one go."""

    until: dt.date
    runs: list[dict[str, t.Any]] = field(default_factory=list)

    def play(self, scenario: Scenario, rounds: int) -> None:
        """Measure a scenario, contenders in turn within each round, so that noise hits all alike."""
        print(f"\n{report.TITLES[scenario.name]}", flush=True)
        with simulated(scenario, self.until) as braze:
            before = self._complete_runs(scenario, braze) if scenario.idle else {}
            for number in range(rounds):
                turn = number % len(scenario.contenders)
                for contender in scenario.contenders[turn:] + scenario.contenders[:turn]:
                    with simulated(scenario, self.until) if scenario.moves else contextlib.nullcontext(braze) as own:
                        self._once(scenario, contender, own, after=before.get(contender.name))
                if scenario.loader:
                    messages = FOLDER / OURS_16.name / contenders.OUTPUT
                    for name, found in loading.measured(braze.url, self._start, messages, environment()).items():
                        self._note({"scenario": scenario.name, "contender": name, **found})
        for name in {contender.output for contender in ALL}:
            for path in FOLDER.glob(f"*/{name}"):
                path.unlink()

    @property
    def _start(self) -> dt.date:
        return self.until - dt.timedelta(days=DAYS)

    def _job(self, braze: Braze, folder: str, after: str | None = None) -> Job:
        place = FOLDER / folder
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        end = self.until + dt.timedelta(days=1)
        return Job(braze.url, self._start, end, place, FOLDER / after if after else None)

    def _complete_runs(self, scenario: Scenario, braze: Braze) -> dict[str, str]:
        """Let each contender read all there is, unmeasured; return the folders with the states."""
        braze.control("behaviour", latency=0.0)
        folders = {contender.name: f"before_{contender.name}" for contender in scenario.contenders}
        for contender in scenario.contenders:
            job = self._job(braze, folders[contender.name])
            self._run(contender, job)
        braze.control("behaviour", **scenario.behaviour)
        return folders

    def _run(self, contender: Contender, job: Job) -> dict[str, t.Any]:
        command = contender.command(job, contender.bin)
        output, log = job.folder / contenders.OUTPUT, job.folder / "log.txt"
        return measure.run(command, environment=environment(), output=output, log=log)

    def _once(self, scenario: Scenario, contender: Contender, braze: Braze, after: str | None) -> None:
        job = self._job(braze, contender.name, after)
        braze.control("reset_log")
        if "rate_window" in scenario.behaviour:
            # All begin with a whole window before them.
            time.sleep(LIMIT_WINDOW - time.time() % LIMIT_WINDOW)
        measured = self._run(contender, job)
        seen = json.loads(braze.control("seen"))
        if scenario.moves:
            braze.numbers = frozenset(braze.control("numbers").split())
        found = measure.complete(job.folder.glob(contender.output), braze.numbers)
        self._note(
            {
                "scenario": scenario.name,
                "contender": contender.name,
                "records": scenario.records,
                "startup": (seen["first"] or measured["ended"]) - measured["started"],
                "fetching": max(0.0, seen["last"] - (seen["first"] or seen["last"])),
                **{name: measured[name] for name in ("exit", "wall", "cpu", "rss")},
                **{name: seen[name] for name in seen if name not in {"first", "last"}},
                **found,
            },
        )

    def _note(self, result: dict[str, t.Any]) -> None:
        self.runs.append(result)
        trouble = "" if not result.get("exit") else f"  exit code {result['exit']}"
        trouble += "" if not result.get("lost") or result["scenario"] == "idle" else f"  {result['lost']} lost"
        requests = f"{result['requests']:5} requests" if "requests" in result else ""
        print(f"  {result['contender']:14} {result['wall']:7.2f} s {requests}{trouble}", flush=True)


def capacity(until: dt.date) -> float:
    """Return the pages a second that the simulator gives to a client that does nothing with them."""
    span = f"start_date={until - dt.timedelta(days=DAYS)}&end_date={until}&limit=500&offset=5000"
    with simulated(Scenario("capacity", records=20_000), until) as braze:
        address = urlsplit(braze.url)
        lines = (
            f"GET /sms/invalid_phone_numbers?{span} HTTP/1.1",
            f"Host: {address.netloc}",
            f"Authorization: Bearer {contenders.API_KEY}",
        )
        request = "\r\n".join((*lines, "", "")).encode()
        return measure.pages_per_second(str(address.hostname), int(address.port or 0), request)


def machine() -> dict[str, t.Any]:
    """Describe the machine, but not which one it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.machine()}"
    return {"cores": cores, "memory": memory, "python": platform.python_version(), "system": system}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the tap beside other ways to read the same list.")
    parser.add_argument("--runs", type=int, default=3, help="runs of each contender in each scenario; medians count")
    parser.add_argument("--quick", action="store_true", help="a fifth of the records, one run; results in output/bench")
    parser.add_argument(
        "--meltano", action="store_true", help="`meltano run` into DuckDB too; needs `make demo` before"
    )
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", choices=[scenario.name for scenario in SCENARIOS])
    parser.add_argument("--report", action="store_true", help="only write RESULTS.md and the chart anew")
    return parser.parse_args()


def chosen(args: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios to measure, made smaller for a quick look."""
    wanted = [s for s in SCENARIOS if (s.name in args.only if args.only else args.meltano or not s.loader)]
    if not args.quick:
        return wanted
    limit = {"rate_limit": LIMIT // QUICK}
    return [
        dataclasses.replace(
            s,
            records=s.records // QUICK,
            behaviour=s.behaviour | limit if "rate_limit" in s.behaviour else s.behaviour,
        )
        for s in wanted
    ]


def main() -> None:
    """Build, measure, report."""
    args = arguments()
    folder = FOLDER if args.quick or args.only else contenders.HERE
    results = folder / "results.json"
    if not args.report:
        FOLDER.mkdir(parents=True, exist_ok=True)
        scenarios = chosen(args)
        for contender in ALL:
            contender.build()
        bench = Bench(dt.datetime.now(dt.timezone.utc).date())
        pages = capacity(bench.until)
        print(f"The simulator gives {pages:,.0f} pages a second to a client that does nothing else.")
        for scenario in scenarios:
            bench.play(scenario, 1 if args.quick else args.runs)
        facts = {
            "date": str(bench.until),
            "machine": machine(),
            "versions": {contender.name: contender.version() for contender in ALL},
            "pages_per_second": pages,
            "limit": {"limit": LIMIT // (QUICK if args.quick else 1), "window": LIMIT_WINDOW},
            "runs": bench.runs,
        }
        results.write_text(json.dumps(facts, indent=1) + "\n")
    (folder / "RESULTS.md").write_text(report.markdown(json.loads(results.read_text())))
    report.draw(results)
    print(f"\n{os.path.relpath(folder / 'RESULTS.md', PROJECT)}")


if __name__ == "__main__":
    main()
