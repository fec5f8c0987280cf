"""Ties: the instants at which pages meet, and how those are proven that hold more records than a page can.

A page proves every instant that lies strictly inside it. Where pages fail to overlap, the
instant between them is asked for again, some records before it included, and looked for
where it has moved away meanwhile. One shared by more records than the largest page (a carrier's
deactivation list imported in one go) never lies strictly inside, and the order among equal
times is nobody's promise. Such an instant is read in passes over its whole stretch. A pass
is linked when each of its pages shares a record with the next, so that no removal opened a
hole between them. The instant is proven when

- a pass is linked, and found a record for each position of its stretch: nothing moved, then. A record at two positions
  counts for both where one answer showed it at both: it is on the list twice;
- what two passes share stands in the same order, and so does what one of them met twice: ties
  keep their order, then, and a pass that is linked has them all, whatever is removed. Servers
  that take turns, each with an order of its own, can look the same. So such a pass counts
  only if it found as many records as its stretch has positions, which begins where the later
  of the two passes saw it begin: arrivals above move it down meanwhile;
- the stretch lies where it lay in the pass before, the passes since it lies there together
  found as many records as it has positions, and a further one nothing new: only places
  were changed, then;
- six passes in succession, cut in different places, showed the same record at each position: what stands twice there,
  in places that no single answer shows together, is on the list twice. Servers that take turns and swap two records
  show one of them at both places in a quarter of all passes, so that half as many would not do.

Not told apart from a list at rest: a record of a part still to be read that moves to exactly
where another has left, in a part that is read already. Only a second pass over every such
instant could, for twice the requests.
"""

from __future__ import annotations

import math
import typing as t
from collections import Counter
from dataclasses import dataclass, field

from tap_braze_sms.reading.answer_size import GOLDEN

if t.TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from tap_braze_sms.reading.answer_size import AnswerSize
    from tap_braze_sms.reading.page import Identify, Page

#: Passes in succession that have to show the same record at each position, where some stand at several.
ALIKE = 6


