"""The window reader: one window read completely and truly while its list moves.

Braze lists a window newest first and gives any stretch of positions. Between two
requests records may be added or removed anywhere, and records of equal times may change
places, so positions prove nothing. Times do: an answer is one instant's truth about
*every time strictly between its newest and its oldest record* (and everything newer, at
offset 0; and everything older, where nothing stands behind its last record). A record that
stays on the list and whose time lies there is in that answer. So a window is complete when
every wanted time lies strictly inside some page, and until then the reading goes back to
where two pages fail to overlap.

Three things that Braze's documents promise are taken for true only as far as the pages show them: that the list is in
order of time (`time_order`; where it is not, it is read in `passes`), that an answer holds as many records as were
asked for (`answer_size`), and that a shorter one is the list's last. That one is believed when a request that begins
among the last records brings nothing behind them.

No input or output here: `next_request` says what to request, `add_page` takes an answer, in
any order, as many in flight at once as the caller likes.
"""

from __future__ import annotations

import dataclasses
import typing as t

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.answer_size import AnswerSize
from tap_braze_sms.reading.list_end import ListEnd
from tap_braze_sms.reading.page import LATEST, ascending
from tap_braze_sms.reading.page_planner import PagePlanner
from tap_braze_sms.reading.repairs import Repairs
from tap_braze_sms.reading.time_order import EXACT, TimeOrder

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_braze_sms.reading.page import Identify, Page, Row
    from tap_braze_sms.reading.page_planner import PageRequest
    from tap_braze_sms.reading.windows import Window

#: Hour of the day of ``end_date`` from which on records show that Braze counts that day in,
#: and the part of a page that they have to be. Rounding, a clock or a number detected again
#: could put some there, and to believe it would cost the last day of each window; not to
#: believe it costs requests alone, and few where the records are few.
NOON, MANY = "T12", 0.1

#: Records older than a window that show that it ends before them, where its list is off the order of time.
FEW = 4

#: What a window can be proven by.
TIME, PASSES = "time", "passes"


