"""The checkpoint: where a run begins, and what the next one may build on.

State is one plain Singer bookmark; beside it how far the list is off its order of time, if it is, and up to where
older days were read again, if they are.
The bookmark says: everything detected before it has been handed to the loader. It never
moves back, never points into the future, and moves on through months in which nothing was
detected.
"""

from __future__ import annotations

import datetime as dt
import math
import typing as t
from dataclasses import dataclass

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import UnusableInputError
from tap_braze_sms.reading.time_order import EXACT, TimeOrder

if t.TYPE_CHECKING:
    import logging

KEY, VALUE = "replication_key", "replication_key_value"

#: Beside the bookmark, and only where the list was seen not to be in order of time: by how many seconds it was off.
DISORDER = "disorder_seconds"

#: Beside the bookmark, and only where older days are read again: the next one of them.
REREAD = "reread_from"

#: Braze advises to allow five minutes between a change and a call that relies on it.
SETTLING = dt.timedelta(minutes=5)

#: A skew of our clock that is no matter of rounding and of slow answers.
LEAST_SKEW = dt.timedelta(minutes=1)


def check(state: object, stream: str, replication_key: str) -> None:
    """Refuse a state that this stream could only misread.

    Raises:
        UnusableInputError: says what is wrong and how to begin anew.
    """
    if problem := _problem(state, stream, replication_key):
        msg = (
            f"state: {problem}; give the state of an earlier run of this tap, or none to read everything from "
            "start_date (with Meltano: meltano state clear, or run --full-refresh)"
        )
        raise UnusableInputError(msg)


def _problem(state: object, stream: str, replication_key: str) -> str | None:
    # What has no bookmarks at all is a whole STATE message, or Meltano's record of one: to
    # take it for a first run would read everything again without a word.
    bookmarks = state.get("bookmarks", None if state else {}) if isinstance(state, dict) else None
    if not isinstance(bookmarks, dict):
        return "it is not an object with bookmarks"
    for name, kept in bookmarks.items():
        if not isinstance(kept, dict):
            return f"the bookmark of {name} is not an object"
    bookmark = bookmarks.get(stream, {})
    if bookmark.get("partitions"):
        return f"{stream} is kept in partitions, which this tap never wrote or no longer writes"
    if bookmark.get(KEY, replication_key) != replication_key:
        return f"{stream} has the replication key {bookmark[KEY]!r} instead of {replication_key!r}"
    value = _value(bookmark, replication_key)
    try:
        if value is not None:
            timestamps.parse(value)
    except ValueError:
        return f"the bookmark of {stream} is not a time: {value!r}"
    return None


def _value(bookmark: dict[str, t.Any], replication_key: str) -> t.Any:  # noqa: ANN401 (whatever was given)
    """Return what a bookmark says, also one as taps wrote it before the SDK: the field's name and its value."""
    return bookmark.get(VALUE, bookmark.get(replication_key))


@dataclass
class Checkpoint:
    """The bookmark of one stream during one run, which begins from a state that was checked before."""

    #: The stream's own; changed in place as the run goes on.
    state: dict[str, t.Any]
    #: Name of the field the bookmark is a value of.
    replication_key: str
    #: Earliest instant ever wanted.
    start: dt.datetime
    #: Earliest instant not wanted; None: up to now.
    end: dt.datetime | None
    #: How far before the bookmark is read again.
    lookback: dt.timedelta
    #: When the run began.
    now: dt.datetime
    #: Told about a bookmark that had to be mended.
    logger: logging.Logger

    def __post_init__(self) -> None:
        """Find where this run begins, and mend what cannot be gone on from."""
        settled = self.now - SETTLING
        self._ceiling = timestamps.format_utc(min(self.end or settled, settled))
        #: Earliest instant this run reads, inclusive.
        self.since = self.start
        value = _value(self.state, self.replication_key)
        disorder = self.state.get(DISORDER)
        #: How earlier runs saw the list descend by time.
        self.known_order = TimeOrder(0, float(disorder)) if isinstance(disorder, (int, float)) else EXACT
        reread = self.state.get(REREAD)
        # What the SDK keeps beside a bookmark while a run goes on is of no use.
        self.state.clear()
        if value is None:
            return
        bookmark = timestamps.parse(value)
        if bookmark > self.now:
            self.logger.warning(
                "The bookmark %s lies in the future; going back to %s. What was detected while a clock was wrong may "
                "be missing: a run without state (with Meltano: --full-refresh) reads everything again",
                value,
                self._ceiling,
            )
            bookmark = timestamps.parse(self._ceiling)
        if bookmark > self.start:
            self.since = bookmark - min(self.lookback, bookmark - self.start)
        self.state.update({KEY: self.replication_key, VALUE: timestamps.format_utc(bookmark)})
        self.note_order(self.known_order)
        if isinstance(reread, str):
            self.state[REREAD] = reread

    def days_to_reread(self, days: int) -> tuple[dt.datetime, dt.datetime] | None:
        """Return the stretch of older days that is the next to be read again: its first instant, and the one behind it.

        Args:
            days: Days in it, as far as there are as many up to where this run begins; 0: none.
        """
        if not days or self.since <= self.start:
            return None
        try:
            begin = max(self.start, timestamps.parse(self.state.get(REREAD, "")))
        except ValueError:
            begin = self.start
        if begin >= self.since:
            begin = self.start
        midnight = begin.astimezone(timestamps.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return begin, min(self.since, midnight + min(dt.timedelta(days=days), self.since - midnight))

    def note_reread(self, reached: str) -> None:
        """Note that the older days before an instant, in the fixed form, were read again; then begin anew."""
        if reached >= timestamps.format_utc(self.since):
            self.state.pop(REREAD, None)
        else:
            self.state[REREAD] = reached[: len("2026-03-01")]

    @property
    def bookmark(self) -> str | None:
        """The instant before which everything is handed over; None before the first."""
        return self.state.get(VALUE)

    def cap_at_server_clock(self, skew: dt.timedelta) -> None:
        """Allow for a clock of ours that is ahead of Braze's: its future would be skipped by the next run."""
        if skew > LEAST_SKEW and (ceiling := timestamps.format_utc(self.now - SETTLING - skew)) < self._ceiling:
            self.logger.warning(
                "This machine's clock is %s ahead of Braze's; the bookmark stays behind Braze's",
                timestamps.format_duration(skew.total_seconds()),
            )
            self._ceiling = ceiling

    def note_order(self, order: TimeOrder) -> None:
        """Keep how far the list is off, so that no later run stops at a bookmark too early."""
        if order.disorder > self.state.get(DISORDER, 0):
            self.state[DISORDER] = math.ceil(order.disorder)

    def advance(self, moment: str) -> None:
        """Note that everything before an instant, in the fixed form, is handed over."""
        bookmark = min(moment, self._ceiling)
        if bookmark > (self.bookmark or ""):
            self.state.update({KEY: self.replication_key, VALUE: bookmark})
