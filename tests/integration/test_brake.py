"""The target has a brake, and tells afterwards what became of what it asked for (promise 27)."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import subprocess

import pytest
from singer_sdk.exceptions import ConfigurationError
from test_target import SCHEMA, record, state

from braze_simulator import digits
from support.paths import BIN
from support.runs import KEY, ONE_SPELLING, config_for, lines
from tap_braze_sms.braze.lookups import SETTLING
from tap_braze_sms.concurrency.cancellation import CancelToken
from tap_braze_sms.reading.errors import UnusableDataError
from tap_braze_sms.singer.removals_log import RemovalsLog
from tap_braze_sms.target import MOST_HELD, TargetBrazeSMS

LIST = "invalid_phone_numbers"


def schema(*properties: str, stream: str = "verified") -> dict:
    return {**SCHEMA, "stream": stream, "schema": {"properties": {name: {"type": "string"} for name in properties}}}


# The whole list


@pytest.mark.parametrize(
    "stream, properties",
    [
        (LIST, ["phone", "invalid_detected_at", "reason"]),
        (LIST, ["phone"]),
        ("braze-invalid_phone_numbers", ["phone", "invalid_detected_at", "reason", "_sdc_batched_at"]),
        ("anything", ["phone", "invalid_detected_at"]),
    ],
)
def test_what_looks_like_the_list_itself_is_refused(simulator, listed, load, stream, properties):
    messages = [schema(*properties, stream=stream), *(record(phone, stream) for phone in listed[:60])]
    done = load(*messages, state({"n": 60}))
    assert (done.code, done.messages) == (78, [])
    (error,) = done.errors
    assert error == (
        f"stream {stream} looks like Braze's list itself, of which all would be handed back: nothing of it was; "
        "set allow_whole_list if that is meant"
    )
    assert not simulator.requests
    assert load(*messages, dry_run=True).code == 78
    done = load(*messages, state({"n": 60}), allow_whole_list=True)
    assert (done.code, done.messages) == (0, [{"n": 60}])
    assert len(simulator.entries()) == 240


FLAT = {"flattening_enabled": True, "flattening_max_depth": 1, "phone_property": "data__phone"}
PACKED = {
    "data": {"type": "object", "properties": {"phone": {"type": "string"}, "invalid_detected_at": {"type": "string"}}}
}


@pytest.mark.parametrize(
    "settings, stream, properties, row",
    [
        ({"phone_property": "number"}, "view", ["number", "invalid_detected_at"], {"number": 0}),
        ({"phone_property": "PHONE"}, "VIEW", ["PHONE", "INVALID_DETECTED_AT", "REASON"], {"PHONE": 0}),
        ({"phone_property": "PHONE"}, "INVALID_PHONE_NUMBERS", ["PHONE"], {"PHONE": 0}),
        (FLAT, "view", PACKED, {"data": {"phone": 0, "invalid_detected_at": "2026-03-01T00:00:00Z"}}),
        ({}, "view", [], {"phone": 0, "invalid_detected_at": "2026-03-01T00:00:00Z"}),
        ({}, "view", ["phone"], {"phone": 0, "invalid_detected_at": "2026-03-01T00:00:00Z"}),
    ],
)
def test_so_is_what_looks_like_it_in_other_letters_packed_or_in_the_records_alone(
    simulator, listed, load, settings, stream, properties, row
):
    given = schema(*(properties if isinstance(properties, list) else ()), stream=stream)
    if isinstance(properties, dict):
        given["schema"]["properties"] = properties
    rows = [
        json.dumps({"type": "RECORD", "stream": stream, "record": row}).replace(": 0", f': "{phone}"')
        for phone in listed
    ]
    done = load(given, *map(json.loads, rows[:60]), **settings)
    assert done.code == 78
    (error,) = done.errors
    assert error.startswith(f"stream {stream} looks like Braze's list itself")
    assert not simulator.requests
    assert load(given, *map(json.loads, rows[:60]), allow_whole_list=True, **settings).code == 0
    assert len(simulator.entries()) == 240


def test_the_tap_piped_into_the_target_by_mistake_removes_nothing(simulator, listed, command):
    config = {"api_key": KEY, "api_url": simulator.url}
    out = command("tap-braze-sms", config=config | {"start_date": "2020-01-01"}).out
    done = command("target-braze-sms", config=config, stdin=out)
    assert done.code == 78
    assert len(done.errors) == 1
    assert len(simulator.entries()) == 300
    assert not simulator.removal_posts


@pytest.mark.parametrize("maps", [{LIST: None, "verified": {}}, {"verified": {}, "__else__": None}])
def test_a_list_that_is_mapped_away_is_none(simulator, listed, load, maps):
    messages = [schema("phone", "invalid_detected_at", stream=LIST), SCHEMA]
    done = load(*messages, record(listed[0], LIST), record(listed[1]), stream_maps=maps)
    assert done.code == 0, done.log
    assert simulator.removal_posts == [[f"+{digits(listed[1])}"]]


def test_what_lookups_give_is_not_the_list(simulator, listed, command, load):
    out = command("tap-braze-sms", config=config_for(simulator, start_date="2099-01-01")).out
    assert out == b""
    asked = command("tap-braze-sms", config=config_for(simulator, phone_numbers=listed[:3], start_date="2026-01-01"))
    status = [m for m in asked.messages if m.get("stream") == "phone_number_status"]
    assert {"phone", "invalid_detected_at", "is_invalid"} <= status[0]["schema"]["properties"].keys()
    done = load(*status)
    assert done.code == 0, done.log
    assert len(simulator.entries()) == 297


# Too many


def test_more_than_may_be_removed_are_refused_before_the_first_request(simulator, listed, load):
    given = [SCHEMA, *map(record, listed[:121]), state({"n": 121})]
    done = load(*given, max_removals=120)
    assert (done.code, done.messages) == (78, [])
    (error,) = done.errors
    assert error == "max_removals: got more than 120 numbers; nothing was taken off; raise it if so many are meant"
    assert not simulator.requests
    done = load(*given, max_removals=121)
    assert (done.code, done.messages) == (0, [{"n": 121}])
    assert len(simulator.entries()) == 300 - 121


def test_a_dry_run_tells_the_same(simulator, listed, load):
    done = load(SCHEMA, *map(record, listed[:121]), max_removals=120, dry_run=True)
    assert done.code == 78
    assert "got more than 120 numbers; nothing was taken off" in done.log


def test_repeats_count_once(simulator, listed, load):
    done = load(SCHEMA, *map(record, listed[:100] * 2), max_removals=100)
    assert done.code == 0, done.log


def test_without_a_setting_it_is_ten_thousand(simulator, load):
    done = load(SCHEMA, *(record(f"1202{n:07}") for n in range(10_001)))
    assert done.code == 78
    assert "max_removals: got more than 10000 numbers; nothing was taken off" in done.log
    assert not simulator.requests


def test_an_input_that_pauses_is_handed_on_and_ended_at_the_limit(simulator, listed, command, tmp_path):
    feed = tmp_path / "feed"
    os.mkfifo(feed)
    config = {"api_key": KEY, "api_url": simulator.url, "max_removals": 60, **ONE_SPELLING}
    process = command.start("target-braze-sms", "--input", str(feed), config=config)
    with feed.open("wb", buffering=0) as opened:
        opened.write(lines(SCHEMA, *map(record, listed[:50]), state({"n": 50})))
        first = process.stdout.readline()
        opened.write(lines(*map(record, listed[50:70]), state({"n": 70})))
        done = process.finish(first)
    assert (done.code, done.messages) == (78, [{"n": 50}])
    (error,) = done.errors
    assert (
        error == "max_removals: got more than 60 numbers; Braze was asked for 50 of them; raise it if so many are meant"
    )
    assert len(simulator.entries()) == 250


def test_what_is_held_back_is_bounded(simulator, load):
    count = MOST_HELD + 500
    simulator.behaviour.fail_next = ["slow", "400"]
    done = load(SCHEMA, *(record(f"1202{n:07}") for n in range(count)), max_removals=10**6)
    assert done.code == 78
    assert "batch 2 (records 51 to 100)" in done.log
    done = load(SCHEMA, *(record(f"1202{n:07}") for n in range(count)), max_removals=10**6)
    assert done.code == 0, done.log
    assert sum(map(len, simulator.removal_posts)) == count + 50


# Afterwards


def test_confirm_says_that_none_is_listed_any_more(simulator, listed, load):
    done = load(SCHEMA, *map(record, listed[:60]), state({"n": 60}), confirm=True)
    assert (done.code, done.messages) == (0, [{"n": 60}])
    assert "confirm: 0 of 60 numbers still on the list" in done.log
    assert len(simulator.removal_posts) == 2


class Patient(CancelToken):
    """A token whose waits take no time."""

    def __init__(self, during=lambda: None) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.during = during

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.during()


def load_here(simulator, cancel_token: CancelToken, *messages: dict, **settings: object) -> str:
    """Run the target in this process; return its output."""
    target = TargetBrazeSMS(config={"api_key": KEY, "api_url": simulator.url, **settings})
    target.__dict__["cancel_token"] = cancel_token
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        target.listen(io.StringIO(lines(*messages).decode()))
    return out.getvalue()


def test_confirm_fails_where_numbers_stay_on_the_list(simulator, listed):
    simulator.behaviour.compare_numbers = "bare"
    cancel_token = Patient()
    messages = [SCHEMA, *map(record, listed[:60])]
    with pytest.raises(UnusableDataError) as raised:
        load_here(simulator, cancel_token, *messages, confirm=True, phone_spelling="plus")
    assert str(raised.value).startswith("confirm: 60 of 60 numbers still on the list, which Braze had accepted")
    assert cancel_token.waits == list(SETTLING)
    assert raised.value.kind.name == "DATA"


def test_confirm_waits_as_long_as_braze_may_take(simulator, listed):
    # Nothing is removed by the request itself, which comes with +.
    simulator.behaviour.compare_numbers = "bare"
    cancel_token = Patient(lambda: simulator.remove(listed[: 20 * len(cancel_token.waits)]))
    load_here(simulator, cancel_token, SCHEMA, *map(record, listed[:60]), confirm=True, phone_spelling="plus")
    assert cancel_token.waits == list(SETTLING[:3])


def test_confirm_with_a_key_that_may_not_look_up_ends_before_anything_is_removed(simulator, listed, load):
    simulator.behaviour.fail_next = ["403"]
    done = load(SCHEMA, *map(record, listed[:60]), confirm=True)
    assert done.code == 77
    (error,) = done.errors
    assert "give it the permission sms.invalid_phone_numbers, " in error
    assert not simulator.removal_posts


def test_a_dry_run_confirms_nothing_and_logs_nothing(simulator, listed, load, tmp_path):
    path = tmp_path / "removals.jsonl"
    done = load(SCHEMA, *map(record, listed[:60]), confirm=True, removals_log=str(path), dry_run=True)
    assert done.code == 0
    assert not simulator.requests
    assert not path.exists()


# The log


def results(path) -> list[tuple[str, str]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert found[0]["type"] == "SCHEMA"
    keys = set(found[0]["key_properties"])
    latest = {}
    for message in found:
        if message["type"] == "RECORD":
            assert message["record"].keys() == found[0]["schema"]["properties"].keys()
            latest[tuple(message["record"][key] for key in sorted(keys))] = message["record"]
    return [(entry["phone"], entry["result"]) for entry in latest.values()]


def test_the_log_has_every_number_with_its_result_for_its_owner_alone(simulator, listed, load, tmp_path):
    path = tmp_path / "removals.jsonl"
    path.touch(mode=0o644)
    done = load(SCHEMA, *map(record, listed[:60]), removals_log=str(path))
    assert done.code == 0, done.log
    assert results(path) == [(f"+{digits(phone)}", "accepted") for phone in listed[:60]]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(digits(phone) in done.log for phone in listed[:60])


def test_runs_add_to_the_log_and_a_refusal_stands_in_it(simulator, listed, load, tmp_path):
    path = tmp_path / "removals.jsonl"
    load(SCHEMA, *map(record, listed[:2]), removals_log=str(path))
    simulator.behaviour.fail_next = ["401"]
    assert load(SCHEMA, record(listed[2]), removals_log=str(path)).code == 77
    simulator.behaviour.fail_next = ["503"]
    assert load(SCHEMA, record(listed[3]), removals_log=str(path), max_attempts=1).code == 75
    assert [result for _, result in results(path)] == ["accepted", "accepted", "refused", "unknown"]


def test_with_confirm_the_log_says_what_became_of_each(simulator, listed, tmp_path):
    path = tmp_path / "removals.jsonl"
    simulator.behaviour.compare_numbers = "stored"
    messages = [SCHEMA, *map(record, listed[:60])]
    with pytest.raises(UnusableDataError):
        load_here(simulator, Patient(), *messages, confirm=True, phone_spelling="plus", removals_log=str(path))
    expected = [(f"+{digits(p)}", "gone" if p.startswith("+") else "still_listed") for p in listed[:60]]
    assert sorted(results(path)) == sorted(expected)
    assert {result for _, result in expected} == {"gone", "still_listed"}


def test_what_was_asked_stands_in_the_log_before_it_is_answered(simulator, listed, command, tmp_path):
    path = tmp_path / "removals.jsonl"
    simulator.behaviour.fail_next = ["hang"]
    config = {"api_key": KEY, "api_url": simulator.url, "removals_log": str(path)}
    process = command.start("target-braze-sms", config=config, stdin=lines(SCHEMA, record(listed[0])))
    process.until(lambda: simulator.requests)
    process.send(9)
    process.wait()
    assert [result for _, result in results(path)] == ["asked"]


@pytest.mark.parametrize(
    "path, why", [("/nowhere/removals.jsonl", "No such file or directory"), ("/", "Is a directory")]
)
def test_a_log_that_cannot_be_written_is_told_before_the_first_request(simulator, listed, load, path, why):
    done = load(SCHEMA, record(listed[0]), removals_log=path)
    assert done.code == 78
    assert done.errors == [f"removals_log: got {path!r}, which cannot be written: {why}; takes the path of a file"]
    assert not simulator.requests


def test_a_pipe_that_nobody_reads_any_more_is_told_like_a_file_that_cannot_be_written(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = RemovalsLog(str(path))
    os.close(reading)
    with pytest.raises(ConfigurationError, match="which cannot be written: Broken pipe"):
        log.add(["12025550100"], "2026-03-01T00:00:00Z", "asked")
    log.close()


def test_a_disk_that_is_full_leaves_whole_lines_and_stops_the_run(simulator, listed, tmp_path):
    path, config = tmp_path / "log.jsonl", tmp_path / "config.json"
    config.write_text(json.dumps({"api_key": KEY, "api_url": simulator.url, "removals_log": str(path)}))
    # Blocks of half a kilobyte, or a whole one: room for the SCHEMA alone.
    line = f"ulimit -f 2; exec {BIN / 'target-braze-sms'} --config config.json"
    given = lines(SCHEMA, *map(record, listed[:60]))
    done = subprocess.run(["/bin/sh", "-c", line], input=given, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 78, done.stderr
    assert b"removals_log: got" in done.stderr
    assert [json.loads(line)["type"] for line in path.read_bytes().splitlines()] == ["SCHEMA"]
    assert simulator.removal_posts == []


def test_the_log_is_a_load_for_a_target(simulator, listed, load, tmp_path, command):
    path = tmp_path / "removals.jsonl"
    load(SCHEMA, *map(record, listed[:3]), removals_log=str(path))
    config = {"api_key": KEY, "api_url": simulator.url}
    done = command("target-braze-sms", "--input", str(path), config=config | {"dry_run": True})
    assert done.code == 0, done.log
    assert "3 numbers, 3 repeated, 0 skipped" in done.log
