"""Windows: the stretches of days a range is asked for in, oldest first.

Braze names days, not instants (``start_date``, ``end_date``: YYYY-MM-DD). Its documents
disagree on whether ``end_date`` includes that day, so a window only ever *keeps* the
records from its first day's midnight up to its end's, whatever more is returned; the
windows of a range touch and never overlap.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from tap_braze_sms.reading import timestamps

#: Width of a window when nothing is known of the list yet. Two days hold what a
#: scheduled run reads again, midnight between its bookmark and now included.
FIRST_DAYS = 2

#: Records a window aims at: some tens of full pages. More would be held, and read again
#: after a kill; fewer would spend a part-filled last page more often.
WINDOW_RECORDS = 20_000

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of whole days, and which of its instants are wanted."""

    #: First day asked for.
    first: dt.date
    #: Days asked for, at least one.
    days: int
    #: Earliest wanted instant, inclusive, in the fixed form.
    since: str
    #: Latest wanted instant, exclusive; None: whatever Braze returns.
    until: str | None

    @property
    def last(self) -> dt.date:
        """The last day of the window."""
        return self.first + (self.days - 1) * _DAY

    @property
    def end(self) -> str:
        """The midnight after the last day."""
        return timestamps.midnight(self.last + _DAY)

    def dates(self, *, assume_end_inclusive: bool) -> tuple[str, str]:
        """Name the window as Braze's ``start_date`` and ``end_date``.

        Args:
            assume_end_inclusive: Braze has been seen to count ``end_date`` in. A single day is
                then asked with the day before it, since ``start_date`` must be earlier;
                the list is newest first, so reading stops before that day begins.
        """
        if not assume_end_inclusive:
            return self.first.isoformat(), (self.last + _DAY).isoformat()
        first = self.first if self.days > 1 else self.first - _DAY
        return first.isoformat(), self.last.isoformat()

    def split(self, widest: int) -> list[Window]:
        """Return windows of at most so many days that together are this one."""
        parts: list[Window] = []
        first = self.first
        while first <= self.last:
            days = min(widest, (self.last - first).days + 1)
            end = timestamps.midnight(first + days * _DAY)
            is_last = first + days * _DAY > self.last
            since = max(self.since, timestamps.midnight(first))
            parts.append(Window(first, days, since, self.until if is_last else end))
            first += days * _DAY
        return parts

    def __str__(self) -> str:
        """Name the window in messages."""
        return f"window {self.first} to {self.last}"


class RangeLimit:
    """How many days of a range Braze takes, as far as it has refused any."""

    def __init__(self) -> None:
        #: Days of the widest window that was taken.
        self.taken = 0
        #: Whether any was refused.
        self.is_known = False

    def accept(self, days: int) -> None:
        """Note that a window of so many days is taken."""
        self.taken = max(self.taken, days)

    def narrow(self, days: int) -> int:
        """Note that a window of so many days is refused; return how many to ask for instead."""
        self.is_known = True
        self.taken = min(self.taken, days // 2)
        return days // 2

    def has_to_be_tried(self, days: int) -> bool:
        """Whether nothing is known of windows of so many days, after wider ones were refused."""
        return self.is_known and days > self.taken


class Planner:
    """Cuts a range into windows, each as wide as the records just read suggest.

    Args:
        since: Earliest wanted instant, inclusive.
        until: Latest wanted instant, exclusive; None: as late as Braze has any.
        today: The current day in UTC; nothing later is asked for.
        widest: Most days in one window.
    """

    def __init__(
        self,
        since: dt.datetime,
        until: dt.datetime | None,
        *,
        today: dt.date,
        widest: int,
    ) -> None:
        self._since = timestamps.format_utc(since)
        self._until = None if until is None else timestamps.format_utc(until)
        self._next = since.astimezone(timestamps.UTC).date()
        self._last = today
        if until is not None:
            instant = until.astimezone(timestamps.UTC) - dt.timedelta(microseconds=1)
            self._last = min(today, instant.date())
            if until <= since:
                self._last = self._next - _DAY
        #: Most days in one window.
        self.widest = widest
        #: Days in the whole range.
        self.days = max(0, (self._last - self._next).days + 1)
        #: Records a day in the window read last; None before the first.
        self.density: float | None = None

    def learn(self, window: Window, records: int) -> None:
        """Take in how many records a window held."""
        self.density = records / window.days

    def next(self) -> Window | None:
        """Return the next window, or None when the range is covered."""
        left = (self._last - self._next).days + 1
        if left <= 0:
            return None
        days = min(self._fitting_days(), left)
        first = self._next
        self._next = first + days * _DAY
        end = timestamps.midnight(self._next)
        return Window(
            first=first,
            days=days,
            since=max(self._since, timestamps.midnight(first)),
            # The last window has no upper bound of its own: a clock ahead of ours may
            # have put records into its tomorrow.
            until=end if self._next <= self._last else self._until,
        )

    def _fitting_days(self) -> int:
        if self.density is None:
            days = FIRST_DAYS
        elif self.density == 0:
            days = self.widest
        else:
            days = int(WINDOW_RECORDS / self.density)
        return max(1, min(days, self.widest))
