"""The crew: threads that make requests for one thread that decides."""

from __future__ import annotations

import queue
import threading
import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tap_braze_sms.stopping import Stop

Task = t.TypeVar("Task")
Result = t.TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answer(t.Generic[Task, Result]):
    """What came of a task."""

    task: Task
    value: Result | None
    error: BaseException | None

    def result(self) -> Result:
        """Give the result, or raise what went wrong."""
        if self.error is not None:
            raise self.error
        return t.cast("Result", self.value)


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
        self._hands = 0
        self._calls: queue.SimpleQueue[tuple[Task, Callable[[], Result]] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer[Task, Result] | None] = queue.SimpleQueue()

    def __enter__(self) -> Crew[Task, Result]:
        """Begin."""
        answers = self._answers
        self._stop.on_set(lambda: answers.put(None))  # wakes whoever waits
        return self

    def __exit__(self, *_: object) -> None:
        """Send everyone home once their call is over."""
        for _hand in range(self._hands):
            self._calls.put(None)

    @property
    def has_hands(self) -> bool:
        """Whether another call may be under way."""
        return self.under_way < self.size

    def submit(self, task: Task, call: Callable[[], Result]) -> None:
        """Have a call made."""
        self.under_way += 1
        if self._hands < self.under_way:
            self._hands += 1
            # Daemons: a request that hangs must not hold up the end of the process.
            threading.Thread(target=self._work, name=f"braze-request-{self._hands}", daemon=True).start()
        self._calls.put((task, call))

    def receive(self, *, wait: bool = True) -> Answer[Task, Result] | None:
        """Take an answer, in the order they come.

        Returns:
            The answer; None: there is none and no wait, or what was done before the wait has
            received some, so that there may be nothing left to wait for.

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

    def in_order(self, calls: Iterable[tuple[Task, Callable[[], Result]]]) -> Iterator[tuple[Task, Result]]:
        """Make calls and give their results in the order of the calls."""
        waiting = iter(calls)
        early: dict[int, Answer[tuple[int, Task], Result]] = {}
        numbered = t.cast("Crew[tuple[int, Task], Result]", self)
        submitted = given = 0
        while True:
            # Results ahead of their turn count as under way, or they would pile up.
            while submitted - given < 2 * self.size and self.has_hands:
                if (following := next(waiting, None)) is None:
                    break
                numbered.submit((submitted, following[0]), following[1])
                submitted += 1
            if given == submitted:
                return
            while given not in early:
                answer = numbered.receive()
                if answer is not None:
                    early[answer.task[0]] = answer
            turn = early.pop(given)
            given += 1
            yield turn.task[1], turn.result()

    def _work(self) -> None:
        while (job := self._calls.get()) is not None:
            task, call = job
            value, error = None, None
            try:
                value = call()
            except BaseException as exc:  # noqa: BLE001 (raised in the deciding thread)
                error = exc
            self._answers.put(Answer(task, value, error))
