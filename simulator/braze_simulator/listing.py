"""The list: entries that come and go, as each of Braze's servers tells them."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import typing as t
from bisect import bisect_left, bisect_right
from collections import Counter

from braze_simulator.entries import Entry, digits, holding, micros, phone_of, spelling
from braze_simulator.order import SPAN, UNITS, UNORDERED, Columns, Item, Order, Replica

if t.TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Sequence

#: Parts of the list that are kept at hand.
MOST_PARTS = 64


class Listing:
    """The list itself, in the order it is told, and the parts of it that were asked for where they are no one slice."""

    def __init__(self, entries: Iterable[Entry] = (), *, seed: int = 0) -> None:
        self.order = Order()
        self.columns = Columns(self.order)
        #: All servers but the first.
        self._others: list[Replica] = []
        self.reasons: Counter[str | None] = Counter()
        self._seed = str(seed).encode()[:64]
        self._copies: Counter[bytes] = Counter()
        # Built when first asked for: a benchmark that only pages should not pay for it.
        self._keys: dict[str, tuple[int, ...]] | None = None
        self._parts: dict[Part, Replica] = {}
        self.extend(entries)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Entry:
        return Entry.of(self.times[position], self.rows[position])

    @property
    def times(self) -> array[int]:
        """Instants of the entries, in microseconds."""
        return self.columns.times

    @property
    def rows(self) -> list[bytes]:
        """Entries as they stand in an answer; what is listed first last."""
        return self.columns.rows

    # Who is where

    def number_at(self, position: int) -> str:
        """Return the digits of an entry, without reading all of it."""
        return digits(phone_of(self.rows[position]) or "")

    @property
    def keys(self) -> dict[str, tuple[int, ...]]:
        """What the list is ordered by, of each number's entries."""
        if self._keys is None:
            self._keys = {}
            for key, row in zip(self.columns.keys, self.rows, strict=True):
                self._note(row, key)
        return self._keys

    def _note(self, row: bytes, key: int) -> None:
        if (phone := phone_of(row)) is not None:
            number = digits(phone)
            self.keys[number] = (*self.keys.get(number, ()), key)

    def positions(self, phones: Iterable[str], compare: str = "digits") -> list[int]:
        """Return where the numbers are, as listed; for the ways to compare see Behaviour."""
        wanted: dict[str, set[str]] = {}
        for phone in phones:
            if compare in {"digits", "stored"} or spelling(phone) in {compare, None}:
                wanted.setdefault(digits(phone), set()).add(phone)
        return sorted(
            {
                position
                for number, spelled in wanted.items()
                for key in self.keys.get(number, ())
                for position in range(*self.columns.tie(key))
                if (listed := phone_of(self.rows[position])) is not None
                and (digits(listed) == number if compare != "stored" else listed in spelled)
            },
            reverse=True,
        )

    # Coming and going

    def extend(self, entries: Iterable[Entry]) -> None:
        """Put in any number of entries."""
        self._parts.clear()
        self._keys = None
        if not self.order.marked:
            self.columns.extend(map(self._take_in, entries))
            return
        first, items = not self.rows, list(map(self._take_in, entries))
        self.columns.extend(items)
        for replica in self._others:
            replica.extend(items)
        if first:
            self._differ()  # An empty list had nothing to tell servers apart by.

    def insert(self, entry: Entry) -> None:
        """Put in one entry."""
        item = self._take_in(entry)
        self._note(item.row, item.key)
        self.columns.insert(item)
        for replica in self._others:
            replica.insert(item)
        for part, copy in self._parts.items():
            if part.takes(item):
                copy.insert(item)

    def _take_in(self, entry: Entry) -> Item:
        self.reasons[entry.reason] += 1
        return self._item(micros(entry.detected_at), entry.encoded())

    def pop(self, position: int) -> Entry:
        """Take out one entry."""
        entry = self[position]
        [item] = self.columns.items([position])
        phone = phone_of(item.row)
        if phone is not None:
            # One entry's worth: the same number may be listed twice, even at one instant.
            left = list(self.keys.pop(digits(phone)))
            left.remove(item.key)
            if left:
                self.keys[digits(phone)] = tuple(left)
        self.columns.delete(position)
        for replica in self._others:
            replica.remove(item)
        for part, copy in self._parts.items():
            if part.takes(item):
                copy.remove(item)
        self.reasons[entry.reason] -= 1
        return entry

    # Order

    def arrange(self, order: Order) -> None:
        """Put the list in another order, if it is another."""
        if order == self.order:
            return
        before, self.order = self.columns, order
        self._copies.clear()
        self._parts.clear()
        self._keys = None
        self.columns = Columns(order)
        self.columns.extend(itertools.starmap(self._item, zip(before.times, before.rows, strict=True)))
        self._differ()

    def _differ(self) -> None:
        """Let the servers have the list as it is now, each in its own way."""
        self._others = [self._replica(index) for index in range(1, self.order.replicas)]
        for replica in self._others:
            replica.extend(self.columns.items(range(len(self))))

    def _replica(self, index: int) -> Replica:
        order, keys = self.order, self.columns.keys
        if order.difference == "swapped":
            return Replica(order, swapped=self._swaps(random.Random(f"{self._seed!r} {index}")))
        if order.name in UNORDERED and keys:
            return Replica(order, anchor=keys[len(keys) * index // order.replicas])
        return Replica(order, anchor=SPAN * index // order.replicas)

    def _swaps(self, rng: random.Random) -> dict[bytes, tuple[int, int]]:
        """Swap some entries that the order does not tell apart, neighbours and others; return whose places they get."""
        keys, marks, rows = self.columns.keys, t.cast("array[int]", self.columns.marks), self.rows
        whole = self.order.name in UNORDERED
        tied = [i for i in range(len(keys)) if whole or keys[i] in {*keys[max(0, i - 1) : i], *keys[i + 1 : i + 2]}]
        places: dict[bytes, tuple[int, int]] = {}
        for _ in range(self.order.swaps if len(tied) > 1 else 0):
            one = rng.choice(tied)
            low, high = (0, len(keys)) if whole else self.columns.tie(keys[one])
            other = rng.randrange(low, high) if rng.random() < 0.5 else one
            if other == one:
                other += 1 if one + 1 < high else -1
            # Identical entries are not told apart by where they are.
            if self._copies[rows[one]] == self._copies[rows[other]] == 1:
                places[rows[one]], places[rows[other]] = (
                    places.get(rows[position], (keys[position], marks[position])) for position in (other, one)
                )
        return places

    def _item(self, when: int, row: bytes) -> Item:
        """Give an entry its place."""
        if self.order.by_time and not self.order.marked:
            return Item(when, 0, when, row)
        mark = self._mark(row)
        name = self.order.name
        if name in UNITS:
            key = when // UNITS[name] * UNITS[name]
        elif name == "number":
            # As texts are ordered; longer than any number is, and short enough for an array.
            number = re.sub(r"\D+", "", phone_of(row) or "")[:18]
            key = 10**18 - int(number.ljust(18, "0"))
        else:
            key = {"time": when + (mark * self.order.delay >> 63), "ascending": -when, "random": mark}[name]
        return Item(key, mark, when, row)

    def _mark(self, row: bytes) -> int:
        """Return 63 bits that are an entry's own; the second of two that are identical has others than the first."""
        copy = self._copies[row].to_bytes(8, "big")
        self._copies[row] += 1
        return int.from_bytes(hashlib.blake2b(row, digest_size=8, key=self._seed, salt=copy).digest(), "big") >> 1

    # What an answer is taken from

    def between(self, part: Part) -> tuple[Columns, int, int]:
        """Return columns, and the positions among them between which an answer's records are."""
        server = self._others[part.replica - 1].columns if part.replica else self.columns
        low, high, exact = self._span(server.keys, part)
        if exact and part.reason is None:
            return server, low, high
        if part not in self._parts:
            if len(self._parts) >= MOST_PARTS:
                del self._parts[next(iter(self._parts))]
            self._parts[part] = self._cut(server, part, low, high)
        columns = self._parts[part].columns
        return columns, 0, len(columns.rows)

    def _span(self, keys: Sequence[int], part: Part) -> tuple[int, int, bool]:
        """Return positions between which all entries of a range are, and whether they are the only ones there."""
        if self.order.name in UNORDERED:
            return 0, len(keys), False
        if self.order.name == "ascending":
            return bisect_right(keys, -part.end), bisect_right(keys, -part.start), True
        # Ranges begin and end at midnights, which cutting times to a unit leaves where they are.
        delay = self.order.delay
        return bisect_left(keys, part.start), bisect_left(keys, part.end + delay), not delay

    def _cut(self, server: Columns, part: Part, low: int, high: int) -> Replica:
        """Copy a part of the list as a server has it; it moves with the list from now on."""
        copy = self._others[part.replica - 1].emptied() if part.replica else Replica(self.order)
        times, rows, wanted = server.times, server.rows, holding(part.reason)
        copy.columns.extend(
            server.items(
                position
                for position in range(low, high)
                if part.start <= times[position] < part.end and wanted in rows[position]
            )
        )
        return copy


class Part(t.NamedTuple):
    """What of the list a request is about, and which server answers."""

    start: int
    end: int
    reason: str | None
    replica: int

    def takes(self, item: Item) -> bool:
        """Whether an entry is in it."""
        return self.start <= item.when < self.end and holding(self.reason) in item.row
