"""Every small list with every few changes: what chance may take long to draw.

A reader knows only its answers. So it is followed along every sequence of answers that differ, once each, together
with all states the list may be in by then: whichever changes led there, and in whichever order.
"""

from __future__ import annotations

import datetime as dt
import functools
import io
import itertools
import pickle
import typing as t
from collections import defaultdict
from dataclasses import dataclass, field

from simulation.world import FIRST_DAY, START, identify
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import NeverAtRestError
from tap_braze_sms.reading.page import Page
from tap_braze_sms.reading.window_reader import WindowReader
from tap_braze_sms.reading.windows import Window

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_braze_sms.reading.page import Row

    #: The time of an entry, in units that leave room between any two, and its number.
    Small = tuple[int, int]

#: Units between the times of neighbours; halved by each that is put between them.
APART = 64

#: Numbers of entries that arrive into an instant, and of those that have one of their own.
ARRIVED, FURTHER = 100, 5_000

#: Requests after which a reading will not end.
MOST_REQUESTS = 200


@dataclass(frozen=True, slots=True)
class State:
    """What the list may be like at some point of a reading."""

    #: Newest first.
    listed: tuple[Small, ...]
    #: What was on the list throughout.
    stayed: frozenset[Small]
    changes: int
    #: How many of the changes are arrivals.
    arrived: int = 0
    #: What of the changes together cannot be told apart from a list at rest.
    shuffled: bool = False
    removed: bool = False

    @property
    def alike(self) -> t.Any:  # noqa: ANN401 (a key)
        """All but the number of changes."""
        return self.listed, self.stayed, self.arrived, self.shuffled, self.removed

    def next_states(self) -> Iterator[State]:
        """Yield what one change more makes of it."""
        for at, gone in enumerate(self.listed):
            yield self._changed([*self.listed[:at], *self.listed[at + 1 :]], removed=True, gone=gone)
        times = {time for time, _ in self.listed}
        for at in range(len(self.listed) + 1):
            newer = self.listed[at - 1][0] if at else None
            older = self.listed[at][0] if at < len(self.listed) else None
            for time in _times_between(newer, older):
                # The same name, whatever it was put in after: so there are fewer lists to tell apart.
                number = ARRIVED + (self.arrived if time in times else FURTHER + time)
                yield self._changed([*self.listed[:at], (time, number), *self.listed[at:]], arrived=1)
        for one, other in itertools.combinations(range(len(self.listed)), 2):
            if self.listed[one][0] == self.listed[other][0]:
                swapped = list(self.listed)
                swapped[one], swapped[other] = swapped[other], swapped[one]
                yield self._changed(swapped, shuffled=True)

    def _changed(
        self,
        listed: list[Small],
        *,
        gone: Small | None = None,
        arrived: int = 0,
        shuffled: bool = False,
        removed: bool = False,
    ) -> State:
        return State(
            tuple(listed),
            self.stayed - {gone} if gone in self.stayed else self.stayed,
            self.changes + 1,
            self.arrived + arrived,
            self.shuffled or shuffled,
            self.removed or removed,
        )


