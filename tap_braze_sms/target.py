"""The target: takes verified phone numbers off Braze's list again."""

from __future__ import annotations

import json
import sys
import typing as t
from collections import Counter, deque

from singer_sdk import BatchSink, Target
from singer_sdk.exceptions import DataError, InvalidInputLine, RecordsWithoutSchemaException
from singer_sdk.helpers.capabilities import TARGET_BATCH_SIZE_ROWS_CONFIG, PluginCapabilities
from singer_sdk.io_base import SingerMessageType, SingerReader

from tap_braze_sms import settings
from tap_braze_sms.asked_numbers import is_number
from tap_braze_sms.client import LARGEST_REMOVAL
from tap_braze_sms.plugin import BrazePlugin
from tap_braze_sms.records import digits

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from singer_sdk.helpers._batch import BaseBatchFileEncoding


KINDS = tuple(SingerMessageType)


class DiscreetReader(SingerReader):
    """Reads messages; its errors count lines instead of quoting them."""

    def __init__(self) -> None:
        """Begin before the first line."""
        super().__init__()
        self._line = 0
        #: Streams that a SCHEMA was read of.
        self._streams: list[object] = []

    @override
    def deserialize_json(self, line: str) -> dict[str, t.Any]:
        self._line += 1
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        kind = message.get("type") if isinstance(message, dict) else None
        problem = None
        if kind not in KINDS:
            problem = f"is no Singer message, a JSON object whose type is {' or '.join(KINDS)}"
        elif kind == SingerMessageType.RECORD and not isinstance(message.get("record"), dict):
            problem = "has no record, a JSON object"
        if problem:
            msg = f"line {self._line} of the input {problem}"
            raise InvalidInputLine(msg)
        # Where nothing is known of a stream, the SDK would fail with a bare KeyError.
        if kind == SingerMessageType.SCHEMA:
            self._streams.append(message.get("stream"))
        elif kind != SingerMessageType.STATE and message.get("stream") not in self._streams:
            msg = f"line {self._line} of the input, {kind}, comes before the SCHEMA of its stream"
            raise RecordsWithoutSchemaException(msg)
        return t.cast("dict[str, t.Any]", message)

    @staticmethod
    @override
    def assert_line_requires(line_dict: dict[str, t.Any], requires: set[str]) -> None:
        missing = sorted(requires - line_dict.keys())
        if missing:
            kind = line_dict.get("type", "without type")
            msg = f"a message {kind} of the input lacks {', '.join(missing)}"
            raise InvalidInputLine(msg)


class RemovalSink(BatchSink):
    """Takes the numbers of one stream off the list."""

    #: Only one property is read, and what others hold may be personal: an error of the
    #: SDK's would quote it.
    validate_schema = False

    #: No rows are kept here that a new version could replace.
    process_activate_version_messages = False

    def __init__(
        self,
        target: TargetBrazeSMS,
        stream_name: str,
        schema: dict[str, t.Any],
        key_properties: Sequence[str] | None,  # noqa: ARG002 (the SDK's own)
    ) -> None:
        """Look at one property of the stream."""
        phone_property = target.config["phone_property"]
        # Neither keys nor formats: they are of no use here, and need not be in the records.
        properties = {name: {"type": ["string", "null"]} for name in (*schema["properties"], phone_property)}
        super().__init__(target, stream_name, {"properties": properties}, [])
        self.original_schema = schema
        self._braze = target
        self._property = phone_property
        self._read = 0
        self._batches = 0
        if phone_property not in schema["properties"]:
            msg = f"stream {stream_name} has no property {phone_property}; phone_property names the one with the number"
            raise DataError(msg)

    @property
    @override
    def max_size(self) -> int:
        return min(super().max_size, LARGEST_REMOVAL)

    @override
    def process_record(self, record: dict[str, t.Any], context: dict[str, t.Any]) -> None:
        self._read += 1
        self._braze.hold(self)
        super().process_record({"phone": record.get(self._property), "position": self._read}, context)

    @override
    def process_batch_files(self, encoding: BaseBatchFileEncoding, files: Sequence[str]) -> None:
        msg = f"stream {self.stream_name} comes as BATCH files, which this target does not read: turn batch_config off"
        raise DataError(msg)

    @override
    def _after_process_record(self, context: dict[str, t.Any]) -> None:
        # The SDK writes the whole batch, numbers and all, into the debug log here.
        pass

    @override
    def process_batch(self, context: dict[str, t.Any]) -> None:
        """Hand one batch to Braze.

        Raises:
            FatalAPIError: Braze did not accept it; the message names its position.
            DataError: a value in it is no phone number.
        """
        records = context["records"]
        self._batches += 1
        where = (
            f"batch {self._batches} (records {records[0]['position']} to {records[-1]['position']}) "
            f"of stream {self.stream_name}"
        )
        self._braze.remove([(record["phone"], record["position"]) for record in records], where, self.stream_name)
        self._braze.release(self)


