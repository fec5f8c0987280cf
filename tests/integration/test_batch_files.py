"""BATCH files: what is in them, what a run that ends anywhere leaves of them, and who takes them away (promise 24)."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import gzip
import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import tempfile
import time
import typing as t
from collections import Counter
from pathlib import Path
from unittest import mock

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from singer_sdk.batch import BaseBatcher, Batcher

from braze_simulator import Simulator, seeded
from support.commands import Process, Run, bookmark_of
from support.examples import examples
from support.paths import BIN
from support.runs import KEY, config_for, fixed, row_of, rows_of, run_here
from tap_braze_sms.singer import batches
from tap_braze_sms.singer.batches import COMPLETE, FOLDER, LOCK, BatchFolder
from tap_braze_sms.streams import BrazeStream

NAME, STREAM = "tap-braze-sms", "invalid_phone_numbers"
UNTIL = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)
END = "2026-03-02T00:00:00.000000+00:00"
HASHED = {"stream_maps": {STREAM: {"phone": "md5(phone)"}}}


@pytest.fixture(scope="module")
def entries():
    return seeded(650, days=28, until=UNTIL)


@pytest.fixture(autouse=True)
def _temporary_files(tmp_path, monkeypatch):
    """Every run looks through the folder for these, which then has nothing of another test's."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "batches"


@pytest.fixture
def config(simulator, entries, folder):
    simulator.add(entries)
    batch_config = {"storage": {"root": str(folder)}, "batch_size": 100}
    return config_for(simulator, start_date="2026-02-01", end_date="2026-03-02", batch_config=batch_config)


def paths_of(run: Run) -> list[Path]:
    """Return the files that a run has handed over."""
    return [Path(url.removeprefix("file://")) for message in run.of("BATCH") for url in message["manifest"]]


def records_in(path: Path) -> list[dict]:
    content = path.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()]


def rows_handed_over(run: Run) -> list[tuple[str, str, str]]:
    return rows_of([record for path in paths_of(run) for record in records_in(path)])


def hashed(phone: str) -> str:
    return hashlib.md5(phone.encode(), usedforsecurity=False).hexdigest()


def folders_in(root: Path) -> list[Path]:
    return sorted(root.glob(f"*{FOLDER}*"))


def assert_true_states(run: Run) -> None:
    """Check that no STATE says more than the files before it hold."""
    wanted, handed_over = sorted(rows_handed_over(run)), 0
    for message in run.messages:
        if message["type"] == "BATCH":
            handed_over += sum(len(records_in(Path(url.removeprefix("file://")))) for url in message["manifest"])
        elif mark := bookmark_of(message.get("value")):
            assert sum(row[0] < mark for row in wanted) <= handed_over


# What is in them


@pytest.mark.parametrize("encoding", [{}, {"compression": "none"}, {"format": "jsonl", "compression": "gzip"}], ids=str)
@pytest.mark.parametrize("maps", [{}, HASHED], ids=["", "mapped"])
def test_files_hold_all_records_as_maps_leave_them_and_are_what_their_message_says(
    command, config, entries, maps, encoding
):
    config["batch_config"] |= {"encoding": encoding}
    run = command(NAME, config=config | maps)
    assert run.code == 0, run.log
    assert run.records == []
    assert [len(records_in(path)) for path in paths_of(run)] == [100] * 6 + [50]
    labelled = {"format": "jsonl", "compression": "none"} | encoding
    assert all(message["encoding"] == labelled for message in run.of("BATCH"))
    assert {path.suffix for path in paths_of(run)} == {".gz" if labelled["compression"] == "gzip" else ".json"}
    wanted = [row_of(entry) for entry in entries]
    if maps:
        wanted = [(at, hashed(phone), why) for at, phone, why in wanted]
    assert sorted(rows_handed_over(run)) == sorted(wanted)
    assert [row[0] for row in rows_handed_over(run)] == sorted(row[0] for row in wanted)
    # One behind each file, and one more for the quiet days to the end.
    kinds = [message["type"] for message in run.messages]
    assert kinds == ["SCHEMA", *["BATCH", "STATE"] * 7, *["STATE"] * (len(kinds) - 15)]
    assert_true_states(run)
    assert run.bookmark == END


