"""A stand-in for Braze on localhost: the invalid-phone-number list, its moves and its faults.

Served over HTTP, and started from a command line.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import datetime as dt
import hashlib
import itertools
import json
import math
import operator
import random
import re
import shlex
import signal
import socket
import struct
import sys
import threading
import time
import typing as t
import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

# What the documents say

LIST_PATH = "/sms/invalid_phone_numbers"
REMOVE_PATH = "/sms/invalid_phone_numbers/remove"
CONTROL_PATH = "/_simulator"
MAX_PAGE = 500
DEFAULT_PAGE = 100
MAX_REMOVALS = 50
MAX_URL = 64 * 1024
MAX_HEAD = 1024 * 1024

#: Maintenance, refusals and failures, as Braze or a proxy before it sends them. Nothing was done.
STATUS_FAULTS = tuple(str(status.value) for status in HTTPStatus if status == HTTPStatus.ACCEPTED or status >= 400)
#: Nothing was done on the server's side.
LOST_FAULTS = ("html", "html_403", "reset", "hang")
#: Instead of the records: a status of 200 that is no success, and what a cache has of another question.
ANSWERS_INSTEAD: dict[str, dict[str, t.Any]] = {
    "no_sms": {"message": "success"},
    "errors": {"sms": [], "message": "error", "errors": ["internal"]},
    "queued": {"sms": [], "message": "queued"},
    "elsewhere": {
        "sms": [{"phone": "+12025550199", "invalid_detected_at": "2001-02-03T04:05:06.789Z", "reason": None}],
        "message": "success",
    },
}
#: The request was carried out, but its answer is spoilt (or only late: "slow").
ANSWER_FAULTS = ("truncated", "half_json", "slow", "reset_after", *ANSWERS_INSTEAD)

REASONS = ("provider_error", "deactivated", "invalid_format")
REASON_WEIGHTS = {"provider_error": 70, "deactivated": 25, "invalid_format": 4, None: 1}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
MICROSECOND = dt.timedelta(microseconds=1)
DAY = dt.timedelta(days=1)
#: Microseconds of the units to which a list's order may cut times.
UNITS = {"minute": 60_000_000, "hour": 3_600_000_000, "day": 86_400_000_000}
ORDERS = ("time", "ascending", "number", "random", *UNITS)
#: Orders that say nothing of times: for them, the whole list is one tie.
UNORDERED = ("number", "random")
#: Marks and keys are 63 bits.
SPAN = 1 << 63
#: Parts of the list that are kept at hand.
MOST_PARTS = 64
#: Shares of the numbers that are spelled with +.
PLUS_SHARES = {"plus": 1.0, "bare": 0.0, "mixed": 0.7}
FIRST_AREA, AREAS, LINES = 200, 800, 10_000
HTML = b"<!DOCTYPE html><html><body><h1>We will be right back</h1></body></html>"
FIREWALL = b"""<!DOCTYPE html>
<html><head><title>Attention Required! | Cloudflare</title></head>
<body><h1>Sorry, you have been blocked</h1><p>Cloudflare Ray ID: 8f1c2d3e4a5b6c7d</p></body></html>
"""


# Entries

_quoted = json.encoder.encode_basestring
_digits = re.compile(r"\D+").sub
_whole = re.compile("[0-9]{1,12}").fullmatch
_request_line = re.compile(r"[A-Z]+ /\S* HTTP/1\.1").fullmatch


class Entry(t.NamedTuple):
    """One number on the list."""

    phone: str  #: as spelled
    detected_at: dt.datetime  #: aware, UTC
    reason: str | None  #: None: the answer has no such key
    spelled: str  #: detected_at as the API writes it
    raw: str | None = None  #: JSON that the answer has instead of all that

    @classmethod
    def of(cls, when: int, row: bytes) -> Entry:
        """Read an entry as it stands in an answer, detected at an instant that it need not name."""
        record = json.loads(row)
        fields = record if isinstance(record, dict) else {}
        phone, reason, spelled = (
            value if isinstance(value := fields.get(name), str) else None
            for name in ("phone", "reason", "invalid_detected_at")
        )
        entry = cls(phone or "", EPOCH + when * MICROSECOND, reason, spelled or "")
        return entry if entry.encoded() == row else entry._replace(raw=row.decode())

    def payload(self) -> t.Any:
        """Return the record as the API gives it."""
        if self.raw is not None:
            return json.loads(self.raw)
        reason = {} if self.reason is None else {"reason": self.reason}
        return {"phone": self.phone, "invalid_detected_at": self.spelled, **reason}

    def encoded(self) -> bytes:
        """Return the record as the bytes of an answer; by hand, because a million go through here."""
        if self.raw is not None:
            return self.raw.encode()
        reason = "" if self.reason is None else f',"reason":{_quoted(self.reason)}'
        return f'{{"phone":{_quoted(self.phone)},"invalid_detected_at":{_quoted(self.spelled)}{reason}}}'.encode()


def digits(phone: str) -> str:
    """Return what decides which number is meant; a text without digits is itself."""
    return _digits("", phone) or phone


def spelling(phone: str) -> str | None:
    """Return how a number is spelled: plus or bare; None where the text is no number."""
    if not _digits("", phone):
        return None
    return "plus" if phone.startswith("+") else "bare"


def phone_of(row: bytes) -> str | None:
    """Return the phone of an entry as it stands in an answer, without reading all of it; None where it has none."""
    if row.startswith(b'{"phone":"') and b"\\" not in (text := row[10 : row.index(b'"', 10)]):
        return text.decode()
    record = json.loads(row)
    phone = record.get("phone") if isinstance(record, dict) else None
    return phone if isinstance(phone, str) else None


def micros(when: dt.datetime) -> int:
    """Return an instant as microseconds since the epoch."""
    return (when - EPOCH) // MICROSECOND


# Behaviour


def field(
    meaning: str,
    *,
    choices: tuple[str, ...] = (),
    kind: type | None = None,
    least: float = -math.inf,
    most: float = math.inf,
    **default: t.Any,
) -> t.Any:
    """Declare a field of Behaviour: what its option says, and what it may be (`kind`: where it may be None)."""
    bounds = {"meaning": meaning, "choices": choices, "kind": kind, "least": least, "most": most}
    return dataclasses.field(metadata=bounds, **default)


@dataclasses.dataclass
class Behaviour:
    """How the simulator behaves; read anew for each request, so it can be changed while it serves."""

    latency: float = field("seconds before an answer", default=0.0)
    end_inclusive: bool = field("end_date means the end of that day, not its midnight", default=False)
    clock_offset: float = field("seconds by which Braze's clock is ahead of ours", default=0.0)
    rate_limit: int = field("requests in a window", default=250_000)
    rate_window: float = field("seconds; windows begin at its multiples", default=3600.0)
    header_case: str = field("of X-RateLimit-…", choices=("canonical", "lower", "upper"), default="canonical")
    removals_per_page: float = field("removals expected just before a page is built", default=0.0)
    insertions_per_page: float = field("insertions expected then, detected now: on top of the list", default=0.0)
    late_insertions_per_page: float = field(
        "insertions expected then, somewhere in the range of the first entries", default=0.0
    )
    order: str = field(
        "of the list: descending by time (exact, or cut to a unit), ascending by time or number, or random but fixed",
        choices=ORDERS,
        default="time",
    )
    delay_seconds: float = field(
        "with order time: how far, at most, an entry stands above its time; each has its own delay",
        least=0,
        default=0.0,
    )
    shuffle_ties: bool = field(
        "entries that the order does not tell apart change places before every page", default=False
    )
    replicas: int = field("servers that answer, each with an order of its own among ties", least=1, default=1)
    replica_difference: str = field(
        "how their ties differ from the first's (without order the whole list): rotated, or some entries swapped",
        choices=("rotated", "swapped"),
        default="rotated",
    )
    replica_swaps: int = field("pairs that are swapped in each", least=0, default=5)
    replica_choice: str = field("which of them answers a request", choices=("turn", "random"), default="turn")
    page_cap: int | None = field("most records of an answer, whatever the limit", kind=int, least=1, default=None)
    page_cap_spread: float = field(
        "each answer's cap is drawn from between page_cap less this share of it and page_cap",
        least=0,
        most=1,
        default=0.0,
    )
    refuse_zero_offset: bool = field("offset=0 is a 400; left out, it works", default=False)
    max_offset: int | None = field("a deeper offset is a 400", kind=int, least=0, default=None)
    max_range_days: int | None = field("a range of more days is a 400", kind=int, least=1, default=None)
    compare_numbers: str = field(
        "how a number asked for or taken off is found: by its digits, only if asked for with + (plus), only if without"
        " (bare), or only as it is stored; a text without digits always as it stands",
        choices=("digits", "plus", "bare", "stored"),
        default="digits",
    )
    refuse_spelling: str = field(
        "a request with a number spelled so is a 400", choices=("none", "plus", "bare"), default="none"
    )
    limit_beside_numbers: str = field(
        "what limit or offset beside phone_numbers[] does: it works, the answer is empty, or a 400",
        choices=("works", "empty", "refused"),
        default="works",
    )
    protect: set[str] = field("digits that random removals never take", default_factory=set)  # noqa: RUF009
    fault_rate: float = field("share of requests that meet one of fault_kinds", default=0.0)
    fault_kinds: tuple[str, ...] = field(
        f"statuses, {', '.join((*LOST_FAULTS, *ANSWER_FAULTS))}",
        default=(
            *("500", "502", "503", "202", "html", "reset", "truncated", "half_json", "slow"),
            *ANSWERS_INSTEAD,
        ),
    )
    fail_next: list[str] = field("faults of the next requests, before any random one", default_factory=list)  # noqa: RUF009
    down: bool = field("connections are dropped without an answer", default=False)
    hang_seconds: float = field("how long a request that hangs does", default=3600.0)
    retry_after: str | None = field("sent with 429 and 503", kind=str, default=None)
    retry_after_header: str = field(
        "in which header", choices=("Retry-After", "X-RateLimit-Retry-After"), default="Retry-After"
    )
    refuse_reasons: bool = field("an unknown reason is a 400", default=True)
    reason_filters: str = field(
        "a reason selects before paging, after it (so that pages come back short), or not at all",
        choices=("before", "after", "ignored"),
        default="before",
    )
    slow_offset_seconds_per_10k: float = field("seconds more for each 10,000 of the offset", least=0, default=0.0)
    fails_above: int | None = field(
        "requests under way at once; those that would be more fail (they need latency to be under way together)",
        kind=int,
        least=0,
        default=None,
    )
    fails_above_with: str = field("how", choices=("503", "hang", "reset"), default="503")
    detect_spelling: str = field("of new numbers", choices=("plus", "bare", "mixed"), default="plus")

    def __setattr__(self, name: str, value: t.Any) -> None:
        """Set a field; what it cannot be is a mistake of whoever wrote it, and found at once."""
        declared = self.__dataclass_fields__.get(name)
        if declared and not within(declared.metadata, value):
            msg = f"{name} cannot be {value!r}"
            raise ValueError(msg)
        super().__setattr__(name, value)

    def change(self, values: dict[str, t.Any]) -> None:
        """Set several fields at once: all of them, or none and a ValueError."""
        for name, value in {name: coerced(name, value) for name, value in values.items()}.items():
            setattr(self, name, value)


def within(bounds: Mapping[str, t.Any], value: t.Any) -> bool:
    """Tell whether a value is one of a field's choices, and no less and no more than it may be."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, (int, float)):
        return bool(bounds["least"] <= value <= bounds["most"])
    return not bounds["choices"] or value in bounds["choices"]


