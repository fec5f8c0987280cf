"""What is asked again and what is not, and what the last word is (promises 3, 5, 13 and 14)."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import json
import logging
import random
import threading
import typing as t

import pytest

from braze_simulator import Entry, Simulator, number, seeded, spell
from support.runs import KEY, assert_exact, config_for, row_of, rows_of, run_here
from tap_braze_sms.braze.client import BrazeClient, RequestRefusedError
from tap_braze_sms.braze.lists import INVALID_PHONE_NUMBERS
from tap_braze_sms.braze.rate_limit import LONGEST_PAUSE
from tap_braze_sms.braze.responses import ResponseParser
from tap_braze_sms.concurrency.cancellation import Cancelled, CancelToken
from tap_braze_sms.reading.errors import RefusedStretchError

if t.TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = 20


def start_of(entries: list[Entry]) -> str:
    return f"{entries[0].detected_at:%Y-%m-%d}"


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return seeded(800, days=DAYS)


@pytest.fixture
def config(simulator, entries) -> dict:
    """Settings for reading a list of some windows with some pages."""
    simulator.add(entries)
    simulator.behaviour.rate_window = 1.0
    return config_for(simulator, start_date=start_of(entries), window_days=3, page_size=50)


# Asked again


@pytest.mark.parametrize(
    "fault",
    [
        "202",
        "429",
        "500",
        "502",
        "503",
        "504",
        "html",
        "reset",
        "truncated",
        "half_json",
        "no_sms",
        "errors",
        "queued",
        "elsewhere",
        "slow",
        "reset_after",
    ],
)
def test_a_passing_fault_is_asked_again_and_the_run_is_exact(command, simulator, config, entries, fault):
    simulator.behaviour.fail_next = [fault]
    run = command("tap-braze-sms", config=config)
    assert run.code == 0, run.log
    assert_exact(run, entries)
    told = [line for line in run.log.splitlines() if "trying again in" in line]
    assert len(told) == (fault != "slow")
    assert all("WARNING" in line and "(try 2 of 8)" in line and "window " in line for line in told)


def test_a_request_that_hangs_is_given_up_and_asked_again(command, simulator, config, entries):
    simulator.behaviour.fail_next = ["hang"]
    run = command("tap-braze-sms", config=config | {"request_timeout": 0.3})
    assert run.code == 0, run.log
    assert_exact(run, entries)
    assert "no answer within 0.3 s; trying again in" in run.log


def test_one_answer_in_eight_may_be_spoilt(command, simulator, config, entries):
    simulator.behaviour.fault_rate = 1 / 8
    run = command("tap-braze-sms", config=config | {"page_size": 20})
    assert run.code == 0, run.log
    assert_exact(run, entries)
    assert sum(request.status not in {200, "slow"} for request in simulator.requests) >= 3


# Not asked again


@pytest.mark.parametrize(
    "status, code, advice",
    [
        ("400", 78, "it does not accept the request: "),
        (
            "401",
            77,
            (
                "it does not accept the API key: check api_key, that instance or api_url is the one the key belongs "
                "to, that the key has the permission sms.invalid_phone_numbers, and its IP allowlist"
            ),
        ),
        (
            "403",
            77,
            (
                "the API key may not do this: give it the permission sms.invalid_phone_numbers, and check that the "
                "workspace's SMS plan is active"
            ),
        ),
        ("404", 78, "there is no such endpoint: check instance or api_url"),
        ("405", 1, ""),
        ("410", 1, ""),
        ("422", 1, ""),
    ],
)
def test_a_refusal_is_final_and_says_in_one_line_what_to_do(command, simulator, config, status, code, advice):
    simulator.behaviour.fail_next = [status] * 10
    run = command("tap-braze-sms", config=config)
    assert run.code == code
    # A 400 may be about the range: then narrower ones are tried, down to a day.
    assert len(simulator.requests) == (2 if status == "400" else 1)
    assert run.records == []
    (error,) = run.errors
    assert error.startswith(f"window {config['start_date']} to ")
    assert f", offset 0: 127.0.0.1:{simulator.port} answered {status}: {advice}" in error
    assert run.log.rstrip().endswith(error)
    assert "Traceback" not in run.log


def test_an_unknown_key_is_a_refusal_like_any_other(command, simulator, config):
    run = command("tap-braze-sms", config=config | {"api_key": "of-another-workspace"})
    assert (run.code, len(simulator.requests), len(run.errors)) == (77, 1, 1)
    assert "answered 401: it does not accept the API key" in run.errors[0]


def test_a_reason_that_no_record_has_is_told_with_those_that_there_are(command, simulator, config, entries):
    run = command("tap-braze-sms", config=config | {"reason": "landline"})
    assert (run.code, run.records) == (0, [])
    assert "reason: no record has the reason landline; those read have " in run.log


def test_a_connection_test_that_fails_says_so(command, simulator, config):
    run = command("tap-braze-sms", "--test", config=config | {"api_key": "of-another-workspace"})
    assert (run.code, len(run.errors)) == (77, 1)
    assert "answered 401" in run.errors[0]


@contextlib.contextmanager
def server(status: int, body: bytes = b"", received: list | None = None, **headers: str) -> Iterator[str]:
    """Serve one answer to every request, as the simulator would not; `received` gets the headers of each."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if received is not None:
                received.append(self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [203, 204, 206])
