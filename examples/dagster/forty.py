"""Backfill three months of forty simulated workspaces on this machine, and hold every row against Braze.

One workspace's key is refused at first: its partitions fail, and only they. Once it is accepted, they are run again.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import time
import typing as t

from playground import KEY, MONTHS, playground

if t.TYPE_CHECKING:
    from collections.abc import Iterable

    from playground import Playground


def backfill(ground: Playground, keys: Iterable[str]) -> set[str]:
    """Backfill partitions, say what it took, give those that failed."""
    started = time.monotonic()
    runs = ground.ended(ground.launch(keys).values())
    seconds = time.monotonic() - started
    failed = {run.tags["dagster/partition"] for run in runs if not run.is_success}
    print(
        f"{len(runs)} partitions in {seconds:.0f} s, {seconds / len(runs):.1f} s each; {len(failed)} failed; "
        f"{len(ground.rows()):,} records in the table",
        flush=True,
    )
    return failed


def check(*, true: bool, what: str) -> None:
    """Say what was checked; end if it is not so."""
    print(f"   {'ok' if true else 'NOT SO'}: {what}", flush=True)
    if not true:
        sys.exit(1)


def main() -> None:
    """Run it, with a report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspaces", type=int, default=40)
    parser.add_argument("--records", type=int, default=2000, help="on each workspace's list")
    options = parser.parse_args()
    # A plain kill ends it like Ctrl-C does, so that no process is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with playground(options.workspaces, options.records) as ground:
        *accepted, refused = ground.brazes
        ground.brazes[refused].api_key = "another key"
        print(
            f"{options.workspaces} workspaces, {len(MONTHS)} months each; the key of {refused} is refused:", flush=True
        )
        with ground.daemon():
            failed = backfill(ground, ground.partitions())
            check(true=failed == set(ground.partitions([refused])), what="only its partitions failed")
            expected = ground.of_partitions(ground.partitions(accepted))
            check(true=ground.rows() == expected, what="the table holds what Braze holds of the others")
            ground.brazes[refused].api_key = KEY
            print("Its key is accepted from now on, and what failed is run again:", flush=True)
            check(true=not backfill(ground, sorted(failed)), what="none failed")
            expected = ground.of_partitions(ground.partitions())
            check(true=ground.rows() == expected, what="the table holds what Braze holds")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{used.ru_utime + used.ru_stime:.0f} s of CPU in all, by Dagster, tap, loader and Postgres")


if __name__ == "__main__":
    main()
