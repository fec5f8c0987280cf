"""The budget of requests: never more than the share, and all of it (promise 11)."""

from __future__ import annotations

import collections
import heapq
import itertools
import math
import random
import threading
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from tap_braze_sms.braze.rate_limit import LONGEST_PAUSE, MARGIN, Budget, budget_of

#: An instant on Braze's clock, and the length of its windows.
EPOCH, HOUR = 1_772_337_600, 3_600

#: Events after which a run of the model will not end: many times what the longest takes.
MOST_EVENTS = 2_000_000


class Braze:
    """What Braze counts, and says, about one workspace."""

    def __init__(self, limit: int, *, span: int = HOUR, skew: float = 0.0, names: str = "X-RateLimit-") -> None:
        self.limit = limit
        self.span = span
        self.skew = skew
        self.names = names
        self.counts: collections.Counter[int] = collections.Counter()
        self.refused = 0

    def window(self, now: float) -> int:
        return int((EPOCH + now + self.skew) // self.span)

    def answer(self, now: float) -> CaseInsensitiveDict[str]:
        window = self.window(now)
        self.counts[window] += 1
        self.refused += self.counts[window] > self.limit
        return self.headers(now, self.limit - self.counts[window])

    def headers(self, now: float, remaining: int) -> CaseInsensitiveDict[str]:
        return CaseInsensitiveDict(
            {
                self.names + "Limit": str(self.limit),
                self.names + "Remaining": str(max(0, remaining)),
                self.names + "Reset": str((self.window(now) + 1) * self.span),
                "Date": formatdate(EPOCH + now + self.skew, usegmt=True),
            }
        )


def run(braze: Braze, share: float, *, requests: int, parallel: int, seed: int, slow: float) -> tuple[float, int]:
    """Make requests as fast as the budget lets; return when the last was done, and how many came before any answer."""
    dice = random.Random(seed)
    budget, order = Budget(), itertools.count()
    #: When, in which order, and what: taking, arriving at Braze or coming back with headers.
    events = [(dice.random(), next(order), "take", None) for _ in range(parallel)]
    heapq.heapify(events)
    taken = early = 0
    answered, now = False, 0.0
    while events:
        assert next(order) < MOST_EVENTS, "no end"
        now, _, kind, headers = heapq.heappop(events)
        if kind == "take":
            if taken == requests:
                continue
            wait = budget.try_acquire(now, share)
            assert 0 <= wait <= LONGEST_PAUSE
            if wait:
                heapq.heappush(events, (now + wait, next(order), "take", None))
            else:
                taken += 1
                early += not answered
                heapq.heappush(events, (now + dice.random() * slow, next(order), "arrive", None))
        elif kind == "arrive":
            headers = braze.answer(now)
            heapq.heappush(events, (now + dice.random() * slow, next(order), "return", headers))
        else:
            answered = True
            budget.release(headers, now)
            heapq.heappush(events, (now + dice.random() * 0.01, next(order), "take", None))
    return now, early


@given(
    limit=st.integers(1, 400),
    share=st.floats(0.01, 1, exclude_min=True),
    parallel=st.integers(1, 64),
    requests=st.integers(1, 600),
    span=st.sampled_from([10, 60, HOUR]),
    skew=st.floats(-1e6, 1e6),
    slow=st.floats(0, 4),
    seed=st.integers(0, 99),
)
def test_no_window_sees_more_than_the_share_and_all_requests_are_made(
    limit, share, parallel, requests, span, skew, slow, seed
):
    braze = Braze(limit, span=span, skew=skew)
    end, early = run(braze, share, requests=requests, parallel=parallel, seed=seed, slow=slow)
    own = max(1, int(limit * share))
    counts = sorted(braze.counts.items())
    assert all(count <= own for _, count in counts)
    assert early == 1, "before Braze names the limit, there is one request"
    assert sum(braze.counts.values()) == requests
    # Requests under way when a window turns count in both.
    windows = math.ceil(requests / max(1, own - parallel))
    assert end < (windows + 2) * span + requests * 2 * slow / parallel + 60


@given(
    limit=st.integers(2, 60), share=st.floats(0.01, 1, exclude_min=True), skew=st.floats(-1e6, 1e6), seed=st.integers()
)
def test_one_request_after_the_other_uses_the_whole_share_of_every_window(limit, share, skew, seed):
    braze = Braze(limit, span=60, skew=skew)
    own = max(1, int(limit * share))
    run(braze, share, requests=5 * own, parallel=1, seed=seed, slow=0.01)
    whole = sorted(braze.counts.items())[1:-1]
    assert len(whole) >= 3
    assert {count for _, count in whole} == {own}


def test_below_the_share_it_never_waits():
    braze, budget = Braze(100), Budget()
    for second in range(50):
        assert budget.try_acquire(second, 0.5) == 0
        budget.release(braze.answer(second), second)
    assert budget.remaining(0.5) == 0
    assert budget.remaining(0.51) == 1
    assert budget.limit == 100


@pytest.mark.parametrize("skew", [0.0, -3e5, 3e5])
def test_at_the_share_it_waits_for_the_reset_by_brazes_clock(skew):
    braze, budget = Braze(10, skew=skew), Budget()
    for _ in range(5):
        assert budget.try_acquire(7.0, 0.5) == 0
        budget.release(braze.answer(7.0), 7.0)
    wait = budget.try_acquire(7.0, 0.5)
    reset = (braze.window(7.0) + 1) * HOUR - EPOCH - skew
    assert reset <= 7.0 + wait <= reset + 1 + MARGIN
    assert budget.try_acquire(7.0 + wait - 0.001, 0.5) > 0
    assert budget.try_acquire(7.0 + wait, 0.5) == 0


@pytest.mark.parametrize("names", ["X-RateLimit-", "x-ratelimit-", "X-RATELIMIT-", "x-RateLimit-"])
def test_headers_count_in_any_letter_case(names):
    budget = Budget()
    budget.try_acquire(0.0, 1)
    budget.release(Braze(2, names=names).answer(0.0), 0.0)
    assert (budget.limit, budget.remaining(1)) == (2, 1)


def test_what_other_jobs_spend_is_not_left_to_this_one():
    braze, budget = Braze(100), Budget()
    budget.try_acquire(0.0, 0.5)
    budget.release(braze.headers(0.0, remaining=3), 0.0)
    assert [budget.try_acquire(0.0, 0.5) > 0 for _ in range(4)] == [False, False, False, True]


@pytest.mark.parametrize("limit, left", [(40, 10), (10, 0), (4, 0)])
def test_a_raised_or_lowered_limit_is_followed_within_its_window(limit, left):
    braze, budget = Braze(20), Budget()
    for _ in range(10):
        assert budget.try_acquire(0.0, 0.5) == 0
        budget.release(braze.answer(0.0), 0.0)
    assert budget.remaining(0.5) == 0
    braze.limit = limit
    budget._used -= 1  # as if one had been refused the budget before
    assert budget.try_acquire(0.0, 0.5) == 0
    budget.release(braze.answer(0.0), 0.0)
    assert budget.remaining(0.5) == left


def test_answers_that_overtake_each_other_do_not_give_requests_back():
    braze, budget = Braze(5), Budget()
    assert budget.try_acquire(0.0, 1) == 0
    budget.release(braze.answer(0.0), 0.0)
    for _ in range(3):
        assert budget.try_acquire(0.0, 1) == 0
    first, second, third = (braze.answer(0.0) for _ in range(3))
    for headers in (third, second, first):
        budget.release(headers, 0.0)
    assert budget.remaining(1) == 1


def test_an_answer_of_the_window_before_tells_nothing_of_this_one():
    braze, budget = Braze(4), Budget()
    assert budget.try_acquire(HOUR - 2, 1) == 0
    budget.release(braze.answer(HOUR - 2), HOUR - 2)
    assert [budget.try_acquire(HOUR - 1, 1) for _ in range(2)] == [0, 0]
    late = braze.answer(HOUR - 1)
    budget.release(braze.answer(HOUR), HOUR)
    # The one that is late may count here, too.
    assert budget.remaining(1) == 2
    budget.release(late, HOUR + 1)
    assert budget.remaining(1) == 2


def test_requests_that_failed_before_a_window_gave_its_first_answer_count_in_it():
    braze, budget = Braze(10), Budget()
    budget.try_acquire(0.0, 0.5)
    budget.release(braze.answer(0.0), 0.0)
    now = HOUR + 2.0
    for _ in range(3):
        assert budget.try_acquire(now, 0.5) == 0
        budget.release(None, now)
    assert budget.try_acquire(now, 0.5) == 0
    budget.release(braze.headers(now, remaining=9), now)
    assert budget.remaining(0.5) == 1


def test_once_the_reset_has_come_the_whole_share_may_go_before_any_answer():
    braze, budget = Braze(10), Budget()
    budget.try_acquire(0.0, 0.5)
    budget.release(braze.headers(0.0, remaining=0), 0.0)
    now = budget.try_acquire(0.0, 0.5)
    assert now >= HOUR
    assert [budget.try_acquire(now, 0.5) > 0 for _ in range(6)] == [False] * 5 + [True]


def test_a_reset_that_is_due_costs_no_more_than_the_margin():
    budget = Budget()
    budget.try_acquire(0.0, 1)
    told = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(EPOCH)}
    budget.release({**told, "Date": formatdate(EPOCH, usegmt=True)}, 0.0)
    assert budget.try_acquire(0.0, 1) == MARGIN


