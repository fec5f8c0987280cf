"""The list read without Singer, from any program (promise 25)."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import textwrap

import pytest

from braze_simulator import Simulator, digits, seeded
from support.runs import KEY
from tap_braze_sms import settings
from tap_braze_sms.braze.errors import RequestRefusedError
from tap_braze_sms.braze.list_reader import DEFAULTS, read_records

SINCE = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)


def test_a_program_that_has_no_singer_reads_the_list_in_a_dozen_lines():
    with Simulator(seeded(2_000, days=60), api_key=KEY, removals_per_page=0.0) as braze:
        program = textwrap.dedent(f"""
            import datetime as dt, sys
            sys.modules["singer_sdk"] = None  # importing it fails
            from tap_braze_sms.braze.list_reader import read_records

            since = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
            for record in read_records(api_key={KEY!r}, api_url={braze.url!r}, since=since):
                print(record["phone"], record["invalid_detected_at"], record["reason"])
        """)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        lines = [line.split() for line in done.stdout.splitlines()]
        assert {digits(line[0]) for line in lines} == {digits(entry.phone) for entry in braze.entries()}
        assert [line[1] for line in lines] == sorted(line[1] for line in lines)


def test_what_moves_and_differs_is_allowed_for_as_in_the_tap():
    before = seeded(3_000, days=30)
    with Simulator(before, api_key=KEY, order="number", page_cap=100, removals_per_page=0.05) as braze:
        records = list(read_records(api_key=KEY, api_url=braze.url, since=SINCE - dt.timedelta(days=365)))
        stayed = {digits(entry.phone) for entry in before} - {digits(entry.phone) for entry in braze.removed}
        assert stayed <= {digits(record["phone"]) for record in records}


def test_an_error_says_what_to_do_as_in_the_tap():
    with Simulator(api_key="another") as braze:
        reading = read_records(api_key=KEY, api_url=braze.url, since=SINCE)
        with pytest.raises(RequestRefusedError, match="it does not accept the API key"):
            list(reading)


def test_its_defaults_are_those_of_the_tap():
    properties = settings.TAP.to_dict()["properties"]
    assert {name: properties[name]["default"] for name in DEFAULTS} == DEFAULTS
