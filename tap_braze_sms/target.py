"""The target: takes verified phone numbers off Braze's list again."""

from __future__ import annotations

import fnmatch
import typing as t
from collections import Counter

from singer_sdk import RecordSink, Target
from singer_sdk.exceptions import ConfigurationError, DataError
from singer_sdk.helpers.capabilities import TARGET_BATCH_SIZE_ROWS_CONFIG, TargetCapabilities
from singer_sdk.mapper import RemoveRecordTransform
from typing_extensions import override

from tap_braze_sms import settings
from tap_braze_sms.braze.client import LARGEST_REMOVAL
from tap_braze_sms.braze.phone_numbers import is_number, normalize
from tap_braze_sms.singer import stream_maps
from tap_braze_sms.singer.plugin import BrazePlugin
from tap_braze_sms.singer.progress import pluralize
from tap_braze_sms.singer.redaction import RedactingReader

if t.TYPE_CHECKING:
    from collections.abc import Sequence


#: Records left out that are told one by one; then they are only counted.
SHOWN = 5

_NO_STATE = object()


class RemovalSink(RecordSink):
    """Hands the numbers of one stream to the target."""

    #: Only one property is read, and what others hold may be personal: an error of the
    #: SDK's would quote it.
    validate_schema = False

    #: No rows are kept here that a new version could replace.
    process_activate_version_messages = False

    def __init__(self, target: TargetBrazeSMS, *args: t.Any, **kwargs: t.Any) -> None:  # noqa: ANN401 (the SDK's own)
        # The SDK keeps none of its own class.
        super().__init__(target, *args, **kwargs)
        self._braze = target

    @override
    def _validate_and_parse(self, record: dict[str, t.Any]) -> dict[str, t.Any]:
        # Times that cannot be read are of no interest here.
        return record

    @property
    @override
    def key_properties(self) -> Sequence[str]:
        # None are needed here, so none is missed in a record.
        return ()

    @override
    def process_record(self, record: dict[str, t.Any], context: dict[str, t.Any]) -> None:
        name, properties = self.config["phone_property"], self.schema["properties"]
        # That is no bad record, but a wrong setting: of no record of the stream the number would be found.
        if properties and name not in properties and name not in record:
            msg = f"stream {self.stream_name} has no property {name}; phone_property names the one with the number"
            raise DataError(msg)
        self._braze.take(record.get(name), self.stream_name)


