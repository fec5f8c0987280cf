"""The command line's last word: errors in one line, and an exit status that says what to do about them."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import json
import logging
import math
import os
import signal
import sys
import traceback
import typing as t
from pathlib import Path

import click
from singer_sdk import mapper
from singer_sdk.exceptions import (
    ConfigurationError,
    DataError,
    DiscoveryError,
    InvalidInputLine,
    MappingError,
    RecordsWithoutSchemaException,
)
from singer_sdk.plugin_base import SingerCommand
from singer_sdk.singerlib import Catalog
from typing_extensions import override

from tap_braze_sms.concurrency.cancellation import Cancelled
from tap_braze_sms.reading.errors import Kind, ReadingError
from tap_braze_sms.redaction import redact_expression
from tap_braze_sms.singer.redaction import EXPECTED_ERRORS, redact

#: Exit statuses as sysexits.h has them. Those of a run that a signal ended are 128 and the signal's number.
_STATUSES = {Kind.SETTING: 78, Kind.ACCESS: 77, Kind.PASSING: 75, Kind.DATA: 65, Kind.OTHER: 1}

#: Of others' errors: those of the configuration and of files that it names, and those of the messages a target reads.
_WRONG_SETTINGS = (
    *(ConfigurationError, DiscoveryError, MappingError, ImportError),
    *(FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError),
)
_WRONG_INPUT = (DataError, InvalidInputLine, RecordsWithoutSchemaException)


#: What to know after a run that something passing has ended. That a STATE was emitted is all that is known here:
#: whether it is kept, the loader and the runner decide.
RESUME_HINT = "; nothing is lost: the next run goes on from the last STATE that was kept, or begins anew"


#: What a tap does instead of a run; of ours, nothing else is done beside it.
_ACTIONS, _OURS = (
    {"--about", "--discover", "--test", "--check", "--clean-batch-files"},
    {"--check", "--clean-batch-files"},
)


class PlainCommand(SingerCommand):
    """A command whose errors are one line."""

    _resume_hint = RESUME_HINT

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asked = sorted(_ACTIONS.intersection(argument.partition("=")[0] for argument in args))
        if len(asked) > 1 and _OURS.intersection(asked):
            msg = f"got {' and '.join(asked)}, takes one of them at a time"
            raise ConfigurationError(msg)
        return super().parse_args(ctx, args)

    @override
    def make_context(self, *args: t.Any, **kwargs: t.Any) -> click.Context:
        with _interruptible():
            return super().make_context(*args, **kwargs)

    @override
    def invoke(self, ctx: click.Context) -> t.Any:
        if ctx.params.get("check"):
            self._resume_hint = ""  # it has no STATE
        with _interruptible():
            return super().invoke(ctx)

    @override
    def main(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # it was closed
                setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (as long as the process)
        # Looking through everything the SDK brings along for garbage, Python takes a tenth of a second to end.
        atexit.register(gc.freeze)
        try:
            return super().main(*args, **kwargs)
        except Cancelled as cancelled:
            self.logger.error("stopped by %s%s", cancelled.signal_name, self._resume_hint)  # noqa: TRY400 (nothing went wrong here)
            raise
        except Exception as error:  # noqa: BLE001 (the last place that can log it)
            self._report(error)
            status = exit_status(error)
        sys.exit(status)

    def _report(self, error: Exception) -> None:
        debug = self.logger.isEnabledFor(logging.DEBUG)
        shown = redact(error)
        if isinstance(error, MappingError):
            message = f"stream_maps: {shown}"
        elif expression := _mapped_by(error):
            message = f"stream_maps: {expression} fails: {type(error).__name__}"
        elif isinstance(error, EXPECTED_ERRORS):
            message = " ".join(str(shown).split())
            if isinstance(error, ReadingError) and error.kind is Kind.PASSING:
                message += self._resume_hint
        elif isinstance(error, OSError) and error.strerror:
            message = f"{error.filename or 'the standard output'}: {error.strerror}"
            if not error.filename:
                with contextlib.suppress(OSError):
                    sys.stdout.close()  # what it still holds would be tried again when Python ends, and told again
        else:
            message, debug = f"{type(error).__name__}: {shown}", True
        self.logger.error("%s", message, exc_info=shown if debug else None)


@contextlib.contextmanager
def _interruptible() -> t.Iterator[None]:
    """Take Ctrl-C for a signal, also before the SDK does: click makes an error of it."""
    try:
        yield
    except KeyboardInterrupt:
        raise Cancelled(signal.SIGINT) from None


def exit_status(error: Exception) -> int:
    """Return the exit status by which a scheduler can tell what an error is."""
    if isinstance(error, ReadingError):
        kind = error.kind
    elif isinstance(error, _WRONG_SETTINGS) or _mapped_by(error):
        kind = Kind.SETTING
    elif isinstance(error, _WRONG_INPUT):
        kind = Kind.DATA
    else:
        kind = Kind.OTHER
    return _STATUSES[kind]


def _mapped_by(error: Exception) -> str:
    """Return the expression of a stream map that an error comes from, without its literals; empty: from none."""
    # The SDK's mapper names it only in errors of its own, not in those of what an expression calls.
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == mapper.__name__ and "expr" in frame.f_locals:
            return redact_expression(str(frame.f_locals["expr"]))
    return ""


#: What a file may hold of which more is known than that it is a JSON object.
_TAKES = {"state": " ({} for none; of several STATEs, one a line, the last one)"}


def read_object(option: str, path: str) -> dict[str, t.Any]:
    """Read the JSON object in a file that an option of the command line names.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        # Bytes: so the encoding is found out, and the marks that editors put before it are passed over.
        content = json.loads(Path(path).read_bytes(), parse_constant=_refuse_constant, parse_float=_parse_float)
    except OSError as error:
        problem = error.strerror
    except UnicodeError:
        problem = "it is not JSON in UTF-8, nor in another encoding of Unicode"
    except ValueError as error:
        problem = f"it is not JSON: {error}"
    except RecursionError:
        # Each Python has words of its own for this.
        problem = "it is nested too deeply"
    else:
        if isinstance(content, dict):
            return content
        problem = "it is no object"
    msg = f"--{option}: got {path}, which cannot be read: {problem}; takes a file with a JSON object"
    raise ConfigurationError(msg + _TAKES.get(option, ""))


