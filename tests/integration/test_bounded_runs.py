"""Runs that end by themselves after `max_run_minutes`: together they read all, and little twice (promise 26)."""

from __future__ import annotations

import datetime as dt
import json
import logging
import signal
import time
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braze_simulator import Simulator, seeded
from support.examples import examples
from support.runs import config_for, fixed, row_of, rows_of, run_here
from tap_braze_sms.tap import TapBrazeSMS

UNTIL = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)

#: Minutes that are over before anything is read: a run completes one window.
NO_TIME = 0.00001

LAST_WORDS = "max_run_minutes is over, the next run goes on from there"


def settings_for(simulator, entries, **settings):
    simulator.add(entries)
    return config_for(simulator, start_date=f"{entries[0].detected_at:%Y-%m-%d}", end_date=fixed(UNTIL), **settings)


def run_until_all_is_read(command, config, most=100):
    """Run again and again, each going on where the one before has ended; return the runs."""
    runs, state = [], None
    for _ in range(most):
        run = command("tap-braze-sms", config=config, **({"state": state} if state else {}))
        assert run.code == 0, run.log
        assert run.errors == []
        runs.append(run)
        state = run.state
        if LAST_WORDS not in run.log:
            return runs
    pytest.fail(f"not read after {most} runs")


def test_each_run_completes_a_window_says_how_far_it_came_and_the_next_goes_on_there(command, simulator):
    entries = seeded(400, days=7, until=UNTIL)
    config = settings_for(simulator, entries, max_run_minutes=NO_TIME)
    runs = run_until_all_is_read(command, config)
    assert len(runs) > 4
    for run in runs[:-1]:
        assert all(record["invalid_detected_at"] < run.bookmark for record in run.records)
        assert run.bookmark < fixed(UNTIL)
        assert run.bookmark.endswith("T00:00:00.000000+00:00")
        *_, last = run.logged("WARNING")
        assert last.startswith(f"Read {len(run.records)} record")
        assert f" and before {run.bookmark}: 1 window, " in last
        assert last.endswith(LAST_WORDS)
    assert runs[-1].logged("WARNING") == []
    assert runs[-1].bookmark == fixed(UNTIL)
    assert {row for run in runs for row in rows_of(run.records)} == set(map(row_of, entries))


@examples(20)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 600),
    days=st.integers(1, 60),
    burst_share=st.sampled_from([0.0, 0.8]),
    window_days=st.sampled_from([1, 7, 30]),
    page_size=st.sampled_from([10, 50, 500]),
    parallel=st.sampled_from([1, 8]),
    lookback=st.sampled_from([0, 60]),
    mapped=st.booleans(),
    limit=st.integers(1, 60),
)
def test_runs_of_any_length_read_everything_together(
    seed, count, days, burst_share, window_days, page_size, parallel, lookback, mapped, limit
):
    """Time is what is made of requests here: a minute each."""
    entries = seeded(count, days=days, until=UNTIL, seed=seed, burst_share=burst_share)
    with Simulator(entries, seed=seed) as simulator:
        config = config_for(
            simulator,
            start_date=(UNTIL - dt.timedelta(days=days)).isoformat(),
            end_date=fixed(UNTIL),
            window_days=window_days,
            page_size=page_size,
            lookback_minutes=lookback,
            max_parallel_requests=parallel,
            max_run_minutes=limit,
            **({"stream_maps": {"invalid_phone_numbers": {"source": "'Braze'"}}} if mapped else {}),
        )
        read, bookmark, state = set(), "", None
        while bookmark < fixed(UNTIL):
            before = len(simulator.requests)
            elapsed = mock.Mock(side_effect=lambda: 60 * (len(simulator.requests) - before))  # noqa: B023
            with mock.patch.object(TapBrazeSMS, "elapsed", elapsed):
                run = run_here(config, state=state)
            rows = rows_of(run.records)
            assert len(rows) == len(set(rows))
            # Again comes the lookback, and nothing else; and each run gets on.
            since = bookmark and fixed(dt.datetime.fromisoformat(bookmark) - dt.timedelta(minutes=lookback))
            assert all(row[0] >= since for row in rows)
            assert run.bookmark > bookmark
            read |= set(rows)
            bookmark, state = run.bookmark, run.state
        assert read == set(map(row_of, entries))


