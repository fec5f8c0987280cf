"""One workspace of Braze: its list, which moves, and what was asked of it."""

from __future__ import annotations

import datetime as dt
import random
import threading
import typing as t

from braze_simulator.behaviour import Behaviour
from braze_simulator.entries import EPOCH, MICROSECOND, REASONS, Entry, micros, raw_entry
from braze_simulator.listing import Listing
from braze_simulator.order import Order
from braze_simulator.seeds import AREAS, LINES, PLUS_SHARES, number, spell

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from braze_simulator.messages import Request


class Workspace:
    """A list of entries, how it is told and how it moves, for any thread; and a log of requests to it.

    Args:
        entries: To begin with.
        api_key: That requests have to come with.
        seed: Of what moves by chance.
        behaviour: Fields of Behaviour.
    """

    def __init__(self, entries: Iterable[Entry], *, api_key: str, seed: int, **behaviour: t.Any) -> None:
        self.behaviour = Behaviour(**behaviour)
        self.api_key = api_key
        self.added: list[Entry] = []
        self.removed: list[Entry] = []
        self.requests: list[Request] = []
        self.removal_posts: list[list[str]] = []
        #: What holds a request each, until it is answered.
        self.under_way: set[object] = set()
        self.max_under_way = 0
        self.lock = threading.RLock()
        self.random = random.Random(seed)
        self._kept = Listing(entries, seed=seed)
        now = micros(self.now())
        times: Sequence[int] = self._kept.times or [now - 3_600_000_000, now]
        self._range = (times[0], times[-1])

    @property
    def listing(self) -> Listing:
        """The list, in the order that the behaviour has now."""
        told = self.behaviour
        delay = round(told.delay_seconds * 1_000_000) if told.order == "time" else 0
        apart = (told.replicas, told.replica_difference, told.replica_swaps) if told.replicas > 1 else ()
        self._kept.arrange(Order(told.order, delay, *apart))
        return self._kept

    def now(self) -> dt.datetime:
        """Return the time on the simulator's clock."""
        return dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=self.behaviour.clock_offset)

    def add(self, entries: Entry | Iterable[Entry]) -> None:
        """Put entries on the list."""
        several = [entries] if isinstance(entries, Entry) else list(entries)
        with self.lock:
            if len(several) > 100:
                self.listing.extend(several)
            else:
                for entry in several:
                    self.listing.insert(entry)
            self.added += several

    def add_raw(self, when: dt.datetime, record: t.Any) -> Entry:
        """Put on the list, as if detected then, what need not be a record; return it."""
        entry = raw_entry(when, record)
        self.add(entry)
        return entry

    def remove(self, phones: Iterable[str]) -> int:
        """Take numbers off the list, by their digits; return how many entries that were."""
        return self.take_off(phones, "digits")

    def take_off(self, phones: Iterable[str], compare: str) -> int:
        """Take numbers off the list, found by one of the ways to compare; return how many entries that were."""
        with self.lock:
            gone = [self.listing.pop(position) for position in self.listing.positions(phones, compare)]
            self.removed += gone
        return len(gone)

    def entries(self, limit: int | None = None) -> list[Entry]:
        """Return the entries in the order in which the API lists them."""
        with self.lock:
            size = len(self.listing)
            return [self.listing[size - 1 - i] for i in range(size if limit is None else min(limit, size))]

    def detect(self, count: int = 1, minutes: float = 0.0) -> list[Entry]:
        """Put new numbers on the list, detected within the last minutes; return them, oldest first."""
        with self.lock:
            now = micros(self.now())
            ages = sorted((self.random.random() * minutes * 60e6 for _ in range(count)), reverse=True)
            return [self._detect(now - int(age)) for age in ages]

    def remove_any(self, count: int = 1) -> list[Entry]:
        """Take random entries off the list, none that is protected; return them."""
        with self.lock:
            before = len(self.removed)
            for _ in range(count * 100):  # Enough to meet one of few unprotected numbers, and an end if there is none.
                if not self.listing or len(self.removed) - before == count:
                    break
                position = self.random.randrange(len(self.listing))
                if self.listing.number_at(position) not in self.behaviour.protect:
                    self.removed.append(self.listing.pop(position))
            return self.removed[before:]

    def move(self) -> None:
        """Let the list move as lists do while they are read."""
        behaviour = self.behaviour
        self.remove_any(self._draw(behaviour.removals_per_page))
        self.detect(self._draw(behaviour.insertions_per_page))
        for _ in range(self._draw(behaviour.late_insertions_per_page)):
            self._detect(self.random.randint(*self._range))

    def _detect(self, when: int) -> Entry:
        phone = number(self.random.randrange(AREAS * LINES))
        while phone in self.listing.keys:
            phone = number(self.random.randrange(AREAS * LINES))
        how = self.behaviour.detect_spelling
        if how == "plus" or (how == "mixed" and self.random.random() < PLUS_SHARES["mixed"]):
            phone = f"+{phone}"
        detected_at = EPOCH + when // 1000 * 1000 * MICROSECOND
        entry = Entry(phone, detected_at, self.random.choice(REASONS), spell(detected_at))
        self.add(entry)
        return entry

    def _draw(self, expected: float) -> int:
        whole = int(expected)
        return whole + (expected > whole and self.random.random() < expected - whole)
