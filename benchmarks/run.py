"""Measure the tap beside other ways to read the same list and to load it, against a simulated Braze on this machine.

`make bench` calls it. It builds each contender's environment when it is first needed, writes RESULTS.md, results.json
and charts beside this file, and keeps the last runs' logs in output/bench. With --quick it only shows that all works;
of a part of the scenarios, of other records or of some contenders the results go to output/bench, too.
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
from pathlib import Path
from urllib.parse import urlsplit

import contenders
import loading
import measure
import report
from contenders import (
    ALL,
    DLT_LOADING,
    LOADING,
    MESSAGES,
    NOTHING,
    OTHERS,
    OURS_10,
    OURS_16,
    OURS_HALF,
    PLUGINS,
    PROJECT,
    Contender,
    Job,
    environment,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from contenders import Warehouse

DAYS = 365
RECORDS, MANY, FEW = 100_000, 1_000_000, 50_000
LATENCY = 0.15
LIMIT, LIMIT_WINDOW = 120, 10
#: What --quick divides the records by, and the limit with them.
QUICK = 5

FOLDER = PROJECT / "output" / "bench"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A list and a server's manners, and who reads it."""

    name: str
    records: int = RECORDS
    burst_share: float = 0.0
    behaviour: dict[str, t.Any] = field(default_factory=dict)
    contenders: tuple[Contender, ...] = (OURS_16, OURS_10, *OTHERS)
    idle: bool = False  #: measure the run after a completed one
    loader: bool = False  #: measure the parts of the way into a warehouse
    warehouse: str = ""  #: measure the whole way into this one
    moves: bool = False  #: numbers leave the list while it is read, so each run has a list of its own


SLOW = {"latency": LATENCY}
#: By warehouse, what can load it: DuckDB's loader takes no BATCH files.
LOADING_INTO = {"postgres": LOADING, "duckdb": (DLT_LOADING, MESSAGES, NOTHING)}
INTO_WAREHOUSES = tuple(
    Scenario(f"{warehouse}{suffix}", records=records, behaviour=SLOW, contenders=loading_it, warehouse=warehouse)
    for suffix, records in (("", RECORDS), ("_many", MANY))
    for warehouse, loading_it in LOADING_INTO.items()
)
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
    *INTO_WAREHOUSES,
    Scenario("loading_local", contenders=(OURS_16,), loader=True),
    Scenario("loading", behaviour=SLOW, contenders=(OURS_16,), loader=True),
    Scenario("loading_many", records=5 * RECORDS, behaviour=SLOW, contenders=(OURS_16,), loader=True),
)


@dataclass(slots=True)
class Braze:
    """The simulated Braze, seen through its control endpoint."""

    url: str
    numbers: frozenset[bytes] = frozenset()
    rows: frozenset[bytes] = frozenset()  #: numbers and instants, where a warehouse is to hold them

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
        if scenario.warehouse:
            braze.rows = frozenset(braze.control("rows").split(b"\n"))
        yield braze


