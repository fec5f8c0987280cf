"""The rate limit: one budget of requests, shared by everything that asks Braze.

Braze counts all requests of a workspace, whoever makes them, against one limit that
starts anew on the clock hour, and tells with every answer how much of it is left. This
tap takes only its share; the rest stays for the owner's other jobs.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import math
import threading
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds added to every wait for a reset, since the header names whole seconds.
MARGIN = 0.5

#: Seconds after which to ask again while the very first answer is awaited.
FIRST = 0.02

#: Seconds before a reset is due, or by which it moves, that make a later one another window's: a server that reckons
#: anew with each answer may name one a second later, of the same window.
NEARLY_DUE, ANOTHER = 2.0, 60.0

#: Longest wait for a reset; anything later is a wrong clock or header, and is asked again.
LONGEST_PAUSE = 3_700.0


class Budget:
    """Counts requests against the share of the limit. Thread-safe; never waits itself.

    All times are seconds of one monotonic clock, passed in. It begins without knowing any limit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Requests a window, as Braze last said; None before the first answer.
        self.limit: int | None = None
        #: Requests left to everyone in this window, by the last answer: before the first of all, that one.
        self._remaining: float = 1
        #: Requests made in this window, those in flight included.
        self._used = 0
        self._in_flight = 0
        #: When the window ends on our clock, and what Braze calls that moment.
        self._reset_at: float | None = None
        self._reset = 0
        self._refused_until = 0.0

    def remaining(self, share: float) -> int | None:
        """Requests still to be made of a share in this window; None: not known."""
        with self._lock:
            return None if self.limit is None else max(0, int(self._available(share)))

    def try_acquire(self, now: float, share: float) -> float:
        """Take one request from the budget.

        Args:
            now: The current time.
            share: The part of the limit that may be used, above 0 and at most 1.

        Returns:
            0 if it may be made now, and must then be followed by `release`; else the
            seconds after which to ask again.
        """
        with self._lock:
            wait = self._wait(now, share)
            if not wait:
                self._used += 1
                self._in_flight += 1
            return wait

    def pause(self, now: float, share: float) -> float:
        """Return the seconds for which no request is in flight nor may be made; 0: there is one, or may be."""
        with self._lock:
            return 0.0 if self._in_flight else self._wait(now, share)

    def release(self, headers: Mapping[str, str] | None, now: float) -> None:
        """Note that a request is over.

        Args:
            headers: Of its answer, found in any letter case; None if there was none.
            now: When it arrived.
        """
        with self._lock:
            self._in_flight -= 1
            if self.limit is None:
                self._remaining = math.inf  # until it is told, nothing is held back any more
            self._note(headers or {}, now)

    def on_rate_limited(self, seconds: float, now: float) -> float:
        """Hold everything back after a 429.

        Args:
            seconds: Least wait; the window's end is waited for as well, if it is known.
            now: When it arrived.

        Returns:
            The seconds held back.
        """
        with self._lock:
            self._refused_until = max(self._refused_until, now + seconds, self._reset_at or 0.0)
            return self._refused_until - now

    def _wait(self, now: float, share: float) -> float:
        if self._reset_at is not None and now >= self._reset_at:
            # The next window begins, before Braze confirms it.
            self._reset_at = None
            self._remaining, self._used = math.inf, self._in_flight
        wait = self._refused_until - now
        if wait <= 0 and self._available(share) < 1:
            if self._reset_at is not None:
                wait = self._reset_at - now
            elif self._in_flight:
                wait = MARGIN if self.limit else FIRST  # its answer will tell the reset, or all
        return min(max(0.0, wait), LONGEST_PAUSE)

    def _available(self, share: float) -> float:
        own = math.inf if self.limit is None else max(1, int(self.limit * share)) - self._used
        # Answers in flight are not yet in what Braze says is left.
        return min(own, self._remaining - self._in_flight)

    def _note(self, headers: Mapping[str, str], now: float) -> None:
        try:
            limit, remaining, reset = (
                int(float(headers[f"X-RateLimit-{name}"])) for name in ("Limit", "Remaining", "Reset")
            )
        except (KeyError, ValueError, OverflowError):
            return  # not told
        seconds_left = reset - server_time(headers)
        # No limit; a late answer of the window before; milliseconds or another clock, as no hour is that long.
        if limit < 1 or reset < self._reset or seconds_left > LONGEST_PAUSE:
            return
        due = self._reset_at
        if due is not None and reset > self._reset and (now > due - NEARLY_DUE or reset - self._reset > ANOTHER):
            # This answer was the first of a window that has just begun.
            self._remaining, self._used = math.inf, self._in_flight + 1
        if limit != self.limit:
            self.limit, self._remaining = limit, math.inf
        # Answers overtake each other; what was left only shrinks.
        self._remaining = min(self._remaining, remaining)
        self._reset = reset
        # Braze's own clock tells how long its window still lasts; ours may be wrong.
        self._reset_at = now + max(0.0, seconds_left) + MARGIN


_budgets: dict[tuple[str, str], Budget] = {}


def budget_of(url: str, api_key: str) -> Budget:
    """Return the one budget of a workspace, for all that call it in this process."""
    return _budgets.setdefault((url, api_key), Budget())


def server_time(headers: Mapping[str, str]) -> float:
    """Return the server's time of an answer in epoch seconds, else ours."""
    try:
        return email.utils.parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return dt.datetime.now(dt.timezone.utc).timestamp()
