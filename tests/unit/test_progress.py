"""Progress: lines in a log, one live line on a terminal."""

from __future__ import annotations

import errno
import io
import logging
import re
import sys

import pytest

from tap_braze_sms.singer.progress import EVERY, Progress

LOG = logging.getLogger("tests.progress")
LINE = re.compile(
    r"(?:(\d+)% read|(all) read)(?:, about [^,]+)?, (\d+) records? written, "
    r"(\d+) requests?(?: \(\d+ a second\))?, (\d+) more"
)


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
