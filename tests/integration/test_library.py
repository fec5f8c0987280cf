"""The list read without Singer, from any program (promise 25)."""

from __future__ import annotations

import datetime as dt
import inspect
import itertools
import re
import signal
import subprocess
import sys

import pytest

from braze_simulator import Simulator, digits, seeded
from support.paths import ROOT
from support.runs import KEY
from tap_braze_sms import settings
from tap_braze_sms.braze.errors import RequestRefusedError
from tap_braze_sms.braze.list_reader import BOUNDS, read_records
from tap_braze_sms.reading.errors import Kind

SINCE = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
#: Before all that the simulator has.
EARLY = SINCE - dt.timedelta(days=365)

NOTEBOOK, NEXT = re.findall(
    r"^ *```python\n(.*?)^ *```$", (ROOT / "docs/library.md").read_text(), re.MULTILINE | re.DOTALL
)


def program(braze, code):
    """Return a program of the guide's that reads a simulator, where Singer cannot be imported."""
    code = inspect.cleandoc(code)
    for named, there in (('"your-rest-api-key"', repr(KEY)), ('instance="US-06"', f"api_url={braze.url!r}")):
        assert named in code
        code = code.replace(named, there)
    return f'import sys\nsys.modules["singer_sdk"] = None\n{code}\n'


def test_a_program_that_has_no_singer_reads_the_list_in_a_dozen_lines():
    with Simulator(seeded(2_000, days=60), api_key=KEY, removals_per_page=0.0) as braze:
        assert len(NOTEBOOK.splitlines()) <= 12
        code = program(braze, NOTEBOOK).replace("2026, 1, 1", "2020, 1, 1")
        code += "for record in records:\n    print(record['phone'], record['invalid_detected_at'], record['reason'])\n"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        first, reasons, days, *lines = done.stdout.splitlines()
        assert first == "2000 numbers found invalid since 2020-01-01"
        assert re.search(r"'provider_error': \d{3,}", reasons)
        assert re.search(r"\('20\d\d-\d\d-\d\d', \d+\)", days)
        records = [line.split() for line in lines]
        assert {digits(phone) for phone, *_ in records} == {digits(entry.phone) for entry in braze.entries()}
        assert [at for _, at, *_ in records] == sorted(at for _, at, *_ in records)


def test_the_next_reading_goes_on_where_the_last_ended():
    with Simulator(seeded(2_000, days=60), api_key=KEY) as braze:
        known = {"dt": dt, "read_records": read_records}
        known["records"] = list(read_records(api_key=KEY, api_url=braze.url, since=EARLY))
        braze.detect(5, minutes=3)
        braze.requests.clear()
        exec(program(braze, NEXT).partition("None\n")[2], known)  # noqa: S102 (the guide's own lines)
        later = list(known["later"])
        assert len(braze.requests) <= 2
        both = {(record["phone"], record["invalid_detected_at"]) for record in [*known["records"], *later]}
        assert len(both) == 2_005


def test_what_moves_and_differs_is_allowed_for_as_in_the_tap():
    before = seeded(3_000, days=30)
    with Simulator(before, api_key=KEY, order="number", page_cap=100, removals_per_page=0.05) as braze:
        records = list(read_records(api_key=KEY, api_url=braze.url, since=EARLY))
        stayed = {digits(entry.phone) for entry in before} - {digits(entry.phone) for entry in braze.removed}
        assert stayed <= {digits(record["phone"]) for record in records}


def test_an_error_says_what_to_do_as_in_the_tap():
    with Simulator(api_key="another") as braze:
        reading = read_records(api_key=KEY, api_url=braze.url, since=SINCE)
        with pytest.raises(RequestRefusedError, match="it does not accept the API key") as caught:
            list(reading)
        assert caught.value.kind is Kind.ACCESS


