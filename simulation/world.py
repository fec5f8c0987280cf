"""The world: Braze's list as a model that moves, and all in which Braze may differ from its documents.

It knows nothing of how it is read: it tells what stood where at the instant it was asked, and keeps what was on the
list throughout, which is the truth that a reading is compared with.
"""

from __future__ import annotations

import bisect
import datetime as dt
import math
import random
import typing as t
from collections import Counter
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from simulation.pool import EPOCH
from simulation.scenario import FAULTS, MOST_FAULTS, UNANSWERED
from tap_braze_sms.braze.phone_numbers import normalize
from tap_braze_sms.reading import timestamps

if t.TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from simulation.scenario import Scenario
    from tap_braze_sms.reading.page import Row

FIRST_DAY = dt.date(2026, 3, 2)
START = dt.datetime.combine(FIRST_DAY, dt.time(), timestamps.UTC)

#: Microseconds of a day, and of the units by which a list may be sorted.
DAY = 86_400_000_000
UNITS = {"time": 1, "second": 1_000_000, "minute": 60_000_000, "hour": 3_600_000_000, "day": DAY}

#: The part of the last day that is left to arrivals.
LEFT_FOR_ARRIVALS = 0.2

#: Changes after which a list comes to rest, so that every reading can end.
MOST_CHANGES = 500

#: Seconds for which Braze counts requests.
HOUR = 3_600


def identify(row: Row) -> Hashable:
    """Return what decides whether two rows are one record."""
    return normalize(row[1]), row[0]


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at one position of the list."""

    #: What the list is sorted by, and what decides among equals.
    key: float | str
    mark: float
    row: Row

    @property
    def place(self) -> tuple[float | str, float]:
        """What entries are sorted by."""
        return self.key, self.mark


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: rows, a refusal or a fault."""

    status: int
    headers: Mapping[str, str]
    rows: tuple[Row, ...] = ()
    #: A fault that is no status: timeout, reset or spoilt.
    fault: str = ""


