"""The whole tap over real HTTP while the list moves and answers fail (promises 1 to 4, 9, 13)."""

from __future__ import annotations

import datetime as dt

import pytest

from braze_simulator import Entry, Simulator, seeded, spell
from support.commands import bookmark_of
from support.runs import KEY, assert_true, config_for, key_of, keys_of, run_here


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("parallel", [1, 16])
def test_nothing_is_lost_while_numbers_leave_arrive_and_change_places(seed, parallel):
    before = seeded(12_000, days=90, burst_share=0.5, ties=0.2, seed=seed)
    moves = {
        "removals_per_page": 0.4,
        "insertions_per_page": 0.4,
        "late_insertions_per_page": 0.2,
        "shuffle_ties": True,
        "end_inclusive": bool(seed % 2),
    }
    with Simulator(before, api_key=KEY, seed=seed, **moves) as serving:
        run = run_here(config_for(serving, start_date="2026-01-01", page_size=100, max_parallel_requests=parallel))
        assert_true(serving, before, run.records)
        assert len(serving.removed) > 20
        assert len(serving.added) > 20


@pytest.mark.parametrize("seed", range(3))
def test_a_live_day_with_constant_insertions_is_read_truly_and_followed_by_the_next_run(seed):
    today = dt.datetime.now(dt.timezone.utc)
    before = seeded(8_000, days=1, until=today, ties=0.1, seed=seed)
    with Simulator(before, api_key=KEY, seed=seed, insertions_per_page=3.0, removals_per_page=0.4) as serving:
        config = config_for(serving, start_date=(today - dt.timedelta(days=2)).isoformat(), page_size=100)
        first = run_here(config)
        assert_true(serving, before, first.records)
        serving.behaviour.insertions_per_page = serving.behaviour.removals_per_page = 0.0
        second = run_here(config, state=first.state)
        listed = {key_of(entry) for entry in serving.entries()}
        assert listed <= set(keys_of(first.records)) | set(keys_of(second.records))


def test_one_answer_in_eight_faulty_while_the_list_moves_changes_nothing():
    before = seeded(10_000, days=60, ties=0.1)
    with Simulator(before, api_key=KEY, fault_rate=0.125, removals_per_page=0.4, shuffle_ties=True) as serving:
        run = run_here(config_for(serving, start_date="2026-01-01", page_size=50, max_parallel_requests=16))
        assert_true(serving, before, run.records)
        assert len({request.status for request in serving.requests}) > 5


def test_a_carriers_list_larger_than_a_page_at_one_instant_is_read_whole(simulator):
    when = dt.datetime(2026, 3, 1, 2, 0, tzinfo=dt.timezone.utc)
    burst = [Entry(f"+1212555{n:04}", when, "deactivated", spell(when)) for n in range(3_000)]
    simulator.add(burst)
    simulator.behaviour.shuffle_ties = True
    run = run_here(config_for(simulator, start_date="2026-02-01", max_parallel_requests=4))
    assert sorted(keys_of(run.records)) == sorted(map(key_of, burst))


def test_a_number_detected_again_is_a_second_record(simulator):
    first = dt.datetime(2026, 3, 1, 4, 5, 6, tzinfo=dt.timezone.utc)
    again = first + dt.timedelta(days=9)
    simulator.add(
        [Entry("+12125550100", first, "deactivated", spell(first)), Entry("12125550100", again, None, spell(again))]
    )
    assert len(run_here(config_for(simulator)).records) == 2


def test_state_is_as_small_after_ten_years_as_after_a_day():
    with Simulator(seeded(5_000, days=3_650), api_key=KEY) as serving:
        old = run_here(config_for(serving, start_date="2016-01-01"))
        new = run_here(config_for(serving, start_date=dt.datetime.now(dt.timezone.utc).date().isoformat()))
    sizes = {len(line) for line in [*old.out.splitlines(), *new.out.splitlines()] if b'"STATE"' in line}
    assert len(sizes) == 1


def test_a_quiet_year_is_not_read_again(simulator):
    run = run_here(config_for(simulator, start_date="2020-01-01"))
    assert bookmark_of(run.state) is not None
    simulator.requests.clear()
    run_here(config_for(simulator, start_date="2020-01-01"), state=run.state)
    assert len(simulator.requests) <= 2
