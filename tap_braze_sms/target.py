"""The target: takes verified phone numbers off Braze's list again."""

from __future__ import annotations

import datetime as dt
import fnmatch
import functools
import json
import select
import sys
import typing as t
from collections import Counter
from dataclasses import dataclass, field

from singer_sdk import RecordSink, Target
from singer_sdk.exceptions import ConfigurationError, DataError
from singer_sdk.helpers.capabilities import TARGET_BATCH_SIZE_ROWS_CONFIG, TargetCapabilities
from singer_sdk.mapper import RemoveRecordTransform
from typing_extensions import override

from tap_braze_sms import settings
from tap_braze_sms.braze.errors import RequestRefusedError
from tap_braze_sms.braze.lists import INVALID_PHONE_NUMBERS
from tap_braze_sms.braze.lookups import NumberLookup, still_listed
from tap_braze_sms.braze.phone_numbers import is_number, normalize
from tap_braze_sms.braze.removals import NumberRemoval
from tap_braze_sms.braze.responses import ResponseParser
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import UnusableDataError
from tap_braze_sms.singer import removals_log, stream_maps
from tap_braze_sms.singer.plugin import MOST_WARNINGS, BrazePlugin
from tap_braze_sms.singer.progress import pluralize
from tap_braze_sms.singer.redaction import RedactingReader
from tap_braze_sms.singer.removals_log import RemovalsLog
from tap_braze_sms.singer.writer import BufferedWriter

if t.TYPE_CHECKING:
    from collections.abc import Sequence

#: Numbers that are held back, at most, while more input is at hand: more than `max_removals` are then noticed before
#: the first is asked for.
MOST_HELD = 10_000

#: By what Braze's list is known for itself: the tap's name of the stream, or the time beside the number. What lookups
#: give has both, too, and says beside them whether a number is on the list.
WHOLE_LIST, OF_LOOKUPS = "invalid_phone_numbers", "is_invalid"

_NO_STATE = object()


@dataclass(slots=True)
class Batch:
    """Numbers of one request, and the STATE that may be passed on once Braze has accepted it."""

    #: By their digits, whatever streams they came from.
    numbers: list[str] = field(default_factory=list)
    #: Position of its last record, counted over all streams.
    last: int = 0
    state: t.Any = _NO_STATE
    asked_at: str = ""


