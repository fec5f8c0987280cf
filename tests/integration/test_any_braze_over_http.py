"""The whole tap over real HTTP on any Braze, whatever its documents leave open (promises 1, 2, 7, 17, 18, 19, 21)."""

from __future__ import annotations

import datetime as dt
import typing as t

import pytest

from braze_simulator import Entry, Simulator, seeded, spell
from support.runs import KEY, assert_exact, assert_true, config_for, run_here
from tap_braze_sms.braze import client

#: In one answer each, numbers leave at this rate where a list moves.
LEAVING = 0.3

#: CASES.md's kinds of a Braze that differs in how it tells its list, by name.
VARIATIONS: dict[str, dict[str, t.Any]] = {
    "offset=0 is refused": {"refuse_zero_offset": True},
    "100 an answer": {"page_cap": 100},
    "250 an answer": {"page_cap": 250},
    "100 an answer, half of them fewer": {"page_cap": 100, "page_cap_spread": 0.5},
    "0.4 s off": {"delay_seconds": 0.4},
    "90 s off": {"delay_seconds": 90.0},
    "3 h off": {"delay_seconds": 10_800.0},
    "by the minute": {"order": "minute"},
    "by the hour": {"order": "hour"},
    "by the day": {"order": "day"},
    "ascending": {"order": "ascending"},
    "by number": {"order": "number"},
    "random": {"order": "random"},
    "ranges of 7 days": {"max_range_days": 7},
    "end_date counts": {"end_inclusive": True},
    "two servers": {"replicas": 2, "shuffle_ties": False},
}


@pytest.mark.parametrize("faults", [0.0, 0.1])
@pytest.mark.parametrize("variation", VARIATIONS)
def test_any_braze_is_read_whole_over_http(variation, faults, monkeypatch):
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)
    before = seeded(3_000, days=120, burst_share=0.4 * (variation == "by number"), ties=0.1)
    with Simulator(before, api_key=KEY, fault_rate=faults, **VARIATIONS[variation]) as serving:
        assert_exact(run_here(config_for(serving, start_date="2020-01-01")), before)


@pytest.mark.parametrize("variation", VARIATIONS)
def test_any_braze_is_read_whole_over_http_while_numbers_leave(variation):
    before = seeded(3_000, days=120, ties=0.1)
    with Simulator(before, api_key=KEY, removals_per_page=LEAVING, **VARIATIONS[variation]) as serving:
        run = run_here(config_for(serving, start_date="2020-01-01"))
        assert_true(serving, before, run.records)


@pytest.mark.parametrize(
    "variation", [name for name in VARIATIONS if name not in {"by the day", "ascending", "by number", "random"}]
)
def test_a_second_run_with_nothing_new_makes_two_requests_wherever_the_list_is_in_order(variation):
    # A few records a day, the last some days ago.
    before = seeded(600, days=120, until=dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=9))
    with Simulator(before, api_key=KEY, **VARIATIONS[variation]) as serving:
        first = run_here(config_for(serving, start_date="2020-01-01"))
        serving.requests.clear()
        second = run_here(config_for(serving, start_date="2020-01-01"), state=first.state)
        assert second.records == []
        assert len(serving.requests) <= 2


def test_entries_that_stand_twice_in_a_large_instant_are_one_record_each():
    when = dt.datetime(2026, 3, 1, 2, tzinfo=dt.timezone.utc)
    listed = [Entry(f"+1212555{n:04}", when, "deactivated", spell(when)) for n in range(1_300)]
    again = [listed[3], listed[700], listed[1_200], listed[9]._replace(phone=listed[9].phone.lstrip("+"))]
    with Simulator([*listed, *again], api_key=KEY) as serving:
        run = run_here(config_for(serving, start_date="2026-02-01"))
    assert {record["phone"].lstrip("+") for record in run.records} == {entry.phone.lstrip("+") for entry in listed}
    assert len(run.records) == len(listed)


@pytest.mark.parametrize("leaves", range(1, 6))
def test_of_101_entries_in_answers_of_100_none_is_lost_when_one_leaves_between_two_requests(leaves):
    before = seeded(101, days=1, ties=0.0)
    with Simulator(before, api_key=KEY, page_cap=100, seed=leaves, removals_per_page=0.5) as serving:
        run = run_here(config_for(serving, start_date="2026-01-01", max_parallel_requests=1))
        assert_true(serving, before, run.records)
