"""Many windows, many requests at once: the same promises (1 to 4, 9, 10)."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import random
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.examples import examples
from support.moving_list import DAY, MovingList, assert_true_to, identify
from tap_braze_sms.concurrency.cancellation import CancelToken
from tap_braze_sms.concurrency.scheduler import PAGES_AHEAD, WindowScheduler
from tap_braze_sms.concurrency.workers import WorkerPool
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.windows import Planner

if TYPE_CHECKING:
    from tap_braze_sms.reading.page import Row

#: Where the list of the model begins.
START = dt.datetime.combine(DAY, dt.time(), timestamps.UTC)

#: Requests after which reading the model's lists will not end: many times what the worst of them takes.
MOST_REQUESTS = 20_000


def schedule(
    moving: MovingList,
    *,
    since: dt.datetime = START,
    until: dt.datetime | None = None,
    window_days: int = 30,
    page_size: int = 500,
    parallel: int = 1,
    slow_loader: bool = False,
) -> tuple[list[Row], WindowScheduler]:
    lock = threading.Lock()

    def fetch(dates, offset, limit, where):
        with lock:
            assert moving.requests < MOST_REQUESTS, "no end"
            return moving.answer(dates, offset, limit)

    plan = Planner(since, until, today=DAY + dt.timedelta(days=moving.days - 1), widest=window_days)
    pool = WorkerPool(parallel, CancelToken())
    scheduler = WindowScheduler(plan, fetch, identify=identify, page_size=page_size, largest=500, pool=pool)
    taken: list[Row] = []
    for rows, _ in scheduler:
        taken += rows
        # A loader so slow that all answers come in meanwhile, until nobody has anything to ask.
        while slow_loader and pool._idle < pool.size:
            time.sleep(0)
    return taken, scheduler


@examples(500)
@given(
    seed=st.integers(0, 2**32),
    records=st.integers(0, 300),
    days=st.integers(1, 400),
    instants=st.sampled_from([3, 50, 1_000_000]),
    moves=st.sampled_from([0.0, 0.2, 0.5]),
    window_days=st.integers(1, 366),
    page_size=st.one_of(st.integers(2, 30), st.just(500)),
    parallel=st.integers(1, 16),
    end_included=st.booleans(),
    since=st.floats(0, 1),
    until=st.one_of(st.none(), st.floats(0, 1)),
    slow_loader=st.booleans(),
)
# A list that grows after its end was seen.
@example(
    seed=59,
    records=138,
    days=58,
    instants=1_000_000,
    moves=0.5,
    window_days=3,
    page_size=4,
    parallel=2,
    end_included=False,
    since=0.25,
    until=None,
    slow_loader=False,
)
def test_what_stayed_on_the_list_is_read_exactly_once_and_in_order(
    seed, records, days, instants, moves, window_days, page_size, parallel, end_included, since, until, slow_loader
):
    moving = MovingList(
        seed, records=records, days=days, instants=instants, moves=moves, end_included=end_included, largest_burst=5
    )
    begin = START + dt.timedelta(days=int(days * since * 1000) / 1000)
    end = None if until is None else begin + dt.timedelta(seconds=int(days * until * 86_400))
    rows, _ = schedule(
        moving,
        since=begin,
        until=end,
        window_days=window_days,
        page_size=page_size,
        parallel=parallel,
        slow_loader=slow_loader,
    )
    assert_true_to(moving, rows, since=timestamps.format_utc(begin), until=timestamps.format_utc(end) if end else "9")


@pytest.mark.parametrize("end_included", [False, True])
@pytest.mark.parametrize("parallel", [1, 8, 16])
@pytest.mark.parametrize("days", [3, 365])
def test_a_range_costs_at_most_a_tenth_more_requests_than_it_must(days, parallel, end_included):
    moving = MovingList(11, records=20_000, days=days, end_included=end_included)
    rows, scheduler = schedule(moving, parallel=parallel, page_size=100)
    assert len(rows) == 20_000
    assert moving.requests <= 1.1 * 20_000 / 100 + scheduler.windows


@pytest.mark.parametrize("parallel", [1, 8, 16])
@pytest.mark.parametrize("records, days", [(5_000, 3), (20_000, 20), (20_000, 200)])
def test_lists_that_come_in_bursts_cost_at_most_a_tenth_more_and_a_few(records, days, parallel):
    over = []
    for seed in range(5):
        moving = MovingList(seed, records=0, days=days)
        chance = random.Random(seed)
        while len(moving.list) < records:
            second, span = chance.randrange(days * 86_400), math.exp(chance.uniform(1, 9))
            for _ in range(min(records - len(moving.list), chance.randrange(300, 5_000))):
                tick = min(days * 86_400_000_000 - 1, int((second + span * chance.random()) * 1e6))
                moment = timestamps.format_utc(START + dt.timedelta(microseconds=tick))
                moving.list.append((-tick, (moment, f"+1212{seed}{len(moving.list):06}", None)))
        moving.list.sort()
        rows, scheduler = schedule(moving, parallel=parallel)
        assert len(rows) == records
        # One for a last page that is not full, and one that shows where a window ends.
        over.append(moving.requests - 1.1 * math.ceil(records / 500) - 2 * scheduler.windows)
    # By one request, and two of the lists at the most, as answers happen to come.
    assert max(over) <= 1
    assert sum(more > 0.5 for more in over) <= 2


class PoolInRounds:
    """A pool whose requests are all answered at once, when no more can be in flight: what takes time, counted."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.cancel_token = CancelToken()
        self.rounds = 0

    @contextlib.contextmanager
    def running(self, next_task):
        self.next_task = next_task
        yield

    def locked(self):
        return contextlib.nullcontext()

    def wait_for(self, is_so):
        while not is_so():
            tasks = []
            while len(tasks) < self.size and (task := self.next_task()):
                tasks.append(task)
            for call, on_done in tasks:
                answer: Future = Future()
                answer.set_result(call())
                on_done(answer)
            self.rounds += 1


