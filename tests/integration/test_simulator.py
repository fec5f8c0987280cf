"""The simulator against BRAZE_API.md, over real HTTP: what the tests of the tap stand on."""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import itertools
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import typing as t
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from braze_simulator import (
    LIST_PATH,
    REMOVE_PATH,
    Behaviour,
    Entry,
    Simulator,
    digits,
    odd,
    repeated,
    seeded,
    spell,
    strange,
    unusable,
    without_phone,
)
from braze_simulator.behaviour import DEFAULTS, FIELDS
from braze_simulator.cli import as_options
from braze_simulator.endpoints import MAX_URL
from braze_simulator.order import ORDERS
from braze_simulator.seeds import REPEATS, UNUSABLE

UNTIL = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)
EVERYTHING = {"start_date": "2000-01-01", "end_date": "2100-01-01"}
KEY = {"Authorization": "Bearer simulator-key"}


class Client:
    """The least that can ask."""

    def __init__(self, braze):
        self.braze = braze
        self.session = requests.Session()
        self.session.trust_env = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.close()

    def get(self, params=None, headers=KEY, path=LIST_PATH):
        given = EVERYTHING if params is None else params
        return self.session.get(self.braze.url + path, params=given, headers=headers, timeout=20)

    def sms(self, **params):
        answer = self.get({**EVERYTHING, **params})
        assert answer.status_code == 200, answer.text
        assert answer.json()["message"] == "success"
        return answer.json()["sms"]

    def post(self, path, body, headers=KEY, method="POST"):
        return self.session.request(method, self.braze.url + path, json=body, headers=headers, timeout=20)

    def remove(self, *phones):
        return self.post(REMOVE_PATH, {"phone_numbers": list(phones)})

    def control(self, path="", body=None, method="POST"):
        answer = self.post(f"/_simulator{path}", body, {}, method)
        assert answer.status_code == 200, answer.text
        return answer.json()


def entry(line, when, reason="provider_error", plus="+"):
    moment = dt.datetime.fromisoformat(f"{when}+00:00")
    return Entry(f"{plus}1200555{line:04}", moment, reason, spell(moment))


@pytest.fixture
def braze():
    with Simulator(seeded(1234, days=30, until=UNTIL, ties=0.3)) as running:
        yield running


@pytest.fixture
def client(braze):
    with Client(braze) as client:
        yield client


@pytest.fixture
def raw(braze):
    """Speak to a socket; what comes back is what left the simulator."""
    with socket.create_connection(("127.0.0.1", braze.port), timeout=20) as sock:
        yield sock


def ask(sock, target=f"{LIST_PATH}?start_date=2000-01-01&end_date=2100-01-01", headers=""):
    sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer simulator-key\r\n{headers}\r\n".encode())


