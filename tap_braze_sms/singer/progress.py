"""Progress: how far a long run has got, in a log line now and then or one live line on a terminal."""

from __future__ import annotations

import logging
import math
import shutil
import sys
import time
import typing as t

from typing_extensions import Self, override

from tap_braze_sms.reading import timestamps

if t.TYPE_CHECKING:
    from collections.abc import Callable

    from tap_braze_sms.braze.client import BrazeClient

#: Seconds between log lines, and between looks of the live line.
EVERY, EVERY_LIVE = 10.0, 0.5

#: Below this fraction of the work, what is left of it is anyone's guess.
LEAST_FRACTION = 0.02

_BACK_TO_AN_EMPTY_LINE = "\r\x1b[2K"


def pluralize(number: int, noun: str) -> str:
    """Say how many there are of something, as people do."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Progress(logging.Filter):
    """Reports how far some work is, from when this is made on. Used from one thread.

    Args:
        logger: Takes the lines.
        client: Makes the requests of the work.
        fraction_done: Returns the part of the work that is done, from 0 to 1.
        clock: Returns seconds.
    """

    def __init__(
        self,
        logger: logging.Logger,
        client: BrazeClient,
        *,
        fraction_done: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        #: Records emitted.
        self.records = 0
        self._logger = logger
        self._fraction_done = fraction_done
        self._client = client
        self._before = client.request_count
        self._clock = clock
        self._began = self._last_report = clock()
        # In a scheduler's log, a line drawn over and over would be one line without end.
        self._is_live = sys.stderr.isatty() and not sys.stdout.isatty()

    def __enter__(self) -> Self:
        """Make log lines clear away the live line before them."""
        for handler in logging.getLogger().handlers:
            handler.addFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Take the live line away, and report nothing more: a loader may still be waited for."""
        self._last_report = math.inf
        for handler in logging.getLogger().handlers:
            handler.removeFilter(self)
        self._draw("")

    def report(self) -> None:
        """Report, if it is time to."""
        now = self._clock()
        if now - self._last_report < (EVERY_LIVE if self._is_live else EVERY):
            return
        self._last_report = now
        if self._is_live:
            columns = shutil.get_terminal_size().columns
            self._draw(str(self)[: columns - 1])
        else:
            self._logger.info("%s", str(self))

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        self._draw("")
        return True

    def __str__(self) -> str:
        """Say how far the work is."""
        fraction_done, left = self._fraction_done(), self._client.requests_remaining
        # First what matters most: a terminal may be too narrow for all.
        parts = ["all read" if fraction_done >= 1 else f"{fraction_done:.0%} read"]
        if LEAST_FRACTION <= fraction_done < 1:
            parts.append(
                f"about {timestamps.format_duration(self._seconds * (1 - fraction_done) / fraction_done)} to go"
            )
        parts += [f"{pluralize(self.records, 'record')} written", self._request_rate]
        if left is not None:
            parts.append(f"{left} more before the rate limit pauses")
        return ", ".join(parts)

    @property
    def summary(self) -> str:
        """What the work has taken."""
        return f"{self._request_rate}, {self._seconds:.1f} s"

    @property
    def _seconds(self) -> float:
        return max(0.001, self._clock() - self._began)

    @property
    def _request_rate(self) -> str:
        requests = self._client.request_count - self._before
        # Of a moment, a rate says nothing.
        rate = f" ({requests / self._seconds:.0f} a second)" if self._seconds >= 1 else ""
        return pluralize(requests, "request") + rate

    def _draw(self, text: str) -> None:
        if not self._is_live:
            return
        try:
            sys.stderr.write(_BACK_TO_AN_EMPTY_LINE + text)
            sys.stderr.flush()
        except (OSError, ValueError):
            self._is_live = False  # the terminal was closed; the work goes on without it
