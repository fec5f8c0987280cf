"""Responses: Braze's answers, parsed into rows and pages."""

from __future__ import annotations

import contextlib
import hashlib
import typing as t

import msgspec

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import RetryableError, UnusableDataError
from tap_braze_sms.reading.page import UNUSABLE, Page

if t.TYPE_CHECKING:
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
        return Page.of(rows, offset=offset, limit=limit, has_unusable=bool(self.unusable))

    def parse_rows(self, body: bytes, offset: int = 0, dates: tuple[str, ...] = ()) -> list[Row]:
        """Parse one answer.

        Raises:
            RetryableError: it is not the answer Braze documents; ask again.
            UnusableDataError: a record in it cannot be used; the message says which and why,
                never its number.
        """
        with contextlib.suppress(ValueError, RecursionError):
            return [(timestamps.normalize(row[0]), *row[1:]) for row in map(_values, self._decode(body).items)]
        # There is something unusual in it: record by record, which takes somewhat longer.
        answer: dict[str, t.Any] = {}
        with contextlib.suppress(ValueError, RecursionError):
            answer = msgspec.json.decode(body, type=dict)
        entries = answer.get(self._list.items)
        if not isinstance(entries, list):
            msg = f"the answer is not JSON with a list `{self._list.items}`"
            raise RetryableError(msg)
        if answer.get("errors") or (not entries and answer.get("message") not in (None, "success")):
            msg = "the answer has the status of a success and is none"
            raise RetryableError(msg)
        return self._with_unusable(entries, offset, " to ".join(dates))

    def parse_usable_rows(self, body: bytes) -> list[Row]:
        """Parse one answer, whose positions say nothing; raises what `parse_rows` does."""
        return [row for row in self.parse_rows(body) if not row[1].startswith(UNUSABLE)]

    def _with_unusable(self, entries: list[object], offset: int, days: str) -> list[Row]:
        rows = [self._row(entry) for entry in entries]
        usable = [row for row in rows if isinstance(row, tuple)]
        made: list[Row] = []
        for position, (row, entry) in enumerate(zip(rows, entries, strict=True), offset):
            if isinstance(row, tuple):
                made.append(row)
                continue
            if not self._skip_unusable or not usable:
                hint = (
                    "nor can any other of its answer"
                    if self._skip_unusable
                    else "to leave it out, set skip_bad_records"
                )
                msg = f"the record at position {position} cannot be used: {row}; {hint}"
                raise UnusableDataError(msg)
            # Where times prove what was read, it must stand between its neighbours; it is itself in every answer.
            time = made[-1][0] if made else usable[0][0]
            digest = hashlib.blake2b(msgspec.json.encode(entry, order="deterministic"), digest_size=16).hexdigest()
            self.unusable.setdefault(digest, f"position {position} of {days}: {row}")
            made.append((time, UNUSABLE + digest, *[None] * len(self._list.other_fields)))
        return made

    def _row(self, entry: object) -> Row | str:
        """Return an entry as a row, or what is wrong with it."""
        if not isinstance(entry, dict):
            return "it is not an object"
        self.unknown.update(entry.keys() - set(self._fields))
        key, time = entry.get(self._list.key_field), entry.get(self._list.time_field)
        others = [entry.get(name) for name in self._list.other_fields]
        if not isinstance(key, str):
            return f"it has no {self._list.key_field} (as text)"
        for name, value in zip(self._list.other_fields, others, strict=True):
            if value is not None and not isinstance(value, str):
                return f"its {name} is neither text nor null"
        with contextlib.suppress(ValueError):
            return (timestamps.normalize(t.cast("str", time)), key, *t.cast("list[str | None]", others))
        return f"its {self._list.time_field} cannot be read as a time"


_values = msgspec.structs.astuple
