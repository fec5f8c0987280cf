"""What the tap and the target share as command-line plugins.

Everything here that overrides a private method of the SDK does so because the SDK has no
public place for it; `tests/test_sdk_contract.py` pins each.
"""

from __future__ import annotations

import functools
import os
import threading
import typing as t

from dotenv import find_dotenv, load_dotenv
from singer_sdk import Tap
from singer_sdk.exceptions import ConfigurationError
from singer_sdk.plugin_base import PluginBase
from typing_extensions import override

from tap_braze_sms import settings
from tap_braze_sms.braze.client import BrazeClient
from tap_braze_sms.concurrency.cancellation import Cancelled, CancelToken
from tap_braze_sms.singer.cli import ObjectFile, PlainCommand, read_object
from tap_braze_sms.singer.writer import BufferedWriter

if t.TYPE_CHECKING:
    from types import FrameType

    import click

#: Seconds after a signal when the process ends whatever it is doing.
LAST_RESORT = 4.5


class BrazePlugin(PluginBase):
    """Settings in one line when they are wrong, errors too, and ends that are noticed."""

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
        except (OSError, UnicodeDecodeError) as error:
            problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            msg = f"{found or 'the folder that this was started in'}: {problem}"
            raise ConfigurationError(msg) from None
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
        errors = settings.apply_defaults_and_validate(self._config, self.config_jsonschema)
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

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        command = super().get_singer_command()
        for param in command.params:
            if param.name in {"catalog", "state"}:
                param.type = ObjectFile()
        # The SDK has no place for a command of another class, and this one differs in methods alone.
        command.__class__ = PlainCommand
        return command


class BrazeTap(BrazePlugin, Tap):
    """What a stream of this tap finds in its tap: a client, the request to end, and a writer of messages."""

    message_writer: BufferedWriter

    def __init__(self, **kwargs: t.Any) -> None:  # noqa: ANN401 (the SDK's own)
        super().__init__(message_writer=BufferedWriter(self.cancel_token), **kwargs)