@pytest.mark.parametrize("is_sliding", [True, False])
def test_a_reset_that_moves_by_seconds_opens_no_further_share(is_sliding):
    budget, taken = Budget(), 0
    while not budget.try_acquire(float(taken), 0.5) and taken < 100:
        taken += 1
        told = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": str(100 - taken)}
        moved = taken if is_sliding else random.Random(taken).randint(0, 1)
        reset = {"X-RateLimit-Reset": str(EPOCH + 3_000 + moved)}
        budget.release({**told, **reset, "Date": formatdate(EPOCH + taken, usegmt=True)}, float(taken))
    assert taken == 50


GARBAGE = [
    {},
    {"X-RateLimit-Limit": "9" * 400, "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(EPOCH)},
    {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9" * 400},
    {"X-RateLimit-Limit": "many"},
    {"X-RateLimit-Limit": "0", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(EPOCH)},
    {"X-RateLimit-Limit": "-5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(EPOCH)},
    {"X-RateLimit-Limit": "nan", "X-RateLimit-Remaining": "inf", "X-RateLimit-Reset": "1e999"},
    {"X-RateLimit-Limit": "10", "X-RateLimit-Reset": str(EPOCH + HOUR)},
    {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "soon"},
    # Milliseconds; and a Date that is none.
    {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{EPOCH}000"},
    {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{EPOCH}000", "Date": "today"},
]


@pytest.mark.parametrize("headers", [None, *GARBAGE])
def test_headers_that_tell_nothing_hold_nothing_back(headers):
    budget = Budget()
    for second in range(100):
        assert budget.try_acquire(second, 0.5) == 0
        budget.release(headers, second)
    assert budget.remaining(0.5) is None


@pytest.mark.parametrize("headers", [None, *GARBAGE])
def test_headers_that_tell_nothing_change_nothing_that_is_known(headers):
    braze, budget = Braze(10), Budget()
    for _ in range(5):
        assert budget.try_acquire(0.0, 0.5) == 0
        budget.release(braze.answer(0.0), 0.0)
        budget.release(headers, 0.0)
        budget._in_flight += 1
    wait = budget.try_acquire(0.0, 0.5)
    assert HOUR <= wait <= HOUR + 1 + MARGIN
    assert budget.try_acquire(wait, 0.5) == 0


def test_where_nothing_is_told_of_a_new_window_requests_go_on_one_by_one():
    braze, budget = Braze(4), Budget()
    budget.try_acquire(0.0, 0.5)
    budget.release(braze.answer(0.0), 0.0)
    now = HOUR + 2.0
    assert [budget.try_acquire(now, 0.5) for _ in range(2)] == [0, 0]
    # The share is used, and no answer has said until when.
    assert budget.try_acquire(now, 0.5) == MARGIN
    for _ in range(20):
        budget.release(None, now)
        budget.release(None, now)
        budget._in_flight += 1
        assert budget.try_acquire(now, 0.5) == MARGIN
        budget.release(None, now)
        assert budget.try_acquire(now, 0.5) == 0
        budget._in_flight += 1


def test_after_a_refusal_everything_waits_for_the_reset():
    braze, budget = Braze(10), Budget()
    budget.try_acquire(0.0, 1)
    budget.release(braze.headers(0.0, remaining=9), 0.0)
    held = budget.on_rate_limited(0.0, 0.0)
    assert HOUR <= held <= HOUR + 1 + MARGIN
    assert budget.try_acquire(held - 1, 1) == pytest.approx(1)
    assert budget.try_acquire(held, 1) == 0


def test_after_a_refusal_that_names_a_later_time_everything_waits_for_that():
    budget = Budget()
    budget.try_acquire(0.0, 1)
    budget.release(None, 0.0)
    assert budget.on_rate_limited(30.0, 0.0) == 30
    assert budget.on_rate_limited(5.0, 1.0) == 29
    assert budget.try_acquire(2.0, 1) == 28
    assert budget.try_acquire(30.0, 1) == 0


def test_a_pause_is_what_nothing_in_flight_may_end_earlier():
    braze, budget = Braze(10), Budget()
    budget.try_acquire(0.0, 0.2)
    assert budget.pause(0.0, 0.2) == 0, "an answer is awaited"
    budget.release(braze.answer(0.0), 0.0)
    assert budget.pause(1.0, 0.2) == 0, "another request may be made"
    budget.try_acquire(1.0, 0.2)
    budget.release(braze.answer(1.0), 1.0)
    assert budget.pause(2.0, 0.2) == HOUR - 2 + MARGIN
    assert budget.pause(2.0, 0.2) == budget.try_acquire(2.0, 0.2)
    assert budget.pause(2.0, 0.3) == 0
    assert budget.pause(HOUR + 1.0, 0.2) == 0


def test_threads_share_one_budget():
    braze, budget = Braze(1_000), Budget()
    budget.try_acquire(0.0, 1)
    budget.release(braze.answer(0.0), 0.0)
    taken: list[int] = []

    def acquire() -> None:
        taken.append(sum(budget.try_acquire(1.0, 0.5) == 0 for _ in range(200)))

    threads = [threading.Thread(target=acquire) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 499


def test_a_workspace_has_one_budget_and_another_address_or_key_another():
    one = budget_of("https://one.example", "key")
    assert budget_of("https://one.example", "key") is one
    assert budget_of("https://two.example", "key") is not one
    assert budget_of("https://one.example", "other") is not one
    one.try_acquire(0.0, 1)
    one.release(Braze(10).answer(0.0), 0.0)
    assert budget_of("https://one.example", "key").limit == 10