def test_lines_are_the_bytes_of_the_records_in_messages(simulator, config):
    as_messages = run_here({name: value for name, value in config.items() if name != "batch_config"})
    as_files = run_here(config)
    lines = [line for path in paths_of(as_files) for line in path.read_bytes().splitlines()]
    messages = [line for line in as_messages.out.splitlines() if line.startswith(b'{"type":"RECORD"')]
    assert len(lines) == 650
    assert all(b'"record":' + line + b',"time_ext' in message for line, message in zip(lines, messages, strict=True))


def test_where_nothing_is_changed_no_record_is_taken_alone(config, monkeypatch):
    monkeypatch.setattr(BrazeStream, "_one_by_one", None)
    assert len(rows_handed_over(run_here(config))) == 650


def test_what_a_catalog_deselects_is_in_no_file(command, config):
    catalog = json.loads(command.text(NAME, "--discover", config=config).stdout)
    for entry in catalog["streams"][0]["metadata"]:
        if entry["breadcrumb"] == ["properties", "reason"]:
            entry["metadata"] |= {"inclusion": "available", "selected": False}
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    records = [record for path in paths_of(run) for record in records_in(path)]
    assert len(records) == 650
    assert {(*record,) for record in records} == {("phone", "invalid_detected_at")}


def test_a_filter_leaves_files_full(command, config, entries):
    run = command(NAME, config=config | {"stream_maps": {STREAM: {"__filter__": "reason == 'deactivated'"}}})
    wanted = sorted(row_of(entry) for entry in entries if entry.reason == "deactivated")
    assert sorted(rows_handed_over(run)) == wanted
    assert [len(records_in(path)) for path in paths_of(run)] == [100] * (len(wanted) // 100) + [len(wanted) % 100]


def test_looked_up_numbers_are_handed_over_as_well_under_their_alias(command, config, entries):
    asked = [entry.phone for entry in entries[:150]]
    maps = {"stream_maps": {"phone_number_status": {"__alias__": "status"}}}
    run = command(NAME, config=config | maps | {"phone_numbers": asked})
    assert run.code == 0, run.log
    manifests = [url for message in run.of("BATCH") if message["stream"] == "status" for url in message["manifest"]]
    records = [record for url in manifests for record in records_in(Path(url.removeprefix("file://")))]
    assert [record["phone"] for record in records] == asked
    assert len(folders_in(Path(config["batch_config"]["storage"]["root"]))) == 1


def test_the_windows_that_were_read_are_told_once_the_loader_has_all_of_their_records(command, config):
    run = command(NAME, config=config | {"read_windows": True, "window_days": 3})
    told, handed_over = 0, []
    for message in run.messages:
        if message["type"] == "BATCH":
            (url,) = message["manifest"]
            handed_over += rows_of(records_in(Path(url.removeprefix("file://"))))
        elif message["type"] == "RECORD":
            window = message["record"]
            assert message["stream"] == "read_windows"
            within = [row for row in handed_over if window["detected_from"] <= row[0] < window["detected_before"]]
            assert len(within) == window["records"]
            told += window["records"]
    assert told == 650


def test_a_format_of_the_sdks_own_encoders_gets_the_folder_and_mapped_records(config, folder, monkeypatch):
    class OneFile(BaseBatcher):
        def get_batches(self, records):
            if not (records := list(records)):
                return
            with self.batch_config.storage.open("all.parquet", "wb") as file:
                file.writelines(json.dumps(record).encode() + b"\n" for record in records)
            yield [self.batch_config.storage.get_url("all.parquet")]

    monkeypatch.setattr(batches, "check_installed", lambda _: None)
    monkeypatch.setattr(Batcher, "get_batcher", staticmethod({"parquet": OneFile}.get))
    config["batch_config"] |= {"encoding": {"format": "parquet"}}
    run = run_here(config | HASHED | {"read_windows": True})
    (path,) = paths_of(run)
    assert path.parent.parent == folder
    # As with our own: only its user reads it, nobody takes it away too early, and of what was read is told afterwards.
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (path.parent / COMPLETE).exists()
    kinds = [message["type"] for message in run.messages if message["type"] in {"BATCH", "RECORD"}]
    assert kinds == ["BATCH", *["RECORD"] * (len(kinds) - 1)]
    assert len(kinds) > 1
    records = records_in(path)
    assert len(records) == 650
    assert all(len(record["phone"]) == 32 for record in records)
    assert run.bookmark == END


# How it is asked for


def test_one_setting_is_enough(command, simulator, config, tmp_path):
    del config["batch_config"]
    run = command(NAME, config=config | {"batch_files": True})
    assert run.code == 0, run.log
    (path,) = paths_of(run)
    assert path.parent.parent == tmp_path
    assert len(records_in(path)) == 650


def test_the_sdks_variable_asks_for_it_too(command, config, folder):
    given = json.dumps(config.pop("batch_config"))
    run = command(NAME, "--config=ENV", config=config, env=os.environ | {"TAP_BRAZE_SMS_BATCH_CONFIG": given})
    assert len(rows_handed_over(run)) == 650
    assert paths_of(run)[0].parent.parent == folder


@pytest.mark.parametrize("settings", [{"batch_files": False}, {"batch_config": {}}, {"batch_config": None}], ids=str)
def test_records_go_into_messages_where_it_is_not_asked_for(command, config, folder, settings):
    run = command(NAME, config=config | settings)
    assert len(run.records) == 650
    assert run.of("BATCH") == []
    assert not folder.exists()


def test_a_first_load_in_files_and_later_runs_by_messages_share_one_state(command, simulator, config):
    del config["end_date"]
    first = command(NAME, config=config | {"lookback_minutes": 0})
    simulator.detect(40, minutes=4)
    simulator.requests.clear()
    again = command(NAME, config=config | {"batch_files": False, "lookback_minutes": 0}, state=first.state)
    assert len(again.records) == 40
    assert len(simulator.requests) <= 2
    simulator.detect(7, minutes=1)
    third = command(NAME, config=config, state=again.state)
    # The lookback is an hour, and the bookmark stands five minutes before the run.
    assert len(rows_handed_over(third)) == 47


def test_a_run_with_nothing_new_writes_no_file_and_moves_the_bookmark_on(command, config, folder):
    state = {"bookmarks": {STREAM: {"replication_key": "invalid_detected_at", "replication_key_value": fixed(UNTIL)}}}
    run = command(NAME, config=config | {"lookback_minutes": 0}, state=state)
    assert run.code == 0
    assert run.of("BATCH") == []
    assert run.bookmark == END
    assert not folder.exists()


def test_a_test_of_the_connection_writes_no_file(command, config, folder):
    done = command.text(NAME, "--test", config=config)
    assert done.returncode == 0
    assert '"type":"RECORD"' in done.stdout
    assert not folder.exists()


def test_two_streams_of_one_are_not_mixed(command, simulator, config):
    maps = {"copy": {"__source__": STREAM}, "deactivated": {"__source__": STREAM}}
    run = command(NAME, config=config | {"stream_maps": maps})
    assert run.code == 78
    (error,) = run.errors
    assert error.startswith(f"stream {STREAM} is mapped to 3 streams, which BATCH files cannot hold apart: take")
    assert "Traceback" not in run.log
    assert {message["type"] for message in run.messages} <= {"SCHEMA", "STATE"}
    assert run.bookmark is None
    assert simulator.requests == []


@pytest.mark.parametrize("asked", [[], ["+15555550100"]], ids=["list", "lookups"])
@pytest.mark.parametrize("setting", ["batch_config", "batch_files"])
def test_it_is_refused_where_a_version_is_activated(command, simulator, config, folder, asked, setting):
    del config["end_date"]
    if setting == "batch_files":
        config[setting] = bool(config.pop("batch_config"))
    config |= {"emit_activate_version_messages": True, "phone_numbers": asked}
    catalog = json.loads(command.text(NAME, "--discover", config=config | {"phone_numbers": []}).stdout)
    catalog["streams"][0]["replication_method"] = "FULL_TABLE"
    run = command(NAME, config=config, **({} if asked else {"catalog": catalog}))
    assert (run.code, run.out) == (78, b"")
    (error,) = run.errors
    stream = "phone_number_status" if asked else STREAM
    assert error.startswith(f"{setting}: got one for {stream}, FULL_TABLE, together with emit_activate_version_")
    assert error.endswith("takes one of the two")
    assert simulator.requests == []
    assert not folder.exists()


def test_an_incremental_run_activates_no_version_and_is_not_refused(command, config):
    del config["end_date"]
    run = command(NAME, config=config | {"emit_activate_version_messages": True})
    assert run.code == 0, run.log
    assert run.of("BATCH")
    assert run.of("ACTIVATE_VERSION") == []


# Runs that end anywhere


def assert_completed_by_the_next(command, simulator, config, run: Run, entries) -> None:
    """Check that the files handed over and those of the next run hold all, and little twice."""
    simulator.behaviour.change({"fault_rate": 0.0, "latency": 0.0})
    assert_true_states(run)
    # What the loader has read: the next run takes the files away.
    handed_over = set(rows_handed_over(run))
    again = command(NAME, config=config, **({"state": run.state} if run.state else {}))
    assert again.code == 0, again.log
    rows = rows_handed_over(again)
    assert handed_over | set(rows) == set(map(row_of, entries))
    assert len(rows) == len(set(rows))
    assert all(row[0] >= (run.bookmark or "") for row in rows)


@examples(20)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 300),
    days=st.integers(1, 60),
    ties=st.sampled_from([0.0, 0.5]),
    window_days=st.sampled_from([1, 30]),
    batch_size=st.integers(1, 120),
    parallel=st.sampled_from([1, 8]),
    mapped=st.booleans(),
    cut=st.floats(0, 1),
)
def test_a_run_cut_after_any_line_is_completed_by_the_next(
    seed, count, days, ties, window_days, batch_size, parallel, mapped, cut
):
    entries = seeded(count, days=days, until=UNTIL, seed=seed, ties=ties)
    wanted = set(map(row_of, entries))
    with Simulator(entries, seed=seed) as simulator, tempfile.TemporaryDirectory() as root:
        config = config_for(
            simulator,
            start_date=(UNTIL - dt.timedelta(days=days)).isoformat(),
            end_date=END,
            window_days=window_days,
            page_size=50,
            lookback_minutes=0,
            max_parallel_requests=parallel,
            batch_config={"storage": {"root": root}, "batch_size": batch_size},
            **({"stream_maps": {STREAM: {"source": "'Braze'"}}} if mapped else {}),
        )
        whole = run_here(config)
        assert sorted(rows_handed_over(whole)) == sorted(map(row_of, entries))
        assert_true_states(whole)
        lines = whole.out.splitlines(keepends=True)
        part = Run(1, b"".join(lines[: round(len(lines) * cut)]), "")
        # Before the next run takes its files away.
        loaded = rows_handed_over(part)
        again = run_here(config, state=part.state)
        rows = rows_handed_over(again)
        assert {*loaded, *rows} == wanted
        assert all(row[0] >= (part.bookmark or "") for row in rows)
        assert again.bookmark == END


