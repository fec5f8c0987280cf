"""What the tap and the target share as command-line plugins.

Everything here that overrides a private method of the SDK does so because the SDK has no
public place for it; `tests/test_sdk_contract.py` pins each.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import typing as t

import click
from dotenv import find_dotenv
from singer_sdk.configuration._dict_config import parse_environment_config
from singer_sdk.exceptions import (
    ConfigurationError,
    ConfigValidationError,
)
from singer_sdk.plugin_base import PluginBase

from tap_braze_sms import settings
from tap_braze_sms.client import BrazeClient
from tap_braze_sms.command import ObjectFile, PlainCommand, Verdict
from tap_braze_sms.stopping import Stop, Stopped

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if t.TYPE_CHECKING:
    from types import FrameType

#: Seconds after a signal when the process ends whatever it is doing.
PATIENCE = 4.5


class BrazePlugin(PluginBase):
    """Settings in one line when they are wrong, errors too, and ends that are noticed."""

    def __init__(self, *, parse_env_config: bool = False, **kwargs: t.Any) -> None:  # noqa: ANN401 (the SDK's own)
        """Read the configuration.

        Raises:
            ConfigValidationError: a setting is wrong.
        """
        mapper_log = logging.getLogger("singer_sdk.mapper")
        if not any(isinstance(known, Verdict) for known in mapper_log.filters):
            mapper_log.addFilter(Verdict())
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

    @property
    def _env_var_config(self) -> dict[str, t.Any]:
        # The SDK looks for .env where it is installed, not where it is started, up to its
        # version 0.54 (meltano/sdk#3769).
        self.append_builtin_config(self.config_jsonschema)
        found = find_dotenv(usecwd=True) or os.devnull
        try:
            return parse_environment_config(self.config_jsonschema, self._env_var_prefix, found)
        except UnicodeDecodeError:
            msg = f"{found}: it is not UTF-8 text"
        raise ConfigurationError(msg)

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
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> t.Any:
        given = super().cb_config(ctx, param, ())
        for path in value:
            try:
                one = super().cb_config(ctx, param, (path,))
            except OSError as error:
                problem = error.strerror or "there is no such file"
            except TypeError:
                problem = "it is no object"
            except ValueError as error:
                problem = f"it is not JSON: {error}"
            else:
                given.config |= one.config
                given.parse_env |= one.parse_env
                continue
            msg = f"--config: got {path}, which cannot be read: {problem}; takes ENV or a file with a JSON object"
            raise ConfigurationError(msg)
        return given

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        command = super().get_singer_command()
        for param in command.params:
            if isinstance(param.type, click.File) and param.name in {"catalog", "state"}:
                param.type = ObjectFile()
        return PlainCommand(
            name=command.name,
            callback=command.callback,
            params=command.params,
            help=command.help,
            context_settings=command.context_settings,
            logger=cls.logger,
        )
