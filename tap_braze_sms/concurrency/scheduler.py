"""The scheduler of windows: many requests in flight, rows out in order.

Several windows are read at once while they are small, several pages at once within a
window that is large. What to request and what an answer means is decided under the
pool's lock; rows are made ready and yielded in the caller's thread.
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import typing as t
from collections import Counter, deque
from dataclasses import dataclass

from tap_braze_sms.concurrency.deadline import Deadline
from tap_braze_sms.reading import timestamps, windows
from tap_braze_sms.reading.answer_size import AnswerSize
from tap_braze_sms.reading.errors import RefusedStretchError
from tap_braze_sms.reading.time_order import EXACT
from tap_braze_sms.reading.window_reader import PASSES, WindowReader
from tap_braze_sms.reading.windows import RangeLimit

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from tap_braze_sms.concurrency.workers import Task, WorkerPool
    from tap_braze_sms.reading.page import Identify, Page, Row
    from tap_braze_sms.reading.page_planner import PageRequest
    from tap_braze_sms.reading.time_order import TimeOrder
    from tap_braze_sms.reading.windows import Planner, Window

    #: Makes one request: dates, offset, limit and what it is for, to name in errors.
    Fetch = Callable[[tuple[str, str], int, int, str], Page]

#: For how many requests of each thread a list has to be known to go on: with fewer, it is asked how far it goes, which
#: takes a few answers one after the other.
ROUNDS_AHEAD = 4

#: From how many times the records it aims at on a window is large, and the part of it that may be read in vain for the
#: sake of an end in time.
LARGE, HARDLY_BEGUN = 2, 0.25

#: Pages that may wait for an earlier window, for each parallel request.
PAGES_AHEAD = 16


@dataclass(frozen=True, slots=True)
class CompletedWindow:
    """What the reading of one window came to."""

    window: Window
    #: When it began.
    read_at: dt.datetime
    #: Records that were yielded of it, and answers that it took.
    records: int
    answers: int
    #: What it is proven by: `window_reader.TIME` or `PASSES`.
    proof: str


class WindowLog:
    """What is known of the windows that were read, and of those under way.

    Args:
        clock: Returns the current time.
    """

    def __init__(self, clock: Callable[[], dt.datetime]) -> None:
        self.windows = 0
        #: Windows that were read in passes, as no order of time proves them.
        self.in_passes = 0
        #: The one that was completed last.
        self.completed: CompletedWindow | None = None
        self._clock = clock
        self._started: dict[Window, dt.datetime] = {}
        self._answers: Counter[Window] = Counter()

    def start(self, window: Window) -> None:
        """Note that the reading of a window begins, for the first time or anew."""
        self._started[window] = self._clock()

    def add_answer(self, window: Window) -> None:
        """Note an answer."""
        self._answers[window] += 1

    def complete(self, window: Window, *, records: int, proof: str) -> None:
        """Note that all of a window was yielded."""
        self.windows += 1
        self.in_passes += proof == PASSES
        read_at, answers = self._started.pop(window), self._answers.pop(window, 0)
        self.completed = CompletedWindow(window, read_at, records, answers, proof)


class WindowScheduler:
    """Reads all windows of a plan and yields their rows oldest first.

    Args:
        plan: Returns the windows.
        fetch: Makes one request; called by the workers.
        identify: Returns what decides whether two rows are one record.
        page_size: Records of an ordinary request.
        largest: Most records to ask for in one request.
        pool: Makes the requests; ended with the iteration.
        known_order: How earlier runs saw the list descend by time.
        deadline: When no further window is begun.
        clock: Returns the current time.
    """

    def __init__(
        self,
        plan: Planner,
        fetch: Fetch,
        *,
        identify: Identify,
        page_size: int,
        largest: int,
        pool: WorkerPool,
        known_order: TimeOrder = EXACT,
        deadline: Deadline | None = None,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(timestamps.UTC),
    ) -> None:
        #: What was read.
        self.log = WindowLog(clock)
        #: How many records answers were seen to hold, and how the lists of all windows descend.
        self.answer_size = AnswerSize()
        self.order = EXACT
        #: Rows that differ from the one emitted of the same record in more than spelling.
        self.conflicts = 0
        self._days = 0
        self._plan = plan
        self._fetch = fetch
        self._identify = identify
        self._page_size = page_size
        self._largest = largest
        self._known_order = known_order
        self._deadline = deadline or Deadline()
        self._range_limit = RangeLimit()
        self._pool = pool
        self._open: deque[WindowReader] = deque()
        self._assume_end_inclusive = False

    @property
    def fraction_done(self) -> float:
        """The part of the plan's days that is read, from 0 to 1."""
        with self._pool.locked():
            days = self._days + sum(reader.fraction_done * reader.window.days for reader in self._open)
        return days / max(1, self._plan.days)

    def __iter__(self) -> Iterator[tuple[list[Row], str]]:
        """Yield rows in order of time, each time with the instant before which nothing is left to yield then.

        At the deadline this ends with a window.

        Raises:
            Exception: whatever `fetch` raised, once all before its window is yielded.
        """
        with self._pool.running(self._next_task):
            while True:
                self._pool.wait_for(lambda: self._is_ready() or self._deadline.is_over_in_a_pause)
                if not self._open:
                    return
                head = self._open[0]
                if head.error is not None:
                    raise head.error
                if not head.done:
                    return
                with self._pool.locked():
                    self._plan.learn(head.window, head.records)
                records = 0
                for rows in head.rows(self._on_conflict):
                    records += len(rows)
                    yield rows, rows[-1][0]
                    self._pool.cancel_token.check()
                with self._pool.locked():
                    self.log.complete(head.window, records=records, proof=head.proof)
                    self._open.popleft()
                    self._days += head.window.days
                    self._deadline.reach(head.window.end)
                yield [], head.window.end

    @property
    def ended_early(self) -> bool:
        """Whether the deadline has left a part of the plan unread, once the iteration has ended."""
        return self._days < self._plan.days

    @property
    def windows(self) -> int:
        """Windows that were yielded."""
        return self.log.windows

    def _on_conflict(self) -> None:
        self.conflicts += 1

    @property
    def widest(self) -> int | None:
        """Days of the widest range that Braze takes; None: it has refused none."""
        return self._range_limit.taken if self._range_limit.is_known else None

    def _is_ready(self) -> bool:
        """Whether the first window is read, or has failed, or there is none."""
        if not self._open and not self._open_window():
            return True
        return self._open[0].done or self._open[0].error is not None

    def _next_task(self) -> Task | None:
        """Choose a request, earlier windows first.

        Before the rest comes what is found out answer after answer, how far a window goes: a large one would
        otherwise be found late, with little else left to do meanwhile. So does all that the first window lacks,
        for which the rows of all others wait.
        """
        self._leave_large_windows()
        candidates = sorted(
            itertools.product(self._eligible(), (True, False)),
            key=lambda candidate: not candidate[1] and candidate[0] is not self._open[0],
        )
        for reader, speculative in candidates:
            if task := self._request(reader, speculative=speculative):
                return task
        return self._request(self._open[-1], speculative=False) if self._open_window() else None

    def _request(self, reader: WindowReader, *, speculative: bool) -> Task | None:
        # How far the list goes is asked in time, so that nobody has to wait for that.
        runs_out = reader.backlog < ROUNDS_AHEAD * (self._pool.size - 1) * self._page_size
        request = reader.next_request(speculative=speculative) if runs_out or not speculative else None
        if request is None:
            return None
        where = f"{reader.window}, offset {request.offset}"
        call = functools.partial(self._fetch, reader.dates, request.offset, request.limit, where)
        return call, functools.partial(self._add_page, reader, request)

    def _eligible(self) -> Iterator[WindowReader]:
        """Yield the windows that more may be asked of, in order."""
        held = [reader.held + reader.pending for reader in self._open]
        too_far = sum(held[1:]) >= self._pool.size * PAGES_AHEAD
        for index, reader in enumerate(self._open):
            if reader.error is not None or (index and too_far):
                return  # what comes after a failure will not be emitted; what waits costs memory
            yield reader
            if self._range_limit.has_to_be_tried(reader.window.days):
                return  # one window finds out how many days Braze takes

    def _open_window(self) -> bool:
        """Begin the next window, unless too much is begun already."""
        if self._deadline.is_over or (self._open and self._deadline.has_passed):
            return False
        if self._open and (
            # The first page tells how wide further windows should be.
            self._plan.density is None
            or len(self._open) >= self._pool.size
            or any(reader.error is not None for reader in self._open)
            or any(self._range_limit.has_to_be_tried(reader.window.days) for reader in self._open)
        ):
            return False
        window = self._plan.next()
        if window is not None:
            self._open.append(self._begin(window))
        return window is not None

    def _leave_large_windows(self) -> None:
        """After the deadline, leave to the next run what takes long and is hardly begun, and all behind it.

        Other windows that are under way are completed: what is read of them would be read again.
        """
        if not self._deadline.is_over:
            return
        for index, reader in enumerate(self._open):
            is_large = reader.records > LARGE * windows.WINDOW_RECORDS and reader.error is None
            if is_large and reader.fraction_done < HARDLY_BEGUN:
                self._open = deque(itertools.islice(self._open, index))
                return

    def _begin(self, window: Window) -> WindowReader:
        self.log.start(window)
        return WindowReader(
            window,
            identify=self._identify,
            page_size=self._page_size,
            largest=self._largest,
            assume_end_inclusive=self._assume_end_inclusive,
            answer_size=self.answer_size,
            known_order=self._known_order,
        )

    def _add_page(self, reader: WindowReader, request: PageRequest, page: Future[Page]) -> None:
        self.log.add_answer(reader.window)
        try:
            reader.add_page(request, page.result())
        except RefusedStretchError as error:
            if not self._narrow(reader):
                reader.error = error
            return
        except BaseException as error:  # noqa: BLE001 (raised when this window's turn comes)
            reader.error = error
            return
        self._range_limit.accept(reader.window.days)
        self.order = self.order.combined(reader.order)
        if self._plan.density is None:
            self._plan.density = reader.density
        if reader.found_end_inclusive and reader in self._open and reader.window.until is not None:
            # Braze counts end_date in: begin this window anew without that day, of which
            # a busy list could have as much as of the window itself.
            self._assume_end_inclusive = True
            self._open[self._open.index(reader)] = self._begin(reader.window)

    def _narrow(self, refused: WindowReader) -> bool:
        """Read a window that Braze refuses in narrower ones, and all further ones as well; return whether that helps.

        Only trying tells a range that is too wide, or a list that is too deep, from whatever else is refused.
        """
        if refused not in self._open:
            return True  # it was narrowed before this answer came
        days = refused.window.days
        if days == 1:
            return False
        self._plan.widest = min(self._plan.widest, self._range_limit.narrow(days))
        readers: list[WindowReader] = []
        for reader in self._open:
            # One that is done holds nothing either, once it is being given on.
            is_begun = reader.held or reader.done
            if reader is refused or (reader.window.days > self._plan.widest and not is_begun):
                readers += map(self._begin, reader.window.split(self._plan.widest))
            else:
                readers.append(reader)
        self._open = deque(readers)
        return True
