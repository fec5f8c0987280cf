"""A stream that is cut anywhere: the next run completes the table, and reads little again (promise 5)."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braze_simulator import Entry, Simulator, number, seeded, spell
from support.commands import Run, bookmark_of
from support.examples import examples
from support.runs import config_for, fixed, row_of, rows_of, run_here, state_of

UNTIL = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)
END = UNTIL + dt.timedelta(days=1)


@dataclass
class Cut:
    """A run of which only the first lines arrived."""

    lines: list[bytes]

    @property
    def run(self) -> Run:
        return Run(1, b"".join(self.lines), "")


def read_again(since: str, lookback: int) -> str:
    return fixed(dt.datetime.fromisoformat(since) - dt.timedelta(minutes=lookback))


def rows_between_states(run: Run) -> list[list[tuple]]:
    """Return the rows emitted from each STATE to the next."""
    groups: list[list[tuple]] = [[]]
    for message in run.messages:
        if message["type"] == "STATE":
            groups.append([])
        elif message["type"] == "RECORD":
            groups[-1] += rows_of([message["record"]])
    return groups


@examples(30)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 300),
    days=st.integers(1, 60),
    ties=st.sampled_from([0.0, 0.02, 0.5]),
    burst_share=st.sampled_from([0.0, 0.8]),
    window_days=st.sampled_from([1, 7, 30]),
    page_size=st.sampled_from([10, 50, 500]),
    lookback=st.sampled_from([0, 60, 3 * 24 * 60]),
    parallel=st.sampled_from([1, 8]),
    mapped=st.booleans(),
    cuts=st.lists(st.floats(0, 1), min_size=2, max_size=2),
)
def test_a_run_cut_after_any_line_is_completed_by_the_next(
    seed, count, days, ties, burst_share, window_days, page_size, lookback, parallel, mapped, cuts
):
    entries = seeded(count, days=days, until=UNTIL, seed=seed, ties=ties, burst_share=burst_share)
    wanted = set(map(row_of, entries))
    with Simulator(entries, seed=seed) as simulator:
        config = config_for(
            simulator,
            start_date=(UNTIL - dt.timedelta(days=days)).isoformat(),
            end_date=END.isoformat(),
            window_days=window_days,
            page_size=page_size,
            lookback_minutes=lookback,
            max_parallel_requests=parallel,
            **({"stream_maps": {"invalid_phone_numbers": {"source": "'Braze'"}}} if mapped else {}),
        )
        whole = run_here(config)
        assert set(rows_of(whole.records)) == wanted
        lines = whole.out.splitlines(keepends=True)
        for part in cuts:
            cut = Cut(lines[: round(len(lines) * part)]).run
            simulator.requests.clear()
            again = run_here(config, state=cut.state)
            emitted, rows = set(rows_of(cut.records)), rows_of(again.records)
            assert emitted | set(rows) == wanted
            assert len(rows) == len(set(rows))
            if cut.bookmark is None:
                continue
            since = read_again(cut.bookmark, lookback)
            # Again comes the lookback, and what was emitted since the STATE: nothing else.
            assert all(row[0] >= since for row in rows)
            assert all(row[0] <= cut.bookmark for group in rows_between_states(cut)[:-1] for row in group)
            # A single day is asked for with the day before, where end_date is known to count.
            asked = min((request.params["start_date"][0] for request in simulator.requests), default="9")
            assert asked >= since[:10]
            assert again.bookmark == fixed(END)
    # One window under way at most, however much each holds.
    for group in rows_between_states(whole):
        assert len({row[0][:10] for row in group}) <= window_days


@examples(15)
@given(
    seed=st.integers(0, 10**6), late=st.integers(1, 20), cut_at=st.floats(0, 1), lookback=st.sampled_from([60, 4320])
)
def test_what_appears_late_within_the_lookback_is_read_by_the_next_run(seed, late, cut_at, lookback):
    dice = random.Random(seed)
    entries = seeded(200, days=20, until=UNTIL, seed=seed)
    with Simulator(entries, seed=seed) as simulator:
        start = (UNTIL - dt.timedelta(days=20)).isoformat()
        config = config_for(simulator, start_date=start, end_date=UNTIL.isoformat(), lookback_minutes=lookback)
        lines = run_here(config).out.splitlines(keepends=True)
        cut = Cut(lines[: round(len(lines) * cut_at)]).run
        bookmark = dt.datetime.fromisoformat(cut.bookmark) if cut.bookmark else UNTIL - dt.timedelta(days=19)
        moments = [bookmark - dt.timedelta(minutes=lookback) * dice.random() for _ in range(late)]
        added = [Entry(f"+44{number(i)}", moment, None, spell(moment)) for i, moment in enumerate(moments)]
        # Spelled in milliseconds, as it would be; one may fall out of the lookback by that.
        added = [e._replace(detected_at=dt.datetime.fromisoformat(e.spelled[:-1] + "+00:00")) for e in added]
        simulator.add(added)
        again = rows_of(run_here(config, state=cut.state).records)
        since = max(read_again(fixed(bookmark), lookback), start)
        assert {row_of(entry) for entry in added if fixed(entry.detected_at) >= since} <= set(again)


@examples(8)
@given(seed=st.integers(0, 10**6), parts=st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_states_of_cut_runs_never_go_back(seed, parts):
    entries = seeded(300, days=30, until=UNTIL, seed=seed)
    with Simulator(entries, seed=seed) as simulator:
        start = (UNTIL - dt.timedelta(days=30)).isoformat()
        # What is read again lies in windows of its own: their STATEs would be earlier ones.
        config = config_for(simulator, start_date=start, end_date=END.isoformat(), window_days=2, page_size=50)
        config["lookback_minutes"] = 3 * 24 * 60
        state, rows = None, set()
        for part in [*parts, 1.0]:
            lines = run_here(config, state=state).out.splitlines(keepends=True)
            cut = Cut(lines[: round(len(lines) * part)]).run
            marks = [bookmark_of(state) or "", *(bookmark_of(m["value"]) or "" for m in cut.of("STATE"))]
            assert all(earlier <= later for earlier, later in itertools.pairwise(marks))
            rows |= set(rows_of(cut.records))
            state = cut.state or state
        assert rows == set(map(row_of, entries))


def test_the_state_is_the_same_few_bytes_after_ten_years_as_after_one_day():
    sizes = set()
    for days in (1, 3_650):
        with Simulator(seeded(50, days=days, until=UNTIL)) as simulator:
            start = (UNTIL - dt.timedelta(days=days)).isoformat()
            run = run_here(config_for(simulator, start_date=start, end_date=END.isoformat(), window_days=100))
        expected = {"replication_key": "invalid_detected_at", "replication_key_value": fixed(END)}
        assert run.state["bookmarks"]["invalid_phone_numbers"] == expected
        # From the first to the last STATE of a run.
        sizes |= {len(json.dumps(message["value"])) for message in run.of("STATE")}
    assert len(sizes) == 1
    assert max(sizes) < 160


@pytest.mark.parametrize("lookback", [0, 60])
def test_a_bookmark_on_an_instant_that_several_share_loses_none_of_them(lookback):
    noon = dt.datetime(2026, 2, 1, 12, tzinfo=dt.timezone.utc)
    entries = [Entry(number(i), noon, None, spell(noon)) for i in range(40)]
    with Simulator(entries) as simulator:
        config = config_for(simulator, start_date="2026-02-01", end_date="2026-02-02", lookback_minutes=lookback)
        run = run_here(config | {"page_size": 10}, state=state_of(fixed(noon)))
    assert set(rows_of(run.records)) == set(map(row_of, entries))
