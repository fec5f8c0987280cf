"""The crew: threads that make requests for one thread that decides."""

from __future__ import annotations

import queue
import threading
import typing as t
from concurrent.futures import Future

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tap_braze_sms.stopping import Stop

Task = t.TypeVar("Task")
Result = t.TypeVar("Result")


class Crew(t.Generic[Task, Result]):
    """A bounded number of calls under way; begun with `with`, and ended with it."""

    def __init__(self, size: int, stop: Stop, before_waiting: Callable[[], None] = lambda: None) -> None:
        """Prepare a crew.

        Args:
            size: Most calls under way at once.
            stop: Ends every wait when it is set.
            before_waiting: Called before every wait for an answer; may itself submit and receive.
        """
        self.size = size
        self.under_way = 0
        self._received = 0
        self._stop = stop
        self._before_waiting = before_waiting
        self._calls: queue.SimpleQueue[tuple[Task, Callable[[], Result]] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Task, Future[Result]] | None] = queue.SimpleQueue()

    def __enter__(self) -> Crew[Task, Result]:
        """Begin."""
        answers = self._answers
        self._stop.on_set(lambda: answers.put(None))  # wakes whoever waits
        for number in range(self.size):
            # Daemons: a request that hangs must not hold up the end of the process.
            threading.Thread(target=self._work, name=f"braze-request-{number}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send everyone home once their call is over."""
        for _number in range(self.size):
            self._calls.put(None)

    @property
    def has_hands(self) -> bool:
        """Whether another call may be under way."""
        return self.under_way < self.size

    def submit(self, task: Task, call: Callable[[], Result]) -> None:
        """Have a call made."""
        self.under_way += 1
        self._calls.put((task, call))

    def receive(self, *, wait: bool = True) -> tuple[Task, Future[Result]] | None:
        """Take an answer, in the order they come.

        Returns:
            A task and what came of it; None: there is none and no wait, or what was done before the
            wait has received some, so that there may be nothing left to wait for.

        Raises:
            Stopped: the end was asked for.
        """
        self._stop.check()
        try:
            answer = self._answers.get_nowait()
        except queue.Empty:
            if not wait:
                return None
            received = self._received
            self._before_waiting()
            if self._received != received:
                return None
            answer = self._answers.get()
        self._stop.check()
        self.under_way -= 1
        self._received += 1
        return answer

    def in_order(self: Crew[int, Result], calls: Sequence[Callable[[], Result]]) -> Iterator[Result]:
        """Make calls and give their results in the order of the calls."""
        submitted = 0
        early: dict[int, Future[Result]] = {}
        for turn in range(len(calls)):
            while turn not in early:
                # Results ahead of their turn count as under way, or they would pile up.
                while self.has_hands and submitted < min(len(calls), turn + 2 * self.size):
                    self.submit(submitted, calls[submitted])
                    submitted += 1
                if answer := self.receive():
                    early[answer[0]] = answer[1]
            yield early.pop(turn).result()

    def _work(self) -> None:
        while (job := self._calls.get()) is not None:
            task, call = job
            answer: Future[Result] = Future()
            try:
                answer.set_result(call())
            except BaseException as error:  # noqa: BLE001 (raised in the deciding thread)
                answer.set_exception(error)
            self._answers.put((task, answer))