def test_a_success_of_any_kind_counts_if_it_holds_the_list_and_is_asked_for_again_if_not(command, config, status):
    listed = json.dumps({"message": "success", "sms": []}).encode()
    for body, code in ((listed, 0), (b"", 75)):
        if status == 204 and body:
            continue  # has none
        received: list = []
        with server(status, body, received) as url:
            run = command("tap-braze-sms", config=config | {"api_url": url, "max_attempts": 2})
        assert run.code == code, run.log
        assert len(received) >= (2 if code else 1)
        assert ("trying again in" in run.log) == bool(code)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_so_the_key_goes_nowhere_else(command, simulator, config, status):
    with server(status, Location=f"{simulator.url}/sms/invalid_phone_numbers?key={KEY}") as url:
        run = command("tap-braze-sms", config=config | {"api_url": url})
    assert run.code == 78
    assert simulator.requests == []
    (error,) = run.errors
    assert f"answered {status}: it points elsewhere, where the API key is not sent: check instance or api_url" in error
    assert str(simulator.port) not in error


@pytest.mark.parametrize(
    "status, headers, said",
    [
        # A redirect to what is no address, and an answer before the answer.
        (302, {"Location": "http://[::1"}, "failed (ValueError)"),
        (103, {"Link": "</style.css>; rel=preload"}, "Braze had an error (103)"),
    ],
)
def test_an_answer_of_no_use_is_a_fault_in_one_line(command, config, status, headers, said):
    with server(status, **headers) as url:
        run = command("tap-braze-sms", config=config | {"api_url": url, "max_attempts": 1})
    assert run.code == 75
    (error,) = run.errors
    assert said in error
    assert "Traceback" not in run.log


def test_cookies_are_not_sent_back(command, config):
    sent = []
    with server(500, received=sent, **{"Set-Cookie": "a=b"}) as url:
        run = command("tap-braze-sms", config=config | {"api_url": url, "max_attempts": 2})
    assert run.code == 75
    assert len(sent) == 2
    assert not any("Cookie" in headers for headers in sent)


