"""The writer: Singer messages on their way to the loader.

RECORDs are collected; everything else is handed on at once, and what was collected with
it; so it is before every wait. A loader that is slower than Braze holds the tap back
here, so nothing piles up; a loader that is gone, or a signal, is noticed here too.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time
import typing as t

from singer_sdk.contrib.msgspec import MsgSpecWriter, encoder
from singer_sdk.singerlib.encoding.simple import Message, RecordMessage
from typing_extensions import override

if t.TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tap_braze_sms.concurrency.cancellation import CancelToken

#: Bytes collected before they are written without a reason.
BUFFER = 1 << 16

#: Seconds after a signal in which the loader may still take what is collected.
GRACE = 3.0

#: Seconds in which a loader may take something before there is a look at what else can be done.
POLL_SECONDS = 0.05

# A pipe that `select` calls writable takes this many bytes at once, and without blocking: a
# signal never finds the tap stuck in a write, or the loader left with half a line.
_CHUNK = min(getattr(select, "PIPE_BUF", 512), 4096)


class LoaderGoneError(Exception):
    """The reading end of our output was closed."""


class BufferedWriter(MsgSpecWriter):
    """The message writer, to standard output.

    Args:
        cancel_token: Cuts writing short when it is set.
        reader: Whoever reads the output, in words.
    """

    def __init__(self, cancel_token: CancelToken, reader: str = "the loader") -> None:
        self._cancel_token = cancel_token
        self._reader = reader
        self._buffer = bytearray()
        #: Called before every wait, and again and again while the loader takes nothing.
        self.on_wait: Callable[[], None] = lambda: None

    @override
    def write_message(self, message: Message) -> None:
        self._buffer += self.format_message(message)
        if not isinstance(message, RecordMessage) or len(self._buffer) >= BUFFER:
            self.flush()

    def write_records(self, envelope: RecordMessage, records: Sequence[dict[str, t.Any]]) -> None:
        """Write a RECORD message for each of some records, at least one.

        The same bytes as `write_message` with the SDK's own messages, of which only one is
        needed, its record empty: what stands around that stands around all.
        """
        before, after = self.format_message(envelope).split(b"{}")
        lines = encoder.encode_lines(records)
        self._buffer += before + lines[:-1].replace(b"\n", after + before) + after
        if len(self._buffer) >= BUFFER:
            self.flush()

    def write_line(self, line: str) -> None:
        """Write a line that is no message, such as the STATE that a target passes on."""
        self._buffer += line.encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Hand everything collected to the loader, waiting for it as long as it takes.

        What it does not take is still there afterwards: a STATE never gets ahead of it.

        Raises:
            LoaderGoneError: nobody reads any more.
            Cancelled: the end was asked for meanwhile, and nobody else will notice.
        """
        self.on_wait()
        if not self._buffer:
            return
        problem = None
        try:
            # A signal must not break off between a write and the note of it.
            with self._cancel_token.cooperative():
                self._write_out()
        except BrokenPipeError:
            problem = f"{self._reader} closed the pipe: its own log says why"
        except OSError as error:
            problem = f"the standard output cannot be written: {error.strerror}"
        if problem:
            # Ctrl-C in a shell ends both: then the signal is the reason, not the loader.
            self._cancel_token.check()
            raise LoaderGoneError(problem)

    def _write_out(self) -> None:
        descriptor = _descriptor()
        if descriptor is None:
            sys.stdout.write(self._buffer.decode())
            sys.stdout.flush()
            self._buffer.clear()
            return
        # A file never makes anyone wait.
        chunk = BUFFER if stat.S_ISREG(os.fstat(descriptor).st_mode) else _CHUNK
        # After a signal, the STATE before what is left says where to go on.
        while self._buffer and time.monotonic() < self._cancel_token.since + GRACE:
            if not _writable(descriptor):
                self.on_wait()
                continue
            whole_lines = self._buffer.rfind(b"\n", 0, chunk) + 1
            written = os.write(descriptor, self._buffer[: whole_lines or chunk])
            del self._buffer[:written]


def _descriptor() -> int | None:
    """Return the file descriptor of standard output; None while it is replaced."""
    try:
        sys.stdout.flush()
        return sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _writable(descriptor: int) -> bool:
    if sys.platform == "win32":  # select takes only sockets there
        return True
    return bool(select.select([], [descriptor], [], POLL_SECONDS)[1])
