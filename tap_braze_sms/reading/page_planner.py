"""The page planner: which positions of a window's list to ask for, in order, and ahead of what is known of its length.

Nobody tells how far a list goes. What is known is how far it surely goes, by the deepest page so far, and what its
times suggest of the rest. A page some way behind what is known makes all before it sure, and is one of those to be
read, or costs a single request. Where answers hold fewer records than was believed when they were asked for, what lies
between is asked for anew.
"""

from __future__ import annotations

import typing as t
from bisect import insort
from collections import deque
from dataclasses import dataclass

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.time_order import PRECISIONS

if t.TYPE_CHECKING:
    from tap_braze_sms.reading.answer_size import AnswerSize
    from tap_braze_sms.reading.page import Page
    from tap_braze_sms.reading.time_order import TimeOrder
    from tap_braze_sms.reading.windows import Window

#: Records that neighbouring pages share. Two prove the boundary of a list at rest; the
#: others absorb what is removed while several requests are in flight.
OVERLAP = 4

#: The part of a page that pages overlap by at the most where records share their times, as 1 / this.
TIES_OVERLAP = 12

#: How far ahead a list is asked for: it is believed to go on for this part of what its times suggest, up to so many
#: times as far as is known and some pages further. Records may come in a burst, which ends at any moment.
TRUST, REACH, PAGES_FURTHER = 0.8, 2.0, 2.5