class World:
    """Braze and its list, as one scenario has them.

    Args:
        scenario: What this Braze is like.
        note: Takes what happens, in words.
        listed: Times of further entries, in microseconds from the first day on.
    """

    def __init__(
        self, scenario: Scenario, note: Callable[[str], None] | None = None, listed: Iterable[int] = ()
    ) -> None:
        self.scenario = scenario
        #: Everything that ever was on the list, and what of it never left, by identity.
        self.ever: dict[Hashable, Row] = {}
        self.requests = 0
        self.changes = 0
        #: Requests in flight, and requests of each hour, as Braze counts them, and those of them that were answered.
        self.in_flight = 0
        self.of_hour: Counter[int] = Counter()
        self.answered_of_hour: Counter[int] = Counter()
        #: How many tries of a request in succession came to nothing.
        self._faults: Counter[Hashable] = Counter()
        self._note = note
        self._random = random.Random(f"world {scenario.seed}")
        self._list: list[Entry] = []
        #: The rows of a range of times, until the list changes: most lists are asked much more often than they change.
        self._ranges: dict[tuple[str, str], list[Row]] = {}
        #: Answers that listed something.
        self._listings = 0
        self._numbers: set[int] = set()
        self._newest = 0
        self._instants = self._draw_instants()
        for _ in range(scenario.records):
            self.insert()
        for instant in listed:
            self._add(instant)
        self.throughout = set(self.ever)

    # The list

    def _draw_instants(self) -> list[int] | None:
        """Draw the instants that the entries share; None: each has its own."""
        count = self.scenario.instants
        return None if count is None else [self._draw_instant() for _ in range(count)]

    def _draw_instant(self) -> int:
        """Draw a time, as microseconds from the beginning."""
        span = (self.scenario.days - LEFT_FOR_ARRIVALS) * DAY
        if self._random.random() < self.scenario.burst:
            return int(span / 2 + self._random.random() * UNITS["hour"])
        return int(span * self._random.random())

    def _add(self, instant: int) -> None:
        rng, scenario = self._random, self.scenario
        number = rng.randrange(10_000_000)
        while number in self._numbers:
            number = rng.randrange(10_000_000)
        self._numbers.add(number)
        digits = f"1212555{number:07}"
        shown = instant - instant % UNITS["second"] if scenario.shows_seconds else instant
        moment = timestamps.format_utc(START + dt.timedelta(microseconds=shown))
        self._newest = max(self._newest, instant)
        self._ranges.clear()
        for _ in range(2 if rng.random() < scenario.repeats else 1):
            row: Row = (moment, rng.choice(["+", ""]) + digits, rng.choice(["provider_error", None]))
            self.ever.setdefault(identify(row), row)
            bisect.insort(self._list, Entry(self._key(instant, digits), rng.random(), row), key=_place)

    def _key(self, instant: int, digits: str) -> float | str:
        match self.scenario.order:
            case "ascending":
                return instant
            case "number":
                return digits
            case "random":
                return self._random.random()
            case unit:
                # Whoever wrote it later stands above its time.
                delay = int(self._random.random() * self.scenario.delay * 1e6)
                return -((instant + delay) // UNITS[unit])

    def insert(self) -> str:
        """Put in an entry that was detected some time ago."""
        instant = self._random.choice(self._instants) if self._instants else self._draw_instant()
        self._add(instant)
        return "insert"

    def arrive(self) -> str:
        """Put in an entry that is detected now."""
        last = self.scenario.days * DAY - 1
        self._add(min(last, self._newest + self._random.randrange(1, 10_000_000)))
        return "arrive"

    def remove(self) -> str:
        """Take a number off the list, at all of its positions."""
        if self._list:
            self._ranges.clear()
            gone = identify(self._random.choice(self._list).row)
            self._list = [entry for entry in self._list if identify(entry.row) != gone]
            self.throughout.discard(gone)
        return "remove"

    def shuffle(self) -> str:
        """Let the entries change places that the order does not tell apart."""
        self._ranges.clear()
        self._list = sorted((Entry(e.key, self._random.random(), e.row) for e in self._list), key=_place)
        return "shuffle"

    def move(self) -> list[str]:
        """Change the list, or not; return what was done."""
        scenario, rng = self.scenario, self._random
        done: list[str] = []
        while self.changes < MOST_CHANGES and rng.random() < scenario.moves:
            change = getattr(self, rng.choice(scenario.kinds))
            for _ in range(rng.randint(1, scenario.largest_move)):
                done.append(change())
                self.changes += 1
        return done

    def most_in_days(self, days: int) -> int:
        """Return how many of all entries ever lie within so many days on end, at the most."""
        of_day: Counter[dt.date] = Counter(timestamps.parse(row[0]).date() for row in self.ever.values())
        repeated = 2 if self.scenario.repeats else 1
        return repeated * max(
            (sum(of_day[day + dt.timedelta(days=more)] for more in range(days)) for day in of_day), default=0
        )

    # Requests

    def answer(self, params: Mapping[str, t.Any], now: float) -> Reply:
        """Answer a request, after some movement.

        Args:
            params: Of the query, as the tap sends them.
            now: Seconds since the beginning.
        """
        self.requests += 1
        reply = self._fault(tuple(params.values()), now) or self._list_rows(params, now)
        self.answered_of_hour[int((EPOCH + now) // HOUR)] += reply.fault not in UNANSWERED
        if self._note:
            what = reply.fault or (f"{len(reply.rows)} rows" if reply.status == HTTPStatus.OK else reply.status)
            self._note(
                f"Braze answers {params['start_date']} to {params['end_date']}, "
                f"{params['offset'] or 0} + {params['limit']}: {what}"
            )
        return reply

    def _headers(self, now: float) -> dict[str, str]:
        hour = int((EPOCH + now) // HOUR)
        remaining = self.scenario.rate_limit - self.of_hour[hour]
        return {
            "X-RateLimit-Limit": str(self.scenario.rate_limit),
            "X-RateLimit-Remaining": str(max(0, remaining)),
            "X-RateLimit-Reset": str((hour + 1) * HOUR),
            "Date": formatdate(EPOCH + now, usegmt=True),
        }

    def _fault(self, asked: Hashable, now: float) -> Reply | None:
        scenario = self.scenario
        self.of_hour[int((EPOCH + now) // HOUR)] += 1
        headers = self._headers(now)
        if self.of_hour[int((EPOCH + now) // HOUR)] > scenario.rate_limit:
            return Reply(429, headers)
        if scenario.bears is not None and self.in_flight > scenario.bears:
            self._faults[asked] += 1
            return Reply(503, headers)
        if self._random.random() >= scenario.faults or self._faults[asked] >= MOST_FAULTS:
            self._faults[asked] = 0
            return None
        self._faults[asked] += 1
        fault = self._random.choice(FAULTS)
        if fault == "429":
            headers["Retry-After"] = "2"
        if fault.isdigit():
            return Reply(int(fault), headers)
        return Reply(200, headers, fault=fault)

    def _list_rows(self, params: Mapping[str, t.Any], now: float) -> Reply:
        scenario, headers = self.scenario, self._headers(now)
        done = self.move()
        if done and self._note:
            self._note(f"the list changes: {', '.join(f'{kind} {times}' for kind, times in Counter(done).items())}")
        first, end = (dt.date.fromisoformat(params[name]) for name in ("start_date", "end_date"))
        offset = params["offset"] or 0
        if (
            (scenario.refuses_zero_offset and params["offset"] == 0)
            or (scenario.max_days is not None and (end - first).days > scenario.max_days)
            or (scenario.max_offset is not None and offset > scenario.max_offset)
        ):
            return Reply(400, headers)
        until = timestamps.midnight(end + dt.timedelta(days=scenario.end_included))
        since = timestamps.midnight(first)
        within = self._ranges.get((since, until))
        if within is None:
            within = [entry.row for entry in self._list if since <= entry.row[0] < until]
            self._ranges[since, until] = within
        most = math.inf
        self._listings += 1
        if scenario.cap is not None and self._listings > scenario.capped_after:
            uneven = 1 - scenario.uneven * min(1.0, offset / max(1, len(within)))
            most = max(2, round(scenario.cap * (1 - scenario.spread * self._random.random()) * uneven))
        return Reply(200, headers, tuple(within[offset : offset + min(params["limit"], most)]))


def _place(entry: Entry) -> t.Any:  # noqa: ANN401 (numbers or texts, of one kind in a list)
    return entry.place