def half_past(simulator):
    """Have Braze's clock be far from the full hour, when the rate limit starts anew."""
    simulator.behaviour.clock_offset = 1_800 - time.time() % 3_600


def test_a_run_ends_rather_than_wait_for_a_rate_limit_beyond_its_time(command, simulator):
    entries = seeded(900, days=60, until=UNTIL)
    half_past(simulator)
    simulator.behaviour.rate_limit = 20
    config = settings_for(simulator, entries, window_days=2, max_run_minutes=5)
    run = command("tap-braze-sms", config=config)
    assert run.code == 0, run.log
    assert 0 < len(run.records) < 900
    *_, last = run.logged("WARNING")
    assert last.endswith(LAST_WORDS)
    assert f" and before {run.bookmark}: " in last
    # A window that was not complete is the next run's.
    assert all(record["invalid_detected_at"] < run.bookmark for record in run.records)
    simulator.behaviour.rate_limit = 250_000
    again = command("tap-braze-sms", config=config, state=run.state)
    assert again.code == 0
    assert again.logged("WARNING") == []
    assert set(rows_of(run.records)) | set(rows_of(again.records)) == set(map(row_of, entries))


def test_before_the_first_window_is_complete_a_rate_limit_is_waited_out_whatever_the_time(command, simulator):
    half_past(simulator)
    simulator.behaviour.rate_limit = 4
    config = settings_for(simulator, seeded(600, days=2, until=UNTIL), page_size=20, max_run_minutes=NO_TIME)
    process = command.start("tap-braze-sms", config=config)
    process.until(lambda: "pausing" in process.log)
    process.send(signal.SIGTERM)
    assert process.finish().code == 128 + signal.SIGTERM
    assert LAST_WORDS not in process.log


def test_a_run_that_is_done_in_time_is_as_any_other(command, simulator):
    entries = seeded(300, days=20, until=UNTIL)
    run = command("tap-braze-sms", config=settings_for(simulator, entries, max_run_minutes=60))
    assert run.code == 0
    assert run.logged("WARNING") == []
    assert run.bookmark == fixed(UNTIL)
    assert sorted(rows_of(run.records)) == sorted(map(row_of, entries))


def test_lookups_are_not_bounded(command, simulator):
    entries = seeded(300, days=20, until=UNTIL)
    config = settings_for(simulator, entries, window_days=2, max_run_minutes=NO_TIME)
    run = command("tap-braze-sms", config=config | {"phone_numbers": [entry.phone for entry in entries]})
    assert run.code == 0
    looked_up = [message for message in run.of("RECORD") if message["stream"] == "phone_number_status"]
    assert len(looked_up) == 300
    assert len(run.records) < 600


def test_a_full_table_has_no_bookmark_and_is_not_bounded(command, simulator):
    config = settings_for(simulator, seeded(10, days=2, until=UNTIL), max_run_minutes=5)
    catalog = json.loads(command.text("tap-braze-sms", "--discover", config=config).stdout)
    for stream in catalog["streams"]:
        stream["replication_method"] = "FULL_TABLE"
    run = command("tap-braze-sms", config=config, catalog=catalog)
    assert (run.code, run.out) == (78, b"")
    (error,) = run.errors
    assert error.startswith("max_run_minutes: got 5 for invalid_phone_numbers, FULL_TABLE, which keeps no bookmark")
    assert simulator.requests == []


def test_the_time_is_counted_from_the_beginning_of_the_process(monkeypatch, caplog):
    with Simulator(seeded(60, days=20, until=UNTIL)) as simulator:
        config = config_for(simulator, start_date="2026-02-01", end_date=fixed(UNTIL), window_days=2)
        monkeypatch.setattr("tap_braze_sms.singer.plugin.STARTED", time.monotonic() - 3_600)
        with caplog.at_level(logging.WARNING):
            assert run_here(config | {"max_run_minutes": 61}).bookmark == fixed(UNTIL)
            assert LAST_WORDS not in caplog.text
            assert run_here(config | {"max_run_minutes": 59}).bookmark < fixed(UNTIL)
            assert LAST_WORDS in caplog.text
