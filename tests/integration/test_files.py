"""Files as editors and other systems write them: taken, or refused in one line that says what is taken."""

from __future__ import annotations

import codecs
import datetime as dt
import gzip
import json

import pytest

from braze_simulator import seeded
from support.runs import KEY, assert_exact, config_for, state_of

TAP, TARGET, STREAM = "tap-braze-sms", "target-braze-sms", "invalid_phone_numbers"
UNTIL = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)

#: What is done to a text, and whether JSON survives it.
TAKEN = {
    "utf-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16, big end first": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "utf-32": lambda text: text.encode("utf-32"),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "cr": lambda text: text.replace("\n", "\r").encode(),
}
NO_JSON = "which cannot be read: it is not JSON"
REFUSED = {
    "latin-1": (lambda text: text.replace("{", '{"é": 1, ', 1).encode("latin-1"), f"{NO_JSON} in UTF-8, nor in"),
    "gzip": (lambda text: gzip.compress(text.encode()), f"{NO_JSON} in UTF-8, nor in"),
    "nul": (lambda text: text.encode() + b"\0\0", f"{NO_JSON}: Extra data: line "),
    "control-z": (lambda text: text.encode() + b"\x1a", f"{NO_JSON}: Extra data: line "),
    "twice": (lambda text: f"{text}\n{text}".encode(), f"{NO_JSON}: Extra data: line "),
    "empty": (lambda text: b"", f"{NO_JSON}: Expecting value: line 1 column 1"),
    "blank": (lambda text: b"\n", f"{NO_JSON}: Expecting value: line 2 column 1"),
    "comma": (lambda text: text.rstrip("}\n ").encode() + b",}", f"{NO_JSON}: "),
    "comment": (lambda text: b"// mine\n" + text.encode(), f"{NO_JSON}: Expecting value: line 1 column 1"),
    "yaml": (lambda text: b"api_key: x\n", f"{NO_JSON}: Expecting value: line 1 column 1"),
    "nan": (lambda text: text.replace("{", '{"x": NaN, ', 1).encode(), f"{NO_JSON}: NaN is none of its values"),
    "huge": (lambda text: text.replace("{", '{"x": 1e999, ', 1).encode(), f"{NO_JSON}: 1e999 is none of its values"),
    "deep": (lambda text: b'{"a":' * 100_000, "which cannot be read: it is nested too deeply;"),
}
#: The same content in every option.
OPTIONS = ("config", "state", "catalog")


@pytest.fixture(scope="module")
def entries():
    return seeded(50, days=20, until=UNTIL)


@pytest.fixture
def config(simulator, entries):
    simulator.add(entries)
    return config_for(simulator, start_date="2026-02-01", end_date="2026-03-02")


@pytest.fixture
def run_with(command, config, tmp_path):
    """Run the tap with one of its files written in another way."""
    contents = {
        "config": config,
        "state": state_of("2026-02-01T00:00:00Z"),
        "catalog": json.loads(command.text(TAP, "--discover").stdout),
    }

    def run(option, write):
        file = tmp_path / "written"
        file.write_bytes(write(json.dumps(contents[option], indent=1)))
        return command(TAP, f"--{option}", str(file), **({} if option == "config" else {"config": config}))

    return run


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("written", TAKEN)
def test_a_file_is_taken_in_every_encoding_that_json_has(run_with, entries, option, written):
    run = run_with(option, TAKEN[written])
    assert run.code == 0, run.log
    assert_exact(run, entries)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("written", REFUSED)
def test_a_file_that_is_no_json_is_refused_in_one_line(simulator, run_with, tmp_path, option, written):
    write, problem = REFUSED[written]
    run = run_with(option, write)
    assert (run.code, run.out) == (78, b"")
    (error,) = run.errors
    assert error.startswith(f"--{option}: got {tmp_path}/written, {problem}")
    assert "; takes a file with a JSON object" in error
    assert "Traceback" not in run.log
    assert KEY not in run.log
    assert simulator.requests == []


def test_of_several_states_the_last_one_is_to_be_given(command, config):
    lines = "\n".join(json.dumps(state_of(f"2026-02-0{day}T00:00:00Z")) for day in (1, 2))
    run = command(TAP, config=config, state=lines)
    assert (run.code, run.out) == (78, b"")
    (error,) = run.errors
    assert error.endswith("takes a file with a JSON object ({} for none; of several STATEs, one a line, the last one)")


def test_an_env_file_with_what_no_variable_can_hold_is_refused_in_one_line(command):
    (command.folder / ".env").write_bytes(b"TAP_BRAZE_SMS_API_KEY=\0\n")
    run = command(TAP, "--config=ENV")
    assert (run.code, run.out) == (78, b"")
    assert run.errors == [f"{command.folder}/.env: it is not UTF-8 text"]
    assert "Traceback" not in run.log


# Numbers to look up


@pytest.mark.parametrize(
    "content",
    [
        *(write("+15555550100\n+15555550101\n") for write in TAKEN.values()),
        *(write("name,phone\nJosé,+15555550100\nZoë,+15555550101\n") for write in TAKEN.values()),
        "phone,name\n+15555550100,José\n+15555550101,Zoë\n".encode("latin-1"),
        "name;phone\n\x80;+15555550100\n\x81\x8d;+15555550101\n".encode("latin-1"),
        "phone\tname\r\n+15555550100\tJosé\r\n+15555550101\tZoë\r\n".encode("utf-16"),
    ],
)
def test_numbers_are_taken_from_a_file_in_any_encoding(command, config, tmp_path, content):
    file = tmp_path / "numbers.csv"
    file.write_bytes(content)
    run = command(TAP, config=config | {"phone_numbers_file": str(file)})
    assert run.code == 0, run.log
    asked = [message["record"]["phone"] for message in run.of("RECORD") if message["stream"] == "phone_number_status"]
    assert asked == ["+15555550100", "+15555550101"]