@dataclass(slots=True)
class Bench:
    """All that is measured in one go."""

    until: dt.date
    folder: Path  #: for all that runs write
    runs: list[dict[str, t.Any]] = field(default_factory=list)

    def play(self, scenario: Scenario, rounds: int) -> None:
        """Measure a scenario, contenders in turn within each round, so that noise hits all alike."""
        print(f"\n{report.TITLES[scenario.name].format(records=scenario.records)}", flush=True)
        if scenario.warehouse:
            self._load(scenario, rounds)
            return
        with simulated(scenario, self.until) as braze:
            before = self._complete_runs(scenario, braze) if scenario.idle else {}
            for number in range(rounds):
                for contender in in_turn(scenario.contenders, number):
                    with simulated(scenario, self.until) if scenario.moves else contextlib.nullcontext(braze) as own:
                        self._once(scenario, contender, own, after=before.get(contender.name))
                if scenario.loader:
                    messages = self.folder / OURS_16.name / contenders.OUTPUT
                    for name, found in loading.measured(braze.url, self._start, messages, environment()).items():
                        self._note({"scenario": scenario.name, "contender": name, **found})
        for name in {contender.output for contender in ALL}:
            for path in self.folder.glob(f"*/{name}"):
                path.unlink()

    def _load(self, scenario: Scenario, rounds: int) -> None:
        """Measure the whole way into a warehouse, which is empty before each run."""
        import warehouses  # noqa: PLC0415  (not needed where nothing is loaded)

        with simulated(scenario, self.until) as braze, warehouses.opened(scenario.warehouse, self.folder) as warehouse:
            for contender in scenario.contenders:
                if contender.prepare:
                    contender.prepare(self._job(braze, contender.name, warehouse=warehouse))
            for number in range(rounds):
                for contender in in_turn(scenario.contenders, number):
                    self._load_once(scenario, contender, braze, warehouse)
            warehouse.empty()

    def _load_once(self, scenario: Scenario, contender: Contender, braze: Braze, warehouse: Warehouse) -> None:
        warehouse.empty()
        job = self._job(braze, contender.name, warehouse=warehouse)
        braze.control("reset_log")
        measured = self._run(contender, job)
        seen = json.loads(braze.control("seen"))
        listed = braze.rows if contender.reads else frozenset()
        found = measure.complete(warehouse.rows(contender.bin / "python"), listed)
        self._note(as_result(scenario, contender, measured, seen, found))
        for files in ("dlt", "batches"):
            shutil.rmtree(job.folder / files, ignore_errors=True)

    @property
    def _start(self) -> dt.date:
        return self.until - dt.timedelta(days=DAYS)

    def _job(self, braze: Braze, folder: str, after: str | None = None, warehouse: Warehouse | None = None) -> Job:
        place = self.folder / folder
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        end = self.until + dt.timedelta(days=1)
        return Job(braze.url, self._start, end, place, self.folder / after if after else None, warehouse)

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
        found = measure.complete(measure.numbers(job.folder.glob(contender.output)), braze.numbers)
        self._note(as_result(scenario, contender, measured, seen, found))

    def _note(self, result: dict[str, t.Any]) -> None:
        self.runs.append(result)
        trouble = "" if not result.get("exit") else f"  exit code {result['exit']}"
        trouble += "" if not result.get("lost") or result["scenario"] == "idle" else f"  {result['lost']} lost"
        requests = f"{result['requests']:5} requests" if "requests" in result else ""
        print(f"  {result['contender']:14} {result['wall']:7.2f} s {requests}{trouble}", flush=True)


def in_turn(contenders: tuple[Contender, ...], number: int) -> tuple[Contender, ...]:
    """Return the order of a round: each round begins with another."""
    turn = number % len(contenders)
    return contenders[turn:] + contenders[:turn]


def as_result(
    scenario: Scenario,
    contender: Contender,
    measured: dict[str, t.Any],
    seen: dict[str, t.Any],
    found: dict[str, int],
) -> dict[str, t.Any]:
    """Return what is kept of a run: what it cost, what the simulator saw of it, and what is in its output."""
    return {
        "scenario": scenario.name,
        "contender": contender.name,
        "records": scenario.records,
        "startup": (seen["first"] or measured["ended"]) - measured["started"],
        "fetching": max(0.0, seen["last"] - (seen["first"] or seen["last"])),
        **{name: measured[name] for name in ("exit", "wall", "cpu", "rss")},
        **{name: seen[name] for name in seen if name not in {"first", "last"}},
        **found,
    }


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


#: What --only takes beside scenarios' names.
PARTS = {"warehouse": [scenario.name for scenario in INTO_WAREHOUSES]}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the tap beside other ways to read the same list.")
    parser.add_argument("--runs", type=int, default=3, help="runs of each contender in each scenario; medians count")
    parser.add_argument("--quick", action="store_true", help="a fifth of the records, one run; results in output/bench")
    parser.add_argument("--meltano", action="store_true", help="the parts of the way into DuckDB, too")
    names = [*PARTS, *(scenario.name for scenario in SCENARIOS)]
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", choices=names, help=f"of {', '.join(names)}")
    parser.add_argument("--records", type=int, help="lists of so many, in place of the scenarios' own")
    names = [contender.name for contender in (*ALL, *LOADING)]
    parser.add_argument("--contenders", nargs="+", metavar="NAME", choices=names, help=f"of {', '.join(names)}")
    parser.add_argument("--folder", type=Path, help="for results, logs and all else; by default output/bench")
    parser.add_argument("--report", action="store_true", help="only write RESULTS.md and the charts anew")
    return parser.parse_args()


