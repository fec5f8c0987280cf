"""The walk over the windows: many requests under way, rows out in order.

Several windows are read at once while they are small, several pages at once within a
window that is large. What to ask and what an answer means is decided under the crew's
lock; rows are made ready and given in the caller's thread.
"""

from __future__ import annotations

import functools
import itertools
import typing as t
from collections import deque

from tap_braze_sms.reading.window_reader import Ask, Reading

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from tap_braze_sms.concurrency.workers import Crew, Task
    from tap_braze_sms.reading.page import Page, Row
    from tap_braze_sms.reading.windows import Planner, Window

    #: Makes one request: dates, offset, limit and what it is for, to name in errors.
    Fetch = Callable[[tuple[str, str], int, int, str], Page]

#: For how many requests of each thread a list has to be known to go on: with fewer, it is asked how far it goes, which
#: takes a few answers one after the other.
ROUNDS_AHEAD = 4

#: Pages that may wait for an earlier window, for each parallel request.
PAGES_AHEAD = 16


class Walk:
    """Reads all windows of a plan and gives their rows oldest first."""

    def __init__(
        self,
        plan: Planner,
        fetch: Fetch,
        *,
        page_size: int,
        crew: Crew,
    ) -> None:
        """Prepare the walk.

        Args:
            plan: Gives the windows.
            fetch: Makes one request; called by the crew.
            page_size: Records of an ordinary request.
            crew: Makes the requests; ended with the walk.
        """
        self.windows = 0
        self._days = 0
        self._plan = plan
        self._fetch = fetch
        self._page_size = page_size
        self._crew = crew
        self._open: deque[Reading] = deque()
        self._end_included = False

    @property
    def share(self) -> float:
        """The part of the plan's days that is read, from 0 to 1."""
        with self._crew.change():
            days = self._days + sum(reading.share * reading.window.days for reading in self._open)
        return days / max(1, self._plan.days)

    def __iter__(self) -> Iterator[tuple[list[Row], str]]:
        """Give rows in order of time, each time with the instant before which nothing is left to give then.

        Raises:
            Exception: whatever `fetch` raised, once all before its window is given.
        """
        with self._crew.at_work(self._next_request):
            while True:
                self._crew.wait_for(self._is_ready)
                if not self._open:
                    return
                head = self._open[0]
                if head.error is not None:
                    raise head.error
                with self._crew.change():
                    self._plan.learn(head.window, head.records)
                for rows in head.rows():
                    yield rows, rows[-1][0]
                    self._crew.stop.check()
                with self._crew.change():
                    self.windows += 1
                    self._open.popleft()
                    self._days += head.window.days
                yield [], head.window.end

    def _is_ready(self) -> bool:
        """Whether the first window is read, or has failed, or there is none."""
        if not self._open and not self._open_window():
            return True
        return self._open[0].done or self._open[0].error is not None

    def _next_request(self) -> Task | None:
        """Choose a request, earlier windows first.

        Before the rest comes what is found out answer after answer, how far a window goes: a large one would
        otherwise be found late, with little else left to do meanwhile. So does all that the first window lacks,
        for which the rows of all others wait.
        """
        ways = sorted(
            itertools.product(self._askable(), (True, False)),
            key=lambda way: not way[1] and way[0] is not self._open[0],
        )
        for reading, ahead in ways:
            if task := self._request(reading, ahead=ahead):
                return task
        return self._request(self._open[-1], ahead=False) if self._open_window() else None

    def _request(self, reading: Reading, *, ahead: bool) -> Task | None:
        # How far the list goes is asked in time, so that nobody has to wait for that.
        runs_out = reading.backlog < ROUNDS_AHEAD * (self._crew.size - 1) * self._page_size
        ask = reading.ask(ahead=ahead) if runs_out or not ahead else None
        if ask is None:
            return None
        where = f"{reading.window}, offset {ask.offset}"
        call = functools.partial(self._fetch, reading.dates, ask.offset, ask.limit, where)
        return call, functools.partial(self._receive, reading, ask)

    def _askable(self) -> Iterator[Reading]:
        """Give the windows that more may be asked of, in order."""
        held = [reading.held + reading.pending for reading in self._open]
        too_far = sum(held[1:]) >= self._crew.size * PAGES_AHEAD
        for index, reading in enumerate(self._open):
            if reading.error is not None or (index and too_far):
                return  # what comes after a failure will not be emitted; what waits costs memory
            yield reading

    def _open_window(self) -> bool:
        """Begin the next window, unless too much is begun already."""
        if self._open and (
            # The first page tells how wide further windows should be.
            self._plan.per_day is None
            or len(self._open) >= self._crew.size
            or any(reading.error is not None for reading in self._open)
        ):
            return False
        window = self._plan.next()
        if window is not None:
            self._open.append(self._begin(window))
        return window is not None

    def _begin(self, window: Window) -> Reading:
        return Reading(window, page_size=self._page_size, end_included=self._end_included)

    def _receive(self, reading: Reading, ask: Ask, page: Future[Page]) -> None:
        try:
            reading.receive(ask, page.result())
        except BaseException as error:  # noqa: BLE001 (raised when this window's turn comes)
            reading.error = error
        if self._plan.per_day is None:
            self._plan.per_day = reading.pace
        if reading.end_included and reading in self._open and reading.window.until is not None:
            # Braze counts end_date in: begin this window anew without that day, of which
            # a busy list could have as much as of the window itself.
            self._end_included = True
            self._open[self._open.index(reading)] = self._begin(reading.window)