FIELDS = {declared.name: declared for declared in dataclasses.fields(Behaviour)}
DEFAULTS: dict[str, t.Any] = {name: getattr(Behaviour(), name) for name in FIELDS}


def coerced(name: str, value: t.Any) -> t.Any:
    """Return a field's value in the field's own type."""
    if name not in DEFAULTS:
        msg = f"no such behaviour: {name}"
        raise ValueError(msg)
    kind = FIELDS[name].metadata["kind"] or type(DEFAULTS[name])
    if value is None:
        fits = DEFAULTS[name] is None
    elif kind in {list, tuple, set}:
        fits = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    else:
        fits = type(value) in {kind, int if kind is float else kind}
    if not fits or not within(FIELDS[name].metadata, value):
        msg = f"{name} cannot be {value!r}"
        raise ValueError(msg)
    if name in {"fault_kinds", "fail_next"}:
        for fault in value:
            check_fault(fault)
    return value if value is None else kind(value)


def strange(seed: int) -> dict[str, t.Any]:
    """Return keywords of Behaviour for a Braze that is read unlike the usual one; the same for the same seed.

    Each draws from all that the documents do not rule out of reading a list and of comparing numbers: order, ties,
    servers that differ, caps, what is refused, reasons, the end of a range, and a list that moves a little. Every one
    has a way to all of its list, as long as no day has more than 10,000 entries (the least `max_offset`), and finds and
    takes off every entry in one of the two spellings of its number. Nothing fails and nothing is slow: that can be
    added, as in `Simulator(entries, **strange(7), fault_rate=0.1)`.
    """
    rng = random.Random(f"strange {seed}")
    drawn: dict[str, t.Any] = {}

    def draw(share: float, name: str, *values: t.Any) -> t.Any:
        """Draw a value, in a share of the draws."""
        if rng.random() < share:
            drawn[name] = rng.choice(values)
        return drawn.get(name, DEFAULTS[name])

    if draw(0.65, "order", *ORDERS) == "time":
        draw(0.5, "delay_seconds", 0.4, 90.0, 10_800.0)
    if draw(0.3, "replicas", 2, 3) > 1:
        draw(1, "replica_difference", "rotated", "swapped")
        draw(1, "replica_choice", "turn", "random")
    draw(0.3, "shuffle_ties", True)  # noqa: FBT003  (the value of a field)
    draw(0.5, "end_inclusive", True)  # noqa: FBT003
    if draw(0.5, "page_cap", 60, 100, 250, 400):
        draw(0.4, "page_cap_spread", 0.1, 0.5)
    draw(0.4, "refuse_zero_offset", True)  # noqa: FBT003
    draw(0.2, "max_offset", 10_000, 20_000)
    draw(0.3, "max_range_days", 1, 7, 31)
    draw(0.3, "reason_filters", "after", "ignored")
    draw(0.4, "limit_beside_numbers", "empty", "refused")
    compare = draw(0.6, "compare_numbers", "plus", "bare", "stored")
    # One spelling at least has to work.
    draw(
        0.3, "refuse_spelling", *{"plus": ["bare"], "bare": ["plus"], "stored": ["none"]}.get(compare, ["plus", "bare"])
    )
    for name in ("removals_per_page", "insertions_per_page", "late_insertions_per_page"):
        draw(0.3, name, 0.05, 0.1, 0.3)
    return {name: value for name, value in drawn.items() if value != DEFAULTS[name]}


def check_fault(kind: str) -> str:
    """Return a fault's name, or raise ValueError where there is no such fault."""
    if kind not in STATUS_FAULTS + LOST_FAULTS + ANSWER_FAULTS:
        msg = f"no such fault: {kind}"
        raise ValueError(msg)
    return kind


# Requests and answers


@dataclasses.dataclass(slots=True)
class Request:
    """What the log keeps of one request to the API."""

    method: str
    path: str
    params: dict[str, list[str]]
    started: float  #: time.monotonic()
    limit: int | None = None  #: as asked, or the default; None where the request was refused or is no list request
    offset: int | None = None
    status: int | str = "unanswered"  #: or the fault's name, where it is no status
    returned: int = 0  #: records


