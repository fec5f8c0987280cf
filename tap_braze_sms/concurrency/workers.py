"""Worker threads: they make requests, and decide under one lock what to request next.

They read on by themselves while the thread that emits waits for a slow loader.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import typing as t
from concurrent.futures import Future

from tap_braze_sms.concurrency.cancellation import POLL_SECONDS

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tap_braze_sms.concurrency.cancellation import CancelToken

    #: Makes a request without the lock, and takes in what came of it under the lock.
    Task = tuple[Callable[[], t.Any], Callable[[Future[t.Any]], object]]

Result = t.TypeVar("Result")


class WorkerPool:
    """A bounded number of requests in flight.

    Args:
        size: Most requests in flight at once.
        cancel_token: Ends every wait when it is set.
        on_wait: Called before every wait, and again and again during it.
    """

    def __init__(self, size: int, cancel_token: CancelToken, on_wait: Callable[[], None] = lambda: None) -> None:
        self.size = size
        self.cancel_token = cancel_token
        self._changed = threading.Condition()
        #: Threads that found nothing to do since the last change.
        self._idle = 0
        self._on_wait = on_wait
        self._is_over = False
        #: Worker error: always a bug, which must not leave everyone waiting.
        self._failure: BaseException | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock, for a use of what the tasks share, and have everyone look at it anew."""
        with self._changed:
            yield
            self._idle = 0
            self._changed.notify_all()

    @contextlib.contextmanager
    def running(self, next_task: Callable[[], Task | None]) -> Iterator[None]:
        """Make requests for as long as the context lasts; `next_task` returns None until something changes."""
        try:
            # Within: Ctrl-C can come while they are started.
            for number in range(self.size):
                # Daemons: a request that hangs must not hold up the end of the process.
                name = f"braze-request-{number}"
                threading.Thread(target=self._work, args=[next_task], name=name, daemon=True).start()
            yield
        finally:
            with self.locked():
                self._is_over = True

    def wait_for(self, is_so: Callable[[], object]) -> None:
        """Wait until something is so, asked under the lock.

        Raises:
            Cancelled: the end was asked for.
            BaseException: what a thread failed with when it decided or took something in.
        """
        timeout = 0.0
        while True:
            self.cancel_token.check()
            with self._changed:
                is_so_now = self._changed.wait_for(lambda: self._failure or is_so(), timeout)
                if self._failure:
                    raise self._failure
                if is_so_now:
                    return
                if self._idle == self.size:
                    msg = "no request is in flight, yet the list is not complete; this is a bug in the tap"
                    raise RuntimeError(msg)
            self._on_wait()
            timeout = POLL_SECONDS

    def map_ordered(self, calls: Sequence[Callable[[], Result]]) -> Iterator[Result]:
        """Make calls and yield their results in the order of the calls."""
        waiting = enumerate(calls)
        early: dict[int, Future[Result]] = {}

        def next_task() -> Task | None:
            # No more than can be in flight ahead of their turn, or they would pile up.
            turn, call = next(waiting, (0, None)) if len(early) < self.size else (0, None)
            return call and (call, functools.partial(early.__setitem__, turn))

        with self.running(next_task):
            for turn in range(len(calls)):
                self.wait_for(lambda: turn in early)  # noqa: B023 (called at once)
                with self.locked():
                    answer = early.pop(turn)
                yield answer.result()

    def _work(self, next_task: Callable[[], Task | None]) -> None:
        with self._changed:
            try:
                while not self._is_over:
                    if task := next_task():
                        self._make(*task)
                    else:
                        self._idle += 1
                        self._changed.wait()
            except BaseException as error:  # noqa: BLE001 (raised in the thread that waits)
                with self.locked():
                    self._failure = error

    def _make(self, call: Callable[[], t.Any], on_done: Callable[[Future[t.Any]], object]) -> None:
        answer: Future[t.Any] = Future()
        self._changed.release()
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 (raised where the answer is used)
            answer.set_exception(error)
        finally:
            self._changed.acquire()
        with self.locked():
            on_done(answer)
