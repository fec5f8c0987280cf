"""Lookups: which of given numbers are on the list, however Braze spells and compares them, and however few it shows."""

from __future__ import annotations

import functools
import itertools
import threading
import typing as t
from operator import itemgetter

from tap_braze_sms.braze.client import LARGEST_REMOVAL
from tap_braze_sms.braze.errors import BAD_REQUEST, RequestRefusedError
from tap_braze_sms.braze.lists import INVALID_PHONE_NUMBERS
from tap_braze_sms.braze.phone_numbers import normalize
from tap_braze_sms.braze.spellings import BARE, PLUS, Spellings, spell
from tap_braze_sms.reading.errors import RetryableError

if t.TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Sequence

    from tap_braze_sms.braze.client import BrazeClient
    from tap_braze_sms.braze.spellings import Way
    from tap_braze_sms.reading.page import Row

#: Texts of one request. Braze documents no maximum; this is what it takes in one removal, and keeps addresses short
#: enough for any proxy.
LARGEST_LOOKUP = LARGEST_REMOVAL

#: Records of an answer whose request names no limit, as Braze documents it.
DEFAULT_CAP = 100


class NumberLookup:
    """Looks up numbers, and learns meanwhile what Braze makes of their spellings. Thread-safe.

    Args:
        client: Makes the requests.
        parse: Reads the rows of an answer.
        logger: Is told what differs from the documents.
    """

    def __init__(self, client: BrazeClient, parse: Callable[[bytes], list[Row]], logger: logging.Logger) -> None:
        self._client = client
        self._parse = parse
        self._logger = logger
        self._spellings = Spellings((PLUS, BARE))
        self._lock = threading.Lock()
        #: Whether it was tried to find a number by the spelling that Braze does not store.
        self._compared = False
        #: Most records that an answer seems to hold, and most that one was seen to hold.
        self._cap = DEFAULT_CAP
        self._most = 0
        #: Numbers that were found, by the way they were asked for: no more than fit a request.
        self._known: dict[Way, set[str]] = {}

    def find(self, numbers: Sequence[str], *, first: int = 1) -> dict[str, Row]:
        """Return the latest detection of each number that is on the list, by its digits.

        Args:
            numbers: By their digits.
            first: Position of the first of them, to name in errors.

        Raises:
            RequestRefusedError: Braze refuses, or every try failed.
        """
        rows: set[Row] = set()
        start = 0
        while start < len(numbers):
            batch = numbers[start : start + LARGEST_LOOKUP // self._spellings.per_number]
            place = first + start
            where = f"numbers {place} to {place + len(batch) - 1}" if len(batch) > 1 else f"number {place}"
            rows.update(*self._spellings.send(functools.partial(self._complete, batch, where)))
            self._compare(rows, where)
            start += len(batch)
        # Oldest first, so that the latest detection of a number stays.
        return {normalize(row[1]): row for row in sorted(rows, key=itemgetter(0))}

    def _complete(self, batch: Sequence[str], where: str, way: Way) -> list[Row]:
        """Return all that Braze has of a batch, whose answer may hold less."""
        rows = self._ask(batch, where, way)
        if len(batch) > 1 and self._is_cut_off(rows, batch, where, way):
            middle = len(batch) // 2
            return [row for half in (batch[:middle], batch[middle:]) for row in self._complete(half, where, way)]
        return rows

    def _is_cut_off(self, rows: list[Row], batch: Sequence[str], where: str, way: Way) -> bool:
        found = {normalize(row[1]) for row in rows}
        missing = [number for number in batch if number not in found]
        with self._lock:
            if len(rows) > self._cap:
                self._cap = DEFAULT_CAP  # it was no cap: what came later was new on the list
            is_full, is_capped = len(rows) >= self._cap, self._cap < DEFAULT_CAP
            is_doubtful = len(rows) >= self._most or is_capped
            self._most = max(self._most, len(rows))
            known = self._known.setdefault(way, set())
            known.update(itertools.islice(found - known, LARGEST_LOOKUP // len(way) - len(known)))
            known = set(known)
        if is_full or not rows or not missing or not is_doubtful:
            return is_full
        # No answer was larger, so nothing tells yet that this one could have been. Numbers that are known to be on the
        # list may tell, if there are more of them; else what this answer lacks is asked for alone.
        if len(known) > len(rows) and not is_capped:
            held = len(self._ask(sorted(known), where, way))
            with self._lock:
                self._most = max(self._most, held)
            if held > len(rows):
                return False
        if not self._ask(missing, where, way):
            return False
        with self._lock:
            if not is_capped:
                told = "Braze answers lookups with %d records at most: what an answer lacks is asked for again"
                self._logger.info(told, len(rows))
            self._cap = min(self._cap, len(rows))
        return True

    def _compare(self, rows: Iterable[Row], where: str) -> None:
        """Find out, once, whether Braze finds a number by another spelling than it stores."""
        mixed = ((PLUS, BARE),)
        stored = next((row for row in rows if row[1].removeprefix("+") == normalize(row[1])), None)
        if self._spellings.ways != mixed or stored is None:
            return
        with self._lock:
            if self._compared:
                return
            self._compared = True
        other = (BARE,) if stored[1].startswith("+") else (PLUS,)
        by_digits = False
        try:
            # As stored: a list that compares strictly could have it in both spellings.
            by_digits = any(row[1] == stored[1] for row in self._ask([normalize(stored[1])], where, other))
        except RequestRefusedError as refused:
            if refused.status != BAD_REQUEST:
                raise
        if by_digits:
            # The one just seen to be enough: by the other, it might have been found only where it is stored so.
            self._spellings.ways = (other,)
        else:
            self._logger.info("Braze compares numbers as they are spelled: each is looked up with + and without")

    def _ask(self, numbers: Sequence[str], where: str, way: Way) -> list[Row]:
        """Make one request, about numbers and nothing else: a limit beside them makes a sister list answer nothing."""
        asked = set(numbers)

        def read(body: bytes) -> list[Row]:
            rows = self._parse(body)
            if not {normalize(row[1]) for row in rows} <= asked:
                msg = "the answer is about other numbers than were asked about"
                raise RetryableError(msg)
            return rows

        params = {"phone_numbers[]": spell(numbers, way)}
        return self._client.get(INVALID_PHONE_NUMBERS.path, params, read, what=where)


#: Seconds of the waits before numbers that are still listed are looked up again: five minutes in all, which is what
#: Braze advises to leave between calls that depend on each other.
SETTLING = (5.0, 25.0, 90.0, 180.0)


def still_listed(
    lookup: NumberLookup, numbers: Sequence[str], wait: Callable[[float], object], logger: logging.Logger
) -> list[str]:
    """Return those of removed numbers, by their digits, that stay on the list.

    Args:
        lookup: Looks them up.
        numbers: That Braze was asked to take off it.
        wait: Waits so many seconds.
        logger: Is told of every wait.
    """
    listed = list(lookup.find(numbers))
    for seconds in SETTLING:
        if not listed:
            break
        logger.info("%d of the numbers are still listed: looking again in %g s", len(listed), seconds)
        wait(seconds)
        listed = list(lookup.find(listed))
    return listed
