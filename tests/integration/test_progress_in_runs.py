"""What real runs tell of their progress, in the log and on a terminal."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from braze_simulator import generated
from support.runs import config_for, run_here
from tap_braze_sms.singer.progress import EVERY_LIVE

LINE = re.compile(
    r"(?:(\d+)% read|(all) read)(?:, about [^,]+)?, (\d+) records? written, "
    r"(\d+) requests?(?: \(\d+ a second\))?, (\d+) more"
)


def numbers(line: re.Match[str]) -> list[int]:
    """Return a line's fraction in per cent, records, requests, and requests left."""
    fraction_done, whole, *counts = line.groups()
    return [100 if whole else int(fraction_done), *map(int, counts)]


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