#: Days that the records of a density are taken to be spread over at least.
LEAST_DAYS = 1


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request to be made: a stretch of positions, and what it is for."""

    offset: int
    limit: int
    #: Records the answer will hold, if the list has them.
    expected: int = 0
    #: The time whose boundary it is to repair; None where it is for something else.
    boundary: str | None = None
    #: It asks what stands behind the last record.
    is_for_end: bool = False


@dataclass(slots=True)
class _ShortAnswer:
    """An answer that held fewer records than expected: the end of the list, unless more is found behind it."""

    count: int
    #: The position behind its last record, and the one up to which records were expected.
    reached: int
    expected: int


class PagePlanner:
    """Plans the pages of one window.

    Args:
        window: What to read.
        page_size: Records of a request.
        answer_size: How many of them an answer can hold.
    """

    def __init__(self, window: Window, page_size: int, answer_size: AnswerSize) -> None:
        #: Records that the list surely has.
        self.records = 0
        #: Records a day so far; None while nothing is known of it.
        self.density: float | None = None
        #: The next position to ask for in order.
        self.next_offset = 0
        self._window = window
        self._page_size = page_size
        self._answer_size = answer_size
        #: The position behind all that was asked for in order.
        self._covered = 0
        #: Up to where the list probably goes, and where an answer ended that was shorter than expected.
        self._estimated_end = 0.0
        self._end: int | None = None
        #: Offsets of pages that were requested out of order, and the one in flight.
        self._speculative: list[int] = []
        self._probe: PageRequest | None = None
        self._overlap = 0
        self._short: list[_ShortAnswer] = []
        #: Stretches that answers left out which were shorter than expected.
        self._holes: deque[tuple[int, int]] = deque()

    @property
    def at_bottom(self) -> bool:
        """Whether everything was asked for, up to where the list seems to end."""
        return self._end is not None and self._covered >= self._end and not self._holes

    @property
    def sees_end(self) -> bool:
        """Whether the answer that reaches farthest seems to have been the list's last."""
        return self._end is not None and (self._end <= self.records or self.at_bottom)

    @property
    def backlog(self) -> int:
        """Records that the list surely has and that were not asked for."""
        return max(0, self.records - self.next_offset - len(self._speculative) * self._size)

    def next_page(self, *, is_idle: bool) -> PageRequest | None:
        """Ask for the next page in order, if the list surely has it: after a full one, if only to find the end."""
        if self._holes:
            start, end = self._holes.popleft()
            if start + self._step < end:
                self._holes.appendleft((start + self._step, end))
            return self._request(start)
        # Where it grew behind an answer that was its end, nobody else would ask.
        is_needed = self.next_offset < self.records or is_idle
        return self._page_at(self.next_offset) if is_needed else None

    def speculative_page(self) -> PageRequest | None:
        """Ask for the last page that the list probably has behind those it surely has; one at a time."""
        behind = self._speculative[-1] + self._step if self._speculative else self.next_offset
        reach = self._estimated_end
        if self._end is not None:
            reach = min(reach, (self.records + self._end) / 2 - self._size)
        if self._probe or reach < behind:
            return None
        self._probe = self._page_at(behind + int(reach - behind) // self._step * self._step)
        return self._probe

    def add(self, request: PageRequest, page: Page, *, order: TimeOrder, wanted: int) -> None:
        """Take in what a page says of how far the list goes.

        Args:
            request: What was asked for.
            page: What came.
            order: How the list is known to descend by now.
            wanted: How many of its records are; fewer than all where nothing behind it is.
        """
        if request is self._probe:
            self._probe = None
            if not wanted and request.offset in self._speculative:
                self._speculative.remove(request.offset)  # another one, less far, has to tell
        reached = page.offset + wanted
        if wanted < max(page.count, request.expected):
            self._end = reached if wanted or self._end is None else min(self._end, reached)
        elif self._end is not None and self._end < reached:
            self._end = None  # it has grown
        if wanted and reached > self.records:
            self.records = reached
            self._estimate(page, order)
        self._fill_holes(page)
        if 0 < page.count < request.expected and wanted == page.count:
            self._short.append(_ShortAnswer(page.count, reached, request.offset + request.expected))

    @property
    def _size(self) -> int:
        return self._answer_size.expected(self._page_size)

    @property
    def _least_overlap(self) -> int:
        return min(OVERLAP, max(2, self._size // TIES_OVERLAP))

    @property
    def _step(self) -> int:
        return max(1, self._size - max(self._overlap, self._least_overlap))

    def _request(self, offset: int) -> PageRequest:
        return PageRequest(offset, self._page_size, self._size)

    def _page_at(self, offset: int) -> PageRequest:
        """Ask for a page, and move on behind all that follow each other in order."""
        insort(self._speculative, offset)
        while self._speculative and self._speculative[0] <= self.next_offset:
            last, step = self._speculative.pop(0), self._step
            if self._speculative:
                # Evenly up to the page that is there already.
                gap = self._speculative[0] - last
                step = -(-gap // -(-gap // max(1, self._size - self._least_overlap)))
            self.next_offset, self._covered = last + step, last + self._size
        return self._request(offset)

    def _fill_holes(self, page: Page) -> None:
        """Line up what shorter answers left out, now that the list is known to go on behind them."""
        reached = page.offset + page.count
        for short in [short for short in self._short if page.count and reached > short.reached]:
            # Where it has only grown a little since, the answer was its end.
            if reached - short.reached > short.count // 2:
                self._answer_size.cut_short(short.count)
            if page.offset > short.reached:
                # What stands before a page is wanted, even where nothing in it is.
                start = max(0, short.reached - self._least_overlap)
                self._holes.append((start, min(short.expected, page.offset) + self._least_overlap))
            short.reached = reached
            if reached >= short.expected:
                self._short.remove(short)

    def _estimate(self, page: Page, order: TimeOrder) -> None:
        """Guess how far the list goes, from the page deepest in it."""
        newest, oldest = timestamps.parse(page.newest), timestamps.parse(page.oldest)
        seconds = (newest - oldest).total_seconds()
        farthest = REACH * self.records + PAGES_FURTHER * self._size
        if order.precision >= timestamps.SECOND:
            # Ties at a boundary need a request of their own unless pages overlap by more than them.
            self._overlap = min(page.max_ties + 2, self._size // TIES_OVERLAP)
        elif seconds > 4 * max(PRECISIONS[order.precision] if not order.margin else 0, order.margin):
            self._overlap = min(_unproven_records(page, order) + OVERLAP, self._size // 2)
        else:
            # Its times tell nothing of how far it goes.
            self._estimated_end = farthest
            return
        since = timestamps.parse(self._window.since)
        midnight = oldest.replace(hour=0, minute=0, second=0, microsecond=0)
        today = (oldest - max(since, midnight)).total_seconds()
        # Its own day goes on at its own density, days before that at the window's.
        rest = page.count / seconds * today if seconds else self.records
        covered = timestamps.parse(self._window.end) - oldest
        # A burst of minutes must not make the windows to come as narrow as if it never ended.
        self.density = self.records / max(LEAST_DAYS, covered.total_seconds() / 86_400)
        rest += self.density * max(0, (midnight - since).days)
        self._estimated_end = min(self.records + TRUST * rest, farthest)


def _unproven_records(page: Page, order: TimeOrder) -> int:
    """Return how many records of a page the next one has to hold as well, for the two to prove what lies between."""
    bound = order.later(page.oldest, 2 * order.margin)
    within = sum(order.key(row[0]) <= bound for row in page.rows())
    return within if order.margin else 2 * within