class Message(t.NamedTuple):
    """One HTTP request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> t.Any:
        """Return the posted JSON; ValueError if it is none."""
        return json.loads(self.body or b"{}")


class Reply(t.NamedTuple):
    """An answer before it becomes HTTP."""

    status: int
    body: bytes
    content_type: str = "application/json"
    returned: int = 0


class Budget(t.NamedTuple):
    """What the rate limit headers say."""

    limit: int
    remaining: int  #: negative: over the limit
    reset: int


class Exchange(t.NamedTuple):
    """A request under way."""

    message: Message
    request: Request
    fault: str | None
    budget: Budget
    delay: float  #: seconds until its answer


class RefusedError(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(status, errors)
        self.reply = error(status, *errors)


def success(status: int = 200, **content: object) -> Reply:
    """Return an answer in JSON."""
    return Reply(status, json.dumps(content, default=sorted).encode())


def error(status: int, *errors: str) -> Reply:
    """Return an error as Braze words it."""
    return success(status, message=HTTPStatus(status).phrase, errors=list(errors))


# The list in its order


class Order(t.NamedTuple):
    """What decides where an entry stands."""

    name: str = "time"
    delay: int = 0  #: microseconds
    replicas: int = 1
    difference: str = "rotated"
    swaps: int = 0

    @property
    def by_time(self) -> bool:
        """Whether entries stand exactly where their times put them."""
        return self.name == "time" and not self.delay

    @property
    def marked(self) -> bool:
        """Whether entries that the order does not tell apart have a place by chance; otherwise the newest is first."""
        return self.replicas > 1 or (not self.by_time and self.name != "ascending")


class Item(t.NamedTuple):
    """An entry in its place."""

    key: int  #: what the list is ordered by
    mark: int  #: what decides among equal keys, where the order has marks
    when: int  #: microseconds since the epoch
    row: bytes


class Columns:
    """Entries in one order, what is listed first last; column by column, so that a page is one slice and one join."""

    def __init__(self, order: Order) -> None:
        self.times = array("q")
        self.rows: list[bytes] = []
        # By time, the times themselves are the keys: one array, not two.
        self.keys = self.times if order.by_time else array("q")
        self.marks = array("q") if order.marked else None

    def tie(self, key: int) -> tuple[int, int]:
        """Return the positions between which the entries with a key are."""
        return bisect_left(self.keys, key), bisect_right(self.keys, key)

    def insert(self, item: Item) -> None:
        """Put in one entry; without marks, before those of its own key (in the order the API lists them)."""
        low, position = self.tie(item.key)
        if self.marks is not None:
            position = bisect_right(self.marks, item.mark, low, position)
            self.marks.insert(position, item.mark)
        if self.keys is not self.times:
            self.keys.insert(position, item.key)
        self.times.insert(position, item.when)
        self.rows.insert(position, item.row)

    def extend(self, items: Iterable[Item]) -> None:
        """Put in any number of entries: sorting once beats shifting every time."""
        for key, mark, when, row in items:
            self.times.append(when)
            self.rows.append(row)
            if self.keys is not self.times:
                self.keys.append(key)
            if self.marks is not None:
                self.marks.append(mark)
        keys, marks = self.keys, self.marks
        if marks is not None:
            positions = sorted(range(len(keys)), key=lambda position: (keys[position], marks[position]))
            self.marks = array("q", [marks[position] for position in positions])
        elif any(itertools.starmap(operator.gt, itertools.pairwise(keys))):
            positions = sorted(range(len(keys)), key=keys.__getitem__)
        else:
            return
        if keys is not self.times:
            self.keys = array("q", [keys[position] for position in positions])
        self._rearrange(0, positions)

    def _rearrange(self, start: int, positions: list[int]) -> None:
        """Put the rows that are at these positions, and their times, where the list has them from start on."""
        end = start + len(positions)
        self.rows[start:end] = [self.rows[position] for position in positions]
        self.times[start:end] = array("q", [self.times[position] for position in positions])

    def delete(self, position: int) -> None:
        """Take out what stands at a position."""
        del self.rows[position], self.times[position]
        if self.keys is not self.times:
            del self.keys[position]
        if self.marks is not None:
            del self.marks[position]

    def remove(self, key: int, row: bytes) -> None:
        """Take out a row, wherever among those of its key it has moved."""
        self.delete(self.rows.index(row, *self.tie(key)))

    def items(self, positions: Iterable[int]) -> Iterator[Item]:
        """Yield what stands at some positions."""
        for position in positions:
            mark = 0 if self.marks is None else self.marks[position]
            yield Item(self.keys[position], mark, self.times[position], self.rows[position])

    def shuffle_ties(self, rng: random.Random, low: int, high: int) -> None:
        """Let entries that the order does not tell apart change places, where positions low to high can show it."""
        position = bisect_left(self.keys, self.keys[low])
        for _, tied in itertools.groupby(self.keys[position : bisect_right(self.keys, self.keys[high - 1])]):
            end = position + len(list(tied))
            if end - position > 1:
                self._rearrange(position, rng.sample(range(position, end), end - position))
            position = end


class Replica:
    """The list as one of Braze's servers has it: as the first has it, turned round, or with some entries swapped."""

    def __init__(
        self,
        order: Order,
        *,
        anchor: int | None = None,
        swapped: Mapping[bytes, tuple[int, int]] | None = None,
    ) -> None:
        self.columns = Columns(order)
        self._order = order
        self._anchor = anchor
        #: Key and mark of the entries that have the place of another.
        self._swapped = swapped or {}

    def emptied(self) -> Replica:
        """Return one without entries that differs from the first in the same way."""
        return Replica(self._order, anchor=self._anchor, swapped=self._swapped)

    def place(self, item: Item) -> Item:
        """Return an entry in its place here."""
        if item.row in self._swapped:
            key, mark = self._swapped[item.row]
            return item._replace(key=key, mark=mark)
        if self._anchor is None:
            return item
        if self._order.name in UNORDERED:
            return item._replace(key=item.key - SPAN * (item.key >= self._anchor))
        return item._replace(mark=(item.mark - self._anchor) % SPAN)

    def insert(self, item: Item) -> None:
        """Put in an entry that the first has at this place."""
        self.columns.insert(self.place(item))

    def extend(self, items: Iterable[Item]) -> None:
        """Put in any number of entries."""
        self.columns.extend(map(self.place, items))

    def remove(self, item: Item) -> None:
        """Take out an entry."""
        self.columns.remove(self.place(item).key, item.row)