@pytest.fixture
def slowly(simulator, config):
    """Settings with which a run takes its time: a request after the other, a day each."""
    simulator.behaviour.latency = 0.02
    return config | {"window_days": 1, "max_parallel_requests": 1, "lookback_minutes": 0}


def until_files(process: Process, count: int) -> bytes:
    """Read until so many files are handed over, each with its STATE."""
    return b"".join(process.stdout.readline() for _ in range(1 + 2 * count))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_hands_over_what_is_written_already(command, simulator, slowly, entries, signum):
    process = command.start(NAME, config=slowly)
    out = until_files(process, 2)
    simulator.behaviour.change({"fault_rate": 1.0, "fault_kinds": ["hang"]})
    process.until(lambda: any(request.status == "hang" for request in simulator.requests))
    process.send(signum)
    run = process.finish(out)
    assert run.code == 128 + signum
    assert "Traceback" not in run.log
    *_, last, state = run.messages
    assert (last["type"], state["type"]) == ("BATCH", "STATE")
    assert len(records_in(paths_of(run)[-1])) < 100
    # Up to the day that was under way, nothing is read again.
    assert sorted(rows_handed_over(run)) == sorted(row for row in map(row_of, entries) if row[0] < run.bookmark)
    assert_completed_by_the_next(command, simulator, slowly, run, entries)


