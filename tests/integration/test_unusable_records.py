"""Records that cannot be used, left out by the whole tap: whatever else is on the list arrives (promise 3)."""

from __future__ import annotations

import datetime as dt
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braze_simulator import Simulator, odd, seeded, spell, unusable
from braze_simulator.seeds import UNUSABLE
from support.examples import examples
from support.runs import KEY, assert_exact, config_for, run_here
from tap_braze_sms.singer.plugin import MOST_WARNINGS

NAME = "tap-braze-sms"
UNTIL = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)


def config_of(serving: Simulator, **settings: object) -> dict:
    return config_for(
        serving, **{"start_date": "2026-01-01", "end_date": "2026-03-02", "skip_bad_records": True} | settings
    )


@pytest.mark.parametrize(
    "behaviour",
    [{}, {"page_cap": 100}, {"order": "hour"}, {"order": "number"}, {"order": "random"}, {"delay_seconds": 90.0}],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 300])
def test_all_others_arrive_in_whatever_order_they_are_listed(command, behaviour, count):
    entries = seeded(2_000, days=30, until=UNTIL, burst_share=0.5)
    # Of those without a phone, by number a whole answer would have nothing else.
    kinds = ["null_time", "unreadable_time", "no_time", "null_phone"]
    bad = [
        unusable(entry.detected_at, kinds[0 if n % 10 else n // 10 % 4], phone=f"+1212555{n:04}")
        for n, entry in enumerate(random.Random(1).sample(entries, count))
    ]
    with Simulator([*entries, *bad], api_key=KEY, **behaviour) as serving:
        run = command(NAME, config=config_of(serving, page_size=100))
    assert run.code == 0, run.log
    assert_exact(run, entries)
    assert run.log.count("Left out a record that cannot be used, at position") == min(count, MOST_WARNINGS)
    assert f"; {count} record{'s' * (count > 1)} that cannot be used left out" in run.log
    assert "1212555" not in run.log


@examples(60)
@given(
    places=st.lists(st.sampled_from([None, *UNUSABLE]), min_size=1, max_size=40).filter(lambda places: None in places),
    order=st.sampled_from(["time", "number", "ascending"]),
    tied=st.booleans(),
)
def test_wherever_they_stand_on_a_day_the_run_goes_on(places, order, tied):
    moments = [UNTIL - dt.timedelta(hours=1, seconds=0 if tied else place) for place in range(len(places))]
    good = seeded(len(places), days=1, until=UNTIL, ties=0)
    good = [entry._replace(detected_at=at, spelled=spell(at)) for entry, at in zip(good, moments, strict=True)]
    bad = [unusable(at, kind) for at, kind in zip(moments, places, strict=True) if kind]
    good = [entry for entry, kind in zip(good, places, strict=True) if not kind]
    with Simulator([*good, *bad], api_key=KEY, order=order) as serving:
        assert_exact(run_here(config_of(serving)), good)


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("count", [1, 3, 9, 30])
def test_a_scheduled_run_goes_on_where_the_oldest_of_its_records_is_one(command, kind, count):
    entries = seeded(count, days=1, until=UNTIL, ties=0)
    before = seeded(2_000, days=20, until=UNTIL - dt.timedelta(days=15), seed=2)
    with Simulator(before, api_key=KEY) as serving:
        first = command(NAME, config=config_of(serving, end_date="2026-02-20"))
        serving.add([unusable(UNTIL - dt.timedelta(days=1, hours=-1), kind)])
        serving.add([entry for entry in entries if entry.detected_at > UNTIL - dt.timedelta(hours=22)])
        run = command(NAME, config=config_of(serving), state=first.state)
    assert run.code == 0, run.log


def test_an_answer_in_which_no_record_can_be_used_stops_the_run_even_so(command):
    with Simulator(
        [unusable(UNTIL - dt.timedelta(hours=n + 1), "null_phone") for n in range(9)], api_key=KEY
    ) as serving:
        run = command(NAME, config=config_of(serving))
    assert run.code == 65
    (error,) = run.errors
    assert error.endswith(
        "the record at position 0 cannot be used: it has no phone (as text); nor can any other of its answer"
    )


@pytest.mark.parametrize("left_out", [0, 1])
def test_no_loader_takes_away_what_was_left_out(command, left_out):
    entries = seeded(50, days=5, until=UNTIL)
    with Simulator([*entries, *odd(entries, unusable_entries=left_out)], api_key=KEY) as serving:
        config = config_for(
            serving, start_date="2026-01-01", skip_bad_records=True, emit_activate_version_messages=True
        )
        catalog = json.loads(command.text(NAME, "--discover", config=config).stdout)
        catalog["streams"][0]["replication_method"] = "FULL_TABLE"
        run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    assert len(run.of("ACTIVATE_VERSION")) == 1 - left_out
    assert ("No ACTIVATE_VERSION is sent" in run.log) == bool(left_out)
