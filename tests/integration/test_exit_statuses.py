"""An exit status says what to do about an end, the same for tap and target (promise 13)."""

from __future__ import annotations

import datetime as dt
import json
import signal

import pytest

from braze_simulator import Entry, spell
from support.runs import KEY
from tap_braze_sms.reading.errors import Kind, ReadingError, UnusableInputError
from tap_braze_sms.singer.cli import exit_status

WHEN = dt.datetime(2026, 3, 1, 4, 5, 6, 789_000, tzinfo=dt.timezone.utc)

SCHEMA = {
    "type": "SCHEMA",
    "stream": "verified",
    "schema": {"properties": {"phone": {"type": "string"}}},
    "key_properties": [],
}
RECORD = {"type": "RECORD", "stream": "verified", "record": {"phone": "+15555550100"}}

TAP, TARGET = "tap-braze-sms", "target-braze-sms"

each_plugin = pytest.mark.parametrize("name", [TAP, TARGET])


@pytest.fixture
def end(simulator, command, name):
    """Run a plugin with something to do, and return its exit status; there is one line about it."""

    def run(*messages: dict, **settings: object) -> int:
        config = {"api_key": KEY, "api_url": simulator.url, "max_attempts": 2, **settings}
        if name == TAP:
            config |= {"start_date": "2026-02-27", "end_date": "2026-03-05"}
        given = b"".join(json.dumps(message).encode() + b"\n" for message in messages or (SCHEMA, RECORD))
        done = command(name, config=config, stdin=given)
        assert len(done.errors) == (done.code != 0)
        assert "Traceback" not in done.log
        return done.code

    return run


@each_plugin
def test_0_is_success(end):
    assert end() == 0


@each_plugin
def test_78_is_a_setting_that_is_wrong(simulator, end):
    assert end(max_attempts=0) == 78
    assert end(api_url=f"{simulator.url}/x") == 78
    assert simulator.requests == []


@each_plugin
@pytest.mark.parametrize("status", ["400", "404"])
def test_78_is_what_braze_refuses_because_of_a_setting(simulator, end, status):
    simulator.behaviour.fail_next = [status, status, status]
    assert end() == 78


@each_plugin
def test_78_is_a_file_that_is_wrong(command, name, tmp_path):
    for path in (tmp_path / "nowhere.json", tmp_path):
        done = command(name, "--config", str(path))
        assert done.code == 78
        assert len(done.errors) == 1


@each_plugin
@pytest.mark.parametrize("status", ["401", "403", "html_403"])
def test_77_is_the_key_or_what_it_may_do(simulator, end, status):
    simulator.behaviour.fail_next = [status]
    assert end() == 77


@each_plugin
@pytest.mark.parametrize("fault", ["503", "202", "reset", "html"])
def test_75_is_what_may_pass_by_itself(simulator, end, fault):
    simulator.behaviour.fail_next = [fault, fault]
    assert end() == 75
    assert len(simulator.requests) == 2
    assert end() == 0


@each_plugin
def test_65_is_what_came_and_cannot_be_used(simulator, end, name):
    simulator.add(Entry("+15555550100", WHEN, None, "never"))
    simulator.add(Entry("+15555550101", WHEN, None, spell(WHEN)))
    assert end(SCHEMA, {**RECORD, "record": {"phone": "none"}}) == 65
    if name == TARGET:
        assert end(SCHEMA, {"type": "RECORD"}) == 65
        assert end(RECORD) == 65


@each_plugin
def test_a_signal_adds_128(simulator, command, name):
    simulator.behaviour.fail_next = ["hang"] * 9
    config = {"api_key": KEY, "api_url": simulator.url}
    given = b"".join(json.dumps(message).encode() + b"\n" for message in (SCHEMA, RECORD))
    process = command.start(name, config=config | ({"start_date": "2026-02-27"} if name == TAP else {}), stdin=given)
    process.until(lambda: simulator.requests)
    process.send(signal.SIGTERM)
    assert process.finish().code == 128 + signal.SIGTERM


def test_1_is_anything_else(command, simulator):
    process = command.start(
        "tap-braze-sms", config={"api_key": KEY, "api_url": simulator.url, "start_date": "2026-02-27"}
    )
    process.stdout.close()
    assert process.wait() == 1


@pytest.mark.parametrize("error", [RuntimeError("a defect"), KeyError("a"), ReadingError("odd"), OSError(28, "full")])
def test_a_defect_is_anything_else(error):
    assert exit_status(error) == 1


def test_every_kind_of_error_has_a_status():
    found = {}
    for kind in Kind:
        error = UnusableInputError("a state")
        error.kind = kind
        found[kind.name] = exit_status(error)
    assert found == {"SETTING": 78, "ACCESS": 77, "PASSING": 75, "DATA": 65, "OTHER": 1}
