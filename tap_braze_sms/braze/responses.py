"""Responses: Braze's answers, parsed into rows and pages."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, field

import msgspec

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import RetryableError, UnusableDataError
from tap_braze_sms.reading.page import Page

if t.TYPE_CHECKING:
    from tap_braze_sms.reading.page import Row


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    phone: t.Annotated[str, msgspec.Meta(min_length=1)]
    invalid_detected_at: str
    reason: str | None = None


class _Answer(msgspec.Struct):
    sms: list[_Entry]
    message: t.Literal["success"] = "success"
    errors: t.Annotated[list[object], msgspec.Meta(max_length=0)] | None = None


_decode = msgspec.json.Decoder(_Answer).decode


@dataclass(slots=True)
class ResponseParser:
    """Turns the bodies of answers into pages."""

    #: Fields of records that the schema does not know, met so far.
    unknown: set[str] = field(default_factory=set)

    def parse_page(self, body: bytes, *, offset: int, limit: int, dates: tuple[str, str]) -> Page:
        """Parse one page of a window.

        Raises:
            RetryableError: as `parse_rows`, and for the answer for another window.
            UnusableDataError: as `parse_rows` and `Page.of`.
        """
        rows = self.parse_rows(body, offset)
        # An answer out of some cache would prove this window empty.
        if rows and not any(dates[0] <= row[0][: len(dates[0])] <= dates[1] for row in rows):
            msg = "the answer is about other days than were asked for"
            raise RetryableError(msg)
        return Page.of(rows, offset=offset, limit=limit)

    def parse_rows(self, body: bytes, offset: int = 0) -> list[Row]:
        """Parse one answer.

        Raises:
            RetryableError: it is not the answer Braze documents; ask again.
            UnusableDataError: a record in it cannot be used; the message says which and why,
                never its number.
        """
        with contextlib.suppress(ValueError, RecursionError):
            return [
                (timestamps.normalize(entry.invalid_detected_at), entry.phone, entry.reason)
                for entry in _decode(body).sms
            ]
        # There is something unusual in it: record by record, which takes somewhat longer.
        answer: dict[str, t.Any] = {}
        with contextlib.suppress(ValueError, RecursionError):
            answer = msgspec.json.decode(body, type=dict)
        entries = answer.get("sms")
        if not isinstance(entries, list):
            msg = "the answer is not JSON with a list `sms`"
            raise RetryableError(msg)
        if answer.get("errors") or (not entries and answer.get("message") not in (None, "success")):
            msg = "the answer has the status of a success and is none"
            raise RetryableError(msg)
        return [self._row(entry, position) for position, entry in enumerate(entries, offset)]

    def _row(self, entry: object, position: int) -> Row:
        problem = "it is not an object"
        if isinstance(entry, dict):
            self.unknown.update(entry.keys() - _Entry.__struct_fields__)
            phone, detected, reason = entry.get("phone"), entry.get("invalid_detected_at", ""), entry.get("reason")
            problem = "its reason is neither text nor null"
            if not (isinstance(phone, str) and phone):
                problem = "it has no phone (as text)"
            elif reason is None or isinstance(reason, str):
                problem = "its invalid_detected_at cannot be read as a time"
                with contextlib.suppress(ValueError):
                    return timestamps.normalize(detected), phone, reason
        msg = f"the record at position {position} cannot be used: {problem}"
        raise UnusableDataError(msg)
