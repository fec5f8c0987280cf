"""Repairs: what the pages of a window leave unproven, and the requests that prove it."""

from __future__ import annotations

import typing as t
from collections import defaultdict, deque
from operator import itemgetter

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import NeverAtRestError
from tap_braze_sms.reading.page import LATEST
from tap_braze_sms.reading.page_planner import PageRequest
from tap_braze_sms.reading.passes import MOST_PASSES, ListPasses
from tap_braze_sms.reading.ties import Tie

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tap_braze_sms.reading.answer_size import AnswerSize
    from tap_braze_sms.reading.page import Identify, Page
    from tap_braze_sms.reading.time_order import TimeOrder
    from tap_braze_sms.reading.windows import Window

#: How often one boundary is looked for before the run says that it cannot be found.
MOST_ATTEMPTS = 40

#: Requests that repairs may make, however short the list was at first, and for each request that reading it took. A
#: list that grows by much with each answer makes each pass longer than the one before.
MOST_REQUESTS, REQUESTS_PER_PAGE = 500, 12

#: The boundary that the requests of a pass over the whole list are for.
WHOLE_LIST = ""


class Repairs:
    """The repairs of one window.

    Args:
        window: What is read.
        identify: Returns what decides whether two rows are one record.
        answer_size: How many records an answer can hold.
        limit: Records to ask for in one request.
    """

    def __init__(self, window: Window, identify: Identify, answer_size: AnswerSize, limit: int) -> None:
        #: Whether nothing is left unproven.
        self.done = False
        #: A boundary is looked for so often that the list may have ended before it since.
        self.doubts_end = False
        #: The passes over the whole list; None where times prove it.
        self.list_passes: ListPasses | None = None
        self._window = window
        self._identify = identify
        self._answer_size = answer_size
        self._limit = limit
        self._queue: deque[PageRequest] = deque()
        self._requests = self._most_requests = 0
        self._ties: dict[str, Tie] = {}
        #: Answers to what was asked about each boundary, until all are in.
        self._answers: defaultdict[str, list[Page]] = defaultdict(list)

    @property
    def are_left(self) -> bool:
        """Whether there is something to request."""
        return bool(self._queue)

    def next_request(self) -> PageRequest | None:
        """Return what to request next; None: nothing before answers are in, or at all."""
        return self._queue.popleft() if self._queue else None

    def add_page(self, request: PageRequest, page: Page, records: int) -> None:
        """Take in the answer to a request.

        Args:
            request: What was asked for.
            page: What came.
            records: How many the list is known to have.
        """
        # In passes nobody looks for what an answer left out: they are to ask for no more than comes.
        # Where little is missing, the list has become shorter since.
        reached = page.offset + page.count + page.count // 2
        if page.count and not page.ends_list and reached < min(records, page.offset + request.expected):
            self._answer_size.cut_short(page.count)
        self._answers[request.boundary or WHOLE_LIST].append(page)

    def plan(self, pages: Sequence[Page], order: TimeOrder) -> None:
        """Line up requests for what is still unproven; when nothing is, this is done.

        Args:
            pages: All of the window.
            order: How they descend.

        Raises:
            NeverAtRestError: it was looked for too often.
        """
        self._most_requests = self._most_requests or MOST_REQUESTS + REQUESTS_PER_PAGE * len(pages)
        if self.list_passes is None:
            unproven = self._unproven_ties(pages, order)
            if unproven is not None:
                self.doubts_end = any(tie.passes == MOST_ATTEMPTS // 2 for tie in unproven)
                for tie in unproven:
                    self._check_attempts(tie.passes, MOST_ATTEMPTS)
                    self._ask(tie.requests(), tie.instant)
                self.done = not unproven
                return
            self.list_passes = ListPasses(self._identify, self._answer_size, self._limit)
            self._answers[WHOLE_LIST] = list(pages)
        self._plan_pass(self.list_passes)

    def _unproven_ties(self, pages: Sequence[Page], order: TimeOrder) -> list[Tie] | None:
        """Find the instants that are not proven yet; None: times do not help to prove them."""
        for instant, answers in self._answers.items():
            self._note_cuts(answers)
            self._ties[instant].add_pass(answers)
        self._answers.clear()
        unproven = []
        for instant in unproven_times(pages, order, self._window.since):
            if order.margin:
                return None
            if instant not in self._ties:
                self._ties[instant] = Tie(instant, order.key, self._identify, self._answer_size, self._limit)
                self._ties[instant].add_pass(
                    page for page in pages if order.key(page.oldest) <= instant <= order.key(page.newest)
                )
            tie = self._ties[instant]
            if not tie.proven:
                # The order among the thousands of an hour or a day is anyone's guess.
                if order.precision < timestamps.SECOND and not tie.fits:
                    return None
                unproven.append(tie)
        return unproven

    def _plan_pass(self, passes: ListPasses) -> None:
        pages = [page for page in self._answers.pop(WHOLE_LIST, []) if page.count or page.offset == 0]
        if pages and (further := passes.further(pages)):
            self._answers[WHOLE_LIST] = pages
            self._ask([further], WHOLE_LIST)
            return
        self._note_cuts(pages)
        passes.add_pass(pages)
        self.done = passes.proven
        if not self.done:
            self._check_attempts(passes.passes, MOST_PASSES)
            self._ask(passes.requests(), WHOLE_LIST)

    def _ask(self, stretches: Iterable[tuple[int, int]], boundary: str) -> None:
        for offset, limit in stretches:
            self._requests += 1
            self._check_attempts(self._requests, self._most_requests)
            self._queue.append(PageRequest(offset, limit, self._answer_size.expected(limit), boundary))

    def _note_cuts(self, pages: Iterable[Page]) -> None:
        """Note which answers of a pass were cut short: more may be asked for here than anywhere before."""
        reached = 0
        for page in sorted((page for page in pages if page.count), key=lambda page: page.offset, reverse=True):
            end = page.offset + page.count
            # Where another one reaches only a little further, the list has grown or shrunk since.
            if page.count < page.limit and reached - end > page.count // 2:
                self._answer_size.cut_short(page.count)
            reached = max(reached, end)

    def _check_attempts(self, attempts: int, most: int) -> None:
        if attempts >= most:
            raise NeverAtRestError(self._window)


def unproven_times(pages: Iterable[Page], order: TimeOrder, since: str) -> list[str]:
    """Return the wanted times that no page has strictly inside, as far as the list is sorted by them."""
    spans = [
        (
            LATEST if page.offset == 0 else order.later(page.newest, -order.margin),
            "" if page.ends_list else order.later(page.oldest, order.margin),
        )
        for page in pages
    ]
    spans.sort(key=itemgetter(0), reverse=True)
    unproven: list[str] = []
    low = LATEST
    for newest, oldest in spans:
        if oldest < low:
            # Once its tie is proven, there is no gap behind it either: a page has it and what is older.
            if newest <= low < LATEST:
                unproven.append(low)
            low = oldest
    return [time for time in (*unproven, low) if time >= order.key(since)]
