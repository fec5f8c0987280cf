"""A model of a list on any Braze: whatever its documents leave open, and moves of a rate that can be chosen.

Knows nothing of pages nor of how they are read, as `MovingList`, and nothing of HTTP, unlike the simulator: so
thousands of readings take seconds.
"""

from __future__ import annotations

import bisect
import datetime as dt
import operator
import random
import typing as t
from dataclasses import dataclass, field

from support.moving_list import DAY
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.page import Page, Row
from tap_braze_sms.reading.windows import Window

#: Seconds of the units to which times may be cut before a list is sorted by them.
UNITS = {"time": 0, "second": 1, "minute": 60, "hour": 3_600, "day": 86_400}

#: Orders that say nothing of times: for them, the whole list is one tie.
UNORDERED = ("number", "random")

ORDERS = (*UNITS, "delayed", "ascending", *UNORDERED)

START = dt.datetime.combine(DAY, dt.time(), timestamps.UTC)

#: Where an entry stands: what the list is sorted by, and what decides among those it does not tell apart.
Place: t.TypeAlias = "tuple[float, float]"


@dataclass(eq=False)
class Entry:
    """One position of the list."""

    row: Row
    place: Place


def record_of(row: Row) -> tuple[str, str]:
    """Return what makes rows one record: the digits of a number, and a time."""
    return row[1].lstrip("+"), row[0]


