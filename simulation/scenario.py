"""Scenarios: what a simulated run is like, drawn from its seed within stated rates."""

from __future__ import annotations

import dataclasses
import math
import random
import typing as t

#: By which a list may be sorted: by time, cut to a unit or with a delay of each entry's own, or by something else.
BY_TIME = ("time", "second")
COARSE = ("minute", "hour", "day")
UNORDERED = ("ascending", "number", "random")
#: Those in which it is chance that decides about some neighbours.
BY_CHANCE = (*COARSE, "number", "random")

#: How a list may change between two answers.
KINDS = ("remove", "arrive", "insert", "shuffle")

#: Faults that a request may meet, and most of them in succession: then it comes through, so that no run has to fail.
FAULTS = ("timeout", "reset", "500", "503", "202", "429", "spoilt")
#: Those that leave the client without an answer: it cannot know whether Braze counted them.
MOST_FAULTS = 4
UNANSWERED = ("timeout", "reset")

#: Entries of an answer that show how a list is sorted, whatever chance does; and of the shortest answer of a Braze that
#: cuts them: shorter ones look like an end, where the reader asks from a few entries before it on.
SHOWS_ORDER, LEAST_ANSWER = 20, 6

Value = t.TypeVar("Value")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What a run is like. The defaults are a Braze that is as its documents say, and a list at rest."""

    seed: int

    #: Entries in the beginning, over how many days, and how many instants they share (None: each has its own).
    records: int = 200
    days: int = 3
    instants: int | None = None
    #: The part of them that lies within one hour.
    burst: float = 0.0

    #: What the list descends by, by how many seconds entries may stand above their time, and whether the times that it
    #: shows are cut to seconds.
    order: str = "time"
    delay: float = 0.0
    shows_seconds: bool = False
    #: Most entries of an answer, and the part of them by which an answer may hold fewer.
    cap: int | None = None
    spread: float = 0.0
    #: The part by which one at the end of the list holds fewer than one at its top, as where a cap counts bytes.
    uneven: float = 0.0
    #: Answers before the cap is set, in a list that is in order of times of its own.
    capped_after: int = 0
    #: The part of the entries that stand on the list twice.
    repeats: float = 0.0
    end_included: bool = False
    refuses_zero_offset: bool = False
    #: Days of the widest range, and the deepest offset, that are not refused.
    max_days: int | None = None
    max_offset: int | None = None

    #: The chance of a change before an answer (and of another one behind it), of which kinds, and the largest of them.
    moves: float = 0.0
    kinds: tuple[str, ...] = KINDS
    largest_move: int = 1

    #: The part of the requests that meet a fault, how many at once Braze bears, and its requests an hour.
    faults: float = 0.0
    bears: int | None = None
    rate_limit: int = 250_000
    #: Seconds of an answer: the usual, and by which factor it may differ.
    latency: float = 0.15
    jitter: float = 3.0

    parallel: int = 1
    page_size: int = 10
    #: Most records that the reader asks for, and aims at with a window; both shrunk, so that a few hundred are many.
    largest: int = 10
    window_records: int = 240
    window_days: int = 60
    rate_limit_share: float = 0.5
    #: Where the wanted range begins and ends, as parts of all days.
    since: float = 0.0
    until: float | None = None
    #: Seconds that the loader takes for what it is given at once.
    loader: float = 0.0
    #: Seconds after which a run begins nothing more, and another one goes on where it has ended.
    run_seconds: float = math.inf

    @classmethod
    def draw(cls, seed: int) -> Scenario:
        """Return the scenario of a seed."""
        return _Draw(seed).scenario()

    def __str__(self) -> str:
        """Name what differs from the defaults."""
        given = ((field.name, getattr(self, field.name), field.default) for field in dataclasses.fields(self))
        return ", ".join(f"{name}={value!r}" for name, value, default in given if value != default)

    @property
    def least_answer(self) -> int:
        """Records that an answer holds at least, if the list has them, where the largest are asked for."""
        if self.cap is None:
            return self.largest
        return max(1, min(self.largest, round(self.cap * (1 - self.spread) * (1 - self.uneven))))


class _Draw:
    """Draws one scenario; most are strange in a few ways at once, some in none."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(f"scenario {seed}")

    def _sometimes(self, share: float, values: t.Sequence[Value], default: Value) -> Value:
        """Draw one of some values in a part of the draws."""
        chosen = self._random.choice(values)
        return chosen if self._random.random() < share else default

    def scenario(self) -> Scenario:
        rng, some = self._random, self._sometimes
        order, delay = "time", 0.0
        if rng.random() < 0.5:
            order = rng.choice([*BY_TIME[1:], *COARSE, *UNORDERED])
        elif rng.random() < 0.25:
            delay = rng.choice([0.4, 90.0, 10_800.0])
        least_answer = LEAST_ANSWER
        if order in BY_CHANCE:
            page_size, least_answer = rng.choice([SHOWS_ORDER, 50]), SHOWS_ORDER
        elif order in BY_TIME and not delay:
            page_size = rng.choice([2, 3, 5, 8, 10, 20, 50])
        else:
            page_size = rng.choice([10, 20, 50])
        largest = page_size * rng.choice([1, 1, 2, 4])
        records = rng.choice([rng.randrange(6), int(page_size * rng.uniform(0.5, 30)), int(page_size * 4)])
        cap, spread = None, 0.0
        if rng.random() < 0.35:
            cap = max(least_answer, round(page_size * rng.uniform(0.2, 2.0)))
            spread = some(0.4, [part for part in (0.0, 0.1, 0.3, 0.5) if cap * (1 - part) >= least_answer], 0.0)
        fewest = 0.0 if cap is None else cap * (1 - spread)
        days = rng.choice([1, 1, 2, 3, 10, 60])
        scenario = Scenario(
            seed=self._seed,
            records=min(records, 400),
            days=days,
            # Of a few instants, or of a burst and what is not of it, chance would show some order where there is none.
            instants=some(0.4, [100] if order in BY_CHANCE else [1, 2, 5, 20, 100], None),
            burst=some(0.3, [0.0] if order in BY_CHANCE else [0.5, 0.9], 0.0),
            order=order,
            delay=delay,
            shows_seconds=some(0.15, [True], default=False),
            cap=cap,
            spread=spread,
            repeats=some(0.15, [0.02, 0.1], 0.0),
            end_included=some(0.4, [True], default=False),
            refuses_zero_offset=some(0.3, [True], default=False),
            max_days=some(0.15, [1, 2, 7], None),
            max_offset=some(0.15, [50, 200, 400], None),
            moves=some(0.65, [0.02, 0.05, 0.1, 0.3, 0.5], 0.0),
            kinds=tuple(rng.sample(KINDS, rng.randint(1, len(KINDS)))),
            largest_move=some(0.2, [3, 10], 1),
            faults=some(0.4, [0.02, 0.125, 0.3], 0.0),
            bears=some(0.15, [1, 2, 4], None),
            rate_limit=some(0.2, [20, 60, 300], 250_000),
            latency=rng.choice([0.02, 0.15, 1.0]),
            jitter=rng.choice([1.0, 3.0, 20.0]),
            parallel=rng.choice([1, 2, 4, 8, 16]),
            page_size=page_size,
            largest=largest,
            window_records=rng.choice([5, 24]) * page_size,
            window_days=rng.choice([1, 3, 30, 366]),
            rate_limit_share=rng.choice([0.2, 0.5, 1.0]),
            since=some(0.25, [rng.random()], 0.0),
            until=some(0.25, [rng.random()], None),
            loader=some(0.3, [0.05, 5.0, 60.0], 0.0),
            run_seconds=some(0.2, [0.5, 5.0, 60.0], math.inf),
        )
        # Drawn last, so that a seed has what it had before there were these.
        uneven = some(0.3, [0.0, *(part for part in (0.5, 0.9) if fewest * (1 - part) >= least_answer)], 0.0)
        capped_after = some(0.5, [1, 2, 5, 20], 0)
        if cap is None or not capped_after or order not in BY_TIME or delay or scenario.instants is not None:
            return dataclasses.replace(scenario, uneven=uneven)
        # Lowered to what is short beside the answers before, where times prove what was read.
        return dataclasses.replace(
            scenario, capped_after=capped_after, cap=max(least_answer, min(cap, page_size // 5)), spread=0.0
        )
