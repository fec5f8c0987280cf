"""The entries of the list: numbers found invalid, as they stand in an answer."""

from __future__ import annotations

import datetime as dt
import json
import re
import typing as t

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
MICROSECOND = dt.timedelta(microseconds=1)
DAY = dt.timedelta(days=1)
REASONS = ("provider_error", "deactivated", "invalid_format")
_quoted = json.encoder.encode_basestring
_digits = re.compile(r"\D+").sub


class Entry(t.NamedTuple):
    """One number on the list."""

    phone: str  #: as spelled
    detected_at: dt.datetime  #: aware, UTC
    reason: str | None  #: None: the answer has no such key
    spelled: str  #: detected_at as the API writes it
    raw: str | None = None  #: JSON that the answer has instead of all that

    @classmethod
    def of(cls, when: int, row: bytes) -> Entry:
        """Read an entry as it stands in an answer, detected at an instant that it need not name."""
        record = json.loads(row)
        fields = record if isinstance(record, dict) else {}
        phone, reason, spelled = (
            value if isinstance(value := fields.get(name), str) else None
            for name in ("phone", "reason", "invalid_detected_at")
        )
        entry = cls(phone or "", EPOCH + when * MICROSECOND, reason, spelled or "")
        return entry if entry.encoded() == row else entry._replace(raw=row.decode())

    def payload(self) -> t.Any:
        """Return the record as the API gives it."""
        if self.raw is not None:
            return json.loads(self.raw)
        reason = {} if self.reason is None else {"reason": self.reason}
        return {"phone": self.phone, "invalid_detected_at": self.spelled, **reason}

    def encoded(self) -> bytes:
        """Return the record as the bytes of an answer; by hand, because a million go through here."""
        if self.raw is not None:
            return self.raw.encode()
        reason = "" if self.reason is None else f',"reason":{_quoted(self.reason)}'
        return f'{{"phone":{_quoted(self.phone)},"invalid_detected_at":{_quoted(self.spelled)}{reason}}}'.encode()


def digits(phone: str) -> str:
    """Return what decides which number is meant; a text without digits is itself."""
    return _digits("", phone) or phone


def spelling(phone: str) -> str | None:
    """Return how a number is spelled: plus or bare; None where the text is no number."""
    if not _digits("", phone):
        return None
    return "plus" if phone.startswith("+") else "bare"


def phone_of(row: bytes) -> str | None:
    """Return the phone of an entry as it stands in an answer, without reading all of it; None where it has none."""
    if row.startswith(b'{"phone":"') and b"\\" not in (text := row[10 : row.index(b'"', 10)]):
        return text.decode()
    record = json.loads(row)
    phone = record.get("phone") if isinstance(record, dict) else None
    return phone if isinstance(phone, str) else None


def holding(reason: str | None) -> bytes:
    """Return what entries with a reason have in them as they stand in an answer: inside a value no quote is bare."""
    return b"" if reason is None else f'"reason":{_quoted(reason)}'.encode()


def micros(when: dt.datetime) -> int:
    """Return an instant as microseconds since the epoch."""
    return (when - EPOCH) // MICROSECOND


def raw_entry(when: dt.datetime, record: t.Any) -> Entry:
    """Return an entry that is listed as if detected then, whatever it says of itself."""
    return Entry.of(micros(when), json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode())