@dataclass
class StrangeList:
    """A list that is told as some Braze may tell it, and that moves before each answer.

    Rates are expected moves an answer; of two equal lists with equal seeds all answers are equal.
    """

    seed: int
    records: int
    days: int = 1
    #: Different times that records have at the most.
    instants: int = 1_000_000_000
    order: str = "time"
    #: Most seconds by which entries stand higher than their times say, in the order "delayed".
    delay: float = 0.0
    #: Most records of an answer, and the share of it by which each answer may hold fewer.
    cap: int | None = None
    cap_spread: float = 0.0
    #: Answers before the cap is set; most records of one that begins in the older half, as where a cap counts bytes.
    cap_from: int = 0
    cap_older: int | None = None
    #: Records that stand at two or three positions, whether side by side, and whether in two spellings.
    repeats: int = 0
    repeats_adjoin: bool = False
    repeats_respelled: bool = False
    #: Servers, how their order differs where the list's order does not say, and whether they answer in turn.
    replicas: int = 1
    replica_difference: str = "rotated"
    #: The part of a tie by which each is rotated, or the pairs that are swapped in each.
    rotation: float = 0.5
    swaps: int = 5
    in_turn: bool = True
    removals: float = 0.0
    arrivals: float = 0.0
    #: Where arrivals stand: "sorted" by a time like any other's, on "top" or at the "bottom" of all there is.
    arrive: str = "sorted"
    #: How often those that the order does not tell apart change places.
    shuffles: float = 0.0
    end_included: bool = False
    #: Moves after which the list comes to rest.
    most_moves: int = 1_000_000

    requests: int = field(default=0, init=False)
    moved: int = field(default=0, init=False)
    #: Everything that ever was on the list; what is on it since the beginning and was never off it.
    ever: set[tuple[str, str]] = field(default_factory=set, init=False)
    throughout: set[tuple[str, str]] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._entries: list[Entry] = []
        self._offset: dict[str, float] = {}
        for _ in range(self.records):
            self._entries.append(self._new())
        for entry in self.random.sample(self._entries, min(self.repeats, self.records)):
            self._entries += [self._again(entry) for _ in range(self.random.choice((1, 1, 2)))]
        self._entries.sort(key=_place)
        self._places = [self._differing(server) for server in range(self.replicas)]
        self._servers = [sorted(self._entries, key=places) for places in self._places]
        self._parts: dict[tuple[str, str, int], list[Row]] = {}
        self.throughout = set(self.ever)

    # Entries and their places

    def _new(self, moment: dt.datetime | None = None) -> Entry:
        if moment is None:
            tick = self.random.randrange(self.instants)
            moment = START + dt.timedelta(microseconds=int(self.days * 86_400e6 * tick / self.instants))
        number = len(self.ever)
        # Numbers tell nothing of when one was listed.
        spelled = f"{'+' if number % 3 else ''}1{200 + number * 7919 % 790}555{number:05}"
        row: Row = (timestamps.format_utc(moment), spelled, self.random.choice(["provider_error", None]))
        self.ever.add(record_of(row))
        return Entry(row, self._place_of(row))

    def _place_of(self, row: Row) -> Place:
        mark = self.random.random()
        since = (timestamps.parse(row[0]) - START) // dt.timedelta(microseconds=1)
        if self.order in UNITS:
            unit = UNITS[self.order] * 1_000_000 or 1
            return -(since // unit), mark
        if self.order == "delayed":
            return -(since + self.random.random() * self.delay * 1e6), mark
        if self.order == "ascending":
            return since, mark
        # As texts are ordered, so that two spellings of a number stand far apart.
        return (
            (int(row[1].lstrip("+")) - 10**15 * row[1].startswith("+"), mark) if self.order == "number" else (mark, 0)
        )

    def _again(self, entry: Entry) -> Entry:
        row = entry.row
        if self.repeats_respelled:
            row = (row[0], row[1].lstrip("+") if row[1].startswith("+") else f"+{row[1]}", row[2])
        if self.repeats_adjoin:
            return Entry(row, (entry.place[0], entry.place[1] + 1e-12))
        return Entry(row, self._place_of(row))

    def _differing(self, server: int) -> t.Callable[[Entry], Place]:
        """Return where a server has entries; the first has them as they are."""
        if not server:
            return _place
        if self.replica_difference == "rotated":
            turn = server * self.rotation
            if self.order not in UNORDERED:
                return lambda entry: (entry.place[0], (entry.place[1] + turn) % 1)
            keys = [entry.place for entry in self._entries] or [(0.0, 0.0)]
            cut = keys[int(len(keys) * turn) % len(keys)]
            return lambda entry: (float(entry.place < cut), *entry.place)  # type: ignore[return-value]
        swapped: dict[int, Place] = {}
        chance = random.Random(f"{self.seed} {server}")
        ties: list[list[Entry]] = []
        for entry in self._entries:
            if (self.order in UNORDERED and ties) or (ties and ties[-1][0].place[0] == entry.place[0]):
                ties[-1].append(entry)
            else:
                ties.append([entry])
        ties = [tie for tie in ties if len(tie) > 1]
        for _ in range(self.swaps if ties else 0):
            tie = chance.choices(ties, [len(tie) for tie in ties])[0]
            one, other = chance.sample(tie, 2) if chance.random() < 0.5 else _neighbours(tie, chance)
            here, there = (swapped.get(id(entry), entry.place) for entry in (one, other))
            swapped[id(one)], swapped[id(other)] = there, here
        return lambda entry: swapped.get(id(entry), entry.place)

    # Moves

    def remove(self) -> None:
        """Take one position off the list: a record that stands at another is still on it."""
        if not self._entries:
            return
        # By its place: one that is listed twice is equal to itself, and stands elsewhere.
        entry = self._entries.pop(self.random.randrange(len(self._entries)))
        for server, places in zip(self._servers, self._places, strict=True):
            at = bisect.bisect_left(server, places(entry), key=places)
            while server[at] is not entry:
                at += 1
            del server[at]
        record = record_of(entry.row)
        if record in self.throughout and all(record_of(other.row) != record for other in self._entries):
            self.throughout.discard(record)

    def arrive_one(self) -> None:
        """Put one on the list."""
        if self.arrive == "sorted":
            entry = self._new()
        elif self.order in UNORDERED:
            entry = self._new()
            ends = [entry.place for entry in self._entries] or [(0.0, 0.0)]
            top = self.arrive == "top"
            entry.place = (min(ends)[0] - 1, 0.0) if top else (max(ends)[0] + 1, 0.0)
        else:
            # Newest of all, or oldest of all.
            is_first = (self.arrive == "top") != (self.order == "ascending")
            entry = self._new(START + dt.timedelta(days=self.days, microseconds=-1) if is_first else START)
        self._entries.append(entry)
        for server, places in zip(self._servers, self._places, strict=True):
            bisect.insort(server, entry, key=places)

    def shuffle(self) -> None:
        """Let those that the order does not tell apart change places."""
        if self.order == "random":
            return
        for entry in self._entries:
            entry.place = (entry.place[0], self.random.random())
        for server, places in zip(self._servers, self._places, strict=True):
            server.sort(key=places)

    def move(self) -> None:
        """Move as much as is expected before an answer."""
        for rate, kind in (
            (self.removals, self.remove),
            (self.arrivals, self.arrive_one),
            (self.shuffles, self.shuffle),
        ):
            for _ in range(int(rate) + (self.random.random() < rate % 1)):
                if self.moved < self.most_moves:
                    kind()
                    self.moved += 1
                    self._parts.clear()

    @property
    def moves(self) -> float:
        """Moves expected before each answer."""
        return self.removals + self.arrivals + self.shuffles

    # What is told

    def answer(self, dates: tuple[str, str], offset: int, limit: int) -> Page:
        """Answer one request, after some movement."""
        self.move()
        server = self.requests % self.replicas if self.in_turn else self.random.randrange(self.replicas)
        self.requests += 1
        part = (*dates, server)
        if part not in self._parts:
            end = dt.datetime.fromisoformat(dates[1]) + dt.timedelta(days=int(self.end_included))
            low, high = dates[0], end.isoformat()
            self._parts[part] = [entry.row for entry in self._servers[server] if low <= entry.row[0] < high]
        listed = self._parts[part]
        rows = listed[offset : offset + min(limit, self._most(is_older=2 * offset > len(listed)))]
        return Page.of(rows, offset=offset, limit=limit)

    def _most(self, *, is_older: bool) -> int:
        if is_older and self.cap_older is not None:
            return self.cap_older
        if self.cap is None or self.requests <= self.cap_from:
            return 500
        return self.random.randint(max(2, int(self.cap * (1 - self.cap_spread))), self.cap)

    @property
    def fewest(self) -> int:
        """Records of an answer at the least, where the list has them."""
        return 500 if self.cap is None else max(2, int(self.cap * (1 - self.cap_spread)))

    @property
    def window(self) -> Window:
        """The window of all days of the list."""
        return Window(first=DAY, days=self.days, since=timestamps.midnight(DAY), until=None)


_place = operator.attrgetter("place")


def _neighbours(tie: list[Entry], chance: random.Random) -> tuple[Entry, Entry]:
    at = chance.randrange(len(tie) - 1)
    return tie[at], tie[at + 1]


def loss_of(strange: StrangeList, rows: list[Row], *, since: str = "", until: str = "9") -> int:
    """Check promises 2 to 4 on what was emitted; return how many are missing that stayed on the list."""
    keys = [record_of(row) for row in rows]
    assert len(keys) == len(set(keys)), "emitted twice"
    assert [row[0] for row in rows] == sorted(row[0] for row in rows), "out of order"
    assert set(keys) <= strange.ever, "emitted something that never was"
    return len({record for record in strange.throughout if since <= record[1] < until} - set(keys))
