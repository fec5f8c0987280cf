"""From measurements to RESULTS.md and the chart."""

from __future__ import annotations

import json
import sys
import typing as t
from statistics import median

from contenders import ALL, DLT_LOADING, HERE, LOADING, OURS_16, REFERENCE

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    Runs = Sequence[dict[str, t.Any]]

PAGE_SIZE = 500
MEGABYTE = 1e6
MICRO = 1e-6
#: A difference of CPU seconds says nothing where there are few records to divide it by.
FEWEST_FOR_CPU = 1_000

TITLES = {
    "postgres": "{records:,} records into Postgres",
    "duckdb": "{records:,} records into DuckDB",
    "postgres_many": "{records:,} records into Postgres",
    "duckdb_many": "{records:,} records into DuckDB",
    "spread": "150 ms a request, records spread over a year",
    "one_day": "150 ms a request, 80 % of the records on one day",
    "local": "No latency, records spread over a year",
    "limited": "A rate limit that a run exceeds",
    "idle": "A run with nothing new, 150 ms a request",
    "moving": "A list that moves: 0.4 numbers leave it with each page, no latency",
    "few": "Few records, for their memory",
    "many": "Many records, for their memory",
    "loading_local": "Into a warehouse, no latency",
    "loading": "Into a warehouse, 150 ms a request",
    "loading_many": "Into a warehouse, five times as many records",
}
GLANCE = {
    "spread": "spread over a year",
    "one_day": "80 % on one day",
    "local": "no latency",
    "limited": "rate limit",
    "idle": "nothing new",
    "moving": "moving list",
}
#: The whole way into a warehouse, and the parts of it.
WAREHOUSES = ("postgres", "duckdb", "postgres_many", "duckdb_many")
PARTS = ("loading_local", "loading", "loading_many")
#: What ratios refer to where it is not the reading tap.
REFERENCES = dict.fromkeys(WAREHOUSES, DLT_LOADING.name) | dict.fromkeys(PARTS, "loader_alone")
NAMES = {contender.name: contender.title for contender in (*ALL, *LOADING)} | {
    "loader_alone": "target-duckdb alone, the same messages from a file",
    "pipe": "tap-braze-sms, piped into target-duckdb",
    "meltano_recorded": "`meltano run` of target-duckdb and a tap that only prints the file",
    "meltano_unloaded": "`meltano run` of tap-braze-sms and a loader that only counts",
    "meltano_run": "`meltano run tap-braze-sms target-duckdb`",
}

#: What the pictures show, by file: a title, and scenarios.
PICTURES = {
    "warehouse": ("Seconds from Braze to queryable row", ("postgres_many", "duckdb_many", "postgres", "duckdb")),
    "results": ("Seconds to read {records:,} records", ("spread", "one_day")),
}

HEADING = "# Benchmarks\n"

TO_THE_ROW = """\
## From Braze to queryable row

Seconds from the start of a process to its end, when a table that was not there holds Braze's list: 150 ms a request,
ten requests at once. *Ratio* is to dlt: its declarative REST source over ten windows in parallel, normalized and merged
on the same keys (`phone`, `invalid_detected_at`), by CSV files into Postgres and Parquet files into DuckDB, the formats
that it loads fastest there; of the ways to merge, dlt's own choice, which was the fastest. Ours is `meltano run
tap-braze-sms target-…`, as `meltano.yml` has it, with everything installed before; DuckDB's loader takes no BATCH
files. *Nothing to load* is the same run over days in which nothing was found: what Meltano, tap and loader take to
start and to end. After every run, number and instant of each row were compared with Braze's list: *lost* and *doubled*
say the worst of all runs. *CPU s* is of all processes of a row, without the simulator's and Postgres'; *peak MB* of the
largest.{chart}
"""

RATIOS = """\
## Reading alone

Time to read {records:,} records from Braze's list as a multiple of this tap's, where a request takes 150 ms (in the
first two columns and the last) or no time. The tap is the reference with 10 requests at once, as many as the others may
have.{chart}
"""

