"""Shapes: what readings cost in time and requests, by how a list lies in time. For tuning: no network, no noise."""

from __future__ import annotations

import dataclasses
import math
import random
import typing as t

from simulation.scenario import Scenario
from simulation.trial import Trial

if t.TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds of an answer, and how many requests at once are shown.
LATENCY, PARALLEL = 0.15, (1, 8, 16)

#: Records of the lists, and the days they lie in.
RECORDS, YEAR = 20_000, 365

_DAY = 86_400_000_000


def _year(rng: random.Random) -> int:
    return rng.randrange(YEAR * _DAY)


def _busy_day(rng: random.Random) -> int:
    return 200 * _DAY + rng.randrange(_DAY) if rng.random() < 0.8 else _year(rng)


def _bursts(rng: random.Random) -> int:
    """A quarter of an hour each, some dozens of them."""
    begin = random.Random(rng.randrange(40)).randrange(YEAR * _DAY)
    return min(YEAR * _DAY - 1, begin + rng.randrange(900_000_000))


def _office_hours(rng: random.Random) -> int:
    """Of the days from Monday on, five of seven."""
    day = rng.randrange(YEAR // 7) * 7 + rng.randrange(5)
    return day * _DAY + 9 * 3_600_000_000 + rng.randrange(8 * 3_600_000_000)


def _giant_tie(rng: random.Random) -> int:
    return 200 * _DAY if rng.random() < 0.5 else _year(rng)


#: Name, number of records, days, and how an entry's time is drawn.
SHAPES: tuple[tuple[str, int, int, Callable[[random.Random], int]], ...] = (
    ("a year wide", RECORDS, YEAR, _year),
    ("four fifths on one day", RECORDS, YEAR, _busy_day),
    ("bursts", RECORDS, YEAR, _bursts),
    ("office hours", RECORDS, YEAR, _office_hours),
    ("half at one instant", RECORDS, YEAR, _giant_tie),
    ("one day", RECORDS, 1, lambda rng: rng.randrange(_DAY)),
    ("2,000 in a year", 2_000, YEAR, _year),
    ("300 in a month", 300, 30, lambda rng: rng.randrange(30 * _DAY)),
    ("3 in two days", 3, 2, lambda rng: rng.randrange(2 * _DAY)),
    ("nothing in a year", 0, YEAR, _year),
)


def print_table() -> None:
    """Print what each shape costs: waste is what goes beyond the fewest requests and one a window."""
    print(f"{'list':24}{'fewest':>8}" + "".join(f"{f'{parallel} at once':>35}" for parallel in PARALLEL))
    print(f"{'':32}" + f"{'seconds':>10}{'requests':>10}{'windows':>8}{'waste':>7}" * len(PARALLEL))
    for name, records, days, draw in SHAPES:
        fewest = max(1, math.ceil(records / 500))
        cells = ""
        for parallel in PARALLEL:
            scenario = Scenario(
                seed=1,
                records=records,
                days=days,
                latency=LATENCY,
                jitter=1.0,
                parallel=parallel,
                page_size=500,
                largest=500,
                window_records=20_000,
                rate_limit_share=1.0,
            )
            rng = random.Random(name)
            outcome = Trial(dataclasses.replace(scenario, records=0), listed=[draw(rng) for _ in range(records)]).run()
            waste = max(0, outcome.requests - fewest - outcome.windows) / fewest
            cells += f"{outcome.seconds:10.2f}{outcome.requests:10}{outcome.windows:8}{waste:7.0%}"
            cells += "!" * bool(outcome.problem)
        print(f"{name:24}{fewest:8}{cells}")
