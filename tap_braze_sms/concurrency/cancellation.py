"""Cancellation: how a signal reaches every place that waits."""

from __future__ import annotations

import contextlib
import math
import time
import typing as t
from signal import Signals

if t.TYPE_CHECKING:
    from collections.abc import Iterator


#: Seconds after which a wait looks whether to go on.
POLL_SECONDS = 0.1

#: Added to a signal's number, by the shell's convention, in the exit status of what it ended.
SIGNALED = 128


class Cancelled(SystemExit):
    """Raised where work is going on when a signal has asked for its end.

    Its exit status is that of what a signal has ended.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(SIGNALED + signal)
        self.signal_name = Signals(signal).name


class CancelToken:
    """A request to end, set once, noticed by everything that waits."""

    def __init__(self) -> None:
        self.signal = 0
        #: When, on the monotonic clock.
        self.since = math.inf
        #: Whether someone will notice by itself; else a signal handler has to raise.
        self.is_cooperative = False

    def __bool__(self) -> bool:
        """Whether the end was asked for."""
        return self.signal != 0

    def set(self, signal: int) -> None:
        """Ask for the end.

        Safe in a signal handler: it takes no lock, which the interrupted thread could hold.
        """
        self.signal = self.signal or signal
        self.since = min(self.since, time.monotonic())

    @contextlib.contextmanager
    def cooperative(self) -> Iterator[None]:
        """Promise to call `check` often enough, and to end cleanly.

        Raises:
            Cancelled: the end was asked for, whatever else this may have ended with.
        """
        before, self.is_cooperative = self.is_cooperative, True
        try:
            yield
        finally:
            self.is_cooperative = before
            if not before:
                self.check()

    def check(self) -> None:
        """Raise `Cancelled` if the end was asked for."""
        if self:
            raise Cancelled(self.signal)

    def wait(self, seconds: float) -> None:
        """Wait, unless the end is asked for meanwhile: then raise `Cancelled`."""
        end = time.monotonic() + seconds
        self.check()
        # In slices rather than on an event, whose lock a signal handler could not take.
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, POLL_SECONDS))
            self.check()
