"""A sister list of Braze's is a declaration: hard bounces, which no stream ships for (promises 1, 2 and 4).

Its entries are e-mail addresses, most of which have the same digits. What is one phone must not decide what is one
address.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import string
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.examples import examples
from tap_braze_sms.braze.lists import BrazeList
from tap_braze_sms.braze.responses import ResponseParser
from tap_braze_sms.concurrency.cancellation import CancelToken
from tap_braze_sms.concurrency.scheduler import WindowScheduler
from tap_braze_sms.concurrency.workers import WorkerPool
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.page import Page, ascending
from tap_braze_sms.reading.windows import Planner
from tap_braze_sms.streams import InvalidPhoneNumbersStream
from tap_braze_sms.tap import TapBrazeSMS

HARD_BOUNCES = BrazeList(
    path="/email/hard_bounces",
    items="emails",
    key_field="email",
    time_field="hard_bounced_at",
    other_fields=(),
    normalize=str.casefold,
)


class HardBouncesStream(InvalidPhoneNumbersStream):
    """E-mail addresses that bounced for good."""

    name = "hard_bounces"
    primary_keys = ("email", "hard_bounced_at")
    replication_key = "hard_bounced_at"
    braze_list = HARD_BOUNCES
    schema = {  # noqa: RUF012 (as the SDK declares it)
        "type": "object",
        "properties": {"email": {"type": "string"}, "hard_bounced_at": {"type": "string", "format": "date-time"}},
    }


FIRST = dt.datetime(2026, 3, 1, tzinfo=timestamps.UTC)
DAYS = 30

#: How many entries leave the list for each answer.
REMOVALS = 0.4


class Bounces:
    """Hard bounces that leave while they are read and may change places within their second, as bodies of answers.

    Written the way a sister list was seen to write them: whole seconds, and a space.
    """

    def __init__(self, seed: int, *, entries: int, instants: int, moving_ties: bool = True) -> None:
        self.random = random.Random(seed)
        self.moving_ties = moving_ties
        self.requests = 0
        seconds = sorted((self.random.randrange(instants) for _ in range(entries)), reverse=True)
        #: Newest first: instant and address.
        self.list = [(second * DAYS * 86_400 // instants, _address(n)) for n, second in enumerate(seconds)]
        self.before = set(map(_key, self.list))
        self._lock = threading.Lock()

    def body(self, first: str, end: str, offset: int, limit: int) -> bytes:
        with self._lock:
            self.requests += 1
            if self.random.random() < REMOVALS:
                self.list.pop(self.random.randrange(len(self.list)))
            if self.moving_ties:
                self.random.shuffle(self.list)
                self.list.sort(key=lambda entry: -entry[0])
            low, high = ((dt.date.fromisoformat(day) - FIRST.date()).days * 86_400 for day in (first, end))
            within = [entry for entry in self.list if low <= entry[0] < high]
            entries = [
                {"email": address, "hard_bounced_at": f"{FIRST + dt.timedelta(seconds=second):%F %T} +0000"}
                for second, address in within[offset : offset + limit]
            ]
        return json.dumps({"emails": entries, "message": "success"}).encode()

    @property
    def throughout(self) -> set[tuple[str, str]]:
        """What was on the list all the time: nothing arrives, and nothing comes back."""
        return set(map(_key, self.list))


def _address(number: int) -> str:
    """Return one of as many addresses as there are numbers, whose only digit is 1."""
    letters = ""
    while number >= 0:
        number, letter = divmod(number, 26)
        letters += string.ascii_letters[letter + 26 * (len(letters) % 2)]
        number -= 1
    return f"{letters}1@example.com"


def _key(entry: tuple[int, str]) -> tuple[str, str]:
    return timestamps.format_utc(FIRST + dt.timedelta(seconds=entry[0])), entry[1]


def assert_true_to(bounces: Bounces, found: list[tuple[str, str]]) -> None:
    assert bounces.throughout <= set(found), f"{len(bounces.throughout - set(found))} lost"
    assert len(found) == len(set(found)), "doubled"
    assert set(found) <= bounces.before, "invented"
    assert [time for time, _ in found] == sorted(time for time, _ in found), "out of order"
    assert len(bounces.throughout) < len(bounces.before), "nothing left"


@pytest.mark.parametrize(
    "instants, moving_ties",
    [(4_000, True), (12, False)],
    ids=["ties of five that move", "ties larger than three pages"],
)
def test_nothing_of_a_list_of_addresses_with_the_same_digits_is_lost_while_it_moves(instants, moving_ties):
    bounces = Bounces(instants, entries=20_000, instants=instants, moving_ties=moving_ties)
    parser = ResponseParser(HARD_BOUNCES)

    def fetch(dates, offset, limit, where):
        return parser.parse_page(bounces.body(*dates, offset, limit), offset=offset, limit=limit, dates=dates)

    plan = Planner(FIRST, None, today=FIRST.date() + dt.timedelta(days=DAYS - 1), widest=30)
    pool = WorkerPool(8, CancelToken())
    found = [
        (row[0], row[1])
        for rows, _ in WindowScheduler(
            plan, fetch, identify=HARD_BOUNCES.identify, page_size=500, largest=500, pool=pool
        )
        for row in rows
    ]
    assert_true_to(bounces, found)


class ClientOfBounces:
    """What a stream needs of the client, answered by the model."""

    request_count = 0
    requests_remaining = None
    clock_skew = 0.0

    def __init__(self, bounces: Bounces) -> None:
        self.bounces = bounces

    def get(self, path, params, read, *, what):
        assert path == HARD_BOUNCES.path
        self.request_count += 1
        return read(self.bounces.body(params["start_date"], params["end_date"], params["offset"] or 0, params["limit"]))


def test_a_stream_of_it_is_its_name_its_keys_and_the_declaration():
    bounces = Bounces(3, entries=3_000, instants=1_000)
    tap = TapBrazeSMS(config={"api_key": "k", "instance": "US-06", "start_date": "2026-03-01"}, parse_env_config=False)
    tap.client = ClientOfBounces(bounces)
    stream = HardBouncesStream(tap)
    records = [record for records in stream.read() for record in records]
    assert all(record.keys() == {"email", "hard_bounced_at"} for record in records)
    assert_true_to(bounces, [(record["hard_bounced_at"], record["email"]) for record in records])


_letters = st.text(string.ascii_lowercase, min_size=1, max_size=8)


@examples(300)
@given(local=st.tuples(_letters, _letters).filter(lambda two: two[0] != two[1]), digits=st.integers(0, 10**12))
def test_two_addresses_with_the_same_digits_at_one_instant_are_two_records(local, digits):
    time = timestamps.format_utc(FIRST)
    rows = [(time, f"{letters}{digits}@example.com") for letters in local]
    shouted = [(time, address.upper()) for time, address in rows]
    pages = [Page.of(rows, offset=0, limit=2), Page.of(shouted, offset=2, limit=2)]
    (found,) = ascending(pages, since="", identify=HARD_BOUNCES.identify)
    assert sorted(row[1].casefold() for row in found) == sorted(address for _, address in rows)
