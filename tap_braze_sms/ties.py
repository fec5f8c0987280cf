"""Ties: instants that hold more records than one answer can.

A page proves every instant that lies strictly inside it. An instant shared by more
records than the largest page (a carrier's deactivation list imported in one go) never
does, and the order among equal times is nobody's promise. Such an instant is read in
passes over its whole stretch. A pass is linked when each of its pages shares a record
with the next, so that no removal opened a hole between them. The instant is proven when

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
"""

from __future__ import annotations

import typing as t

from tap_braze_sms.records import Page, digits

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Tie:
    """The reading of one instant that is too large for a page."""

    def __init__(self, instant: str, key: Callable[[str], str], largest: int) -> None:
        """Prepare for reading.

        Args:
            instant: The shared time, as `key` cuts it.
            key: Cuts a time to what the list is sorted by.
            largest: Most records Braze gives in one answer.
        """
        self.instant = instant
        self.passes = 0
        self.proven = False
        self._key = key
        self._largest = largest
        self._joined: set[tuple[str, str]] = set()
        self._order: dict[tuple[str, str], None] = {}
        self._was_linked = False
        #: Positions believed to hold the instant: first, and one past the last.
        self._stretch = (0, 0)
        self._is_located = False

    def judge(self, pages: Iterable[Page]) -> None:
        """Take in the pages of one pass, and decide whether the instant is proven."""
        first: int | None = None
        end: int | None = None
        linked = still = ordered = True
        places: dict[tuple[str, str], int] = {}
        #: Digits and time of each record, in the order of the list.
        found: dict[tuple[str, str], None] = {}
        before: set[tuple[str, str]] = set()
        seen_from, seen_to = self._stretch
        for page in sorted(pages, key=lambda page: page.offset):
            rows = page.rows()
            keys = [self._key(row[0]) for row in rows]
            above = sum(key > self.instant for key in keys)
            equal = keys.count(self.instant)
            if not equal:
                continue
            here = [(digits(row[1]), row[0]) for row in rows[above : above + equal]]
            linked = linked and (not found or not before.isdisjoint(here))
            if not found:
                seen_from = page.offset
            seen_to = page.offset + page.count
            if first is None and (above or page.offset == 0):
                first = page.offset + above
            if above + equal < page.count or page.count < page.limit:
                end = page.offset + above + equal
            known = [places[record] for record in here if record in places]
            ordered = ordered and known == sorted(known)
            for place, record in enumerate(here, page.offset + above):
                still = still and places.setdefault(record, place) == place
            found.update(dict.fromkeys(here))
            before = set(here)
        if first is None or end is None or end <= first:
            # Not seen whole, or not at one place: look further on either side.
            low = max(0, seen_from - self._largest // 2) if first is None else first
            self._stretch = (low, max(low, seen_to) + self._largest)
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
        self.proven = at_rest or (same_order and (all_now or all_before)) or nothing_new

    def asks(self) -> list[tuple[int, int]]:
        """Give offset and limit of each request of the next pass."""
        self.passes += 1
        # Pass by pass more overlap, so that a list that moves fast still links up.
        overlap = min(2 << self.passes, self._largest // 2)
        first, end = self._stretch
        start = max(0, first - overlap)
        return [(offset, self._largest) for offset in range(start, end + overlap, self._largest - overlap)]
