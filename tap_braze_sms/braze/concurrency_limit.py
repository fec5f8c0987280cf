"""The concurrency limit: how many requests may be in flight at once, by how Braze bears them.

As many as are allowed, until they fail in numbers. Then half as many, and one more whenever a number of them went well;
where one more proves too many, it takes twice as long until it is tried again. Where nothing comes through any more,
one request is tried for all, and the others wait: so a Braze that is overloaded by eight is found out to bear one, and
one that is down has had, after that request's tries, no more requests and no more time than it would have had anyway.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

#: Failures among the latest outcomes that are too many. One in eight, spread evenly, are hardly ever taken for them.
RECENT, TOO_MANY = 16, 6

#: Successes after which one request more at once is tried, to begin with.
STEP = 8


@dataclass(slots=True, eq=False)
class Ticket:
    """One request, over all its tries."""

    #: What had come through, and how often everything was given up, when it was made.
    come_through: int
    outages: int
    #: Requests in flight when its latest try began, itself included, and under which limit that was.
    in_flight: int = 0
    generation: int = 0


class ConcurrencyLimit:
    """Counts requests in flight and how they end. Thread-safe; knows no clock, and never waits itself.

    Args:
        most: Requests at once where nothing fails.
    """

    def __init__(self, most: int) -> None:
        #: Requests that may be in flight now.
        self.limit = most
        #: Why the latest request that was tried for all of them was given up.
        self.problem = ""
        self._most = most
        self._lock = threading.Lock()
        self._in_flight = 0
        #: The request that nothing else may be in flight beside, and whether it asked for that: else it is tried for
        #: all of them, as nothing came through.
        self._alone: Ticket | None = None
        self._is_asked = False
        #: Counts the limits there were: what began under an earlier one says nothing about this one.
        self._generation = 0
        #: Of the latest tries under this limit whether they failed, and how many went well.
        self._failed: deque[bool] = deque(maxlen=RECENT)
        self._good = 0
        #: Successes that it takes to try one more at once, and whether one more is being tried.
        self._step = STEP
        self._is_trial = False
        #: Answers ever, failures since the latest of them, and how often everything was given up.
        self._come_through = 0
        self._streak = 0
        self._outages = 0

    def enter(self) -> Ticket:
        """Return what a request shows with each of its tries; to be followed by `leave`."""
        return Ticket(self._come_through, self._outages)

    def is_over(self, ticket: Ticket) -> bool:
        """Whether a request that was tried for this one, too, was given up meanwhile."""
        return ticket.outages != self._outages

    def try_acquire(self, ticket: Ticket, *, alone: bool = False) -> bool:
        """Begin a try, if it may begin now; it must then be followed by `release`.

        Args:
            ticket: Of the request.
            alone: Whether nothing else may be in flight meanwhile.
        """
        with self._lock:
            if alone and (self._alone is None or self._alone is ticket):
                self._alone, self._is_asked = ticket, True
            most = self.limit if self._alone is None else int(self._alone is ticket)
            if self._in_flight >= most:
                return False
            self._in_flight += 1
            ticket.in_flight, ticket.generation = self._in_flight, self._generation
            return True

    def release(self, ticket: Ticket, *, overloaded: bool) -> int | None:
        """Note that a try is over.

        Args:
            ticket: Of the request.
            overloaded: Whether it failed as requests do that are too many.

        Returns:
            The limit, if it is another one now.
        """
        with self._lock:
            in_flight = max(ticket.in_flight, self._in_flight)
            self._in_flight -= 1
            before = self.limit
            if overloaded:
                self._streak += 1
                if in_flight > 1 and ticket.generation == self._generation:
                    self._note_failure(ticket, in_flight)
                elif self.limit == 1:
                    self._try_for_all(ticket)
            else:
                self._come_through += 1
                self._streak = 0
                if self._alone is ticket or not self._is_asked:
                    self._alone = None
                if ticket.generation == self._generation:
                    self._note_success()
            return None if self.limit == before else self.limit

    def leave(self, ticket: Ticket, problem: str = "") -> None:
        """Note that a request is over.

        Args:
            ticket: Of the request.
            problem: Why it was given up, if it was: then so are those that waited for it, unless anything came through.
        """
        with self._lock:
            if self._alone is not ticket:
                return
            self._alone = None
            if problem and ticket.come_through == self._come_through:
                self.problem = problem
                self._outages += 1

    def _note_failure(self, ticket: Ticket, in_flight: int) -> None:
        self._failed.append(True)
        nothing_comes = self._streak >= in_flight
        if not (nothing_comes or sum(self._failed) >= TOO_MANY):
            return
        if self._is_trial:
            self._step *= 2
            self._set(self.limit - 1)
        elif nothing_comes:
            self._try_for_all(ticket)
            self._set(1)
        else:
            self._set(min(self.limit, in_flight) // 2)

    def _try_for_all(self, ticket: Ticket) -> None:
        """Keep a place for a request while it waits for its next try: nothing else has one, and all have its fate."""
        if self._alone is None:
            self._alone, self._is_asked = ticket, False

    def _note_success(self) -> None:
        self._failed.append(False)
        if self.limit == self._most and not self._is_trial:
            return
        self._good += 1
        if self._good < self._step:
            return
        if self._is_trial:
            self._step = max(STEP, self._step // 2)
        is_trial = self.limit < self._most
        self._set(self.limit + is_trial, is_trial=is_trial)

    def _set(self, limit: int, *, is_trial: bool = False) -> None:
        self.limit, self._is_trial = max(1, limit), is_trial
        self._generation += 1
        self._good = 0
        self._failed.clear()
