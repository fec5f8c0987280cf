"""How many requests are made at once where Braze does not bear as many as it could be asked (promise 22)."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import typing as t

import hypothesis.strategies as st
import pytest
from hypothesis import given

from support.examples import examples
from tap_braze_sms.braze.concurrency_limit import RECENT, STEP, TOO_MANY, ConcurrencyLimit, Ticket

if t.TYPE_CHECKING:
    from collections.abc import Callable

#: Longest waits between the tries of the client.
WAITS = [0.5, 2, 8, 32, 90, 90, 90]


class Overloaded:
    """A Braze that fails what is more than it bears, in virtual time, and a client with a thread for each request.

    Args:
        seed: Of waits and latencies.
        most: Threads.
        bears: Requests at once, by the number of requests that are done.
        patience: Seconds that one which is too many takes to fail.
        rate: Share of requests that fail anyway.
    """

    def __init__(
        self, seed: int, most: int, bears: Callable[[int], int], *, patience: float = 0.05, rate: float = 0.0
    ) -> None:
        self.limit = ConcurrencyLimit(most)
        self.now = 0.0
        self.done = self.failures = self.in_flight = self.highest = 0
        self.given_up = False
        self._most, self._bears, self._patience, self._rate = most, bears, patience, rate
        self._dice = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._waiting: list[tuple[Ticket, int]] = []

    def run(self, requests: int) -> None:
        left = iter(range(requests))
        busy = 0
        while not self.given_up:
            while busy < self._most and next(left, None) is not None:
                busy += 1
                self._waiting.append((self.limit.enter(), 1))
            # Whoever comes first, as threads do.
            self._dice.shuffle(self._waiting)
            for waiting in [w for w in self._waiting if self.limit.try_acquire(w[0], alone=w[1] == len(WAITS) + 1)]:
                self._waiting.remove(waiting)
                self._begin(*waiting)
            if not self._events:
                assert not self._waiting, "all wait, for nothing"
                return
            self.now, _, event = heapq.heappop(self._events)
            before = self.done
            event()
            busy -= self.done - before

    def _begin(self, ticket: Ticket, attempt: int) -> None:
        self.in_flight += 1
        self.highest = max(self.highest, self.in_flight)
        too_many = self.in_flight > self._bears(self.done)
        fails = too_many or self._dice.random() < self._rate
        seconds = self._patience if too_many else self._dice.uniform(0.1, 0.2)
        self._at(seconds, lambda: self._end(ticket, attempt, fails=fails))

    def _end(self, ticket: Ticket, attempt: int, *, fails: bool) -> None:
        self.in_flight -= 1
        self.limit.release(ticket, overloaded=fails)
        if not fails:
            self.done += 1
            self.limit.leave(ticket)
        elif attempt > len(WAITS):
            self.given_up = True
        else:
            self.failures += 1
            self._at(WAITS[attempt - 1] * self._dice.random(), lambda: self._waiting.append((ticket, attempt + 1)))

    def _at(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), event))


def test_where_nothing_fails_nothing_is_held_back():
    braze = Overloaded(1, 8, lambda _: 8)
    braze.run(2_000)
    assert (braze.limit.limit, braze.highest, braze.done) == (8, 8, 2_000)


@examples(60)
@given(
    seed=st.integers(0, 10**6),
    most=st.integers(2, 64),
    share=st.floats(0, 1),
    patience=st.sampled_from([0.01, 0.15, 60.0]),
)
def test_no_run_fails_because_too_many_were_made_at_once(seed, most, share, patience):
    bears = max(1, int(most * share))
    braze = Overloaded(seed, most, lambda _: bears, patience=patience)
    braze.run(1_500)
    assert not braze.given_up
    assert braze.done == 1_500


@pytest.mark.parametrize("bears", [1, 2, 3, 5])
def test_few_requests_fail_once_it_is_known_how_many_braze_bears(bears):
    braze = Overloaded(bears, 8, lambda _: bears)
    braze.run(5_000)
    first, seconds = braze.failures, braze.now
    braze.run(5_000)
    assert braze.failures - first < 0.05 * 5_000
    # Not much below what it bears: a request takes 0.15 s.
    assert braze.now - seconds < 2 * 5_000 * 0.15 / bears


def test_a_braze_that_recovers_is_asked_as_much_as_before():
    braze = Overloaded(3, 8, lambda done: 2 if done < 500 else 8)
    braze.run(500)
    assert braze.limit.limit <= 3
    braze.run(5_000)
    assert braze.limit.limit == 8


@pytest.mark.parametrize("patience", [0.01, 60.0])
def test_a_braze_that_is_down_is_given_up_as_soon_as_by_a_single_thread(patience):
    braze = Overloaded(3, 8, lambda done: 8 if done < 200 else 0, patience=patience)
    braze.run(200)
    since = braze.now
    braze.run(1_000)
    assert braze.given_up
    assert braze.now - since <= (len(WAITS) + 1) * patience + sum(WAITS)
    assert braze.failures <= 2 * 8 + len(WAITS)


def test_failures_here_and_there_are_not_taken_for_too_many_at_once():
    braze = Overloaded(4, 8, lambda _: 8, rate=0.02)
    braze.run(20_000)
    assert braze.limit.limit == 8
    undisturbed = 20_000 * 0.15 / 8
    assert braze.now < 1.1 * undisturbed + sum(WAITS)


def test_one_in_eight_that_fail_do_not_hold_the_rest_back_for_long():
    braze = Overloaded(5, 8, lambda _: 8, rate=1 / 8)
    braze.run(20_000)
    assert not braze.given_up
    assert braze.now < 2 * 20_000 * 0.15 / 8


def tickets(limit: ConcurrencyLimit, count: int) -> list[Ticket]:
    made = [limit.enter() for _ in range(count)]
    assert all(limit.try_acquire(ticket) for ticket in made)
    return made


def test_failures_in_numbers_halve_what_is_made_at_once_and_successes_bring_it_back():
    limit = ConcurrencyLimit(8)
    good = limit.enter()
    for _ in range(RECENT):
        for ticket in tickets(limit, 7):
            limit.release(ticket, overloaded=False)
    many = tickets(limit, 8)
    for ticket in many[: TOO_MANY - 1]:
        assert limit.release(ticket, overloaded=True) is None
        # Not all fail, and as many stay under way.
        limit.release(many[-1], overloaded=False)
        assert limit.try_acquire(many[-1])
        assert limit.try_acquire(ticket)
    assert limit.release(many[TOO_MANY - 1], overloaded=True) == 4
    for ticket in many[TOO_MANY:]:
        limit.release(ticket, overloaded=True)
    assert limit.limit == 4, "what began before says nothing about fewer"
    for ticket in many[: TOO_MANY - 1]:
        limit.release(ticket, overloaded=False)
    for _ in range(4):
        for _ in range(STEP):
            assert limit.try_acquire(good)
            limit.release(good, overloaded=False)
    assert limit.limit == 8


def test_where_nothing_comes_through_one_is_tried_for_all_and_all_have_its_fate():
    limit = ConcurrencyLimit(4)
    many = tickets(limit, 4)
    changes = [limit.release(ticket, overloaded=True) for ticket in many]
    assert [change for change in changes if change] == [1]
    (probe,) = [ticket for ticket in many if limit.try_acquire(ticket)]
    others = [ticket for ticket in many if ticket is not probe]
    limit.release(probe, overloaded=True)
    # Its place is kept for it while it waits.
    assert not any(limit.try_acquire(ticket) for ticket in others)
    assert limit.try_acquire(probe)
    limit.release(probe, overloaded=True)
    limit.leave(probe, "it was down")
    assert all(limit.is_over(ticket) for ticket in others)
    assert limit.problem == "it was down"
    # What comes later is tried by itself.
    later = limit.enter()
    assert not limit.is_over(later)
    assert limit.try_acquire(later)


def test_what_fails_by_itself_does_not_take_others_along():
    limit = ConcurrencyLimit(2)
    poisoned, other = limit.enter(), limit.enter()
    assert limit.try_acquire(other)
    limit.release(other, overloaded=False)
    assert limit.try_acquire(poisoned, alone=True)
    assert not limit.try_acquire(other)
    limit.release(poisoned, overloaded=True)
    limit.leave(poisoned, "it fails")
    assert not limit.is_over(other)
    assert limit.try_acquire(other)


def test_a_last_try_waits_for_those_under_way_and_lets_nobody_in_meanwhile():
    limit = ConcurrencyLimit(8)
    under_way, last = limit.enter(), limit.enter()
    assert limit.try_acquire(under_way)
    assert not limit.try_acquire(last, alone=True)
    assert not limit.try_acquire(limit.enter())
    limit.release(under_way, overloaded=False)
    assert not limit.try_acquire(limit.enter()), "an answer to another is no reason to let others in"
    assert limit.try_acquire(last, alone=True)
    limit.release(last, overloaded=False)
    assert limit.try_acquire(limit.enter())


def test_many_threads_leave_nothing_behind():
    limit = ConcurrencyLimit(8)

    def work(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(300):
            ticket = limit.enter()
            for _ in range(4):
                while not limit.try_acquire(ticket, alone=dice.random() < 0.1):
                    pass
                limit.release(ticket, overloaded=dice.random() < 0.3)
            limit.leave(ticket, "over")

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit._in_flight == 0
    assert limit._alone is None
