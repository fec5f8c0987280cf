"""Pages: what one answer holds of a list, kept as compact bytes, and how pages are joined."""

from __future__ import annotations

import re
import typing as t
import zlib
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from operator import itemgetter

import msgspec

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import UnusableDataError

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


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Row]).decode


def identity(phone: str) -> str:
    """Return what decides whether two spellings are one number."""
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
    max_ties: int
    #: Down to how many characters of their times the records are in descending order.
    sort_precision: int
    _packed: bytes

    @classmethod
    def of(cls, rows: list[Row], *, offset: int, limit: int) -> Page:
        """Keep rows, in the order Braze gave them, as compact bytes.

        Raises:
            UnusableDataError: they are not in descending order, which all reading relies on.
        """
        moments = [row[0] for row in rows]
        packed = _pack(rows)
        return cls(
            offset=offset,
            limit=limit,
            count=len(rows),
            newest=max(moments, default=""),
            oldest=min(moments, default=""),
            max_ties=max(Counter(moments).values(), default=0),
            sort_precision=_sort_precision(moments),
            _packed=zlib.compress(packed, 1) if offset >= DEEP else packed,
        )

    def rows(self) -> list[Row]:
        """Return the rows back, in Braze's order."""
        return _unpack(zlib.decompress(self._packed) if self.offset >= DEEP else self._packed)


def _sort_precision(moments: list[str]) -> int:
    """Find how finely times descend: a list may be sorted by more than all its records show."""
    for sort_precision in (32, timestamps.SECOND):
        cut = [moment[:sort_precision] for moment in moments]
        if all(map(str.__ge__, cut, cut[1:])):
            return sort_precision
    msg = (
        "Braze's list is not in descending order of invalid_detected_at, as its "
        "documentation says; nothing read from it can be proven complete"
    )
    raise UnusableDataError(msg)


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
            yield list({(row[0], identity(row[1])): row for row in ready}.values())


_instant = itemgetter(0)