@pytest.mark.parametrize(
    "body, said",
    [
        (b"", "without saying why"),
        (b"[" * 100_000, "without saying why"),
        (b"[]", "without saying why"),
        (b'{"message": null}', "without saying why"),
        (b'{"message": "no\\n\\nway"}', "no way"),
        (b'{"message": "no", "errors": ["a", {"b": 1}]}', "no; a; {'b': 1}"),
        (b'{"errors": "one text"}', "one text"),
        (b'{"message": "' + b"long " * 100 + b'"}', "long long"),
        (b'{"message": "for +1 (212) 555-0123 and 12125550123"}', "for [number] and [number]"),
        (
            '{"message": "for 212/555/0123, 212%20555%200123, 212\u2013555\u20130123"}'.encode(),
            "for [number], [number], [number]",
        ),
        (b'{"message": "key simulator-key?"}', "key [api_key]?"),
    ],
)
def test_brazes_own_words_are_passed_on_short_and_without_numbers_or_key(simulator, config, body, said):
    with server(400, body) as url, pytest.raises(RefusedStretchError) as raised:
        run_here(config | {"api_url": url})
    words = str(raised.value).partition("answered 400: it does not accept the request: ")[2]
    assert words.startswith(said)
    assert len(words) <= 200


# How long is waited


class Recorder(CancelToken):
    """A token whose waits take no time; the last one allowed ends the run."""

    def __init__(self, most: int = 100) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.most = most

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) == self.most:
            raise Cancelled(1)


def ask(simulator: Simulator, cancel_token: CancelToken, *, max_attempts: int = 8, key: str = KEY) -> object:
    given = config_for(simulator, api_key=key, rate_limit_share=0.5, request_timeout=5, max_attempts=max_attempts)
    client = BrazeClient(given, cancel_token=cancel_token, logger=logging.getLogger("test"), user_agent="test")
    params = {"start_date": "2026-03-01", "end_date": "2026-03-02"}
    try:
        return client.get(
            INVALID_PHONE_NUMBERS.path, params, ResponseParser(INVALID_PHONE_NUMBERS).parse_rows, what="this request"
        )
    finally:
        client._session.close()


def test_waits_grow_fourfold_up_to_90_seconds_each_drawn_from_zero_up_but_the_last(simulator):
    random.seed(0)
    longest = [0.5, 2, 8, 32, 90, 90, 90]
    runs = []
    for _ in range(40):
        simulator.behaviour.fail_next = ["500"] * 7
        cancel_token = Recorder()
        assert ask(simulator, cancel_token) == []
        assert len(cancel_token.waits) == 7
        runs.append(cancel_token.waits)
    for wait, most in zip(list(zip(*runs, strict=True))[:-1], longest[:-1], strict=True):
        assert all(0 <= seconds <= most for seconds in wait)
        assert min(wait) < 0.15 * most
        assert max(wait) > 0.85 * most
    assert {waits[-1] for waits in runs} == {90}


@pytest.mark.parametrize("attempts", [1, 2, 3, 20])
def test_every_try_failing_is_final_after_as_many_as_are_set(simulator, attempts):
    simulator.behaviour.fail_next = ["502"] * 20
    cancel_token = Recorder()
    with pytest.raises(RequestRefusedError) as raised:
        ask(simulator, cancel_token, max_attempts=attempts)
    times = f", {attempts} times in a row" if attempts > 1 else ""
    assert str(raised.value) == f"this request: Braze had an error (502){times}"
    assert raised.value.__context__ is raised.value.__cause__ is None
    assert len(simulator.requests) == attempts
    assert len(cancel_token.waits) == attempts - 1