@dataclass(slots=True)
class TiePass:
    """What the pages of one pass show of an instant's stretch of positions."""

    first: int = 0
    end: int = 0
    #: What stands before its first and behind its last record was seen as well.
    begins: bool = False
    ends: bool = False
    #: Each page shares a record with the next.
    is_linked: bool = True
    #: What was met again stood in the same order.
    keeps_order: bool = True
    #: No position was seen with two records.
    is_still: bool = True
    #: The position at which each record was met first, in the order of the list.
    found: dict[Hashable, int] = field(default_factory=dict)
    #: The record at each position.
    places: dict[int, Hashable] = field(default_factory=dict)
    #: By how many positions more than one a single answer showed a record.
    _again: dict[Hashable, int] = field(default_factory=dict)
    _before: frozenset[Hashable] = frozenset()

    def add(self, here: list[Hashable], *, offset: int, begins: bool, ends: bool) -> None:
        """Take in the records of a page that are of the instant; pages come in order of their offsets."""
        if not self.found:
            self.first, self.begins = offset, begins
        elif self._before.isdisjoint(here):
            self.is_linked = False
        self.end, self.ends = offset + len(here), ends
        known = [self.found[record] for record in here if record in self.found]
        self.keeps_order &= known == sorted(known)
        self._before = frozenset(here)
        if len(self._before) < len(here):
            for record, times in Counter(here).items():
                self._again[record] = max(self._again.get(record, 0), times - 1)
        for place, record in enumerate(here, offset):
            self.found.setdefault(record, place)
            self.is_still &= self.places.setdefault(place, record) == record

    @property
    def is_whole(self) -> bool:
        """Whether it saw where the instant begins and where it ends, and these at one time."""
        return self.begins and self.ends and self.first < self.end

    def has_all_from(self, first: int) -> bool:
        """Whether it is linked, and found a record for each position from some on."""
        return self.is_linked and self.accounts_for(self.end - first)

    def accounts_for(self, positions: int, joined: Iterable[Hashable] = ()) -> bool:
        """Whether what it found, or what was found so far, are as many records as some positions."""
        return (len(set(joined)) or len(self.found)) + sum(self._again.values()) >= positions

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing moved while it was read."""
        return self.is_still and self.has_all_from(self.first)

    def is_in_the_order_of(self, other: TiePass) -> bool:
        """Whether what both found stands in the same order in both."""
        return (
            self.keeps_order
            and bool(other.found)
            and [r for r in self.found if r in other.found] == [r for r in other.found if r in self.found]
        )

    def is_like(self, other: TiePass) -> bool:
        """Whether both saw the same record at every position."""
        return self.is_linked and self.is_still and self.places == other.places


class Tie:
    """The reading of one instant that no page proves yet.

    Args:
        instant: Its time, as `key` cuts it.
        key: Cuts a time to what the list is sorted by.
        identify: Returns what decides whether two rows are one record.
        answer_size: How many records an answer can hold.
        limit: Records to ask for.
    """

    def __init__(
        self, instant: str, key: Callable[[str], str], identify: Identify, answer_size: AnswerSize, limit: int
    ) -> None:
        self.instant = instant
        self.passes = 0
        self.proven = False
        self._key = key
        self._identify = identify
        self._answer_size = answer_size
        self._limit = limit
        #: Of the passes since the stretch lies where it lies: what they found, and how many in succession were alike.
        self._joined: set[Hashable] = set()
        self._alike = 0
        self._before = TiePass(is_linked=False)
        #: Positions believed to hold the instant: first, and one past the last.
        self._stretch = (0, 0)
        self._is_located = False
        #: Positions it lies between while it is looked for: everything before the one is newer, from the other on
        #: nothing is.
        self._low = 0
        self._high = math.inf
        #: Where a page ended that was shorter than expected, though nothing shows that the list ends there.
        self._tail = 0

    def add_pass(self, pages: Iterable[Page]) -> None:
        """Take in the pages of one pass, and decide whether the instant is proven."""
        seen = TiePass()
        self._tail = 0
        for page in sorted(pages, key=lambda page: page.offset):
            rows = page.rows()
            keys = [self._key(row[0]) for row in rows]
            above, equal = sum(key > self.instant for key in keys), keys.count(self.instant)
            if equal:
                here = [self._identify(row) for row in rows[above : above + equal]]
                ends = above + equal < page.count or page.ends_list
                seen.add(here, offset=page.offset + above, begins=above > 0 or page.offset == 0, ends=ends)
                self._tail = 0 if ends or page.count >= self._size else seen.end
            else:
                self._narrow(page, above)
        if seen.is_whole:
            self._decide(seen)
        else:
            self._look_further(seen)

    def _look_further(self, seen: TiePass) -> None:
        """Look further on either side of what was seen, which is not all of the instant, or not at one place."""
        further = min(max(0, seen.end - seen.first), self._size)
        first, end = (seen.first, seen.end) if seen.found else (self._guess, self._guess)
        low = first if seen.begins else max(0, first - further)
        self._stretch = (low, max(low, end if seen.ends else end + further))
        self._is_located = False

    def _decide(self, seen: TiePass) -> None:
        stays = self._is_located and self._stretch == (seen.first, seen.end)
        begins = max(self._stretch[0], seen.first) if self._is_located else seen.first
        self._stretch, self._is_located = (seen.first, seen.end), True
        joined = self._joined if stays else set()
        # What arrived meanwhile counts, too: all is known only once a whole pass finds nothing new.
        nothing_new = joined >= seen.found.keys() and seen.accounts_for(seen.end - seen.first, joined)
        self._joined = joined | seen.found.keys()
        self._alike = self._alike + 1 if seen.is_like(self._before) else 1
        same_order = seen.is_in_the_order_of(self._before) and (
            seen.has_all_from(begins) or (self._before.keeps_order and self._before.has_all_from(begins))
        )
        self._before = seen
        is_proof = seen.is_at_rest or same_order or nothing_new or self._alike >= ALIKE
        # Pages that were read at different times, for something else, are no pass where asking once may show it whole.
        self.proven = is_proof and not self.fits and (self.passes > 0 or not self._fits_in(self._answer_size.largest))

    def _narrow(self, page: Page, above: int) -> None:
        """Take in on which side of a page the instant lies; the list may have moved since the page before."""
        if not above:
            self._high = page.offset
            self._low = self._low if self._low < self._high else 0
        elif above == page.count:
            self._low = page.offset + above
            self._high = self._high if self._low < self._high else math.inf

    @property
    def _size(self) -> int:
        return self._answer_size.expected(self._limit)

    @property
    def _guess(self) -> int:
        """Where a page could begin to have the instant inside, by what is known of where it lies."""
        size = self._size
        high = min(self._high, 2 * self._low + size)
        return max(0, int(self._low + high - size) // 2)

    def requests(self) -> list[tuple[int, int]]:
        """Return offset and limit of each request of the next pass."""
        self.passes += 1
        first, end = self._stretch
        size = self._size
        # Pass by pass more overlap, so that a list that moves fast still links up.
        overlap = min(2 << self.passes, (size - self.fits * (end - first)) // 2)
        # What is only looked for could lie at the very end of the list, which a page shows that reaches beyond it.
        start, limit = max(0, first - overlap) if first < end else first, self._limit
        offsets = {start, *range(start, max(1, end), max(1, size - overlap))}
        if self._alike > 1 and not self.fits:
            limit = min(size, 2 * overlap + int((size - 2 * overlap) * (self.passes * GOLDEN % 1)))
            offsets = {start, *range(start + limit - overlap, end, max(1, size - overlap))}
        if self._tail > start + 1:
            # Were it cut short, so would the next one be: it has to reach further all the same.
            offsets.add(self._tail - min(overlap, (self._tail - start) // 2))
        return [(offset, limit if offset == start else self._limit) for offset in sorted(offsets)]

    @property
    def fits(self) -> bool:
        """Whether the instant may well lie strictly inside one page, which alone is to prove it then."""
        return self._fits_in(self._answer_size.shown(self._limit))

    def _fits_in(self, size: int) -> bool:
        first, end = self._stretch
        return end - first <= size - max(2, size // 10)