def read_to_end(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


# The list


def test_pages_joined_are_the_whole_list_in_descending_order(braze, client):
    pages = [client.sms(limit=500, offset=offset) for offset in (0, 500, 1000, 1500)]
    assert [len(page) for page in pages] == [500, 500, 234, 0]
    assert [record for page in pages for record in page] == [known.payload() for known in braze.entries()]
    times = [known.detected_at for known in braze.entries()]
    assert times == sorted(times, reverse=True)


def test_a_page_has_a_hundred_records_unless_asked_otherwise(client):
    assert len(client.sms()) == 100
    assert len(client.sms(limit=1)) == 1


def test_a_record_has_no_reason_where_braze_kept_none(braze, client):
    missing = [known for known in braze.entries() if known.reason is None]
    assert missing
    assert sum("reason" not in record for record in client.sms(limit=500)) > 0


@pytest.mark.parametrize("inclusive, expected", [(False, [2]), (True, [3, 2])])
def test_end_date_is_a_midnight_or_a_whole_day(inclusive, expected):
    entries = [
        entry(1, "2026-02-28T23:59:59.999999"),
        entry(2, "2026-03-01T00:00:00"),
        entry(3, "2026-03-02T00:00:00"),
        entry(4, "2026-03-03T00:00:00"),
    ]
    with Simulator(entries, end_inclusive=inclusive) as braze, Client(braze) as client:
        found = client.sms(start_date="2026-03-01", end_date="2026-03-02")
    assert [int(record["phone"][-4:]) for record in found] == expected


@pytest.mark.parametrize("reason", ["provider_error", "deactivated", "invalid_format"])
def test_a_reason_selects_the_records_that_have_it(braze, client, reason):
    wanted = [known.payload() for known in braze.entries() if known.reason == reason]
    assert client.sms(reason=reason, limit=20, offset=5) == wanted[5:25]
    braze.remove([known["phone"] for known in wanted[:10]])
    assert client.sms(reason=reason, limit=20, offset=5) == wanted[15:35]


def test_an_unknown_reason_is_refused_or_finds_nothing(braze, client):
    assert client.get({**EVERYTHING, "reason": "new"}).status_code == 400
    braze.behaviour.refuse_reasons = False
    assert client.sms(reason="new") == []


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"start_date": "2026-01-01"},
        {"end_date": "2026-01-01"},
        {"start_date": "2026-01-02", "end_date": "2026-01-01"},
        {"start_date": "2026-01-01", "end_date": "2026-01-01"},
        {"start_date": "2026-1-1", "end_date": "2026-02-01"},
        {"start_date": "20260101", "end_date": "2026-02-01"},
        {"start_date": "2026-02-30", "end_date": "2026-03-01"},
        {"start_date": "2026-01-01T00:00:00Z", "end_date": "2026-03-01"},
        {**EVERYTHING, "limit": 0},
        {**EVERYTHING, "limit": 501},
        {**EVERYTHING, "limit": "many"},
        {**EVERYTHING, "offset": -1},
        {**EVERYTHING, "offset": "1.5"},
        {"phone_numbers": "+12005550001"},
    ],
)
def test_wrong_parameters_are_refused(client, params):
    answer = client.get(params)
    assert answer.status_code == 400
    assert answer.json()["message"]
    assert answer.json()["errors"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer other"}, {"Authorization": "simulator-key"}])
def test_a_wrong_key_is_refused_and_costs_nothing(client, headers):
    answer = client.get(headers=headers)
    assert answer.status_code == 401
    assert answer.json()["errors"]
    assert client.post(REMOVE_PATH, {"phone_numbers": ["1"]}, headers).status_code == 401
    assert answer.headers["X-RateLimit-Remaining"] == "250000"


def test_an_unknown_path_is_not_found(client):
    assert client.get(path="/sms/invalid").status_code == 404
    assert client.post(LIST_PATH, {}).status_code == 404


@pytest.mark.parametrize("name", ["phone_numbers[]", "phone_numbers%5B%5D"])
def test_numbers_are_found_by_their_digits_whatever_the_dates(braze, client, name):
    wanted = braze.entries()[3::400]
    numbers = [f"+{digits(known.phone)}" for known in reversed(wanted)] + ["+12015550000x"]
    query = "&".join(f"{name}={number.replace('+', '%2B')}" for number in numbers)
    answer = client.get({}, path=f"{LIST_PATH}?{query}&start_date=2001-01-01&end_date=2000-01-01")
    assert answer.json()["sms"] == [known.payload() for known in wanted]


def test_numbers_are_paged_too(braze, client):
    numbers = [known.phone for known in braze.entries()]
    found = client.get({"phone_numbers[]": numbers[:300], "limit": 200, "offset": 150}).json()["sms"]
    assert [record["phone"] for record in found] == numbers[150:300]
    deactivated = client.get({"phone_numbers[]": numbers, "reason": "deactivated", "limit": 500}).json()["sms"]
    assert {record["reason"] for record in deactivated} == {"deactivated"}


def test_a_url_takes_64_kib_and_no_more(client):
    room = MAX_URL - len(f"{LIST_PATH}?") - len("phone_numbers[]=")
    path = f"{LIST_PATH}?phone_numbers[]="
    assert client.get({}, path=path.replace("[]", "%5B%5D") + "1" * (room - 4)).json()["sms"] == []
    assert client.get({}, path=path.replace("[]", "%5B%5D") + "1" * (room - 3)).status_code == 414


# Removal


def test_removal_goes_by_digits_and_takes_strangers_calmly(braze, client):
    with_plus = next(known for known in braze.entries() if known.phone.startswith("+"))
    without = next(known for known in braze.entries() if not known.phone.startswith("+"))
    posted = [with_plus.phone[1:], f"+{without.phone}", "+19995559999x"]
    answer = client.remove(*posted)
    assert (answer.status_code, answer.json()) == (201, {"message": "success"})
    assert set(braze.removed) == {with_plus, without}
    assert braze.removal_posts == [posted]
    assert len(braze.entries()) == 1232
    assert client.get({"phone_numbers[]": posted}).json()["sms"] == []


@pytest.mark.parametrize("body", [{}, {"phone_number": ["1"]}, {"phone_numbers": "1"}, {"phone_numbers": [1]}, [], 7])
def test_a_removal_without_a_list_of_numbers_is_refused(braze, client, body):
    assert client.post(REMOVE_PATH, body).status_code == 400
    assert braze.removal_posts == []


def test_a_removal_takes_one_to_fifty_numbers(client):
    assert client.remove().status_code == 400
    assert client.remove(*map(str, range(50))).status_code == 201
    assert client.remove(*map(str, range(51))).status_code == 400


def test_a_number_can_come_back_at_another_time(braze, client):
    gone = braze.entries()[0]
    assert braze.remove([gone.phone]) == 1
    back = gone._replace(detected_at=UNTIL, spelled=spell(UNTIL))
    braze.add(back)
    assert client.sms(limit=1) == [back.payload()]
    assert (braze.added, braze.removed) == ([back], [gone])


def test_a_number_listed_twice_is_found_and_removed_twice(braze, client):
    entries = [
        entry(1, "2026-02-01T00:00:00"),
        entry(1, "2026-02-01T00:00:00", plus=""),
        entry(1, "2026-02-03T00:00:00"),
    ]
    braze.add(entries)
    braze.add(entry(2, f"2026-02-01T00:00:{line % 60:02}") for line in range(200))
    found = client.get({"phone_numbers[]": ["+1 (200) 555-0001"]}).json()["sms"]
    assert found == [entries[2].payload(), entries[1].payload(), entries[0].payload()]
    assert braze.remove(["12005550001", "+12005550001"]) == 3
    assert braze.remove(["12005550001"]) == 0
    assert braze.remove(["12005550002"]) == 200


# Rate limit


def test_every_answer_counts_down_to_the_same_whole_second(braze, client):
    first, second = client.get(), client.get({})
    assert (first.headers["X-RateLimit-Limit"], first.headers["X-RateLimit-Remaining"]) == ("250000", "249999")
    assert (second.status_code, second.headers["X-RateLimit-Remaining"]) == (400, "249998")
    assert int(first.headers["X-RateLimit-Reset"]) % 3600 == 0
    assert 0 < int(first.headers["X-RateLimit-Reset"]) - braze.now().timestamp() + 1 <= 3601


def test_over_the_limit_comes_429_until_the_window_is_over(braze, client):
    braze.behaviour.rate_limit, braze.behaviour.rate_window = 2, 1e9
    answers = [client.get() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert "Retry-After" not in answers[-1].headers
    assert answers[-1].headers["X-RateLimit-Reset"] == "2000000000"
    assert client.remove("1").status_code == 429
    braze.behaviour.clock_offset += 1e9
    renewed = client.get()
    assert (renewed.status_code, renewed.headers["X-RateLimit-Remaining"]) == (200, "1")
    assert renewed.headers["X-RateLimit-Reset"] == "3000000000"


def test_a_changed_limit_holds_at_once(braze, client):
    client.get()
    braze.behaviour.rate_limit = 1
    assert client.get().status_code == 429
    braze.behaviour.rate_limit = 10
    assert client.get().headers["X-RateLimit-Remaining"] == "7"


@pytest.mark.parametrize("status", ["429", "503"])
def test_retry_after_is_sent_where_it_is_set(braze, client, status):
    braze.behaviour.retry_after = "3"
    braze.behaviour.fail_next = [status]
    answer = client.get()
    assert (answer.headers["Retry-After"], answer.status_code) == ("3", int(status))
    assert "Retry-After" not in client.get().headers


def test_retry_after_may_come_under_another_name(braze, client):
    braze.behaviour.change({"retry_after": "3", "retry_after_header": "X-RateLimit-Retry-After", "fail_next": ["429"]})
    answer = client.get()
    assert answer.headers["X-RateLimit-Retry-After"] == "3"
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize(
    "case, name",
    [("canonical", b"\r\nX-RateLimit-Reset: "), ("lower", b"\r\nx-ratelimit-reset: "), ("upper", b"X-RATELIMIT-RESET")],
)
def test_header_names_come_in_any_case(braze, raw, case, name):
    braze.behaviour.header_case = case
    ask(raw, headers="Connection: close\r\n")
    assert name in read_to_end(raw)


def test_the_clock_of_braze_may_be_ahead(braze, client):
    braze.behaviour.clock_offset = 86_400
    ahead = email.utils.parsedate_to_datetime(client.get().headers["Date"]) - dt.datetime.now(dt.timezone.utc)
    assert dt.timedelta(hours=23) < ahead < dt.timedelta(hours=25)
    [found] = braze.detect()
    assert found.detected_at - dt.datetime.now(dt.timezone.utc) > dt.timedelta(hours=23)


# Faults


@pytest.mark.parametrize("kind", ["500", "502", "503", "429"])
def test_a_fault_that_is_a_status_comes_with_the_headers(braze, client, kind):
    braze.behaviour.fail_next = [kind]
    answer = client.get()
    assert (answer.status_code, list(answer.json())) == (int(kind), ["message", "errors"])
    assert int(answer.headers["X-RateLimit-Reset"]) % 3600 == 0
    assert (answer.headers["X-RateLimit-Remaining"] == "0") == (kind == "429")
    assert [braze.requests[0].status, client.get().status_code] == [int(kind), 200]


def test_during_maintenance_the_request_is_only_queued(braze, client):
    braze.behaviour.fail_next = ["202"]
    answer = client.get()
    assert (answer.status_code, answer.json()) == (202, {"message": "queued"})


@pytest.mark.parametrize("kind", ["400", "401", "403", "404"])
def test_refusals_echo_the_numbers_and_the_key(braze, client, kind):
    braze.behaviour.fail_next = [kind, kind]
    answer = client.get({"phone_numbers[]": "12005550001"})
    assert answer.status_code == int(kind)
    assert "12005550001" in answer.text
    assert "simulator-key" in answer.text
    assert "12005550002" in client.remove("12005550002").text


def test_a_proxy_answers_with_a_page_of_html(braze, client):
    braze.behaviour.fail_next = ["html"]
    answer = client.get()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


def test_a_truncated_answer_is_shorter_than_its_length(braze, raw):
    braze.behaviour.fail_next = ["truncated"]
    ask(raw)
    head, _, body = read_to_end(raw).partition(b"\r\n\r\n")
    [length] = [int(line.split(b": ")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
    assert 0 < len(body) < length
    assert braze.requests[0].status == "truncated"


def test_half_an_answer_in_json_is_complete_by_its_length(braze, client):
    braze.behaviour.fail_next = ["half_json"]
    answer = client.get()
    assert (answer.status_code, len(answer.content)) == (200, int(answer.headers["Content-Length"]))
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        answer.json()


def test_an_answer_may_lack_its_records(braze, client):
    braze.behaviour.fail_next = ["no_sms"]
    answer = client.get()
    assert (answer.status_code, answer.json()) == (200, {"message": "success"})


@pytest.mark.parametrize(
    "fault, message, records", [("errors", "error", 0), ("queued", "queued", 0), ("elsewhere", "success", 1)]
)
def test_an_answer_may_be_to_nothing_that_was_asked(braze, client, fault, message, records):
    braze.behaviour.fail_next = [fault]
    answer = client.get()
    assert (answer.status_code, answer.json()["message"], len(answer.json()["sms"])) == (200, message, records)


def test_a_reset_breaks_the_connection(braze, raw):
    braze.behaviour.fail_next = ["reset"]
    ask(raw)
    with pytest.raises(ConnectionResetError):
        raw.recv(1)
    assert braze.requests[0].status == "reset"


def test_a_hanging_request_is_never_answered(braze, raw, client):
    braze.behaviour.fail_next = ["hang"]
    ask(raw)
    while client.control(method="GET")["under_way"] != 1:
        pass
    assert len(client.sms()) == 100
    raw.settimeout(0)
    with pytest.raises(BlockingIOError):
        raw.recv(1)


def test_a_hanging_request_ends_in_a_dropped_connection(braze, raw):
    braze.behaviour.fail_next = ["hang"]
    braze.behaviour.hang_seconds = 0.01
    ask(raw)
    assert read_to_end(raw) == b""


def test_a_slow_answer_comes_in_pieces_and_is_complete(braze, raw, client):
    braze.behaviour.fail_next = ["slow"]
    ask(raw, headers="Connection: close\r\n")
    pieces = list(iter(lambda: raw.recv(65536), b""))
    assert len(pieces) > 2
    body = b"".join(pieces).partition(b"\r\n\r\n")[2]
    assert json.loads(body)["sms"] == client.sms()


def test_while_down_connections_drop_without_an_answer(braze, client, raw):
    braze.behaviour.down = True
    with pytest.raises(requests.ConnectionError):
        client.get()
    ask(raw)
    with pytest.raises(ConnectionResetError):
        raw.recv(1)
    client.control("/behaviour", {"down": False}, "PATCH")
    assert len(client.sms()) == 100


def test_a_firewall_refuses_with_a_page_and_without_limits(braze, client):
    braze.behaviour.fail_next = ["html_403"]
    answer = client.get()
    assert (answer.status_code, answer.headers["Content-Type"]) == (403, "text/html")
    assert "Cloudflare" in answer.text
    assert not [name for name in answer.headers if name.lower().startswith("x-ratelimit")]
    assert "simulator-key" not in answer.text
    braze.behaviour.fail_next = ["html_403"]
    assert client.remove(braze.entries()[0].phone).status_code == 403
    assert [request.status for request in braze.requests] == [403, 403]
    assert braze.removed == braze.removal_posts == []


@pytest.mark.parametrize("kind", ["202", "400", "401", "403", "404", "429", "500", "502", "503", "html"])
def test_a_fault_keeps_a_removal_from_happening(braze, client, kind):
    braze.behaviour.fail_next = [kind]
    answer = client.remove(braze.entries()[0].phone)
    assert answer.status_code == (200 if kind == "html" else int(kind))
    assert braze.removed == braze.removal_posts == []


@pytest.mark.parametrize("kind, applied", [("reset", 0), ("reset_after", 1), ("truncated", 1)])
def test_a_dropped_connection_leaves_open_whether_a_removal_happened(braze, client, kind, applied):
    braze.behaviour.fail_next = [kind]
    with pytest.raises(requests.RequestException):
        client.remove(braze.entries()[0].phone)
    assert len(braze.removed) == len(braze.removal_posts) == applied


def test_random_faults_are_those_chosen_and_the_same_for_the_same_seed():
    def statuses():
        behaviour = {"fault_rate": 0.5, "fault_kinds": ("500", "html")}
        with Simulator(seeded(10, until=UNTIL), seed=5, **behaviour) as braze, Client(braze) as client:
            for _ in range(40):
                client.get()
        return [request.status for request in braze.requests]

    assert statuses() == statuses()
    assert set(statuses()) == {200, 500, "html"}


def test_a_fault_that_does_not_exist_fails_the_test_that_asked_for_it():
    braze = Simulator(fail_next=["5000"])
    braze.__enter__()
    with pytest.raises(requests.ConnectionError):
        Client(braze).get()
    with pytest.raises(ValueError, match="no such fault: 5000"):
        braze.__exit__(None)


# Moves


def test_the_list_moves_before_each_page(braze, client):
    before = set(braze.entries())
    braze.behaviour.removals_per_page = 2
    braze.behaviour.insertions_per_page = 1
    braze.behaviour.late_insertions_per_page = 0.5
    tops = [client.sms(limit=1) for _ in range(40)]
    assert len(braze.removed) == 80
    assert 45 <= len(braze.added) <= 75
    assert set(braze.entries()) == (before | set(braze.added)) - set(braze.removed)
    late = [found for found in braze.added if found.detected_at < UNTIL]
    assert 5 <= len(late) <= 35
    new = [found.payload() for found in braze.added if found.detected_at > UNTIL]
    assert all(top in new for [top] in tops)


def test_protected_numbers_stay(braze, client):
    keep = {digits(known.phone) for known in braze.entries()[10:]}
    braze.behaviour.protect = keep
    braze.behaviour.removals_per_page = 4
    for _ in range(4):
        client.sms()
    assert braze.removed
    assert keep <= {digits(known.phone) for known in braze.entries()}


def test_ties_change_places_among_themselves_only():
    entries = [entry(line, f"2026-03-01T00:00:0{line // 10}") for line in range(40)]
    with Simulator(entries, shuffle_ties=True) as braze, Client(braze) as client:
        pages = [client.sms(limit=15, offset=10) for _ in range(20)]
        whole = client.sms(reason="provider_error")
    lines = [[int(record["phone"][-4:]) for record in page] for page in pages]
    assert len({tuple(page) for page in lines}) > 1
    for page in lines:
        assert sorted(page[:10]) == list(range(20, 30))
        assert set(page[10:]) < set(range(10, 20))
    # A page that ends inside a tie shows any of the tied.
    assert {line for page in lines for line in page[10:]} == set(range(10, 20))
    assert sorted(int(record["phone"][-4:]) for record in whole) == list(range(40))


def test_records_of_one_instant_keep_their_order_unless_told_otherwise(client):
    assert client.sms(limit=500) == client.sms(limit=500)


# What the documents leave open: order


def in_pages(client, size=100, **params):
    """Read a list at rest."""
    pages = []
    while not pages or pages[-1]:
        pages.append(client.sms(limit=size, offset=sum(map(len, pages)), **params))
    return [record for page in pages for record in page]


def order_of(braze, **options):
    """List a day and a half of entries, some at one instant, as they come in an order."""
    with Client(braze) as client:
        client.control("/behaviour", options, "PATCH")
        return in_pages(client)


@pytest.fixture(scope="module")
def busy():
    """Have many entries in every hour."""
    return seeded(600, days=2, until=UNTIL, ties=0.3)


def cut(known, unit):
    return known.detected_at.replace(
        microsecond=0, second=0, **({"minute": 0} if unit != "minute" else {}), **({"hour": 0} if unit == "day" else {})
    )


@pytest.mark.parametrize("unit", ["minute", "hour", "day"])
def test_a_list_may_descend_by_a_unit_within_which_nothing_is_in_order(busy, unit):
    with Simulator(busy, order=unit) as braze, Client(braze) as client:
        assert in_pages(client) == in_pages(client, 37) == [known.payload() for known in braze.entries()]
        listed = braze.entries()
    units = [cut(known, unit) for known in listed]
    assert units == sorted(units, reverse=True)
    times = [known.detected_at for known in listed]
    assert times != sorted(times, reverse=True)
    assert Counter(listed) == Counter(busy)


def test_a_list_may_ascend(busy):
    with Simulator(busy, order="ascending") as braze, Client(braze) as client:
        listed = in_pages(client)
        found = client.sms(start_date="2026-02-28", end_date="2026-03-01", limit=500)
    assert listed == [known.payload() for known in braze.entries()]
    assert [known.detected_at for known in braze.entries()] == [known.detected_at for known in busy]
    first = next(i for i, known in enumerate(busy) if known.detected_at >= UNTIL - dt.timedelta(days=1))
    assert found[0]["invalid_detected_at"] == busy[first].spelled
    assert len(found) == min(500, len(busy) - first)


def test_a_list_may_be_ordered_by_number(busy):
    with Simulator(busy, order="number") as braze, Client(braze) as client:
        numbers = [digits(record["phone"]) for record in in_pages(client)]
    assert numbers == sorted(digits(known.phone) for known in busy)


def test_a_list_may_have_no_order_and_keeps_what_it_has(busy):
    with Simulator(busy, order="random") as braze, Client(braze) as client:
        listed = in_pages(client)
        assert in_pages(client, 37) == listed
        lines = [known.payload() for known in busy]
        ranks = [lines.index(record) for record in listed]
        assert sorted(ranks) == list(range(len(busy)))
        # Neither up nor down: of neighbours, about as many ascend as descend.
        assert 250 < sum(one < other for one, other in itertools.pairwise(ranks)) < 350
        # The same for the same seed alone, and what comes and goes moves nothing else.
        with Simulator(reversed(busy), order="random") as twin, Simulator(busy, order="random", seed=1) as other:
            assert [known.payload() for known in twin.entries()] == listed
            assert [known.payload() for known in other.entries()] != listed
        gone, new = braze.remove_any(50), braze.detect(50, minutes=5)
        kept = [record for record in listed if record not in [known.payload() for known in gone]]
        news = [known.payload() for known in new]
        now = in_pages(client)
        assert [record for record in now if record not in news] == kept
        assert [record for record in now if record in news] != news[::-1]


def test_many_entries_that_come_at_once_move_no_others(busy):
    with Simulator(busy[:300], order="random") as braze, Client(braze) as client:
        before = in_pages(client)
        braze.add(busy[300:])
        news = [known.payload() for known in busy[300:]]
        assert [record for record in in_pages(client) if record not in news] == before


@pytest.mark.parametrize("delay", [0.4, 90, 10_800])
def test_entries_may_stand_above_their_time_by_up_to_a_delay(busy, delay):
    with Simulator(busy, delay_seconds=delay) as braze, Client(braze) as client:
        listed = braze.entries()
        assert in_pages(client, 37) == [known.payload() for known in listed]
    times = [known.detected_at for known in listed]
    # Nothing stands above what is newer by more than the delay.
    newest = list(itertools.accumulate(reversed(times), max))[::-1]
    most = max(later - one for one, later in zip(times, newest, strict=True))
    assert most <= dt.timedelta(seconds=delay)
    if delay > 1:
        assert most > dt.timedelta(seconds=delay / 10)
    assert Counter(listed) == Counter(busy)


@pytest.mark.parametrize("options", [{"order": order} for order in ORDERS] + [{"delay_seconds": 3600.0}])
def test_every_order_takes_ranges_reasons_numbers_and_moves(busy, options):
    with Simulator(busy, **options) as braze, Client(braze) as client:
        last = {"start_date": "2026-02-28", "end_date": "2026-03-01"}

        def expected(reason=None):
            since = UNTIL - dt.timedelta(days=1)
            return [
                known.payload()
                for known in braze.entries()
                if since <= known.detected_at < UNTIL and reason in {None, known.reason}
            ]

        assert in_pages(client, 30, **last) == expected()
        assert in_pages(client, 30, reason="deactivated", **last) == expected("deactivated")
        # What is at hand of the list moves with it.
        client.remove(*[record["phone"] for record in expected()[:40]])
        back = [busy[i]._replace(detected_at=UNTIL - dt.timedelta(minutes=i)) for i in range(20)]
        braze.add([known._replace(spelled=spell(known.detected_at)) for known in back])
        assert in_pages(client, 30, **last) == expected()
        assert in_pages(client, 30, reason="deactivated", **last) == expected("deactivated")
        numbers = [known.phone for known in braze.entries()[::50]]
        found = client.get({"phone_numbers[]": numbers}).json()["sms"]
        assert {record["phone"] for record in found} >= set(numbers)
        assert client.remove(*numbers).status_code == 201
        assert client.get({"phone_numbers[]": numbers}).json()["sms"] == []
        braze.behaviour.removals_per_page = braze.behaviour.late_insertions_per_page = 3
        before, added, removed = Counter(braze.entries()), len(braze.added), len(braze.removed)
        for offset in range(0, 300, 30):
            client.sms(limit=30, offset=offset, **last)
        braze.behaviour.removals_per_page = braze.behaviour.late_insertions_per_page = 0
        assert len(braze.added) - added == len(braze.removed) - removed == 30
        assert Counter(braze.entries()) == before + Counter(braze.added[added:]) - Counter(braze.removed[removed:])
        assert in_pages(client, 30, **last) == expected()


@pytest.mark.parametrize("order", ["minute", "hour", "day", "ascending"])
def test_what_the_order_does_not_tell_apart_changes_places_if_told_to(busy, order):
    with Simulator(busy, order=order, shuffle_ties=True) as braze, Client(braze) as client:
        pages = [client.sms(limit=200) for _ in range(3)]
        listed = braze.entries()
        assert braze.remove([known.phone for known in listed[:10]]) == 10
        assert not set(listed[:10]) & set(braze.entries())
    assert pages[0] != pages[1] != pages[2]
    assert Counter(listed) == Counter(busy)
    if order != "ascending":
        units = [cut(known, order) for known in listed]
        assert units == sorted(units, reverse=True)


def test_the_order_changes_while_it_serves(busy):
    with Simulator(busy) as braze:
        by_time, random = order_of(braze), order_of(braze, order="random")
        assert order_of(braze, order="day") != by_time
        assert order_of(braze, order="random") == random != by_time
        times = [known.detected_at for known in braze.entries()]
        assert order_of(braze, order="time") != random
        assert [known.detected_at for known in braze.entries()] == sorted(times, reverse=True)


@pytest.mark.parametrize("options", [{"order": "random"}, {"delay_seconds": 90.0}])
def test_a_long_list_without_order_is_served_as_fast_as_one_with(options):
    def seconds(**options):
        with Simulator(seeded(20_000, days=3, until=UNTIL), removals_per_page=0.5, **options) as braze:
            began = time.process_time()
            with Client(braze) as client:
                assert len(in_pages(client, end_date="2026-03-02")) >= 19_900
            return time.process_time() - began

    assert seconds(**options) < 3 * seconds() + 1


# What the documents leave open: servers that differ


@pytest.fixture(scope="module")
def tied():
    """Have a tie of 60 entries, some of two, and as many entries alone."""
    alone = [entry(line, f"2026-02-28T00:00:{line:02}") for line in range(60)]
    pairs = [entry(100 + line, f"2026-02-28T01:00:{line // 2:02}") for line in range(60)]
    return [*alone, *pairs, *(entry(200 + line, "2026-02-28T02:00:00") for line in range(60))]


def replicas_of(client, count):
    """Return the list as each server has it, in turn."""
    return [client.sms(limit=500, offset=0) for _ in range(count)]


def test_servers_may_have_their_ties_rotated(tied):
    with Simulator(tied, replicas=3) as braze, Client(braze) as client:
        lists = replicas_of(client, 3)
        assert replicas_of(client, 3) == lists
    first, *others = ([record["phone"] for record in listed[:60]] for listed in lists)
    turns = []
    for other in others:
        turns.append(other.index(first[0]))
        assert other == first[-turns[-1] :] + first[: -turns[-1]]
    assert 0 < turns[0] != turns[1] > 0
    # In pairs, one way or the other; alone, in its place.
    for other in lists[1:]:
        assert other[120:] == lists[0][120:]
        pairs = [(one["phone"], two["phone"]) for one, two in zip(other[60:120:2], other[61:120:2], strict=True)]
        before = [(one["phone"], two["phone"]) for one, two in zip(lists[0][60:120:2], lists[0][61:120:2], strict=True)]
        assert pairs != before
        assert list(map(sorted, pairs)) == list(map(sorted, before))


def test_servers_may_have_a_few_of_their_ties_swapped(tied):
    options = {"replicas": 3, "replica_difference": "swapped"}
    with Simulator(tied, **options) as braze, Client(braze) as client:
        first, *others = replicas_of(client, 3)
        for other in others:
            assert 2 <= sum(one != two for one, two in zip(first, other, strict=True)) <= 10
            assert [one["invalid_detected_at"] for one in first] == [one["invalid_detected_at"] for one in other]
        assert others[0] != others[1]
        braze.behaviour.replica_swaps = 0
        assert client.sms(limit=500) == client.sms(limit=500)


@pytest.mark.parametrize("difference", ["rotated", "swapped"])
@pytest.mark.parametrize("order", ["random", "number"])
def test_without_order_the_whole_list_of_a_server_is_rotated_or_swapped(tied, order, difference):
    with Simulator(tied, order=order, replicas=2, replica_difference=difference) as braze, Client(braze) as client:
        first, other = replicas_of(client, 2)
        assert Counter(map(str, first)) == Counter(map(str, other))
        if difference == "swapped":
            assert 2 <= sum(one != two for one, two in zip(first, other, strict=True)) <= 10
        else:
            turn = other.index(first[0])
            assert 60 < turn < 120
            assert other == first[-turn:] + first[:-turn]
        # A range of it, too.
        day = {"start_date": "2026-02-28", "end_date": "2026-03-01", "limit": 500}
        assert [client.sms(**day), client.sms(**day)] == [first, other]


@pytest.mark.parametrize("difference", ["rotated", "swapped"])
@pytest.mark.parametrize("order", [*ORDERS, "delayed"])
def test_entries_come_and_go_on_all_servers_and_move_no_others(tied, order, difference):
    options = {"delay_seconds": 90.0} if order == "delayed" else {"order": order}
    with (
        Simulator(tied, replicas=2, replica_difference=difference, **options) as braze,
        Client(braze) as client,
    ):
        day = {"start_date": "2026-02-28", "end_date": "2026-03-01", "limit": 500, "reason": "provider_error"}
        before = replicas_of(client, 2)
        assert [client.sms(**day), client.sms(**day)] == before
        gone = [known.payload() for known in braze.remove_any(40)]
        new = [entry(300 + line, f"2026-02-28T0{line % 3}:00:00") for line in range(30)]
        braze.add(new)
        after = replicas_of(client, 2)
        assert [client.sms(**day), client.sms(**day)] == after
        news = [known.payload() for known in new]
        for then, now in zip(before, after, strict=True):
            assert Counter(map(str, now)) == Counter(str(known.payload()) for known in braze.entries())
            assert [record for record in now if record not in news] == [record for record in then if record not in gone]


def test_servers_differ_in_what_is_put_on_an_empty_list(tied):
    with Simulator(replicas=2, order="number") as braze, Client(braze) as client:
        braze.add(tied)
        first, other = replicas_of(client, 2)
    assert first != other


def test_servers_answer_in_turn_or_at_random(tied):
    with Simulator(tied, replicas=2) as braze, Client(braze) as client:
        first, other = replicas_of(client, 2)
        assert replicas_of(client, 4) == [first, other, first, other]
        braze.behaviour.replica_choice = "random"
        seen = [client.sms(limit=500) == first for _ in range(40)]
        assert 5 < sum(seen) < 35
        assert seen not in ([True, False] * 20, [False, True] * 20)


# What the documents leave open: pages, offsets, ranges


def test_an_answer_may_be_capped_whatever_the_limit(braze, client):
    braze.behaviour.page_cap = 150
    assert [len(client.sms(limit=limit)) for limit in (500, 150, 20)] == [150, 150, 20]
    numbers = [known.phone for known in braze.entries()[:300]]
    assert len(client.get({"phone_numbers[]": numbers}).json()["sms"]) == 100
    braze.behaviour.page_cap = 40
    assert len(client.get({"phone_numbers[]": numbers}).json()["sms"]) == 40
    assert client.sms(offset=40) == [known.payload() for known in braze.entries()[40:80]]


def test_a_cap_may_differ_from_answer_to_answer(braze, client):
    braze.behaviour.page_cap, braze.behaviour.page_cap_spread = 100, 0.2
    sizes = [len(client.sms(limit=500)) for _ in range(60)]
    assert 80 <= min(sizes) < 85
    assert 95 < max(sizes) <= 100
    braze.behaviour.page_cap, braze.behaviour.page_cap_spread = 2, 1.0
    assert {len(client.sms(limit=500)) for _ in range(20)} == {1, 2}


def test_an_offset_of_zero_may_be_refused_and_is_none_where_it_is_left_out(braze, client):
    braze.behaviour.refuse_zero_offset = True
    answer = client.get({**EVERYTHING, "offset": 0})
    assert (answer.status_code, answer.json()["errors"]) == (400, ["Offset must be greater than 0."])
    assert client.sms() + client.sms(offset=100) == [known.payload() for known in braze.entries()[:200]]


def test_deep_offsets_may_be_refused(braze, client):
    braze.behaviour.max_offset = 200
    assert len(client.sms(offset=200)) == 100
    assert client.get({**EVERYTHING, "offset": 201}).status_code == 400


def test_long_ranges_may_be_refused(braze, client):
    braze.behaviour.max_range_days = 7
    assert client.sms(start_date="2026-02-20", end_date="2026-02-27")
    assert client.get({"start_date": "2026-02-20", "end_date": "2026-02-28"}).status_code == 400
    assert client.get({"phone_numbers[]": braze.entries()[0].phone, **EVERYTHING}).status_code == 200


@pytest.mark.parametrize("order", ["time", "random"])
def test_a_reason_may_filter_what_a_page_has_or_nothing(braze, client, order):
    braze.behaviour.order = order
    braze.behaviour.reason_filters = "after"
    page = braze.entries()[100:200]
    wanted = [known.payload() for known in page if known.reason == "deactivated"]
    assert client.sms(reason="deactivated", offset=100) == wanted
    assert 5 < len(wanted) < 50
    assert client.sms(reason="invalid_format", limit=1, offset=_other_than(braze, "invalid_format")) == []
    numbers = {"phone_numbers[]": [known.phone for known in page], "reason": "deactivated"}
    assert sorted(map(str, client.get(numbers).json()["sms"])) == sorted(map(str, wanted))
    braze.behaviour.reason_filters = "ignored"
    assert client.sms(reason="deactivated", offset=100) == [known.payload() for known in page]
    assert len(client.get(numbers).json()["sms"]) == 100


def _other_than(braze, reason):
    return next(offset for offset, known in enumerate(braze.entries()) if known.reason != reason)


# What the documents leave open: numbers


@pytest.mark.parametrize(
    "compare, matching",
    [
        ("digits", {"+1": {"+1", "2"}, "1": {"+1", "2"}}),
        ("plus", {"+1": {"+1", "2"}, "1": set()}),
        ("bare", {"+1": set(), "1": {"+1", "2"}}),
        ("stored", {"+1": {"+1"}, "1": {"2"}}),
    ],
)
def test_numbers_may_be_found_and_taken_off_in_one_spelling_alone(compare, matching):
    kept = {"+1": entry(1, "2026-02-01T00:00:00"), "2": entry(1, "2026-02-02T00:00:00", plus="")}
    asked = {"+1": "+12005550001", "1": "12005550001"}
    for spelled, found in matching.items():
        with Simulator(kept.values(), compare_numbers=compare) as braze, Client(braze) as client:
            answer = client.get({"phone_numbers[]": asked[spelled]}).json()["sms"]
            assert [record in answer for record in (kept["+1"].payload(), kept["2"].payload())] == [
                "+1" in found,
                "2" in found,
            ]
            removal = client.remove(asked[spelled])
            assert (removal.status_code, removal.json()) == (201, {"message": "success"})
            assert set(braze.removed) == {kept[which] for which in found}
            # Whoever plays Braze takes off what is meant.
            braze.remove(["+12005550001"])
            assert braze.entries() == []


@pytest.mark.parametrize("compare", ["digits", "plus", "bare", "stored"])
def test_a_text_without_digits_is_compared_as_it_stands(compare):
    entries = [entry(1, "2026-02-01T00:00:00")._replace(phone=phone) for phone in ("", "home", "+", "work")]
    with Simulator(entries, compare_numbers=compare) as braze, Client(braze) as client:
        assert [record["phone"] for record in client.get({"phone_numbers[]": ["home", ""]}).json()["sms"]] == [
            "home",
            "",
        ]
        client.remove("work")
        assert [known.phone for known in braze.removed] == ["work"]


@pytest.mark.parametrize("refused, taken", [("plus", "1"), ("bare", "+1")])
def test_a_spelling_may_be_refused_in_lookups_and_removals(refused, taken):
    asked = {"+1": "+12005550001", "1": "12005550001"}
    [other] = set(asked) - {taken}
    known = entry(1, "2026-02-01T00:00:00")
    with Simulator([known], refuse_spelling=refused) as braze, Client(braze) as client:
        for numbers in ([asked[other]], [asked[taken], asked[other]]):
            assert client.get({"phone_numbers[]": numbers}).status_code == 400
            assert client.remove(*numbers).status_code == 400
        assert braze.removal_posts == braze.removed == []
        assert client.get({"phone_numbers[]": asked[taken]}).json()["sms"] == [known.payload()]
        client.remove(asked[taken])
        assert braze.removed == [known]


@pytest.mark.parametrize("beside", [{"limit": 10}, {"offset": 0}, {"limit": 10, "offset": 1}])
def test_limit_and_offset_beside_numbers_may_empty_the_answer_or_be_refused(braze, client, beside):
    numbers = {"phone_numbers[]": [known.phone for known in braze.entries()[:3]]}
    assert len(client.get({**numbers, **beside}).json()["sms"]) == 3 - beside.get("offset", 0)
    braze.behaviour.limit_beside_numbers = "empty"
    assert client.get({**numbers, **beside}).json() == {"sms": [], "message": "success"}
    assert len(client.get(numbers).json()["sms"]) == 3
    braze.behaviour.limit_beside_numbers = "refused"
    assert client.get({**numbers, **beside}).status_code == 400
    assert len(client.get(numbers).json()["sms"]) == 3
    assert len(client.sms(limit=10, offset=2)) == 10


@pytest.mark.parametrize("how, signs", [("plus", {"+"}), ("bare", {"1"}), ("mixed", {"+", "1"})])
def test_new_numbers_are_spelled_with_plus_or_without(braze, how, signs):
    braze.behaviour.detect_spelling = how
    assert {known.phone[0] for known in braze.detect(40)} == signs


# What the documents leave open: entries


@pytest.mark.parametrize("order", ORDERS)
def test_a_number_may_be_listed_twice_at_one_instant(order):
    others = seeded(50, days=1, until=UNTIL)
    known = entry(1, "2026-02-28T12:00:00")
    twins = [repeated(known, how) for how in REPEATS]
    assert twins[0] == known
    assert (twins[1].phone, twins[1].reason) == ("12005550001", "provider_error")
    assert (twins[2].phone, twins[2].reason) == (known.phone, "deactivated")
    with Simulator([*others, known, *twins], order=order) as braze, Client(braze) as client:
        listed = in_pages(client, 7)
        assert [listed.count(one.payload()) for one in (known, *twins)] == [2, 2, 1, 1]
        assert len(listed) == 54
        assert len(client.get({"phone_numbers[]": known.phone}).json()["sms"]) == 4
        assert braze.remove([known.phone]) == 4
        assert Counter(braze.removed) == Counter([known, *twins])
        assert Counter(braze.entries()) == Counter(others)


def test_without_order_identical_entries_stand_apart():
    entries = seeded(300, days=1, until=UNTIL)
    with Simulator(entries + entries[:20], order="random") as braze:
        listed = braze.entries()
    gaps = [len(listed) - 1 - listed[::-1].index(twice) - listed.index(twice) for twice in entries[:20]]
    assert max(gaps) > 100


def test_an_entry_may_have_an_empty_phone():
    when = UNTIL - dt.timedelta(hours=1)
    empty = without_phone(when)
    with Simulator([*seeded(5, days=1, until=UNTIL), empty]) as braze, Client(braze) as client:
        record = {"phone": "", "invalid_detected_at": "2026-02-28T23:00:00.000Z", "reason": "invalid_format"}
        assert client.sms().count(record) == 1
        assert client.sms(reason="invalid_format").count(record) == 1
        assert client.get({"phone_numbers[]": ""}).json()["sms"] == [record]
        client.remove("")
        assert braze.removed == [empty]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_entry_of_which_nothing_can_be_made_has_its_place_like_any(kind, order):
    others = seeded(40, days=1, until=UNTIL)
    bad = unusable(UNTIL - dt.timedelta(hours=12), kind)
    with Simulator([*others, bad], order=order) as braze, Client(braze) as client:
        listed = in_pages(client, 7)
        assert listed == [known.payload() for known in braze.entries()]
        assert len(listed) == 41
        assert listed.count(bad.payload()) == 1
        assert client.sms(start_date="2026-02-27", end_date="2026-02-28") == []
        assert len(client.sms(start_date="2026-02-28", end_date="2026-03-01")) == 41
        shown = client.control("/entries", method="GET")["entries"]
        assert sum(known["detected_at"] == bad.detected_at.isoformat() for known in shown) == 1
        braze.remove_any(100)
        assert client.sms() == braze.entries() == []
        assert Counter(braze.removed) == Counter([*others, bad])


def test_what_is_no_record_can_be_put_on_the_list(braze, client):
    fields = {"phone": "+12005550001", "reason": "deactivated", "carrier": {"name": "x"}, "invalid_detected_at": "?"}
    known = braze.add_raw(UNTIL, fields)
    odder = braze.add_raw(UNTIL + dt.timedelta(seconds=1), ["é", None])
    assert client.sms(limit=2) == [["é", None], fields]
    assert client.sms(limit=1, reason="deactivated") == [fields]
    assert client.get({"phone_numbers[]": "12005550001"}).json()["sms"] == [fields]
    client.remove("12005550001")
    assert (braze.removed, braze.entries()[0]) == ([known], odder)
    assert braze.added == [known, odder]


def test_strange_entries_are_made_of_each_kind_in_turn():
    entries = seeded(100, until=UNTIL)
    found = odd(entries, repeats=6, empty_phones=2, unusable_entries=9, seed=3)
    assert found == odd(entries, repeats=6, empty_phones=2, unusable_entries=9, seed=3)
    assert len(found) == 17
    assert sum(known in entries for known in found) == 2
    assert sum(known.phone == "" and known.raw is None for known in found) == 2
    # A time that cannot be read is only another spelling of one.
    assert sum(known.raw is not None or known.spelled == "the day before yesterday" for known in found) == 9
    assert {known.detected_at for known in found} <= {known.detected_at for known in entries}


# Many strangenesses at once


def test_a_strange_braze_is_the_same_for_the_same_seed_and_different_from_others():
    drawn = [strange(seed) for seed in range(300)]
    assert drawn == [strange(seed) for seed in range(300)]
    assert len({str(options) for options in drawn}) > 250
    names = {name for options in drawn for name in options}
    assert names >= {"order", "delay_seconds", "replicas", "page_cap", "compare_numbers", "max_range_days"}
    assert not names & {"latency", "fault_rate", "down", "rate_limit", "fails_above"}
    for options in drawn:
        Behaviour().change(options)


@pytest.mark.parametrize("seed", range(40))
def test_a_strange_braze_has_a_way_to_all_of_its_list_and_to_every_number(seed):
    known = entry(1, "2026-02-28T12:00:00")
    options = strange(seed)
    with Simulator([known], **options) as braze, Client(braze) as client:
        day = {"start_date": "2026-02-28", "end_date": "2026-03-01"}
        braze.behaviour.protect = {"12005550001"}
        assert known.payload() in client.get(day).json()["sms"]
        answers = [client.get({"phone_numbers[]": phone}) for phone in ("+12005550001", "12005550001")]
        assert any(answer.status_code == 200 and answer.json()["sms"] == [known.payload()] for answer in answers)
        for phone in ("+12005550001", "12005550001"):
            client.remove(phone)
        assert known in braze.removed


# The log, and many requests at once


def test_the_log_has_what_was_asked_and_what_was_answered(braze, client):
    client.sms(limit=7, offset=2)
    client.get({"limit": 501})
    client.remove("1")
    listed, refused, removal = braze.requests
    assert (listed.method, listed.path, listed.status, listed.returned) == ("GET", LIST_PATH, 200, 7)
    assert (listed.limit, listed.offset, listed.params["start_date"]) == (7, 2, ["2000-01-01"])
    assert (refused.limit, refused.status, refused.returned) == (None, 400, 0)
    assert (removal.method, removal.path, removal.status) == ("POST", REMOVE_PATH, 201)
    assert listed.started <= refused.started <= removal.started
    braze.requests.clear()
    client.sms()
    assert len(braze.requests) == 1


def test_64_requests_are_under_way_at_once(braze, client):
    braze.behaviour.fail_next = ["hang"] * 64
    sockets = [socket.create_connection(("127.0.0.1", braze.port)) for _ in range(64)]
    for sock in sockets:
        ask(sock)
    while client.control(method="GET")["under_way"] < 64:
        pass
    assert braze.max_under_way == 64
    for sock in sockets:
        sock.close()
    while client.control(method="GET")["under_way"]:
        pass
    assert client.control("/reset_log")["max_under_way"] == 0


def test_answers_wait_for_the_latency_without_holding_up_each_other(braze):
    braze.behaviour.latency = 0.05
    with Client(braze) as client, ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda offset: client.sms(limit=100, offset=offset), range(0, 1300, 100)))
    assert [record for page in pages for record in page] == [known.payload() for known in braze.entries()]
    assert braze.max_under_way > 1


def test_deep_offsets_may_take_longer(braze, client):
    def seconds(**params):
        began = time.monotonic()
        client.sms(**params)
        return time.monotonic() - began

    braze.behaviour.slow_offset_seconds_per_10k = 2.0
    assert seconds(offset=1000) >= 0.2
    # Whatever else the machine does meanwhile.
    assert min(seconds(offset=offset) for offset in (0, 0, 0, 10)) < 0.2


def at_once(braze, count):
    """Ask for a page many times at once, while answers take longer than asking does."""
    sockets = [socket.create_connection(("127.0.0.1", braze.port), timeout=20) for _ in range(count)]
    for sock in sockets:
        ask(sock, headers="Connection: close\r\n")
    return sockets


@pytest.mark.parametrize("how, ends", [("503", b"HTTP/1.1 503 "), ("reset", b""), ("hang", b"")])
def test_more_requests_at_once_than_braze_can_take_fail(braze, client, how, ends):
    braze.behaviour.change({"fails_above": 3, "fails_above_with": how, "latency": 0.5, "hang_seconds": 0.01})
    answers = []
    for sock in at_once(braze, 8):
        with sock:
            try:
                answers.append(read_to_end(sock)[:13])
            except ConnectionResetError:
                answers.append(b"")
    assert braze.max_under_way == 8
    assert sorted(answers) == sorted([b"HTTP/1.1 200 "] * 3 + [ends] * 5)
    assert Counter(request.status for request in braze.requests) == {200: 3, int(how) if how == "503" else how: 5}
    # One after the other, none is too many.
    braze.behaviour.latency = 0.0
    assert len(client.sms()) == len(client.sms()) == 100


def test_pipelined_requests_are_answered_in_order(braze, raw):
    braze.behaviour.fail_next = ["202", "slow", "500"]
    braze.behaviour.latency = 0.01
    whole = f"GET {LIST_PATH} HTTP/1.1\r\nAuthorization: Bearer simulator-key\r\n"
    text = f"{whole}\r\n{whole}\r\n{whole}\r\n{whole}Connection: close\r\n\r\n".encode()
    for cut in range(0, len(text), 37):
        raw.sendall(text[cut : cut + 37])
    answers = read_to_end(raw).split(b"HTTP/1.1 ")[1:]
    assert [int(answer[:3]) for answer in answers] == [202, 400, 500, 400]


@pytest.mark.parametrize("head", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_what_is_no_request_is_refused(raw, head):
    raw.sendall(head)
    assert read_to_end(raw).startswith(b"HTTP/1.1 400 ")


def test_a_simulator_can_serve_again_at_the_same_address():
    braze = Simulator()
    for _ in range(2):
        with braze, Client(braze) as client:
            assert client.sms() == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", braze.port))


def test_leaving_ends_open_connections(braze):
    with Simulator(fail_next=["hang"]) as other:
        sock = socket.create_connection(("127.0.0.1", other.port), timeout=20)
        ask(sock)
    with sock, contextlib.suppress(ConnectionResetError):  # Which it is, if the request was not read yet.
        assert sock.recv(1) == b""


# Control over HTTP


def test_totals_say_how_things_stand(braze, client):
    client.sms()
    totals = client.control(method="GET")
    expected = Counter(known.reason or "none" for known in braze.entries())
    assert (totals["entries"], totals["reasons"], totals["requests"]) == (1234, expected, 1)
    assert (totals["statuses"], totals["max_under_way"]) == ({"200": 1}, 1)
    assert totals["behaviour"]["rate_limit"] == 250_000


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_behaviour_changes_over_http(braze, client, method):
    values = {"latency": 0, "protect": ["1"], "fail_next": ["500"], "retry_after": "1", "fault_kinds": ["html"]}
    client.control("/behaviour", values, method)
    expected = Behaviour(protect={"1"}, fail_next=["500"], retry_after="1", fault_kinds=("html",))
    assert braze.behaviour == expected


@pytest.mark.parametrize(
    "values",
    [
        {"speed": 1},
        {"latency": "0"},
        {"down": 1},
        {"rate_limit": 1.5},
        {"fail_next": ["5000"]},
        {"fail_next": "500"},
        {"header_case": "title"},
        {"retry_after": 1},
        {"order": "sideways"},
        {"page_cap": 0},
        {"page_cap": "100"},
        {"page_cap_spread": 1.1},
        {"delay_seconds": -1},
        {"rate_limit": None},
    ],
)
def test_wrong_behaviour_changes_nothing(braze, client, values):
    answer = client.post("/_simulator/behaviour", {"rate_limit": 1, **values}, {})
    assert answer.status_code == 400
    assert braze.behaviour == Behaviour()


def test_every_strangeness_can_be_told_over_http_and_taken_back(braze, client):
    values = {"order": "day", "page_cap": 7, "page_cap_spread": 0, "max_offset": 0, "compare_numbers": "plus"}
    client.control("/behaviour", values, "PATCH")
    assert braze.behaviour == Behaviour(**values)
    assert len(client.sms()) == 7
    back = {name: DEFAULTS[name] for name in values}
    client.control("/behaviour", back, "PATCH")
    assert (braze.behaviour, len(client.sms(offset=1))) == (Behaviour(), 100)


@pytest.mark.parametrize("values", [{"order": "sideways"}, {"page_cap": 0}, {"replicas": 0}, {"refuse_spelling": "no"}])
def test_a_behaviour_there_is_not_is_found_where_it_is_set(values):
    with pytest.raises(ValueError, match="cannot be"):
        Behaviour(**values)
    behaviour = Behaviour()
    [(name, value)] = values.items()
    with pytest.raises(ValueError, match=f"{name} cannot be {value!r}"):
        setattr(behaviour, name, value)


def test_detections_and_removals_can_be_made_over_http(braze, client):
    found = client.control("/detect", {"count": 5, "minutes": 10})["entries"]
    assert [record["phone"] for record in found] == [known.phone for known in braze.added]
    assert client.sms(limit=5) == [known.payload() for known in reversed(braze.added)]
    for known in braze.added:
        assert dt.timedelta(0) <= braze.now() - known.detected_at < dt.timedelta(minutes=11)
    gone = client.control("/remove", {"phones": [found[0]["phone"]]})["entries"]
    assert gone == found[:1]
    assert len(client.control("/remove", {"count": 3})["entries"]) == 3
    assert len(braze.entries()) == 1235
    shown = client.control("/entries?limit=2", method="GET")["entries"]
    assert [record["detected_at"] for record in shown] == [
        known.detected_at.isoformat() for known in braze.entries()[:2]
    ]


def test_control_says_what_it_does_not_know(client):
    assert client.post("/_simulator/nonsense", {}, {}).status_code == 404
    assert client.post("/_simulator/detect", {"count": "x"}, {}).status_code == 400
    assert client.post("/_simulator/detect", [1], {}).status_code == 400


def test_the_log_can_be_cleared_over_http(braze, client):
    client.remove("1")
    client.control("/reset_log")
    assert braze.requests == braze.removal_posts == []


# Seeds


def test_seeds_are_the_same_for_the_same_seed():
    assert seeded(500, until=UNTIL, seed=3) == seeded(500, until=UNTIL, seed=3)
    assert seeded(500, until=UNTIL, seed=3) != seeded(500, until=UNTIL, seed=4)


def parsed(spelled):
    """Read each spelling with means of its own."""
    if spelled.endswith(" +0000"):
        return dt.datetime.strptime(spelled, "%Y-%m-%d %H:%M:%S %z")
    return dt.datetime.fromisoformat(spelled.replace("Z", "+00:00"))


def test_seeds_name_their_time_exactly_in_several_spellings():
    entries = seeded(5000, until=UNTIL, ties=0.2)
    assert all(parsed(known.spelled) == known.detected_at for known in entries)
    assert all(known.detected_at.utcoffset() == dt.timedelta(0) for known in entries)
    endings = Counter((known.spelled[-6:] if "Z" not in known.spelled else "Z") for known in entries)
    assert set(endings) == {"Z", " +0000", "+00:00", "+02:00"}
    assert endings["Z"] > 2500
    assert {len(known.spelled) for known in entries if "Z" in known.spelled} == {20, 24}


@pytest.mark.parametrize("days, burst", [(365, 0.0), (365, 0.8), (1, 0.5), (3, 0.0)])
def test_seeds_lie_in_their_days_in_order(days, burst):
    entries = seeded(2000, days=days, until=UNTIL, burst_share=burst)
    times = [known.detected_at for known in entries]
    assert len(times) == 2000
    assert times == sorted(times)
    assert UNTIL - dt.timedelta(days=days) <= times[0] <= times[-1] < UNTIL
    sizes = Counter(when.date() for when in times)
    [(day, most)] = sizes.most_common(1)
    if days == 365:
        assert len(sizes) < 330
        assert (most > 1600) == bool(burst)
        assert most > 5 * 2000 / 365
    if burst and days == 365:
        assert abs((UNTIL.date() - day).days - 183) <= 1


@pytest.mark.parametrize("ties, low, high", [(0.0, 0, 0), (0.02, 50, 150), (0.5, 2250, 2750)])
def test_seeds_have_as_many_ties_as_asked_for(ties, low, high):
    times = [known.detected_at for known in seeded(5000, until=UNTIL, ties=ties, burst_share=0.9)]
    assert low <= len(times) - len(set(times)) <= high


def test_seeds_are_numbers_nobody_has_each_once():
    entries = seeded(5000, until=UNTIL)
    numbers = {digits(known.phone) for known in entries}
    assert len(numbers) == 5000
    assert all(len(number) == 11 and number[0] == "1" and number[4:7] == "555" for number in numbers)
    assert 3300 < sum(known.phone.startswith("+") for known in entries) < 3700
    reasons = Counter(known.reason for known in entries)
    assert [reason for reason, _ in reasons.most_common()] == ["provider_error", "deactivated", "invalid_format", None]


@pytest.mark.parametrize("how, signs", [("plus", {"+"}), ("bare", {"1"})])
def test_seeds_are_spelled_as_told_and_are_otherwise_the_same(how, signs):
    entries = seeded(200, until=UNTIL, spelling=how)
    assert {known.phone[0] for known in entries} == signs
    mixed = seeded(200, until=UNTIL)
    assert [known._replace(phone=digits(known.phone)) for known in entries] == [
        known._replace(phone=digits(known.phone)) for known in mixed
    ]


# The command


@contextlib.contextmanager
def started(*options):
    """Start the command; yield its address, and what else it says."""
    command = [sys.executable, "-m", "braze_simulator", "--until", "2026-03-01T00:00:00Z", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy()) as process:
        output = t.cast("t.TextIO", process.stdout)
        try:
            url = output.readline().split()[2]
            output.readline()
            yield url, output
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()  # A test that failed must not wait for it.


def asked(url, path="/_simulator", **params):
    return requests.get(url + path, params, headers={"Authorization": "Bearer simulator-key"}, timeout=20).json()


def test_the_command_takes_what_it_drew_as_options_that_can_be_repeated():
    with started("--records", "100", "--strange", "7", "--page-cap", "11") as (url, output):
        again = output.readline()
        first = asked(url)["behaviour"]
    assert {**first, "page_cap": 11} == first
    drawn = {name: value for name, value in strange(7).items() if name != "page_cap"}
    assert len(drawn) > 2
    assert {name: first[name] for name in drawn} == drawn
    word, command, words = again.split(" ", 2)
    assert (word, command) == ("Again:", "braze-simulator")
    words = shlex.split(words)
    assert "--strange" not in words
    with started(*words) as (url, _):
        assert asked(url)["behaviour"] == first


def test_every_behaviour_is_an_option():
    values = {
        name: True if isinstance(default, bool) else field.metadata["choices"][-1] if field.metadata["choices"] else 2
        for (name, field), default in zip(FIELDS.items(), DEFAULTS.values(), strict=True)
        if name not in {"latency", "protect", "fault_kinds", "fail_next", "down", "retry_after"}
    }
    values |= {"page_cap_spread": 0.5, "refuse_reasons": False}
    with started("--records", "10", *as_options(values)) as (url, _):
        behaviour = asked(url)["behaviour"]
    assert {name: behaviour[name] for name in values} == values


def test_the_command_seeds_strange_entries():
    options = ["--records", "20", "--repeats", "3", "--empty-phones", "2", "--unusable", "8", "--spelling", "bare"]
    with started(*options) as (url, _):
        records = asked(url, LIST_PATH, **EVERYTHING)["sms"]
        behaviour = asked(url)["behaviour"]
    assert len(records) == 33
    phones = Counter(record.get("phone", "none") if isinstance(record, dict) else "none" for record in records)
    assert (phones[""], phones[None], phones["none"]) == (2, 1, 3)
    assert sum(str(phone).startswith("+") and "0100" not in str(phone) for phone in phones) == 1
    assert behaviour["detect_spelling"] == "bare"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(tmp_path, signum):
    command = [sys.executable, "-m", "braze_simulator", "--records", "50", "--days", "10", "--until"]
    command += ["2026-03-01T00:00:00Z", "--port-file", str(tmp_path / "port"), "--end-inclusive", "--latency-ms", "1"]
    command += ["--api-key", "k", "--rate-limit", "9", "--fault-kinds", "500", "html", "--no-refuse-reasons"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy()) as process:
        output = t.cast("t.TextIO", process.stdout)
        line, curl = output.readline(), output.readline()
        url = line.split()[2]
        assert line == f"Braze simulator: {url}  (api key: k, 50 records)\n"
        assert curl.startswith(f"curl -H 'Authorization: Bearer k' '{url}/sms/invalid_phone_numbers?start_date=")
        assert (tmp_path / "port").read_text() == f"{url.rpartition(':')[2]}\n"
        answer = requests.get(url + LIST_PATH, EVERYTHING, headers={"Authorization": "Bearer k"}, timeout=20)
        expected = [known.payload() for known in reversed(seeded(50, days=10, until=UNTIL))]
        assert answer.json()["sms"] == expected
        behaviour = requests.get(f"{url}/_simulator", timeout=20).json()["behaviour"]
        assert (behaviour["latency"], behaviour["end_inclusive"], behaviour["rate_limit"]) == (0.001, True, 9)
        assert (behaviour["fault_kinds"], behaviour["refuse_reasons"]) == (["500", "html"], False)
        process.send_signal(signum)
        assert process.wait(20) == 0
