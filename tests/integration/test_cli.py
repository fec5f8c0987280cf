"""The tap as it is installed and called: every surface the SDK gives, and the state between runs."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from braze_simulator import Entry, Simulator, number, seeded, spell
from support.commands import Run, bookmark_of
from support.paths import BIN, ROOT
from support.runs import assert_exact, config_for, fixed, row_of, rows_of, run_here, state_of

if TYPE_CHECKING:
    from pathlib import Path

NAME = "tap-braze-sms"
STREAM = "invalid_phone_numbers"

UNTIL = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)
MINUTE = dt.timedelta(minutes=1)


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return seeded(900, days=40, until=UNTIL)


@pytest.fixture
def config(simulator, entries) -> dict:
    """Settings for a list that ends long ago, and is read whole."""
    simulator.add(entries)
    return config_for(simulator, start_date="2026-02-01", end_date="2026-03-02")


@pytest.fixture
def since(entries) -> list[Entry]:
    return [entry for entry in entries if entry.detected_at >= dt.datetime(2026, 2, 1, tzinfo=dt.timezone.utc)]


# Without a run


def installed(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """Call the command as a shell does."""
    return subprocess.run([BIN / NAME, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


def test_it_says_its_version():
    done = installed("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("tap-braze-sms v")
    assert "Meltano SDK v" in done.stdout


def test_it_helps(command):
    done = command.text(NAME, "--help")
    assert done.returncode == 0
    for option in ("--config", "--catalog", "--state", "--discover", "--about", "--test", "--version", "--format"):
        assert option in done.stdout


def test_it_tells_about_itself(command):
    done = command.text(NAME, "--about", "--format=json")
    about = json.loads(done.stdout)
    assert done.returncode == 0
    assert about["name"] == NAME
    assert {"api_key", "instance", "api_url", "start_date", "stream_maps"} <= set(about["settings"]["properties"])
    assert about["settings"]["properties"]["api_key"]["secret"] is True
    assert {"catalog", "state", "discover", "about", "stream-maps", "batch"} <= set(about["capabilities"])
    assert all(setting.get("description") for setting in about["settings"]["properties"].values())
    for options, expected in (([], "Name: tap-braze-sms"), (["--format=markdown"], "# `tap-braze-sms`")):
        done = command.text(NAME, "--about", *options)
        assert done.returncode == 0
        assert expected in done.stdout.replace("Name:         ", "Name: ")
        assert "api_key" in done.stdout


def discovered(command, **files: object) -> dict:
    done = command.text(NAME, "--discover", **files)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def entry_of(catalog: dict, stream: str = STREAM) -> dict:
    (entry,) = [entry for entry in catalog["streams"] if entry["tap_stream_id"] == stream]
    return entry


def metadata_of(entry: dict, *breadcrumb: str) -> dict:
    (found,) = [item["metadata"] for item in entry["metadata"] if item["breadcrumb"] == list(breadcrumb)]
    return found


@pytest.mark.parametrize("given", [{}, {"config": {"page_size": "wrong"}}, {"config": {}}])
def test_discovery_needs_no_configuration_and_no_request(command, simulator, given):
    entry = entry_of(discovered(command, **given))
    assert entry["key_properties"] == ["phone", "invalid_detected_at"]
    assert entry["replication_key"] == "invalid_detected_at"
    assert entry["replication_method"] == "INCREMENTAL"
    assert entry["schema"] == json.loads((ROOT / "schemas" / f"{STREAM}.json").read_text())
    assert metadata_of(entry)["selected"] is True
    for name, inclusion in (("phone", "automatic"), ("invalid_detected_at", "automatic"), ("reason", "available")):
        assert metadata_of(entry, "properties", name)["inclusion"] == inclusion


def test_a_connection_test_reads_one_record(command, simulator, config):
    run = command(NAME, "--test", config=config)
    assert run.code == 0, run.log
    assert [message["type"] for message in run.messages][:2] == ["SCHEMA", "RECORD"]
    assert len(run.records) == 1
    assert len(simulator.requests) <= 10


def test_a_connection_test_of_an_empty_list_succeeds(command, simulator):
    run = command(NAME, "--test", config=config_for(simulator, start_date="2026-02-01", end_date="2026-02-02"))
    assert run.code == 0, run.log
    assert run.records == []
    assert len(simulator.requests) == 1


def test_a_schema_test_writes_schemas_without_a_request(command, simulator, config):
    run = command(NAME, "--test=schema", config=config)
    assert run.code == 0, run.log
    assert STREAM in {message["stream"] for message in run.messages}
    assert {message["type"] for message in run.messages} == {"SCHEMA"}
    assert simulator.requests == []


# A year


@pytest.fixture(scope="module")
def year_of_entries() -> list[Entry]:
    return seeded(20_000, days=365, until=UNTIL, burst_share=0.1)


@pytest.fixture(scope="module")
def year(year_of_entries):
    """A year of 20,000 records, read as often as there are tests."""
    with Simulator(year_of_entries) as serving:
        yield serving


@pytest.mark.parametrize("end_inclusive", [False, True])
@pytest.mark.parametrize("window_days", [1, 7, 30])
def test_a_year_is_read_exactly(command, year, year_of_entries, window_days, end_inclusive):
    year.behaviour.end_inclusive = end_inclusive
    start, end = UNTIL - dt.timedelta(days=365), UNTIL
    # Small pages, so that windows of a week have several.
    config = config_for(year, start_date=start.isoformat(), end_date=end.isoformat(), page_size=200)
    config["window_days"] = window_days
    run = command(NAME, config=config)
    assert run.code == 0, run.log
    assert_exact(run, year_of_entries)
    assert {len(record["invalid_detected_at"]) for record in run.records} == {32}
    assert [message["type"] for message in run.messages][:2] == ["SCHEMA", "RECORD"]
    assert run.messages[-1]["type"] == "STATE"
    assert run.bookmark == fixed(UNTIL)


# State between runs


def test_a_second_run_reads_only_from_the_bookmark_less_the_lookback(command, simulator, config, entries):
    first = command(NAME, config=config | {"end_date": "2026-02-20"})
    assert first.bookmark == "2026-02-20T00:00:00.000000+00:00"
    simulator.requests.clear()
    second = command(NAME, config=config | {"lookback_minutes": 90}, state=first.state)
    assert second.code == 0, second.log
    begin = dt.datetime(2026, 2, 19, 22, 30, tzinfo=dt.timezone.utc)
    assert_exact(second, [entry for entry in entries if entry.detected_at >= begin])
    assert min(request.params["start_date"][0] for request in simulator.requests) == "2026-02-19"
    assert set(rows_of(first.records)) & set(rows_of(second.records)) == {
        row_of(entry) for entry in entries if begin <= entry.detected_at < begin + 90 * MINUTE
    }


def test_every_state_is_one_bookmark_and_never_goes_back(command, config):
    run = command(NAME, config=config | {"window_days": 1}, state=state_of("2026-02-10T00:00:00Z"))
    states = [message["value"] for message in run.of("STATE")]
    assert len(states) > 5
    for state in states:
        assert state["bookmarks"][STREAM].keys() == {"replication_key", "replication_key_value"}
        assert state["bookmarks"][STREAM]["replication_key"] == "invalid_detected_at"
    marks = [bookmark_of(state) for state in states][1:]
    assert marks == sorted(marks)
    assert run.bookmark == "2026-03-02T00:00:00.000000+00:00"


def test_what_lies_before_a_state_was_emitted_before_it(command, config, since):
    run = command(NAME, config=config | {"window_days": 1})
    emitted = set()
    for message in run.messages:
        if message["type"] == "RECORD":
            emitted |= set(rows_of([message["record"]]))
        elif mark := bookmark_of(message.get("value")):
            assert {row_of(entry) for entry in since if fixed(entry.detected_at) < mark} <= emitted


def test_a_run_that_completes_moves_the_bookmark_to_five_minutes_before_it_began(command, simulator):
    simulator.add(seeded(20, days=3))
    before = utc_now()
    run = command(NAME, config=config_for(simulator, start_date=f"{before - dt.timedelta(days=5):%Y-%m-%d}"))
    after = utc_now()
    assert run.code == 0, run.log
    bookmark = dt.datetime.fromisoformat(run.bookmark)
    assert before - 5 * MINUTE - dt.timedelta(milliseconds=1) <= bookmark <= after - 5 * MINUTE


def test_an_end_date_in_the_future_does_not_take_the_bookmark_there(command, simulator):
    simulator.add(seeded(20, days=3))
    now = utc_now()
    config = config_for(simulator, start_date=f"{now - dt.timedelta(days=5):%Y-%m-%d}", end_date="2999-01-01")
    run = command(NAME, config=config)
    assert run.code == 0, run.log
    assert len(run.records) == 20
    assert fixed(now - 6 * MINUTE) < run.bookmark <= fixed(utc_now() - 5 * MINUTE)


@pytest.mark.parametrize("ahead", [600, 3 * 3_600])
def test_the_bookmark_stays_in_the_past_where_brazes_clock_is_ahead(command, simulator, ahead):
    simulator.add(seeded(20, days=3))
    simulator.behaviour.clock_offset = ahead
    early = simulator.detect(5)
    config = config_for(simulator, start_date=f"{utc_now() - dt.timedelta(days=5):%Y-%m-%d}")
    tomorrow = (utc_now() + dt.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    state = None
    for _ in range(2):
        run = command(NAME, config=config, **({"state": state} if state else {}))
        assert run.code == 0, run.log
        # Each run has them, until the clock here has passed their times.
        expected = {row_of(entry) for entry in early if entry.detected_at < tomorrow}
        assert expected <= set(rows_of(run.records))
        marks = [bookmark_of(m["value"]) for m in run.of("STATE") if bookmark_of(m["value"])]
        assert max(marks) <= fixed(utc_now() - 5 * MINUTE)
        state = run.state


def test_a_run_with_nothing_new_makes_at_most_two_requests(command, simulator):
    old = utc_now() - dt.timedelta(days=380)
    simulator.add(seeded(50, days=5, until=old))
    config = config_for(simulator, start_date=f"{old - dt.timedelta(days=9):%Y-%m-%d}")
    state = command(NAME, config=config).state
    for _ in range(2):
        simulator.requests.clear()
        run = command(NAME, config=config, state=state)
        assert run.code == 0, run.log
        assert run.records == []
        assert 1 <= len(simulator.requests) <= 2
        state = run.state


def test_a_bounded_run_that_is_repeated_makes_at_most_two_requests(command, simulator, config):
    state = command(NAME, config=config).state
    simulator.requests.clear()
    again = command(NAME, config=config, state=state)
    assert again.code == 0, again.log
    assert again.records == []
    assert len(simulator.requests) <= 2
    assert again.state == state


def test_a_quiet_year_is_read_once_in_wide_windows_and_then_no_more(command, simulator):
    config = config_for(simulator, start_date="2020-01-01")
    state = state_of(fixed(utc_now() - dt.timedelta(days=365)))
    run = command(NAME, config=config, state=state)
    assert len(simulator.requests) <= 1 + 366 / 30 + 1
    simulator.requests.clear()
    command(NAME, config=config, state=run.state)
    assert len(simulator.requests) <= 2


def test_a_run_that_finds_ten_new_records_on_a_busy_day_reads_those_not_the_day(command, simulator):
    now = utc_now().replace(microsecond=0)
    busy = [now - 10 * MINUTE - i * dt.timedelta(seconds=7) for i in range(10_000)]
    simulator.add([Entry(f"+{number(i)}", moment, None, spell(moment)) for i, moment in enumerate(busy)])
    config = config_for(simulator, start_date=f"{now - dt.timedelta(days=3):%Y-%m-%d}", lookback_minutes=30)
    first = command(NAME, config=config)
    assert len(first.records) == 10_000
    new = simulator.detect(10, minutes=1)
    simulator.requests.clear()
    second = command(NAME, config=config, state=first.state)
    assert second.code == 0, second.log
    assert 1 <= len(simulator.requests) <= 2
    begin = fixed(dt.datetime.fromisoformat(first.bookmark) - 30 * MINUTE)
    expected = [entry for entry in simulator.entries() if fixed(entry.detected_at) >= begin]
    assert_exact(second, expected)
    assert {row_of(entry) for entry in new} <= set(rows_of(second.records))
    assert len(expected) < 10 + 31 * 60 / 7


def test_a_number_that_comes_back_is_a_second_event(command, simulator, config, entries):
    first = command(NAME, config=config)
    again = entries[-100]._replace(
        detected_at=UNTIL + 60 * MINUTE, spelled=spell(UNTIL + 60 * MINUTE), reason="deactivated"
    )
    simulator.remove([again.phone])
    simulator.add(again)
    second = command(NAME, config=config | {"end_date": "2026-03-05"}, state=state_of(fixed(UNTIL)))
    assert row_of(again) in rows_of(second.records)
    keys = Counter((r["phone"], r["invalid_detected_at"]) for r in first.records + second.records)
    assert sum(phone == again.phone for phone, _ in keys) == 2


# States that are not this tap's


BOOKMARK = {"replication_key": "invalid_detected_at", "replication_key_value": "2026-02-20T00:00:00Z"}


@pytest.mark.parametrize(
    "state, problem",
    [
        ({"bookmarks": []}, "it is not an object with bookmarks"),
        ({"bookmarks": None}, "it is not an object with bookmarks"),
        (
            {"type": "STATE", "value": {"bookmarks": {STREAM: BOOKMARK}}},
            "it is not an object with bookmarks",
        ),
        (
            {"singer_state": {"bookmarks": {STREAM: BOOKMARK}}},
            "it is not an object with bookmarks",
        ),
        ({"bookmarks": {STREAM: "2026-02-20"}}, f"the bookmark of {STREAM} is not an object"),
        ({"bookmarks": {STREAM: None}}, f"the bookmark of {STREAM} is not an object"),
        (
            {"bookmarks": {STREAM: {"partitions": [{"context": {"day": 1}, **BOOKMARK}]}}},
            f"{STREAM} is kept in partitions, which this tap never wrote or no longer writes",
        ),
        (
            {"bookmarks": {STREAM: BOOKMARK | {"replication_key": "updated_at"}}},
            f"{STREAM} has the replication key 'updated_at' instead of 'invalid_detected_at'",
        ),
        (
            {"bookmarks": {STREAM: BOOKMARK | {"replication_key_value": "last tuesday"}}},
            f"the bookmark of {STREAM} is not a time: 'last tuesday'",
        ),
        (
            {"bookmarks": {STREAM: BOOKMARK | {"replication_key_value": 1772337906}}},
            f"the bookmark of {STREAM} is not a time: 1772337906",
        ),
        (
            {"bookmarks": {STREAM: {"invalid_detected_at": "last tuesday"}}},
            f"the bookmark of {STREAM} is not a time: 'last tuesday'",
        ),
    ],
)
def test_a_state_that_could_only_be_misread_is_refused_in_one_line(command, simulator, config, state, problem):
    run = command(NAME, config=config, state=state)
    assert run.code == 78
    (error,) = run.errors
    assert error == (
        f"state: {problem}; give the state of an earlier run of this tap, or none to read everything from "
        "start_date (with Meltano: meltano state clear, or run --full-refresh)"
    )
    assert "Traceback" not in run.log
    assert run.out == b""
    assert simulator.requests == []


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"bookmarks": {}},
        {"bookmarks": {STREAM: {}}},
        {"bookmarks": {STREAM: {"replication_key_value": None}}},
        {"bookmarks": {"another_stream": {"replication_key": "id", "replication_key_value": 7}}},
        {"bookmarks": {STREAM: {"partitions": []}}},
    ],
)
def test_a_state_without_a_bookmark_is_a_first_run(simulator, config, since, state):
    run = run_here(config, state=state)
    assert_exact(run, since)
    assert run.bookmark == "2026-03-02T00:00:00.000000+00:00"


@pytest.mark.parametrize(
    "value",
    ["2026-02-20T00:00:00Z", "2026-02-20", "2026-02-20T02:00:00+02:00", "2026-02-20T00:00:00.000000+00:00"],
)
def test_a_bookmark_in_any_shape_of_a_time_is_understood(config, entries, value):
    run = run_here(config, state=state_of(value))
    begin = dt.datetime(2026, 2, 19, 23, tzinfo=dt.timezone.utc)
    assert_exact(run, [entry for entry in entries if entry.detected_at >= begin])
    assert {len(bookmark_of(message["value"])) for message in run.of("STATE")[1:]} == {32}


def test_a_bookmark_as_taps_wrote_it_before_the_sdk_is_taken_over(config, entries):
    run = run_here(config, state={"bookmarks": {STREAM: {"invalid_detected_at": "2026-02-20T00:00:00Z"}}})
    begin = dt.datetime(2026, 2, 19, 23, tzinfo=dt.timezone.utc)
    assert_exact(run, [entry for entry in entries if entry.detected_at >= begin])
    assert run.state["bookmarks"][STREAM].keys() == BOOKMARK.keys()


def test_a_state_of_other_streams_alone_is_told_not_to_count(command, config):
    run = command(NAME, config=config, state={"bookmarks": {"sms_invalid": BOOKMARK}})
    assert run.records == run_here(config).records
    assert f"The state has bookmarks of sms_invalid and none of {STREAM}, which is read from start_date" in run.log


def test_a_range_that_was_read_already_is_told(command, config):
    first = command(NAME, config=config)
    assert first.logged("WARNING") == []
    again = command(NAME, config=config, state=first.state)
    assert again.logged("WARNING") == []
    earlier = command(NAME, config=config | {"end_date": "2026-02-10"}, state=first.state)
    assert (earlier.code, earlier.records, earlier.state) == (0, [], first.state)
    (warning,) = earlier.logged("WARNING")
    assert warning.startswith("end_date 2026-02-10 is not after what was read already, up to 2026-03-01T23:00:00")


def test_a_stream_map_that_fails_on_every_record_is_told_in_one_line(command, config):
    maps = {STREAM: {"phone": "sha256({'a':'b'}['salt'] + phone)"}}
    run = command(NAME, config=config | {"stream_maps": maps})
    assert run.code == 78
    assert run.errors == ["stream_maps: sha256({…:…}[…] + phone) fails: KeyError"]
    assert "Traceback" not in run.log


def test_a_stream_map_that_fails_on_one_record_quotes_nothing_of_it(command, config, entries):
    last = entries[-1].phone.lstrip("+")
    maps = {STREAM: {"reason": f"1 / (0 if phone.replace('+', '') == '{last}' else 1)"}}
    run = command(NAME, config=config | {"stream_maps": maps})
    assert run.code == 78
    (error,) = run.errors
    assert error == "stream_maps: 1 / (0 if phone.replace(…, …) == … else 1) fails: ZeroDivisionError"
    assert last not in run.log
    assert "Traceback" not in run.log


def test_what_the_sdk_leaves_in_a_state_under_way_is_not_kept(config, entries):
    marks = {
        "starting_replication_value": "2020-01-01",
        "replication_key_signpost": "2026-02-25",
        "progress_markers": {"replication_key_value": "2026-02-27"},
    }
    run = run_here(config, state={"bookmarks": {STREAM: BOOKMARK | marks}})
    begin = dt.datetime(2026, 2, 19, 23, tzinfo=dt.timezone.utc)
    assert_exact(run, [entry for entry in entries if entry.detected_at >= begin])
    # The first STATE is the SDK's repetition of what it was given.
    for message in run.of("STATE")[1:]:
        assert message["value"]["bookmarks"][STREAM].keys() == {"replication_key", "replication_key_value"}


def test_a_bookmark_in_the_future_goes_back_to_now_and_says_so(command, simulator):
    simulator.add(seeded(20, days=3))
    detected = simulator.detect(3, minutes=2)
    config = config_for(simulator, start_date="2020-01-01")
    run = command(NAME, config=config, state=state_of("2999-01-01T00:00:00Z"))
    assert run.code == 0, run.log
    assert "The bookmark 2999-01-01T00:00:00Z lies in the future; going back to" in run.log
    assert {row_of(entry) for entry in detected} <= set(rows_of(run.records))
    assert run.bookmark <= fixed(utc_now() - 5 * MINUTE)


@pytest.mark.parametrize("maps", [{}, {"stream_maps": {STREAM: {"source": "'Braze'"}}}])
def test_a_clock_of_ours_that_is_ahead_skips_nothing_that_braze_detects_later(command, simulator, maps):
    simulator.behaviour.clock_offset = -10_800.0
    before = simulator.detect(3, minutes=10_000)
    config = config_for(simulator, start_date="2020-01-01", lookback_minutes=0) | maps
    first = command(NAME, config=config)
    assert "This machine's clock is 3.0 h ahead of Braze's; the bookmark stays behind Braze's" in first.log
    assert first.bookmark <= fixed(utc_now() - 180 * MINUTE - 5 * MINUTE)
    later = simulator.detect(3)
    second = command(NAME, config=config, state=first.state)
    assert {row_of(entry) for entry in later} <= set(rows_of(second.records))
    assert {row_of(entry) for entry in before} == set(rows_of(first.records))


def test_a_start_date_later_than_the_bookmark_wins(command, simulator, config, entries):
    run = command(NAME, config=config | {"start_date": "2026-02-25T12:00:00Z"}, state=state_of("2026-02-10T00:00:00Z"))
    begin = dt.datetime(2026, 2, 25, 12, tzinfo=dt.timezone.utc)
    assert_exact(run, [entry for entry in entries if entry.detected_at >= begin])
    assert min(request.params["start_date"][0] for request in simulator.requests) == "2026-02-25"


def test_a_bookmark_later_than_the_end_reads_nothing_and_stays(command, simulator, config):
    state = state_of("2026-03-01T12:00:00.000000+00:00")
    run = command(NAME, config=config | {"end_date": "2026-02-20"}, state=state)
    assert run.code == 0, run.log
    assert run.records == []
    assert run.bookmark == "2026-03-01T12:00:00.000000+00:00"
    assert simulator.requests == []


@pytest.mark.parametrize("lookback", [0, 10**9])
def test_a_lookback_may_be_nothing_or_everything(config, entries, lookback):
    run = run_here(config | {"lookback_minutes": lookback}, state=state_of("2026-02-20T00:00:00Z"))
    begin = dt.datetime(2026, 2, 20 if lookback == 0 else 1, tzinfo=dt.timezone.utc)
    assert_exact(run, [entry for entry in entries if entry.detected_at >= begin])


# Catalogs


@pytest.fixture
def catalog(command) -> dict:
    return discovered(command)


def test_a_full_table_is_read_whatever_the_bookmark_says(command, config, catalog, since):
    entry_of(catalog)["replication_method"] = "FULL_TABLE"
    state = state_of("2026-02-27T00:00:00Z")
    run = command(NAME, config=config, catalog=catalog, state=state)
    assert run.code == 0, run.log
    assert_exact(run, since)
    assert run.of("ACTIVATE_VERSION") == []
    assert not any("version" in message for message in run.of("RECORD"))


def test_a_full_table_passes_no_bookmark_from_the_future_on(command, config, catalog):
    entry_of(catalog)["replication_method"] = "FULL_TABLE"
    run = command(NAME, config=config, catalog=catalog, state=state_of("2999-01-01T00:00:00Z"))
    assert run.code == 0, run.log
    assert run.bookmark <= fixed(utc_now())


def test_a_full_table_can_replace_the_one_before(command, config, catalog, since):
    entry_of(catalog)["replication_method"] = "FULL_TABLE"
    config["emit_activate_version_messages"] = True
    del config["end_date"]
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    assert_exact(run, since)
    (activation,) = run.of("ACTIVATE_VERSION")
    assert activation["stream"] == STREAM
    assert {message["version"] for message in run.of("RECORD")} == {activation["version"]}
    # Only once everything is there: until then the table before stands.
    assert run.messages.index(activation) > run.messages.index(run.of("RECORD")[-1])


def test_a_full_table_that_fails_replaces_nothing(command, simulator, config, catalog):
    entry_of(catalog)["replication_method"] = "FULL_TABLE"
    config |= {"emit_activate_version_messages": True, "max_attempts": 1, "window_days": 1, "page_size": 50}
    simulator.behaviour.fault_kinds, simulator.behaviour.fault_rate = ("500",), 0.5
    del config["end_date"]
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 75
    assert run.of("ACTIVATE_VERSION") == []


@pytest.mark.parametrize("key", ["invalid_detected_at", None, "phone"])
def test_an_incremental_run_by_catalog_leaves_a_state_the_next_one_takes(command, config, catalog, since, key):
    entry = entry_of(catalog)
    entry |= {"replication_method": "INCREMENTAL", "replication_key": key}
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    assert_exact(run, since)
    again = command(NAME, config=config, catalog=catalog, state=run.state)
    assert again.code == 0, again.log
    assert again.records == []


def test_a_property_that_is_not_selected_is_left_out(command, config, catalog, since):
    metadata_of(entry_of(catalog), "properties", "reason")["selected"] = False
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    assert {tuple(record) for record in run.records} == {("phone", "invalid_detected_at")}
    assert run.of("SCHEMA")[0]["schema"]["properties"].keys() == {"phone", "invalid_detected_at"}
    keys = sorted((fixed(entry.detected_at), entry.phone) for entry in since)
    assert sorted((r["invalid_detected_at"], r["phone"]) for r in run.records) == keys


def test_without_the_time_in_the_records_the_bookmark_moves_on_all_the_same(command, config, catalog, since):
    found = metadata_of(entry_of(catalog), "properties", "invalid_detected_at")
    found |= {"inclusion": "available", "selected": False}
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    assert {tuple(record) for record in run.records} == {("phone", "reason")}
    assert len(run.records) == len(since)
    assert run.bookmark == command(NAME, config=config).bookmark


def test_numbers_are_asked_about_anew_whatever_replication_a_catalog_wants(command, config):
    config["phone_numbers"] = ["+12005550001", "+12005550002"]
    catalog = discovered(command, config=config)
    entry = entry_of(catalog, "phone_number_status")
    entry |= {"replication_method": "INCREMENTAL", "replication_key": "checked_at"}
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    asked = [message for message in run.of("RECORD") if message["stream"] == "phone_number_status"]
    assert len(asked) == 2
    assert run.state["bookmarks"].get("phone_number_status", {}) == {}


def test_a_stream_that_is_not_selected_is_not_read(command, simulator, config, catalog):
    metadata_of(entry_of(catalog))["selected"] = False
    run = command(NAME, config=config, catalog=catalog, state=state_of("2026-02-20T00:00:00Z"))
    assert run.code == 0, run.log
    assert {message["type"] for message in run.messages} <= {"STATE"}
    assert run.bookmark == "2026-02-20T00:00:00Z"
    assert simulator.requests == []


@pytest.mark.parametrize("asked", [[], ["+12005550001"]])
def test_a_catalog_as_it_was_discovered_changes_nothing(command, config, since, asked):
    config["phone_numbers"] = asked
    run = command(NAME, config=config, catalog=discovered(command, config=config))
    assert run.code == 0, run.log
    plain = command(NAME, config=config)
    assert run.of("SCHEMA") == plain.of("SCHEMA")
    assert run.bookmark == plain.bookmark
    streams = Counter(message["stream"] for message in run.of("RECORD"))
    assert streams == Counter({STREAM: len(since), "phone_number_status": len(asked)})
    assert run.records[: len(since)] == plain.records[: len(since)]


@pytest.mark.parametrize("others", [[], ["phone_number_status"], ["another_stream"]])
def test_a_stream_that_is_not_in_the_catalog_is_not_read_and_that_is_told(command, simulator, config, catalog, others):
    entry = entry_of(catalog)
    catalog["streams"] = [entry | {"stream": name, "tap_stream_id": name} for name in others]
    run = command(NAME, config=config, catalog=catalog, state=state_of("2026-02-20T00:00:00Z"))
    assert run.code == 0, run.log
    assert f"Skipping deselected stream '{STREAM}'" in run.log
    assert {message["type"] for message in run.messages} == {"STATE"}
    assert run.bookmark == "2026-02-20T00:00:00Z"
    assert simulator.requests == []


# Stream maps, flattening


def mapped(command, config: dict, **maps: object) -> Run:
    run = command(NAME, config=config | {"stream_maps": {STREAM: maps}})
    assert run.code == 0, run.log
    return run


def test_a_stream_map_can_hash_the_number(command, config, since):
    run = mapped(command, config, phone="md5(phone)")
    hashes = sorted(hashlib.md5(entry.phone.encode(), usedforsecurity=False).hexdigest() for entry in since)
    assert sorted(record["phone"] for record in run.records) == hashes


def test_a_stream_map_can_rename_the_stream(command, config, since):
    run = mapped(command, config, __alias__="numbers")
    assert_exact(run, since)
    assert {message["stream"] for message in (*run.of("SCHEMA"), *run.of("RECORD"))} == {"numbers"}
    assert run.bookmark == "2026-03-02T00:00:00.000000+00:00"


def test_a_stream_map_can_filter(command, config, since):
    run = mapped(command, config, __filter__="reason == 'deactivated'")
    assert_exact(run, [entry for entry in since if entry.reason == "deactivated"])


def test_a_stream_map_can_add_a_constant_and_take_a_property_away(command, config, since):
    run = mapped(command, config, source="'Braze'", reason=None)
    assert {(*record, record["source"]) for record in run.records} == {
        ("phone", "invalid_detected_at", "source", "Braze")
    }
    assert len(run.records) == len(since)
    assert run.of("SCHEMA")[0]["schema"]["properties"].keys() == {"phone", "invalid_detected_at", "source"}


def test_stream_maps_can_make_two_streams_of_one(command, config, since):
    copy = {"deactivated": {"__source__": STREAM, "__filter__": "reason == 'deactivated'"}}
    run = command(NAME, config=config | {"stream_maps": copy})
    assert run.code == 0, run.log
    counts = Counter(message["stream"] for message in run.of("RECORD"))
    assert counts == {STREAM: len(since), "deactivated": sum(entry.reason == "deactivated" for entry in since)}


def test_a_stream_map_can_leave_everything_out(command, config):
    run = command(NAME, config=config | {"stream_maps": {"__else__": None}})
    assert run.code == 0, run.log
    assert run.records == []


@pytest.mark.parametrize("depth", [1, 3])
def test_flattening_changes_nothing_in_flat_records(command, config, since, depth):
    run = command(NAME, config=config | {"flattening_enabled": True, "flattening_max_depth": depth})
    assert run.code == 0, run.log
    assert_exact(run, since)


# The log


def test_a_run_tells_what_it_read_and_measures_itself(command, simulator, config, since):
    run = command(NAME, config=config)
    requests = len(simulator.requests)
    (told,) = [line for line in run.log.splitlines() if f"Read {len(since)} records" in line]
    assert f"{requests} requests" in told
    points = [json.loads(line.partition("METRIC: ")[2]) for line in run.log.splitlines() if "METRIC: " in line]
    assert {"record_count": len(since)}.items() <= {p["metric"]: p["value"] for p in points}.items()
    assert {"sync_duration", "record_count"} <= {point["metric"] for point in points}
    assert run.errors == run.logged("WARNING") == []
