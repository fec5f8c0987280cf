"""The log of removals: what was asked, when and with which result, as messages that any Singer loader takes."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import typing as t

from singer_sdk.exceptions import ConfigurationError

if t.TYPE_CHECKING:
    from collections.abc import Iterable

#: What became of a request: it was sent, and nothing is known of an answer; Braze took it; Braze refused it; every try
#: failed, so that it may or may not have been carried out. With `confirm`, the number is off the list, or it is not.
ASKED, ACCEPTED, REFUSED, UNKNOWN, GONE, STILL_LISTED = (
    "asked",
    "accepted",
    "refused",
    "unknown",
    "gone",
    "still_listed",
)

_SCHEMA = {
    "type": "SCHEMA",
    "stream": "removals",
    "schema": {
        "type": "object",
        "properties": {
            "phone": {"type": "string", "description": "Number that Braze was asked to take off its list"},
            "asked_at": {"type": "string", "format": "date-time", "description": "When it was asked"},
            "result": {"type": "string", "description": "asked, accepted, refused, unknown, gone or still_listed"},
        },
        "required": ["phone", "asked_at", "result"],
    },
    "key_properties": ["phone", "asked_at"],
}


class RemovalsLog:
    """Adds to a file that only its owner may read. Later results of the same request follow, with the same keys.

    Every write is whole lines in one piece, so that runs at once do not mix theirs, and a run that is killed leaves
    none in half.

    Args:
        path: Of the file; it is made where there is none.

    Raises:
        ConfigurationError: it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            # It may have been made by someone who did not know what it would hold. Not a device, which is everyone's.
            if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                os.fchmod(self._descriptor, 0o600)
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from None
        self._write([_SCHEMA])

    def add(self, numbers: Iterable[str], asked_at: str, result: str) -> None:
        """Note what became of a request about numbers, given by their digits."""
        self._write(
            {
                "type": "RECORD",
                "stream": "removals",
                "record": {"phone": f"+{number}", "asked_at": asked_at, "result": result},
            }
            for number in numbers
        )

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _write(self, messages: Iterable[dict[str, t.Any]]) -> None:
        lines = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
        written = 0
        try:
            # By the system's own call: what goes through Python's buffers comes in pieces.
            while written < len(lines):
                written += os.write(self._descriptor, lines[written:])
        except OSError as error:
            self._take_back(written)
            raise self._unwritable(error) from None

    def _take_back(self, written: int) -> None:
        """Take out of the file again what a disk that is full has taken of lines, unless another run's follow."""
        with contextlib.suppress(OSError):  # of a pipe nothing can be
            end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            if written and os.fstat(self._descriptor).st_size == end:
                os.ftruncate(self._descriptor, end - written)

    def _unwritable(self, error: OSError | ValueError) -> ConfigurationError:
        why = error.strerror if isinstance(error, OSError) else error
        msg = f"removals_log: got {self._path!r}, which cannot be written: {why}; takes the path of a file"
        return ConfigurationError(msg)