class InputReader(RedactingReader):
    """Reads messages, and lets the target see whether there are more."""

    source: t.IO[t.Any]

    @override
    def process_lines(
        self, file_input: t.IO[t.Any] | None, callbacks: dict[str, t.Callable[[dict[str, t.Any]], None]]
    ) -> t.Counter[str]:
        self.source = file_input or sys.stdin
        return super().process_lines(file_input, callbacks)


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
        if record.keys() - properties.keys():
            # Of what no SCHEMA tells, the first record does.
            self._braze.refuse_the_whole_list(self.stream_name, {*record, *properties})
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
    message_reader_class = InputReader
    #: The SDK's, but for the validation of records.
    capabilities: t.ClassVar = [c for c in Target.capabilities if c is not TargetCapabilities.VALIDATE_RECORDS]

    def __init__(self, **kwargs: t.Any) -> None:  # noqa: ANN401 (the SDK's own)
        super().__init__(**kwargs)
        self._writer = BufferedWriter(self.cancel_token, "whoever reads the STATE")
        self._count: Counter[str] = Counter()
        #: Digits of every number met in this run.
        self._met: set[str] = set()
        #: The batch that is being filled, those that are full and wait to be sent, and those that were accepted.
        self._batch = Batch()
        self._full: list[Batch] = []
        self._accepted: list[Batch] = []
        #: Whether requests are held back while more input is at hand.
        self._is_holding = True

    @functools.cached_property
    def _log(self) -> RemovalsLog | None:
        path = self.config.get("removals_log")
        return RemovalsLog(path) if path else None

    @functools.cached_property
    def _lookup(self) -> NumberLookup:
        # Of what is listed, only the number matters.
        parser = ResponseParser(INVALID_PHONE_NUMBERS, skip_unusable=True)
        return NumberLookup(self.client, parser.parse_lookup, self.logger)

    @functools.cached_property
    def _removal(self) -> NumberRemoval:
        return NumberRemoval(self.client, self.config["phone_spelling"])

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
        self._take(phone, stream)
        self._send_if_due()

    def _take(self, phone: object, stream: str) -> None:
        if type(phone) is int:  # a column of numbers
            phone = str(phone)
        if not is_number(phone):
            problem = f"record {self._count['records']} of the input, of stream {stream}, holds no phone number"
            if not (self.config["skip_bad_records"] or self.config["skip_bad_numbers"]):
                msg = f"{problem}; correct it, or set skip_bad_records to leave such records out"
                raise DataError(msg)
            self._count["skipped"] += 1
            if self._count["skipped"] <= MOST_WARNINGS:
                self.logger.warning("%s and is left out", problem)
            return
        if (number := normalize(phone)) not in self._met:
            if len(self._met) == self.config["max_removals"]:
                raise self._too_many()
            self._met.add(number)
            self._batch.numbers.append(number)
            most = self._removal.most
            if len(self._batch.numbers) >= min(self.config.get("batch_size_rows", most), most):
                self._close_batch()

    def _send_if_due(self) -> None:
        if self._full and not self._is_held_back():
            self._send_all()

    def _too_many(self) -> ConfigurationError:
        sent = sum(len(batch.numbers) for batch in self._accepted)
        done = "nothing was taken off" if self.config["dry_run"] or not sent else f"Braze was asked for {sent} of them"
        most = self.config["max_removals"]
        msg = f"max_removals: got more than {pluralize(most, 'number')}; {done}; raise it if so many are meant"
        return ConfigurationError(msg)

    def _close_batch(self) -> None:
        """Have the batch sent next, with what of the input led to it."""
        self._batch.last = self._count["records"]
        if not self.config["dry_run"]:
            self._full.append(self._batch)
        self._batch = Batch()

    def _is_held_back(self) -> bool:
        """Whether to look at more of the input before the first request, which cannot be undone."""
        held = sum(len(batch.numbers) for batch in self._full)
        self._is_holding = self._is_holding and held <= MOST_HELD and self._is_more_at_hand()
        return self._is_holding

    def _is_more_at_hand(self) -> bool:
        try:
            return bool(select.select([t.cast("InputReader", self.message_reader).source], [], [], 0)[0])
        except (OSError, ValueError):  # nothing that a system knows of
            return False

    def _send_all(self) -> None:
        """Hand what is full to Braze: then what was read before is done, and STATE may be passed on."""
        while self._full:
            batch = self._full[0]
            if self.config["confirm"] and not self._accepted:
                # A key that may not look up is told before anything is done.
                self._lookup.find(batch.numbers[:1])
            self._send(batch)
            self._accepted.append(self._full.pop(0))
            self._pass_on_state(batch.state)

    def _send(self, batch: Batch) -> None:
        """Ask Braze to take the numbers of a batch off the list.

        Raises:
            RequestRefusedError: it was not accepted.
        """
        before = self._accepted[-1].last if self._accepted else 0
        what = f"batch {len(self._accepted) + 1} (records {before + 1} to {batch.last})"
        batch.asked_at = timestamps.format_utc(dt.datetime.now(timestamps.UTC))
        self._note(batch.numbers, batch, removals_log.ASKED)
        try:
            self._removal.remove(batch.numbers, what=what)
        except RequestRefusedError as error:
            self._note(batch.numbers, batch, removals_log.REFUSED if error.status else removals_log.UNKNOWN)
            raise
        self._note(batch.numbers, batch, removals_log.ACCEPTED)

    def _note(self, numbers: t.Iterable[str], batch: Batch, result: str) -> None:
        if self._log:
            self._log.add(numbers, batch.asked_at, result)

    def _confirm(self) -> None:
        """Look up what was asked for.

        Raises:
            UnusableDataError: some of it is still on the list.
        """
        numbers = [number for batch in self._accepted for number in batch.numbers]
        listed = set(still_listed(self._lookup, numbers, self.cancel_token.wait, self.logger))
        for batch in self._accepted:
            self._note((n for n in batch.numbers if n not in listed), batch, removals_log.GONE)
            self._note((n for n in batch.numbers if n in listed), batch, removals_log.STILL_LISTED)
        confirmed = f"confirm: {len(listed)} of {pluralize(len(numbers), 'number')} still on the list"
        if listed:
            msg = f"{confirmed}, which Braze had accepted to take off it; phone_spelling both is right for any Braze"
            raise UnusableDataError(msg)
        self.logger.info("%s", confirmed)

    @override
    def process_endofpipe(self) -> None:
        if self._batch.numbers:
            # What came after its last number belongs to it, too.
            self._close_batch()
        self._send_all()
        super().process_endofpipe()
        # Which of them were on it, and whether they are off it, Braze does not say.
        done = "Dry run, nothing is changed" if self.config["dry_run"] else "Asked to take off"
        numbers, requests = pluralize(len(self._met), "number"), pluralize(self.client.request_count, "request")
        skipped = self._count["skipped"]
        repeated = self._count["records"] - skipped - len(self._met)
        self.logger.info("%s: %s, %d repeated, %d skipped; %s", done, numbers, repeated, skipped, requests)
        if self.config["confirm"] and self._accepted:
            self._confirm()
        if self._accepted and self._log:
            self._log.close()

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
            if isinstance(made, RemoveRecordTransform):
                continue
            self.refuse_the_whole_list(stream, {*given, *made.transformed_schema["properties"]})
            if name in given and name not in made.transformed_schema["properties"]:
                msg = f"stream {stream} has no property {name} after its stream map or flattening; leave it there"
                raise ConfigurationError(msg)

    def refuse_the_whole_list(self, stream: str, properties: t.AbstractSet[str]) -> None:
        """Refuse what looks like Braze's list itself, which would be handed back with all that is on it.

        In whatever letters a warehouse writes names, and however deep something else has packed them.

        Raises:
            ConfigurationError: it does, and nobody said that it is meant.
        """
        if self.config["allow_whole_list"]:
            return
        numbers = {INVALID_PHONE_NUMBERS.key_field, _bare(self.config["phone_property"])}
        names = set(map(_bare, properties))
        has_both = INVALID_PHONE_NUMBERS.time_field in names and not names.isdisjoint(numbers)
        if stream.casefold() == WHOLE_LIST or (has_both and OF_LOOKUPS not in names):
            problem = f"stream {stream} looks like Braze's list itself, of which all would be handed back"
            msg = f"{problem}: nothing of it was; set allow_whole_list if that is meant"
            raise ConfigurationError(msg)

    @override
    def _process_state_message(self, message_dict: dict[str, t.Any]) -> None:
        # The SDK passes STATE on at the end of the pipe or after minutes: a run that
        # fails in between would post everything before it a second time.
        self._assert_line_requires(message_dict, requires={"value"})
        state = message_dict["value"]
        if self._batch.numbers:
            self._batch.state = state
        elif self._full:
            self._full[-1].state = state
        else:
            self._pass_on_state(state)
        self._send_if_due()

    @override
    def _write_state_message(self, state: dict[str, t.Any]) -> None:
        # The SDK writes as one prints: of a reader that is gone, Python says nothing or too much.
        self._writer.write_line(json.dumps(state))

    def _pass_on_state(self, state: t.Any) -> None:  # noqa: ANN401 (whatever a tap makes one of)
        # Not in a dry run: the run that is meant would begin after its records.
        if state is not _NO_STATE and not self.config["dry_run"]:
            self._write_state_message(state)


def _bare(name: str) -> str:
    """Return the name of a property in small letters, without the objects that it was packed into."""
    return name.casefold().rpartition("__")[2]