INTERRUPTED = """
import logging, signal, threading
from tap_braze_sms.braze.list_reader import read_records

logging.basicConfig()
# As a terminal has it; what a script starts with "&" would ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    list(read_records(api_key={key!r}, api_url={url!r}, since={since!r}))
except KeyboardInterrupt:
    for thread in threading.enumerate():
        if thread.name.startswith("braze-request") and thread.is_alive():
            thread.join()
    print("all requests have ended")
"""


def test_a_program_that_is_interrupted_leaves_no_request_behind():
    with Simulator(seeded(1_000, days=60), api_key=KEY, fault_rate=1.0, fault_kinds=["500"]) as braze:
        code = "import datetime\n" + INTERRUPTED.format(key=KEY, url=braze.url, since=EARLY)
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            try:
                # It would be asked for again and again, for minutes.
                assert "500" in run.stderr.readline()
                run.send_signal(signal.SIGINT)
                out, err = run.communicate(timeout=30)
            finally:
                run.kill()
        assert (out, run.returncode) == ("all requests have ended\n", 0), err


def test_nothing_is_requested_before_the_first_record_is_asked_for():
    with Simulator(seeded(100, days=5), api_key=KEY) as braze:
        reading = read_records(api_key=KEY, api_url=braze.url, since=EARLY)
        assert not braze.requests
        assert len(list(itertools.islice(reading, 3))) == 3


@pytest.mark.parametrize(
    "arguments, problem",
    [
        ({"instance": "US-06"}, "instance: got both of instance and api_url"),
        ({"api_url": None}, "instance: got neither of instance and api_url"),
        ({"api_url": None, "instance": "US-99"}, "instance: got 'US-99', takes one of US-01, "),
        ({"api_url": "http://rest.iad-01.braze.com"}, "api_url: got 'http://rest.iad-01.braze.com', takes https://"),
        ({"api_key": "a key"}, "api_key: got a string with a character that does not belong there"),
        ({"since": dt.datetime(2026, 1, 1)}, "since: got 2026-01-01 00:00:00, takes a datetime with a time zone"),  # noqa: DTZ001
        ({"since": "2026-01-01"}, "since: got 2026-01-01, takes a datetime with a time zone"),
        ({"since": dt.date(2026, 1, 1)}, "since: got 2026-01-01, takes a datetime with a time zone"),
        ({"api_key": ""}, "api_key: got an empty string, takes the key alone"),
        ({"until": dt.datetime(2026, 1, 1)}, "until: got 2026-01-01 00:00:00, takes a datetime with a time zone"),  # noqa: DTZ001
        ({"page_size": 1}, "page_size: got 1, takes a number from 2 to 500"),
        ({"max_parallel_requests": 65}, "max_parallel_requests: got 65, takes a number from 1 to 64"),
        ({"rate_limit_share": 0}, "rate_limit_share: got 0, takes a number above 0 and at most 1"),
        ({"request_timeout": float("nan")}, "request_timeout: got nan, takes a number above 0 and at most 86400"),
    ],
)
def test_a_wrong_argument_is_said_before_anything_is_requested(arguments, problem):
    with Simulator(api_key=KEY) as braze:
        with pytest.raises(ValueError, match=f"^{re.escape(problem)}"):
            read_records(**{"api_key": KEY, "api_url": braze.url, "since": SINCE} | arguments)
        assert not braze.requests


def test_it_takes_what_the_tap_takes_and_its_defaults_are_the_taps():
    properties = settings.TAP.to_dict()["properties"]
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(read_records).parameters.items()
        if name in properties and parameter.default not in {None, inspect.Parameter.empty}
    }
    assert defaults == {name: properties[name]["default"] for name in defaults}
    assert BOUNDS.keys() | {"skip_bad_records"} == defaults.keys()
    for name, bounds in BOUNDS.items():
        least = properties[name].get("minimum", properties[name].get("exclusiveMinimum"))
        assert (least, properties[name]["maximum"]) == bounds
        assert ("exclusiveMinimum" in properties[name]) is (least == 0)
    guide = (ROOT / "docs/library.md").read_text()
    assert [name for name in inspect.signature(read_records).parameters if f"`{name}`" not in guide] == []
