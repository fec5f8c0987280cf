"""Errors: what a request can come to, besides an answer."""

from __future__ import annotations

from tap_braze_sms.reading.errors import Kind, ReadingError, RetryableError

#: The status by which Braze says that it does not take a request as it is.
BAD_REQUEST = 400


class RequestRefusedError(ReadingError):
    """A request is refused, or every try of it failed.

    Args:
        what: Was refused and why, without anything personal or secret.
        kind: What to make of it.
        status: Of the answer that refuses; None: there was none.
    """

    def __init__(self, what: str, kind: Kind = Kind.OTHER, status: int | None = None) -> None:
        super().__init__(what)
        self.kind = kind
        self.status = status


class HardlyPassingError(RetryableError):
    """A failure that is worth a few tries within seconds, and not the minutes that an outage is.

    Args:
        what: Happened.
        kind: What to make of it when it does not pass.
    """

    def __init__(self, what: str, kind: Kind = Kind.PASSING) -> None:
        super().__init__(what)
        self.kind = kind


class OverloadError(RetryableError):
    """A failure that requests have in numbers where too many are made at once: no answer in time, or an error."""