class WindowReader:
    """The reading of one window.

    Args:
        window: What to read.
        identify: Returns what decides whether two rows are one record.
        page_size: Records of an ordinary request; boundaries may ask for more.
        largest: Most records to ask for in one request.
        assume_end_inclusive: Braze is known to count ``end_date`` in.
        answer_size: How many records answers were seen to hold, by all windows of the run.
        known_order: How earlier runs saw the list descend.
    """

    def __init__(
        self,
        window: Window,
        *,
        identify: Identify,
        page_size: int,
        largest: int,
        assume_end_inclusive: bool = False,
        answer_size: AnswerSize | None = None,
        known_order: TimeOrder = EXACT,
    ) -> None:
        self.window = window
        #: ``start_date`` and ``end_date`` to ask with.
        self.dates = window.dates(assume_end_inclusive=assume_end_inclusive)
        self._in_flight: list[PageRequest] = []
        #: Whether every wanted instant is proven.
        self.done = False
        #: Set by whoever asks when a request failed for good; the caller raises it once
        #: everything before this window is emitted.
        self.error: BaseException | None = None
        #: Braze counts ``end_date`` in, which these dates do not allow for.
        self.found_end_inclusive = False
        #: How the list descends, as far as was seen.
        self.order = EXACT
        self._known_order = known_order
        self._allows_for_end = assume_end_inclusive
        self._identify = identify
        self._page_size = page_size
        self._answer_size = answer_size or AnswerSize()
        self._planner = PagePlanner(window, page_size, self._answer_size)
        self._pages: list[Page] = []
        self._end = ListEnd(window, identify, self._answer_size, max(largest, page_size))
        self._repairs = Repairs(window, identify, self._answer_size, max(largest, page_size))

    @property
    def pending(self) -> int:
        """Requests that are not answered yet."""
        return len(self._in_flight)

    @property
    def held(self) -> int:
        """Pages held."""
        return len(self._pages)

    @property
    def records(self) -> int:
        """Records that the list surely has."""
        return self._planner.records

    @property
    def density(self) -> float | None:
        """Records a day so far; None while nothing is known of it."""
        return self._planner.density

    @property
    def backlog(self) -> int:
        """Records that the list surely has and that were not asked for."""
        return self._planner.backlog

    @property
    def proof(self) -> str:
        """What the window is proven by: the order of time, or passes over the whole list."""
        return PASSES if self._repairs.list_passes else TIME

    @property
    def fraction_done(self) -> float:
        """About the part of the window that is read, from 0 to 1."""
        in_order = [page.oldest for page in self._pages if page.offset < self._planner.next_offset]
        if self._planner.at_bottom or not in_order:
            return float(self._planner.at_bottom)
        since, end = timestamps.parse(self.window.since), timestamps.parse(self.window.end)
        return min(1.0, max(0.0, (end - timestamps.parse(min(in_order))) / (end - since)))

    def rows(self, on_conflict: Callable[[], object] = lambda: None) -> Iterator[list[Row]]:
        """Return what was read: wanted instants only, oldest first, nothing twice."""
        pages, self._pages = self._pages, []
        until = self.window.until or LATEST
        return ascending(pages, since=self.window.since, until=until, identify=self._identify, on_conflict=on_conflict)

    def next_request(self, *, speculative: bool = False) -> PageRequest | None:
        """Return what to request next; None: nothing before an answer is in, or at all.

        Args:
            speculative: A page that the list has probably, not surely. If it is full, all
                before it is surely there; if not, one request is lost, not many.
        """
        request: PageRequest | None = None
        if self.done:
            return None  # also while its rows are being given on, which it holds no more
        if self._planner.at_bottom:
            request = self._repairs.next_request()
        elif speculative:
            request = self._planner.speculative_page()
        else:
            request = self._planner.next_page(is_idle=not self.pending)
        looks_for_end = request is None and not speculative and self._planner.sees_end and not self._end.proven
        if looks_for_end and not self._reaches_since():
            request = self._end.next_request(self._in_flight)
        if request is not None:
            self._in_flight.append(request)
        return request

    def add_page(self, request: PageRequest, page: Page) -> None:
        """Take in the answer to a request.

        Raises:
            NeverAtRestError: the list changes too fast to be read.
        """
        self._in_flight.remove(request)
        self._answer_size.add(page.count, page.limit)
        self.order = self.order.combined(page.order)
        page = self._end.add_page(request, page, self._pages)
        if not page.ends_list:
            self._answer_size.add_open(page.count, page.limit)
        else:
            ended = self._end.confirmed
            self._pages = [dataclasses.replace(p, ends_list=True) if p is ended else p for p in self._pages]
        if page.count or page.offset == 0:  # an empty page from the top says it all
            self._pages.append(page)
            self._look_behind_the_end(page)
        if request.boundary is None:
            self._planner.add(request, page, order=self.order, wanted=self._wanted(page))
        else:
            self._repairs.add_page(request, page, self.records)
        if self._planner.at_bottom and not self.pending and not self._repairs.are_left:
            self._settle()

    def _look_behind_the_end(self, page: Page) -> None:
        """Note whether a page shows that Braze counts ``end_date`` in."""
        if not self._allows_for_end and page.newest > (day := self.window.end[:10]) + NOON:
            of_that_day = sum(row[0][:10] == day and row[0] > day + NOON for row in page.rows())
            self.found_end_inclusive |= of_that_day > MANY * self._page_size

    def _settle(self) -> None:
        """Everything that was asked for is in: find out what is still unproven; when nothing is, this is done."""
        if self._end.proven or self._reaches_since():
            self.order = self.order.allowing_for(self._pages)
            self._repairs.plan(self._pages, self.order)
            self.done = self._repairs.done
            if self._repairs.doubts_end:
                self._end.reopen()

    def _reaches_since(self) -> bool:
        return any(page.count and self._leaves_nothing_wanted(page) for page in self._pages)

    def _wanted(self, page: Page) -> int:
        """Return how many records of a page are wanted; all, unless it shows that none behind it is."""
        if not page.count or not self._leaves_nothing_wanted(page):
            return page.count
        order, since = self.order, self.order.key(self.window.since)
        return sum(order.later(row[0], order.margin) >= since for row in page.rows())

    def _leaves_nothing_wanted(self, page: Page) -> bool:
        if page.oldest >= self.window.since:
            return False  # as of nearly all pages, each of which is asked again and again
        # Of a list that was in disorder before, the first pages of a day need not show it.
        order = self.order.combined(self._known_order)
        since = order.key(self.window.since)
        if order.later(page.oldest, order.margin) >= since:
            return False
        if order.precision < timestamps.SECOND:
            # In a list without order one that is older may be a page's last by chance; several are not.
            older = sum(order.later(row[0], order.margin) < since for row in page.rows())
            if older < FEW:
                return False
        # A list that ascends begins with what is older than all that is wanted.
        return any(p.offset <= page.offset and order.is_shown_by(p.newest, page.oldest) for p in self._pages)