CHARTS = {
    "warehouse": "\n\n![Seconds from Braze to queryable row, ours and dlt](warehouse.svg)",
    "results": "\n\n![Seconds to read the list, by contender](results.svg)",
}

SETUP = """\
## How it was measured

{date}, {system}, {cores} cores, Python {python}. {runs}. Braze is simulated by a process of its own on the same
machine; alone it gives {pages:,.0f} pages of 500 a second, so it holds nobody up. The list is read from its start, a
year ago. Seconds are those of the whole process, start-up included. Every run's output was compared with the list,
number by number: *lost* and *doubled* say the worst of all runs. Where the list is read alone, all write JSON lines to
a file; dlt is measured by its extract step, which does just that. The contenders are in the folders beside this file,
their packages pinned:

{contenders}

`make bench` measures it all again; with `ARGS="--only warehouse"` the way into warehouses alone, with `ARGS=--quick` a
small part of everything, and with `ARGS=--meltano` also the parts of the way into DuckDB. What is not all of it goes to
`output/bench`.
"""

NOTES = {
    "limited": (
        "{limit} requests in each {window} seconds; all begin with a whole window before them, without latency. "
        "*429* counts the requests refused, *paused* the seconds without a new one. Half the limit: `rate_limit_share` "
        "0.5, which leaves the rest to others.\n"
    ),
    "idle": (
        "The list and the state are those of a completed run. *Read again*: records written that the run before wrote. "
        "Contenders that keep no state are left out: they read everything again.\n"
    ),
    "moving": (
        "*Lost*: numbers that were on the list for the whole run and are not in the output. Paging by offset skips one "
        "whenever a number before it leaves.\n"
    ),
    "loading_local": (
        "The tap's messages go to a file; the loader alone reads them from there, without Meltano and with it: what "
        "Meltano itself takes, to start and to carry each line. The seconds, again, in four parts: *before and after "
        "the loader* is Meltano, which starts and ends; the *loader waits for a record* while the tap starts; then it "
        "*waits for more*, or *works*. All share the machine's cores; *CPU s* is of all processes of a row, without "
        "the simulator's. What holds a run up is its slowest part, which shows where one is left out: the tap in "
        "the row whose tap only prints, the loader in the one whose loader only counts. The time to start and to end "
        "comes on top.\n"
    ),
    "loading": "Until the first window is read, a few answers after one another, the loader has nothing to do.\n",
    "loading_many": "While the loader loads, the tap reads on.\n",
}


class Results:
    """All runs, by scenario and contender."""

    def __init__(self, facts: dict[str, t.Any]) -> None:
        self.facts = facts
        self.runs: dict[tuple[str, str], list[dict[str, t.Any]]] = {}
        for run in facts["runs"]:
            self.runs.setdefault((run["scenario"], run["contender"]), []).append(run)

    def of(self, scenario: str, contender: str) -> Runs:
        """Return a contender's runs in a scenario."""
        return self.runs.get((scenario, contender), [])

    def within(self, scenario: str) -> dict[str, Runs]:
        """Return a scenario's runs by contender, in the order they are declared in."""
        return {name: self.of(scenario, name) for name in NAMES if self.of(scenario, name)}

    def ratio(self, scenario: str, contender: str) -> str:
        """Say how many times as long as the reference a contender takes; nothing where it did not get there."""
        runs, reference = self.of(scenario, contender), self.of(scenario, REFERENCES.get(scenario, REFERENCE.name))
        if not runs or not reference:
            return ""
        if failed(runs):
            return "failed"
        places = 2 if scenario in WAREHOUSES else 1
        return f"{middle(runs, 'wall') / middle(reference, 'wall'):.{places}f}"

    def heading(self, scenario: str) -> str:
        """Return a measured scenario's title."""
        return TITLES[scenario].format(records=self.records(scenario))

    def records(self, scenario: str) -> int:
        """Return how many records a scenario's list has; none where it was not measured."""
        return max(
            (run["records"] for runs in self.within(scenario).values() for run in runs if "records" in run), default=0
        )