@pytest.mark.parametrize(
    "content, problem",
    [
        ("+15555550190\n".encode("utf-16-le"), "line 1 of "),
        (b"+15555550190\n\0\0", "line 2 of "),
        (b"+15555550190\n\x1a", "line 2 of "),
        (b"+1555555\xe90190\n", "line 1 of "),
        (gzip.compress(b"+15555550190\n", mtime=0), "line 1 of "),
    ],
)
def test_a_file_of_something_else_than_numbers_is_refused_in_one_line(command, config, tmp_path, content, problem):
    file = tmp_path / "numbers"
    file.write_bytes(content)
    run = command(TAP, config=config | {"phone_numbers_file": str(file)})
    assert (run.code, run.out) == (78, b"")
    (error,) = run.errors
    assert error.startswith(f"phone_numbers_file: {problem}{file} holds no phone number") or "cannot be read" in error
    assert "5555550190" not in run.log
    assert "Traceback" not in run.log


# What the target reads


SCHEMA = {"type": "SCHEMA", "stream": "v", "schema": {"properties": {"phone": {}}}, "key_properties": []}
MESSAGES = "".join(
    json.dumps(message, ensure_ascii=False) + "\n"
    for message in [
        SCHEMA,
        {"type": "RECORD", "stream": "v", "record": {"phone": "+15555550100", "name": "José"}},
        {"type": "RECORD", "stream": "v", "record": {"phone": "+15555550101", "name": "\u2028\x85"}},
        {"type": "STATE", "value": {"at": "José"}},
    ]
)
READABLE = {
    **TAKEN,
    "no last line end": lambda text: text.rstrip("\n").encode(),
    "empty lines": lambda text: ("\n \r\n" + text.replace("\n", "\n\n\t\n")).encode(),
    "a mark before each line": lambda text: text.replace('{"type"', '\ufeff{"type"').encode(),
}


@pytest.fixture
def load(simulator, command, tmp_path):
    def run(content, how):
        config = {"api_key": KEY, "api_url": simulator.url, "phone_spelling": "plus"}
        if how == "-":
            return command(TARGET, "--input", "-", config=config, stdin=content)
        if how == "input":
            (tmp_path / "messages").write_bytes(content)
            return command(TARGET, "--input", str(tmp_path / "messages"), config=config)
        return command(TARGET, config=config, stdin=content)

    return run


@pytest.mark.parametrize("how", ["stdin", "input", "-"])
@pytest.mark.parametrize("written", READABLE)
def test_messages_are_taken_in_any_encoding_and_with_any_line_ends(simulator, load, written, how):
    done = load(READABLE[written](MESSAGES), how)
    assert (done.code, done.messages) == (0, [{"at": "José"}]), done.log
    assert simulator.removal_posts == [["+15555550100", "+15555550101"]]


def test_what_is_no_text_in_a_property_that_is_not_used_is_of_no_concern(simulator, load):
    text = MESSAGES.replace('{"at": "José"}', '{"at": 1}')
    done = load(text.encode().replace("é".encode(), b"\xe9"), "stdin")
    assert (done.code, done.messages) == (0, [{"at": 1}]), done.log
    assert simulator.removal_posts == [["+15555550100", "+15555550101"]]


@pytest.mark.parametrize(
    "content, error",
    [
        (
            MESSAGES.encode().replace(b'"at": "Jos\xc3\xa9"', b'"at": "Jos\xe9"'),
            "line 4 of the input is a STATE that is",
        ),
        (MESSAGES.encode("utf-16-le"), "line 1 of the input is no Singer message"),
        (MESSAGES.encode("utf-16")[:-1], "line 4 of the input is not the utf-16 that its beginning says"),
        (MESSAGES.encode() + b"\0\0\0", "line 5 of the input is no Singer message"),
        (MESSAGES.encode() + b"\x1a", "line 5 of the input is no Singer message"),
        (MESSAGES.encode()[:-5], "line 4 of the input is no Singer message"),
        (gzip.compress(MESSAGES.encode(), mtime=0), "line 1 of the input is no Singer message"),
        (b"phone\n+15555550100\n", "line 1 of the input is no Singer message"),
    ],
)
@pytest.mark.parametrize("how", ["stdin", "input"])
def test_what_is_no_message_ends_the_run_with_one_line_before_any_request(simulator, load, content, error, how):
    done = load(content, how)
    assert (done.code, done.out) == (65, b"")
    (message,) = done.errors
    assert message.startswith(error)
    assert "Traceback" not in done.log
    assert simulator.requests == []


@pytest.mark.parametrize("path, problem", [("gone.singer", "No such file or directory"), (".", "Is a directory")])
def test_an_input_that_cannot_be_read_is_refused_in_one_line(simulator, command, path, problem):
    done = command(TARGET, "--input", path, config={"api_key": KEY, "api_url": simulator.url})
    assert (done.code, done.out) == (78, b"")
    takes = "takes a file of Singer messages, one a line"
    assert done.errors == [f"--input: got {path}, which cannot be read: {problem}; {takes}"]
    assert "Usage" not in done.log
