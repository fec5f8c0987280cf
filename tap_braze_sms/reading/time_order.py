"""Time order: how precisely a list descends by the times that its records show.

Braze's documents say "descending order" and name no key. A list may be sorted by more than it shows (times cut to
seconds, to minutes), or by another time than the one it shows, minutes or hours off, or by something else altogether.
All of that is read off the pages: each tells how far a record stood behind an older one.
"""

from __future__ import annotations

import datetime as dt
import typing as t
from dataclasses import dataclass, field

from tap_braze_sms.reading import timestamps

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


#: Characters of a whole time.
MICROSECOND = len("2026-03-01T04:05:06.789000+00:00")

#: Characters to which times may have been cut before a list was sorted by them, and how many seconds one such cut
#: stands for. In no order down to a day: 0 characters, which all times share.
PRECISIONS = {
    MICROSECOND: 0.0,
    timestamps.SECOND: 1.0,
    len("2026-03-01T04:05"): 60.0,
    len("2026-03-01T04"): 3_600.0,
    len("2026-03-01"): 86_400.0,
    0: float("inf"),
}

#: A page proves what lies further from its ends than this many times the largest disorder that was seen, and a second
#: at least: what was seen of a list is rarely the most there is.
MARGIN, LEAST_MARGIN = 2.0, 1.0


class _Stretch(t.Protocol):
    """What is needed of a page here."""

    @property
    def offset(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def newest(self) -> str: ...
    @property
    def oldest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class TimeOrder:
    """How a list descends by time, as far as some of its pages show it."""

    #: Characters to which times have to be cut to be in descending order.
    precision: int = MICROSECOND
    #: Most seconds by which a record was newer than one before it.
    disorder: float = 0.0
    #: Seconds from the ends of a page within which it proves nothing; 0 where times that are cut are in order.
    margin: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Derive the margin, once: it is asked for more often than anything else."""
        margin = max(LEAST_MARGIN, MARGIN * self.disorder)
        # The way to set what is frozen.
        object.__setattr__(self, "margin", 0.0 if PRECISIONS[self.precision] <= margin * MARGIN else margin)

    @classmethod
    def of(cls, times: list[str]) -> TimeOrder:
        """Return the order of times in the fixed form, in the order of the list."""
        if sorted(times, reverse=True) == times:  # the fastest way to ask: nearly always it is so
            return EXACT
        for precision in [*PRECISIONS][1:]:
            cut = [time[:precision] for time in times]
            if all(map(str.__ge__, cut, cut[1:])):
                break
        return cls(precision, _disorder(times))

    def combined(self, other: TimeOrder) -> TimeOrder:
        """Return the order of a list of which one part shows this order and another part that."""
        if other is EXACT or other == self:
            return self
        return TimeOrder(min(self.precision, other.precision), max(self.disorder, other.disorder))

    def allowing_for(self, pages: Iterable[_Stretch]) -> TimeOrder:
        """Return the order of a list of which these are pages, as they stand to each other as well.

        A list that ascends is off by no more than the span of a page within each of them, and by all of its span
        across them. One that shows no disorder within any page is not doubted: what arrives moves later pages up.
        """
        if self.precision >= timestamps.SECOND:
            return self
        disorder = _disorder_across(pages)
        return self if disorder <= MARGIN * max(LEAST_MARGIN, self.disorder) else TimeOrder(0, disorder)

    def key(self, time: str) -> str:
        """Return a time as far as the list is sorted by it."""
        return time if self.margin else time[: self.precision]

    def later(self, time: str, seconds: float) -> str:
        """Return the time that is some seconds later, negative: earlier, where a margin is to be kept."""
        if not self.margin:
            return self.key(time)
        try:
            return timestamps.format_utc(timestamps.parse(time) + dt.timedelta(seconds=seconds))
        except OverflowError:
            return "" if seconds < 0 else "\uffff"

    def is_shown_by(self, newest: str, oldest: str) -> bool:
        """Whether a list surely descends if a record stands before an older one; one instant, say, is in any order."""
        return self.later(oldest, 2 * self.margin) < self.key(newest)

    def __str__(self) -> str:
        """Name the order in messages."""
        if self.precision == MICROSECOND:
            return "newest first"
        if self.margin:
            return f"newest first but for {timestamps.format_duration(self.disorder)}"
        return f"newest first by the {_NAMES[self.precision]}"


EXACT = TimeOrder()

_NAMES = dict(zip(PRECISIONS, ("microsecond", "second", "minute", "hour", "day", ""), strict=True))


def _disorder(times: Sequence[str]) -> float:
    """Return by how many seconds a time is newer than one before it, at the most."""
    most = 0.0
    oldest = newest = times[0]
    for time in [*times, ""]:
        if time < oldest:
            # The newest that came since is what counts of all behind the oldest so far.
            if newest > oldest:
                most = max(most, (timestamps.parse(newest) - timestamps.parse(oldest)).total_seconds())
            oldest = newest = time
        elif time > newest:
            newest = time
    return most


def _disorder_across(pages: Iterable[_Stretch]) -> float:
    """Return by how many seconds a page is newer than one that ends before it begins, at the most."""
    most = 0.0
    starts = sorted((page for page in pages if page.count), key=lambda page: page.offset)
    ends = sorted(starts, key=lambda page: page.offset + page.count)
    oldest, passed = "", 0
    for page in starts:
        while ends[passed].offset + ends[passed].count <= page.offset:
            oldest = min(oldest or ends[passed].oldest, ends[passed].oldest)
            passed += 1
        if oldest and page.newest > oldest:
            most = max(most, (timestamps.parse(page.newest) - timestamps.parse(oldest)).total_seconds())
    return most