def _times_between(newer: int | None, older: int | None) -> set[int]:
    """Return the times that an entry between two others may have: one of its own, or that of either."""
    if newer is None and older is None:
        return {0}
    if newer is None or older is None:
        beside = t.cast("int", newer if older is None else older)
        return {beside, beside + (APART if newer is None else -APART)}
    return {newer, older, (newer + older) // 2} if newer - older > 1 else {newer, older}


def small_lists(entries: int) -> Iterator[tuple[Small, ...]]:
    """Yield all lists of so many entries: each may share its time with the one before."""
    for ties in itertools.product([False, True], repeat=max(0, entries - 1)):
        times = [0]
        for tie in ties:
            times.append(times[-1] - (0 if tie else APART))
        yield tuple((time, number) for number, time in enumerate(times[:entries]))


@dataclass
class Result:
    """What following all readings of some lists came to."""

    lists: int = 0
    #: Readings that differ in their answers, and of those that ended: what their lists may have been like.
    answers: int = 0
    states: int = 0
    #: What was lost though it stayed, or read without an end, in words; and what the ties' documents say is not proven.
    lost: list[str] = field(default_factory=list)
    unprovable: int = 0

    def add(self, other: Result) -> None:
        """Add what following further lists came to."""
        self.lists += other.lists
        self.answers += other.answers
        self.states += other.states
        self.lost += other.lost
        self.unprovable += other.unprovable

    def __str__(self) -> str:
        """Sum up."""
        return (
            f"{self.lists} lists, {self.answers} different answers, {self.states} ends: {len(self.lost)} lost, "
            f"{self.unprovable} that cannot be told apart from a list at rest"
        )


class Exhaustive:
    """Follows every reading of small lists.

    Args:
        changes: Most changes while a list is read.
        page_size: Records of an answer.
        largest: Most records that the reader asks for.
    """

    def __init__(self, *, changes: int, page_size: int = 2, largest: int = 2) -> None:
        self._changes = changes
        self._page_size = page_size
        self._largest = largest
        self._result = Result()

    def follow(self, listed: tuple[Small, ...]) -> Result:
        """Follow every reading of one list."""
        self._result = Result(lists=1)
        window = Window(
            FIRST_DAY - dt.timedelta(days=1), 3, timestamps.midnight(FIRST_DAY - dt.timedelta(days=1)), None
        )
        reader = WindowReader(window, identify=identify, page_size=self._page_size, largest=self._largest)
        self._follow(reader, {State(listed, frozenset(listed), 0)}, [])
        return self._result

    def _follow(self, reader: WindowReader, states: set[State], pages: list[Page]) -> None:
        if reader.done:
            self._check(reader, states, pages)
            return
        request = reader.next_request() or reader.next_request(speculative=True)
        if request is None or len(pages) > MOST_REQUESTS:
            self._result.lost.append(f"no end after {_told(pages)}")
            return
        by_answer: defaultdict[tuple[Small, ...], set[State]] = defaultdict(set)
        # Before the first answer, whatever changes makes another list of those that are followed.
        for state in self._changed(states) if pages else states:
            by_answer[state.listed[request.offset : request.offset + request.limit]].add(state)
        # What never changes is shared by all that follow.
        copies = _Copies(reader, [*pages, reader.window]) if len(by_answer) > 1 else None
        for left, (answer, possible) in enumerate(by_answer.items(), 1 - len(by_answer)):
            self._result.answers += 1
            follower = copies.make() if copies and left else reader
            page = _page(answer, request.offset, request.limit)
            try:
                follower.add_page(request, page)
            except NeverAtRestError:
                self._result.lost.append(f"never at rest after {_told([*pages, page])}")
            else:
                self._follow(follower, possible, [*pages, page])

    def _changed(self, states: set[State]) -> set[State]:
        """Return what some states may be before the next answer; of those alike, the one with the fewest changes."""
        new = {state.alike: state for state in states}
        reached = dict(new)
        while new:
            later: dict[t.Any, State] = {}
            for state in new.values():
                for changed in state.next_states() if state.changes < self._changes else ():
                    known = reached.get(changed.alike)
                    if known is None or known.changes > changed.changes:
                        reached[changed.alike] = later[changed.alike] = changed
            new = later
        return set(reached.values())

    def _check(self, reader: WindowReader, states: set[State], pages: list[Page]) -> None:
        rows = [row for part in reader.rows() for row in part]
        moments = [row[0] for row in rows]
        if len(rows) != len(set(rows)) or moments != sorted(moments):
            self._result.lost.append(f"given on twice or out of order after {_told(pages)}")
        found = set(rows)
        for state in states:
            self._result.states += 1
            lost = [entry for entry in state.stayed if _row(entry) not in found]
            if not lost:
                continue
            met = found | {_row(entry) for entry in lost}
            crowd = max(sum(row[0] == _row(entry)[0] for row in met) for entry in lost)
            # One that moves to exactly where another has left, in an instant that no page can hold.
            if state.shuffled and state.removed and crowd >= self._largest:
                self._result.unprovable += 1
            else:
                self._result.lost.append(f"{lost} lost of {sorted(state.stayed)} after {_told(pages)}")


class _Copies:
    """Makes copies of a reader, at a third of the time that `copy.deepcopy` takes.

    Args:
        reader: What to copy.
        shared: What all copies have in common.
    """

    def __init__(self, reader: WindowReader, shared: list[Page | Window]) -> None:
        self._shared = shared
        numbers = {id(known): number for number, known in enumerate(shared)}
        written = io.BytesIO()
        pickler = pickle.Pickler(written, pickle.HIGHEST_PROTOCOL)
        pickler.persistent_id = lambda known: numbers.get(id(known))  # type: ignore[method-assign]
        pickler.dump(reader)
        self._written = written.getvalue()

    def make(self) -> WindowReader:
        """Return one more copy."""
        unpickler = pickle.Unpickler(io.BytesIO(self._written))  # noqa: S301 (what was written above)
        unpickler.persistent_load = self._shared.__getitem__  # type: ignore[method-assign]
        return t.cast("WindowReader", unpickler.load())


@functools.lru_cache(100_000)
def _page(answer: tuple[Small, ...], offset: int, limit: int) -> Page:
    return Page.of(list(map(_row, answer)), offset=offset, limit=limit)


def _told(pages: list[Page]) -> str:
    """Say what was answered: the seconds of the times, and the numbers."""
    answers = ((page, [f"{row[1][8:]} at {row[0][11:19]}" for row in page.rows()]) for page in pages)
    return "; ".join(f"{page.offset} + {page.limit}: {', '.join(rows) or 'nothing'}" for page, rows in answers)


@functools.cache
def _row(entry: Small) -> Row:
    time, number = entry
    return timestamps.format_utc(START + dt.timedelta(seconds=43_200 + time)), f"+1212555{number:05}", None
