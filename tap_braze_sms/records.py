"""Records: what one of Braze's answers holds, and how it is kept in memory."""

from __future__ import annotations

import contextlib
import re
import typing as t
import zlib
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter

import msgspec
from singer_sdk.exceptions import DataError

from tap_braze_sms import times

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: ``invalid_detected_at`` in the fixed form, ``phone`` as Braze spells it, ``reason``.
Row: t.TypeAlias = tuple[str, str, str | None]

#: Pages that begin this deep in a window are deflated while they wait: to a quarter of
#: their size, for less than a microsecond a record. Most windows never get there.
DEEP = 20_000

#: Later than every time.
LATEST = "\uffff"

_NOT_DIGITS = re.compile(r"\D")


class AskAgainError(Exception):
    """A request that came to nothing in a way that may pass: there was no answer, or what came is not one.

    Args:
        what: Happened, without anything Braze or the network said.
        wait: Least seconds before the next try.
    """

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    phone: t.Annotated[str, msgspec.Meta(min_length=1)]
    invalid_detected_at: str
    reason: str | None = None


class _Answer(msgspec.Struct):
    sms: list[_Entry]
    message: t.Literal["success"] = "success"
    errors: t.Annotated[list[object], msgspec.Meta(max_length=0)] | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Row]).decode


def digits(phone: str) -> str:
    """Give what decides whether two spellings are one number."""
    bare = phone.removeprefix("+")
    return bare if bare.isdecimal() else _NOT_DIGITS.sub("", phone) or phone


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: what stood at positions `offset`… of a list, at one instant."""

    offset: int
    limit: int
    count: int
    #: Times of its newest and its oldest record; empty when there is none.
    newest: str
    oldest: str
    #: How many records share the time that most of them share.
    crowd: int
    #: Down to how many characters of their times the records are in descending order.
    grain: int
    _packed: bytes

    @classmethod
    def of(cls, rows: list[Row], *, offset: int, limit: int) -> Page:
        """Keep rows, in the order Braze gave them, as compact bytes.

        Raises:
            DataError: they are not in descending order, which all reading relies on.
        """
        moments = [row[0] for row in rows]
        packed = _pack(rows)
        return cls(
            offset=offset,
            limit=limit,
            count=len(rows),
            newest=max(moments, default=""),
            oldest=min(moments, default=""),
            crowd=max(Counter(moments).values(), default=0),
            grain=_grain(moments),
            _packed=zlib.compress(packed, 1) if offset >= DEEP else packed,
        )

    def rows(self) -> list[Row]:
        """Give the rows back, in Braze's order."""
        return _unpack(zlib.decompress(self._packed) if self.offset >= DEEP else self._packed)


def _grain(moments: list[str]) -> int:
    """Find how finely times descend: a list may be sorted by more than all its records show."""
    for grain in (32, times.SECOND):
        cut = [moment[:grain] for moment in moments]
        if all(map(str.__ge__, cut, cut[1:])):
            return grain
    msg = (
        "Braze's list is not in descending order of invalid_detected_at, as its "
        "documentation says; nothing read from it can be proven complete"
    )
    raise DataError(msg)


@dataclass(slots=True)
class PageReader:
    """Turns the bodies of answers into pages."""

    #: Fields of records that the schema does not know, met so far.
    unknown: set[str] = field(default_factory=set)

    def read(self, body: bytes, *, offset: int, limit: int, dates: tuple[str, str]) -> Page:
        """Read one page of a window; raises what `rows` and `Page.of` raise, and the former for another window's."""
        rows = self.rows(body, offset)
        # An answer out of some cache would prove this window empty.
        if rows and not any(dates[0] <= row[0][: len(dates[0])] <= dates[1] for row in rows):
            msg = "the answer is about other days than were asked for"
            raise AskAgainError(msg)
        return Page.of(rows, offset=offset, limit=limit)

    def rows(self, body: bytes, offset: int = 0) -> list[Row]:
        """Read one answer.

        Raises:
            AskAgainError: it is not the answer Braze documents; ask again.
            DataError: a record in it cannot be used; the message says which and why,
                never its number.
        """
        with contextlib.suppress(ValueError, RecursionError):
            return [
                (times.canonical(entry.invalid_detected_at), entry.phone, entry.reason) for entry in _decode(body).sms
            ]
        # There is something unusual in it: record by record, which takes somewhat longer.
        answer: dict[str, t.Any] = {}
        with contextlib.suppress(ValueError, RecursionError):
            answer = msgspec.json.decode(body, type=dict)
        entries = answer.get("sms")
        if not isinstance(entries, list):
            msg = "the answer is not JSON with a list `sms`"
            raise AskAgainError(msg)
        if answer.get("errors") or (not entries and answer.get("message") not in (None, "success")):
            msg = "the answer has the status of a success and is none"
            raise AskAgainError(msg)
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
                    return times.canonical(detected), phone, reason
        msg = f"the record at position {position} cannot be used: {problem}"
        raise DataError(msg)


def ascending(pages: Iterable[Page], *, since: str, until: str = LATEST) -> Iterator[list[Row]]:
    """Join the pages of a window into one ascending list without repetitions.

    Memory holds the rows of a page and what it overlaps with, not of all pages.

    Args:
        pages: In any order, overlapping as they like.
        since: Earliest wanted instant, inclusive.
        until: Latest wanted instant, exclusive.
    """
    ordered = sorted(pages, key=lambda page: page.oldest)
    held: list[Row] = []
    # Whatever is older than all that follows can go.
    for page, upcoming in zip(ordered, [*(page.oldest for page in ordered[1:]), LATEST], strict=False):
        held += reversed(page.rows())
        held.sort(key=_instant)  # two ascending runs: the sort only merges them
        first, end, cut = (bisect_left(held, at, key=_instant) for at in (since, min(upcoming, until), upcoming))
        ready, held = held[first:end], held[cut:]
        if ready:
            yield list({(row[0], digits(row[1])): row for row in ready}.values())


_instant = itemgetter(0)
