"""Whole readings in virtual time, each drawn from a seed, and small lists with every few changes (promises 1 to 22)."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import subprocess
import sys
import typing as t

import pytest

from simulation.exhaustive import Exhaustive, Result, small_lists
from simulation.run import main
from simulation.scenario import Scenario
from simulation.trial import Outcome, Trial, simulate
from support.paths import ROOT
from tap_braze_sms.reading import page as page_module
from tap_braze_sms.reading import repairs, window_reader
from tap_braze_sms.reading.list_end import ListEnd

#: Seeds of each test, and within how many of them a bug has to be found.
SEEDS, FOUND_WITHIN = 60, 300


def first_failure(seeds: t.Iterable[int]) -> Outcome:
    outcome = next(filter(lambda outcome: outcome.problem, map(simulate, seeds)), None)
    assert outcome is not None, "the bug was not found"
    return outcome


@pytest.mark.parametrize("first", range(0, 8 * SEEDS, SEEDS))
def test_nothing_is_lost_or_doubled_and_it_ends_whatever_a_seed_draws(first):
    problems = [str(outcome) for outcome in map(simulate, range(first, first + SEEDS)) if outcome.problem]
    assert problems == []


def test_most_seeds_have_to_end_without_an_error():
    outcomes = [simulate(seed) for seed in range(1_000, 1_000 + SEEDS)]
    assert sum(bool(outcome.excuse) for outcome in outcomes) < SEEDS // 8
    # And not as there was nothing to read, or all stood still.
    assert sum(outcome.rows > 20 for outcome in outcomes) > SEEDS // 3
    assert sum(outcome.changes > 2 for outcome in outcomes) > SEEDS // 4
    assert sum(outcome.in_passes > 0 for outcome in outcomes) > SEEDS // 20


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_replays_byte_for_byte_in_any_process(hash_seed):
    here: list[str] = []
    for seed in range(20):
        simulate(seed, here.append)
    code = "import sys; from simulation.trial import simulate; [simulate(seed, print) for seed in range(20)]"
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    there = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=True
    )
    assert len(here) > 200
    assert there.stdout.decode().splitlines() == here


#: What seeds found, each once a broken promise.
FOUND = {
    "a day is asked for alone, though another one with the day before was refused first": Scenario(
        seed=30, days=2, records=160, max_days=1, parallel=8, page_size=50, largest=50, window_records=1_200
    ),
    "a window that is being given on asks for nothing more, and is not begun anew": Scenario(
        seed=23_237,
        records=98,
        days=10,
        instants=100,
        cap=31,
        end_included=True,
        max_offset=50,
        latency=0.02,
        jitter=1.0,
        parallel=16,
        page_size=20,
        largest=40,
        window_records=480,
        rate_limit_share=1.0,
        loader=60.0,
    ),
    "a page of the days before shows no end of what is wanted in an order that it does not show": Scenario(
        seed=85, records=400, days=10, burst=0.9, order="ascending", parallel=4, page_size=50, largest=50, since=0.65
    ),
    "passes end though answers are cut shorter than passes ask for": Scenario(
        seed=840, records=40, days=10, order="random", cap=14, largest=40, window_records=50, window_days=366
    ),
    "so do those over a tie that one answer would hold if it were not cut": Scenario(
        seed=11_513, records=28, days=1, instants=1, cap=20, page_size=20, largest=40, parallel=2
    ),
    "and those over one that is the whole list": Scenario(
        seed=1_542, records=14, days=60, instants=1, order="day", cap=10, page_size=20, largest=80, window_days=1
    ),
    "what begins far inside of what is held is no end": Scenario(
        seed=23_216,
        records=108,
        days=2,
        cap=8,
        spread=0.1,
        end_included=True,
        refuses_zero_offset=True,
        moves=0.5,
        kinds=("remove",),
        parallel=8,
        page_size=5,
        largest=20,
        window_records=120,
        window_days=1,
        loader=0.05,
    ),
}


@pytest.mark.parametrize("scenario", FOUND.values(), ids=FOUND)
def test_what_a_seed_once_found_stays_mended(scenario):
    assert Trial(scenario).run().problem == ""


@pytest.mark.parametrize("seed", range(3))
def test_a_list_that_ascends_is_no_list_in_order_by_time_but_for_some_minutes(seed):
    chance = random.Random(1)
    listed = [chance.randrange(86_400_000_000) for _ in range(10_000)]
    scenario = Scenario(
        seed=seed, records=0, days=1, order="ascending", moves=0.25, kinds=("remove",), parallel=8, page_size=250
    )
    outcome = Trial(dataclasses.replace(scenario, largest=250, window_records=12_000), listed=listed).run()
    assert not outcome.problem
    assert outcome.in_passes == 1


DAY = 86_400_000_000

#: How 8,000 entries lie in days.
SPREAD = {
    "over a year": (365, lambda chance: chance.randrange(365 * DAY)),
    "in bursts": (365, lambda chance: 9 * chance.randrange(40) * DAY + chance.randrange(DAY // 96)),
    "four fifths on one day": (
        365,
        lambda chance: 200 * DAY + chance.randrange(DAY) if chance.random() < 0.8 else chance.randrange(365 * DAY),
    ),
    "on six giant days": (6, lambda chance: chance.randrange(6 * DAY)),
}


def read_in_runs(days, draw, run_seconds, **different) -> Outcome:
    """Read a list of entries at 150 ms an answer, eight at once, in runs of so many seconds."""
    scenario = Scenario(
        seed=1, records=0, days=days, jitter=1.5, parallel=8, page_size=20, largest=20, window_records=480
    )
    chance = random.Random(1)
    different |= {"run_seconds": run_seconds}
    return Trial(dataclasses.replace(scenario, **different), listed=[draw(chance) for _ in range(8_000)]).run()


@pytest.mark.parametrize("spread", SPREAD.values(), ids=SPREAD)
def test_runs_of_a_second_read_all_together_and_hardly_more_than_one_run_does(spread):
    whole, parts = (read_in_runs(*spread, seconds) for seconds in (math.inf, 1.0))
    assert (whole.problem, parts.problem) == ("", "")
    assert whole.runs == 1
    assert parts.runs > 1
    assert parts.rows == whole.rows == 8_000
    assert parts.requests < 1.25 * whole.requests


def test_a_run_of_giant_days_goes_beyond_its_time_by_two_of_them_at_the_most():
    whole, parts = (read_in_runs(*SPREAD["on six giant days"], seconds) for seconds in (math.inf, 0.5))
    assert parts.runs >= 3
    assert parts.longest_run < 0.5 + 1.25 * 2 / 6 * whole.seconds


def test_a_run_whose_time_ends_in_a_pause_for_the_rate_limit_ends_before_it():
    # It is ten minutes past in the beginning, and the limit starts anew fifty minutes later. The first run ends before
    # that, the second waits for it, as every run completes a window, and is over its time then.
    outcome = read_in_runs(*SPREAD["over a year"], 1_800.0, rate_limit=300, rate_limit_share=1.0)
    assert outcome.problem == ""
    assert outcome.runs == 3
    assert 2_980 < outcome.longest_run < 3_010


def believe_every_short_answer(monkeypatch):
    monkeypatch.setattr(ListEnd, "add_page", _add_page_and_believe(ListEnd.add_page))


def _add_page_and_believe(add_page):
    def added(self, request, page, held):
        page = add_page(self, request, page, held)
        return self._ended(page) if page.count < page.limit else page

    return added


def believe_every_boundary(monkeypatch):
    monkeypatch.setattr(repairs, "unproven_times", lambda pages, order, since: [])


def take_a_page_twice(monkeypatch):
    def ascending_twice(pages, **options):
        for rows in page_module.ascending(pages, **options):
            yield rows
            if len(rows) > 5:
                yield rows[-1:]

    monkeypatch.setattr(window_reader, "ascending", ascending_twice)


def prove_every_tie(monkeypatch):
    monkeypatch.setattr(repairs.Tie, "proven", property(lambda self: True, lambda self, value: None), raising=False)


@pytest.mark.parametrize(
    "plant", [believe_every_short_answer, believe_every_boundary, take_a_page_twice, prove_every_tie]
)
def test_a_bug_put_in_on_purpose_is_found_and_its_seed_replays_it(monkeypatch, capsys, plant):
    plant(monkeypatch)
    found = first_failure(range(FOUND_WITHIN))
    again = simulate(found.scenario.seed)
    assert str(again) == str(found)
    assert main(["--seed", str(found.scenario.seed)]) == 1
    told = capsys.readouterr().out
    assert found.problem in told
    assert "Braze answers" in told
    monkeypatch.undo()
    assert not simulate(found.scenario.seed).problem


def test_the_command_line_names_the_seeds_that_failed(monkeypatch, capsys):
    assert main(["--seeds", "5", "--from", "0"]) == 0
    assert "5 as promised" in capsys.readouterr().out
    believe_every_boundary(monkeypatch)
    seed = first_failure(range(FOUND_WITHIN)).scenario.seed
    assert main(["--seeds", "1", "--from", str(seed)]) == 1
    assert f"make simulate ARGS='--seed {seed}'" in capsys.readouterr().out


@pytest.mark.parametrize("entries, changes", [(5, 1), (3, 2)])
def test_small_lists_are_read_truly_whatever_few_changes_come_between_any_two_answers(entries, changes):
    exhaustive, result = Exhaustive(changes=changes), Result()
    for count in range(entries + 1):
        for listed in small_lists(count):
            result.add(exhaustive.follow(listed))
    assert sorted(result.lost, key=len)[:3] == []
    assert result.states > 500
    # A record that moves to exactly where another has left, in an instant that no page can hold.
    assert result.unprovable < 10


def test_following_small_lists_finds_a_bug_put_in_on_purpose(monkeypatch):
    believe_every_boundary(monkeypatch)
    found = [lost for listed in small_lists(3) for lost in Exhaustive(changes=1).follow(listed).lost]
    assert any("lost of" in lost for lost in found)


def test_the_command_line_follows_small_lists_side_by_side(capsys):
    assert main(["--exhaustive", "--entries", "2", "--changes", "1"]) == 0
    lists = [line.split(", ", 1)[0] for line in capsys.readouterr().out.splitlines()]
    assert lists == [
        "up to 0 entries: 1 lists",
        "up to 1 entries: 2 lists",
        "up to 2 entries: 3 lists",
        "up to 2 entries: 4 lists",
    ]


def test_a_scenario_says_what_is_special_about_it():
    assert str(Scenario(seed=7, cap=9)) == "seed=7, cap=9"
