"""Phone numbers and the API key stay out of logs, errors and state, at any log level (promise 14)."""

from __future__ import annotations

import json
import logging
import os
import re
import traceback

import pytest
from singer_sdk.exceptions import FatalAPIError, MapExpressionError
from singer_sdk.logging import StructuredFormatter

from braze_simulator import Entry, Simulator, digits, seeded
from support.commands import Run
from support.runs import config_for
from tap_braze_sms.singer.redaction import redact

SECRET = "5ecret-k3y+of/the=workspace"

STRUCTURED = """
version: 1
disable_existing_loggers: false
formatters:
  structured:
    (): singer_sdk.logging.StructuredFormatter
handlers:
  stderr:
    class: logging.StreamHandler
    formatter: structured
    stream: ext://sys.stderr
root:
  level: DEBUG
  handlers: [stderr]
"""


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return seeded(400, days=12)


@pytest.fixture
def braze(entries):
    with Simulator(entries, api_key=SECRET, rate_window=1.0) as serving:
        yield serving


@pytest.fixture
def config(braze, entries) -> dict:
    start = f"{entries[0].detected_at:%Y-%m-%d}"
    return config_for(braze, api_key=SECRET, start_date=start, window_days=3, page_size=50)


@pytest.fixture
def environment(request, tmp_path) -> dict[str, str]:
    """Log everything there is: as JSON, which has most, or as text."""
    environment = {**os.environ, "TAP_BRAZE_SMS_LOGLEVEL": "DEBUG"}
    if getattr(request, "param", "structured") == "structured":
        path = tmp_path / "logging.yaml"
        path.write_text(STRUCTURED)
        environment["SINGER_SDK_LOG_CONFIG"] = str(path)
    return environment


both = pytest.mark.parametrize("environment", ["structured", "console"], indirect=True)


def assert_redact(run: Run, entries: list[Entry], environment: dict[str, str], *also: str) -> None:
    """Check that no log line and no STATE holds a number of the list or the key."""
    # Ten digits: with or without a country code, wherever in a longer run of digits.
    numbers = {digits(text)[-10:] for text in (*(entry.phone for entry in entries), *also)}
    told = run.log + "".join(json.dumps(message) for message in run.of("STATE"))
    for found in re.findall(r"\d[\d\s().-]{8,}\d", told):
        bare = digits(found)
        assert not numbers & {bare[i : i + 10] for i in range(len(bare) - 9)}, found
    assert SECRET not in told
    assert SECRET[2:12] not in told
    assert "DEBUG" in run.log or '"level":"debug"' in run.log
    if "SINGER_SDK_LOG_CONFIG" in environment:
        # The console's handler was there before the file was read.
        lines = [line for line in run.log.splitlines() if line.startswith("{")]
        assert lines
        assert all("message" in json.loads(line) for line in lines)


@both
def test_a_run_under_all_faults_is_redacted(command, braze, config, entries, environment):
    braze.behaviour.fault_kinds = tuple(kind for kind in braze.behaviour.fault_kinds if kind != "slow")
    braze.behaviour.fault_rate = 0.4
    run = command("tap-braze-sms", config=config, env=environment)
    assert run.code == 0
    assert len(run.records) == len(entries)
    assert "trying again in" in run.log
    # Requests are logged, without what they ask for.
    assert "GET /sms/invalid_phone_numbers?… HTTP/1.1" in run.log.replace(r"\u2026", "…")
    assert_redact(run, entries, environment)


@both
@pytest.mark.parametrize("status", ["400", "403"])
def test_a_refusal_that_echoes_everything_is_told_discreetly(command, braze, config, entries, environment, status):
    braze.behaviour.fail_next = [status] * 5
    run = command("tap-braze-sms", config=config, env=environment)
    assert run.code == {"400": 78, "403": 77}[status]
    assert f"answered {status}" in run.log
    assert_redact(run, entries, environment)


@pytest.mark.parametrize("status", ["400", "500", "reset", "html"])
def test_numbers_that_are_asked_about_are_not_told(command, braze, config, entries, environment, status):
    asked = ["+1 (200) 555-9876", "12015559876", entries[0].phone, entries[1].phone]
    braze.behaviour.fail_next = [status]
    run = command(
        "tap-braze-sms", config=config | {"phone_numbers": asked, "max_parallel_requests": 1}, env=environment
    )
    # A 400 may be about the range of days, and a narrower one is tried.
    assert run.code == 0
    assert_redact(run, entries, environment, *asked)


def test_a_server_that_stays_down_is_told_discreetly(command, braze, config, entries, environment):
    braze.behaviour.down = True
    run = command("tap-braze-sms", config=config | {"max_attempts": 1}, env=environment)
    assert run.code == 75
    assert "the connection to 127.0.0.1:" in run.log
    assert_redact(run, entries, environment)


