"""The tap: its settings and its streams."""

from __future__ import annotations

import datetime as dt
import typing as t

import click
from singer_sdk.exceptions import ConfigurationError
from typing_extensions import override

from tap_braze_sms import settings
from tap_braze_sms.braze.lists import INVALID_PHONE_NUMBERS
from tap_braze_sms.check import MOST_TRIES, Check
from tap_braze_sms.reading import checkpoint, timestamps
from tap_braze_sms.reading.errors import UnusableDataError
from tap_braze_sms.singer import batches
from tap_braze_sms.singer.plugin import BrazeTap
from tap_braze_sms.streams import InvalidPhoneNumbersStream, PhoneNumberStatusStream, ReadWindowsStream

if t.TYPE_CHECKING:
    from singer_sdk import Stream


class TapBrazeSMS(BrazeTap):
    """Singer tap for Braze's list of invalid phone numbers."""

    name = "tap-braze-sms"
    config_jsonschema = settings.TAP.to_dict()

    @override
    def load_state(self, state: dict[str, t.Any]) -> None:
        stream = InvalidPhoneNumbersStream
        checkpoint.check(state, stream.name, stream.replication_key)
        if (names := state.get("bookmarks")) and stream.name not in names:
            self.logger.warning(
                "The state has bookmarks of %s and none of %s, which is read from start_date",
                ", ".join(sorted(names)),
                stream.name,
            )
        super().load_state(state)

    @override
    def discover_streams(self) -> list[Stream]:
        return [InvalidPhoneNumbersStream(self), PhoneNumberStatusStream(self), ReadWindowsStream(self)]

    def check(self, about_format: str | None = None) -> bool:
        """Print what the configured Braze is like; return whether this version copes with it."""
        client = self.make_client(max_attempts=min(MOST_TRIES, self.config["max_attempts"]))
        check = Check(client, INVALID_PHONE_NUMBERS, now=dt.datetime.now(timestamps.UTC))
        try:
            check.run()
        finally:
            check.report.findings = {"version": self.plugin_version, **check.report.findings}
            click.echo(check.report.as_json() if about_format == "json" else check.report.as_text())
        return not check.report.fails

    @classmethod
    @override
    def invoke(cls, *, about: bool = False, about_format: str | None = None, **kwargs: t.Any) -> None:
        check, clean = kwargs.pop("check"), kwargs.pop("clean_batch_files")
        if not (check or clean):
            super().invoke(about=about, about_format=about_format, **kwargs)
            return
        if about_format == "markdown":
            msg = "--format: got markdown, takes json, or nothing for text, beside --check"
            raise ConfigurationError(msg)
        config = kwargs["config"]
        tap = cls(config=config.config, parse_env_config=config.parse_env, validate_config=check, setup_mapper=False)
        if clean:
            # Of the settings, it needs no more than this one.
            if wrong := [line for line in tap.config_errors if line.startswith("batch_config: ")]:
                raise ConfigurationError(wrong[0])
            click.echo(str(batches.clear(batches.roots(tap.config))))
        elif not tap.check(about_format):
            msg = "check: this version does not cope with this Braze; the report says with what"
            raise UnusableDataError(msg)

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        command = super().get_singer_command()
        for name, help_text in {
            "--check": (
                "Say what the configured Braze is like, in at most 20 requests and nothing personal: as text, or with "
                "--format json as JSON."
            ),
            "--clean-batch-files": "Take away the BATCH files of runs that have ended. No loader may be reading them.",
        }.items():
            command.params.append(click.Option([name], is_flag=True, help=help_text))
        return command
