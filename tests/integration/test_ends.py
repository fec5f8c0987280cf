"""Every end of a run: signals, a loader that is slow or gone, and what the next run makes of it (promises 5 and 8)."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from braze_simulator import Entry, Simulator, seeded
from support.commands import PATIENCE, Process, Run, bookmark_of
from support.paths import BIN
from support.runs import config_for, row_of, rows_of, run_here
from tap_braze_sms.braze.client import BrazeClient
from tap_braze_sms.concurrency.cancellation import CancelToken
from tap_braze_sms.concurrency.scheduler import PAGES_AHEAD
from tap_braze_sms.reading.window_reader import WindowReader
from tap_braze_sms.tap import TapBrazeSMS

#: Seconds after a signal in which a run has to have ended.
PROMISED = 5

SIGNALS = [signal.SIGTERM, signal.SIGINT]

#: Has every record go through the SDK, one by one.
MAPPED = {"stream_maps": {"invalid_phone_numbers": {"source": "'Braze'"}}}


@pytest.fixture(scope="module")
def few() -> list[Entry]:
    """A list whose messages a pipe holds, so that the tap never waits for the test."""
    return seeded(250, days=40)


@pytest.fixture(scope="module")
def many() -> list[Entry]:
    """A list whose messages no pipe holds."""
    return seeded(3_000, days=40)


def settings_for(simulator: Simulator, entries: list[Entry]) -> dict:
    """Put entries on the list; give settings for reading it day by day."""
    simulator.add(entries)
    start = f"{entries[0].detected_at:%Y-%m-%d}"
    return config_for(simulator, start_date=start, window_days=1, lookback_minutes=0)


@pytest.fixture
def config(simulator, many) -> dict:
    return settings_for(simulator, many)


@pytest.fixture
def slowly(simulator, few) -> dict:
    """Settings with which a run of few records takes its time: a request after the other."""
    simulator.behaviour.latency = 0.02
    return settings_for(simulator, few) | {"max_parallel_requests": 1}


STOPPED = "stopped by {}; nothing is lost: the next run goes on from the last STATE that was kept, or begins anew"


def read_lines(process: Process, count: int) -> bytes:
    return b"".join(process.stdout.readline() for _ in range(count))


def assert_ended_by(run: Run, signum: int) -> None:
    assert run.code == 128 + signum
    assert run.out.endswith(b"\n")
    if run.records:
        assert run.messages[-1]["type"] == "STATE"
    assert "Traceback" not in run.log
    assert run.errors == [STOPPED.format(signal.Signals(signum).name)]


def assert_completed_by_the_next(command, simulator: Simulator, config: dict, run: Run, entries: list[Entry]) -> None:
    """Check that what was emitted and what the next run emits is all, and that little came twice."""
    simulator.behaviour.fault_rate = simulator.behaviour.latency = 0.0
    simulator.behaviour.rate_limit = 250_000
    state = run.state
    again = command("tap-braze-sms", config=config, **({"state": state} if state else {}))
    assert again.code == 0, again.log
    rows = rows_of(again.records)
    assert set(rows_of(run.records)) | set(rows) == set(map(row_of, entries))
    assert len(rows) == len(set(rows))
    assert all(row[0] >= (bookmark_of(state) or "") for row in rows)


# Signals


def test_who_watches_for_a_signal_still_does_when_someone_else_watched_meanwhile():
    cancel_token = CancelToken()
    with cancel_token.cooperative():
        with cancel_token.cooperative():
            assert cancel_token.is_cooperative
        assert cancel_token.is_cooperative
    assert not cancel_token.is_cooperative


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("parallel", [1, 8])
def test_a_signal_ends_the_run_while_requests_hang(command, simulator, slowly, few, signum, parallel):
    process = command.start("tap-braze-sms", config=slowly | {"max_parallel_requests": parallel})
    out = read_lines(process, 100)
    simulator.behaviour.fault_kinds, simulator.behaviour.fault_rate = ("hang",), 1.0
    process.until(lambda: any(request.status == "hang" for request in simulator.requests))
    process.send(signum)
    process.wait(PROMISED)
    run = process.finish(out)
    assert_ended_by(run, signum)
    assert_completed_by_the_next(command, simulator, slowly, run, few)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_ends_the_run_while_a_rate_limit_is_waited_out(command, simulator, slowly, few, signum):
    simulator.behaviour.rate_limit = 30
    process = command.start("tap-braze-sms", config=slowly)
    process.until(lambda: "pausing" in process.log)
    process.send(signum)
    process.wait(PROMISED)
    run = process.finish()
    assert_ended_by(run, signum)
    assert run.records
    assert_completed_by_the_next(command, simulator, slowly, run, few)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_ends_the_run_while_it_waits_to_try_again(command, simulator, slowly, few, signum):
    simulator.behaviour.retry_after = "600"
    process = command.start("tap-braze-sms", config=slowly)
    out = read_lines(process, 100)
    simulator.behaviour.fail_next = ["503"]
    process.until(lambda: "trying again in 10 min" in process.log)
    process.send(signum)
    process.wait(PROMISED)
    run = process.finish(out)
    assert_ended_by(run, signum)
    assert_completed_by_the_next(command, simulator, slowly, run, few)


@pytest.mark.parametrize(
    "signum, lines, maps",
    [
        (signal.SIGTERM, 1, {}),
        (signal.SIGTERM, 300, {}),
        (signal.SIGINT, 2_000, {}),
        (signal.SIGINT, 2, MAPPED),
        (signal.SIGTERM, 300, MAPPED),
    ],
)
def test_a_signal_ends_the_run_in_the_middle_of_emitting(command, simulator, config, many, signum, lines, maps):
    process = command.start("tap-braze-sms", config=config | maps)
    out = read_lines(process, lines)
    process.send(signum)
    run = process.finish(out)
    assert_ended_by(run, signum)
    assert len(run.records) < len(many)
    assert_completed_by_the_next(command, simulator, config | maps, run, many)


def test_a_signal_ends_the_run_while_lookups_hang(command, simulator, few):
    simulator.behaviour.fault_kinds, simulator.behaviour.fault_rate = ("hang",), 1.0
    simulator.behaviour.fail_next = ["slow"]
    numbers = [entry.phone for entry in few]
    # A request for the list, which comes back, before those that hang.
    today = dt.datetime.now(dt.timezone.utc).date()
    config = config_for(simulator, start_date=str(today), phone_numbers=numbers)
    process = command.start("tap-braze-sms", config=config)
    process.until(lambda: any(request.status == "hang" for request in simulator.requests))
    process.send(signal.SIGTERM)
    assert process.wait(PROMISED) == 143
    assert "Traceback" not in process.log


def test_while_the_loader_takes_nothing_the_tap_reads_ahead(command, simulator):
    entries = seeded(9_000, days=30)
    simulator.add(entries)
    config = config_for(simulator, start_date=f"{entries[0].detected_at:%Y-%m-%d}", page_size=10, window_days=1)
    process = command.start("tap-braze-sms", config=config | {"max_parallel_requests": 2})
    # What the pipe and one window hold, while nobody takes anything, is not two thirds of that.
    process.until(lambda: len(simulator.requests) > 4 * PAGES_AHEAD)
    run = process.finish()
    assert run.code == 0, run.log
    assert len(run.records) == 9_000


def whole_lines(out: bytes) -> bytes:
    return out[: out.rfind(b"\n") + 1]


@pytest.mark.parametrize("signum, maps", [(signal.SIGTERM, {}), (signal.SIGINT, MAPPED)])
def test_a_signal_ends_the_run_while_the_loader_does_not_read(command, simulator, config, many, signum, maps):
    process = command.start("tap-braze-sms", config=config | maps, keep=True)
    process.until_held_back()
    process.send(signum)
    assert process.wait(PROMISED) == 128 + signum
    run = Run(process.code, process.stdout.read(), process.log)
    assert run.out.endswith(b"\n")
    assert "Traceback" not in run.log
    assert run.records
    assert_completed_by_the_next(command, simulator, config | maps, run, many)


def test_after_a_signal_a_loader_that_reads_again_gets_whole_lines_and_a_state(command, simulator, config, many):
    process = command.start("tap-braze-sms", config=config, keep=True)
    process.until_held_back()
    process.send(signal.SIGTERM)
    run = process.finish()
    assert_ended_by(run, signal.SIGTERM)
    assert len(run.records) < len(many)
    assert_completed_by_the_next(command, simulator, config, run, many)


def test_a_second_signal_changes_nothing(command, simulator, config, many):
    process = command.start("tap-braze-sms", config=config, keep=True)
    process.until_held_back()
    # In this order the first is handled first, also where both have come: Python goes by their numbers.
    process.send(signal.SIGINT)
    process.send(signal.SIGTERM)
    run = process.finish()
    assert_ended_by(run, signal.SIGINT)
    assert_completed_by_the_next(command, simulator, config, run, many)


def test_a_signal_ends_a_run_into_batch_files(command, simulator, slowly, few, tmp_path):
    batches = {"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": {"root": str(tmp_path)}}
    config = slowly | {"batch_config": batches | {"batch_size": 50}}
    process = command.start("tap-braze-sms", config=config)
    out = read_lines(process, 4)
    simulator.behaviour.fault_kinds, simulator.behaviour.fault_rate = ("hang",), 1.0
    process.until(lambda: any(request.status == "hang" for request in simulator.requests))
    process.send(signal.SIGTERM)
    process.wait(PROMISED)
    run = process.finish(out)
    assert run.code == 143
    # At once, as a loader does: the next run takes the files away.
    rows = rows_in_files(run)
    simulator.behaviour.fault_rate = simulator.behaviour.latency = 0.0
    state = run.state
    again = command("tap-braze-sms", config=config, **({"state": state} if state else {}))
    assert again.code == 0, again.log
    assert set(rows) | set(rows_in_files(again)) == set(map(row_of, few))


def rows_in_files(run):
    """Return what is in the files that a run names."""
    files = [Path(url.removeprefix("file://")) for message in run.of("BATCH") for url in message["manifest"]]
    return rows_of([json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()])


# kill -9


@pytest.mark.parametrize("seed", range(6))
def test_after_kill_9_whatever_whole_lines_were_written_are_gone_on_from(command, simulator, config, many, seed):
    dice = random.Random(seed)
    simulator.behaviour.latency = dice.choice([0.0, 0.0, 0.01])
    process = command.start("tap-braze-sms", config=config | {"window_days": dice.choice([1, 3, 30])})
    out = read_lines(process, int(len(many) * 1.02 * dice.random() ** 2) + 1)
    process.send(signal.SIGKILL)
    out += process.stdout.read()
    assert process.wait() in {-signal.SIGKILL, 0}
    run = Run(process.code, whole_lines(out), process.log)
    assert_completed_by_the_next(command, simulator, config, run, many)


def test_runs_that_are_killed_again_and_again_complete_the_table_together(command, simulator, config, many):
    simulator.behaviour.latency = 0.01
    state, rows, kills = None, set(), 0
    for _ in range(50):
        process = command.start("tap-braze-sms", config=config, **({"state": state} if state else {}))
        out = read_lines(process, 600)
        with contextlib.suppress(ProcessLookupError):
            process.send(signal.SIGKILL)
        out += process.stdout.read()
        process.wait()
        run = Run(process.code, whole_lines(out), process.log)
        rows |= set(rows_of(run.records))
        assert (bookmark_of(run.state) or "") >= (bookmark_of(state) or ""), "went back"
        state = run.state or state
        if process.code == 0:
            break
        kills += 1
    assert rows == set(map(row_of, many))
    assert kills >= 3


# The loader


@pytest.mark.parametrize("lines", [0, 1, 10])
def test_a_loader_that_is_gone_ends_the_run_with_one_line(command, config, lines):
    process = command.start("tap-braze-sms", config=config)
    read_lines(process, lines)
    process.stdout.close()
    assert process.wait() == 1
    run = Run(process.code, b"", process.log)
    assert run.errors == ["the loader closed the pipe: its own log says why"]
    assert "Traceback" not in run.log


@pytest.mark.parametrize("signum", SIGNALS)
def test_of_a_signal_that_ends_the_loader_too_the_signal_is_told(command, config, signum):
    process = command.start("tap-braze-sms", config=config, keep=True)
    process.until_held_back()
    process.send(signum)
    process.stdout.close()
    assert process.wait(PROMISED) == 128 + signum
    assert Run(process.code, b"", process.log).errors == [STOPPED.format(signal.Signals(signum).name)]


@pytest.mark.parametrize("name", ["tap-braze-sms", "target-braze-sms"])
def test_ctrl_c_while_settings_are_read_ends_by_that_signal(command, tmp_path, name):
    os.mkfifo(tmp_path / "settings")
    process = command.start(name, "--config", str(tmp_path / "settings"))
    with (tmp_path / "settings").open("wb"):  # it is being read
        process.send(signal.SIGINT)
        process.wait(5)
    run = process.finish()
    assert run.code == 130
    assert "Traceback" not in run.log
    (error,) = run.errors
    assert error.startswith("stopped by SIGINT")


@pytest.mark.parametrize("option", ["--about", "--discover"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_what_cannot_be_told_is_one_line(tmp_path, option):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([BIN / "tap-braze-sms", option], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].endswith("the standard output: No space left on device")
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_cannot_be_written_ends_the_run_with_one_line(command, config):
    log = command.folder / "log"
    with Path(os.devnull).open("rb") as nothing, Path("/dev/full").open("wb") as full, log.open("wb") as errors:
        descriptors = (nothing.fileno(), full.fileno(), errors.fileno())
        arguments = command.arguments("tap-braze-sms", config=config)
        _, poll = command.launch(arguments, dict(os.environ), command.folder, descriptors)
        assert poll(PATIENCE) == 1
    run = Run(1, b"", log.read_text())
    assert run.errors == ["the standard output cannot be written: No space left on device"]
    assert "Traceback" not in run.log


def test_a_run_without_anywhere_to_log_to_is_like_any_other(config, many, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    tap = Path(sys.executable).with_name("tap-braze-sms")
    command = ["sh", "-c", f"{tap} --config config.json 2>&-"]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert len(Run(0, done.stdout, "").records) == len(many)


def test_batch_files_that_cannot_be_written_end_the_run_with_one_line(command, config, tmp_path):
    (tmp_path / "file").touch()
    encoding, storage = {"format": "jsonl", "compression": "gzip"}, {"root": str(tmp_path / "file" / "batches")}
    run = command("tap-braze-sms", config=config | {"batch_config": {"encoding": encoding, "storage": storage}})
    assert run.code == 78
    assert run.errors == [f"{storage['root']}: Not a directory"]
    assert "Traceback" not in run.log
    assert run.of("BATCH") == []


def test_a_loader_that_is_slow_holds_the_tap_back(command, simulator, config):
    process = command.start("tap-braze-sms", config=config | {"max_parallel_requests": 2}, keep=True)
    process.until_held_back()
    asked = len(simulator.requests)
    # What is read ahead is bounded, and then nothing more is asked for.
    assert asked < 40
    run = process.finish()
    assert run.code == 0
    assert len(simulator.requests) > asked


# Failures inside


def test_an_error_in_a_worker_ends_the_run_after_all_that_lies_before_it(simulator, config, many, monkeypatch):
    get, calls = BrazeClient.get, []

    def fail_late(self, *asked, what):
        calls.append(what)
        if len(calls) > 30:
            msg = "a defect"
            raise RuntimeError(msg)
        return get(self, *asked, what=what)

    monkeypatch.setattr(BrazeClient, "get", fail_late)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(RuntimeError, match="a defect"):
        TapBrazeSMS(config=config).sync_all()
    run = Run(1, out.getvalue().encode(), "")
    assert run.messages[-1]["type"] == "STATE"
    rows = rows_of(run.records)
    assert rows
    monkeypatch.undo()
    again = run_here(config, state=run.state)
    assert set(rows) | set(rows_of(again.records)) == set(map(row_of, many))
    assert rows_of(again.records)[0][0] >= run.bookmark


def test_a_defect_in_what_is_asked_next_ends_the_run_instead_of_leaving_all_to_wait(config, monkeypatch):
    next_request, calls = WindowReader.next_request, []

    def break_down(self, *, speculative=False):
        calls.append(self)
        if len(calls) > 20:
            msg = "a defect"
            raise RuntimeError(msg)
        return next_request(self, speculative=speculative)

    monkeypatch.setattr(WindowReader, "next_request", break_down)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(RuntimeError, match="a defect"):
        TapBrazeSMS(config=config).sync_all()
    assert Run(1, out.getvalue().encode(), "").messages[-1]["type"] == "STATE"


def test_a_window_that_asks_for_nothing_more_though_it_is_not_complete_ends_the_run(config, monkeypatch):
    next_request, calls = WindowReader.next_request, []

    def fall_silent(self, *, speculative=False):
        calls.append(self)
        return next_request(self, speculative=speculative) if len(calls) < 20 else None

    monkeypatch.setattr(WindowReader, "next_request", fall_silent)
    out = io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        pytest.raises(RuntimeError, match="no request is in flight, yet the list is not"),
    ):
        TapBrazeSMS(config=config).sync_all()
    assert Run(1, out.getvalue().encode(), "").messages[-1]["type"] == "STATE"
