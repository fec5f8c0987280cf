"""Whole readings in virtual time, each drawn from a seed, and small lists with every few changes (promises 1 to 22)."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t

import pytest
from conftest import ROOT

from simulation.exhaustive import Exhaustive
from simulation.run import main
from simulation.scenario import Scenario
from simulation.trial import Outcome, simulate
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
    assert main(["--seeds", "100", "--from", "0"]) == 1
    assert "make simulate ARGS='--seed " in capsys.readouterr().out


@pytest.mark.parametrize("entries, changes", [(5, 1), (3, 2), (1, 3)])
def test_small_lists_are_read_truly_whatever_few_changes_come_between_any_two_answers(entries, changes):
    exhaustive = Exhaustive(changes=changes)
    for count in range(entries + 1):
        exhaustive.follow_all(count)
    assert sorted(exhaustive.result.lost, key=len)[:3] == []
    assert exhaustive.result.states > 500
    # A record that moves to exactly where another has left, in an instant that no page can hold.
    assert exhaustive.result.unprovable < 10


def test_following_small_lists_finds_a_bug_put_in_on_purpose(monkeypatch):
    believe_every_boundary(monkeypatch)
    assert any("lost of" in lost for lost in Exhaustive(changes=1).follow_all(3).lost)


def test_a_scenario_says_what_is_special_about_it():
    assert str(Scenario(seed=7, cap=9)) == "seed=7, cap=9"