@both
def test_a_record_that_cannot_be_used_is_told_discreetly(command, braze, config, entries, environment):
    bad = entries[200]._replace(spelled=f"at {entries[200].phone}")
    braze.remove([bad.phone])
    braze.add(bad)
    run = command("tap-braze-sms", config=config, env=environment)
    assert run.code == 65
    assert "cannot be read as a time" in run.log
    assert "Traceback" in run.log or '"traceback"' in run.log
    assert_redact(run, entries, environment)


@pytest.mark.parametrize(
    "expression",
    [
        "int(phone.replace('1', 'x') + phone)",
        "int('number ' + phone)",
        "float(phone + '!')",
        "{}[phone]",
        "phone + 1",
        "phone.unknown()",
        "datetime.datetime.strptime(phone, '%Y')",
        "json.loads(phone + '}')",
    ],
)
def test_a_stream_map_that_fails_is_told_discreetly(command, config, entries, environment, expression):
    maps = {"invalid_phone_numbers": {"mapped": expression}}
    run = command("tap-braze-sms", config=config | {"stream_maps": maps}, env=environment)
    assert run.code == 78
    assert "mapper.py" in run.log, "the traceback says where"
    assert_redact(run, entries, environment)
    assert "x555" not in run.log


@both
def test_what_a_stream_maps_filter_evaluates_to_is_not_told(command, config, entries, environment):
    maps = {"invalid_phone_numbers": {"__filter__": "reason == 'deactivated' and phone"}}
    run = command("tap-braze-sms", config=config | {"stream_maps": maps}, env=environment)
    assert run.code == 0, run.log
    assert len(run.records) == sum(entry.reason == "deactivated" for entry in entries)
    assert "Filter result for" in run.log
    assert_redact(run, entries, environment)


def test_a_loader_that_is_gone_is_told_discreetly(command, config, entries, environment):
    process = command.start("tap-braze-sms", config=config, env=environment)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 1
    assert_redact(Run(1, b"", process.log), entries, environment)


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": f"{SECRET}\n"},
        {"api_key": [SECRET]},
        {"phone_numbers": ["+12005559876", 12015559876]},
        {"phone_numbers": ["no number: ++"]},
        {"api_url": f"https://{SECRET[:8]}:{SECRET[8:]}@rest.example"},
    ],
    ids=["line break", "list", "number", "no number", "password"],
)
def test_a_wrong_setting_is_told_discreetly(command, config, entries, environment, wrong):
    run = command("tap-braze-sms", config=config | wrong, env=environment)
    assert run.code == 78
    run.log += "DEBUG"  # so early, nothing else is
    assert_redact(run, entries, environment, "+12005559876", "12015559876")


# Whatever may still come up


NUMBER = "+1200" + "5559876"


def raised(error: Exception, *before: Exception) -> Exception:
    """Raise an error that came of others, the last of them while the one before was handled."""
    try:
        if before:
            raise error from raised(*before)  # noqa: TRY301 (here, to give it a traceback)
        raise error  # noqa: TRY301 (here, to give it a traceback)
    except Exception as caught:  # noqa: BLE001 (whatever it is)
        caught.__context__ = caught.__cause__ and raised(KeyError(NUMBER))
        return caught


@pytest.mark.parametrize(
    "error, kept",
    [
        (
            raised(MapExpressionError("Failed to evaluate int(phone)."), ValueError(f"a number: '{NUMBER}'")),
            ["MapExpressionError: Failed to evaluate int(phone).", "ValueError: a number: …"],
        ),
        (raised(ValueError(f"for '{NUMBER}'")), ["ValueError: for …"]),
        (raised(ValueError(f'"{NUMBER[:5]}" and "{NUMBER[5:]}"')), ["ValueError: …"]),
        (raised(KeyError(NUMBER)), ["KeyError: …"]),
        (raised(RuntimeError(f"a b{NUMBER}c d")), ["RuntimeError: a … d"]),
        # Not raised by this package: its message can quote anything.
        (raised(FatalAPIError(f"400 for url: /?p={NUMBER}")), ["FatalAPIError: … for url: …"]),
    ],
    ids=["chained", "quoted", "twice", "key", "in a word", "of the SDK"],
)
def test_a_foreign_error_is_shown_without_what_it_quotes(error, kept):
    shown = redact(error)
    info = (type(shown), shown, shown.__traceback__)
    text = "".join(traceback.format_exception(*info))
    assert all(line in text for line in kept)
    assert "test_privacy.py" in text, "where it came from is shown"
    record = logging.LogRecord("tap", logging.ERROR, "", 0, "%s", (shown,), info)
    for told in (text, StructuredFormatter().format(record)):
        assert "5559876" not in told
        assert "+1200" not in told