class TargetBrazeSMS(BrazePlugin, Target):
    """Singer target that takes phone numbers off Braze's list of invalid ones."""

    name = "target-braze-sms"
    package_name = "tap-braze-sms"
    config_jsonschema = settings.TARGET.to_dict()
    default_sink_class = RemovalSink
    message_reader_class = RedactingReader
    #: The SDK's, but for the validation of records.
    capabilities: t.ClassVar = [c for c in Target.capabilities if c is not TargetCapabilities.VALIDATE_RECORDS]

    def __init__(self, **kwargs: t.Any) -> None:  # noqa: ANN401 (the SDK's own)
        super().__init__(**kwargs)
        self._count: Counter[str] = Counter()
        #: Digits of every number met in this run.
        self._met: set[str] = set()
        #: Numbers to be taken off by the next request, whatever streams they came from.
        self._batch: list[str] = []
        #: Records that came before those of the batch.
        self._done = 0
        #: The newest STATE, whatever a tap makes one of, until it is passed on.
        self._state: t.Any = _NO_STATE

    @classmethod
    @override
    def append_builtin_config(cls, config_jsonschema: dict[str, t.Any]) -> None:
        # Of the SDK's settings for loaders, those that mean something here.
        for name, setting in TARGET_BATCH_SIZE_ROWS_CONFIG["properties"].items():
            config_jsonschema["properties"].setdefault(name, setting)
        super(Target, cls).append_builtin_config(config_jsonschema)

    def take(self, phone: object, stream: str) -> None:
        """Have a number taken off the list, once in a run.

        Raises:
            RequestRefusedError: Braze did not accept a batch; the message names its position.
            DataError: the value is no phone number.
        """
        self._count["records"] += 1
        if type(phone) is int:  # a column of numbers
            phone = str(phone)
        if not is_number(phone):
            problem = f"record {self._count['records']} of the input, of stream {stream}, holds no phone number"
            if not (self.config["skip_bad_records"] or self.config["skip_bad_numbers"]):
                msg = f"{problem}; correct it, or set skip_bad_records to leave such records out"
                raise DataError(msg)
            self._count["skipped"] += 1
            if self._count["skipped"] <= SHOWN:
                self.logger.warning("%s and is left out", problem)
            return
        if (number := normalize(phone)) not in self._met:
            self._met.add(number)
            self._batch.append(f"+{number}")
            if len(self._batch) >= min(self.config.get("batch_size_rows", LARGEST_REMOVAL), LARGEST_REMOVAL):
                self._remove_batch()

    def _remove_batch(self) -> None:
        """Hand the batch to Braze: then nothing that was read is left to do, and STATE may be passed on."""
        if self._batch and not self.config["dry_run"]:
            self._count["batches"] += 1
            where = f"batch {self._count['batches']} (records {self._done + 1} to {self._count['records']})"
            self.client.remove(self._batch, what=where)
        self._batch.clear()
        self._done = self._count["records"]
        self._pass_on_state()

    @override
    def process_endofpipe(self) -> None:
        self._remove_batch()
        super().process_endofpipe()
        # Which of them were on it, Braze does not say.
        done = "Dry run, nothing is changed" if self.config["dry_run"] else "Off the list now"
        numbers, requests = pluralize(len(self._met), "number"), pluralize(self.client.request_count, "request")
        skipped = self._count["skipped"]
        repeated = self._count["records"] - skipped - len(self._met)
        self.logger.info("%s: %s, %d repeated, %d skipped; %s", done, numbers, repeated, skipped, requests)

    @override
    def _process_schema_message(self, message_dict: dict[str, t.Any]) -> None:
        stream, mapped = message_dict["stream"], stream_maps.sources(self.config)
        # Unless `"__else__": null` leaves out what no map is of.
        passes = self.mapper.default_mapper_type is not RemoveRecordTransform
        if mapped and passes and not any(fnmatch.fnmatch(stream, name) for name in mapped):
            # Misspelled, it would have let every number through.
            msg = f"stream_maps: none is of stream {stream}; give it one: {{}} takes it as it is, null leaves it out"
            raise ConfigurationError(msg)
        # Of all that a SCHEMA says, only the names of properties are used.
        given = {
            name: schema if isinstance(schema, dict) else {}
            for name, schema in message_dict["schema"]["properties"].items()
        }
        message = {**message_dict, "schema": {**message_dict["schema"], "properties": given}, "key_properties": []}
        try:
            super()._process_schema_message(message)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            msg = f"the SCHEMA of stream {stream} cannot be mapped or flattened: {type(error).__name__}"
            raise DataError(msg) from None
        name = self.config["phone_property"]
        for made in self.mapper.stream_maps[stream]:
            if name in given and name not in made.transformed_schema["properties"]:
                msg = f"stream {stream} has no property {name} after its stream map or flattening; leave it there"
                raise DataError(msg)

    @override
    def _process_state_message(self, message_dict: dict[str, t.Any]) -> None:
        # The SDK passes STATE on at the end of the pipe or after minutes: a run that
        # fails in between would post everything before it a second time.
        self._assert_line_requires(message_dict, requires={"value"})
        self._state = message_dict["value"]
        if not self._batch:
            self._pass_on_state()

    def _pass_on_state(self) -> None:
        # Not in a dry run: the run that is meant would begin after its records.
        if self._state is not _NO_STATE and not self.config["dry_run"]:
            self._write_state_message(self._state)
            self._state = _NO_STATE
