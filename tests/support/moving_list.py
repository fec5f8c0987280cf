"""A model of Braze's list that moves: the truth that readings are compared with."""

from __future__ import annotations

import bisect
import datetime as dt
import random
import typing as t

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.page import Page, Row
from tap_braze_sms.reading.windows import Window

if t.TYPE_CHECKING:
    from tap_braze_sms.reading.page_planner import PageRequest
    from tap_braze_sms.reading.window_reader import WindowReader


class Answering(t.Protocol):
    """A model of a list that answers requests and counts them."""

    requests: int

    def answer(self, dates: tuple[str, str], offset: int, limit: int) -> Page:
        """Answer one request."""


def identify(row: Row) -> tuple[str, str]:
    """What makes rows of this model one record."""
    return row[1].lstrip("+"), row[0]


DAY = dt.date(2026, 3, 2)


class MovingList:
    """Rows in descending order of time, changed at random between answers.

    Knows nothing of pages: it only tells what stood where at the instant it was asked.
    """

    def __init__(
        self,
        seed: int,
        *,
        records: int,
        days: int = 1,
        instants: int = 1_000_000,
        moves: float = 0.0,
        kinds: str = "insert remove shuffle",
        end_included: bool = False,
        overshoot: dt.timedelta = dt.timedelta(0),
        largest_burst: int = 1,
        most_moves: int = 500,
    ) -> None:
        self.random = random.Random(seed)
        self.days = days
        self.instants = instants
        self.moves = moves
        self.kinds = kinds.split()
        self.end_included = end_included
        #: How much later than it says it gives records: rounding, another zone, an end that counts for nothing.
        self.overshoot = overshoot
        self.largest_burst = largest_burst
        self.moves_left = most_moves
        self.requests = 0
        #: Newest first: how far before the end, and the row.
        self.list: list[tuple[int, Row]] = []
        #: Everything that ever was on the list.
        self.ever: set[Row] = set()
        for _ in range(records):
            self.insert()
        #: On the list since the beginning and never off it.
        self.throughout = set(self.ever)

    @property
    def rows(self) -> list[Row]:
        return [row for _, row in self.list]

    def insert(self) -> None:
        tick = self.random.randrange(self.instants)
        seconds = self.days * 86_400 * tick / self.instants
        moment = dt.datetime.combine(DAY, dt.time(), timestamps.UTC) + dt.timedelta(seconds=seconds)
        number = len(self.ever)
        spelled = f"{'+' if number % 3 else ''}1212555{number:06}"
        row: Row = (timestamps.format_utc(moment), spelled, self.random.choice(["provider_error", None]))
        low = bisect.bisect_left(self.list, -tick, key=_age)
        high = bisect.bisect_right(self.list, -tick, key=_age)
        self.list.insert(self.random.randint(low, high), (-tick, row))
        self.ever.add(row)

    def remove(self) -> None:
        if self.list:
            _, row = self.list.pop(self.random.randrange(len(self.list)))
            self.throughout.discard(row)

    def shuffle(self) -> None:
        self.random.shuffle(self.list)
        self.list.sort(key=_age)

    def move(self) -> None:
        while self.moves_left > 0 and self.random.random() < self.moves:
            kind = self.random.choice(self.kinds)
            for _ in range(self.random.randint(1, self.largest_burst)):
                getattr(self, kind)()
                self.moves_left -= 1

    def answer(self, dates: tuple[str, str], offset: int, limit: int) -> Page:
        """Answer one request, after some movement."""
        self.move()
        self.requests += 1
        end = dt.datetime.fromisoformat(dates[1]) + dt.timedelta(days=int(self.end_included)) + self.overshoot
        low, high = dates[0], end.isoformat()
        first, behind = (
            bisect.bisect_left(self.list, x=True, key=lambda item: item[1][0] < time) for time in (high, low)
        )
        shown = self.list[first + offset : min(first + offset + limit, behind)]
        return Page.of([row for _, row in shown], offset=offset, limit=limit)

    @property
    def window(self) -> Window:
        """The window of all days of the list."""
        return Window(first=DAY, days=self.days, since=timestamps.midnight(DAY), until=None)


def _age(item: tuple[int, Row]) -> int:
    return item[0]


def answer_in_any_order(reader: WindowReader, listed: Answering, *, parallel: int, seed: int, most: float) -> None:
    """Read a window to its end, answers coming in any order; fail where it has none."""
    order = random.Random(seed)
    asked: list[PageRequest] = []
    answered: list[tuple[PageRequest, Page]] = []
    while not reader.done:
        while len(asked) + len(answered) < parallel and (
            request := reader.next_request() or reader.next_request(speculative=True)
        ):
            asked.append(request)
        assert asked or answered, "nothing in flight, and not done"
        assert listed.requests < most, "no end"
        if asked and (not answered or order.random() < 0.6):
            request = asked.pop(order.randrange(len(asked)))
            answered.append((request, listed.answer(reader.dates, request.offset, request.limit)))
        else:
            reader.add_page(*answered.pop(order.randrange(len(answered))))


def assert_true_to(moving: MovingList, rows: list[Row], *, since: str = "", until: str = "9") -> None:
    """Check promises 1 to 4 on what was emitted."""
    keys = [(row[0], row[1].lstrip("+")) for row in rows]
    lost = {row for row in moving.throughout if since <= row[0] < until} - set(rows)
    assert not lost, f"{len(lost)} lost of {len(moving.throughout)}: {sorted(lost)[:3]}"
    assert len(keys) == len(set(keys)), "emitted twice"
    assert [row[0] for row in rows] == sorted(row[0] for row in rows), "out of order"
    assert set(rows) <= moving.ever, "emitted something that never was"
    assert all(since <= row[0] < until for row in rows), "outside the range"
