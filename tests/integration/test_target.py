"""target-braze-sms: verified numbers leave the list (promise 16)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess

import pytest
from singer_sdk.testing import get_target_test_class

from braze_simulator import digits
from support.commands import Run
from support.paths import BIN, DATA
from support.runs import KEY, ONE_SPELLING, lines
from tap_braze_sms.braze.rate_limit import budget_of
from tap_braze_sms.singer.plugin import LAST_RESORT
from tap_braze_sms.tap import TapBrazeSMS
from tap_braze_sms.target import TargetBrazeSMS

#: Seconds after a signal in which a run ends by itself, before its process is ended whatever it does.
BY_ITSELF = LAST_RESORT - 1

SCHEMA = {
    "type": "SCHEMA",
    "stream": "verified",
    "schema": {"properties": {"phone": {"type": "string"}}},
    "key_properties": [],
}


def record(phone: object, stream: str = "verified", field: str = "phone") -> dict:
    return {"type": "RECORD", "stream": stream, "record": {field: phone}}


def state(value: object) -> dict:
    return {"type": "STATE", "value": value}


def test_120_numbers_leave_the_list_in_three_requests(simulator, listed, load):
    done = load(SCHEMA, *map(record, listed[:120]), state({"n": 120}))
    assert done.code == 0, done.log
    assert [len(post) for post in simulator.removal_posts] == [50, 50, 20]
    assert {e.phone for e in simulator.entries()} == set(listed[120:])
    assert done.messages == [{"n": 120}]
    assert "Asked to take off: 120 numbers, 0 repeated, 0 skipped; 3 requests" in done.log


def test_a_number_goes_once_however_it_is_spelled_and_whatever_stream_names_it(simulator, listed, load):
    other = SCHEMA | {"stream": "other"}
    number = listed[0].lstrip("+")
    done = load(
        SCHEMA,
        other,
        *map(record, [number, f"+{number}", f"+1 {number[1:4]} {number[4:]}"]),
        record(number, "other"),
        *map(record, listed[1:60]),
        record(number),
    )
    assert done.code == 0, done.log
    sent = [phone for post in simulator.removal_posts for phone in post]
    assert len(sent) == len(set(sent)) == 60
    assert "Asked to take off: 60 numbers, 4 repeated" in done.log
    # A batch holds different numbers, whatever streams they come from.
    assert [len(post) for post in simulator.removal_posts] == [50, 10]


def test_removing_a_number_that_is_not_listed_is_no_error(simulator, load):
    assert load(SCHEMA, record("+12025550100")).code == 0
    assert simulator.removal_posts == [["+12025550100"]]


def test_a_dry_run_posts_nothing_and_passes_no_state_on(simulator, listed, load):
    done = load(SCHEMA, *map(record, listed[:70]), state({"n": 70}), dry_run=True)
    assert done.code == 0
    assert not simulator.requests
    assert done.messages == []
    assert "Dry run, nothing is changed: 70 numbers" in done.log


def test_when_the_second_batch_is_refused_only_the_first_ones_state_is_passed_on(simulator, listed, load):
    messages = [SCHEMA]
    for n, phone in enumerate(listed[:130], 1):
        messages += [record(phone), state({"n": n})] if n % 10 == 0 else [record(phone)]
    simulator.behaviour.fail_next = ["slow", "400"]
    done = load(*messages)
    assert done.code == 78
    assert done.messages[-1] == {"n": 50}
    assert all(s["n"] <= 50 for s in done.messages)
    assert "batch 2 (records 51 to 100): " in done.log
    assert "Traceback" not in done.log
    assert [len(post) for post in simulator.removal_posts] == [50]
    # The next run goes on from that state: nothing of the first batch is posted again.
    done = load(SCHEMA, *map(record, listed[50:130]))
    assert done.code == 0
    sent = [phone for post in simulator.removal_posts for phone in post]
    assert len(sent) == len(set(sent)) == 130


@pytest.mark.parametrize("fault", ["html", "truncated", "half_json"])
def test_an_answer_that_does_not_say_success_is_no_acceptance(simulator, load, fault):
    # A proxy's login page comes with the status of a success.
    simulator.behaviour.fail_next = [fault]
    done = load(SCHEMA, record("+12025550100"), state({"n": 1}), max_attempts=1)
    assert (done.code, done.messages) == (75, [])
    assert "times in a row" not in done.log
    done = load(SCHEMA, record("+12025550100"), state({"n": 1}))
    assert (done.code, done.messages) == (0, [{"n": 1}])


def test_a_stream_map_that_fails_on_one_record_is_told_in_one_line(load):
    maps = {"verified": {"phone": "phone if int(phone[1:]) else None"}}
    done = load(SCHEMA, record("+12025550100"), record("+1 202 555 0101 x"), stream_maps=maps)
    assert (done.code, done.messages) == (78, [])
    assert done.errors == ["stream_maps: phone if int(phone[1:]) else None fails: ValueError"]
    assert "Traceback" not in done.log


# Spellings


def spelled(number: str, spelling: str) -> str:
    return "+" * (spelling == "plus") + digits(number)


@pytest.mark.parametrize("compare", ["digits", "plus", "bare", "stored"])
def test_numbers_leave_the_list_however_braze_compares_them(simulator, listed, load, compare):
    simulator.behaviour.compare_numbers = compare
    done = load(SCHEMA, *map(record, listed[:120]), state({"n": 120}), phone_spelling="both")
    assert done.code == 0, done.log
    assert {e.phone for e in simulator.entries()} == set(listed[120:])
    # In both spellings, 25 numbers a request.
    assert [len(post) for post in simulator.removal_posts] == [50, 50, 50, 50, 40]
    assert done.messages == [{"n": 120}]
    assert "Asked to take off: 120 numbers, 0 repeated, 0 skipped; 5 requests" in done.log


@pytest.mark.parametrize("refused, taken", [("plus", "bare"), ("bare", "plus")])
def test_what_braze_takes_of_a_refused_mixture_is_enough(simulator, listed, load, refused, taken):
    simulator.behaviour.refuse_spelling = refused
    done = load(SCHEMA, *map(record, listed[:60]), state({"n": 60}), phone_spelling="both")
    assert done.code == 0, done.log
    assert {e.phone for e in simulator.entries()} == set(listed[60:])
    assert [len(post) for post in simulator.removal_posts] == [25, 25, 10]
    assert {phone for post in simulator.removal_posts for phone in post} == {spelled(p, taken) for p in listed[:60]}
    # The first mixture, its two halves, and from then on what is taken.
    assert [request.status for request in simulator.requests].count(400) == 2
    assert done.messages == [{"n": 60}]


@pytest.mark.parametrize("spelling", ["plus", "bare"])
def test_where_one_spelling_is_known_to_be_enough_it_alone_is_sent(simulator, listed, load, spelling):
    done = load(SCHEMA, *map(record, listed[:60]), phone_spelling=spelling)
    assert done.code == 0, done.log
    assert [len(post) for post in simulator.removal_posts] == [50, 10]
    assert {phone for post in simulator.removal_posts for phone in post} == {spelled(p, spelling) for p in listed[:60]}


def test_a_refusal_of_every_spelling_ends_the_run(simulator, listed, load):
    simulator.behaviour.fail_next = ["400"] * 3
    done = load(SCHEMA, record(listed[0]), state({"n": 1}), phone_spelling="both")
    assert (done.code, done.messages) == (78, [])
    assert len(simulator.requests) == 3
    (error,) = done.errors
    assert error.startswith("batch 1 (records 1 to 1): ")


@pytest.mark.parametrize(
    "bad",
    [
        *(None, "", "n/a", True, 12025550100.5, -12025550100),
        *("12025550100.0", "1.2025550100E10", "+12025550100 ext 7", "١٢٠٢٥٥٥٠١٠٠"),
        *("+44 (0)20 7946 0958", "+1 (0) 202 555 0100", "911", "1/1/2026"),
        *("2025-11-10", "2025-11-10 04:05"),
    ],
)
def test_a_value_that_is_no_number_stops_the_run_with_its_position(simulator, load, bad):
    done = load(SCHEMA, record("+12025550100"), record(bad), state({"n": 2}))
    assert done.code == 65
    assert "record 2 of the input, of stream verified, holds no phone number" in done.log
    assert "2025550100" not in done.log
    assert done.messages == []
    assert not simulator.removal_posts


def test_a_number_may_come_as_a_number(simulator, load):
    done = load(SCHEMA, *map(record, ["+12025550100", 12025550100, 12025550101]))
    assert done.code == 0, done.log
    assert simulator.removal_posts == [["+12025550100", "+12025550101"]]


def test_bad_values_are_left_out_and_counted_if_a_setting_says_so(simulator, load):
    done = load(SCHEMA, *map(record, ["+12025550100", None, "", "x"]), state({"n": 4}), skip_bad_numbers=True)
    assert done.code == 0, done.log
    assert simulator.removal_posts == [["+12025550100"]]
    assert "Asked to take off: 1 number, 0 repeated, 3 skipped" in done.log
    assert done.messages == [{"n": 4}]


@pytest.mark.parametrize("setting", ["skip_bad_records", "skip_bad_numbers"])
def test_the_first_five_that_are_left_out_are_told_by_position(simulator, load, setting):
    bad = [None, "", "x", "0", {}, [], 1.5]
    done = load(SCHEMA, *map(record, [*bad, "+12025550100"]), state({"n": 8}), **{setting: True})
    assert (done.code, done.messages) == (0, [{"n": 8}]), done.log
    assert simulator.removal_posts == [["+12025550100"]]
    assert done.logged("WARNING") == [
        f"record {position} of the input, of stream verified, holds no phone number and is left out"
        for position in range(1, 6)
    ]
    assert "1 number, 0 repeated, 7 skipped" in done.log


PHONE = {"phone": {"type": ["string", "null"]}}


@pytest.mark.parametrize(
    "schema, keys",
    [
        (PHONE | {"id": {"type": "integer"}}, ["id"]),
        (PHONE, ["phone"]),
        (PHONE, ["nowhere"]),
        (PHONE, "phone"),
        (PHONE, 5),
        (PHONE, None),
        ({"phone": None}, []),
        ({"phone": {"type": "nonsense"}}, []),
        ({"phone": {"$ref": "#/definitions/gone"}}, []),
        ({"phone": {"type": "integer"}, "at": {"type": "string", "format": "date-time"}}, ["at"]),
        ({"id": {"type": "integer"}}, ["id"]),
        ({}, []),
    ],
)
@pytest.mark.parametrize(
    "settings",
    [{}, {"flattening_enabled": True, "flattening_max_depth": 1}, {"stream_maps": {"verified": {"made": "'here'"}}}],
    ids=["", "flattened", "mapped"],
)
def test_of_a_stream_only_the_number_is_used(simulator, load, schema, keys, settings):
    message = SCHEMA | {"schema": {"properties": schema}, "key_properties": keys}
    sent = record("+12025550100") | {"record": {"phone": "+12025550100", "at": "never", "other": {"deep": [1]}}}
    done = load(message, sent, state({"n": 1}), message, record("+12025550101"), state({"n": 2}), **settings)
    assert (done.code, done.messages) == (0, [{"n": 2}]), done.log
    assert simulator.removal_posts == [["+12025550100", "+12025550101"]]
    assert done.logged("WARNING") == []


@pytest.mark.parametrize("keys", [[], ["phone"], ["id"]])
def test_an_absent_number_is_a_bad_one_at_its_position(simulator, load, keys):
    schema = SCHEMA | {"schema": {"properties": PHONE | {"id": {}}}, "key_properties": keys}
    absent = record(None) | {"record": {"name": "Ann"}}
    done = load(schema, record("+12025550100"), absent, state({"n": 2}))
    assert (done.code, done.messages) == (65, [])
    (error,) = done.errors
    assert error.startswith("record 2 of the input, of stream verified, holds no phone number")
    done = load(schema, record("+12025550100"), absent, state({"n": 2}), skip_bad_records=True)
    assert (done.code, done.messages) == (0, [{"n": 2}]), done.log
    assert simulator.removal_posts == [["+12025550100"]]
    assert "1 skipped" in done.log


@pytest.mark.parametrize(
    "settings",
    [
        {"stream_maps": {"verified": {"phone": None}}},
        {"stream_maps": {"verified": {"__else__": None, "number": "phone"}}},
        {"flattening_enabled": True, "flattening_max_depth": 1, "flattening_max_key_length": 3},
    ],
)
def test_a_number_that_a_map_takes_away_stops_the_run_before_any_request(simulator, load, settings):
    done = load(SCHEMA, record("+12025550100"), state({"n": 1}), **settings)
    assert (done.code, done.messages) == (78, [])
    assert done.errors == ["stream verified has no property phone after its stream map or flattening; leave it there"]
    assert not simulator.requests


@pytest.mark.parametrize("rows", [0, -1])
def test_a_batch_of_no_rows_is_refused(simulator, load, rows):
    done = load(SCHEMA, record("+12025550100"), batch_size_rows=rows)
    assert (done.code, done.messages) == (78, [])
    assert done.errors == [f"batch_size_rows: got {rows}, takes a whole number from 1 up"]
    assert not simulator.requests


@pytest.mark.parametrize("value", [{}, None, [], "here", 0, {"é": "\u2028"}, {"bookmarks": {"a": {"at": 10**22}}}])
def test_a_state_is_passed_on_as_it_was_given_whatever_it_is(simulator, load, value):
    done = load(state(value), SCHEMA, record("+12025550100"), state(value), state(value))
    assert (done.code, done.messages) == (0, [value, value]), done.log
    # In an order of messages of its own.
    assert load(state({"n": 1}), SCHEMA, state(value)).messages == [{"n": 1}, value]


def test_a_state_is_never_passed_on_before_what_lies_before_it(simulator, load):
    simulator.behaviour.fail_next = ["400"]
    done = load(SCHEMA, state({"n": 0}), record("+12025550100"), state({}), state({"n": 1}), state({"n": 1}))
    assert (done.code, done.messages) == (78, [{"n": 0}])


def test_another_property_can_hold_the_number(simulator, load):
    schema = SCHEMA | {"schema": {"properties": {"mobile": {"type": "string"}}}}
    assert load(schema, record("+12025550100", field="mobile"), phone_property="mobile").code == 0
    assert simulator.removal_posts == [["+12025550100"]]
    for settings in ({}, {"skip_bad_records": True}):
        done = load(schema, record("+12025550100", field="mobile"), **settings)
        assert done.code == 65
        assert "stream verified has no property phone" in done.log


OTHER = SCHEMA | {"stream": "other"}
UNPHONED = OTHER | {"schema": {"properties": {"id": {"type": "integer"}}}}


@pytest.mark.parametrize("maps", [{"other": None}, {"oth*": None, "verified": {}}, {"__else__": None, "verified": {}}])
def test_a_stream_without_numbers_may_be_mapped_away(simulator, load, maps):
    done = load(SCHEMA, UNPHONED, record("+12025550100"), record(5, field="id") | {"stream": "other"}, stream_maps=maps)
    if "verified" in maps or "__else__" in maps:
        assert done.code == 0, done.log
        assert simulator.removal_posts == [["+12025550100"]]
    else:
        assert "stream_maps: none is of stream verified" in done.log


def test_a_map_that_misses_its_stream_lets_nothing_through(simulator, load):
    maps = {"verifeid": {"__filter__": "phone == '+12025550101'"}}
    done = load(SCHEMA, record("+12025550100"), record("+12025550101"), stream_maps=maps)
    assert done.code == 78
    (error,) = done.errors
    assert error == "stream_maps: none is of stream verified; give it one: {} takes it as it is, null leaves it out"
    assert not simulator.requests
    done = load(SCHEMA, record("+12025550100"), record("+12025550101"), stream_maps={"verified": maps["verifeid"]})
    assert simulator.removal_posts == [["+12025550101"]]


@pytest.mark.parametrize("fault", ["500", "503", "202", "reset_after", "reset"])
def test_what_may_pass_is_tried_again_and_does_no_harm_twice(simulator, listed, load, fault):
    simulator.behaviour.fail_next = [fault]
    done = load(SCHEMA, *map(record, listed[:50]))
    assert done.code == 0, done.log
    assert len(simulator.entries()) == 250


def test_a_refused_key_ends_with_what_to_do(listed, load):
    done = load(SCHEMA, record(listed[0]), api_key="wrong")
    assert done.code == 77
    assert "sms.invalid_phone_numbers.remove" in done.log
    assert "wrong" not in done.log
    assert "Traceback" not in done.log


@pytest.mark.parametrize(
    "text",
    [
        "{broken 12025550100",
        '["12025550100"]',
        '{"record": {"phone": "12025550100"}}',
        '{"type": "12025550100"}',
        '{"type": ["RECORD"], "record": {"phone": "12025550100"}}',
        '{"type":' + 100_000 * "[",
    ],
)
def test_a_line_that_is_no_message_is_counted_not_quoted(simulator, command, text):
    config = {"api_key": KEY, "api_url": simulator.url}
    done = command("target-braze-sms", config=config, stdin=lines(SCHEMA) + text.encode() + b"\n")
    assert done.code == 65
    (error,) = done.errors
    assert error == "line 2 of the input is no Singer message"
    assert "2025550100" not in done.log
    assert "Traceback" not in done.log


TOO_EARLY = "before the SCHEMA of its stream"
NO_RECORD = "line 2 of the input is a RECORD without record"
ACTIVATION = {"type": "ACTIVATE_VERSION", "stream": "verified", "version": 1}
BATCHES = {
    "type": "BATCH",
    "stream": "verified",
    "encoding": {"format": "jsonl", "compression": "gzip"},
    "manifest": ["file:///nowhere/12025550100.jsonl.gz"],
}


@pytest.mark.parametrize(
    "messages, expected",
    [
        ([record("+12025550100")], f"line 1 of the input is RECORD {TOO_EARLY}"),
        ([ACTIVATION], f"line 1 of the input is ACTIVATE_VERSION {TOO_EARLY}"),
        ([SCHEMA, ACTIVATION | {"stream": "other"}], f"line 2 of the input is ACTIVATE_VERSION {TOO_EARLY}"),
        ([BATCHES], f"line 1 of the input is BATCH {TOO_EARLY}"),
        ([SCHEMA | {"schema": 5}], "line 1 of the input is a SCHEMA without properties"),
        ([SCHEMA | {"stream": {"a": 1}}], "line 1 of the input is a SCHEMA without the name of a stream"),
        ([SCHEMA, {"type": "BATCH", "stream": "verified"}], "stream verified comes as BATCH files"),
        (
            [SCHEMA, BATCHES],
            "stream verified comes as BATCH files, which this target does not read: turn batch_config off",
        ),
        ([SCHEMA, {"type": "STATE"}], "Line is missing required value key(s): {…}"),
        ([SCHEMA, record("+12025550100") | {"record": "+12025550100"}], NO_RECORD),
        ([SCHEMA, record("+12025550100") | {"record": None}], NO_RECORD),
    ],
    ids=[
        "early record",
        "version",
        "other version",
        "early batch",
        "bad schema",
        "bad stream",
        "bad batch",
        "batch",
        "state",
        "text for a record",
        "no record",
    ],
)
def test_a_message_that_cannot_be_acted_on_ends_the_run_with_one_line(simulator, load, messages, expected):
    done = load(*messages, state({"n": 1}))
    assert (done.code, done.messages) == (65, [])
    (error,) = done.errors
    assert error.startswith(expected)
    assert "Traceback" not in done.log
    assert "2025550100" not in done.log
    assert not simulator.requests


def test_a_version_to_activate_is_passed_over_with_one_warning(simulator, load):
    done = load(SCHEMA, record("+12025550100"), ACTIVATION, state({"n": 1}))
    assert (done.code, done.messages) == (0, [{"n": 1}])
    assert simulator.removal_posts == [["+12025550100"]]
    assert done.logged("WARNING") == ["`ACTIVATE_VERSION` messages are not enabled for 'verified'. Ignoring."]


@pytest.mark.parametrize(
    "output, problem",
    [
        ("/dev/full", "the standard output cannot be written: No space left on device"),
        ("|", "whoever reads the STATE closed the pipe: its own log says why"),
    ],
)
def test_where_no_state_can_be_passed_on_that_is_told_in_one_line(simulator, listed, tmp_path, output, problem):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"api_key": KEY, "api_url": simulator.url}))
    reading, writing = os.pipe()
    os.close(reading)
    if output != "|":
        os.close(writing)
        writing = os.open(output, os.O_WRONLY)
    given = lines(SCHEMA, *map(record, listed[:3]), state({"n": 3}))
    command = [BIN / "target-braze-sms", "--config", config]
    done = subprocess.run(command, input=given, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].endswith(problem)
    assert "Traceback" not in done.stderr.decode()


# Signals


@pytest.fixture
def fed(simulator, command, tmp_path):
    """Start the target on an input that stays open, give it messages, and give it back."""
    feed = tmp_path / "feed"
    os.mkfifo(feed)
    with contextlib.ExitStack() as opened:

        def start(*messages: dict):
            config = {"api_key": KEY, "api_url": simulator.url, **ONE_SPELLING}
            process = command.start("target-braze-sms", "--input", str(feed), config=config)
            opened.enter_context(feed.open("wb", buffering=0)).write(lines(*messages))
            return process

        yield start


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_while_it_waits_for_input(simulator, listed, fed, signum):
    process = fed(SCHEMA, *map(record, listed[:50]), state({"n": 50}), *map(record, listed[50:70]), state({"n": 70}))
    first = process.stdout.readline()
    process.send(signum)
    process.wait(BY_ITSELF)
    done = process.finish(first)
    assert (done.code, done.messages) == (128 + signum, [{"n": 50}])
    assert [len(post) for post in simulator.removal_posts] == [50]
    assert "Traceback" not in done.log
    (error,) = done.errors
    assert error.startswith(f"stopped by {signum.name}; nothing is lost")


@pytest.mark.parametrize("fault, shown", [("hang", ""), ("503", "trying again in 10 min")])
def test_a_signal_ends_the_run_while_braze_makes_it_wait(simulator, listed, fed, fault, shown):
    simulator.behaviour.retry_after = "600"
    simulator.behaviour.fail_next = ["slow", fault]
    process = fed(SCHEMA, *map(record, listed[:50]), state({"n": 50}), *map(record, listed[50:100]), state({"n": 100}))
    process.until(lambda: len(simulator.requests) == 2 and shown in process.log)
    process.send(signal.SIGTERM)
    process.wait(BY_ITSELF)
    done = process.finish()
    assert (done.code, done.messages) == (143, [{"n": 50}])
    assert "Traceback" not in done.log
    (error,) = done.errors
    assert error.startswith("stopped by SIGTERM; nothing is lost")


def test_the_tap_can_feed_the_target(simulator, listed, command):
    config = {"api_key": KEY, "api_url": simulator.url}
    out = command("tap-braze-sms", config=config | {"start_date": "2020-01-01", "reason": "deactivated"}).out
    deactivated = sum(e.reason == "deactivated" for e in simulator.entries())
    # As a shell starts it.
    arguments = command.arguments("target-braze-sms", config=config | {"allow_whole_list": True})
    assert subprocess.run(arguments, input=out, capture_output=True, check=False).returncode == 0
    assert 0 < deactivated == 300 - len(simulator.entries())


def test_batch_size_rows_makes_batches_smaller_never_larger(simulator, listed, load):
    load(SCHEMA, *map(record, listed[:20]), batch_size_rows=10)
    load(SCHEMA, *map(record, listed[20:120]), batch_size_rows=1_000)
    assert [len(post) for post in simulator.removal_posts] == [10, 10, 50, 50]


def test_a_recorded_load_is_handed_over_with_its_states(simulator, command):
    recorded = DATA / "reverified.singer"
    config = {"api_key": KEY, "api_url": simulator.url, **ONE_SPELLING}
    done = command.text("target-braze-sms", "--input", str(recorded), config=config)
    assert done.returncode == 0, done.stderr
    sent = [phone for post in simulator.removal_posts for phone in post]
    assert sent == [f"+1202555{n:04}" for n in range(60)]
    states = [
        json.loads(line)["bookmarks"]["reverified"]["replication_key_value"] for line in done.stdout.splitlines()[1:]
    ]
    assert states == ["2026-03-01T00:29:00Z", "2026-03-01T01:00:00Z"]
    assert "Asked to take off: 60 numbers, 1 repeated" in done.stderr
    assert not Run(0, b"", done.stderr).logged("WARNING")


def test_the_tap_and_the_target_share_one_budget_in_one_process(simulator):
    simulator.behaviour.rate_limit = 20
    config = {"api_key": KEY, "api_url": simulator.url}
    tap = TapBrazeSMS(config=config | {"start_date": "2026-01-01"})
    target = TargetBrazeSMS(config=config)
    for _ in range(4):
        tap.client.get("/sms/invalid_phone_numbers", {"phone_numbers[]": ["+12025550100"]}, len, what="a lookup")
    for _ in range(3):
        target.client.remove(["+12025550100"], what="a removal")
    assert len(simulator.requests) == 7
    assert budget_of(simulator.url, KEY).remaining(0.5) == 10 - 7


class TestStandard(
    get_target_test_class(
        TargetBrazeSMS,
        config={"api_key": KEY, "instance": "US-01", "dry_run": True, "skip_bad_numbers": True, "phone_property": "id"},
    )
):
    """The SDK's tests of targets, with `id` for the number, in a dry run: of messages alone, not of removals."""

    # A key is used as little as any other property; an absent number is a bad one.
    test_target_record_missing_key_property = None
    # Streams without that property are refused here, on purpose.
    test_target_camelcase = None
    test_target_camelcase_complex_schema = None
    test_target_schema_no_properties = None
    test_target_special_chars_in_attributes = None
    # Of singer-sdk 0.55.
    test_target_string_formats = None
