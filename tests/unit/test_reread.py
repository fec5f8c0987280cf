"""Which older days a run reads again: in turn, whatever happens to the runs (promise 29)."""

from __future__ import annotations

import datetime as dt
import logging

from hypothesis import given
from hypothesis import strategies as st

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.checkpoint import REREAD, VALUE, Checkpoint

START = dt.datetime(2026, 1, 1, 7, 30, tzinfo=dt.timezone.utc)
KEY = "invalid_detected_at"


def checkpoint(state: dict, bookmark: dt.datetime, lookback: int = 60) -> Checkpoint:
    state.setdefault("replication_key_value", timestamps.format_utc(bookmark))
    return Checkpoint(
        state,
        KEY,
        start=START,
        end=None,
        lookback=dt.timedelta(minutes=lookback),
        now=bookmark + dt.timedelta(minutes=10),
        logger=logging.getLogger(__name__),
    )


@given(
    history=st.integers(0, 90 * 24 * 60),
    days=st.integers(1, 120),
    lookback=st.integers(0, 10_000),
    cut=st.integers(0, 9),
)
def test_every_older_day_is_read_again_in_so_many_runs_and_the_bookmark_stays(history, days, lookback, cut):
    """Runs that are cut go on where they were."""
    bookmark = START + dt.timedelta(minutes=history)
    state: dict = {}
    end = checkpoint(state, bookmark, lookback).since
    kept, covered, runs = state[VALUE], START, 0
    while end > START:
        begin, until = checkpoint(state, bookmark, lookback).days_to_reread(days)
        assert begin <= covered < until <= end
        assert until - begin <= dt.timedelta(days=days)
        # One in some runs is ended amid its days.
        reached = begin + (until - begin) / 2 if runs < cut else until
        run = checkpoint(state, bookmark, lookback)
        run.note_reread(timestamps.format_utc(reached))
        # Of a day that was read in part, all is read again.
        midnight = reached.replace(hour=0, minute=0, second=0, microsecond=0)
        covered = max(START, until if reached == until else midnight)
        runs += 1
        assert state[VALUE] == kept
        if covered == end:
            break
    assert runs <= (end - START).days // days + 2 + cut
    # The next one begins anew.
    assert REREAD not in state
    if end > START:
        assert checkpoint(state, bookmark, lookback).days_to_reread(days)[0] == START


def test_a_first_run_and_one_that_asks_for_no_days_read_none_again():
    assert checkpoint({}, START).days_to_reread(3) is None
    assert checkpoint({}, START + dt.timedelta(days=9)).days_to_reread(0) is None


def test_a_place_that_is_no_day_or_lies_behind_the_bookmark_begins_anew():
    for place in ("yesterday", "", "2027-01-01", "1999-01-01"):
        found = checkpoint({REREAD: place}, START + dt.timedelta(days=9)).days_to_reread(2)
        assert found == (START, dt.datetime(2026, 1, 3, tzinfo=dt.timezone.utc))
