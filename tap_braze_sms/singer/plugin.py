"""What the tap and the target share as command-line plugins.

Everything here that overrides a private method of the SDK does so because the SDK has no
public place for it; `tests/integration/test_sdk_contract.py` pins each.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import threading
import time
import typing as t

import click
from dotenv import find_dotenv, load_dotenv
from singer_sdk import Tap
from singer_sdk.cli import plugin_cli
from singer_sdk.exceptions import ConfigurationError
from singer_sdk.plugin_base import PluginBase
from singer_sdk.singerlib import Catalog, CatalogEntry, Schema
from typing_extensions import override

from tap_braze_sms import STARTED, settings
from tap_braze_sms.braze.client import BrazeClient
from tap_braze_sms.concurrency.cancellation import Cancelled, CancelToken
from tap_braze_sms.concurrency.deadline import Deadline
from tap_braze_sms.singer import batches, catalogs, stream_maps
from tap_braze_sms.singer.cli import InputFile, ObjectFile, PlainCommand, drop_unknown_log_levels, read_object
from tap_braze_sms.singer.writer import BufferedWriter

if t.TYPE_CHECKING:
    from types import FrameType

    from singer_sdk import Stream

#: The variable of the SDK's that names a file about logging.
LOG_CONFIG = "SINGER_SDK_LOG_CONFIG"

#: Records left out, as they cannot be used, that are named one by one; further ones are counted.
MOST_WARNINGS = 5

#: Seconds after a signal when the process ends whatever it is doing.
LAST_RESORT = 4.5


class BrazePlugin(PluginBase):
    """Settings in one line when they are wrong, errors too, and ends that are noticed."""

    #: What is wrong with the settings, a line each.
    config_errors: t.Sequence[str] = ()

    @functools.cached_property
    def cancel_token(self) -> CancelToken:
        """Set by a signal, and noticed by everything that waits."""
        return CancelToken()

    @functools.cached_property
    def client(self) -> BrazeClient:
        """The way to Braze that everything in this plugin shares."""
        return self.make_client()

    def make_client(self, **settings: object) -> BrazeClient:
        """Return a way to Braze, some of whose settings are not the configured ones."""
        user_agent = self.config.get("user_agent") or f"{self.name}/{self.plugin_version}"
        config = {**self.config, **settings}
        return BrazeClient(config, cancel_token=self.cancel_token, logger=self.logger, user_agent=user_agent)

    @property
    def _env_var_config(self) -> dict[str, t.Any]:
        # The SDK looks for .env where it is installed, not where it is started, up to its
        # version 0.54 (meltano/sdk#3769).
        self.append_builtin_config(self.config_jsonschema)
        found = ""
        try:
            found = find_dotenv(usecwd=True) or os.devnull
            load_dotenv(found, override=True)
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            msg = f"{found or 'the folder that this was started in'}: {problem}"
            raise ConfigurationError(msg) from None
        for line in drop_unknown_log_levels(self._env_var_prefix):
            self.logger.warning(line)
        # Not by the SDK's own, which takes a mistyped true for false and does not say what it could not read.
        return {
            name: settings.parse_env_value(os.environ[variable], setting["type"])
            for name, setting in self.config_jsonschema["properties"].items()
            if (variable := self._env_var_prefix + name.upper()) in os.environ
        }

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        # The SDK's messages quote whatever was given, the API key included.
        self.append_builtin_config(self.config_jsonschema)
        self.config_errors = errors = settings.apply_defaults_and_validate(self._config, self.config_jsonschema)
        if errors and raise_errors:
            # Not the SDK's ConfigValidationError, of which its command makes several lines.
            msg = "; ".join(errors)
            raise ConfigurationError(msg)
        for name in sorted(self._config.keys() - self.config_jsonschema["properties"].keys()):
            self.logger.warning("There is no setting %s; it is ignored", name)
        return errors

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        # The SDK exits with 0 here, which a runner takes for a complete load.
        self.cancel_token.set(signum)
        cancelled = Cancelled(self.cancel_token.signal)
        timer = threading.Timer(LAST_RESORT, os._exit, (cancelled.code,))
        timer.daemon = True
        timer.start()
        if not self.cancel_token.is_cooperative:
            raise cancelled

    @classmethod
    @override
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> t.Any:
        given = super().cb_config(ctx, param, tuple(name for name in value if name == "ENV"))
        for path in value:
            if path != "ENV":
                given.config |= read_object("config", path)
        return given

    @plugin_cli
    def cli(cls) -> click.Command:  # noqa: N805 (a class's, by the decorator)
        """The command, whatever the environment says of logging."""
        said = drop_unknown_log_levels(cls._env_var_prefix)
        file = os.environ.get(LOG_CONFIG)
        if file == "":
            del os.environ[LOG_CONFIG]
        try:
            command = super().cli
        except Exception:
            if not file:
                raise
            said.append(f"{LOG_CONFIG}: got {file}, which is no configuration of logging; it is ignored")
            # Whatever of it was done already.
            logging.getLogger().handlers.clear()
            del os.environ[LOG_CONFIG]
            command = super().cli
        for line in said:
            cls.logger.warning(line)
        return command

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        command = super().get_singer_command()
        for param in command.params:
            if param.name in {"catalog", "state"}:
                param.type = ObjectFile()
            if param.name == "file_input":
                param.type = InputFile()
            if param.name == "config" and isinstance(param, click.Option):
                param.help = "File of settings, or ENV for environment variables. May be repeated: later files win."
        # The SDK has no place for a command of another class, and this one differs in methods alone.
        command.__class__ = PlainCommand
        return command


class BrazeTap(BrazePlugin, Tap):
    """What a stream of this tap finds in its tap: a client, the request to end, and a writer of messages."""

    message_writer: BufferedWriter

    _has_cleared = False

    def __init__(self, *, catalog: t.Any = None, **kwargs: t.Any) -> None:  # noqa: ANN401 (the SDK's own)
        #: What a stream finds in its catalog that someone should know.
        self.catalog_notes: dict[tuple[str, str], str] = {}
        if isinstance(catalog, dict) and not isinstance(catalog, Catalog):
            catalog = catalogs.normalize(catalog, self.catalog_notes)
        super().__init__(message_writer=BufferedWriter(self.cancel_token), catalog=catalog, **kwargs)

    @functools.cached_property
    def batch_folder(self) -> batches.BatchFolder:
        """Where the BATCH files of this run lie; made with the first of them."""
        return batches.BatchFolder(batches.tag_of(self.config), batches.storage_of(self.config))

    def clear_batch_folders(self) -> None:
        """Take away, once, what earlier runs have left of BATCH files, whether this one writes any or not."""
        if not self._has_cleared:
            self._has_cleared = True
            with contextlib.suppress(OSError):  # no reason not to read
                batches.clear(batches.roots(self.config), batches.tag_of(self.config))

    def elapsed(self) -> float:
        """Return the seconds since the process began."""
        return time.monotonic() - STARTED

    def deadline(self, beyond: str) -> Deadline:
        """Return when a run begins nothing more; it has to come beyond an instant."""
        seconds = 60 * self.config.get("max_run_minutes", math.inf)
        return Deadline(seconds, self.elapsed, lambda: self.client.pause, beyond)

    @property
    @override
    def catalog(self) -> Catalog:
        # What the SDK makes stream maps for: those of a stream that is not selected do nothing.
        return Catalog({name: catalog_entry(stream) for name, stream in self._selected.items()})

    @property
    def _selected(self) -> dict[str, Stream]:
        return {name: stream for name, stream in self.streams.items() if stream.selected}

    @override
    def setup_mapper(self) -> None:
        stream_maps.check_sources(self.config, self.streams)
        for name, stream in self._selected.items():
            for line in stream_maps.check_definitions(self.config, name, stream.primary_keys):
                self.logger.warning("stream_maps: %s", line)
        try:
            super().setup_mapper()
        except AttributeError as error:
            if "faker" not in str(error):
                raise
            # So faker tells of a locale that it has not.
            msg = f"faker_config: {error}"
            raise ConfigurationError(msg) from None
        stream_maps.check_results(self.config, self._selected.values())
        self._check_streams()

    def _check_streams(self) -> None:
        """Find what else a run would fail with, or do harm by, once it runs."""
        if unknown := sorted(map(str, (self.input_catalog or {}).keys() - self.streams.keys())):
            self.logger.warning("The catalog has streams that this tap has not: %s", ", ".join(unknown))
        for (name, _), note in self.catalog_notes.items():
            if name in self._selected:
                self.logger.warning("Catalog of %s: %s", name, note)
        if not self._selected:
            self.logger.warning("No stream is selected, so nothing is read")
        for stream in self._selected.values():
            self._check_bound(stream)
            self._check_batches(stream)

    def _check_bound(self, stream: Stream) -> None:
        """Refuse to bound a run without a bookmark; lookups, which have no replication key, are not bounded."""
        got = self.config.get("max_run_minutes")
        if got is not None and stream.replication_key and stream.replication_method != "INCREMENTAL":
            msg = (
                f"max_run_minutes: got {got:g} for {stream.name}, FULL_TABLE, which keeps no bookmark to go on from; "
                "takes one of the two"
            )
            raise ConfigurationError(msg)

    def _check_batches(self, stream: Stream) -> None:
        """Refuse BATCH files that cannot be written, or that a loader would take away again."""
        if not (config := stream.get_batch_config(self.config)):
            return
        setting = "batch_config" if self.config.get("batch_config") else "batch_files"
        if stream.emit_activate_version_messages and stream.replication_method == "FULL_TABLE":
            msg = (
                f"{setting}: got one for {stream.name}, FULL_TABLE, together with emit_activate_version_messages, "
                "on which loaders take every row of BATCH files away; takes one of the two"
            )
            raise ConfigurationError(msg)
        try:
            config.storage.get_url(stream.name)
            batches.check_installed(config)
        except (ImportError, OSError, TypeError, ValueError) as error:
            got = f"{config.encoding.format} into {config.storage.root}"
            msg = f"batch_config: got {got}, which cannot be used: {error}"
            raise ConfigurationError(msg) from None


def catalog_entry(stream: Stream) -> CatalogEntry:
    """Return a stream as its catalog, followed, leaves it."""
    return CatalogEntry(
        tap_stream_id=stream.name,
        metadata=stream.metadata,
        schema=Schema.from_dict(stream.effective_schema),
        key_properties=stream.primary_keys,
    )
