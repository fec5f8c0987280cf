"""The order in which a list is told, and entries kept in it."""

from __future__ import annotations

import itertools
import operator
import typing as t
from array import array
from bisect import bisect_left, bisect_right

if t.TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator, Mapping

#: Microseconds of the units to which a list's order may cut times.
UNITS = {"minute": 60_000_000, "hour": 3_600_000_000, "day": 86_400_000_000}
ORDERS = ("time", "ascending", "number", "random", *UNITS)
#: Orders that say nothing of times: for them, the whole list is one tie.
UNORDERED = ("number", "random")
#: Marks and keys are 63 bits.
SPAN = 1 << 63


class Order(t.NamedTuple):
    """What decides where an entry stands."""

    name: str = "time"
    delay: int = 0  #: microseconds
    replicas: int = 1
    difference: str = "rotated"
    swaps: int = 0

    @property
    def by_time(self) -> bool:
        """Whether entries stand exactly where their times put them."""
        return self.name == "time" and not self.delay

    @property
    def marked(self) -> bool:
        """Whether entries that the order does not tell apart have a place by chance; otherwise the newest is first."""
        return self.replicas > 1 or (not self.by_time and self.name != "ascending")


class Item(t.NamedTuple):
    """An entry in its place."""

    key: int  #: what the list is ordered by
    mark: int  #: what decides among equal keys, where the order has marks
    when: int  #: microseconds since the epoch
    row: bytes


class Columns:
    """Entries in one order, what is listed first last; column by column, so that a page is one slice and one join."""

    def __init__(self, order: Order) -> None:
        self.times = array("q")
        self.rows: list[bytes] = []
        # By time, the times themselves are the keys: one array, not two.
        self.keys = self.times if order.by_time else array("q")
        self.marks = array("q") if order.marked else None

    def tie(self, key: int) -> tuple[int, int]:
        """Return the positions between which the entries with a key are."""
        return bisect_left(self.keys, key), bisect_right(self.keys, key)

    def insert(self, item: Item) -> None:
        """Put in one entry; without marks, before those of its own key (in the order the API lists them)."""
        low, position = self.tie(item.key)
        if self.marks is not None:
            position = bisect_right(self.marks, item.mark, low, position)
            self.marks.insert(position, item.mark)
        if self.keys is not self.times:
            self.keys.insert(position, item.key)
        self.times.insert(position, item.when)
        self.rows.insert(position, item.row)

    def extend(self, items: Iterable[Item]) -> None:
        """Put in any number of entries: sorting once beats shifting every time."""
        for key, mark, when, row in items:
            self.times.append(when)
            self.rows.append(row)
            if self.keys is not self.times:
                self.keys.append(key)
            if self.marks is not None:
                self.marks.append(mark)
        keys, marks = self.keys, self.marks
        if marks is not None:
            positions = sorted(range(len(keys)), key=lambda position: (keys[position], marks[position]))
            self.marks = array("q", [marks[position] for position in positions])
        elif any(itertools.starmap(operator.gt, itertools.pairwise(keys))):
            positions = sorted(range(len(keys)), key=keys.__getitem__)
        else:
            return
        if keys is not self.times:
            self.keys = array("q", [keys[position] for position in positions])
        self._rearrange(0, positions)

    def _rearrange(self, start: int, positions: list[int]) -> None:
        """Put the rows that are at these positions, and their times, where the list has them from start on."""
        end = start + len(positions)
        self.rows[start:end] = [self.rows[position] for position in positions]
        self.times[start:end] = array("q", [self.times[position] for position in positions])

    def delete(self, position: int) -> None:
        """Take out what stands at a position."""
        del self.rows[position], self.times[position]
        if self.keys is not self.times:
            del self.keys[position]
        if self.marks is not None:
            del self.marks[position]

    def remove(self, key: int, row: bytes) -> None:
        """Take out a row, wherever among those of its key it has moved."""
        self.delete(self.rows.index(row, *self.tie(key)))

    def items(self, positions: Iterable[int]) -> Iterator[Item]:
        """Yield what stands at some positions."""
        for position in positions:
            mark = 0 if self.marks is None else self.marks[position]
            yield Item(self.keys[position], mark, self.times[position], self.rows[position])

    def shuffle_ties(self, rng: random.Random, low: int, high: int) -> None:
        """Let entries that the order does not tell apart change places, where positions low to high can show it."""
        position = bisect_left(self.keys, self.keys[low])
        for _, tied in itertools.groupby(self.keys[position : bisect_right(self.keys, self.keys[high - 1])]):
            end = position + len(list(tied))
            if end - position > 1:
                self._rearrange(position, rng.sample(range(position, end), end - position))
            position = end


class Replica:
    """The list as one of Braze's servers has it: as the first has it, turned round, or with some entries swapped."""

    def __init__(
        self,
        order: Order,
        *,
        anchor: int | None = None,
        swapped: Mapping[bytes, tuple[int, int]] | None = None,
    ) -> None:
        self.columns = Columns(order)
        self._order = order
        self._anchor = anchor
        #: Key and mark of the entries that have the place of another.
        self._swapped = swapped or {}

    def emptied(self) -> Replica:
        """Return one without entries that differs from the first in the same way."""
        return Replica(self._order, anchor=self._anchor, swapped=self._swapped)

    def place(self, item: Item) -> Item:
        """Return an entry in its place here."""
        if item.row in self._swapped:
            key, mark = self._swapped[item.row]
            return item._replace(key=key, mark=mark)
        if self._anchor is None:
            return item
        if self._order.name in UNORDERED:
            return item._replace(key=item.key - SPAN * (item.key >= self._anchor))
        return item._replace(mark=(item.mark - self._anchor) % SPAN)

    def insert(self, item: Item) -> None:
        """Put in an entry that the first has at this place."""
        self.columns.insert(self.place(item))

    def extend(self, items: Iterable[Item]) -> None:
        """Put in any number of entries."""
        self.columns.extend(map(self.place, items))

    def remove(self, item: Item) -> None:
        """Take out an entry."""
        self.columns.remove(self.place(item).key, item.row)
