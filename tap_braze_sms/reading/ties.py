"""Ties: the instants at which pages meet, and how those are proven that hold more records than a page can.

A page proves every instant that lies strictly inside it. Where pages fail to overlap, the
instant between them is asked for again, some records before it included, and looked for
where it has moved away meanwhile. One shared by more records than the largest page (a carrier's
deactivation list imported in one go) never lies strictly inside, and the order among equal
times is nobody's promise. Such an instant is read in passes over its whole stretch. A pass
is linked when each of its pages shares a record with the next, so that no removal opened a
hole between them. The instant is proven when

- a pass is linked, no record was met at two positions, and it found at least as many
  records as its stretch has positions: nothing moved, then;
- what two passes share stands in the same order, and so does what one of them met twice: ties
  keep their order, then, and a pass that is linked has them all, whatever is removed. Servers
  that take turns, each with an order of its own, can look the same. So such a pass counts
  only if it found as many records as its stretch has positions, which begins where the later
  of the two passes saw it begin: arrivals above move it down meanwhile;
- the stretch lies where it lay in the pass before, the passes since it lies there together
  found as many records as it has positions, and a further one nothing new: only places
  were changed, then.

Not told apart from a list at rest: a record of a part still to be read that moves to exactly
where another has left, in a part that is read already. Only a second pass over every such
instant could, for twice the requests.
"""

from __future__ import annotations

import math
import typing as t

from tap_braze_sms.reading.page import Page, identity

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Tie:
    """The reading of one instant that no page proves yet.

    Args:
        instant: Its time, as `key` cuts it.
        key: Cuts a time to what the list is sorted by.
        largest: Most records Braze returns in one answer.
    """

    def __init__(self, instant: str, key: Callable[[str], str], largest: int) -> None:
        self.instant = instant
        self.passes = 0
        self.proven = False
        self._key = key
        self._largest = largest
        self._joined: set[tuple[str, str]] = set()
        self._order: dict[tuple[str, str], int] = {}
        self._was_linked = False
        #: Positions believed to hold the instant: first, and one past the last.
        self._stretch = (0, 0)
        self._is_located = False
        #: Positions it lies between while it is looked for: everything before the one is newer, from the other on
        #: nothing is.
        self._low = 0
        self._high = math.inf

    def add_pass(self, pages: Iterable[Page]) -> None:
        """Take in the pages of one pass, and decide whether the instant is proven."""
        first = end = 0
        begins = ends = False
        linked = still = ordered = True
        #: Digits and time of each record, in the order of the list, and the position where it was met first.
        found: dict[tuple[str, str], int] = {}
        before: set[tuple[str, str]] = set()
        for page in sorted(pages, key=lambda page: page.offset):
            rows = page.rows()
            keys = [self._key(row[0]) for row in rows]
            above = sum(key > self.instant for key in keys)
            equal = keys.count(self.instant)
            if not equal:
                self._narrow(page, above)
                continue
            here = [(identity(row[1]), row[0]) for row in rows[above : above + equal]]
            if not found:
                first, begins = page.offset + above, above > 0 or page.offset == 0
            elif before.isdisjoint(here):
                linked = False
            end, ends = page.offset + above + equal, above + equal < page.count or page.count < page.limit
            known = [found[record] for record in here if record in found]
            ordered = ordered and known == sorted(known)
            for place, record in enumerate(here, page.offset + above):
                still &= found.setdefault(record, place) == place
            before = set(here)
        if not (begins and ends and first < end):
            # Not seen whole, or not at one place: look further on either side.
            further = min(max(0, end - first), self._largest)
            if not found:
                first = end = self._guess
            low = first if begins else max(0, first - further)
            self._stretch = (low, max(low, end if ends else end + further))
            self._is_located = False
            return
        stays = self._is_located and self._stretch == (first, end)
        first_before, end_before = self._stretch if self._is_located else (first, end)
        self._stretch = (first, end)
        self._is_located = True
        joined = self._joined if stays else set()
        # What arrived meanwhile counts, too: all is known only once a whole pass finds nothing new.
        nothing_new = len(joined) >= end - first and joined >= found.keys()
        self._joined = joined | found.keys()
        same_order = (
            ordered
            and bool(self._order)
            and [r for r in found if r in self._order] == [r for r in self._order if r in found]
        )
        latest = max(first_before, first)
        all_now = linked and len(found) >= end - latest
        all_before = self._was_linked and len(self._order) >= end_before - latest
        self._order, self._was_linked = found, linked and ordered
        at_rest = linked and still and len(found) >= end - first
        self.proven = not self._fits and (at_rest or (same_order and (all_now or all_before)) or nothing_new)

    def _narrow(self, page: Page, above: int) -> None:
        """Take in on which side of a page the instant lies; the list may have moved since the page before."""
        if not above:
            self._high = page.offset
            self._low = self._low if self._low < self._high else 0
        elif above == page.count:
            self._low = page.offset + above
            self._high = self._high if self._low < self._high else math.inf

    @property
    def _guess(self) -> int:
        """Where a page could begin to have the instant inside, by what is known of where it lies."""
        high = min(self._high, 2 * self._low + self._largest)
        return max(0, int(self._low + high - self._largest) // 2)

    def requests(self) -> list[tuple[int, int]]:
        """Return offset and limit of each request of the next pass."""
        self.passes += 1
        first, end = self._stretch
        # Pass by pass more overlap, so that a list that moves fast still links up.
        overlap = min(2 << self.passes, (self._largest - self._fits * (end - first)) // 2)
        start = max(0, first - overlap)
        return [(offset, self._largest) for offset in range(start, max(1, end), self._largest - overlap)]

    @property
    def _fits(self) -> bool:
        """Whether the instant may well lie strictly inside one page, which alone is to prove it then."""
        first, end = self._stretch
        return end - first <= self._largest - max(2, self._largest // 10)