def schedule_in_rounds(moving: MovingList, size: int) -> tuple[WindowScheduler, PoolInRounds]:
    plan = Planner(START, None, today=DAY + dt.timedelta(days=moving.days - 1), widest=30)
    pool = PoolInRounds(size)
    return WindowScheduler(
        plan, lambda d, o, n, w: moving.answer(d, o, n), identify=identify, page_size=500, largest=500, pool=pool
    ), pool


@pytest.mark.parametrize("days, records, most", [(70, 30_000, 8), (100, 40_000, 9), (200, 30_000, 7)])
def test_little_time_passes_with_threads_that_find_nothing_to_do(days, records, most):
    """The fewest possible are 4, 5 and 4; in the first ones there is no telling how much there
    is, and the last proves the end."""
    moving = MovingList(1, records=records, days=days)
    scheduler, pool = schedule_in_rounds(moving, 16)
    assert sum(len(rows) for rows, _ in scheduler) == records
    assert pool.rounds <= most
    assert moving.requests <= 1.1 * records / 500 + scheduler.windows


def test_what_is_given_next_is_asked_for_before_what_lies_behind_it():
    scheduler, pool = schedule_in_rounds(MovingList(1, records=60_000, days=100), 4)
    given = dict.fromkeys(pool.rounds for rows, _ in scheduler if rows)
    # The first window has three pages, and the others some 36 each.
    assert list(given)[:2] == [4, 13]


@pytest.mark.parametrize("end_included", [False, True])
@pytest.mark.parametrize("overshoot", [dt.timedelta(seconds=1), dt.timedelta(hours=8), dt.timedelta(days=900)])
def test_nothing_is_lost_and_it_ends_however_braze_reads_the_end_date(overshoot, end_included):
    # A record each hour, one of them in the first second of each day.
    moving = MovingList(3, records=2_000, days=20, instants=20 * 24, end_included=end_included, overshoot=overshoot)
    rows, _ = schedule(moving, window_days=4, page_size=50, parallel=4)
    assert_true_to(moving, rows)
    assert moving.requests < 10 * 2_000 / 50


def test_a_range_of_one_instant_and_an_empty_one_need_no_more_than_their_days():
    moving = MovingList(1, records=10)
    assert schedule(moving, since=START, until=START)[0] == []
    assert moving.requests == 0
    schedule(moving, since=START, until=START + dt.timedelta(microseconds=1))
    assert moving.requests == 2


def test_quiet_stretches_take_the_widest_window():
    moving = MovingList(1, records=0, days=365)
    _, scheduler = schedule(moving, window_days=90)
    assert scheduler.windows <= 2 + 365 // 90 + 1


def test_a_failure_is_raised_only_after_all_that_lies_before_it():
    moving = MovingList(2, records=2_000, days=100)
    bad = (DAY + dt.timedelta(days=60)).isoformat()

    def fetch(dates, offset, limit, where):
        if dates[1] > bad:
            raise ValueError(where)
        return moving.answer(dates, offset, limit)

    plan = Planner(START, None, today=DAY + dt.timedelta(days=99), widest=7)
    scheduler = WindowScheduler(
        plan, fetch, identify=identify, page_size=500, largest=500, pool=WorkerPool(16, CancelToken())
    )
    rows: list[Row] = []
    reached: list[str] = []
    stretches = iter(scheduler)

    def read_on():
        for part, instant in stretches:
            rows.extend(part)
            reached.append(instant)

    with pytest.raises(ValueError, match=r"window .* offset 0"):
        read_on()
    assert {row for row in moving.rows if row[0] < reached[-1]} == set(rows)
    assert reached == sorted(reached)
    assert reached[-1] > timestamps.midnight(DAY + dt.timedelta(days=50))


def test_no_thread_is_left_when_the_scheduler_is_closed_early():
    moving = MovingList(2, records=5_000, days=100)
    plan = Planner(START, None, today=DAY + dt.timedelta(days=99), widest=7)
    scheduler = iter(
        WindowScheduler(
            plan,
            lambda d, o, n, w: moving.answer(d, o, n),
            identify=identify,
            page_size=50,
            largest=500,
            pool=WorkerPool(16, CancelToken()),
        )
    )
    next(scheduler)
    scheduler.close()
    pool = [thread for thread in threading.enumerate() if thread.name.startswith("braze-request")]
    for thread in pool:
        thread.join(10)
    assert not any(thread.is_alive() for thread in pool)


def test_windows_that_wait_for_an_earlier_one_are_not_read_to_their_end():
    # Quiet days first, so that many wide windows are begun at once, then busy ones.
    moving = MovingList(3, records=20_000, days=120)
    moving.list = [(age, row) for age, row in moving.list if row[0] >= timestamps.midnight(DAY + dt.timedelta(days=4))]
    plan = Planner(START, None, today=DAY + dt.timedelta(days=119), widest=30)
    pool = WorkerPool(4, CancelToken())
    scheduler = WindowScheduler(
        plan, lambda d, o, n, w: moving.answer(d, o, n), identify=identify, page_size=50, largest=500, pool=pool
    )
    next(rows for rows, _ in scheduler if rows)
    first_window = sum(row[0] < timestamps.midnight(DAY + dt.timedelta(days=32)) for row in moving.rows)
    # And a page or two of each that were in flight.
    assert moving.requests <= 1.1 * first_window / 50 + 4 * (PAGES_AHEAD + 2)
