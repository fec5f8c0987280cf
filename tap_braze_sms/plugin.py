"""What the tap and the target share as command-line plugins.

Everything here that overrides a private method of the SDK does so because the SDK has no
public place for it; `tests/test_sdk_contract.py` pins each.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import threading
import typing as t
import warnings

import click
from singer_sdk.exceptions import ConfigValidationError, SingerSDKError
from singer_sdk.plugin_base import PluginBase, SingerCommand

from tap_braze_sms import settings
from tap_braze_sms.client import BrazeClient
from tap_braze_sms.messages import LoaderGoneError
from tap_braze_sms.stopping import Stop, Stopped

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if t.TYPE_CHECKING:
    from types import FrameType

#: Seconds after a signal when the process ends whatever it is doing.
PATIENCE = 4.5

#: Ends of a run that need no traceback: their message says what to do.
_EXPLAINED = (SingerSDKError, LoaderGoneError)


class PlainCommand(SingerCommand):
    """A command whose errors are one line."""

    @override
    def invoke(self, ctx: click.Context) -> t.Any:
        logging.captureWarnings(capture=True)
        warnings.filterwarnings("once", category=DeprecationWarning)
        # Past SingerCommand's own handling, which prints a line about the line.
        return click.Command.invoke(self, ctx)

    @override
    def main(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return super().main(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 (the last place that can log it)
            self._report(error)
        sys.exit(1)

    def _report(self, error: Exception) -> None:
        debug = self.logger.isEnabledFor(logging.DEBUG)
        if isinstance(error, ConfigValidationError) and error.errors:
            message = "; ".join(error.errors)
        elif isinstance(error, _EXPLAINED):
            message = " ".join(str(error).split())
        elif isinstance(error, json.JSONDecodeError):
            message = f"A file given is not JSON: {error}"
        elif isinstance(error, OSError) and error.filename:
            message = f"{error.filename}: {error.strerror}"
        else:
            message, debug = f"{type(error).__name__}: {error}", True
        self.logger.error("%s", message, exc_info=error if debug else None)


class BrazePlugin(PluginBase):
    """Settings in one line when they are wrong, errors too, and ends that are noticed."""

    def __init__(self, *, parse_env_config: bool = False, **kwargs: t.Any) -> None:  # noqa: ANN401 (the SDK's own)
        """Read the configuration.

        Raises:
            ConfigValidationError: a setting is wrong.
        """
        try:
            super().__init__(parse_env_config=parse_env_config, **kwargs)
        except ValueError:
            schema = self.config_jsonschema
            problem = settings.environment_problem(os.environ, self._env_var_prefix, schema)
            if not parse_env_config or problem is None:
                raise
        else:
            return
        msg = "Config validation failed"
        raise ConfigValidationError(msg, errors=[problem])

    @functools.cached_property
    def stop(self) -> Stop:
        """Set by a signal, and noticed by everything that waits."""
        return Stop()

    @functools.cached_property
    def client(self) -> BrazeClient:
        """The way to Braze that everything in this plugin shares."""
        return BrazeClient(
            settings.Connection.of(self.config),
            stop=self.stop,
            logger=self.logger,
            user_agent=self.config.get("user_agent") or f"{self.name}/{self.plugin_version}",
            parallel=self.config.get("max_parallel_requests", 1),
        )

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        # The SDK's messages quote whatever was given, the API key included.
        self.append_builtin_config(self.config_jsonschema)
        errors = settings.complete(self._config, self.config_jsonschema)
        if errors and raise_errors:
            msg = "Config validation failed"
            raise ConfigValidationError(msg, errors=errors, schema=self.config_jsonschema)
        for name in self._config.keys() - self.config_jsonschema["properties"].keys():
            self.logger.warning("There is no setting %s; it is ignored", name)
        return errors

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        # The SDK exits with 0 here, which a runner takes for a complete load.
        self.stop.set(signum)
        timer = threading.Timer(PATIENCE, os._exit, (self.stop.exit_code,))
        timer.daemon = True
        timer.start()
        if not self.stop.is_watched:
            raise Stopped(self.stop.exit_code)

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        command = super().get_singer_command()
        return PlainCommand(
            name=command.name,
            callback=command.callback,
            params=command.params,
            help=command.help,
            context_settings=command.context_settings,
            logger=cls.logger,
        )