def test_a_failure_hands_over_what_is_written_already(command, simulator, slowly, entries):
    process = command.start(NAME, config=slowly)
    out = until_files(process, 1)
    simulator.behaviour.change({"fault_rate": 1.0, "fault_kinds": ["403"]})
    run = process.finish(out)
    assert run.code == 77
    assert sorted(rows_handed_over(run)) == sorted(row for row in map(row_of, entries) if row[0] < run.bookmark)
    assert_completed_by_the_next(command, simulator, slowly, run, entries)


@pytest.mark.parametrize("at", [0, 99, 100, 437, 649])
def test_a_map_that_fails_on_one_record_has_the_bookmark_ahead_of_no_file(command, simulator, config, entries, at):
    row = sorted(map(row_of, entries))[at]
    config["lookback_minutes"] = 0
    # A division by zero, for one record alone.
    definition = {"one": f"1 // (phone + invalid_detected_at != '{row[1]}{row[0]}')"}
    run = command(NAME, config=config | {"stream_maps": {STREAM: definition}})
    assert run.code == 78
    assert sorted(rows_handed_over(run)) == sorted(map(row_of, entries))[:at]
    assert_completed_by_the_next(command, simulator, config, run, entries)


@pytest.mark.parametrize("seed", range(4))
def test_after_kill_9_the_next_run_goes_on_from_the_last_whole_file(command, simulator, slowly, entries, folder, seed):
    dice = random.Random(seed)
    slowly["batch_config"]["batch_size"] = dice.choice([20, 100])
    process = command.start(NAME, config=slowly)
    out = until_files(process, dice.randrange(1, 5))
    process.send(signal.SIGKILL)
    out += process.stdout.read()
    assert process.wait() == -signal.SIGKILL
    run = Run(process.code, out[: out.rfind(b"\n") + 1], process.log)
    handed_over = rows_handed_over(run)
    (dead,) = folders_in(folder)
    again = command(NAME, config=slowly, **({"state": run.state} if run.state else {}))
    assert again.code == 0, again.log
    assert set(handed_over) | set(rows_handed_over(again)) == set(map(row_of, entries))
    assert all(row[0] >= (run.bookmark or "") for row in rows_handed_over(again))
    assert not dead.exists()


