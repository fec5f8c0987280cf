"""Redaction of errors, of libraries' log lines and of the target's input: nothing personal in what the plugins say."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import sys
import traceback
import typing as t

from singer_sdk.exceptions import (
    ConfigurationError,
    DataError,
    DiscoveryError,
    InvalidInputLine,
    MappingError,
    RecordsWithoutSchemaException,
    SingerSDKError,
)
from singer_sdk.io_base import SingerMessageType, SingerReader
from typing_extensions import override

from tap_braze_sms import encodings
from tap_braze_sms.reading.errors import ReadingError, UnusableInputError
from tap_braze_sms.redaction import redact_log_line, redact_message
from tap_braze_sms.singer.writer import LoaderGoneError

if t.TYPE_CHECKING:
    from collections.abc import Generator

#: Ends of a run that need no traceback: their message says what to do.
EXPECTED_ERRORS = (SingerSDKError, InvalidInputLine, ReadingError, LoaderGoneError, ImportError)

#: Those about the configuration, whoever found them: no record was there to be quoted.
_SAFE_ERRORS = (ConfigurationError, DiscoveryError, MappingError, UnusableInputError, ImportError)

# What the decoder made of bytes that are no text.
_ESCAPED = re.compile("[\ud800-\udfff]")

_MESSAGE_TYPES = tuple(SingerMessageType)


def redact(error: BaseException) -> BaseException:
    """Return an error, and those that led to it, without what their messages may quote of a record."""
    shown = error
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = modules[-1:] and modules[-1].startswith("tap_braze_sms.")
    if not isinstance(error, _SAFE_ERRORS) and not (ours and isinstance(error, EXPECTED_ERRORS)):
        kind = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
        shown = kind(redact_message(str(error)))
    for link in ("__cause__", "__context__"):
        if before := getattr(error, link):
            setattr(shown, link, redact(before))
    shown.__suppress_context__ = error.__suppress_context__
    return shown.with_traceback(error.__traceback__)


class RedactingFilter(logging.Filter):
    """Cuts out of libraries' lines what can hold a number."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact_log_line(record.getMessage()), ()
        record.exc_info = None
        return True


for _name in ("urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry", "singer_sdk.mapper"):
    logging.getLogger(_name).addFilter(RedactingFilter())


def _problem(message: dict[str, t.Any], line: str) -> str | None:
    """Return why the SDK would fail with a bare KeyError, or worse, on a message."""
    kind, schema = message.get("type"), message.get("schema")
    if kind not in _MESSAGE_TYPES:
        return "is no Singer message"
    if kind == SingerMessageType.SCHEMA:
        if not isinstance(message.get("stream"), str):
            return "is a SCHEMA without the name of a stream"
        if not (isinstance(schema, dict) and isinstance(schema.get("properties"), dict)):
            return "is a SCHEMA without properties"
    if kind == SingerMessageType.RECORD and not isinstance(message.get("record"), dict):
        return "is a RECORD without record"
    if kind == SingerMessageType.STATE and not line.isascii() and _ESCAPED.search(line):
        return "is a STATE that is not in UTF-8"
    return None


class RedactingReader(SingerReader):
    """Reads messages; its errors count lines instead of quoting them."""

    def __init__(self) -> None:
        super().__init__()
        self._line = 0
        #: Streams that a SCHEMA was read of.
        self._streams: set[str] = set()

    @override
    def process_lines(
        self, file_input: t.IO[t.Any] | None, callbacks: dict[str, t.Callable[[dict[str, t.Any]], None]]
    ) -> t.Counter[str]:
        # Of the text that Python makes of the standard input, the locale decides what its bytes mean.
        source = file_input or getattr(sys.stdin, "buffer", sys.stdin)
        if source is None:
            msg = "the standard input is closed"
            raise InvalidInputLine(msg)
        with contextlib.closing(self._lines(source)) as lines:
            return super().process_lines(t.cast("t.IO[str]", lines), callbacks)

    def _lines(self, source: t.IO[t.Any]) -> Generator[str]:
        """Yield the lines that are not empty, whatever their encoding and their ends."""
        with contextlib.ExitStack() as stack:
            encoding = ""
            if isinstance(source, io.BufferedReader):
                encoding = encodings.detect(source.peek())
                # What is not text is of no concern in a property that is not used.
                source = io.TextIOWrapper(source, encoding=encoding, errors="surrogateescape")
                stack.callback(source.detach)  # whoever opened it closes it
            try:
                for line in source:
                    self._line += 1
                    if not line.isspace():
                        # Each of several files has a mark of its own.
                        yield line.removeprefix("\ufeff")
            except UnicodeError:
                msg = f"line {self._line + 1} of the input is not the {encoding} that its beginning says"
                raise InvalidInputLine(msg) from None

    @override
    def deserialize_json(self, line: str) -> dict[str, t.Any]:
        message: dict[str, t.Any] = {}
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            message = dict(**json.loads(line))
        kind, stream = message.get("type"), message.get("stream")
        if problem := _problem(message, line):
            msg = f"line {self._line} of the input {problem}"
            raise InvalidInputLine(msg)
        if kind == SingerMessageType.SCHEMA:
            self._streams.add(message["stream"])
        elif kind != SingerMessageType.STATE and not (isinstance(stream, str) and stream in self._streams):
            msg = f"line {self._line} of the input is {kind} before the SCHEMA of its stream"
            raise RecordsWithoutSchemaException(msg)
        if kind == SingerMessageType.BATCH:
            msg = f"stream {stream} comes as BATCH files, which this target does not read: turn batch_config off"
            raise DataError(msg)
        return message
