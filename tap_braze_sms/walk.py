"""The walk over the windows: many requests under way, rows out in order.

Several windows are read at once while they are small, several pages at once within a
window that is large. Worker threads only fetch; planning, joining and giving out happen
in the caller's thread, so nothing here is shared but two queues.
"""

from __future__ import annotations

import queue
import threading
import typing as t
from collections import deque
from dataclasses import dataclass

from tap_braze_sms.pages import Ask, Reading

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_braze_sms.records import Page, Row
    from tap_braze_sms.stopping import Stop
    from tap_braze_sms.windows import Planner, Window

    #: Makes one request: dates, offset, limit and what it is for, to name in errors.
    Fetch = Callable[[tuple[str, str], int, int, str], Page]

#: Pages that may wait for an earlier window, for each parallel request. Beyond that, no
#: further window is begun.
PAGES_AHEAD = 8


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows to be emitted next, or the news that a window is complete."""

    rows: list[Row]
    #: Set after the last rows of a window.
    completed: Window | None = None


class Walk:
    """Reads all windows of a plan and gives their rows oldest first."""

    def __init__(
        self,
        plan: Planner,
        fetch: Fetch,
        *,
        page_size: int,
        parallel: int,
        stop: Stop,
        before_waiting: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare the walk.

        Args:
            plan: Gives the windows.
            fetch: Makes one request; called in worker threads.
            page_size: Records of an ordinary request.
            parallel: Most requests under way at once.
            stop: Ends the walk when it is set.
            before_waiting: Called before every wait for an answer.
        """
        self.requests = 0
        self.windows = 0
        self._plan = plan
        self._fetch = fetch
        self._page_size = page_size
        self._parallel = parallel
        self._stop = stop
        self._before_waiting = before_waiting
        self._open: deque[Reading] = deque()
        self._end_included = False
        self._tasks: queue.SimpleQueue[tuple[Reading, Ask] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        self._under_way = 0
        self._workers = 0

    def __iter__(self) -> Iterator[Stretch]:
        """Give rows and the ends of windows, in order of time.

        Raises:
            Exception: whatever `fetch` raised, once all before its window is given.
        """
        wake = self._answers.put
        self._stop.on_set(lambda: wake(None))
        try:
            while True:
                self._submit()
                if not self._open:
                    return
                head = self._open[0]
                if head.done:
                    yield from self._finish(head)
                elif head.error is not None:
                    raise head.error
                else:
                    self._receive()
        finally:
            for _ in range(self._workers):
                self._tasks.put(None)

    def _finish(self, head: Reading) -> Iterator[Stretch]:
        self._plan.learn(head.window, head.records)
        self.windows += 1
        for rows in head.rows():
            yield Stretch(rows)
            # Between pages of rows, keep requests under way.
            while self._receive(wait=False):
                pass
            self._submit()
        self._open.popleft()
        yield Stretch([], completed=head.window)

    def _submit(self) -> None:
        """Ask for as much as may be under way, earlier windows first."""
        while self._under_way < self._parallel:
            task = self._next_task()
            if task is None:
                return
            self._under_way += 1
            self.requests += 1
            if self._workers < self._under_way:
                self._workers += 1
                # Daemons: a request that hangs must not hold up the end of the process.
                threading.Thread(
                    target=self._work,
                    name=f"braze-request-{self._workers}",
                    daemon=True,
                ).start()
            self._tasks.put(task)

    def _next_task(self) -> tuple[Reading, Ask] | None:
        for reading in self._open:
            if reading.error is not None:
                return None  # what comes after a failure will not be emitted
            ask = reading.ask()
            if ask is not None:
                return reading, ask
        if self._open and (
            # The first window tells how wide the next ones should be.
            self._plan.per_day is None
            or sum(reading.held for reading in self._open) >= self._parallel * PAGES_AHEAD
            or len(self._open) > self._parallel
        ):
            return None
        window = self._plan.next()
        if window is None:
            return None
        reading = self._begin(window)
        self._open.append(reading)
        ask = reading.ask()
        return None if ask is None else (reading, ask)

    def _begin(self, window: Window) -> Reading:
        return Reading(
            window,
            page_size=self._page_size,
            per_day=self._plan.per_day,
            end_included=self._end_included,
        )

    def _receive(self, *, wait: bool = True) -> bool:
        """Take in one answer; False when none is there and none is waited for."""
        self._stop.check()
        try:
            answer = self._answers.get_nowait()
        except queue.Empty:
            if not wait:
                return False
            self._before_waiting()
            answer = self._answers.get()
        self._stop.check()
        if answer is None:
            return True
        self._under_way -= 1
        reading = answer.reading
        if answer.page is None:
            reading.error = answer.error
            return True
        try:
            reading.receive(answer.ask, answer.page)
        except Exception as error:  # noqa: BLE001 (raised when this window's turn comes)
            reading.error = error
        if reading.end_included and reading in self._open:
            # Braze counts end_date in: begin this window anew without that day, of which
            # a busy list could have as much as of the window itself.
            self._end_included = True
            self._open[self._open.index(reading)] = self._begin(reading.window)
        return True

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            reading, ask = task
            page, error = None, None
            where = f"{reading.window}, offset {ask.offset}"
            try:
                page = self._fetch(reading.dates, ask.offset, ask.limit, where)
            except BaseException as exc:  # noqa: BLE001 (raised in the caller's thread)
                error = exc
            self._answers.put(_Answer(reading, ask, page, error))


@dataclass(frozen=True, slots=True)
class _Answer:
    reading: Reading
    ask: Ask
    page: Page | None
    error: BaseException | None