@pytest.mark.parametrize("header", ["Retry-After", "X-RateLimit-Retry-After"])
@pytest.mark.parametrize("status", ["503", "429"])
@pytest.mark.parametrize(
    "retry_after, least, most",
    [
        ("7", 7, 7),
        ("7.5", 7.5, 7.5),
        ("1e12", LONGEST_PAUSE, LONGEST_PAUSE),
        ("inf", LONGEST_PAUSE, LONGEST_PAUSE),
        ("0", 0, 0.5),
        ("-5", 0, 0.5),
        ("nan", 0, 0.5),
        ("soon", 0, 0.5),
        ("Fri, 01 Jan 2100 00:00:00 GMT", LONGEST_PAUSE, LONGEST_PAUSE),
        ("Fri, 01 Jan 2010 00:00:00 GMT", 0, 0.5),
        ("Fri, 01 Jan 99999 00:00:00 GMT", 0, 0.5),
        ("", 0, 0.5),
    ],
)
def test_retry_after_is_honoured(simulator, status, header, retry_after, least, most):
    # No reset to wait for instead.
    simulator._charge, charge = lambda message: charge(message)._replace(reset=0), simulator._charge
    simulator.behaviour.fail_next = [status]
    simulator.behaviour.retry_after = retry_after
    simulator.behaviour.retry_after_header = header
    cancel_token = Recorder(most=1)
    with pytest.raises(Cancelled):
        ask(simulator, cancel_token)
    # Without a Retry-After that can be read, a 429 waits for the margin after the reset that is known.
    assert least - 0.001 <= cancel_token.waits[0] <= max(most, 1 if status == "429" else 0) + 0.001


def test_a_wait_ends_at_once_when_the_end_is_asked_for(simulator):
    simulator.behaviour.fail_next = ["503"]
    simulator.behaviour.retry_after = "3600"
    cancel_token = CancelToken()
    answered = threading.Event()
    log = logging.getLogger("test.ends")
    log.addFilter(lambda record: answered.set() or True)
    given = config_for(simulator, rate_limit_share=0.5, request_timeout=5, max_attempts=8)
    client = BrazeClient(given, cancel_token=cancel_token, logger=log, user_agent="test")
    threading.Thread(target=lambda: answered.wait(60) and cancel_token.set(15)).start()
    with pytest.raises(Cancelled) as raised:
        client.get(
            INVALID_PHONE_NUMBERS.path,
            {"start_date": "2026-03-01", "end_date": "2026-03-02"},
            ResponseParser(INVALID_PHONE_NUMBERS).parse_rows,
            what="this",
        )
    client._session.close()
    assert raised.value.code == 143


# What is sent


