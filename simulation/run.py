"""The command line: seeds for as long as it is told, one alone, small lists exhaustively, or a table of costs."""

from __future__ import annotations

import argparse
import functools
import logging
import multiprocessing
import time
import typing as t
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from simulation.exhaustive import Exhaustive, Result, small_lists
from simulation.shapes import print_table
from simulation.trial import simulate

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simulation.exhaustive import Small
    from simulation.trial import Outcome

#: Seconds between two lines that say how far it is.
PROGRESS = 10.0


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit status: 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long to go on for (default: %(default)s)")
    parser.add_argument("--seeds", type=int, help="how many seeds, however long they take")
    parser.add_argument("--from", type=int, dest="first", help="the first seed (default: another one each time)")
    parser.add_argument("--seed", type=int, help="replay this one alone, with a line for all that happens")
    parser.add_argument("--exhaustive", action="store_true", help="small lists with every few changes instead")
    parser.add_argument("--entries", type=int, default=3, help="most entries of these (default: %(default)s)")
    parser.add_argument("--changes", type=int, default=2, help="most changes (default: %(default)s)")
    parser.add_argument("--shapes", action="store_true", help="what readings cost, by the shape of the list")
    given = parser.parse_args(arguments)
    # Retries and pauses of the client: part of a trace, and of nothing else.
    logging.getLogger("simulation").addHandler(logging.NullHandler())
    logging.getLogger("simulation").propagate = False
    if given.shapes:
        print_table()
        return 0
    if given.exhaustive:
        return _follow_small_lists(given.entries, given.changes)
    if given.seed is not None:
        return _replay(given.seed)
    # Whatever the time is, only where it is not told: that is no part of what a seed decides.
    first = int(time.time()) % 1_000_000 * 1_000 if given.first is None else given.first
    return _run(range(first, first + (given.seeds or 1_000_000_000)), None if given.seeds else given.seconds)


def _run(seeds: Iterable[int], seconds: float | None) -> int:
    """Run seeds, until there are no more or the time is over."""
    results: Counter[str] = Counter()
    began = told = time.monotonic()
    failed: list[Outcome] = []
    for seed in seeds:
        outcome = simulate(seed)
        if outcome.problem:
            failed.append(outcome)
            print(outcome, f"    make simulate ARGS='--seed {seed}' replays it", sep="\n", flush=True)
        results["failed" if outcome.problem else "ended as allowed" if outcome.excuse else "as promised"] += 1
        results["requests"] += outcome.requests
        now = time.monotonic()
        if now > told + PROGRESS:
            told = now
            print(_told(results, now - began), flush=True)
        if seconds is not None and now > began + seconds:
            break
    print(_told(results, time.monotonic() - began))
    return int(bool(failed))


def _told(results: Counter[str], seconds: float) -> str:
    return f"{seconds:.0f} s: " + ", ".join(f"{count} {what}" for what, count in sorted(results.items()))


def _replay(seed: int) -> int:
    """Run one seed, and print all that happens."""
    outcome = simulate(seed, print)
    print(f"         {outcome.scenario}")
    return int(bool(outcome.problem))


def _follow_small_lists(entries: int, changes: int) -> int:
    """Follow all readings of all lists of up to so many entries, on as many cores as there are."""
    result = Result()
    # Spawned: forking a process with threads is an error in a test, and going to be one everywhere.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as workers:
        for count in range(entries + 1):
            for one in workers.map(functools.partial(_follow_one, changes), small_lists(count)):
                result.add(one)
                print(f"up to {count} entries: {result}", flush=True)
    for broken in sorted(result.lost, key=len)[:5]:
        print(broken)
    return int(bool(result.lost))


def _follow_one(changes: int, listed: tuple[Small, ...]) -> Result:
    return Exhaustive(changes=changes).follow(listed)
