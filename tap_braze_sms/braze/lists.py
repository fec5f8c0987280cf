"""Lists: what tells one of Braze's lists from another, as a value.

Everything that reads a list is handed such a value, so a sister list (hard bounces, unsubscribes) is a declaration.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from tap_braze_sms.braze.phone_numbers import normalize
from tap_braze_sms.reading.page import UNUSABLE

if t.TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from tap_braze_sms.reading.page import Row


@dataclass(frozen=True, slots=True)
class BrazeList:
    """A list of Braze's that is asked for by days and read by offset."""

    #: Of its endpoint, behind the address of the instance.
    path: str
    #: The key of the entries in an answer.
    items: str
    #: Of an entry: the field that names what is on the list, the one that says since when, and optional texts.
    key_field: str
    time_field: str
    other_fields: tuple[str, ...]
    #: Returns what is the same for all spellings of one name.
    normalize: Callable[[str], str]

    def identify(self, row: Row) -> Hashable:
        """Return what decides whether two rows are one record."""
        # One that stands for what cannot be used may have its time from a neighbour, and another one in another page.
        return row[1] if row[1].startswith(UNUSABLE) else (self.normalize(row[1]), row[0])

    def records(self, rows: Iterable[Row]) -> list[dict[str, str | None]]:
        """Return rows as records of the stream."""
        name, at, others = self.key_field, self.time_field, self.other_fields
        if len(others) == 1:  # as below, at a quarter of the time
            (other,) = others
            usual = t.cast("Iterable[tuple[str, str, str | None]]", rows)
            return [{name: key, at: time, other: value} for time, key, value in usual]
        return [{name: key, at: time, **dict(zip(others, values, strict=True))} for time, key, *values in rows]


#: "Query invalid phone numbers" in Braze's documentation.
INVALID_PHONE_NUMBERS = BrazeList(
    path="/sms/invalid_phone_numbers",
    items="sms",
    key_field="phone",
    time_field="invalid_detected_at",
    other_fields=("reason",),
    normalize=normalize,
)
