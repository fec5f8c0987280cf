"""Records: what an answer of Braze's says, and how many of them are kept at once."""

from __future__ import annotations

import bisect
import contextlib
import re
import typing as t
import zlib
from dataclasses import dataclass, field

import msgspec
from singer_sdk.exceptions import DataError

from tap_braze_sms import times

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: ``invalid_detected_at`` in the fixed form, ``phone`` as Braze spells it, ``reason``.
Row: t.TypeAlias = tuple[str, str, "str | None"]

#: Pages that begin this deep in a window are deflated while they wait: to a quarter of
#: their size, for less than a microsecond a record. Most windows never get there.
DEEP = 20_000

#: Fields unknown to the schema that are told apart; with more, further ones go unnoticed.
MOST_UNKNOWN = 50

_NOT_DIGITS = re.compile(r"\D")


class BrokenAnswerError(Exception):
    """An answer that is not one: cut off, not JSON, or without a list."""


class _Entry(msgspec.Struct):
    phone: str
    invalid_detected_at: str
    reason: str | None = None


class _Answer(msgspec.Struct):
    sms: list[_Entry]


def _decoder(unknown: Iterable[str] = ()) -> Callable[[bytes], t.Any]:
    """Make a reader that refuses fields neither the schema nor the log knows."""
    named = {f"unknown_{i}": name for i, name in enumerate(sorted(unknown))}
    fields = [(field, t.Any, None) for field in named]
    try:
        entry = msgspec.defstruct("_StrictEntry", fields, bases=(_Entry,), rename=named, forbid_unknown_fields=True)
    except ValueError:  # a name no struct can have
        entry = _Entry
    answer = msgspec.defstruct("_StrictAnswer", [("sms", list[entry])])  # type: ignore[valid-type]
    return msgspec.json.Decoder(answer).decode


_decode_leniently = msgspec.json.Decoder(_Answer).decode
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[tuple[str, str, str | None]]).decode


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
    #: How many different times the page has.
    instants: int
    #: Down to how many characters of their times the records are in descending order.
    grain: int
    _packed: bytes
    _deflated: bool

    @classmethod
    def of(cls, rows: list[Row], *, offset: int, limit: int) -> Page:
        """Keep rows, in the order Braze gave them, as compact bytes.

        Raises:
            DataError: they are not in descending order, which all reading relies on.
        """
        moments = [row[0] for row in rows]
        packed = _pack(rows)
        deflated = offset >= DEEP
        return cls(
            offset=offset,
            limit=limit,
            count=len(rows),
            newest=max(moments, default=""),
            oldest=min(moments, default=""),
            instants=len(set(moments)),
            grain=_grain(moments),
            _packed=zlib.compress(packed, 1) if deflated else packed,
            _deflated=deflated,
        )

    def rows(self) -> list[Row]:
        """Give the rows back, in Braze's order."""
        return _unpack(zlib.decompress(self._packed) if self._deflated else self._packed)


def _grain(moments: list[str]) -> int:
    """Find how finely times descend: a list may be sorted by more than it shows."""
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
    _decode: Callable[[bytes], t.Any] = field(default_factory=_decoder)

    def read(self, body: bytes, *, offset: int, limit: int) -> Page:
        """Read one page of a window; raises what `rows` and `Page.of` raise."""
        return Page.of(self.rows(body, offset), offset=offset, limit=limit)

    def rows(self, body: bytes, offset: int = 0) -> list[Row]:
        """Read one answer.

        Raises:
            BrokenAnswerError: it is not the answer Braze documents; ask again.
            DataError: a record in it cannot be used; the message says which and why,
                never its number.
        """
        try:
            entries: t.Sequence[_Entry] = self._decode(body).sms
            rows = [
                (times.canonical(entry.invalid_detected_at), entry.phone, entry.reason)
                for entry in entries
                if entry.phone
            ]
        except (msgspec.DecodeError, ValueError, UnicodeDecodeError):
            rows = None
        if rows is None or len(rows) != len(entries):
            rows = self._read_carefully(body, offset)
        return rows

    def _read_carefully(self, body: bytes, offset: int) -> list[Row]:
        """Read an answer that has something unusual in it, record by record."""
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        entries = answer.get("sms") if isinstance(answer, dict) else None
        if not isinstance(entries, list):
            msg = "the answer is not JSON with a list `sms`"
            raise BrokenAnswerError(msg)
        known = len(self.unknown)
        rows = [self._row(entry, offset + i) for i, entry in enumerate(entries)]
        if len(self.unknown) > known:
            # Decoding stays fast, and notices the next one.
            self._decode = _decoder(self.unknown) if len(self.unknown) <= MOST_UNKNOWN else _decode_leniently
        return rows

    def _row(self, entry: object, position: int) -> Row:
        problem = "it is not an object"
        if isinstance(entry, dict):
            self.unknown.update(map(str, entry.keys() - set(_Entry.__struct_fields__)))
            phone = entry.get("phone")
            detected = entry.get("invalid_detected_at")
            reason = entry.get("reason")
            problem = "its reason is neither text nor null"
            if not (isinstance(phone, str) and phone):
                problem = "it has no phone (as text)"
            elif reason is None or isinstance(reason, str):
                problem = "its invalid_detected_at cannot be read as a time"
                with contextlib.suppress(ValueError):
                    return times.canonical(detected if isinstance(detected, str) else ""), phone, reason
        msg = f"the record at position {position} cannot be used: {problem}"
        raise DataError(msg)


def ascending(
    pages: Iterable[Page],
    *,
    since: str,
    until: str | None,
) -> Iterator[list[Row]]:
    """Join the pages of a window into one ascending list without repetitions.

    Memory holds the rows of a page and what it overlaps with, not of all pages.

    Args:
        pages: In any order, overlapping as they like.
        since: Earliest wanted instant, inclusive.
        until: Latest wanted instant, exclusive; None: no bound.
    """
    ordered = sorted(pages, key=lambda page: page.oldest)
    held: list[Row] = []
    for index, page in enumerate(ordered):
        held.extend(reversed(page.rows()))
        held.sort(key=_instant)  # two ascending runs: the sort only merges them
        if index + 1 < len(ordered):
            # Whatever is older than all that follows can go.
            upcoming = ordered[index + 1].oldest
            cut = bisect.bisect_left(held, upcoming, key=_instant)
        else:
            cut = len(held)
        ready, held = held[:cut], held[cut:]
        if ready and (ready[0][0] < since or (until and ready[-1][0] >= until)):
            ready = [r for r in ready if r[0] >= since and not (until and r[0] >= until)]
        if ready:
            yield _distinct(ready)


def _instant(row: Row) -> str:
    return row[0]


def _distinct(rows: list[Row]) -> list[Row]:
    """Leave out rows whose instant and digits came before; rows are ascending."""
    kept: list[Row] = []
    instant = ""
    seen: set[str] | None = None
    for row in rows:
        if row[0] != instant:
            instant, seen = row[0], None
        else:
            # Only ties are worth the look at their digits.
            seen = seen or {digits(kept[-1][1])}
            number = digits(row[1])
            if number in seen:
                continue
            seen.add(number)
        kept.append(row)
    return kept