class Listing:
    """The list itself, in the order it is told, and the parts of it that were asked for where they are no one slice."""

    def __init__(self, entries: Iterable[Entry] = (), *, seed: int = 0) -> None:
        self.order = Order()
        self.columns = Columns(self.order)
        #: All servers but the first.
        self._others: list[Replica] = []
        self.reasons: Counter[str | None] = Counter()
        self._seed = str(seed).encode()[:64]
        self._copies: Counter[bytes] = Counter()
        # Built when first asked for: a benchmark that only pages should not pay for it.
        self._keys: dict[str, tuple[int, ...]] | None = None
        self._parts: dict[Part, Replica] = {}
        self.extend(entries)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Entry:
        return Entry.of(self.times[position], self.rows[position])

    @property
    def times(self) -> array[int]:
        """Instants of the entries, in microseconds."""
        return self.columns.times

    @property
    def rows(self) -> list[bytes]:
        """Entries as they stand in an answer; what is listed first last."""
        return self.columns.rows

    # Who is where

    def number_at(self, position: int) -> str:
        """Return the digits of an entry, without reading all of it."""
        return digits(phone_of(self.rows[position]) or "")

    @property
    def keys(self) -> dict[str, tuple[int, ...]]:
        """What the list is ordered by, of each number's entries."""
        if self._keys is None:
            self._keys = {}
            for key, row in zip(self.columns.keys, self.rows, strict=True):
                self._note(row, key)
        return self._keys

    def _note(self, row: bytes, key: int) -> None:
        if (phone := phone_of(row)) is not None:
            number = digits(phone)
            self.keys[number] = (*self.keys.get(number, ()), key)

    def positions(self, phones: Iterable[str], compare: str = "digits") -> list[int]:
        """Return where the numbers are, as listed; for the ways to compare see Behaviour."""
        wanted: dict[str, set[str]] = {}
        for phone in phones:
            if compare in {"digits", "stored"} or spelling(phone) in {compare, None}:
                wanted.setdefault(digits(phone), set()).add(phone)
        return sorted(
            {
                position
                for number, spelled in wanted.items()
                for key in self.keys.get(number, ())
                for position in range(*self.columns.tie(key))
                if (listed := phone_of(self.rows[position])) is not None
                and (digits(listed) == number if compare != "stored" else listed in spelled)
            },
            reverse=True,
        )

    # Coming and going

    def extend(self, entries: Iterable[Entry]) -> None:
        """Put in any number of entries."""
        self._parts.clear()
        self._keys = None
        if not self.order.marked:
            self.columns.extend(map(self._take_in, entries))
            return
        first, items = not self.rows, list(map(self._take_in, entries))
        self.columns.extend(items)
        for replica in self._others:
            replica.extend(items)
        if first:
            self._differ()  # An empty list had nothing to tell servers apart by.

    def insert(self, entry: Entry) -> None:
        """Put in one entry."""
        item = self._take_in(entry)
        self._note(item.row, item.key)
        self.columns.insert(item)
        for replica in self._others:
            replica.insert(item)
        for part, copy in self._parts.items():
            if part.takes(item):
                copy.insert(item)

    def _take_in(self, entry: Entry) -> Item:
        self.reasons[entry.reason] += 1
        return self._item(micros(entry.detected_at), entry.encoded())

    def pop(self, position: int) -> Entry:
        """Take out one entry."""
        entry = self[position]
        [item] = self.columns.items([position])
        phone = phone_of(item.row)
        if phone is not None:
            # One entry's worth: the same number may be listed twice, even at one instant.
            left = list(self.keys.pop(digits(phone)))
            left.remove(item.key)
            if left:
                self.keys[digits(phone)] = tuple(left)
        self.columns.delete(position)
        for replica in self._others:
            replica.remove(item)
        for part, copy in self._parts.items():
            if part.takes(item):
                copy.remove(item)
        self.reasons[entry.reason] -= 1
        return entry

    # Order

    def arrange(self, order: Order) -> None:
        """Put the list in another order, if it is another."""
        if order == self.order:
            return
        before, self.order = self.columns, order
        self._copies.clear()
        self._parts.clear()
        self._keys = None
        self.columns = Columns(order)
        self.columns.extend(itertools.starmap(self._item, zip(before.times, before.rows, strict=True)))
        self._differ()

    def _differ(self) -> None:
        """Let the servers have the list as it is now, each in its own way."""
        self._others = [self._replica(index) for index in range(1, self.order.replicas)]
        for replica in self._others:
            replica.extend(self.columns.items(range(len(self))))

    def _replica(self, index: int) -> Replica:
        order, keys = self.order, self.columns.keys
        if order.difference == "swapped":
            return Replica(order, swapped=self._swaps(random.Random(f"{self._seed!r} {index}")))
        if order.name in UNORDERED and keys:
            return Replica(order, anchor=keys[len(keys) * index // order.replicas])
        return Replica(order, anchor=SPAN * index // order.replicas)

    def _swaps(self, rng: random.Random) -> dict[bytes, tuple[int, int]]:
        """Swap some entries that the order does not tell apart, neighbours and others; return whose places they get."""
        keys, marks, rows = self.columns.keys, t.cast("array[int]", self.columns.marks), self.rows
        whole = self.order.name in UNORDERED
        tied = [i for i in range(len(keys)) if whole or keys[i] in {*keys[max(0, i - 1) : i], *keys[i + 1 : i + 2]}]
        places: dict[bytes, tuple[int, int]] = {}
        for _ in range(self.order.swaps if len(tied) > 1 else 0):
            one = rng.choice(tied)
            low, high = (0, len(keys)) if whole else self.columns.tie(keys[one])
            other = rng.randrange(low, high) if rng.random() < 0.5 else one
            if other == one:
                other += 1 if one + 1 < high else -1
            # Identical entries are not told apart by where they are.
            if self._copies[rows[one]] == self._copies[rows[other]] == 1:
                places[rows[one]], places[rows[other]] = (
                    places.get(rows[position], (keys[position], marks[position])) for position in (other, one)
                )
        return places

    def _item(self, when: int, row: bytes) -> Item:
        """Give an entry its place."""
        if self.order.by_time and not self.order.marked:
            return Item(when, 0, when, row)
        mark = self._mark(row)
        name = self.order.name
        if name in UNITS:
            key = when // UNITS[name] * UNITS[name]
        elif name == "number":
            # As texts are ordered; longer than any number is, and short enough for an array.
            number = _digits("", phone_of(row) or "")[:18]
            key = 10**18 - int(number.ljust(18, "0"))
        else:
            key = {"time": when + (mark * self.order.delay >> 63), "ascending": -when, "random": mark}[name]
        return Item(key, mark, when, row)

    def _mark(self, row: bytes) -> int:
        """Return 63 bits that are an entry's own; the second of two that are identical has others than the first."""
        copy = self._copies[row].to_bytes(8, "big")
        self._copies[row] += 1
        return int.from_bytes(hashlib.blake2b(row, digest_size=8, key=self._seed, salt=copy).digest(), "big") >> 1

    # What an answer is taken from

    def between(self, part: Part) -> tuple[Columns, int, int]:
        """Return columns, and the positions among them between which an answer's records are."""
        server = self._others[part.replica - 1].columns if part.replica else self.columns
        low, high, exact = self._span(server.keys, part)
        if exact and part.reason is None:
            return server, low, high
        if part not in self._parts:
            if len(self._parts) >= MOST_PARTS:
                del self._parts[next(iter(self._parts))]
            self._parts[part] = self._cut(server, part, low, high)
        columns = self._parts[part].columns
        return columns, 0, len(columns.rows)

    def _span(self, keys: Sequence[int], part: Part) -> tuple[int, int, bool]:
        """Return positions between which all entries of a range are, and whether they are the only ones there."""
        if self.order.name in UNORDERED:
            return 0, len(keys), False
        if self.order.name == "ascending":
            return bisect_right(keys, -part.end), bisect_right(keys, -part.start), True
        # Ranges begin and end at midnights, which cutting times to a unit leaves where they are.
        delay = self.order.delay
        return bisect_left(keys, part.start), bisect_left(keys, part.end + delay), not delay

    def _cut(self, server: Columns, part: Part, low: int, high: int) -> Replica:
        """Copy a part of the list as a server has it; it moves with the list from now on."""
        copy = self._others[part.replica - 1].emptied() if part.replica else Replica(self.order)
        times, rows, wanted = server.times, server.rows, holding(part.reason)
        copy.columns.extend(
            server.items(
                position
                for position in range(low, high)
                if part.start <= times[position] < part.end and wanted in rows[position]
            )
        )
        return copy


def holding(reason: str | None) -> bytes:
    """Return what entries with a reason have in them as they stand in an answer: inside a value no quote is bare."""
    return b"" if reason is None else f'"reason":{_quoted(reason)}'.encode()


class Part(t.NamedTuple):
    """What of the list a request is about, and which server answers."""

    start: int
    end: int
    reason: str | None
    replica: int

    def takes(self, item: Item) -> bool:
        """Whether an entry is in it."""
        return self.start <= item.when < self.end and holding(self.reason) in item.row


# Braze


class Simulator:
    """Braze on a port of its own: bound when constructed, served inside `with`."""

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        *,
        api_key: str = "simulator-key",
        port: int = 0,
        host: str = "127.0.0.1",
        seed: int = 0,
        **behaviour: t.Any,
    ) -> None:
        self.behaviour = Behaviour(**behaviour)
        self.api_key = api_key
        self.added: list[Entry] = []
        self.removed: list[Entry] = []
        self.requests: list[Request] = []
        self.removal_posts: list[list[str]] = []
        self.under_way: set[Connection] = set()
        self.max_under_way = 0
        self.connections: set[Connection] = set()
        self.failures: list[BaseException] = []
        self._kept = Listing(entries, seed=seed)
        self._rng = random.Random(seed)
        self._turns = itertools.count()
        self._lock = threading.RLock()
        self._window: tuple[float, float] = (0, 0)
        self._spent = 0
        now = micros(self.now())
        times: Sequence[int] = self._kept.times or [now - 3_600_000_000, now]
        self._range = (times[0], times[-1])
        self._socket = self._bind(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self.url = f"http://{self.host}:{self.port}"

    # Serving

    def _bind(self, host: str, port: int) -> socket.socket:
        bound = socket.socket()
        weakref.finalize(self, bound.close)  # A simulator that never served must not warn of an open socket.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        return bound

    def __enter__(self) -> Simulator:  # noqa: PYI034  (typing.Self is newer than Python 3.10)
        if self._socket.fileno() < 0:  # Served before: the address stays the same.
            self._socket = self._bind(self.host, self.port)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._failed)
        serving = self._loop.create_server(lambda: Connection(self), sock=self._socket, backlog=1024)
        self._server = self._loop.run_until_complete(serving)
        self._thread = threading.Thread(target=self._loop.run_forever, name="braze-simulator", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self.failures and kind is None:
            raise self.failures[0]

    async def _close(self) -> None:
        # asyncio would leave a connection that is half accepted open for good.
        while accepting := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(accepting)
        self._server.close()
        while self.connections:
            for connection in tuple(self.connections):
                connection.transport.abort()
            await asyncio.sleep(0)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, t.Any]) -> None:
        """Keep a defect of the simulator for __exit__: in a thread of its own it would go unseen."""
        self.failures.append(context.get("exception") or RuntimeError(context["message"]))
        loop.default_exception_handler(context)

    # The list, for any thread

    def add_raw(self, when: dt.datetime, record: t.Any) -> Entry:
        """Put on the list, as if detected then, what need not be a record; return it."""
        entry = raw_entry(when, record)
        self.add(entry)
        return entry

    @property
    def _listing(self) -> Listing:
        """The list, in the order that the behaviour has now."""
        told = self.behaviour
        delay = round(told.delay_seconds * 1_000_000) if told.order == "time" else 0
        apart = (told.replicas, told.replica_difference, told.replica_swaps) if told.replicas > 1 else ()
        self._kept.arrange(Order(told.order, delay, *apart))
        return self._kept

    def now(self) -> dt.datetime:
        """Return the time on the simulator's clock."""
        return dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=self.behaviour.clock_offset)

    def add(self, entries: Entry | Iterable[Entry]) -> None:
        """Put entries on the list."""
        several = [entries] if isinstance(entries, Entry) else list(entries)
        with self._lock:
            if len(several) > 100:
                self._listing.extend(several)
            else:
                for entry in several:
                    self._listing.insert(entry)
            self.added += several

    def remove(self, phones: Iterable[str]) -> int:
        """Take numbers off the list, by their digits; return how many entries that were."""
        return self._take_off(phones, "digits")

    def _take_off(self, phones: Iterable[str], compare: str) -> int:
        with self._lock:
            gone = [self._listing.pop(position) for position in self._listing.positions(phones, compare)]
            self.removed += gone
        return len(gone)

    def entries(self, limit: int | None = None) -> list[Entry]:
        """Return the entries in the order in which the API lists them."""
        with self._lock:
            size = len(self._listing)
            return [self._listing[size - 1 - i] for i in range(size if limit is None else min(limit, size))]

    def detect(self, count: int = 1, minutes: float = 0.0) -> list[Entry]:
        """Put new numbers on the list, detected within the last minutes; return them, oldest first."""
        with self._lock:
            now = micros(self.now())
            ages = sorted((self._rng.random() * minutes * 60e6 for _ in range(count)), reverse=True)
            return [self._detect(now - int(age)) for age in ages]

    def remove_any(self, count: int = 1) -> list[Entry]:
        """Take random entries off the list, none that is protected; return them."""
        with self._lock:
            before = len(self.removed)
            for _ in range(count * 100):  # Enough to meet one of few unprotected numbers, and an end if there is none.
                if not self._listing or len(self.removed) - before == count:
                    break
                position = self._rng.randrange(len(self._listing))
                if self._listing.number_at(position) not in self.behaviour.protect:
                    self.removed.append(self._listing.pop(position))
            return self.removed[before:]

    def _detect(self, when: int) -> Entry:
        phone = number(self._rng.randrange(AREAS * LINES))
        while phone in self._listing.keys:
            phone = number(self._rng.randrange(AREAS * LINES))
        how = self.behaviour.detect_spelling
        if how == "plus" or (how == "mixed" and self._rng.random() < PLUS_SHARES["mixed"]):
            phone = f"+{phone}"
        detected_at = EPOCH + when // 1000 * 1000 * MICROSECOND
        entry = Entry(phone, detected_at, self._rng.choice(REASONS), spell(detected_at))
        self.add(entry)
        return entry

    def _move(self) -> None:
        """Let the list move as lists do while they are read."""
        behaviour = self.behaviour
        self.remove_any(self._draw(behaviour.removals_per_page))
        self.detect(self._draw(behaviour.insertions_per_page))
        for _ in range(self._draw(behaviour.late_insertions_per_page)):
            self._detect(self._rng.randint(*self._range))

    def _draw(self, expected: float) -> int:
        whole = int(expected)
        return whole + (expected > whole and self._rng.random() < expected - whole)

    # One request

    def begin(self, message: Message, connection: Connection) -> Exchange:
        """Take a request in: log it, charge it, and settle what will go wrong with it."""
        path, _, query = message.target.partition("?")
        with self._lock:
            params = parse_qs(query, keep_blank_values=True)
            request = Request(message.method, path, params, time.monotonic())
            self.requests.append(request)
            self.under_way.add(connection)
            self.max_under_way = max(self.max_under_way, len(self.under_way))
            return Exchange(message, request, self._fault(), self._charge(message), self._delay(request))

    def _delay(self, request: Request) -> float:
        offset = request.params.get("offset", [""])[-1]
        depth = int(offset) if _whole(offset) else 0
        return self.behaviour.latency + depth / 10_000 * self.behaviour.slow_offset_seconds_per_10k

    def _fault(self) -> str | None:
        behaviour = self.behaviour
        if behaviour.down:
            return "down"
        if behaviour.fail_next:
            return check_fault(behaviour.fail_next.pop(0))
        if behaviour.fails_above is not None and len(self.under_way) > behaviour.fails_above:
            return behaviour.fails_above_with
        if behaviour.fault_rate and self._rng.random() < behaviour.fault_rate:
            return check_fault(self._rng.choice(behaviour.fault_kinds))
        return None

    def _authorized(self, message: Message) -> bool:
        return message.headers.get("authorization") == f"Bearer {self.api_key}"

    def _charge(self, message: Message) -> Budget:
        """Count a request against the window it falls into; a stranger's costs the workspace nothing."""
        limit, span = self.behaviour.rate_limit, self.behaviour.rate_window
        window = self.now().timestamp() // span
        if self._window != (window, span):
            self._window, self._spent = (window, span), 0
        self._spent += self._authorized(message)
        return Budget(limit, limit - self._spent, math.ceil((window + 1) * span))

    def answer(self, exchange: Exchange) -> Reply:
        """Return what the API answers, as far as the fault lets it."""
        fault = exchange.fault
        with self._lock:
            if fault == "html_403":
                reply = Reply(HTTPStatus.FORBIDDEN, FIREWALL, "text/html")
            elif fault in {*LOST_FAULTS, "down"}:
                reply = Reply(200, HTML, "text/html")
            elif fault and fault.isdecimal():
                reply = self._refusal(int(fault), exchange)
            else:
                reply = self._spoilt(fault, self._serve(exchange), exchange)
            spoken = fault is None or fault.isdecimal() or reply.status >= HTTPStatus.BAD_REQUEST
            exchange.request.status = reply.status if spoken else t.cast("str", fault)
            exchange.request.returned = reply.returned
        return reply

    def _refusal(self, status: int, exchange: Exchange) -> Reply:
        """Return a fault that is a status; refusals echo all they were sent, as a careless server would."""
        if status == HTTPStatus.ACCEPTED:
            return success(status, message="queued")
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return error(status, "please try again later")
        message = exchange.message
        sent = f"{message.method} {message.target} {exchange.request.params} {message.body.decode(errors='replace')}"
        return error(status, f"refused: {sent}", f"authorization: {message.headers.get('authorization')}")

    def _spoilt(self, fault: str | None, reply: Reply, exchange: Exchange) -> Reply:
        if fault == "half_json":
            return reply._replace(body=reply.body[: len(reply.body) // 2])
        if fault in ANSWERS_INSTEAD and exchange.request.path == LIST_PATH:
            return success(**ANSWERS_INSTEAD[fault])
        return reply

    def _serve(self, exchange: Exchange) -> Reply:
        message, request = exchange.message, exchange.request
        endpoint = {("GET", LIST_PATH): self._list, ("POST", REMOVE_PATH): self._remove}.get(
            (request.method, request.path),
        )
        if len(message.target) > MAX_URL:
            return error(HTTPStatus.REQUEST_URI_TOO_LONG, f"the URL is longer than {MAX_URL} bytes")
        if endpoint is None:
            return error(HTTPStatus.NOT_FOUND, f"no such endpoint: {request.method} {request.path}")
        if not self._authorized(message):
            return error(HTTPStatus.UNAUTHORIZED, "Invalid API key")
        if exchange.budget.remaining < 0:
            return error(HTTPStatus.TOO_MANY_REQUESTS, "rate limit exceeded")
        try:
            return endpoint(message, request)
        except RefusedError as refused:
            return refused.reply

    def _list(self, _message: Message, request: Request) -> Reply:
        params = {name: values[-1] for name, values in request.params.items()}
        limit, offset = self._slice(params)
        reason = params.get("reason")
        if reason is not None and reason not in REASONS and self.behaviour.refuse_reasons:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"reason must be one of {', '.join(REASONS)}")
        phones = request.params.get("phone_numbers[]")
        start, end = (0, 0) if phones else self._dates(params)
        if phones:
            self._check_spelling(phones)
        beside = bool(phones) and not params.keys().isdisjoint({"limit", "offset"})
        if beside and self.behaviour.limit_beside_numbers == "refused":
            raise RefusedError(HTTPStatus.BAD_REQUEST, "limit and offset cannot be combined with phone_numbers[]")
        request.limit, request.offset = limit, offset
        self._move()
        before, after = self._filters(reason)
        size = min(limit, self._cap())
        if phones:
            empty = beside and self.behaviour.limit_beside_numbers == "empty"
            rows = [] if empty else self._rows_of(phones, before)[offset : offset + size]
        else:
            rows = self._page(start, end, before, offset, size)
        if after:
            rows = [row for row in rows if holding(after) in row]
        body = b'{"sms":[' + b",".join(rows) + b'],"message":"success"}'
        return Reply(200, body, returned=len(rows))

    def _slice(self, params: dict[str, str]) -> tuple[int, int]:
        """Return limit and offset as asked for."""
        limit = whole_number(params, "limit", DEFAULT_PAGE, 1, MAX_PAGE)
        offset = whole_number(params, "offset", 0, 0, 10**12)
        if self.behaviour.refuse_zero_offset and "offset" in params and offset == 0:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "Offset must be greater than 0.")
        if self.behaviour.max_offset is not None and offset > self.behaviour.max_offset:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"offset must be at most {self.behaviour.max_offset}")
        return limit, offset

    def _filters(self, reason: str | None) -> tuple[str | None, str | None]:
        """Return the reasons by which to select before and after the page is cut."""
        when = self.behaviour.reason_filters
        return reason if when == "before" else None, reason if when == "after" else None

    def _answering(self, replicas: int) -> int:
        """Return which replica answers."""
        if replicas > 1 and self.behaviour.replica_choice == "random":
            return self._rng.randrange(replicas)
        return next(self._turns) % replicas

    def _cap(self) -> int:
        """Return the most records of this answer."""
        cap, spread = self.behaviour.page_cap, self.behaviour.page_cap_spread
        if cap is None or not spread:
            return cap or MAX_PAGE
        return self._rng.randint(max(1, math.ceil(cap * (1 - spread))), cap)

    def _dates(self, params: dict[str, str]) -> tuple[int, int]:
        if not {"start_date", "end_date"} <= params.keys():
            raise RefusedError(HTTPStatus.BAD_REQUEST, "either start_date and end_date or phone_numbers[] is required")
        start, end = midnight(params, "start_date"), midnight(params, "end_date")
        if start >= end:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "start_date must be earlier than end_date")
        longest = self.behaviour.max_range_days
        if longest is not None and end - start > longest * DAY:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the date range must be at most {longest} days")
        return micros(start), micros(end) + self.behaviour.end_inclusive * (DAY // MICROSECOND)

    def _rows_of(self, phones: list[str], reason: str | None) -> list[bytes]:
        rows, wanted = self._listing.rows, holding(reason)
        found = self._listing.positions(phones, self.behaviour.compare_numbers)
        return [rows[position] for position in found if wanted in rows[position]]

    def _check_spelling(self, phones: list[str]) -> None:
        refused = self.behaviour.refuse_spelling
        if any(spelling(phone) == refused for phone in phones):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "phone numbers must be in E.164 format")

    def _page(self, start: int, end: int, reason: str | None, offset: int, size: int) -> list[bytes]:
        listing = self._listing
        replica = self._answering(listing.order.replicas)
        columns, low, high = listing.between(Part(start, end, reason, replica))
        top = high - offset
        if top <= low:
            return []
        bottom = max(low, top - size)
        if self.behaviour.shuffle_ties:
            columns.shuffle_ties(self._rng, bottom, top)
        page = columns.rows[bottom:top]
        page.reverse()
        return page

    def _remove(self, message: Message, _request: Request) -> Reply:
        try:
            content = message.json()
        except ValueError:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None
        phones = content.get("phone_numbers") if isinstance(content, dict) else None
        if not isinstance(phones, list) or not all(isinstance(phone, str) for phone in phones):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "phone_numbers must be a list of strings")
        if not 1 <= len(phones) <= MAX_REMOVALS:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"phone_numbers takes 1 to {MAX_REMOVALS} numbers")
        self._check_spelling(phones)
        self._take_off(phones, self.behaviour.compare_numbers)
        self.removal_posts.append(phones)
        return success(201, message="success")

    # Control over HTTP, for shells and other processes

    def control(self, message: Message) -> Reply:
        """Answer a request to the simulator itself."""
        url = urlsplit(message.target)
        routes: dict[tuple[str, str], Callable[[dict[str, t.Any]], Reply]] = {
            ("GET", ""): lambda _: self._totals(),
            ("GET", "/entries"): lambda body: success(entries=self._shown(self.entries(int(body.get("limit", 100))))),
            ("PATCH", "/behaviour"): self._change,
            ("POST", "/behaviour"): self._change,
            ("POST", "/detect"): lambda body: success(entries=self._shown(self._detected(body))),
            ("POST", "/remove"): self._gone,
            ("POST", "/reset_log"): lambda _: self._reset_log(),
        }
        route = routes.get((message.method, url.path[len(CONTROL_PATH) :].rstrip("/")))
        if route is None:
            return error(404, f"the simulator has {', '.join(f'{verb} {CONTROL_PATH}{path}' for verb, path in routes)}")
        try:
            given = {name: values[-1] for name, values in parse_qs(url.query).items()}
            with self._lock:
                return route({**given, **message.json()})
        except (TypeError, ValueError) as problem:
            return error(400, str(problem))

    def _totals(self) -> Reply:
        return success(
            entries=len(self._listing),
            reasons={reason or "none": count for reason, count in self._listing.reasons.items()},
            added=len(self.added),
            removed=len(self.removed),
            requests=len(self.requests),
            statuses=Counter(str(request.status) for request in self.requests),
            under_way=len(self.under_way),
            max_under_way=self.max_under_way,
            removal_posts=len(self.removal_posts),
            now=self.now().isoformat(),
            behaviour=dataclasses.asdict(self.behaviour),
        )

    def _change(self, body: dict[str, t.Any]) -> Reply:
        self.behaviour.change(body)
        return self._totals()

    def _detected(self, body: dict[str, t.Any]) -> list[Entry]:
        return self.detect(int(body.get("count", 1)), float(body.get("minutes", 5)))

    def _gone(self, body: dict[str, t.Any]) -> Reply:
        before = len(self.removed)
        self.remove(body.get("phones", ()))
        self.remove_any(int(body.get("count", 0)))
        return success(entries=self._shown(self.removed[before:]))

    def _reset_log(self) -> Reply:
        self.requests.clear()
        self.removal_posts.clear()
        self.max_under_way = len(self.under_way)
        return self._totals()

    def _shown(self, entries: list[Entry]) -> list[dict[str, t.Any]]:
        shown = ((entry.payload(), entry.detected_at.isoformat()) for entry in entries)
        return [
            {**(record if isinstance(record, dict) else {"raw": record}), "detected_at": at} for record, at in shown
        ]


