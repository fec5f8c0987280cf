"""Pages: what one answer holds of a list, kept as compact bytes, and how pages are joined."""

from __future__ import annotations

import typing as t
import zlib
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

import msgspec

from tap_braze_sms.reading.time_order import EXACT, TimeOrder

if t.TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from typing_extensions import Unpack

#: Of an entry: its time in the fixed form, what names it as the list spells it, its further fields.
Row: t.TypeAlias = "tuple[str, str, Unpack[tuple[str | None, ...]]]"

#: What decides whether two rows are one record; rows of different times never are.
Identify: t.TypeAlias = "Callable[[Row], Hashable]"

#: Pages that begin this deep in a window are deflated while they wait: to a quarter of
#: their size, for less than a microsecond a record. Most windows never get there.
DEEP = 50_000

#: Later than every time.
LATEST = "\uffff"

#: What the name of a row begins with that stands for an entry which cannot be used: it keeps its position, no more.
UNUSABLE = "\0unusable "

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[tuple[t.Any, ...]]).decode


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
    #: How its times descend.
    order: TimeOrder
    #: About the time that half of its records are older than.
    middle: str
    #: Its last record; None where it has none.
    last: Row | None
    _packed: bytes
    #: Nothing stood behind its last record.
    ends_list: bool = False
    #: Some of its rows stand for entries that cannot be used.
    has_unusable: bool = False

    @classmethod
    def of(cls, rows: list[Row], *, offset: int, limit: int, has_unusable: bool = False) -> Page:
        """Keep rows, in the order Braze gave them, as compact bytes."""
        times = [row[0] for row in rows]
        packed = _pack(rows)
        order = TimeOrder.of(times)
        # Most pages are in order: their ends say which is oldest.
        in_order = times if order is EXACT else sorted(times, reverse=True)
        return cls(
            offset=offset,
            limit=limit,
            count=len(rows),
            newest=in_order[0] if rows else "",
            oldest=in_order[-1] if rows else "",
            max_ties=1 if rows and len(set(times)) == len(rows) else max(Counter(times).values(), default=0),
            order=order,
            middle=times[len(rows) // 2] if rows else "",
            last=rows[-1] if rows else None,
            has_unusable=has_unusable,
            _packed=zlib.compress(packed, 1) if offset >= DEEP else packed,
        )

    def rows(self) -> list[Row]:
        """Return the rows back, in Braze's order."""
        return _unpack(zlib.decompress(self._packed) if self.offset >= DEEP else self._packed)


def ascending(
    pages: Iterable[Page],
    *,
    since: str,
    until: str = LATEST,
    identify: Identify,
    on_conflict: Callable[[], object] = lambda: None,
) -> Iterator[list[Row]]:
    """Join the pages of a window into one ascending list without repetitions.

    Memory holds the rows of the pages that overlap in time, not of all pages: where the list is in order of time, of
    a page or two.

    Args:
        pages: In any order, overlapping as they like.
        since: Earliest wanted instant, inclusive.
        until: Latest wanted instant, exclusive.
        identify: Returns what decides whether two rows are one record.
        on_conflict: Called for a row that differs from the one emitted of the same record in more than spelling.
    """
    ordered = sorted(pages, key=lambda page: page.oldest)
    held: list[Row] = []
    waiting: list[Page] = []
    has_unusable = False
    # Whatever is older than all that follows can go.
    for page, upcoming in zip(ordered, [*(page.oldest for page in ordered[1:]), LATEST], strict=False):
        waiting.append(page)
        # Sorting anew for a few rows at a time would take the square of their number.
        if upcoming != LATEST and 2 * sum(page.middle < upcoming for page in waiting) < len(waiting):
            continue
        for page in waiting:  # noqa: PLW2901
            held += reversed(page.rows())
            has_unusable |= page.has_unusable
        waiting.clear()
        held.sort(key=_instant)  # ascending runs: the sort only merges them
        first, end, cut = (bisect_left(held, at, key=_instant) for at in (since, min(upcoming, until), upcoming))
        ready, held = held[first:end], held[cut:]
        keys = _keys(ready, identify)
        # Of two rows of one record, the one that Braze lists first, which is the last here.
        kept = dict(zip(keys, ready, strict=True))
        for _ in range(_conflicts(keys, ready, kept)):
            on_conflict()
        ready = list(kept.values())
        if has_unusable:
            ready = [row for row in ready if not row[1].startswith(UNUSABLE)]
        if ready:
            yield ready


def _keys(rows: list[Row], identify: Identify) -> list[Hashable]:
    """Return what tells records apart, for rows in order of time: of one that shares its time with none, the time."""
    shared = {row[0] for row, following in pairwise(rows) if row[0] == following[0]}
    return [identify(row) if row[0] in shared else row[0] for row in rows]


def _conflicts(keys: list[Hashable], rows: list[Row], kept: dict[Hashable, Row]) -> int:
    """Return how many rows differ from the one that is kept of their record in more than spelling."""
    # Rows that differ in nothing come from pages that overlap.
    if len(kept) == len(rows) or len(kept) == len(set(rows)):
        return 0
    return sum(kept[key][2:] != row[2:] for key, row in zip(keys, rows, strict=True))


_instant = itemgetter(0)
