"""Progress: lines in a log, one live line on a terminal."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import config_for, run_here
from simulator import generated

from tap_braze_sms.singer.progress import EVERY, EVERY_LIVE, Progress

LOG = logging.getLogger("tests.progress")
LINE = re.compile(
    r"(?:(\d+)% read|(all) read)(?:, about [^,]+)?, (\d+) records? written, "
    r"(\d+) requests?(?: \(\d+ a second\))?, (\d+) more"
)


def numbers(line: re.Match[str]) -> list[int]:
    """Return a line's fraction in per cent, records, requests, and requests left."""
    fraction_done, whole, *counts = line.groups()
    return [100 if whole else int(fraction_done), *map(int, counts)]


class Job:
    """Work whose state a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.fraction_done = 0.0
        self.request_count = 0
        self.requests_remaining: int | None = None

    def progress(self) -> Progress:
        return Progress(
            LOG,
            self,
            fraction_done=lambda: self.fraction_done,
            clock=lambda: self.now,
        )


@pytest.fixture
def job():
    return Job()


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, LOG.name)
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_run_that_is_over_soon_tells_nothing(job, lines):
    with job.progress() as progress:
        for _ in range(100):
            job.now += EVERY / 101
            progress.report()
    assert lines() == []


def test_a_long_run_tells_how_far_it_is_every_ten_seconds(job, lines):
    with job.progress() as progress:
        for second in range(1, 36):
            job.now += 1
            job.fraction_done, job.request_count, job.requests_remaining = (
                second / 40,
                60 * second,
                10_000 - 60 * second,
            )
            progress.records = 1_000 * second
            progress.report()
    pace, rest = "requests (60 a second)", "more before the rate limit pauses"
    assert lines() == [
        f"25% read, about 30 s to go, 10000 records written, 600 {pace}, 9400 {rest}",
        f"50% read, about 20 s to go, 20000 records written, 1200 {pace}, 8800 {rest}",
        f"75% read, about 10 s to go, 30000 records written, 1800 {pace}, 8200 {rest}",
    ]


def test_where_all_is_read_and_the_loader_still_takes_it_no_end_is_promised(job):
    progress = job.progress()
    job.now, job.fraction_done, job.request_count, progress.records = job.now + 10, 1.0, 100, 30_000
    assert str(progress) == "all read, 30000 records written, 100 requests (10 a second)"


def test_what_is_not_known_is_not_told(job, lines):
    with job.progress() as progress:
        job.now += EVERY
        job.fraction_done, job.request_count = 0.01, 20
        progress.report()
    assert lines() == ["1% read, 0 records written, 20 requests (2 a second)"]


@pytest.mark.parametrize("fraction_done, said", [(0.5, "10 s"), (0.11, "81 s"), (0.05, "3 min"), (0.02, "8 min")])
def test_the_time_to_go_is_said_as_people_say_it(job, fraction_done, said):
    progress = job.progress()
    job.now, job.fraction_done = job.now + 10, fraction_done
    assert f"% read, about {said} to go, " in str(progress)


def test_the_time_to_go_may_be_hours(job):
    progress = job.progress()
    job.now, job.fraction_done = job.now + 3_600, 0.25
    assert str(progress).startswith("25% read, about 3.0 h to go, ")


def test_the_end_says_what_it_took(job):
    with job.progress() as progress:
        job.now, job.request_count = job.now + 4, 200
    assert progress.summary == "200 requests (50 a second), 4.0 s"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_is_over_tells_nothing_though_a_loader_is_still_waited_for(job, lines, monkeypatch, is_terminal):
    error = io.StringIO()
    error.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stderr", error)
    with job.progress() as progress:
        pass
    shown = error.getvalue()
    job.now += 100 * EVERY
    progress.report()
    assert (lines(), error.getvalue()) == ([], shown)


def test_a_run_tells_its_share_of_the_range_its_budget_and_at_the_end_its_sum(simulator, caplog, monkeypatch):
    monkeypatch.setattr("tap_braze_sms.singer.progress.EVERY", 0.0)
    caplog.set_level(logging.INFO)
    simulator.add(generated(4_000, days=60))
    simulator.behaviour.rate_limit = 1_000
    run = run_here(config_for(simulator, rate_limit_share=1, end_date="2100-01-01"))
    assert len(run.records) == 4_000
    told = [found for line in caplog.messages if (found := LINE.match(line))]
    shares, records, requests, left = zip(*map(numbers, told), strict=True)
    assert len(told) > 2
    for growing in (shares, records, requests):
        assert list(growing) == sorted(growing)
    assert shares[0] < shares[-1] <= 100
    # Answers under way when a line is written are not yet in either.
    assert all(990 - asked <= rest <= 1_000 for asked, rest in zip(requests, left, strict=True))
    (summary,) = [line for line in caplog.messages if line.startswith("Read ")]
    said = rf"^Read 4000 records detected since \S* and before 2100-01-01T\S*: \d+ windows, {len(simulator.requests)} "
    assert re.search(said, summary)


def test_numbers_looked_up_are_told_of_too(simulator, caplog, monkeypatch):
    monkeypatch.setattr("tap_braze_sms.singer.progress.EVERY", 0.0)
    caplog.set_level(logging.INFO)
    phones = [f"+1555010{n:04}" for n in range(500)]
    run_here(config_for(simulator, phone_numbers=phones))
    told = [found for line in caplog.messages if (found := LINE.match(line)) and int(found[3])]
    assert told
    for fraction_done, records, requests in (numbers(found)[:3] for found in told):
        assert fraction_done == records / 500 * 100
        # In both spellings, as no answer shows how Braze compares them.
        assert records / 25 <= requests <= 20
    assert any(
        line.startswith("Asked about 500 numbers, 0 of them on the list: 20 requests") for line in caplog.messages
    )


class ClosedTerminal(io.StringIO):
    """A terminal whose window was closed."""

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")


def test_a_terminal_that_is_closed_does_not_end_the_run(job, monkeypatch, lines):
    monkeypatch.setattr(sys, "stderr", ClosedTerminal())
    with job.progress() as progress:
        for _ in range(2):
            job.now += EVERY
            progress.report()
    # What is left is the log, for whom it still reaches.
    assert len(lines()) == 1


def test_on_a_terminal_one_live_line_makes_room_for_log_lines(simulator, tmp_path):
    # Long enough, at so many seconds a request one after another, to be told of several times.
    simulator.add(generated(900, days=3))
    simulator.behaviour.latency = EVERY_LIVE / 2
    start = str(dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=3))
    config = tmp_path / "config.json"
    config.write_text(json.dumps(config_for(simulator, start_date=start, max_parallel_requests=1, page_size=100)))
    ours, theirs = pty.openpty()
    tap = [Path(sys.executable).with_name("tap-braze-sms"), "--config", config]
    with subprocess.Popen(tap, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        # A terminal whose other end is closed gives an error on Linux, nothing elsewhere.
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 65_536):
                shown += piece
    os.close(ours)
    assert process.returncode == 0
    *before, last = shown.decode().replace("\r\n", "\n").split("\n")
    assert "% read, " in "".join(before)
    for line in before:
        # What a log line follows on was cleared away, whatever stood there.
        assert "% read" not in line.split("\r\x1b[2K")[-1]
    assert last == ""