def whole_number(params: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return a parameter that is a whole number, or refuse it."""
    text = params.get(name, str(default))
    if not _whole(text) or not low <= int(text) <= high:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name} must be a whole number from {low} to {high}")
    return int(text)


def midnight(params: dict[str, str], name: str) -> dt.datetime:
    """Return the midnight a date parameter names, or refuse it."""
    text = params[name]
    # fromisoformat alone takes 20260301 on newer Pythons, which the API does not.
    spelled = text if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else ""
    try:
        return dt.datetime.fromisoformat(f"{spelled}T00:00:00+00:00")
    except ValueError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name} must be a date, YYYY-MM-DD") from None


# The connection


class Connection(asyncio.Protocol):
    """One connection: HTTP/1.1 in, answers out in the order asked for, faults down to the socket."""

    transport: asyncio.Transport

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._buffer = bytearray()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = t.cast("asyncio.Transport", transport)
        self._simulator.connections.add(self)

    def connection_lost(self, _exception: Exception | None) -> None:
        """Forget what was under way."""
        self._simulator.connections.discard(self)
        self._simulator.under_way.discard(self)
        self._busy = True
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take in what came; whatever is pipelined waits for the answer before it."""
        self._buffer += data
        self._proceed()

    def _proceed(self) -> None:
        while not self._busy and (message := self._take()):
            self._busy = True
            self._begin(message)

    def _take(self) -> Message | None:
        """Cut the next complete request off the buffer."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return None
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        if not _request_line(first) or not length.isdecimal() or "transfer-encoding" in headers:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return None
        body_end = end + 4 + int(length)
        if len(self._buffer) < body_end:
            return None
        body = bytes(self._buffer[end + 4 : body_end])
        del self._buffer[:body_end]
        method, target, _ = first.split(" ")
        return Message(method, target, headers, body)

    def _refuse(self, status: int) -> None:
        reply = error(status, "the simulator cannot read this request")
        self._finish(self._head(reply, None, close=True) + reply.body, close=True)

    def _begin(self, message: Message) -> None:
        close = message.headers.get("connection", "").lower() == "close"
        if message.target.partition("?")[0].startswith(CONTROL_PATH):
            reply = self._simulator.control(message)
            self._finish(self._head(reply, None, close=close) + reply.body, close=close)
            return
        exchange = self._simulator.begin(message, self)
        self._after(exchange.delay, lambda: self._answer(exchange, close=close))

    def _after(self, delay: float, act: Callable[[], None]) -> None:
        if delay <= 0:
            act()
            return

        def late() -> None:
            act()
            self._proceed()

        self._timer = asyncio.get_running_loop().call_later(delay, late)

    def _answer(self, exchange: Exchange, *, close: bool) -> None:
        reply, fault = self._simulator.answer(exchange), exchange.fault
        close = close or fault == "truncated"
        # A firewall knows nothing of Braze's limits.
        head = self._head(reply, None if fault == "html_403" else exchange.budget, close=close)
        if fault == "hang":
            self._after(self._simulator.behaviour.hang_seconds, self.transport.abort)
        elif fault in {"down", "reset", "reset_after"}:
            # Closing without lingering sends RST in place of FIN.
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif fault == "truncated":
            self._finish(head + reply.body[: len(reply.body) // 2], close=close)
        elif fault == "slow":
            self.transport.write(head)
            self._dribble(reply.body, len(reply.body) // 4 + 1, close=close)
        else:
            self._finish(head + reply.body, close=close)

    def _dribble(self, body: bytes, size: int, *, close: bool) -> None:
        if len(body) > size:
            self.transport.write(body[:size])
            self._after(0.1, lambda: self._dribble(body[size:], size, close=close))
        else:
            self._finish(body, close=close)

    def _finish(self, data: bytes, *, close: bool) -> None:
        # Before the bytes leave: a client with an answer in hand must not see a count that lags behind.
        self._simulator.under_way.discard(self)
        self.transport.write(data)
        self._busy = close
        if close:
            self.transport.close()

    def _head(self, reply: Reply, budget: Budget | None, *, close: bool) -> bytes:
        behaviour = self._simulator.behaviour
        headers = {
            "Date": formatdate(time.time() + behaviour.clock_offset, usegmt=True),
            "Content-Type": reply.content_type,
            "Content-Length": len(reply.body),
            "Connection": "close" if close else "keep-alive",
        }
        if budget:
            spent = reply.status == HTTPStatus.TOO_MANY_REQUESTS or budget.remaining < 0
            headers["X-RateLimit-Limit"] = budget.limit
            headers["X-RateLimit-Remaining"] = 0 if spent else budget.remaining
            headers["X-RateLimit-Reset"] = budget.reset
        if behaviour.retry_after is not None and reply.status in {429, 503}:
            headers[behaviour.retry_after_header] = behaviour.retry_after
        cased = {"lower": str.lower, "upper": str.upper}.get(behaviour.header_case, str)
        lines = "".join(f"{cased(name)}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n{lines}\r\n".encode("latin-1")


# Seeds


class Spelling(t.NamedTuple):
    """One way of writing an instant."""

    weight: int
    unit: int  #: the microseconds it cannot tell apart
    write: Callable[[dt.datetime], str]


MILLISECONDS = Spelling(70, 1_000, lambda when: when.isoformat(timespec="milliseconds")[:-6] + "Z")
MICROSECONDS = Spelling(8, 1, lambda when: when.isoformat(timespec="microseconds"))
OLD = Spelling(8, 1_000_000, lambda when: f"{when:%Y-%m-%d %H:%M:%S} +0000")
SECONDS = Spelling(6, 1_000_000, lambda when: when.isoformat(timespec="seconds")[:-6] + "Z")
ABROAD = Spelling(
    8, 1_000, lambda when: when.astimezone(dt.timezone(dt.timedelta(hours=2))).isoformat(timespec="milliseconds")
)
SPELLINGS = (MILLISECONDS, OLD, MICROSECONDS, ABROAD, SECONDS)


def spell(when: dt.datetime, spelling: Spelling = MILLISECONDS) -> str:
    """Write an instant as the API might."""
    return spelling.write(when)


# Seeds: entries that are strange


def raw_entry(when: dt.datetime, record: t.Any) -> Entry:
    """Return an entry that is listed as if detected then, whatever it says of itself."""
    return Entry.of(micros(when), json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode())


#: How an entry may come twice: nothing differs, the number is spelled in the other way, or it has another reason.
REPEATS = ("identical", "spelling", "reason")


def repeated(entry: Entry, how: str = "identical") -> Entry:
    """Return a second entry of the same number at the same instant."""
    if how == "spelling":
        return entry._replace(phone=entry.phone[1:] if entry.phone.startswith("+") else f"+{entry.phone}")
    if how == "reason":
        return entry._replace(reason=next(reason for reason in REASONS if reason != entry.reason))
    return entry


def without_phone(when: dt.datetime) -> Entry:
    """Return an entry whose phone is an empty text, as what failed formatting may be."""
    return Entry("", when, "invalid_format", spell(when))


#: What an entry may have, or lack (None), that makes it one of which nothing can be made, or what it may be instead.
UNUSABLE: dict[str, t.Any] = {
    "null_phone": {"phone": None},
    "no_phone": {"phone": ...},
    "phone_no_text": {"phone": 12005550100},
    "no_time": {"invalid_detected_at": ...},
    "null_time": {"invalid_detected_at": None},
    "unreadable_time": {"invalid_detected_at": "the day before yesterday"},
    "no_object": "+12005550100",
    "null": None,
}


def unusable(when: dt.datetime, kind: str = "null_phone", phone: str = "+12005550100") -> Entry:
    """Return an entry of which nothing can be made."""
    change = UNUSABLE[kind]
    if not isinstance(change, dict):
        return raw_entry(when, change)
    record = {**Entry(phone, when, REASONS[0], spell(when)).payload(), **change}
    return raw_entry(when, {name: value for name, value in record.items() if value is not ...})


def odd(
    entries: Sequence[Entry], *, repeats: int = 0, empty_phones: int = 0, unusable_entries: int = 0, seed: int = 0
) -> list[Entry]:
    """Return strange entries to put among others: each kind of them in turn, at the instants of random ones."""
    rng = random.Random(seed)
    found = [repeated(rng.choice(entries), how) for how in itertools.islice(itertools.cycle(REPEATS), repeats)]
    found += [without_phone(rng.choice(entries).detected_at) for _ in range(empty_phones)]
    kinds = itertools.islice(itertools.cycle(UNUSABLE), unusable_entries)
    return found + [unusable(rng.choice(entries).detected_at, kind) for kind in kinds]


# Seeds: entries as they are


def number(index: int) -> str:
    """Return the digits of one of the eight million numbers that belong to nobody."""
    return f"1{FIRST_AREA + index // LINES}555{index % LINES:04}"


def seeded(count: int, **options: t.Any) -> list[Entry]:
    """Return entries, ascending, the same for the same seed; for the options see `generated`."""
    return list(generated(count, **options))


def generated(
    count: int,
    *,
    days: int = 365,
    until: dt.datetime | None = None,
    seed: int = 0,
    burst_share: float = 0.0,
    ties: float = 0.02,
    spelling: str = "mixed",
) -> Iterator[Entry]:
    """Yield entries over uneven days before `until` (today's midnight), a share of them on one day in the middle.

    Their numbers are spelled with + ("plus"), without ("bare"), or most of them with ("mixed").
    """
    rng = random.Random(seed)
    if until is None:
        until = dt.datetime.now(dt.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    start = until.astimezone(dt.timezone.utc) - days * DAY
    phones = iter(rng.sample(range(AREAS * LINES), count))
    for day, size in enumerate(_sizes(rng, count, days, round(count * burst_share))):
        reasons = rng.choices(tuple(REASON_WEIGHTS), tuple(REASON_WEIGHTS.values()), k=size)
        instants = _instants(rng, micros(start + day * DAY), size, ties)
        for (when, written), reason, index in zip(instants, reasons, phones):  # noqa: B905  (phones go on)
            detected_at = EPOCH + when * MICROSECOND
            plus = "+" if rng.random() < PLUS_SHARES[spelling] else ""
            yield Entry(plus + number(index), detected_at, reason, written.write(detected_at))


def _sizes(rng: random.Random, count: int, days: int, burst: int) -> list[int]:
    """Spread entries over days: some empty, some many times the average, the burst on one."""
    weights = [min(rng.paretovariate(1.1), 30) if rng.random() < 0.85 else 0 for _ in range(days)]
    weights[days // 2] += 1  # All days empty would be no distribution.
    sizes = Counter(rng.choices(range(days), weights, k=count - burst))
    sizes[days // 2] += burst
    return [sizes[day] for day in range(days)]


def _instants(rng: random.Random, midnight: int, size: int, ties: float) -> Iterator[tuple[int, Spelling]]:
    """Yield a day's instants, ascending, each with a spelling that names it exactly; ties only by intent."""
    last = midnight - 1
    spellings = rng.choices(SPELLINGS, [spelling.weight for spelling in SPELLINGS], k=size)
    exact = sorted(rng.sample(range(midnight, midnight + DAY // MICROSECOND), size))
    for when, spelling in zip(exact, spellings, strict=True):
        rounded = when // spelling.unit * spelling.unit
        if last >= midnight and rng.random() < ties:
            rounded = last
        elif rounded <= last:
            rounded = when
        last = rounded
        yield rounded, MICROSECONDS if rounded % spelling.unit else spelling


# The command


def arguments() -> argparse.Namespace:
    """Read the command line: every Behaviour field is an option too."""
    # Without abbreviations: --strange has to be found again in what was written.
    parser = argparse.ArgumentParser(
        "braze-simulator", description="A stand-in for Braze on localhost.", allow_abbrev=False
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--port-file", type=Path, help="gets the port's number once the simulator serves")
    parser.add_argument("--api-key", default="simulator-key")
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--until", type=instant, help="ISO 8601; default: the last midnight UTC")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--burst-share", type=float, default=0.0, help="share of the records on one day")
    parser.add_argument("--ties", type=float, default=0.02, help="share of the records with their neighbour's time")
    parser.add_argument("--spelling", choices=PLUS_SHARES, default="mixed", help="of the numbers: with or without +")
    parser.add_argument("--repeats", type=int, default=0, help="entries more: a number again, at the same instant")
    parser.add_argument("--empty-phones", type=int, default=0, help="entries more: their phone is an empty text")
    parser.add_argument("--unusable", type=int, default=0, help="entries more: of them nothing can be made")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument(
        "--strange",
        type=int,
        metavar="SEED",
        help="draw options of reading and of comparing numbers that the documents do not rule out, and print them",
    )
    how = f"also while it serves: GET {CONTROL_PATH} shows it, PATCH {CONTROL_PATH}/behaviour changes it"
    group = parser.add_argument_group("behaviour", how)
    for name in DEFAULTS:
        if name != "latency":
            group.add_argument(option(name), **declaration(name))
    return parser.parse_args()


def option(name: str) -> str:
    """Return a field's option."""
    return "--" + name.replace("_", "-")


def declaration(name: str) -> dict[str, t.Any]:
    """Return how argparse is told of a field of Behaviour."""
    default, metadata = DEFAULTS[name], FIELDS[name].metadata
    shown = " ".join(default) if isinstance(default, tuple) else default
    told = metadata["meaning"] + (f" ({shown})" if shown else "")
    options: dict[str, t.Any] = {"default": argparse.SUPPRESS, "help": told}
    if isinstance(default, bool):
        return options | {"action": argparse.BooleanOptionalAction}
    if isinstance(default, (list, tuple, set)):
        return options | {"nargs": "+", "metavar": "VALUE"}
    if metadata["choices"]:
        return options | {"choices": metadata["choices"]}
    return options | {"type": metadata["kind"] or type(default), "metavar": "VALUE"}


def as_options(behaviour: Mapping[str, t.Any]) -> list[str]:
    """Return keywords of Behaviour as they are written on the command line."""
    words: list[str] = []
    for name, value in behaviour.items():
        if isinstance(value, bool):
            words.append(option(name) if value else option(f"no_{name}"))
        else:
            values = sorted(value) if isinstance(value, set) else value if isinstance(value, (list, tuple)) else [value]
            words += [option(name), *map(str, values)]
    return words


def again(words: list[str], drawn: Mapping[str, t.Any]) -> str:
    """Return a command line that has what --strange drew in place of --strange."""
    kept = [
        word
        for before, word in itertools.pairwise(["", *words])
        if "--strange" not in {before, word} and not word.startswith("--strange=")
    ]
    return shlex.join([*kept, *as_options(drawn)])


def instant(text: str) -> dt.datetime:
    """Read a time; UTC unless it says otherwise."""
    when = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return when if when.tzinfo else when.replace(tzinfo=dt.timezone.utc)


def seeds(args: argparse.Namespace) -> Iterable[Entry]:
    """Return the entries that the command line asks for."""
    options = ("days", "until", "seed", "burst_share", "ties", "spelling")
    entries = generated(args.records, **{name: getattr(args, name) for name in options})
    strangers = {"repeats": args.repeats, "empty_phones": args.empty_phones, "unusable_entries": args.unusable}
    if not any(strangers.values()):
        return entries
    kept = list(entries)
    return kept + odd(kept, seed=args.seed, **strangers)


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    args = arguments()
    # Not an Event: a signal that comes just before the wait begins sets it only when another one ends the wait.
    stopped, stop = socket.socketpair()
    stop.settimeout(0)
    signal.set_wakeup_fd(stop.fileno())
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: None)
    drawn = {} if args.strange is None else strange(args.strange)
    behaviour = {name: coerced(name, getattr(args, name)) for name in DEFAULTS if hasattr(args, name)}
    drawn = {name: value for name, value in drawn.items() if name not in behaviour}
    behaviour = {"detect_spelling": "plus" if args.spelling == "mixed" else args.spelling, **drawn, **behaviour}
    behaviour["latency"] = args.latency_ms / 1000
    where = {name: getattr(args, name) for name in ("host", "port", "seed", "api_key")}
    try:
        simulator = Simulator(seeds(args), **where, **behaviour)
    except OSError as error:
        sys.exit(f"port {args.port}: {error.strerror}")
    with simulator as braze:
        if args.port_file:
            draft = args.port_file.with_name(args.port_file.name + ".part")
            draft.write_text(f"{braze.port}\n", encoding="ascii")
            draft.replace(args.port_file)  # A reader sees the whole number or no file.
        start, end = ((braze.now() + days * DAY).date() for days in (-30, 1))
        print(f"Braze simulator: {braze.url}  (api key: {args.api_key}, {args.records} records)", flush=True)  # noqa: T201
        print(  # noqa: T201
            f"curl -H 'Authorization: Bearer {args.api_key}'"
            f" '{braze.url}{LIST_PATH}?start_date={start}&end_date={end}&limit=5'",
            flush=True,
        )
        if args.strange is not None:
            print(f"Again: {again(['python', '-m', 'braze_simulator', *sys.argv[1:]], drawn)}", flush=True)  # noqa: T201
        stopped.recv(1)
