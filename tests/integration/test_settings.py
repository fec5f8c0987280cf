"""Settings: wrong ones stop the run before any request, in one line; right ones mean what they say."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess

import pytest

from braze_simulator import Entry, seeded, spell
from support.runs import KEY, config_for, run_here
from tap_braze_sms.braze.instances import INSTANCES, url_of
from tap_braze_sms.settings import TAP, apply_defaults_and_validate, parse_env_value
from tap_braze_sms.tap import TapBrazeSMS

SECRET = "5ecret-key-of-the-workspace"
ALL_INSTANCES = ", ".join(INSTANCES)
A_DATE = "takes a date (2026-03-01) or a date-time (2026-03-01T00:00:00Z)"
A_URL = "takes https://host, or http://localhost:port for a simulator"
ONE_OF_TWO = "takes exactly one: an instance (US-01, US-02"
AS_DOCUMENTED = "takes what the SDK's documentation says"
FOREIGN = "got a string with a character that does not belong there, takes"

#: Stands for: this setting is not in the configuration.
MISSING = object()

WRONG: list[tuple[dict, str]] = [
    ({"api_key": MISSING}, "api_key: is required, takes a string that is not empty"),
    ({"api_key": None}, "api_key: is required, takes a string that is not empty"),
    ({"api_key": ""}, "api_key: got an empty string, takes a string that is not empty"),
    ({"api_key": 12125550123}, "api_key: got a value of type int, takes a string that is not empty"),
    ({"api_key": f"{SECRET}\n"}, f"api_key: {FOREIGN} the key alone"),
    ({"api_key": f"{SECRET}é"}, f"api_key: {FOREIGN} the key alone"),
    ({"api_key": f"Bearer {SECRET}"}, f"api_key: {FOREIGN} the key alone"),
    ({"api_url": MISSING, "instance": "US-09"}, f"instance: got 'US-09', takes one of {ALL_INSTANCES}"),
    ({"api_url": MISSING, "instance": "us-06"}, f"instance: got 'us-06', takes one of {ALL_INSTANCES}"),
    ({"api_url": MISSING, "instance": 6}, f"instance: got 6, takes one of {ALL_INSTANCES}"),
    ({"instance": "US-06"}, f"instance: got both of instance and api_url, {ONE_OF_TWO}"),
    ({"api_url": MISSING}, f"instance: got neither of instance and api_url, {ONE_OF_TWO}"),
    ({"api_url": ""}, f"api_url: got '', {A_URL}"),
    ({"api_url": "rest.iad-01.braze.com"}, f"api_url: got 'rest.iad-01.braze.com', {A_URL}"),
    ({"api_url": "ftp://rest.iad-01.braze.com"}, f"api_url: got 'ftp://rest.iad-01.braze.com', {A_URL}"),
    ({"api_url": "http://rest.iad-01.braze.com"}, f"api_url: got 'http://rest.iad-01.braze.com', {A_URL}"),
    ({"api_url": "http://localhost.example"}, f"api_url: got 'http://localhost.example', {A_URL}"),
    ({"api_url": "https://a.example/sms"}, f"api_url: got 'https://a.example/sms', {A_URL}"),
    ({"api_url": f"https://me:{SECRET}@a.example"}, f"api_url: got a URL with a user or password in it, {A_URL}"),
    ({"api_url": "https://a.example:port"}, f"api_url: got 'https://a.example:port', {A_URL}"),
    ({"api_url": "https://a b"}, f"api_url: got 'https://a b', {A_URL}"),
    ({"api_url": "https://rest..braze.com"}, f"api_url: got 'https://rest..braze.com', {A_URL}"),
    ({"api_url": 8080}, "api_url: got 8080, takes a string"),
    ({"start_date": MISSING}, f"start_date: is required, {A_DATE}"),
    ({"start_date": "2126-01-01"}, "start_date: got '2126-01-01', takes a time in the past"),
    ({"start_date": ""}, f"start_date: got '', {A_DATE}"),
    ({"start_date": "yesterday"}, f"start_date: got 'yesterday', {A_DATE}"),
    ({"start_date": "2026-02-30"}, f"start_date: got '2026-02-30', {A_DATE}"),
    ({"start_date": "01/03/2026"}, f"start_date: got '01/03/2026', {A_DATE}"),
    ({"start_date": 20260301}, f"start_date: got 20260301, {A_DATE}"),
    ({"end_date": "never"}, f"end_date: got 'never', {A_DATE}"),
    (
        {"end_date": "2026-02-28"},
        "end_date: got '2026-02-28', takes an instant after start_date (2026-03-01)",
    ),
    (
        {"end_date": "2026-03-01T02:00:00+02:00"},
        "end_date: got '2026-03-01T02:00:00+02:00', takes an instant after start_date (2026-03-01)",
    ),
    (
        {"end_date": "2026-05-01", "emit_activate_version_messages": True},
        "end_date: got '2026-05-01' together with emit_activate_version_messages, by which a loader drops all",
    ),
    ({"max_run_minutes": 0}, "max_run_minutes: got 0, takes a number above 0"),
    ({"max_run_minutes": -1.5}, "max_run_minutes: got -1.5, takes a number above 0"),
    ({"max_run_minutes": "ten"}, "max_run_minutes: got 'ten', takes a number above 0"),
    ({"max_run_minutes": "inf"}, "max_run_minutes: got 'inf', takes a number above 0"),
    (
        {"max_run_minutes": 5, "emit_activate_version_messages": True},
        "max_run_minutes: got 5 together with emit_activate_version_messages, by which a loader drops all that is",
    ),
    (
        {"stream_maps": {"invalid_phone_number": {"phone": "md5(phone)"}}},
        "stream_maps: got 'invalid_phone_number', takes the name of a stream: invalid_phone_numbers, phone_number",
    ),
    (
        {"stream_maps": {"hashed": {"__source__": "phones", "phone": "md5(phone)"}}},
        "stream_maps: got 'phones', takes the name of a stream: invalid_phone_numbers, phone_number_status",
    ),
    (
        {"stream_maps": {"invalid_phone_numbers": {"phone": "md5("}}},
        "stream_maps: Failed to parse expression md5(",
    ),
    ({"reason": ""}, "reason: got '', takes a string that is not empty"),
    ({"reason": ["deactivated"]}, "reason: got ['deactivated'], takes a string that is not empty"),
    ({"window_days": 0}, "window_days: got 0, takes a whole number from 1 to 366"),
    ({"window_days": 367}, "window_days: got 367, takes a whole number from 1 to 366"),
    ({"page_size": 1}, "page_size: got 1, takes a whole number from 2 to 500"),
    ({"page_size": 501}, "page_size: got 501, takes a whole number from 2 to 500"),
    ({"page_size": 2.5}, "page_size: got 2.5, takes a whole number from 2 to 500"),
    ({"page_size": "100"}, "page_size: got '100', takes a whole number from 2 to 500"),
    ({"page_size": True}, "page_size: got True, takes a whole number from 2 to 500"),
    ({"lookback_minutes": -1}, "lookback_minutes: got -1, takes a whole number from 0 to 1000000000"),
    ({"lookback_minutes": 10**15}, "lookback_minutes: got 1000000000000000, takes a whole number from 0 to 1000000000"),
    ({"max_parallel_requests": 0}, "max_parallel_requests: got 0, takes a whole number from 1 to 64"),
    ({"max_parallel_requests": 65}, "max_parallel_requests: got 65, takes a whole number from 1 to 64"),
    ({"rate_limit_share": 0}, "rate_limit_share: got 0, takes a number above 0 and at most 1"),
    ({"rate_limit_share": 1.5}, "rate_limit_share: got 1.5, takes a number above 0 and at most 1"),
    ({"rate_limit_share": "half"}, "rate_limit_share: got 'half', takes a number above 0 and at most 1"),
    ({"request_timeout": 0}, "request_timeout: got 0, takes a number above 0 and at most 86400"),
    ({"request_timeout": 1e6}, "request_timeout: got 1000000.0, takes a number above 0 and at most 86400"),
    ({"max_attempts": 0}, "max_attempts: got 0, takes a whole number from 1 to 20"),
    ({"max_attempts": 21}, "max_attempts: got 21, takes a whole number from 1 to 20"),
    ({"user_agent": "two\nlines"}, f"user_agent: {FOREIGN} plain ASCII"),
    ({"phone_numbers": [12125550123]}, "phone_numbers: got a value of type int at position 0, takes a string"),
    ({"phone_numbers": "+12125550123"}, "phone_numbers: got a value of type str, takes a list of strings"),
    ({"flattening_enabled": "maybe"}, "flattening_enabled: got 'maybe', takes true or false"),
    ({"stream_maps": []}, "stream_maps: got a value of type list, takes an object"),
    (
        {"stream_maps": {"__else__": "drop"}},
        f"stream_maps: got a value of type str at position __else__, {AS_DOCUMENTED}",
    ),
    (
        {"stream_maps": {"invalid_phone_numbers": {"hash": f"sha256('{SECRET}' + phone)", "one": 1}}},
        f"stream_maps: got a value of type dict at position invalid_phone_numbers, {AS_DOCUMENTED}",
    ),
    ({"read_windows": "ture"}, "read_windows: got 'ture', takes true or false"),
    ({"read_windows": ""}, "read_windows: got '', takes true or false"),
    (
        {"faker_config": {"seed": []}},
        f"faker_config: got [] at position seed, {AS_DOCUMENTED}",
    ),
    (
        {"stream_maps": {"invalid_phone_numbers": "md5"}},
        f"stream_maps: got a value of type str at position invalid_phone_numbers, {AS_DOCUMENTED}",
    ),
    (
        {"faker_config": {"locale": 1}},
        f"faker_config: got 1 at position locale, {AS_DOCUMENTED}",
    ),
    (
        {"batch_config": {"encoding": {"format": "xml"}, "storage": {"root": "."}}},
        "batch_config: got 'xml' at position encoding.format, takes one of jsonl, parquet",
    ),
    (
        {"batch_config": {"storage": {"prefix": "../other/"}}},
        "batch_config: got '../other/' at position storage.prefix, takes what names of files begin with",
    ),
    # The key in the place of something else.
    ({"instance": "01234567-89ab-cdef-0123-456789abcdef"}, "instance: got '[api_key]', takes one of US-01"),
    ({"api_url": "https://01234567-89AB-cdef-0123-456789abcdef/x"}, "api_url: got 'https://[api_key]/x', takes https"),
    (
        {"batch_config": {"encoding": {"compression": "zip"}, "storage": {"root": "."}}},
        "batch_config: got 'zip' at position encoding.compression, takes one of ",
    ),
    ({"batch_config": {"storage": {"root": 5}}}, "batch_config: got 5 at position storage.root, takes a string"),
    ({"batch_config": {"encoding": "gzip"}}, "batch_config: got 'gzip' at position encoding, takes an object"),
    ({"batch_config": "output"}, "batch_config: got 'output', takes an object"),
    ({"batch_files": "some"}, "batch_files: got 'some', takes true or false"),
    (
        {"batch_config": {"encoding": {"format": "jsonl"}, "storage": {"root": "."}, "batch_size": 0}},
        "batch_config: got 0 at position batch_size, takes a whole number from 1 up",
    ),
    *(
        (
            {"batch_config": {"encoding": {"format": "jsonl"}, "storage": {"root": "."}} | wrong},
            f"batch_config: got {expected}",
        )
        for wrong, expected in [
            ({"encoding": {"format": "jsonl", "level": 9}}, "encoding.level, takes format, compression there"),
            ({"storage": {"root": ".", "folder": "x"}}, "storage.folder, takes root, prefix, params there"),
            ({"batch_rows": 5}, "batch_rows, takes encoding, storage, batch_size"),
            ({"batch_size": None}, "nothing at position batch_size, takes a whole number from 1 up"),
            ({"batch_size": "100"}, "'100' at position batch_size, takes a whole number from 1 up"),
            ({"storage": {"root": "nowhere://a/b"}}, "jsonl into nowhere://a/b, which cannot be used: "),
            ({"storage": {"root": "s3://bucket/x"}}, "jsonl into s3://bucket/x, which cannot be used: Install s3fs"),
            ({"encoding": {"format": "parquet"}}, "parquet into "),
            ({"storage": {"root": ".", "params": 5}}, "jsonl into ., which cannot be used: "),
        ]
    ),
    *(
        (
            {"flattening_enabled": True} | depth,
            f"flattening_max_depth: got {got} with flattening_enabled, takes a whole number from 1 up",
        )
        for depth, got in [
            ({}, "nothing"),
            ({"flattening_max_depth": 0}, "0"),
            ({"flattening_max_depth": -1}, "-1"),
            ({"flattening_max_depth": -5}, "-5"),
        ]
    ),
    ({"flattening_max_key_length": 0}, "flattening_max_key_length: got 0, takes a whole number from 1 up"),
    ({"api_key": f'"{SECRET}"'}, f"api_key: {FOREIGN} the key alone"),
    ({"stream_map_config": SECRET}, "stream_map_config: got a value of type str, takes an object"),
    # Several at once are still one line.
    ({"page_size": 501, "end_date": "never"}, "page_size: got 501, takes a whole number from 2 to 500; end_date: got"),
    (
        {"flattening_max_depth": "deep", "end_date": "never"},
        "flattening_max_depth: got 'deep', takes a whole number; end_date: got",
    ),
]


def assert_one_line(run, simulator, expected: str) -> None:
    (message,) = run.errors + run.logged("WARNING")
    assert message.startswith(expected)
    assert message in run.log.splitlines()[-1]
    assert "Traceback" not in run.log
    assert run.code == 78
    assert run.out == b""
    assert SECRET not in run.log
    assert "2125550123" not in run.log
    assert simulator.requests == []


@pytest.mark.parametrize("changes, expected", WRONG, ids=[f"{i}-{'-'.join(pair[0])}" for i, pair in enumerate(WRONG)])
def test_a_wrong_setting_stops_the_run_with_one_line_that_says_what_it_takes(command, simulator, changes, expected):
    config = config_for(simulator, api_key=SECRET, start_date="2026-03-01") | changes
    config = {name: value for name, value in config.items() if value is not MISSING}
    assert_one_line(command("tap-braze-sms", config=config), simulator, expected)


@pytest.mark.parametrize("changes, expected", WRONG[7:12:4], ids=["unknown instance", "neither"])
def test_a_wrong_setting_stops_a_test_run_too(command, simulator, changes, expected):
    config = config_for(simulator, api_key=SECRET, start_date="2026-03-01") | changes
    config = {name: value for name, value in config.items() if value is not MISSING}
    assert_one_line(command("tap-braze-sms", "--test", config=config), simulator, expected)


def environment(**variables: object) -> dict[str, str]:
    """Return the environment of a shell, with these settings of the tap and no others."""
    shell = {name: value for name, value in os.environ.items() if not name.startswith("TAP_BRAZE_SMS_")}
    return shell | {f"TAP_BRAZE_SMS_{name.upper()}": str(value) for name, value in variables.items()}


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("page_size", "many", "page_size: got 'many', takes a whole number from 2 to 500"),
        ("page_size", "", "page_size: got '', takes a whole number from 2 to 500"),
        ("page_size", "501", "page_size: got 501, takes a whole number from 2 to 500"),
        ("rate_limit_share", "half", "rate_limit_share: got 'half', takes a number above 0 and at most 1"),
        ("rate_limit_share", "nan", "rate_limit_share: got 'nan', takes a number above 0 and at most 1"),
        ("request_timeout", "inf", "request_timeout: got 'inf', takes a number above 0 and at most 86400"),
        ("stream_maps", "{nope", "stream_maps: got a value of type str, takes an object"),
        (
            "stream_map_config",
            f'{{"salt": "{SECRET}',
            "stream_map_config: got a value of type str, takes an object",
        ),
        ("end_date", "", f"end_date: got '', {A_DATE}"),
        ("end_date", '""', f"end_date: got '', {A_DATE}"),
        ("api_key", "'", f"api_key: {FOREIGN} the key alone"),
        ("instance", "US-06", f"instance: got both of instance and api_url, {ONE_OF_TWO}"),
    ],
)
def test_a_wrong_setting_in_the_environment_is_told_in_one_line(command, simulator, name, text, expected):
    variables = config_for(simulator, api_key=SECRET, start_date="2026-03-01", phone_numbers="+12125550123,x")
    run = command("tap-braze-sms", "--config", "ENV", env=environment(**variables | {name: text}))
    assert_one_line(run, simulator, expected)


def test_a_wrong_setting_in_the_later_of_two_files_is_told_in_one_line(command, simulator, tmp_path):
    later = tmp_path / "later.json"
    later.write_text('{"page_size": 9000}')
    run = command("tap-braze-sms", "--config", str(later), config=config_for(simulator, page_size=100))
    assert_one_line(run, simulator, "page_size: got 9000, takes a whole number from 2 to 500")


@pytest.mark.parametrize("option", ["config", "state", "catalog"])
@pytest.mark.parametrize(
    "content, problem",
    [
        ("", "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{"api_key": "' + SECRET, "it is not JSON: "),
        ("[1]", "it is no object"),
        (f'"{SECRET}"', "it is no"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(command, simulator, option, content, problem):
    files = {"config": config_for(simulator, api_key=SECRET)} | {option: content}
    run = command("tap-braze-sms", **files)
    assert_one_line(run, simulator, f"--{option}: got {command.folder}/{option}-")
    assert f"which cannot be read: {problem}" in run.log
    assert "takes a file with a JSON object" in run.log


@pytest.mark.parametrize("option", ["--config", "--state", "--catalog"])
@pytest.mark.parametrize("path, problem", [("gone.json", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_is_not_there_is_told_in_one_line(command, simulator, option, path, problem):
    run = command("tap-braze-sms", option, path, config=config_for(simulator))
    assert_one_line(run, simulator, f"{option}: got {path}, which cannot be read: {problem}; takes a file")


def test_a_env_file_that_is_no_text_stops_the_run_before_any_request(command, simulator):
    given = config_for(simulator, api_key=SECRET, start_date="2026-03-01")
    lines = [f"TAP_BRAZE_SMS_{name.upper()}={value}\n" for name, value in given.items()]
    (command.folder / ".env").write_text("".join(["# clé\n", *lines]), encoding="latin-1")
    run = command("tap-braze-sms", "--config=ENV", env=environment())
    assert (run.code, run.out) == (78, b"")
    assert run.errors == [f"{command.folder}/.env: it is not UTF-8 text"]
    assert SECRET not in run.log
    assert simulator.requests == []


def test_a_folder_that_is_gone_is_told_in_one_line(command, simulator):
    gone = command.folder / "gone"
    gone.mkdir()
    tap = command.arguments("tap-braze-sms", "--config=ENV")
    shell = ["/bin/sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *tap]
    run = subprocess.run(shell, cwd=gone, capture_output=True, text=True, env=environment(), check=False)
    assert run.returncode == 78
    assert "the folder that this was started in: No such file or directory" in run.stderr
    assert "Traceback" not in run.stderr


# Right ones


@pytest.mark.parametrize(
    "text, kind, expected",
    [
        ("500", "integer", 500),
        ("5e2", "integer", "5e2"),
        ("true", "string", "true"),
        ("12", "string", "12"),
        *((text, "boolean", True) for text in ("true", "True", "1", "yes", "on")),
        *((text, "boolean", False) for text in ("false", "FALSE", "0", "no", "off")),
        ('["+12005550001"]', "array", ["+12005550001"]),
        ("+12005550001,+12005550002", "array", ["+12005550001", "+12005550002"]),
        ("12005550001", "array", ["12005550001"]),
        ("true", "object", "true"),
        ('{"salt": "a"}', "object", {"salt": "a"}),
        ("{", "object", "{"),
    ],
)
def test_a_text_of_the_environment_means_what_its_setting_takes(text, kind, expected):
    found = parse_env_value(text, [kind, "null"])
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("sign", ["'", '"'])
def test_quotes_that_came_along_with_a_variable_do_not_matter(command, simulator, sign):
    simulator.add(seeded(20, days=3))
    config = config_for(simulator, start_date=_days_ago(5), page_size=100, emit_activate_version_messages="false")
    config["stream_maps"] = "{}" if sign == '"' else '{"*": {}}'
    variables = {name: f"{sign}{value}{sign}" for name, value in config.items()}
    run = command("tap-braze-sms", "--config=ENV", env=environment(**variables))
    assert run.code == 0, run.log
    assert len(run.records) == 20
    # The end of a list is looked for with as many as Braze gives.
    assert 100 in {request.limit for request in simulator.requests}


def test_of_two_values_in_quotes_the_quotes_are_not_taken_for_one_pair():
    assert parse_env_value('"a","b"', ["array"]) == ['"a"', '"b"']


@pytest.mark.parametrize("given", ["variable", "file"])
def test_an_empty_instance_beside_a_url_is_none(command, simulator, given):
    simulator.add(seeded(20, days=3))
    config = config_for(simulator, start_date=_days_ago(5)) | {"instance": ""}
    if given == "file":
        run = command("tap-braze-sms", config=config)
    else:
        run = command("tap-braze-sms", "--config=ENV", env=environment(**config))
    assert run.code == 0, run.log
    assert len(run.records) == 20


def test_an_empty_url_beside_an_instance_is_none():
    tap = TapBrazeSMS(config={"api_key": "k", "instance": "US-06", "api_url": "", "start_date": "2026-03-01"})
    assert url_of(tap.config) == "https://rest.iad-06.braze.com"


# Logging, as the environment has it


@pytest.mark.parametrize("level", ["trace", "TRACE", "5", "verbose", "silent", '"DEBUG"', "INFO ", "false", ""])
@pytest.mark.parametrize("name", ["tap-braze-sms", "target-braze-sms"])
def test_a_log_level_of_another_program_is_of_no_concern(command, name, level):
    done = command.text(name, "--version", env={**environment(), "LOGLEVEL": level})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(name)
    assert done.stderr == ""


@pytest.mark.parametrize("level", ["trace", "20", '"DEBUG"'])
def test_a_log_level_of_ours_that_is_none_is_told_in_one_line_and_ignored(command, simulator, level):
    simulator.add(seeded(20, days=3))
    env = environment(loglevel=level) | {"LOGLEVEL": "verbose"}
    run = command("tap-braze-sms", config=config_for(simulator, start_date=_days_ago(5)), env=env)
    assert run.code == 0, run.log
    assert len(run.records) == 20
    assert run.logged("WARNING") == [
        f"TAP_BRAZE_SMS_LOGLEVEL: got {level!r}, takes one of DEBUG, INFO, WARNING, ERROR, CRITICAL; it is ignored"
    ]


def test_a_log_level_in_an_env_file_is_looked_at_too(command, simulator):
    given = config_for(simulator, start_date=_days_ago(5), loglevel="trace")
    lines = [f"TAP_BRAZE_SMS_{name.upper()}={value}\n" for name, value in given.items()]
    (command.folder / ".env").write_text("".join(["LOGLEVEL=trace\n", *lines]))
    run = command("tap-braze-sms", "--config=ENV", env=environment())
    assert run.code == 0, run.log
    (warning,) = run.logged("WARNING")
    assert warning.startswith("TAP_BRAZE_SMS_LOGLEVEL: got 'trace', takes one of DEBUG, INFO")


@pytest.mark.parametrize(
    "content", ["", "{", "hello", "version: 1\nroot: 5\n", "version: 1\nhandlers: 5\n", "\xff\xfe", None]
)
def test_a_file_about_logging_that_is_none_is_told_in_one_line_and_ignored(command, simulator, tmp_path, content):
    file = tmp_path if content is None else tmp_path / "logging.yaml"
    if content is not None:
        file.write_text(content, encoding="latin-1")
    simulator.add(seeded(20, days=3))
    env = environment() | {"SINGER_SDK_LOG_CONFIG": str(file)}
    run = command("tap-braze-sms", config=config_for(simulator, start_date=_days_ago(5)), env=env)
    assert run.code == 0, run.log
    assert len(run.records) == 20
    assert run.logged("WARNING") == [
        f"SINGER_SDK_LOG_CONFIG: got {file}, which is no configuration of logging; it is ignored"
    ]
    assert "Traceback" not in run.log


def test_an_empty_variable_about_logging_is_none(command):
    done = command.text("tap-braze-sms", "--version", env={**environment(), "SINGER_SDK_LOG_CONFIG": ""})
    assert (done.returncode, done.stderr) == (0, "")


def at(text: str, phone: str = "+12005550001") -> Entry:
    when = dt.datetime.fromisoformat(text).replace(tzinfo=dt.timezone.utc)
    return Entry(phone, when, None, spell(when))


@pytest.mark.parametrize(
    "dates, expected",
    [
        ({"start_date": "2026-03-01"}, [1, 2, 3, 4]),
        ({"start_date": "2026-03-01T10:00:00Z"}, [3, 4]),
        ({"start_date": "2026-03-01T10:00:00.001"}, [4]),
        ({"start_date": "2026-03-01 12:00:00+02:00"}, [3, 4]),
        ({"start_date": "2026-02-28", "end_date": "2026-03-01"}, [0]),
        ({"start_date": "2026-03-01", "end_date": "2026-03-01T10:00:00Z"}, [1, 2]),
        ({"start_date": "2026-03-01", "end_date": "2026-03-02T00:00:00.001Z"}, [1, 2, 3, 4]),
        ({"start_date": "2026-03-01T10:00:00Z", "end_date": "2026-03-01T10:00:00.001Z"}, [3]),
    ],
)
@pytest.mark.parametrize("end_inclusive", [False, True])
def test_dates_mean_midnight_and_date_times_their_instant(simulator, dates, expected, end_inclusive):
    entries = [
        at("2026-02-28T23:59:59.999"),
        at("2026-03-01T00:00:00.000"),
        at("2026-03-01T09:59:59.999"),
        at("2026-03-01T10:00:00.000"),
        at("2026-03-02T00:00:00.000"),
    ]
    simulator.add(entries)
    simulator.behaviour.end_inclusive = end_inclusive
    run = run_here(config_for(simulator, **dates))
    assert [r["invalid_detected_at"][:23] + "Z" for r in run.records] == [entries[i].spelled for i in expected]


def test_null_counts_as_not_given(command, simulator):
    simulator.add(seeded(20, days=3))
    given = config_for(simulator, start_date=_days_ago(5))
    nothing = dict.fromkeys(
        ("instance", "end_date", "reason", "rate_limit_share", "page_size", "user_agent", "stream_maps", "batch_config")
    )
    run = command("tap-braze-sms", config=given | nothing)
    assert run.code == 0, run.log
    assert len(run.records) == 20
    assert {request.limit for request in simulator.requests} == {500}


def _days_ago(days: int) -> str:
    return (dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=days)).date().isoformat()


def test_settings_come_from_the_environment(command, simulator):
    simulator.add(seeded(60, days=3))
    variables = config_for(
        simulator,
        start_date=_days_ago(5),
        page_size="20",
        rate_limit_share="0.25",
        request_timeout="7.5",
        stream_maps=json.dumps({"invalid_phone_numbers": {"__alias__": "numbers"}}),
    )
    run = command("tap-braze-sms", "--config=ENV", env=environment(**variables))
    assert run.code == 0, run.log
    assert len(run.records) == 60
    assert {message["stream"] for message in run.of("RECORD")} == {"numbers"}
    assert min(request.limit for request in simulator.requests) == 20


def test_numbers_from_the_environment_are_numbers(monkeypatch, simulator):
    variables = config_for(simulator, rate_limit_share="0.25", request_timeout="7", page_size="20")
    for name, value in environment(**variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TAP_BRAZE_SMS_END_DATE", raising=False)
    config = TapBrazeSMS(parse_env_config=True).config
    assert (config["rate_limit_share"], config["request_timeout"], config["page_size"]) == (0.25, 7.0, 20)
    assert type(config["page_size"]) is int


def test_settings_come_from_a_env_file_where_the_tap_is_started(command, simulator):
    simulator.add(seeded(20, days=3))
    given = config_for(simulator, start_date=_days_ago(5))
    lines = [f"TAP_BRAZE_SMS_{name.upper()}={value}\n" for name, value in given.items()]
    (command.folder / ".env").write_text("".join(lines))
    run = command("tap-braze-sms", "--config=ENV", env=environment())
    assert run.code == 0, run.log
    assert len(run.records) == 20


def test_of_several_files_and_the_environment_the_last_wins(command, simulator, tmp_path):
    simulator.add(seeded(60, days=3))
    later = tmp_path / "later.json"
    later.write_text('{"page_size": 20, "api_key": "' + KEY + '"}')
    given = config_for(simulator, start_date=_days_ago(5), page_size=30, api_key="another", max_parallel_requests=1)
    run = command("tap-braze-sms", "--config", str(later), "--config=ENV", config=given, env=environment(page_size=10))
    assert run.code == 0, run.log
    assert len(run.records) == 60
    assert {request.limit for request in simulator.requests if request.offset == 0} == {10}


def test_a_number_written_with_a_point_is_that_number(command, simulator):
    simulator.add(seeded(60, days=3))
    given = config_for(simulator, start_date=_days_ago(5), request_timeout=2.5, rate_limit_share=0.75)
    run = command("tap-braze-sms", config=json.dumps(given | {"page_size": 0})[:-1].rstrip("0") + "50.0}")
    assert run.code == 0, run.log
    assert len(run.records) == 60
    assert {request.limit for request in simulator.requests if request.offset == 0} == {50}


def test_a_setting_that_does_not_exist_is_warned_about_without_its_value(command, simulator):
    given = config_for(simulator, start_date=_days_ago(1), api_secret=SECRET, load_method="upsert")
    run = command("tap-braze-sms", config=given)
    assert run.code == 0, run.log
    assert sorted(run.logged("WARNING")) == [
        "There is no setting api_secret; it is ignored",
        "There is no setting load_method; it is ignored",
    ]
    assert SECRET not in run.log


@pytest.mark.parametrize(
    "plugin, misspelled, meant",
    [
        ("tap-braze-sms", "page_sise", "page_size"),
        ("tap-braze-sms", "start_dat", "start_date"),
        ("tap-braze-sms", "stream_map", "stream_maps"),
        ("target-braze-sms", "dryrun", "dry_run"),
        ("target-braze-sms", "dryRun", "dry_run"),
        ("target-braze-sms", "dry-run", "dry_run"),
        ("target-braze-sms", "max_removal", "max_removals"),
        ("target-braze-sms", "allow_wholelist", "allow_whole_list"),
    ],
)
def test_a_setting_that_is_all_but_misspelled_stops_the_run(command, simulator, plugin, misspelled, meant):
    given = {"api_key": KEY, "api_url": simulator.url, misspelled: SECRET}
    run = command(plugin, config=given, stdin=b"")
    assert run.code == 78
    (error,) = run.errors
    assert error.startswith(f"{misspelled}: there is no such setting; takes {meant}")
    assert SECRET not in run.log
    assert simulator.requests == []


@pytest.mark.parametrize("given, means", [("true", True), ("No", False), ("'1'", True)])
def test_a_flag_may_be_a_text_as_meltano_hands_it_on(given, means):
    config = {"api_key": KEY, "instance": "US-06", "start_date": "2026-01-01", "read_windows": given}
    assert apply_defaults_and_validate(config, TAP.to_dict()) == []
    assert config["read_windows"] is means


def test_a_file_of_numbers_may_be_a_pipe(command, simulator):
    simulator.add(seeded(3, days=1))
    number = simulator.entries()[0].phone
    given = config_for(simulator, start_date=_days_ago(5), phone_numbers_file="/dev/stdin")
    run = command("tap-braze-sms", config=given, stdin=number.encode())
    assert run.code == 0, run.log
    asked = [message["record"] for message in run.of("RECORD") if message["stream"] == "phone_number_status"]
    assert [record["phone"] for record in asked] == [number]


@pytest.mark.parametrize(
    "instance, url",
    [
        ("US-01", "https://rest.iad-01.braze.com"),
        ("US-02", "https://rest.iad-02.braze.com"),
        ("US-03", "https://rest.iad-03.braze.com"),
        ("US-04", "https://rest.iad-04.braze.com"),
        ("US-05", "https://rest.iad-05.braze.com"),
        ("US-06", "https://rest.iad-06.braze.com"),
        ("US-07", "https://rest.iad-07.braze.com"),
        ("US-08", "https://rest.iad-08.braze.com"),
        ("US-10", "https://rest.us-10.braze.com"),
        ("EU-01", "https://rest.fra-01.braze.eu"),
        ("EU-02", "https://rest.fra-02.braze.eu"),
        ("AU-01", "https://rest.au-01.braze.com"),
        ("ID-01", "https://rest.id-01.braze.com"),
        ("JP-01", "https://rest.jp-01.braze.com"),
        ("KR-01", "https://rest.kr-01.braze.com"),
    ],
)
def test_every_instance_has_its_endpoint(instance, url):
    tap = TapBrazeSMS(config={"api_key": "k", "instance": instance, "start_date": "2026-03-01"})
    assert url_of(tap.config) == url


def test_no_other_instance_exists():
    assert len(INSTANCES) == 15


@pytest.mark.parametrize(
    "given, url",
    [
        ("https://rest.iad-42.braze.com", "https://rest.iad-42.braze.com"),
        ("https://rest.iad-42.braze.com/", "https://rest.iad-42.braze.com"),
        ("HTTPS://Rest.example:8443", "HTTPS://Rest.example:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_any_other_endpoint_can_be_named(given, url):
    tap = TapBrazeSMS(config={"api_key": "k", "api_url": given, "start_date": "2026-03-01"})
    assert url_of(tap.config) == url


def test_localhost_may_be_spoken_to_without_tls_by_its_name(simulator):
    run_here(config_for(simulator, api_url=f"http://localhost:{simulator.port}", start_date=_days_ago(1)))
    assert {request.status for request in simulator.requests} == {200}


@pytest.mark.parametrize(
    "content",
    [
        '{"streams": [1]}',
        '{"streams": [{"stream": "invalid_phone_numbers"}]}',
        '{"streams": [{"tap_stream_id": "invalid_phone_numbers", "metadata": [{}]}]}',
        '{"streams": [{"tap_stream_id": "invalid_phone_numbers", "metadata": 1}]}',
        '{"streams": [{"tap_stream_id": "invalid_phone_numbers", "schema": {}, "metadata": []}]}',
        '{"streams": [{"tap_stream_id": "invalid_phone_numbers", "stream": "n", "schema": {"properties": {"n": {}}}}]}',
        '{"streams": 1}',
    ],
)
def test_a_catalog_that_is_none_is_told_in_one_line(command, simulator, content):
    run = command("tap-braze-sms", config=config_for(simulator), catalog=content)
    assert_one_line(run, simulator, f"--catalog: got {command.folder}/catalog-")
    assert "which is no Singer catalog; takes what --discover writes" in run.log


@pytest.mark.parametrize("text", ["ture", "y", "", "2", "True "])
def test_a_mistyped_boolean_in_the_environment_is_not_taken_for_false(command, simulator, text):
    config = {"api_key": SECRET, "api_url": simulator.url}
    given = {"TARGET_BRAZE_SMS_DRY_RUN": text}
    run = command("target-braze-sms", "--config=ENV", config=config, env=given, stdin=b"")
    assert_one_line(run, simulator, f"dry_run: got {text!r}, takes true or false")


@pytest.mark.parametrize(
    "given, meant",
    [
        ({"encoding.compression": None, "storage.root": ""}, {}),
        ({"storage.root": "/data", "batch_size": 9}, {"storage": {"root": "/data"}, "batch_size": 9}),
        ({"storage": {"prefix": "a"}, "storage.params": {"b": 1}}, {"storage": {"prefix": "a", "params": {"b": 1}}}),
    ],
)
def test_names_with_points_are_how_meltano_writes_an_object_into_one_variable(given, meant):
    config = {"api_key": "key", "instance": "US-01", "start_date": "2026-01-01", "batch_config": given}
    assert apply_defaults_and_validate(config, TAP.to_dict()) == []
    assert config["batch_config"] == meant
