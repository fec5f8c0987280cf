"""Ties: instants that hold more records than one answer can.

A page proves every instant that lies strictly inside it. An instant shared by more
records than the largest page (a carrier's deactivation list imported in one go) never
does, and the order among equal times is nobody's promise. Such an instant is read in
passes over its whole stretch. A pass is linked when each of its pages shares a record
with the next, so that no removal opened a hole between them. The instant is proven when

- a pass is linked and found at least as many records as its stretch has positions: right
  if ties keep their order, whatever is removed, and if they do not but none is removed;
- a pass is linked and what it shares with the pass before stands in the same order: ties
  keep their order, then, and links are enough;
- the stretch was as long in the pass before, and the passes since it has that length
  together found that many records: right if ties change places, and with removals too,
  unless as many numbers were detected anew at that very microsecond.
"""

from __future__ import annotations

import typing as t

from tap_braze_sms.records import Page, digits

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Passes over one instant before the run says that the list never came to rest.
MOST_PASSES = 24


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
        self._length = -1
        self._joined: set[tuple[str, str]] = set()
        self._order: dict[tuple[str, str], None] = {}
        #: Positions believed to hold the instant: first, and one past the last.
        self._stretch = (0, 0)

    def judge(self, pages: Iterable[Page]) -> None:
        """Take in the pages of one pass, and decide whether the instant is proven."""
        first: int | None = None
        end: int | None = None
        linked = True
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
            seen_from = min(seen_from, page.offset) if found else page.offset
            seen_to = page.offset + page.count
            if first is None and (above or page.offset == 0):
                first = page.offset + above
            if above + equal < page.count or page.count < page.limit:
                end = page.offset + above + equal
            found.update(dict.fromkeys(here))
            before = set(here)
        self.passes += 1
        # A stretch whose end was not seen is looked for further on either side.
        self._stretch = (
            max(0, seen_from - self._largest // 2) if first is None else first,
            seen_to + self._largest // 2 if end is None else end,
        )
        if first is None or end is None:
            return
        length = end - first
        same_length = length == self._length
        self._joined = found.keys() | (self._joined if same_length else set())
        self._length = length
        same_order = bool(self._order) and [r for r in found if r in self._order] == [
            r for r in self._order if r in found
        ]
        self._order = found
        self.proven = (linked and (len(found) >= length or same_order)) or (same_length and len(self._joined) >= length)

    def asks(self) -> list[tuple[int, int]]:
        """Give offset and limit of each request of the next pass."""
        # Pass by pass more overlap, so that a list that moves fast still links up.
        overlap = min(2 << self.passes, self._largest // 2)
        first, end = self._stretch
        start = max(0, first - overlap)
        return [(offset, self._largest) for offset in range(start, end + overlap, self._largest - overlap)]
