"""Virtual time: a clock that jumps from event to event, and a worker pool on it, all in one thread.

Each request in flight is a greenlet: code that waits in the middle of a call (the client, between two tries) is left
there and gone on with when its time has come, without a thread. So what happens, and in which order, is decided by the
times that were drawn and by nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import time
import typing as t
from concurrent.futures import Future

import greenlet  # type: ignore[import-untyped]
from typing_extensions import override

from tap_braze_sms.concurrency.cancellation import CancelToken

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_braze_sms.concurrency.workers import Task

#: What the clock begins at, in epoch seconds: an hour of Braze's rate limit is some minutes old then.
EPOCH = 1_772_338_200.0

#: Seconds of the longest wait that only looks again whether something has changed.
LONGEST_POLL = 0.05


class VirtualClock:
    """A clock on which all waits are over as soon as nothing else is left to do before; stands in for `time`."""

    strftime, localtime = staticmethod(time.strftime), staticmethod(time.gmtime)

    def __init__(self) -> None:
        self.now = 0.0
        self._turn = itertools.count()
        self._events: list[tuple[float, int, t.Any, bool]] = []
        #: Those that look again only after something else has happened: nothing changes before that.
        self._polling: list[tuple[float, t.Any]] = []

    def monotonic(self) -> float:
        """Return the seconds since the beginning."""
        return self.now

    def time(self) -> float:
        """Return the epoch seconds."""
        return EPOCH + self.now

    def sleep(self, seconds: float) -> None:
        """Let whatever is due before happen first."""
        worker = greenlet.getcurrent()
        if seconds <= LONGEST_POLL:
            self._polling.append((self.now + seconds, worker))
        else:
            self._push(self.now + seconds, worker)
        worker.parent.switch()

    def start(self, call: Callable[[], object]) -> t.Any:  # noqa: ANN401 (a greenlet, which has no types)
        """Have a call begun as the next of what is due now; return its greenlet."""
        worker = greenlet.greenlet(call)
        self._push(self.now, worker)
        return worker

    def step(self, until: float = float("inf")) -> bool:
        """Let the next event happen; return whether there was one in time."""
        if not self._events:
            self._wake_polling()
        if not self._events or self._events[0][0] > until:
            self.now = max(self.now, until) if until < float("inf") else self.now
            return False
        at, _, worker, is_poll = heapq.heappop(self._events)
        self.now = max(self.now, at)
        worker.switch()
        if not is_poll:
            self._wake_polling()
        return True

    def _push(self, at: float, worker: t.Any, *, is_poll: bool = False) -> None:  # noqa: ANN401 (a greenlet)
        heapq.heappush(self._events, (at, next(self._turn), worker, is_poll))

    def _wake_polling(self) -> None:
        for at, worker in self._polling:
            self._push(max(at, self.now), worker, is_poll=True)
        self._polling.clear()


class VirtualToken(CancelToken):
    """A cancel token whose waits take virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    @override
    def wait(self, seconds: float) -> None:
        self._clock.sleep(seconds)


class VirtualPool:
    """What `WorkerPool` is to the scheduler, in virtual time.

    Args:
        size: Most requests in flight at once.
        clock: Tells the time, and lets it pass.
        cancel_token: Ends every wait when it is set.
    """

    def __init__(self, size: int, clock: VirtualClock, cancel_token: CancelToken) -> None:
        self.size = size
        self.cancel_token = cancel_token
        self._clock = clock
        self._next_task: Callable[[], Task | None] = lambda: None
        self._workers: dict[int, t.Any] = {}
        self._number = itertools.count()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing else runs meanwhile anyway."""
        yield

    @contextlib.contextmanager
    def running(self, next_task: Callable[[], Task | None]) -> Iterator[None]:
        """Make requests for as long as the context lasts."""
        self._next_task = next_task
        try:
            yield
        finally:
            for worker in list(self._workers.values()):
                worker.throw()
            self._workers.clear()

    def wait_for(self, is_so: Callable[[], object]) -> None:
        """Let time pass until something is so."""
        while not is_so():
            self._fill()
            # What is chosen may be to leave the rest to the next run.
            if not self._workers and not is_so():
                msg = "nothing is under way, yet it is not complete"
                raise RuntimeError(msg)
            self._clock.step()

    def pass_time(self, seconds: float) -> None:
        """Let time pass while the loader takes in what it was given: the workers read on."""
        end = self._clock.now + seconds
        while True:
            self._fill()
            if not self._clock.step(end):
                return

    def _fill(self) -> None:
        while len(self._workers) < self.size and (task := self._next_task()):
            number = next(self._number)
            self._workers[number] = self._clock.start(functools.partial(self._work, number, *task))

    def _work(self, number: int, call: Callable[[], t.Any], on_done: Callable[[Future[t.Any]], object]) -> None:
        answer: Future[t.Any] = Future()
        try:
            answer.set_result(call())
        except Exception as error:  # noqa: BLE001 (raised where the answer is used)
            answer.set_exception(error)
        # Free before the answer is taken in, as the next request is chosen after that.
        del self._workers[number]
        on_done(answer)
