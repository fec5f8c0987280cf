"""The tap: its settings and its streams."""

from __future__ import annotations

import typing as t

from typing_extensions import override

from tap_braze_sms import settings
from tap_braze_sms.reading import checkpoint
from tap_braze_sms.singer.plugin import BrazeTap
from tap_braze_sms.streams import InvalidPhoneNumbersStream, PhoneNumberStatusStream

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
        return [InvalidPhoneNumbersStream(self), PhoneNumberStatusStream(self)]