def test_a_disk_that_is_full_ends_the_run_with_one_line_and_no_state_is_ahead_of_the_files(config, folder, tmp_path):
    config["batch_config"]["batch_size"] = 10_000
    (tmp_path / "config.json").write_text(json.dumps(config))
    # Blocks of half a kilobyte, or a whole one.
    line = f"ulimit -f 32; exec {BIN / NAME} --config config.json"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False, cwd=tmp_path)
    run = Run(done.returncode, done.stdout, done.stderr.decode())
    assert run.code == 1
    (error,) = run.errors
    assert error.startswith(f"file://{folder}/{FOLDER}")
    assert error.endswith(f"/{STREAM}-1.json: File too large")
    assert "Traceback" not in run.log
    assert run.of("BATCH") == []
    assert run.bookmark is None


def test_a_root_that_is_no_folder_ends_the_run_with_one_line(command, config, tmp_path):
    (tmp_path / "file").touch()
    root = str(tmp_path / "file" / "batches")
    run = command(NAME, config=config | {"batch_config": {"storage": {"root": root}}})
    assert run.code == 78
    assert run.errors == [f"{root}: Not a directory"]
    assert "Traceback" not in run.log
    assert run.of("BATCH") == []


# Folders, and who takes them away


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_user_enters_the_folder_and_reads_the_files(command, config, folder):
    before = os.umask(0)
    try:
        run = command(NAME, config=config | {"batch_config": {"storage": {"root": str(folder / "new")}}})
    finally:
        os.umask(before)
    (path,) = paths_of(run)
    assert mode_of(path) == 0o600
    assert mode_of(path.parent) == 0o700
    assert mode_of(folder / "new") == 0o700
    assert {found.name: mode_of(found) for found in path.parent.iterdir() if found != path} == {
        LOCK: 0o600,
        COMPLETE: 0o600,
    }