def middle(runs: Runs, name: str) -> float:
    """Return the median of a measure."""
    return float(median(run[name] for run in runs))


def failed(runs: Runs) -> bool:
    """Whether a run ended in an error."""
    return any(run.get("exit") for run in runs)


def worst(runs: Runs, name: str) -> str:
    """Return the most of a count that should be none."""
    return f"{max(run[name] for run in runs):,}"


def seconds(runs: Runs) -> str:
    """Return the median, and from where to where the runs went."""
    walls = [run["wall"] for run in runs]
    return f"{median(walls):.1f}" + (f" ({min(walls):.1f} to {max(walls):.1f})" if len(walls) > 1 else "")


def per_second(name: str, spent: str) -> Callable[[Runs], str]:
    """Return a column: so many of something a second."""
    return lambda runs: f"{median(run[name] / run[spent] if run[spent] else 0 for run in runs):,.0f}"


def share_of_full(runs: Runs) -> str:
    """Return the part of the requests whose answer was a full page."""
    return f"{median(run['full'] / run['requests'] if run['requests'] else 0 for run in runs):.0%}"


def waste(runs: Runs) -> str:
    """Return the requests as a multiple of the fewest that could carry the records."""
    return f"{median(run['requests'] / (run['records'] / PAGE_SIZE) for run in runs):.2f}"


def busy(run: dict[str, t.Any]) -> float:
    """Return the seconds in which a loader did not wait."""
    return float(run["loader_wall"] - run["for_the_first"] - run["for_later"])


def of_loader(spent: Callable[[dict[str, t.Any]], float]) -> Callable[[Runs], str]:
    """Return a column: seconds that have to do with the loader; nothing where there was none."""
    return lambda runs: f"{max(0, median(map(spent, runs))):.1f}" if all("loader_wall" in run for run in runs) else ""


def after_reading(run: dict[str, t.Any]) -> float:
    """Return the seconds from Braze's last answer to the end."""
    return float(run["wall"] - run["startup"] - run["fetching"])


