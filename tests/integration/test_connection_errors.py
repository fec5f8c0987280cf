"""What cannot pass is told at once, and what hardly passes within seconds, each with what mends it (promise 13)."""

from __future__ import annotations

import contextlib
import http.server
import logging
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import typing as t

import pytest
from test_client import Recorder, server

from support.runs import KEY, config_for
from tap_braze_sms.braze.client import LONGEST_WAIT, SHORT_WAITS, BrazeClient
from tap_braze_sms.braze.connection_errors import explain
from tap_braze_sms.braze.errors import RequestRefusedError
from tap_braze_sms.reading.errors import Kind

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = "2026-03-01"


class Plain(socketserver.BaseRequestHandler):
    """Answers in plain HTTP, whatever comes."""

    def handle(self):
        self.request.recv(65_536)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


@contextlib.contextmanager
def speaking(handler: type[socketserver.BaseRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve on a port, over TLS if there is a context for it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        if context:
            serving.socket = context.wrap_socket(serving.socket, server_side=True)
        serving.handle_error = lambda *_: None  # a client that does not trust it hangs up
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        yield serving.server_port
        serving.shutdown()
        thread.join()


def refusing(status: int, words: str) -> type[http.server.BaseHTTPRequestHandler]:
    """Make a proxy that lets nobody through."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self):
            self.send_response(status, words)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    return Proxy


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate of localhost that nobody has signed, and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    asked = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    files = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    subprocess.run([*asked, *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "certificate.pem").read_text() + (folder / "key.pem").read_text())
    return both


@pytest.fixture
def over_tls(simulator, certificate) -> Iterator[int]:
    """Serve an answer without records over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Braze(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{"sms": [], "message": "success"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with speaking(Braze, context) as port:
        yield port


def config_at(url: str, **settings: object) -> dict:
    return {"api_key": KEY, "api_url": url, "start_date": START, **settings}


def environment(**variables: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith(("PROXY", "CA_BUNDLE"))}
    return {**kept, **{name: str(value) for name, value in variables.items()}}


def said_at_once(command, config: dict, **variables: object) -> str:
    """Return the one line that a run ends with, which tried nothing again."""
    run = command("tap-braze-sms", config=config, env=environment(**variables))
    assert run.code != 0
    assert "trying again" not in run.log
    assert "Traceback" not in run.log
    (error,) = run.errors
    return error


# Certificates


def test_a_certificate_that_is_not_trusted_is_told_at_once_with_the_variable_that_mends_it(command, over_tls):
    error = said_at_once(command, config_at(f"https://localhost:{over_tls}"))
    assert f"the connection to localhost:{over_tls} failed (its certificate is not trusted: self" in error
    assert error.endswith("REQUESTS_CA_BUNDLE names the file of certificates to trust)")


def test_with_the_file_of_certificates_that_the_line_asks_for_the_run_succeeds(command, over_tls, certificate):
    config = config_at(f"https://localhost:{over_tls}")
    run = command("tap-braze-sms", config=config, env=environment(REQUESTS_CA_BUNDLE=certificate))
    assert run.code == 0, run.log


def test_the_certificate_of_another_host_is_told_as_such(command, over_tls, certificate):
    error = said_at_once(command, config_at(f"https://127.0.0.1:{over_tls}"), REQUESTS_CA_BUNDLE=certificate)
    assert "failed (its certificate is another host's; check instance or api_url" in error


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_file_of_certificates_that_holds_none_is_told_as_such(command, over_tls, tmp_path, variable):
    path = tmp_path / "ca.pem"
    path.write_text("these are none\n")
    error = said_at_once(command, config_at(f"https://localhost:{over_tls}"), **{variable: path})
    assert f"failed ({variable}: got {path}, which holds no certificates; takes a file of them in PEM form)" in error


def test_a_missing_file_of_certificates_is_told_in_one_line(command):
    error = said_at_once(command, config_at("https://localhost:1"), REQUESTS_CA_BUNDLE="/nowhere/ca.pem")
    assert "failed (REQUESTS_CA_BUNDLE: got /nowhere/ca.pem, which is not there)" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_of_certificates_that_may_not_be_read_is_told_as_such(command, over_tls, tmp_path):
    path = tmp_path / "ca.pem"
    path.touch(mode=0)
    error = said_at_once(command, config_at(f"https://localhost:{over_tls}"), REQUESTS_CA_BUNDLE=path)
    assert f"failed (REQUESTS_CA_BUNDLE: got {path}, which cannot be read: Permission denied)" in error


# Proxies


@pytest.mark.parametrize(
    "status, said",
    [
        (407, "wants a user and a password: http://user:password@host:port"),
        (403, "does not let it pass (403); ask those who run it to"),
    ],
)
def test_a_proxy_that_refuses_is_told_at_once(command, status, said):
    with speaking(refusing(status, "No")) as port:
        config = config_at("https://rest.example.invalid")
        error = said_at_once(command, config, HTTPS_PROXY=f"http://user:secret@127.0.0.1:{port}")
    assert f"failed (the proxy that HTTPS_PROXY names {said})" in error
    assert "secret" not in error


@pytest.mark.parametrize(
    "proxy, variable",
    [("foo://127.0.0.1:1", "HTTPS_PROXY"), ("socks5://127.0.0.1:1", "ALL_PROXY"), ("http://", "https_proxy")],
)
def test_a_proxy_that_cannot_be_used_is_told_at_once(command, proxy, variable):
    error = said_at_once(command, config_at("https://rest.example.invalid"), **{variable: proxy})
    assert f"failed (the proxy that {variable} names cannot be used: takes http://host:port)" in error


def test_a_proxy_that_speaks_no_tls_itself_is_told_at_once(command):
    with speaking(Plain) as port:
        config = config_at("https://rest.example.invalid")
        error = said_at_once(command, config, HTTPS_PROXY=f"https://127.0.0.1:{port}")
    assert "names takes no TLS itself: write it as http://host:port" in error


def test_the_answer_of_a_proxy_that_wants_a_password_is_told_as_such(command):
    with server(407, b"<html>") as url:
        error = said_at_once(command, config_at(url))
    assert "answered 407: a proxy on the way wants a user and a password: put them into HTTPS_PROXY" in error


# Pages


@pytest.mark.parametrize("status", [400, 401, 403, 405])
@pytest.mark.parametrize(
    "body, headers", [(b"\n<!DOCTYPE html><html>", {}), (b"Blocked", {"Content-Type": "text/html; charset=utf-8"})]
)
def test_a_refusal_that_comes_as_a_page_is_called_a_firewalls_or_a_proxys(command, status, body, headers):
    with server(status, body, **headers) as url:
        error = said_at_once(command, config_at(url))
    assert f"answered {status}: it is a page (HTML), which Braze does not answer with: a firewall or a proxy" in error
    assert error.endswith(f"to let requests to {url.removeprefix('http://')} pass")
    assert "api_key" not in error


def test_a_firewall_is_told_as_such_by_the_target_too(command, simulator):
    simulator.behaviour.fail_next = ["html_403"]
    messages = (
        b'{"type":"SCHEMA","stream":"v","schema":{"properties":{"phone":{"type":"string"}}},"key_properties":[]}\n'
        b'{"type":"RECORD","stream":"v","record":{"phone":"+15555550100"}}\n'
    )
    run = command("target-braze-sms", config={"api_key": KEY, "api_url": simulator.url}, stdin=messages)
    (error,) = run.errors
    assert "answered 403: it is a page (HTML), which Braze does not answer with: a firewall or a proxy" in error
    assert len(simulator.requests) == 1


def test_a_page_where_the_endpoint_is_missing_may_be_any_web_servers(command):
    with server(404, b"<html>") as url:
        error = said_at_once(command, config_at(url))
    assert "answered 404: there is no such endpoint: check instance or api_url" in error


# A few tries


def ask(config: dict, cancel_token: Recorder) -> RequestRefusedError:
    """Make a request that is refused in the end."""
    given = {"rate_limit_share": 0.5, "request_timeout": 5, "max_attempts": 8, **config}
    client = BrazeClient(given, cancel_token=cancel_token, logger=logging.getLogger("test"), user_agent="test")
    try:
        with pytest.raises(RequestRefusedError) as raised:
            client.get("/list", {}, len, what="this request")
    finally:
        client._session.close()
    return raised.value


def unused_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def test_a_host_that_does_not_exist_is_tried_three_times_within_ten_seconds(monkeypatch):
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    cancel_token = Recorder()
    error = ask(config_at("https://rest.nowhere.invalid"), cancel_token)
    said = "failed (no such host; check instance or api_url), 3 times in a row"
    assert f"the connection to rest.nowhere.invalid {said}" in str(error)
    assert cancel_token.waits == list(SHORT_WAITS)
    assert sum(cancel_token.waits) <= 10
    assert error.kind is Kind.SETTING


def test_a_resolver_that_fails_is_tried_as_long_as_any_connection(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    cancel_token = Recorder()
    error = ask({"api_key": KEY, "instance": "US-01"}, cancel_token)
    assert "failed (its name could not be resolved), 8 times in a row" in str(error)
    assert len(cancel_token.waits) == 7
    assert error.kind is Kind.PASSING


def test_an_instance_whose_name_is_not_known_may_be_known_later(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    cancel_token = Recorder()
    error = ask({"api_key": KEY, "instance": "US-01"}, cancel_token)
    assert cancel_token.waits == list(SHORT_WAITS)
    assert error.kind is Kind.PASSING


def test_a_name_that_was_known_a_moment_ago_is_tried_as_long_as_any_connection(simulator, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    simulator.behaviour.fail_next = ["reset", "500", "reset_after"]
    cancel_token = Recorder()
    real = cancel_token.wait

    def forget(seconds: float) -> None:
        real(seconds)
        if len(cancel_token.waits) == 2:  # one answer came
            monkeypatch.setattr(socket, "getaddrinfo", fail)
            simulator.behaviour.down = True

    cancel_token.wait = forget
    error = ask(config_for(simulator), cancel_token)
    assert "failed (its name could not be resolved), 8 times in a row" in str(error)
    assert error.kind is Kind.PASSING


def test_a_server_that_never_answered_and_refuses_is_not_tried_for_minutes():
    cancel_token = Recorder()
    error = ask(config_at(f"http://127.0.0.1:{unused_port()}"), cancel_token)
    assert "failed (connection refused), 3 times in a row" in str(error)
    assert cancel_token.waits == list(SHORT_WAITS)


def test_a_server_that_refuses_after_it_answered_is_tried_as_long_as_any_connection(simulator):
    cancel_token = Recorder()
    simulator.behaviour.fail_next = ["500"]
    cancel_token.wait = lambda seconds, wait=cancel_token.wait: (wait(seconds), stop(simulator))[0]
    error = ask(config_for(simulator), cancel_token)
    assert "failed (connection refused), 8 times in a row" in str(error)
    assert len(cancel_token.waits) == 7
    assert cancel_token.waits[-1] == LONGEST_WAIT
    simulator.__enter__()


def stop(simulator) -> None:
    if simulator._thread.is_alive():
        simulator.__exit__(None)


def test_a_server_without_tls_is_not_tried_for_minutes():
    cancel_token = Recorder()
    with speaking(Plain) as port:
        error = ask(config_at(f"https://127.0.0.1:{port}"), cancel_token)
    assert "failed (it does not speak TLS; check instance or api_url), 3 times in a row" in str(error)
    assert cancel_token.waits == list(SHORT_WAITS)


def test_a_proxy_that_is_not_there_is_not_tried_for_minutes(monkeypatch):
    cancel_token = Recorder()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{unused_port()}")
    error = ask({"api_key": KEY, "instance": "US-01"}, cancel_token)
    assert "failed (the proxy that HTTPS_PROXY names refuses connections), 3 times in a row" in str(error)
    monkeypatch.setenv("HTTPS_PROXY", "http://nowhere.invalid:1")
    error = ask({"api_key": KEY, "instance": "US-01"}, cancel_token)
    assert "failed (the proxy that HTTPS_PROXY names does not exist), 3 times in a row" in str(error)
    assert error.kind is Kind.SETTING


def test_a_proxy_that_does_not_reach_braze_is_tried_as_long_as_any_connection(monkeypatch):
    cancel_token = Recorder()
    with speaking(refusing(502, "Bad Gateway")) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        error = ask({"api_key": KEY, "instance": "US-01"}, cancel_token)
    assert "failed (the proxy that HTTPS_PROXY names answered 502), 8 times in a row" in str(error)


def test_an_error_that_is_not_known_is_named_by_its_type_alone():
    quoting = OSError("for url /sms?phone_numbers[]=15555550100")
    error = explain(quoting, host="rest.example", bundle=True, answered=False, custom=False)
    assert str(error) == "the connection to rest.example failed (OSError)"