def test_a_netrc_entry_does_not_replace_the_key(command, simulator, config, entries, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    run = command("tap-braze-sms", config=config)
    assert run.code == 0, run.log
    assert_exact(run, entries)


@pytest.mark.parametrize("given, sent", [({}, "tap-braze-sms/"), ({"user_agent": "acme-data/7"}, "acme-data/7")])
def test_requests_carry_the_key_and_the_name_of_the_program(simulator, config, given, sent):
    seen = []
    simulator.begin, begin = lambda *given: (seen.append(given[0]), begin(*given))[1], simulator.begin
    run_here(config | given)
    assert {message.headers["authorization"] for message in seen} == {f"Bearer {KEY}"}
    assert all(message.headers["user-agent"].startswith(sent) for message in seen)
    assert all(KEY not in message.target for message in seen)


def test_a_reason_is_asked_for_and_only_such_numbers_come(command, simulator, config, entries):
    run = command("tap-braze-sms", config=config | {"reason": "deactivated"})
    assert run.code == 0, run.log
    assert_exact(run, [entry for entry in entries if entry.reason == "deactivated"])
    # Where pages are filtered after they are cut, asking for a reason would hide records.
    assert not any("reason" in request.params for request in simulator.requests)


# Failing half way


@pytest.fixture
def slowly(simulator, entries) -> dict:
    """Settings with which a run takes a request for each day, one after the other."""
    simulator.add(entries)
    simulator.behaviour.latency = 0.03
    start = start_of(entries)
    return config_for(simulator, start_date=start, window_days=1, max_parallel_requests=1, max_attempts=2)


@pytest.mark.parametrize(
    "fault, code, said",
    [
        ("401", 77, "answered 401: it does not accept the API key"),
        ("400", 78, "answered 400: it does not accept the request"),
        ("down", 75, "failed (ConnectionError), 2 times in a row; nothing is lost: the next run goes on"),
    ],
)
def test_what_was_emitted_before_a_failure_stands_and_the_next_run_goes_on(
    command, simulator, slowly, entries, fault, code, said
):
    process = command.start("tap-braze-sms", config=slowly)
    out = b"".join(process.stdout.readline() for _ in range(200))
    if fault == "down":
        simulator.behaviour.down = True
    else:
        simulator.behaviour.fail_next = [fault] * 10
    run = process.finish(out)
    assert run.code == code
    assert len(run.errors) == 1
    assert said in run.errors[0]
    assert "Traceback" not in run.log
    assert 150 < len(run.records) < len(entries)
    assert run.messages[-1]["type"] == "STATE"

    simulator.behaviour.down = False
    simulator.behaviour.fail_next = []
    before = rows_of(run.records)
    again = command("tap-braze-sms", config=slowly | {"lookback_minutes": 0}, state=run.state)
    assert again.code == 0, again.log
    rows = rows_of(again.records)
    assert set(before) | set(rows) == set(map(row_of, entries))
    assert rows[0][0] >= before[-1][0], "emitted again although the state was past it"


def test_a_server_that_is_not_there_is_told_in_one_line(command, simulator, slowly):
    simulator.__exit__(None)
    run = command("tap-braze-sms", config=slowly)
    assert run.code == 75
    (error,) = run.errors
    host = simulator.url.removeprefix("http://")
    assert f"the connection to {host} failed (connection refused), 2 times in a row" in error
    assert "Traceback" not in run.log
    simulator.__enter__()


def test_a_host_that_does_not_exist_is_told_in_one_line(command):
    given = {"api_key": "k", "api_url": "https://rest.nowhere.invalid", "start_date": "2026-03-01", "max_attempts": 1}
    run = command("tap-braze-sms", config=given)
    assert run.code == 78
    (error,) = run.errors
    assert "the connection to rest.nowhere.invalid failed (no such host; check instance or api_url)" in error


@pytest.mark.parametrize(
    "spoil, problem",
    [
        ({"spelled": "soon"}, "its invalid_detected_at cannot be read as a time"),
        ({"spelled": ""}, "its invalid_detected_at cannot be read as a time"),
        ({"raw": '{"phone": null, "invalid_detected_at": "2026-03-04T10:00:00Z"}'}, "it has no phone (as text)"),
    ],
)
def test_a_record_that_cannot_be_used_stops_the_run_naming_window_and_position(command, simulator, spoil, problem):
    noon = dt.datetime(2026, 3, 1, 12, tzinfo=dt.timezone.utc)
    moments = [noon + dt.timedelta(hours=hour) for hour in range(100)]
    good = [Entry(number(i), moment, None, spell(moment)) for i, moment in enumerate(moments)]
    bad = good[70]._replace(**spoil)
    simulator.add([*good[:70], bad, *good[71:]])
    config = config_for(simulator, start_date="2026-03-01", end_date="2026-03-06", window_days=1)
    run = command("tap-braze-sms", config=config)
    assert run.code == 65
    (error,) = run.errors
    # 10:00 of the 4th: 13 records of that day are newer.
    assert error == (
        f"window 2026-03-04 to 2026-03-04, offset 0: the record at position 13 cannot be used: {problem}"
        "; to leave it out, set skip_bad_records"
    )
    assert number(0)[:7] not in run.log
    # The days before are there, and the next run begins after them.
    assert_exact(run, good[:60])
    assert run.bookmark == "2026-03-04T00:00:00.000000+00:00"


def test_fields_that_the_schema_does_not_know_are_told_once_each(command, simulator, config, entries):
    rows = simulator.listing.rows
    for position, extra in ((3, b"carrier"), (4, b"carrier"), (400, b"carrier"), (700, b"country"), (720, b"country")):
        rows[position] = rows[position][:-1] + b',"' + extra + b'":"x"}'
    run = command("tap-braze-sms", config=config)
    assert run.code == 0, run.log
    assert_exact(run, entries)
    told = [line for line in run.log.splitlines() if "carrier" in line or "country" in line]
    assert len(told) == 1
    assert told[0].endswith("leaves out: carrier, country")
    assert "WARNING" in told[0]
