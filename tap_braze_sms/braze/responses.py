"""Responses: Braze's answers, parsed into rows and pages."""

from __future__ import annotations

import contextlib
import hashlib
import typing as t
from itertools import accumulate, starmap

import msgspec

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import RetryableError, UnusableDataError
from tap_braze_sms.reading.page import UNUSABLE, Page

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_braze_sms.braze.lists import BrazeList
    from tap_braze_sms.reading.page import Row


class ResponseParser:
    """Turns the bodies of answers into pages.

    Args:
        braze_list: What the answers are about.
        skip_unusable: An entry that cannot be used keeps its position and nothing else, instead of being an error.
    """

    def __init__(self, braze_list: BrazeList, *, skip_unusable: bool = False) -> None:
        #: Fields of records that the schema does not know, met so far.
        self.unknown: set[str] = set()
        #: What is wrong with each entry that was left out, and where it stood, without its number.
        self.unusable: dict[str, str] = {}
        #: Where among the times it was taken to stand, if its own cannot be read.
        self._stood_at: dict[str, str] = {}
        self._list = braze_list
        self._skip_unusable = skip_unusable
        optional = [(name, str | None, None) for name in braze_list.other_fields]
        entry = msgspec.defstruct(
            "Entry",
            [(braze_list.time_field, str), (braze_list.key_field, str), *optional],
            forbid_unknown_fields=True,
        )
        self._fields: tuple[str, ...] = entry.__struct_fields__
        errors = t.Annotated[list[object], msgspec.Meta(max_length=0)] | None
        answer = msgspec.defstruct(
            "Answer",
            [("items", list[entry]), ("message", t.Literal["success"], "success"), ("errors", errors, None)],  # type: ignore[valid-type]
            rename={"items": braze_list.items},
        )
        # A value of a class that is made here, which no type checker knows.
        self._decode: t.Callable[[bytes], t.Any] = msgspec.json.Decoder(answer).decode

    def parse_page(self, body: bytes, *, offset: int, limit: int, dates: tuple[str, str]) -> Page:
        """Parse one page of a window.

        Raises:
            RetryableError: as `parse_rows`, and for the answer for another window.
            UnusableDataError: as `parse_rows`.
        """
        rows = self.parse_rows(body, offset, dates)
        # An answer out of some cache would prove this window empty.
        if rows and not any(dates[0] <= row[0][: len(dates[0])] <= dates[1] for row in rows):
            msg = "the answer is about other days than were asked for"
            raise RetryableError(msg)
        has_unusable = bool(self.unusable) and any(row[1].startswith(UNUSABLE) for row in rows)
        return Page.of(rows, offset=offset, limit=limit, has_unusable=has_unusable)

    def parse_rows(self, body: bytes, offset: int = 0, dates: tuple[str, ...] = ()) -> list[Row]:
        """Parse one answer.

        Raises:
            RetryableError: it is not the answer Braze documents; ask again.
            UnusableDataError: a record in it cannot be used; the message says which and why,
                never its number.
        """
        rows = self._usual(body)
        # There may be something unusual in it: record by record, which takes somewhat longer.
        return self._with_unusable(self.entries(body), offset, " to ".join(dates)) if rows is None else rows

    def parse_lookup(self, body: bytes) -> list[Row]:
        """Parse the answer to a lookup, which says of a number above all that it is on the list.

        With `skip_unusable`, a time or a detail that cannot be read is an empty text or None.

        Raises:
            RetryableError: as `parse_rows`.
            UnusableDataError: as `parse_rows`; always for a record without a number, which may be any of those asked
                about.
        """
        rows = self._usual(body)
        return [*starmap(self._listed, enumerate(self.entries(body)))] if rows is None else rows

    def parse_entry(self, entry: object) -> Row | str:
        """Return an entry of an answer as a row, or what is wrong with it."""
        if not isinstance(entry, dict):
            return "it is not an object"
        self.unknown.update(entry.keys() - set(self._fields))
        if not isinstance(entry.get(self._list.key_field), str):
            return f"it has no {self._list.key_field} (as text)"
        for name in self._list.other_fields:
            if not isinstance(entry.get(name), str | None):
                return f"its {name} is neither text nor null"
        if not (time := self.time_of(entry)):
            return f"its {self._list.time_field} cannot be read as a time"
        return time, entry[self._list.key_field], *(entry.get(name) for name in self._list.other_fields)

    def entries(self, body: bytes) -> list[object]:
        """Return what an answer lists, as it is.

        Raises:
            RetryableError: as `parse_rows`.
        """
        answer: dict[str, t.Any] = {}
        with contextlib.suppress(ValueError, RecursionError):
            answer = msgspec.json.decode(body, type=dict)
        entries = answer.get(self._list.items)
        if not isinstance(entries, list):
            msg = f"the answer is not JSON with a list `{self._list.items}`"
            raise RetryableError(msg)
        if answer.get("errors") or (not entries and answer.get("message") not in (None, "success")):
            msg = "the answer tells of a failure, with the status of a success"
            raise RetryableError(msg)
        return entries

    def surprises(self) -> Iterator[str]:
        """Say what was met that the schema does not know."""
        if self.unknown:
            names = ", ".join(sorted(self.unknown))
            yield f"Braze's records have fields that this version of the tap does not know and leaves out: {names}"

    def _usual(self, body: bytes) -> list[Row] | None:
        """Return the rows of an answer that is as documented; None: it is not."""
        with contextlib.suppress(ValueError, RecursionError):
            return [(timestamps.normalize(row[0]), *row[1:]) for row in map(_values, self._decode(body).items)]
        return None

    def _with_unusable(self, entries: list[object], offset: int, days: str) -> list[Row]:
        """Return a row for each entry, also for those that cannot be used."""
        rows = [*map(self.parse_entry, entries)]
        if not any(isinstance(row, str) for row in rows):
            return t.cast("list[Row]", rows)
        digests = [_digest(entry) if isinstance(row, str) else "" for row, entry in zip(rows, entries, strict=True)]
        # One that begins at the end of the list may hold nothing but what was left out of another.
        has_usable = any(isinstance(row, tuple) for row in rows) or not self.unusable.keys().isdisjoint(digests)
        # In an answer without any, they stand where they were met before.
        times = [*map(self.time_of, entries)]
        times = _filled(times if any(times) else [self._stood_at.get(digest, "") for digest in digests])
        made: list[Row] = []
        for position, (row, time, digest) in enumerate(zip(rows, times, digests, strict=True), offset):
            if isinstance(row, tuple):
                made.append(row)
                continue
            if not self._skip_unusable or not has_usable:
                hint = "to leave it out, set skip_bad_records"
                raise _unusable(position, row, "nor can any other of its answer" if self._skip_unusable else hint)
            self._stood_at.setdefault(digest, time)
            self.unusable.setdefault(digest, f"position {position} of {days}: {row}")
            made.append((time, UNUSABLE + digest, *[None] * len(self._list.other_fields)))
        return made

    def _listed(self, position: int, entry: object) -> Row:
        """Return an entry of a lookup's answer as a row."""
        row = self.parse_entry(entry)
        if isinstance(row, tuple):
            return row
        if not isinstance(entry, dict) or not isinstance(phone := entry.get(self._list.key_field), str):
            raise _unusable(position, row)
        if not self._skip_unusable:
            raise _unusable(position, row, "to go on without what cannot be read of it, set skip_bad_records")
        details = (entry.get(name) for name in self._list.other_fields)
        return self.time_of(entry), phone, *(value if isinstance(value, str) else None for value in details)

    def time_of(self, entry: object) -> str:
        """Return the time of an entry in the fixed form; empty: it cannot be read."""
        with contextlib.suppress(ValueError, LookupError, TypeError):
            return timestamps.normalize(t.cast("dict[str, str]", entry)[self._list.time_field])
        return ""


def _unusable(position: int, problem: str, hint: str = "") -> UnusableDataError:
    """Return what to raise for a record, which is named without its number."""
    return UnusableDataError(
        "; ".join(filter(None, [f"the record at position {position} cannot be used: {problem}", hint]))
    )


def _filled(times: list[str]) -> list[str]:
    """Return times, of which those that are missing are a neighbour's: there their entries stand."""
    topmost = next(filter(None, times), "")
    return [*accumulate(times, lambda before, time: time or before, initial=topmost)][1:]


def _digest(entry: object) -> str:
    """Return what tells an entry from others without what it holds."""
    return hashlib.blake2b(msgspec.json.encode(entry, order="deterministic"), digest_size=16).hexdigest()


_values = msgspec.structs.astuple
