"""The end of a list: where it is, and what proves it.

A short answer is the end only of a list that is in one place and in answers that hold all they were asked for. So an
end is believed when a request that begins among the last records of all that is held brings nothing behind them, in an
answer that is far shorter than others were. That the next position holds nothing is no proof: as numbers leave, all
behind them moves up. Nor is that an answer brings nothing new: so does one in the middle of what is held.
"""

from __future__ import annotations

import dataclasses
import typing as t

from tap_braze_sms.reading.answer_size import FEWEST, UNEVEN
from tap_braze_sms.reading.errors import NeverAtRestError
from tap_braze_sms.reading.page_planner import OVERLAP, PageRequest

if t.TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from tap_braze_sms.reading.answer_size import AnswerSize
    from tap_braze_sms.reading.page import Identify, Page
    from tap_braze_sms.reading.windows import Window

#: How often the end is looked for before the run says that it cannot be found.
MOST_ATTEMPTS = 100

#: How often in answers that are as short as can be alone.
SHORT_ATTEMPTS = 20


class ListEnd:
    """The search for the end of one list.

    Args:
        window: What is read.
        identify: Returns what decides whether two rows are one record.
        answer_size: How many records an answer can hold.
        limit: Records to ask for in one request.
    """

    def __init__(self, window: Window, identify: Identify, answer_size: AnswerSize, limit: int) -> None:
        #: Whether the end was seen.
        self.proven = False
        #: The page that reaches farthest.
        self.deepest: Page | None = None
        #: The page whose last record the newest answer has shown to be the list's last.
        self.confirmed: Page | None = None
        #: Records of which all that stand behind them are held.
        self._tail: set[Hashable] = set()
        self._window = window
        self._identify = identify
        self._answer_size = answer_size
        self._limit = limit
        self._last: Hashable = None
        self._is_pending = False
        #: The page that was the deepest when the request was made that is pending.
        self._asked_behind: Page | None = None
        self._attempts = 0
        #: How many of the last records the next request begins before.
        self._back = 0
        #: It begins before many of them, only to show how many an answer holds.
        self._asks_for_more = False

    def next_request(self, in_flight: Iterable[PageRequest]) -> PageRequest | None:
        """Return the request that shows whether anything stands behind the last record; None: it is known, or asked.

        Args:
            in_flight: Requests that are not answered yet.
        """
        if self.proven or self._is_pending or self.deepest is None:
            return None
        if any(asked.offset < self._reached < asked.offset + asked.expected for asked in in_flight):
            return None  # it will show more
        self._is_pending = True
        # Few enough for an answer that holds them and no more to prove that there are no more.
        self._back = self._back or max(1, min(OVERLAP, self._answer_size.surely - 1))
        if self._asks_for_more:
            self._back = max(OVERLAP, min(UNEVEN * self._answer_size.largest, self._limit // 2))
        reached, self._asked_behind = self._reached, self.deepest
        # From the top again only if nothing else is left of the list.
        least = int(self._back < 2 * max(reached, OVERLAP))
        return PageRequest(max(reached - self._back, least), self._limit, is_for_end=True)

    def reopen(self) -> None:
        """Look for the end anew: the last record that was seen may have left, and no page ends with it any more."""
        self.proven, self._back = False, 0

    def add_page(self, request: PageRequest, page: Page, held: Iterable[Page]) -> Page:
        """Take in an answer; return its page, marked where nothing stands behind it.

        Args:
            request: What was asked for.
            page: What came.
            held: The pages that came before.

        Raises:
            NeverAtRestError: the end was looked for too often.
        """
        if request.is_for_end:
            self._is_pending = False
            self._attempts += 1
        if self._attempts > MOST_ATTEMPTS:
            raise NeverAtRestError(self._window)
        if not page.count:
            self._back *= 2
            if self.proven and page.offset < self._reached:
                self.reopen()  # more has left than what was seen to be last
            return self._ended(page) if page.offset == 0 else page
        last = self._identify(page.last) if page.last else None
        # Of servers that differ, one may list the last record of another amid its own.
        is_near = page.offset < self._reached < 2 * (page.offset + page.count)
        is_last = is_near and last == self._last
        if self._shows_end(request, page, held, last=last, is_last=is_last):
            # Of a full one, records of its last instant may have changed places with those behind it since.
            self.confirmed = self.deepest if is_last and self._is_shorter_than_asked(self.deepest) else None
            if self.deepest is not None:
                self._tail |= self._identities(self.deepest)
            self.deepest, self._last = page, last
            return self._ended(page)
        self._note_unproven(request, page, last)
        return page

    def _note_unproven(self, request: PageRequest, page: Page, last: Hashable) -> None:
        """Decide what to ask after an answer that proved nothing."""
        reaches = page.offset + page.count >= self._reached
        # One that has less than what stood there shows that the list has become shorter.
        has_less = request.is_for_end and not self._asks_for_more and page.count <= self._back
        if reaches or has_less:
            self.deepest, self._last = page, last
        if reaches or request.is_for_end:
            # One as short as can be has most chance to.
            self._back = int(request.is_for_end)
        # Of a list that grows all the while none is shorter than others if all are short: then every fifth is longer,
        # which shows that an answer holds more.
        if request.is_for_end:
            self._asks_for_more = self._attempts >= SHORT_ATTEMPTS and self._attempts % 5 == 0

    @property
    def _reached(self) -> int:
        """The position behind the last record."""
        return 0 if self.deepest is None else self.deepest.offset + self.deepest.count

    def _shows_end(
        self, request: PageRequest, page: Page, held: Iterable[Page], *, last: Hashable, is_last: bool
    ) -> bool:
        """Whether a page shows that nothing stands behind its last record, which may be the last that is held."""
        if page.offset + page.count < FEWEST:
            return True
        if self.proven:  # then all that is asked for begins inside what is held
            if is_last and self._is_shorter_than_asked(page):
                return True
            return self._is_short(page) and self._ends_in_the_tail(page, last)
        # Neighbours share so few that an answer may be cut to just these; what repairs ask for begins anywhere.
        is_short = self._is_surely_short(page) if request.boundary is None else self._is_short(page)
        if is_last and self._differs_in_length(page) and is_short:
            return True
        # Made before the deepest page came, or from so far back that the answer may be cut before it, it tells nothing.
        if not request.is_for_end or self._asked_behind is not self.deepest or self._back >= self._answer_size.surely:
            return False
        # One that holds more than what stood there, and not the last of it at its end, shows that the list has grown.
        has_grown = page.count > self._back and not is_last
        return self._is_surely_short(page) and not has_grown and self._brings_nothing(page, held)

    def _brings_nothing(self, page: Page, held: Iterable[Page]) -> bool:
        """Whether every record of a page was met before, and the last one at the end of what is held.

        Met before is also what stands in the middle of the list, in pages that reach farther. Those of the last
        instant may have changed places.
        """
        if self.deepest is None or self.deepest.last is None or page.last is None:
            return False
        known = self._identities(self.deepest)
        if self._identify(page.last) not in known and page.last[0] != self.deepest.last[0]:
            return False
        # Most are in the deepest one: rarely is another looked at.
        left = self._identities(page) - known
        for other in held:
            if not left:
                break
            left -= self._identities(other)
        return not left

    def _identities(self, page: Page) -> set[Hashable]:
        return set(map(self._identify, page.rows()))

    def _ends_in_the_tail(self, page: Page, last: Hashable) -> bool:
        """Whether all that may stand behind a page is held already."""
        if last in self._tail:
            return True
        return page.offset + page.count >= self._reached and not self._tail.isdisjoint(self._identities(page))

    def _is_shorter_than_asked(self, page: Page | None) -> bool:
        return page is not None and page.count < self._answer_size.expected(page.limit)

    def _is_short(self, page: Page) -> bool:
        """Whether Braze is known to return more in one answer."""
        # Where answers may be cut, one that is nearly as long as others may be, too; where an end was reached without
        # a sign of it, none is. What begins far inside what is held is no end by its length alone.
        is_even = self._answer_size.is_steady or (self.proven and not self._answer_size.is_cut)
        usual = self._answer_size.largest // (1 if is_even and self._back <= OVERLAP else 2)
        return page.count < min(page.limit, max(FEWEST, usual))

    def _is_surely_short(self, page: Page) -> bool:
        """Whether no answer was ever cut that short: one that repeats what is known has nothing else to show."""
        return page.count < min(page.limit, self._answer_size.surely)

    def _differs_in_length(self, page: Page) -> bool:
        """Whether a page begins elsewhere than the one that ended as it does: asked again, an answer is cut alike."""
        return self.deepest is not None and page.count != self.deepest.count

    def _ended(self, page: Page) -> Page:
        self.proven = True
        self._tail |= self._identities(page)
        return dataclasses.replace(page, ends_list=True)
