"""Runs on a Braze that does not bear as many requests at once as it could be asked (promise 22)."""

from __future__ import annotations

import pytest

from braze_simulator import seeded
from support.runs import assert_exact, config_for


@pytest.fixture
def busy(simulator):
    """Settings for a run with many requests, each of which takes its time."""
    entries = seeded(600, days=30)
    simulator.add(entries)
    simulator.behaviour.latency = 0.02
    start = f"{entries[0].detected_at:%Y-%m-%d}"
    return config_for(simulator, start_date=start, window_days=1, page_size=20), entries


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["503", "reset", "hang"])
@pytest.mark.parametrize("bears", [1, 2])
def test_a_run_on_an_overloaded_braze_is_exact(command, simulator, busy, bears, how):
    config, entries = busy
    simulator.behaviour.fails_above = bears
    simulator.behaviour.fails_above_with = how
    run = command("tap-braze-sms", config=config | {"request_timeout": 0.3})
    assert run.code == 0, run.log
    assert_exact(run, entries)
    assert "Braze has trouble with so many requests at once: making " in run.log


def test_two_tries_are_enough_where_the_last_is_made_alone(command, simulator, busy):
    config, entries = busy
    simulator.behaviour.fails_above = 1
    run = command("tap-braze-sms", config=config | {"max_attempts": 2})
    assert run.code == 0, run.log
    assert_exact(run, entries)


def test_a_braze_that_goes_down_ends_the_run_after_the_usual_tries(command, simulator, busy):
    config, entries = busy
    process = command.start("tap-braze-sms", config=config | {"max_attempts": 3, "window_days": 1})
    out = b"".join(process.stdout.readline() for _ in range(30))
    simulator.behaviour.down = True
    run = process.finish(out)
    assert run.code == 75
    (error,) = run.errors
    assert "3 times in a row; nothing is lost" in error
    assert len(run.records) < len(entries)
    # Eight at once, then one for all.
    assert sum(request.status == "down" for request in simulator.requests) <= 8 * 3


def test_a_signal_ends_a_run_that_waits_for_its_turn(command, simulator, busy):
    config, _ = busy
    simulator.behaviour.fail_next = ["slow"]
    simulator.behaviour.fault_kinds, simulator.behaviour.fault_rate = ("hang",), 1.0
    process = command.start("tap-braze-sms", config=config | {"request_timeout": 0.3})
    process.until(lambda: "Braze has trouble" in process.log)
    process.send(15)
    assert process.wait(5) == 143