class TargetBrazeSMS(BrazePlugin, Target):
    """Singer target that takes phone numbers off Braze's list of invalid ones."""

    name = "target-braze-sms"
    package_name = "tap-braze-sms"
    config_jsonschema = settings.TARGET.to_dict()
    default_sink_class = RemovalSink
    message_reader_class = DiscreetReader
    capabilities: t.ClassVar = [
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]

    def __init__(self, **kwargs: t.Any) -> None:  # noqa: ANN401 (the SDK's own)
        """Begin with nothing removed."""
        super().__init__(**kwargs)
        # One at a time, so that a number in two streams is handed over once.
        self.max_parallelism = 1
        self._count: Counter[str] = Counter()
        #: Digits of every number handed to Braze in this run.
        self._removed: set[str] = set()
        self._records = 0
        #: The first record that each sink still holds.
        self._held: dict[RemovalSink, int] = {}
        #: States that came after a number of records.
        self._states: deque[tuple[int, dict[str, t.Any]]] = deque()

    @classmethod
    @override
    def append_builtin_config(cls, config_jsonschema: dict[str, t.Any]) -> None:
        # Of the SDK's settings for loaders, those that mean something here.
        for name, setting in TARGET_BATCH_SIZE_ROWS_CONFIG["properties"].items():
            config_jsonschema["properties"].setdefault(name, setting)
        super(Target, cls).append_builtin_config(config_jsonschema)

    def hold(self, sink: RemovalSink) -> None:
        """Note that a sink has taken the next record."""
        self._records += 1
        self._held.setdefault(sink, self._records)

    def release(self, sink: RemovalSink) -> None:
        """Note that Braze accepted all a sink held; pass on the STATE that this allows."""
        self._held.pop(sink, None)
        self._pass_on_state()

    def remove(self, phones: list[tuple[object, int]], where: str, stream: str) -> None:
        """Take numbers off the list, each once in a run."""
        fresh: dict[str, str] = {}
        for phone, position in phones:
            if not is_number(phone):
                if not self.config["skip_bad_numbers"]:
                    msg = (
                        f"record {position} of stream {stream} holds no phone number; correct it, "
                        "or set skip_bad_numbers to leave such records out"
                    )
                    raise DataError(msg)
                self._count["skipped"] += 1
                continue
            number = digits(str(phone))
            if number in self._removed or number in fresh:
                self._count["repeated"] += 1
            else:
                fresh[number] = f"+{number}"
        if fresh and not self.config["dry_run"]:
            self.client.remove(list(fresh.values()), what=where)
        self._removed |= fresh.keys()

    @override
    def process_endofpipe(self) -> None:
        super().process_endofpipe()
        # Which of them were on it, Braze does not say.
        done = "would be taken off" if self.config["dry_run"] else "are off"
        self.logger.info(
            "%d numbers %s the list; %d repeated, %d skipped; %d requests",
            len(self._removed),
            done,
            self._count["repeated"],
            self._count["skipped"],
            self.client.requests,
        )

    @override
    def _process_state_message(self, message_dict: dict[str, t.Any]) -> None:
        # The SDK passes STATE on at the end of the pipe or after minutes: a run that
        # fails in between would post everything before it a second time.
        self._assert_line_requires(message_dict, requires={"value"})
        self._states.append((self._records, message_dict["value"]))
        self._pass_on_state()

    def _pass_on_state(self) -> None:
        """Emit the newest STATE that covers nothing but what Braze accepted."""
        if self.config["dry_run"]:
            return  # or the run that is meant would begin after these records
        accepted = min(self._held.values(), default=self._records + 1) - 1
        state = None
        while self._states and self._states[0][0] <= accepted:
            state = self._states.popleft()[1]
        if state is not None:
            self._write_state_message(state)
