"""What README and docs show of results.json; cog puts it there: `make generate`."""

from __future__ import annotations

import json
import textwrap
import typing as t

import report
from contenders import BATCHES, DLT_LOADING, HERE, LOADING, MESSAGES, OTHERS, PARALLEL, REFERENCE

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: As wide as pages are written.
WIDTH = 120

PICTURE = "![Seconds from Braze to queryable row: tap-braze-sms under Meltano, and dlt]({folder}warehouse.svg)\n"

#: What is named of each warehouse, in a sentence.
INTO = {"postgres_many": "Postgres", "duckdb_many": "DuckDB"}


def results() -> report.Results:
    """Return what the last full run measured."""
    return report.Results(json.loads((HERE / "results.json").read_text()))


def to_the_row(found: report.Results, folder: str) -> str:
    """Return the picture of the way into a warehouse, and a sentence of a million records; nothing before that."""
    if not report.panels(found, "warehouse"):
        return ""
    told = list(_races(found))
    if not told:
        return PICTURE.format(folder=folder)
    runs = found.of(next(iter(INTO)), DLT_LOADING.name) or found.of(next(reversed(INTO)), DLT_LOADING.name)
    sentence = (
        f"**From Braze to queryable row:** {runs[0]['records']:,} records are {', '.join(told)} (150 ms a request, "
        f"{PARALLEL} at once, merged on the same keys; {of_whom(found)})."
    )
    return f"{PICTURE.format(folder=folder)}\n{textwrap.fill(sentence, WIDTH, break_on_hyphens=False)}"


def _races(found: report.Results) -> Iterator[str]:
    for scenario, warehouse in INTO.items():
        dlt = found.of(scenario, DLT_LOADING.name)
        ours = [runs for way in (MESSAGES, BATCHES) if (runs := found.of(scenario, way.name)) and is_complete(runs)]
        if ours and dlt and not report.failed(dlt):
            fastest, theirs = min(report.middle(runs, "wall") for runs in ours), report.middle(dlt, "wall")
            yield f"in {warehouse} after {fastest:.0f} seconds where dlt takes {theirs:.0f}"


def is_complete(runs: report.Runs) -> bool:
    """Whether all runs ended well, with each row there once."""
    return not report.failed(runs) and not any(run["lost"] or run["doubled"] for run in runs)


def of_whom(found: report.Results) -> str:
    """Say when and on what it was measured."""
    rounds = max(map(len, found.runs.values()))
    machine = found.facts["machine"]
    medians = f"medians of {rounds} runs" if rounds > 1 else "one run"
    return f"{found.facts['date']}, {machine['cores']} cores, Python {machine['python']}, {medians}"


def seconds_to_the_row(found: report.Results) -> str:
    """Return a table of the seconds into each warehouse; nothing before they are measured."""
    scenarios = [scenario for scenario in report.WAREHOUSES if found.within(scenario)]
    rows = [
        [report.title(way.name), *(_seconds(found.of(scenario, way.name)) for scenario in scenarios)]
        for way in (MESSAGES, BATCHES, DLT_LOADING, LOADING[-1])
    ]
    return report.table(("seconds for", *map(found.heading, scenarios)), rows) if scenarios else ""


def _seconds(runs: report.Runs) -> str:
    if not runs:
        return ""
    return "failed" if report.failed(runs) else f"{report.middle(runs, 'wall'):.1f}"


def reading_alone(found: report.Results) -> str:
    """Return a table of the times to read, as multiples of ours, and of the numbers lost where the list moves."""
    columns = {
        "spread": "150 ms a request, spread over a year",
        "one_day": "150 ms, 80 % on one day",
        "local": "no latency",
    }
    rows: list[Sequence[str]] = []
    for contender in (REFERENCE, *OTHERS):
        moving = found.of("moving", contender.name)
        ratios = [found.ratio(scenario, contender.name) for scenario in columns]
        rows.append((report.title(contender.name), *ratios, report.worst(moving, "lost") if moving else ""))
    sentence = (
        f"Time to read {found.records('spread'):,} records as a multiple of this tap's ({of_whom(found)}, each in "
    )
    sentence += "its own environment, side by side on the same simulator):"
    text = textwrap.fill(sentence, WIDTH, break_on_hyphens=False)
    return f"{text}\n\n{report.table(('', *columns.values(), 'numbers lost when 0.4 leave the list per page'), rows)}"