def killed_run(command, config) -> Path:
    """Kill a run in the middle of its files; return its folder."""
    process = command.start(NAME, config=config)
    until_files(process, 2)
    process.send(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    root = Path(config["batch_config"]["storage"]["root"])
    (dead,) = folders_in(root)
    return dead


@pytest.mark.parametrize("batch_files", [False, True])
def test_the_folder_of_a_killed_run_is_taken_away_by_the_next_whatever_it_writes(
    command, simulator, slowly, folder, batch_files
):
    dead = killed_run(command, slowly)
    simulator.behaviour.latency = 0.0
    run = command(NAME, config=slowly | {"batch_files": batch_files})
    assert run.code == 0, run.log
    assert not dead.exists()
    assert folders_in(folder) == sorted({path.parent for path in paths_of(run)})


def test_the_folder_for_temporary_files_is_looked_through_by_every_run(command, config, tmp_path):
    dead = tmp_path / f"{FOLDER}dead"
    dead.mkdir(mode=0o700)
    (dead / LOCK).touch(mode=0o600)
    (dead / f"{STREAM}-1.json").write_text('{"phone":"+15555550100"}\n')
    assert command(NAME, config=config).code == 0
    assert not dead.exists()


def test_the_folder_of_a_run_under_way_is_not_taken_away(command, simulator, slowly, folder, entries):
    process = command.start(NAME, config=slowly)
    out = until_files(process, 2)
    process.send(signal.SIGSTOP)
    simulator.behaviour.latency = 0.0
    cleaned = command.text(NAME, "--clean-batch-files", config=slowly)
    assert cleaned.stdout == "Took away the BATCH files of 0 runs; 1 more under way\n"
    other = command(NAME, config=slowly)
    process.send(signal.SIGCONT)
    run = process.finish(out)
    assert (run.code, other.code) == (0, 0)
    assert sorted(rows_handed_over(run)) == sorted(rows_handed_over(other)) == sorted(map(row_of, entries))
    assert len(folders_in(folder)) == 2


@pytest.mark.parametrize("kind", ["403", "hang"])
def test_so_is_that_of_a_run_that_failed_or_was_ended(command, simulator, slowly, folder, kind):
    process = command.start(NAME, config=slowly)
    until_files(process, 1)
    simulator.behaviour.change({"fault_rate": 1.0, "fault_kinds": [kind]})
    if kind == "hang":
        process.until(lambda: any(request.status == "hang" for request in simulator.requests))
        process.send(signal.SIGTERM)
    process.wait()
    process.stdout.close()
    (dead,) = folders_in(folder)
    simulator.behaviour.change({"fault_rate": 0.0, "latency": 0.0})
    assert command(NAME, config=slowly | {"batch_files": False}).code == 0
    assert not dead.exists()


def test_what_is_complete_is_taken_away_by_the_next_run_of_its_workspace(command, config, folder):
    first = command(NAME, config=config)
    assert len(rows_handed_over(first)) == 650
    second = command(NAME, config=config)
    assert folders_in(folder) == [paths_of(second)[0].parent]
    # A test of the connection or a look at what Braze is like is no run, and may be made meanwhile.
    for option in ("--test", "--check", "--discover"):
        assert command.text(NAME, option, config=config).returncode == 0
    assert len(rows_handed_over(second)) == 650
    assert command(NAME, config=config | {"batch_files": False}).code == 0
    assert folders_in(folder) == []


def test_of_other_workspaces_what_is_complete_stays_for_an_hour_as_a_loader_may_be_reading(command, config, folder):
    with Simulator(api_key=KEY) as other:
        others = config | {"api_url": other.url}
        run = command(NAME, config=config)
        (complete,) = folders_in(folder)
        assert command(NAME, config=others).code == 0
        assert len(rows_handed_over(run)) == 650
        hour_ago = time.time() - batches.LOADER_TIME - 1
        os.utime(complete / COMPLETE, (hour_ago, hour_ago))
        assert command(NAME, config=others).code == 0
        assert not complete.exists()


def test_a_command_takes_away_at_once_what_is_complete(command, config, folder):
    command(NAME, config=config)
    (complete,) = folders_in(folder)
    # As if it were another workspace's.
    complete.rename(folder / f"{FOLDER}12345678-x")
    command(NAME, config=config)
    done = command.text(NAME, "--clean-batch-files", config=config)
    assert done.returncode == 0
    assert done.stdout == "Took away the BATCH files of 2 runs; 0 more under way\n"
    assert list(folder.iterdir()) == []


def test_the_command_needs_no_settings_for_the_folder_of_temporary_files(command, tmp_path):
    left = tmp_path / f"{FOLDER}left"
    left.mkdir()
    process = command.start(NAME, "--clean-batch-files")
    assert process.stdout.read() == b"Took away the BATCH files of 1 run; 0 more under way\n"
    assert process.wait() == 0
    process.stdout.close()
    assert not left.exists()


@pytest.mark.parametrize("wrong", ["none", {"storage": "x"}, {"storage": {"folder": "x"}}], ids=str)
def test_the_command_refuses_settings_that_name_no_folder(command, config, wrong):
    done = command(NAME, "--clean-batch-files", config=config | {"batch_config": wrong})
    assert done.code == 78
    (error,) = done.errors
    assert error.startswith("batch_config: got")


def test_what_is_not_a_folder_of_ones_own_is_left_alone(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / f"{FOLDER}link").symlink_to(elsewhere)
    (root / f"{FOLDER}file").touch()
    (root / "other").mkdir()
    strangers = root / f"{FOLDER}strangers"
    strangers.mkdir()
    found = strangers.lstat()
    with mock.patch.object(os, "getuid", return_value=found.st_uid + 1):
        assert batches.clear([root]) == batches.Cleared()
    assert batches.clear([root]) == batches.Cleared(removed=1)
    assert (elsewhere / "kept").exists()
    assert Counter(path.name for path in root.iterdir()) == Counter([f"{FOLDER}link", f"{FOLDER}file", "other"])


def test_a_folder_is_locked_from_the_moment_that_it_has_its_name(tmp_path, monkeypatch):
    """Or a run that begins at that moment would take it away."""
    seen = []
    rename = Path.rename

    def watched(self, target):
        # What another run would find just before, and just after.
        seen.append(batches.clear([tmp_path]))
        renamed = rename(self, target)
        seen.append(batches.clear([tmp_path]))
        return renamed

    monkeypatch.setattr(Path, "rename", watched)
    made = BatchFolder("12345678", dataclasses.replace(batches.storage_of({}), root=str(tmp_path)))
    with made.create("file") as file:
        file.write(b"{}")
    assert seen == [batches.Cleared(), batches.Cleared(in_use=1)]
    made.complete()
    del made
    assert batches.clear([tmp_path], "87654321") == batches.Cleared(complete=1)
    assert batches.clear([tmp_path], "12345678") == batches.Cleared(removed=1)


class Bucket(MemoryFileSystem):
    """A place that is not on this machine."""

    protocol = "bucket"
    store: t.ClassVar[dict] = {}
    pseudo_dirs: t.ClassVar[list] = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("bucket://").strip("/")


@pytest.mark.filterwarnings("ignore:UPath 'bucket' filesystem not explicitly implemented")
def test_a_root_elsewhere_gets_files_without_a_folder_and_nothing_there_is_looked_for(config):
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    config["batch_config"] = {"storage": {"root": "bucket://batches/x", "prefix": "sms-"}, "batch_size": 500}
    run = run_here(config)
    urls = [url for message in run.of("BATCH") for url in message["manifest"]]
    assert [url.rpartition("-")[2] for url in urls] == ["1.json", "2.json"]
    assert all("/batches/x/sms-" in url for url in urls)
    lines = [line for url in urls for line in Bucket().cat_file(url).splitlines()]
    assert len(lines) == 650
    # Beside those of another run.
    again = run_here(config)
    assert {url for message in again.of("BATCH") for url in message["manifest"]}.isdisjoint(urls)


def test_folders_whose_names_a_url_would_spell_otherwise_are_found_by_loaders(command, config, tmp_path, folder):
    root = tmp_path / "two words %20 é"
    run = command(NAME, config=config | {"batch_config": {"storage": {"root": str(root)}}})
    (path,) = paths_of(run)
    assert path.parent.parent == root
    with contextlib.suppress(FileNotFoundError):
        assert len(records_in(path)) == 650
