"""Trials: one simulated run, and what is checked of it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import logging
import math
import random
import typing as t
from unittest import mock

from simulation.pool import VirtualClock, VirtualPool, VirtualToken
from simulation.scenario import BY_TIME, COARSE, UNORDERED, Scenario
from simulation.session import VirtualSession, parse_page
from simulation.world import FIRST_DAY, START, World, identify
from tap_braze_sms.braze import client as client_module
from tap_braze_sms.braze.client import BrazeClient
from tap_braze_sms.braze.errors import BAD_REQUEST, RequestRefusedError
from tap_braze_sms.braze.lists import INVALID_PHONE_NUMBERS
from tap_braze_sms.braze.rate_limit import Budget
from tap_braze_sms.concurrency.deadline import Deadline
from tap_braze_sms.concurrency.scheduler import WindowScheduler
from tap_braze_sms.reading import timestamps, windows
from tap_braze_sms.reading.errors import NeverAtRestError, RefusedStretchError
from tap_braze_sms.reading.time_order import EXACT, TimeOrder

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tap_braze_sms.concurrency.workers import WorkerPool
    from tap_braze_sms.reading.page import Page, Row

#: Requests after which a reading will not end: many times what the worst of them takes.
MOST_REQUESTS = 20_000

#: Changes in a round of requests, as a part of what an answer holds, up to which a list has to be proven complete; and
#: where it takes passes.
MOST_CHANGES, MOST_CHANGES_IN_PASSES = 0.1, 0.005

#: How far beyond its end a list is asked for at the most: how many times its length, and pages.
GUESSED_FURTHER, GUESSED_PAGES = 2.5, 3


class EndlessError(Exception):
    """A reading made more requests than any should."""


@dataclasses.dataclass
class Outcome:
    """What came of a trial."""

    scenario: Scenario
    #: What of the promises was broken, in words; empty: nothing.
    problem: str = ""
    #: Why a reading may end with an error, or lose records, if it did.
    excuse: str = ""
    rows: int = 0
    requests: int = 0
    changes: int = 0
    #: Virtual seconds.
    seconds: float = 0.0
    windows: int = 0
    in_passes: int = 0
    #: Runs that it took, and the virtual seconds of the longest.
    runs: int = 0
    longest_run: float = 0.0

    def __str__(self) -> str:
        """Sum up."""
        result = self.problem or (f"allowed: {self.excuse}" if self.excuse else "as promised")
        return (
            f"seed {self.scenario.seed}: {result} ({self.rows} rows, {self.requests} requests, {self.changes} changes, "
            f"{timestamps.format_duration(self.seconds)})"
        )


class Trial:
    """One run, or several in turn: the real scheduler, reader and client on a virtual pool, session and world.

    Args:
        scenario: What it is like.
        trace: Takes a line for all that happens.
        listed: Times of further entries, in microseconds from the first day on.
    """

    def __init__(
        self, scenario: Scenario, trace: Callable[[str], None] | None = None, listed: Iterable[int] = ()
    ) -> None:
        self.scenario = scenario
        self.clock = VirtualClock()
        self._trace = trace
        self.world = World(scenario, self._note if trace else None, listed)
        self.token = VirtualToken(self.clock)
        days = dt.timedelta(days=scenario.days)
        #: The wanted range, to the second.
        self.since = START + dt.timedelta(seconds=int(scenario.since * days.total_seconds()))
        self.until = None
        if scenario.until is not None:
            self.until = self.since + dt.timedelta(seconds=int(scenario.until * days.total_seconds()))
        self.taken: list[Row] = []
        self._reached: list[str] = []
        #: What a run keeps for the next, beside the bookmark, of how the list descends.
        self._known_order = EXACT

    def run(self) -> Outcome:
        """Read the list, and check what came of it."""
        outcome = Outcome(self.scenario)
        error: Exception | None = None
        with self._in_virtual_time():
            try:
                while self._run_once(outcome):
                    pass
            except Exception as problem:  # noqa: BLE001 (judged below)
                error = problem
        outcome.rows, outcome.requests, outcome.changes = len(self.taken), self.world.requests, self.world.changes
        outcome.seconds = self.clock.now
        self._judge(outcome, error)
        self._note(str(outcome))
        return outcome

    # The run

    def _run_once(self, outcome: Outcome) -> bool:
        """Read until all is read or the run's time is over; return whether something is left to read."""
        pool = VirtualPool(self.scenario.parallel, self.clock, self.token)
        client = self._client()
        began, beyond = self.clock.now, self._reached[-1] if self._reached else ""
        deadline = Deadline(self.scenario.run_seconds, lambda: self.clock.now - began, lambda: client.pause, beyond)
        scheduler = self._scheduler(pool, client, deadline)
        outcome.runs += 1
        try:
            for rows, reached in scheduler:
                self._take(rows, reached)
                if self.scenario.loader:
                    pool.pass_time(self.scenario.loader)
        finally:
            outcome.windows += scheduler.windows
            outcome.in_passes += scheduler.log.in_passes
            outcome.longest_run = max(outcome.longest_run, self.clock.now - began)
        if scheduler.order.disorder > self._known_order.disorder:
            self._known_order = TimeOrder(0, math.ceil(scheduler.order.disorder))
        return scheduler.ended_early

    @contextlib.contextmanager
    def _in_virtual_time(self) -> Iterator[None]:
        """Have what is random drawn from the seed, what waits wait for the virtual clock, and a window be small."""
        scenario, state = self.scenario, random.getstate()
        random.seed(f"waits {scenario.seed}")
        try:
            with (
                mock.patch.object(client_module, "time", self.clock),
                mock.patch.object(windows, "WINDOW_RECORDS", scenario.window_records),
            ):
                yield
        finally:
            random.setstate(state)

    def _scheduler(self, pool: VirtualPool, client: BrazeClient, deadline: Deadline) -> WindowScheduler:
        scenario = self.scenario
        plan = windows.Planner(
            timestamps.parse(self._reached[-1]) if self._reached else self.since,
            self.until,
            today=FIRST_DAY + dt.timedelta(days=scenario.days - 1),
            widest=scenario.window_days,
        )
        return WindowScheduler(
            plan,
            functools.partial(self._fetch, client),
            identify=identify,
            page_size=scenario.page_size,
            largest=scenario.largest,
            pool=t.cast("WorkerPool", pool),
            known_order=self._known_order,
            deadline=deadline,
        )

    def _client(self) -> BrazeClient:
        config = {
            "api_url": "https://braze.example",
            "api_key": "simulated",
            "max_parallel_requests": self.scenario.parallel,
            "max_attempts": 8,
            "request_timeout": 60,
            "rate_limit_share": self.scenario.rate_limit_share,
        }
        logger = logging.getLogger("simulation")
        client = BrazeClient(config, cancel_token=self.token, logger=logger, user_agent="simulation")
        # Not the one that this process has for a workspace: trials share nothing.
        client._budget = Budget()  # noqa: SLF001
        client._session = t.cast("t.Any", VirtualSession(self.scenario, self.world, self.clock))  # noqa: SLF001
        return client

    def _fetch(self, client: BrazeClient, dates: tuple[str, str], offset: int, limit: int, where: str) -> Page:
        """Make one request as the tap's stream does."""
        if self.world.requests > MOST_REQUESTS:
            raise EndlessError
        self._note(f"asks for {dates[0]} to {dates[1]}, {offset} + {limit}")
        params = {"start_date": dates[0], "end_date": dates[1], "limit": limit, "offset": offset or None}
        read = t.cast("t.Any", functools.partial(parse_page, offset=offset, limit=limit))
        try:
            page: Page = client.get(INVALID_PHONE_NUMBERS.path, params, read, what=where)
        except RequestRefusedError as error:
            if error.status != BAD_REQUEST:
                raise
            refused = RefusedStretchError(str(error), kind=error.kind)
        else:
            self._note(f"has {page.count} rows of {dates[0]} to {dates[1]}, {offset} + {limit}")
            return page
        raise refused

    def _take(self, rows: list[Row], reached: str) -> None:
        self.taken += rows
        self._reached.append(reached)
        self._note(f"{len(rows)} rows given on, up to {reached}")

    def _note(self, what: str) -> None:
        if self._trace:
            self._trace(f"{self.clock.now:10.3f} {what}")

    # What is checked

    def _judge(self, outcome: Outcome, error: Exception | None) -> None:
        outcome.problem = self._broken_promise(outcome.runs)
        if error is not None:
            if self._may_end_with(error):
                outcome.excuse = outcome.excuse or str(error)
            else:
                outcome.problem = outcome.problem or f"ended with {type(error).__name__}: {error}"
        elif lost := self._lost():
            if beyond := self._beyond_proof(lost):
                outcome.excuse = f"{len(lost)} lost: {beyond}"
            else:
                outcome.problem = outcome.problem or f"{len(lost)} lost: {', '.join(row[1] for row in lost[:3])}"

    def _lost(self) -> list[Row]:
        since = timestamps.format_utc(self.since)
        until = timestamps.format_utc(self.until) if self.until else "9"
        taken = set(map(identify, self.taken))
        return [
            row
            for key, row in self.world.ever.items()
            if key in self.world.throughout and key not in taken and since <= row[0] < until
        ]

    def _broken_promise(self, runs: int) -> str:
        """Say which promise what was given on breaks; empty: none."""
        keys = [identify(row) for row in self.taken]
        moments = [row[0] for row in self.taken]
        since = timestamps.format_utc(self.since)
        until = timestamps.format_utc(self.until) if self.until else "9"
        scenario = self.scenario
        # A run has its own share, and knows of the limit by its first answer, which may be that it is reached.
        most_an_hour = runs * (max(1, int(scenario.rate_limit * scenario.rate_limit_share)) + (runs > 1))
        broken = {
            "given on twice": len(keys) != len(set(keys)),
            "out of order": moments != sorted(moments),
            "reached less than before": self._reached != sorted(self._reached),
            "invented": not self.world.ever.keys() >= set(keys),
            "outside the range": not all(since <= moment < until for moment in moments),
            "more requests an hour than its share": max(self.world.answered_of_hour.values(), default=0) > most_an_hour,
        }
        return next((what for what, is_so in broken.items() if is_so), "")

    def _may_end_with(self, error: Exception) -> bool:
        """Whether a reading may end with this error in this scenario."""
        scenario = self.scenario
        if isinstance(error, RefusedStretchError):
            # A single day, which some can be asked for with its neighbour alone, and what is guessed of its end.
            within = GUESSED_FURTHER * self.world.most_in_days(2) + GUESSED_PAGES * scenario.largest
            return scenario.max_offset is not None and within > scenario.max_offset
        if not isinstance(error, NeverAtRestError):
            return False
        # Passes over large ties whose answers are not as long at the end of the list as they were at its top.
        if scenario.uneven and scenario.instants is not None:
            return True
        if not scenario.moves:
            return False
        changes = scenario.moves / (1 - scenario.moves) * (1 + scenario.largest_move) / 2 * scenario.parallel
        takes_passes = scenario.delay or scenario.order not in BY_TIME
        most = MOST_CHANGES_IN_PASSES if takes_passes else MOST_CHANGES
        return changes > most * scenario.least_answer or "shuffle" in scenario.kinds or scenario.repeats > 0

    def _beyond_proof(self, lost: list[Row]) -> str:
        """Say why these could not be proven to be there, as the reader's documents have it; empty: no reason."""
        del lost
        scenario = self.scenario
        if scenario.moves and "shuffle" in scenario.kinds and scenario.order in COARSE + UNORDERED:
            return "the order of a list without an order by time changed"
        return ""


def simulate(seed: int, trace: Callable[[str], None] | None = None) -> Outcome:
    """Run the trial of a seed."""
    return Trial(Scenario.draw(seed), trace).run()