def chosen(args: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios to measure, made smaller for a quick look."""
    only = [name for wanted in args.only or () for name in PARTS.get(wanted, [wanted])]
    wanted = [s for s in SCENARIOS if (s.name in only if only else args.meltano or not s.loader)]
    if args.contenders:
        kept = [tuple(c for c in s.contenders if c.name in args.contenders) for s in wanted]
        wanted = [dataclasses.replace(s, contenders=some) for s, some in zip(wanted, kept, strict=True) if some]
    if args.records:
        wanted = without_repeats(dataclasses.replace(s, records=args.records) for s in wanted)
    if args.quick:
        # A million records take minutes even so.
        wanted = [quick(s) for s in wanted if not (s.warehouse and s.records > RECORDS)]
    return wanted


def without_repeats(scenarios: Iterable[Scenario]) -> list[Scenario]:
    """Leave out scenarios that differ from another in their names alone."""
    kept: list[Scenario] = []
    for scenario in scenarios:
        if not any(dataclasses.replace(scenario, name=other.name) == other for other in kept):
            kept.append(scenario)
    return kept


def quick(scenario: Scenario) -> Scenario:
    """Return a scenario of fewer records."""
    limit = {"rate_limit": LIMIT // QUICK} if "rate_limit" in scenario.behaviour else {}
    return dataclasses.replace(scenario, records=scenario.records // QUICK, behaviour=scenario.behaviour | limit)


def installed(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Leave out scenarios whose loader does not install here."""
    found = []
    for scenario in scenarios:
        loader = f"target-{scenario.warehouse}"
        if scenario.warehouse and not (PLUGINS / "loaders" / loader).exists():
            print(f"Without {scenario.name}: {loader} is not installed here")
        else:
            found.append(scenario)
    return found


def main() -> None:
    """Build, measure, report."""
    args = arguments()
    work = (args.folder or FOLDER).resolve()
    is_part = args.quick or args.only or args.records or args.contenders or args.folder
    folder = work if is_part else contenders.HERE
    results = folder / "results.json"
    if not args.report:
        work.mkdir(parents=True, exist_ok=True)
        facts = measured(installed(chosen(args)), args, work)
        results.write_text(json.dumps(facts, indent=1) + "\n")
    (folder / "RESULTS.md").write_text(report.markdown(json.loads(results.read_text())))
    report.draw(results)
    print(f"\n{os.path.relpath(folder / 'RESULTS.md', PROJECT)}")
    if not is_part:
        # The pages that show some of it.
        subprocess.run([sys.executable, PROJECT / "tools" / "generate.py"], check=True)


def measured(scenarios: Sequence[Scenario], args: argparse.Namespace, folder: Path) -> dict[str, t.Any]:
    """Build the contenders of scenarios, measure them, and return all that was found."""
    taking_part = {contender.name: contender for scenario in scenarios for contender in scenario.contenders}
    for contender in taking_part.values():
        contender.build()
    bench = Bench(dt.datetime.now(dt.timezone.utc).date(), folder)
    facts = {
        "date": str(bench.until),
        "machine": machine(),
        "versions": {name: contender.version() for name, contender in taking_part.items()},
        "loaders": [
            version
            for loader in sorted({f"target-{scenario.warehouse}" for scenario in scenarios if scenario.warehouse})
            for version in contenders.loader_versions(loader)
        ],
        "pages_per_second": capacity(bench.until),
        "limit": {"limit": LIMIT // (QUICK if args.quick else 1), "window": LIMIT_WINDOW},
        "runs": bench.runs,
    }
    print(f"The simulator gives {facts['pages_per_second']:,.0f} pages a second to a client that does nothing else.")
    for scenario in scenarios:
        bench.play(scenario, 1 if args.quick else args.runs)
        # What has been measured stays, should a later scenario fail.
        (folder / "results.json").write_text(json.dumps(facts, indent=1) + "\n")
    return facts


if __name__ == "__main__":
    main()
