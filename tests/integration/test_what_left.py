"""What was read, and older days read again: how a warehouse knows what left the list (promises 28 and 29)."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from braze_simulator import Simulator, seeded
from support.runs import KEY, assert_exact, config_for, fixed, rows_of, state_of

NAME, STREAM, WINDOWS = "tap-braze-sms", "invalid_phone_numbers", "read_windows"
DAYS = 40
UNTIL = dt.datetime.now(dt.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def braze():
    with Simulator(seeded(900, days=DAYS, until=UNTIL, burst_share=0.3), api_key=KEY) as serving:
        yield serving


@pytest.fixture
def config(braze):
    return config_for(
        braze, start_date=f"{UNTIL - dt.timedelta(days=DAYS):%Y-%m-%d}", page_size=50, window_days=7, read_windows=True
    )


def of(run, stream):
    return [message["record"] for message in run.of("RECORD") if message["stream"] == stream]


def test_each_window_that_was_read_is_told_with_its_bounds_and_what_it_held(command, braze, config):
    before = dt.datetime.now(dt.timezone.utc)
    run = command(NAME, config=config)
    assert run.code == 0, run.log
    told = of(run, WINDOWS)
    assert [row["first_day"] for row in told] == sorted(row["first_day"] for row in told)
    # They touch, from the first day to now; each says how many records were emitted of it.
    assert told[0]["detected_from"] == fixed(UNTIL - dt.timedelta(days=DAYS))
    assert [row["detected_before"] for row in told[:-1]] == [row["detected_from"] for row in told[1:]]
    assert told[-1]["detected_before"] == told[-1]["read_at"] >= fixed(before)
    moments = [record["invalid_detected_at"] for record in of(run, STREAM)]
    for row in told:
        assert row["records"] == sum(row["detected_from"] <= at < row["detected_before"] for at in moments)
        assert row["proven_by"] == "time"
    assert sum(row["records"] for row in told) == len(braze.entries())
    assert sum(row["requests"] for row in told) == len(braze.requests)
    # None is told of before all its records are out.
    order = [message["stream"] for message in run.of("RECORD")]
    for row in told:
        (at,) = (i for i, message in enumerate(run.of("RECORD")) if message["record"] == row)
        assert order[:at].count(STREAM) == sum(moment < row["detected_before"] for moment in moments)


def test_a_list_in_no_order_is_told_to_be_proven_by_passes(command, braze, config):
    braze.behaviour.change({"order": "number"})
    run = command(NAME, config=config)
    assert run.code == 0, run.log
    assert "passes" in {row["proven_by"] for row in of(run, WINDOWS)}
    assert {row["proven_by"] for row in of(run, WINDOWS)} <= {"time", "passes"}


def test_they_are_told_of_only_where_a_setting_asks_for_them(command, config, braze):
    config["read_windows"] = False
    catalog = json.loads(command.text(NAME, "--discover", config=config).stdout)
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            entry["metadata"]["selected"] = True  # as Meltano does
    run = command(NAME, config=config, catalog=catalog)
    assert {message["stream"] for message in run.of("SCHEMA")} == {STREAM}
    assert_exact(run, braze.entries())
    test = command.text(NAME, "--test", config=config)
    assert test.returncode == 0
    # The SDK tells the schemas of all streams there, and a record of those that it tries.
    assert '"stream":"read_windows","record"' not in test.stdout


@pytest.mark.parametrize("method", ["INCREMENTAL", "FULL_TABLE"])
def test_no_loader_takes_away_what_earlier_runs_have_told(command, config, method):
    config["emit_activate_version_messages"] = True
    catalog = json.loads(command.text(NAME, "--discover", config=config).stdout)
    for stream in catalog["streams"]:
        stream["replication_method"] = method
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    assert of(run, WINDOWS)
    assert [message["stream"] for message in run.of("ACTIVATE_VERSION")] == [STREAM] * (method == "FULL_TABLE")


def test_alone_they_say_that_nothing_was_read(command, config):
    catalog = json.loads(command.text(NAME, "--discover", config=config).stdout)
    for stream in catalog["streams"]:
        (root,) = (entry["metadata"] for entry in stream["metadata"] if not entry["breadcrumb"])
        root["selected"] = stream["stream"] == WINDOWS
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    assert run.records == []
    assert "No window of invalid_phone_numbers was read: is that stream selected?" in run.log


def test_a_run_that_fails_has_told_of_what_it_completed(command, braze, config):
    braze.behaviour.change({"fail_next": ["403"]})
    assert of(command(NAME, config=config), WINDOWS) == []
    braze.behaviour.change({"latency": 0.02})
    slowly = config | {"max_parallel_requests": 1, "window_days": 1}
    run = command.start(NAME, config=slowly)
    run.until(lambda: len(braze.requests) > 25)
    braze.behaviour.change({"fault_rate": 1.0, "fault_kinds": ["403"]})
    failed = run.finish()
    assert failed.code == 77
    told = of(failed, WINDOWS)
    assert told
    emitted = [record["invalid_detected_at"] for record in of(failed, STREAM)]
    assert sum(row["records"] for row in told) == len(emitted)
    assert failed.bookmark >= told[-1]["detected_before"]


def test_days_are_read_again_in_turn_before_what_is_new_and_the_bookmark_only_goes_on(command, braze, config):
    config |= {"reread_days": 15}
    first = command(NAME, config=config)
    assert len(of(first, STREAM)) == len(braze.entries())
    # A first run has read everything just now.
    assert "again" not in first.log
    state, found = first.state, {}
    for turn in range(3):
        gone = braze.remove_any(20)
        run = command(NAME, config=config, state=state)
        assert run.code == 0, run.log
        begin = UNTIL - dt.timedelta(days=DAYS) + dt.timedelta(days=15 * turn)
        since = min(fixed(UNTIL), fixed(begin + dt.timedelta(days=15)))
        rows = [row for row in rows_of(of(run, STREAM)) if row[0] < since]
        listed = sorted((fixed(e.detected_at), e.phone, e.reason or "") for e in braze.entries())
        assert sorted(rows) == [row for row in listed if fixed(begin) <= row[0] < since]
        moments = [record["invalid_detected_at"] for record in of(run, STREAM)]
        assert moments == sorted(moments)
        assert len(rows_of(of(run, STREAM))) == len(set(rows_of(of(run, STREAM))))
        assert of(run, WINDOWS)[0]["detected_from"] == fixed(begin)
        kept = run.state["bookmarks"][STREAM]
        assert kept["replication_key_value"] >= state["bookmarks"][STREAM]["replication_key_value"]
        place = f"{begin + dt.timedelta(days=15):%Y-%m-%d}" if turn < 2 else None
        assert kept.get("reread_from") == place
        # What left before this turn, of the days that it read, is told by their not being there.
        found |= {(fixed(entry.detected_at), entry.phone): begin for entry in gone}
        state = run.state
    assert len(found) == 60


def test_a_run_whose_time_is_over_goes_on_with_the_days_it_left(command, braze, config):
    first = command(NAME, config=config)
    bounded = config | {"reread_days": 30, "max_run_minutes": 0.00001}
    run = command(NAME, config=bounded, state=first.state)
    assert run.code == 0, run.log
    place = run.state["bookmarks"][STREAM]["reread_from"]
    assert f"{UNTIL - dt.timedelta(days=DAYS):%Y-%m-%d}" < place < f"{UNTIL - dt.timedelta(days=DAYS - 30):%Y-%m-%d}"
    following = command(NAME, config=bounded | {"max_run_minutes": 5}, state=run.state)
    assert of(following, WINDOWS)[0]["first_day"] == place


def test_a_full_table_reads_nothing_again(command, braze, config):
    catalog = json.loads(command.text(NAME, "--discover", config=config).stdout)
    for stream in catalog["streams"]:
        stream["replication_method"] = "FULL_TABLE"
    settings = config | {"reread_days": 15, "read_windows": False}
    for _ in range(2):
        run = command(NAME, config=settings, catalog=catalog, state=state_of(fixed(UNTIL)))
        assert_exact(run, braze.entries())
