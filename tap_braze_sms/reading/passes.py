"""Passes: a list read over and over where its times prove nothing.

In a list that is in no order by time (or by days alone, with thousands of records a day) no page tells what another
lacks. What is left is that an order, whatever it is, stays: a record keeps its place among the others until it leaves
the list. A pass reads the whole list, from its top to a proven end, each page sharing a record with the next: it is
*linked* then, and no removal opened a hole between two of its pages. A linked pass has all records that stay, if the
order does. Whether it does is seen by a second pass whose pages are cut elsewhere:

- positions for which a pass found no record of their own (it met one record twice, or the list grew meanwhile) are
  *unaccounted for*. The list is proven by two linked passes in succession, if the second found at least as many new
  records as the first left unaccounted for: none, of a list at rest.
- Where one record stands at several positions that no single answer shows together, some positions are never accounted
  for. Three linked passes in succession prove the list if they found the same records, and none of them saw a position
  change its record.

Not told apart from a list that keeps its order: servers that take turns, whose orders differ by a few places, with as
many records leaving within each pass as it left out. `docs/guarantees.md` has the odds.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass
from itertools import starmap
from operator import eq

from tap_braze_sms.reading.answer_size import GOLDEN

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tap_braze_sms.reading.answer_size import AnswerSize
    from tap_braze_sms.reading.page import Identify, Page

#: Passes after which a list that is still not proven never will be, as far as a run can wait.
MOST_PASSES = 12

#: Linked passes in succession that have to be alike, where some positions are never accounted for.
ALIKE = 3

#: Pages by which a pass may be longer than planned, as the list grows while it is read.
MOST_FURTHER = 40

#: Records that neighbouring pages of the first pass share; doubled by each pass that is not linked.
PASS_OVERLAP = 4


@dataclass(frozen=True, slots=True)
class ListPass:
    """What one pass over the whole list found."""

    #: Hashes of the records.
    found: frozenset[int]
    #: Records that the list had, by the position of its end.
    positions: int
    #: Positions of records that one answer showed at several.
    repeats: int
    #: It reaches a proven end.
    has_end: bool
    #: It does, from the top, and each page shares a record with the next.
    is_linked: bool
    #: No position was seen to change its record.
    is_still: bool

    @classmethod
    def of(cls, pages: Iterable[Page], identify: Identify) -> ListPass:
        """Return what some pages show of the whole list."""
        found: set[int] = set()
        repeats: dict[int, int] = {}
        is_linked = is_still = True
        before: list[int] = []
        first = end = 0
        ends_list = False
        for page in sorted(pages, key=lambda page: page.offset):
            here = [hash(identify(row)) for row in page.rows()]
            records = set(here)
            if len(records) < len(here):
                for record, times in Counter(here).items():
                    repeats[record] = max(repeats.get(record, 0), times - 1)
            if page.offset:
                is_linked &= not records.isdisjoint(before)
                shared = list(zip(before[page.offset - first :], here, strict=False))
                is_still &= bool(shared) and all(starmap(eq, shared))
            found |= records
            # Where answers are cut unevenly, one may end before the one that it begins in.
            if page.ends_list or page.offset + page.count >= end:
                first, before, end = page.offset, here, page.offset + page.count
                ends_list = page.ends_list
        return cls(frozenset(found), end, sum(repeats.values()), ends_list, is_linked and ends_list, is_still)

    @property
    def unaccounted(self) -> int:
        """Positions for which it found no record of their own."""
        return max(0, self.positions - len(self.found) - self.repeats)


class ListPasses:
    """The reading of one window's list in passes.

    Args:
        identify: Returns what decides whether two rows are one record.
        answer_size: How many records an answer can hold.
        limit: Records to ask for.
    """

    def __init__(self, identify: Identify, answer_size: AnswerSize, limit: int) -> None:
        self.passes = 0
        self.proven = False
        self._identify = identify
        self._answer_size = answer_size
        self._limit = limit
        self._overlap = PASS_OVERLAP
        self._joined: set[int] = set()
        self._before: list[ListPass] = []
        self._further = self._back = self._reached = 0
        #: Up to where the list is known to go.
        self._positions = 0

    def requests(self) -> list[tuple[int, int]]:
        """Return offset and limit of each request of the next pass."""
        self.passes += 1
        self._further = self._back = self._reached = 0
        size = self._answer_size.shown(self._limit)
        overlap = self._overlap_in(size)
        # Small answers leave little choice of where to cut.
        cut = min(max(overlap + 1, int(size * (self.passes * GOLDEN % 1))), size)
        behind = range(cut - overlap, self._positions, max(1, size - overlap))
        return [(0, cut if behind else self._limit), *((offset, self._limit) for offset in behind)]

    def further(self, pages: Sequence[Page]) -> tuple[int, int] | None:
        """Return the request that a pass still lacks, as the list is longer than it was; None: it has its end."""
        held = [page for page in pages if page.count]
        if not held or self._further == MOST_FURTHER:
            return None
        farthest = max(held, key=lambda page: page.offset + page.count)
        if farthest.ends_list or max(held, key=lambda page: page.offset).ends_list:
            return None
        self._further += 1
        reached = farthest.offset + farthest.count
        # Where nothing came, the list has become shorter.
        self._back = 2 * self._back if reached == self._reached else 0
        self._reached = reached
        # Answers may hold fewer than is believed: the next one has to reach further all the same.
        size = min(farthest.count, self._answer_size.shown(self._limit))
        self._back = self._back or self._overlap_in(size)
        return max(1, reached - self._back), self._limit

    def add_pass(self, pages: Iterable[Page]) -> None:
        """Take in the pages of a pass, and decide whether the list is proven."""
        now = ListPass.of(pages, self._identify)
        new = now.found - self._joined
        self._joined |= new
        # One that did not get to the end does not show that the list has become shorter.
        self._positions = now.positions if now.has_end else max(now.positions, self._positions)
        self._overlap *= 1 if now.is_linked else 2
        self._before = [*self._before, now][-ALIKE:]
        previous = self._before[-2] if len(self._before) > 1 else None
        accounted_for = previous is not None and previous.is_linked and len(new) >= previous.unaccounted
        alike = len(self._before) == ALIKE and all(
            one.is_linked and one.is_still and one.found == now.found and one.positions == now.positions
            for one in self._before
        )
        self.proven = now.is_linked and (accounted_for or alike)

    def _overlap_in(self, size: int) -> int:
        return max(1, min(self._overlap, size // 2))