Column: t.TypeAlias = "tuple[str, Callable[[Runs], str]]"
OUTCOME: tuple[Column, ...] = (
    ("lost", lambda runs: worst(runs, "lost")),
    ("doubled", lambda runs: worst(runs, "doubled")),
)
CPU: Column = ("CPU s", lambda runs: f"{middle(runs, 'cpu'):.1f}")
COST: tuple[Column, ...] = (
    CPU,
    ("peak MB", lambda runs: f"{middle(runs, 'rss') / MEGABYTE:.0f}"),
)
READING: tuple[Column, ...] = (
    ("seconds", seconds),
    ("before the first request", lambda runs: f"{middle(runs, 'startup'):.1f}"),
    ("first to last request", lambda runs: f"{middle(runs, 'fetching'):.1f}"),
    ("records/s", per_second("written", "wall")),
    ("requests", lambda runs: f"{middle(runs, 'requests'):,.0f}"),
    ("requests / fewest", waste),
    ("requests/s while fetching", per_second("requests", "fetching")),
    ("at once", lambda runs: worst(runs, "at_once")),
    ("full pages", share_of_full),
    *COST,
    *OUTCOME,
)
COLUMNS: dict[str, tuple[Column, ...]] = {
    "limited": (
        ("seconds", seconds),
        ("requests", lambda runs: f"{middle(runs, 'requests'):,.0f}"),
        ("429", lambda runs: f"{median(run['statuses'].get('429', 0) for run in runs):,.0f}"),
        ("pauses", lambda runs: f"{middle(runs, 'pauses'):.0f}"),
        ("paused, s", lambda runs: f"{middle(runs, 'paused'):.0f}"),
        *OUTCOME,
    ),
    "idle": (
        ("seconds", seconds),
        ("before the first request", lambda runs: f"{middle(runs, 'startup'):.1f}"),
        ("requests", lambda runs: f"{middle(runs, 'requests'):,.0f}"),
        ("read again", lambda runs: f"{middle(runs, 'written'):,.0f}"),
        *COST,
    ),
    "moving": (
        ("seconds", seconds),
        ("requests", lambda runs: f"{middle(runs, 'requests'):,.0f}"),
        *OUTCOME,
    ),
    **dict.fromkeys(
        WAREHOUSES,
        (
            ("seconds", seconds),
            ("before the first request", lambda runs: f"{middle(runs, 'startup'):.1f}"),
            ("first to last request", lambda runs: f"{middle(runs, 'fetching'):.1f}"),
            ("after the last", lambda runs: f"{median(map(after_reading, runs)):.1f}"),
            ("records/s", per_second("written", "wall")),
            *COST,
            ("rows", lambda runs: f"{middle(runs, 'written'):,.0f}"),
            *OUTCOME,
        ),
    ),
    **dict.fromkeys(
        PARTS,
        (
            ("seconds", seconds),
            ("before and after the loader", of_loader(lambda run: run["wall"] - run["loader_wall"])),
            ("loader waits for a record", of_loader(lambda run: run["for_the_first"])),
            ("waits for more", of_loader(lambda run: run["for_later"])),
            ("works", of_loader(busy)),
            CPU,
            ("records", lambda runs: f"{middle(runs, 'written'):,.0f}"),
        ),
    ),
}


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay out a table in Markdown, the first column to the left."""
    titles = list(header)
    lines = [titles, ["---", *["--:"] * (len(titles) - 1)], *map(list, rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def title(name: str) -> str:
    """Name a contender, ours in bold."""
    return f"**{NAMES[name]}**" if name.startswith("ours") else NAMES[name]


def by_time(runs: dict[str, Runs]) -> list[str]:
    """Order contenders, the fastest first, those that failed last."""
    return sorted(runs, key=lambda name: (failed(runs[name]), middle(runs[name], "wall")))


def overview(results: Results) -> str:
    """Return the ratios of all scenarios at a glance."""
    shown = [scenario for scenario in GLANCE if results.within(scenario)]
    rows = [[title(name), *(results.ratio(scenario, name) for scenario in shown)] for name in NAMES]
    return table(("", *(GLANCE[scenario] for scenario in shown)), [row for row in rows if any(row[1:])])


def details(results: Results, scenario: str) -> Iterator[str]:
    """Yield what was measured in one scenario."""
    runs = results.within(scenario)
    columns = COLUMNS.get(scenario, READING)
    yield f"{'###' if scenario in WAREHOUSES else '##'} {results.heading(scenario)}\n"
    yield NOTES.get(scenario, "").format(**results.facts["limit"])
    yield table(
        ("", "ratio", *(name for name, _ in columns)),
        [
            [title(name), results.ratio(scenario, name), *(value(runs[name]) for _, value in columns)]
            for name in by_time(runs)
        ],
    )
    if scenario in PARTS:
        yield from bound(results, scenario)


def bound(results: Results, scenario: str) -> Iterator[str]:
    """Yield what holds a run into a warehouse up: the more its lack saves."""
    whole, unread, unloaded = (results.of(scenario, f"meltano_{name}") for name in ("run", "recorded", "unloaded"))
    if whole and unread and unloaded:
        share = median(busy(run) / (busy(run) + run["for_later"]) for run in whole)
        saved = [middle(whole, "wall") - middle(runs, "wall") for runs in (unloaded, unread)]
        yield (
            f"From its first record on, the loader works {share:.0%} of the time. A run takes {saved[0]:.1f} s less "
            f"without the loader's work, {saved[1]:.1f} s less without the tap's.\n"
        )


def cpu_per_record(results: Results) -> Iterator[str]:
    """Yield the CPU that a record costs: a long run less an idle one, which is start-up."""
    costs = {}
    for name in results.within("idle"):
        long, short = results.of("local", name), results.of("idle", name)
        records = middle(long, "written") - middle(short, "written") if long else 0
        if records > FEWEST_FOR_CPU:
            costs[name] = (middle(long, "cpu") - middle(short, "cpu")) / records / MICRO
    if REFERENCE.name not in costs:
        return
    yield "## CPU per record, start-up excluded\n"
    rows = [
        [title(name), f"{cost / costs[REFERENCE.name]:.1f}", f"{cost:.0f}"]
        for name, cost in sorted(costs.items(), key=lambda item: item[1])
    ]
    yield table(("", "ratio", "microseconds"), rows)


def memory(results: Results) -> Iterator[str]:
    """Yield what memory grows by with the list."""
    few, many = results.of("few", OURS_16.name), results.of("many", OURS_16.name)
    if not few or not many:
        return
    yield "## Memory as the list grows, 80 % of it on one day, no latency\n"
    columns = [column for column in READING if column[0] in {"seconds", "records/s", "requests", "peak MB"}]
    rows = [
        [f"{runs[0]['records']:,} records", *(value(runs) for _, value in (*columns, *OUTCOME))] for runs in (few, many)
    ]
    yield table(("", *(name for name, _ in (*columns, *OUTCOME))), rows)


def markdown(facts: dict[str, t.Any]) -> str:
    """Write RESULTS.md."""
    results = Results(facts)
    rounds = max(map(len, results.runs.values()))
    versions = {
        contender.title: facts["versions"][contender.name]
        for contender in ALL
        if not contender.ours and contender.name in facts["versions"]
    }
    listed = [f"- {title}: {version}" for title, version in versions.items()]
    if loaders := facts.get("loaders"):
        into = [facts["versions"].get(contender.name) for contender in LOADING]
        listed.append(f"- into warehouses: {', '.join(dict.fromkeys(filter(None, [*into, *loaders])))}")
    setup = SETUP.format(
        **facts["machine"],
        date=facts["date"],
        pages=facts["pages_per_second"],
        runs=f"Medians of {rounds} runs, contenders in turn" if rounds > 1 else "One run of each",
        contenders="\n".join(listed),
    )
    parts = [HEADING]
    if any(map(results.within, WAREHOUSES)):
        parts.append(TO_THE_ROW.format(chart=chart(results, "warehouse")))
        for scenario in WAREHOUSES:
            if results.within(scenario):
                parts += details(results, scenario)
    if records := max((run["records"] for run in facts["runs"] if run["scenario"] in GLANCE), default=0):
        parts += [RATIOS.format(records=records, chart=chart(results, "results")), overview(results)]
    for scenario in GLANCE:
        if results.within(scenario):
            parts += details(results, scenario)
    parts += [*cpu_per_record(results), *memory(results)]
    for scenario in PARTS:
        if results.within(scenario):
            parts += details(results, scenario)
    return "\n".join(part for part in (*parts, setup) if part)


def chart(results: Results, picture: str) -> str:
    """Return the line that shows a picture, if there is something on it."""
    return CHARTS[picture] if panels(results, picture) else ""


def panels(results: Results, picture: str) -> list[dict[str, t.Any]]:
    """Return what a picture shows: panels of bars."""
    _, scenarios = PICTURES[picture]
    return [
        {
            "title": results.heading(scenario),
            "bars": [
                {"label": NAMES[name], "seconds": middle(runs[name], "wall"), "ours": name.startswith("ours")}
                for name in by_time(runs)
                if not failed(runs[name])
            ],
        }
        for scenario in scenarios
        if (runs := results.within(scenario)) and not all(map(failed, runs.values()))
    ]


def draw(results: Path) -> None:
    """Draw the pictures beside the results, where they have what those show."""
    # The report's pictures and these are of one look. (Pages that only show numbers do without what draws.)
    sys.path.append(str(HERE.parent / "reporting"))
    import charts  # noqa: PLC0415

    facts = Results(json.loads(results.read_text()))
    for picture, (title, scenarios) in PICTURES.items():
        if shown := panels(facts, picture):
            drawn = charts.contenders(shown, title.format(records=max(map(facts.records, scenarios))))
            charts.write(drawn, results.with_name(f"{picture}.svg"), results.with_name(f"{picture}.png"))