def _parse_float(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_constant(text)


def _refuse_constant(name: str) -> t.NoReturn:
    msg = f"{name} is none of its values"
    raise ValueError(msg)


class ObjectFile(click.File):
    """A file that holds a JSON object; a catalog, if the option is called so."""

    @override
    def convert(self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None) -> t.Any:
        option = str(param and param.name)
        content = read_object(option, value)
        try:
            entries = Catalog.from_dict(content).streams if option == "catalog" else ()
            # The SDK would look for the maps of a stream by the one name and keep them by the other.
            if all(entry.schema.properties and entry.stream in {None, entry.tap_stream_id} for entry in entries):
                return io.StringIO(json.dumps(content))
        except (KeyError, TypeError, AttributeError, ValueError):
            pass
        msg = f"--catalog: got {value}, which is no Singer catalog; takes what --discover writes"
        raise ConfigurationError(msg)


class InputFile(click.File):
    """A file of Singer messages, opened as bytes: their encoding is found out by the reader."""

    def __init__(self) -> None:
        super().__init__("rb")

    @override
    def convert(self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None) -> t.Any:
        if value == "-":
            return None  # the reader's own
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            problem = error.message.rpartition(": ")[2]
        msg = f"--input: got {value}, which cannot be read: {problem}; takes a file of Singer messages, one a line"
        raise ConfigurationError(msg)


_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "WARN", "FATAL", "NOTSET")


def drop_unknown_log_levels(prefix: str) -> list[str]:
    """Take log levels that are none out of the environment, where the SDK would fail with them.

    Args:
        prefix: Of this plugin's own variables. `LOGLEVEL` alone often belongs to something else in the container.

    Returns:
        What to say about the variables of its own.
    """
    said = []
    for name in (f"{prefix}LOGLEVEL", "LOGLEVEL"):
        level = os.environ.get(name, "")
        if level and level.upper() not in _LOG_LEVELS:
            del os.environ[name]
            if prefix in name:
                said.append(f"{name}: got {level!r}, takes one of {', '.join(_LOG_LEVELS[:5])}; it is ignored")
    return said
