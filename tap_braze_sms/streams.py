"""The streams, as declarations, and how they are read."""

from __future__ import annotations

import abc
import dataclasses
import datetime as dt
import functools
import logging
import typing as t
from collections import deque
from pathlib import Path

from singer_sdk import SchemaDirectory, Stream, StreamSchema
from singer_sdk.exceptions import ConfigurationError
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib import Catalog, RecordMessage
from typing_extensions import override

from tap_braze_sms.braze import phone_numbers
from tap_braze_sms.braze.list_reader import ListReader
from tap_braze_sms.braze.lists import INVALID_PHONE_NUMBERS
from tap_braze_sms.braze.lookups import LARGEST_LOOKUP, NumberLookup
from tap_braze_sms.braze.phone_numbers import normalize
from tap_braze_sms.braze.responses import ResponseParser
from tap_braze_sms.concurrency.workers import WorkerPool
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.checkpoint import Checkpoint
from tap_braze_sms.singer import batches, catalogs
from tap_braze_sms.singer.plugin import MOST_WARNINGS, catalog_entry
from tap_braze_sms.singer.progress import Progress, pluralize

if t.TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.mapper import StreamMap

    from tap_braze_sms.concurrency.scheduler import CompletedWindow
    from tap_braze_sms.reading.page import Row
    from tap_braze_sms.singer.plugin import BrazeTap

    #: Numbers, what Braze has of them, by their digits, and when it was asked.
    Batch: t.TypeAlias = tuple[Sequence[str], dict[str, Row], str]

# Inside the package in a wheel, beside it in a checkout.
_PACKAGE = Path(__file__).parent
SCHEMAS = next(d for d in (_PACKAGE / "schemas", _PACKAGE.parent / "schemas") if d.is_dir())

#: Reasons that are named where none of them is the one that is wanted.
MOST_REASONS = 5


class Reasons:
    """Which records are wanted by their reason.

    Args:
        wanted: The only one; None: all.
    """

    def __init__(self, wanted: str | None) -> None:
        self._wanted = wanted
        self._met: set[str] = set()

    def wanted(self, records: list[Record]) -> list[Record]:
        """Return the records that have the reason."""
        if self._wanted is None:
            return records
        self._met.update(str(record["reason"] or "none") for record in records)
        return [record for record in records if record["reason"] == self._wanted]

    def surprises(self) -> Iterator[str]:
        """Say that nothing has the reason, which may be misspelled."""
        if self._met and self._wanted not in self._met:
            met = ", ".join(sorted(self._met)[:MOST_REASONS])
            yield f"reason: no record has the reason {self._wanted}; those read have {met}"


class BrazeStream(Stream):
    """What the streams of this tap have in common: they are read in lists of records, and emitted here."""

    _tap: BrazeTap
    #: Records emitted one by one, and records that were left out as they cannot be used.
    _emitted = _left_out = 0
    #: Whether what was read is handed over later, in BATCH files.
    _is_batched = False
    schema = StreamSchema(SchemaDirectory(SCHEMAS))

    @abc.abstractmethod
    def read(self) -> Iterator[list[Record]]:
        """Yield all records of the stream."""

    @override
    def get_records(self, context: Context | None) -> Iterator[Record]:
        for records in self.read():
            yield from records

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        keys, replication_key = self.primary_keys, self.replication_key
        super().apply_catalog(catalog)
        # Without its keys and its bookmark, a loader would keep twice what two runs read.
        self.primary_keys, self.replication_key = self.primary_keys or keys, replication_key
        if self.selected and (entry := catalog.get_stream(self.name)):
            catalogs.check(
                entry,
                self._tap.catalog_notes,
                keys=keys,
                replication_key=replication_key,
                properties=self.schema["properties"],
                left_out={name for name in self.schema["properties"] if not self.mask["properties", name]},
            )

    def _if_configured(self, catalog: Catalog) -> Catalog:
        """Return a catalog, without this stream where no setting asks for it."""
        # Meltano selects every stream unless told otherwise; a table that nobody asked for helps nobody.
        return catalog if self.selected_by_default else Catalog(i for i in catalog.items() if i[0] != self.name)

    @property
    @override
    def stream_maps(self) -> list[StreamMap]:
        # Of streams that are not selected there are none yet, and --test reads those, too.
        if self.name not in self._tap.mapper.stream_maps:
            self._tap.mapper.register_raw_streams_from_catalog(Catalog({self.name: catalog_entry(self)}))
        return super().stream_maps

    @override
    def get_batch_config(self, config: Mapping[str, t.Any]) -> BatchConfig | None:
        # A test of the connection loads nothing.
        return batches.configured(config) if self.ABORT_AT_RECORD_COUNT is None else None

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        # In a format that the SDK writes, or whoever has brought an encoder of it.
        folder = self._tap.batch_folder
        for encoding, manifest in super().get_batches(
            dataclasses.replace(batch_config, storage=folder.storage), context
        ):
            folder.protect(manifest)
            yield encoding, manifest

    @override
    def _sync_batches(self, batch_config: BatchConfig, context: Context | None = None) -> None:
        """Sync into BATCH files, with a STATE behind each that is true of it.

        Overridden, as the SDK puts records into files as they are read, whatever the stream maps and the selection say,
        so that a number that should be hashed would arrive in clear; one by one; gzipped, whatever it is told; and
        without the last file and STATE of a run that fails.
        """
        if len(self.stream_maps) > 1:
            msg = (
                f"stream {self.name} is mapped to {len(self.stream_maps)} streams, which BATCH files "
                "cannot hold apart: take batch_files and batch_config or the extra stream maps away"
            )
            raise ConfigurationError(msg)
        self._tap.clear_batch_folders()
        self._is_batched = True
        if batch_config.encoding.format == batches.ENCODING["format"]:
            self._write_batches(batch_config)
        else:
            super()._sync_batches(batch_config, context)
            self._after_hand_over()
        self._tap.batch_folder.complete()

    def _write_batches(self, batch_config: BatchConfig) -> None:
        writer = batches.BatchWriter(self._tap.batch_folder, batch_config, self.name)
        passes_through = self._passes_through
        with self._tap.cancel_token.cooperative(), self.get_record_counter() as counter, self.get_sync_timer():
            try:
                for records in filter(None, self.read()):
                    counter.increment(len(records))
                    while part := records[: writer.room]:
                        del records[: len(part)]
                        if passes_through:
                            writer.write(part)
                            self._increment_stream_state(part[-1])
                        else:
                            self._write_mapped(writer, part)
                        if not writer.room:
                            self._hand_over(writer)
            finally:
                self._hand_over(writer)

    def _write_mapped(self, writer: batches.BatchWriter, records: list[Record]) -> None:
        """Write records as the SDK maps them, also those before one at which that fails."""
        mapped: list[Record] = []
        try:
            for message in self._one_by_one(records):
                mapped.append(message.record)  # noqa: PERF401 (what there is when the next one fails)
        finally:
            # The bookmark has moved on with each of them.
            writer.write(mapped)

    def _hand_over(self, writer: batches.BatchWriter) -> None:
        """Hand the file that is being written to the loader, and say up to where that is all."""
        if writer.has_failed:
            return  # what the bookmark says is handed over is in no file
        if writer.count:
            self._write_batch_message(writer.encoding, writer.finish())
        else:
            self._after_hand_over()
        self._tap.state_writer.write_state(self.tap_state)
        self._tap.message_writer.flush()

    @override
    def _write_batch_message(self, encoding: BaseBatchFileEncoding, manifest: list[str]) -> None:
        super()._write_batch_message(encoding, manifest)
        self._after_hand_over()

    def _after_hand_over(self) -> None:
        """Do what has to wait until the loader has what was read."""

    @override
    def log(self, message: str, *args: t.Any, level: int = logging.INFO, **kwargs: t.Any) -> None:
        if level == logging.ERROR and message.startswith("An unhandled error"):
            level = logging.DEBUG  # the error itself is told in a line of its own
        super().log(message, *args, level=level, **kwargs)

    @override
    def _sync_records(
        self,
        context: Context | None = None,
        *,
        write_messages: bool = True,
    ) -> Generator[dict[str, t.Any], t.Any, t.Any]:
        """Sync, so that any end leaves whole lines and a STATE that is true.

        Overridden, as the SDK neither writes a last STATE when a sync fails, nor lets a stream write records that need
        no transformation faster than one by one.
        """
        if self.ABORT_AT_RECORD_COUNT is None:
            self._tap.clear_batch_folders()
        writer, passes_through = self._tap.message_writer, write_messages and self._passes_through
        with self._tap.cancel_token.cooperative(), self.get_record_counter() as counter, self.get_sync_timer():
            try:
                for records in filter(None, self.read()):
                    if passes_through:
                        envelope = RecordMessage(self.name, {}, self._stream_version, dt.datetime.now(timestamps.UTC))
                        writer.write_records(envelope, records)
                        self._increment_stream_state(records[-1])
                    else:
                        for message in self._one_by_one(records):
                            if write_messages:
                                writer.write_message(message)
                            else:
                                yield message.record
                    counter.increment(len(records))
                    if write_messages:
                        self._tap.state_writer.write_state(self.tap_state)
            finally:
                # Where records go into BATCH files the bookmark runs ahead of the messages.
                if write_messages:
                    self._tap.state_writer.write_state(self.tap_state)
                    # Not left to STATE: the SDK leaves out one that says nothing new.
                    writer.flush()

    @property
    def _passes_through(self) -> bool:
        """Whether the SDK would change nothing in a record."""
        maps = self.stream_maps
        return (
            self.ABORT_AT_RECORD_COUNT is None
            and len(maps) == 1
            and type(maps[0]) is SameRecordTransform
            and not maps[0].flattening_enabled
            and self.effective_schema.get("properties") == self.schema["properties"]
            and all(self.mask["properties", name] for name in self.schema["properties"])
        )

    def _one_by_one(self, records: list[Record]) -> Iterator[RecordMessage]:
        """Have the SDK make messages of records, each of which may be the last."""
        for record in records:
            self._check_max_record_limit(current_record_index=self._emitted)
            self._emitted += 1
            # First, as a map or a catalog may leave its time out; a bookmark there has it read again.
            self._increment_stream_state(record)
            yield from self._generate_record_messages(record)

    @override
    def _write_activate_version_message(self, full_table_version: int) -> None:
        pass  # the SDK's place for it is before the first record: a run that fails half way leaves every row dropped

    @override
    def finalize_state_progress_markers(self, state: dict[str, t.Any] | None = None) -> None:
        super().finalize_state_progress_markers(state)
        if self._stream_version is not None and self._left_out:
            # What a loader would take away could be one of those left out.
            self.logger.warning("No ACTIVATE_VERSION is sent, as some records could not be used")
        elif self._stream_version is not None:
            super()._write_activate_version_message(self._stream_version)
            self.logger.info("ACTIVATE_VERSION: the loader may take away every row of %s not read now", self.name)

    def _worker_pool(self) -> WorkerPool:
        return WorkerPool(self.config["max_parallel_requests"], self._tap.cancel_token, self._tap.message_writer.flush)

    def _start_progress(self, fraction_done: Callable[[], float]) -> Progress:
        """Begin to report how far this stream is."""
        progress = Progress(self.logger, self._tap.client, fraction_done=fraction_done)
        self._tap.message_writer.on_wait = progress.report
        return progress


class InvalidPhoneNumbersStream(BrazeStream):
    """Phone numbers that Braze has stopped messaging, each with when and why.

    Every (phone, invalid_detected_at) is one event: a number that left the list and was
    detected again is a second one.
    """

    name = "invalid_phone_numbers"
    primary_keys = ("phone", "invalid_detected_at")
    replication_key = "invalid_detected_at"
    #: Proven by the way windows are read.
    is_sorted = True
    #: What is read; a stream of a sister list differs in this, in its name and in its keys.
    braze_list = INVALID_PHONE_NUMBERS

    _checkpoint: Checkpoint

    def __init__(self, tap: BrazeTap) -> None:
        super().__init__(tap)
        #: What was found that differs from Braze's documents, each said once.
        self._differences: dict[str, None] = {}
        #: Windows of which the loader has yet to get a part.
        self._completed: deque[CompletedWindow] = deque()

    @override
    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        # The checkpoint keeps the bookmark out of the future by itself.
        return None

    @override
    def _increment_stream_state(self, latest_record: Record, *, context: Context | None = None) -> None:
        # The SDK would follow a lookback back, and a wrong clock into the future.
        self._checkpoint.advance(latest_record[self.braze_list.time_field])

    @override
    def read(self) -> Iterator[list[Record]]:
        """Read the windows, moving the bookmark on behind the records that were taken, through quiet months too."""
        config, now = self.config, dt.datetime.fromtimestamp(self._tap.initialized_at / 1000, timestamps.UTC)
        end = timestamps.parse(config["end_date"]) if "end_date" in config else None
        self._checkpoint = Checkpoint(
            self.stream_state,
            type(self).replication_key,
            start=timestamps.parse(config["start_date"]),
            end=end,
            lookback=dt.timedelta(minutes=config["lookback_minutes"]),
            now=now,
            logger=self.logger,
        )
        if self.replication_method != "INCREMENTAL":
            # One that nobody keeps when everything is read, whatever was read before.
            self._checkpoint = dataclasses.replace(self._checkpoint, state={})
        since = self._checkpoint.since
        yield from self._read_again()
        self.logger.info("Reading what was detected since %s", timestamps.format_utc(since))
        if end and end <= since:
            self.logger.warning(
                "end_date %s is not after what was read already, up to %s: there is nothing to read; "
                "a range of its own needs a state of its own",
                config["end_date"],
                timestamps.format_utc(since),
            )
        reader, reasons = self._reader(since, end, self._checkpoint.bookmark or ""), Reasons(config.get("reason"))
        with self._start_progress(lambda: reader.scheduler.fraction_done) as progress:
            for records, reached in self._records_of(reader, reasons, progress):
                yield records
                self._checkpoint.advance(reached)
        self._differences.update(dict.fromkeys(reader.differences()))
        for line in (*self._differences, *reasons.surprises()):
            self.logger.warning("%s", line)
        if ended_early := reader.scheduler.ended_early:
            end = timestamps.parse(reached)
        self.logger.log(
            logging.WARNING if ended_early else logging.INFO,
            "Read %s detected since %s%s: %s, %s%s%s",
            pluralize(progress.records, "record"),
            timestamps.format_utc(since),
            f" and before {timestamps.format_utc(end)}" if end else "",
            pluralize(reader.scheduler.windows, "window"),
            progress.summary,
            f"; {pluralize(self._left_out, 'record')} that cannot be used left out" if self._left_out else "",
            "; max_run_minutes is over, the next run goes on from there" if ended_early else "",
        )

    def _read_again(self) -> Iterator[list[Record]]:
        """Read the older days again whose turn it is: what left the list since is not among them any more."""
        if not (stretch := self._checkpoint.days_to_reread(self.config["reread_days"])):
            return
        since, until = stretch
        reader, reasons = self._reader(since, until, timestamps.format_utc(since)), Reasons(self.config.get("reason"))
        with self._start_progress(lambda: reader.scheduler.fraction_done) as progress:
            for records, reached in self._records_of(reader, reasons, progress):
                yield records
                self._checkpoint.note_reread(reached)
        self._differences.update(dict.fromkeys(reader.differences()))
        self.logger.info(
            "Read %s detected since %s and before %s again: %s, %s",
            pluralize(progress.records, "record"),
            timestamps.format_utc(since),
            timestamps.format_utc(until),
            pluralize(reader.scheduler.windows, "window"),
            progress.summary,
        )

    def _reader(self, since: dt.datetime, until: dt.datetime | None, beyond: str) -> ListReader:
        """Return what reads a range; a bounded run reads at least up to some instant further than `beyond`."""
        return ListReader(
            self._tap.client,
            self.braze_list,
            pool=self._worker_pool(),
            since=since,
            until=until,
            now=self._checkpoint.now,
            settings=self.config,
            known_order=self._checkpoint.known_order,
            deadline=self._tap.deadline(beyond=beyond),
        )

    def _records_of(
        self, reader: ListReader, reasons: Reasons, progress: Progress
    ) -> Iterator[tuple[list[Record], str]]:
        """Yield the wanted records, each time with the instant before which nothing is left to yield then."""
        for rows, reached in reader:
            self._checkpoint.cap_at_server_clock(dt.timedelta(seconds=self._tap.client.clock_skew))
            self._checkpoint.note_order(reader.scheduler.order)
            self._warn_of_unusable(reader)
            records = reasons.wanted(self.braze_list.records(rows))
            progress.records += len(records)
            yield records, reached
            progress.report()
            if not rows and reader.scheduler.log.completed and self.ABORT_AT_RECORD_COUNT is None:
                self._completed.append(reader.scheduler.log.completed)
                if not self._is_batched:
                    self._after_hand_over()

    @override
    def _after_hand_over(self) -> None:
        stream = t.cast("ReadWindowsStream", self._tap.streams[ReadWindowsStream.name])
        while self._completed:
            stream.add(self._completed.popleft())

    def _warn_of_unusable(self, reader: ListReader) -> None:
        """Say where the first records stand that cannot be used; of further ones, the last line has the number."""
        for problem in reader.new_unusable():
            self._left_out += 1
            if self._left_out <= MOST_WARNINGS:
                self.logger.warning("Left out a record that cannot be used, at %s", problem)


class ReadWindowsStream(BrazeStream):
    """What was read of the list: a record for each window, once all of its records are emitted.

    Its records come among those of `InvalidPhoneNumbersStream`: a run that is ended has told of all that it completed.
    """

    name = "read_windows"
    primary_keys = ("first_day", "last_day", "read_at")
    replication_key = None
    selected_by_default = False
    #: A log, of which no run has all rows.
    emit_activate_version_messages = False

    _is_announced = False

    def __init__(self, tap: BrazeTap) -> None:
        super().__init__(tap)
        self.selected_by_default = self.config["read_windows"]

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        super().apply_catalog(self._if_configured(catalog))
        self.forced_replication_method = "FULL_TABLE"

    def add(self, completed: CompletedWindow) -> None:
        """Emit the record of a window, if this stream is selected."""
        if not self.selected:
            return
        if not self._is_announced:
            self._is_announced = True
            self._write_schema_message()
        window, read_at = completed.window, timestamps.format_utc(completed.read_at)
        record: Record = {
            "first_day": window.first.isoformat(),
            "last_day": window.last.isoformat(),
            "read_at": read_at,
            "detected_from": window.since,
            "detected_before": window.until or read_at,
            "records": completed.records,
            "requests": completed.answers,
            "proven_by": completed.proof,
        }
        for message in self._generate_record_messages(record):
            self._tap.message_writer.write_message(message)

    @override
    def read(self) -> Iterator[list[Record]]:
        if not self._is_announced and self.ABORT_AT_RECORD_COUNT is None:
            self.logger.warning("No window of invalid_phone_numbers was read: is that stream selected?")
        yield []


class PhoneNumberStatusStream(BrazeStream):
    """Whether given phone numbers are on Braze's list: a record for each, on it or not."""

    name = "phone_number_status"
    primary_keys = ("phone",)
    replication_key = None
    selected_by_default = False

    #: Numbers that are looked up together, in one request or, while both spellings are asked for, in two.
    BATCH = LARGEST_LOOKUP

    def __init__(self, tap: BrazeTap) -> None:
        super().__init__(tap)
        self.selected_by_default = phone_numbers.are_configured(self.config)

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        super().apply_catalog(self._if_configured(catalog))
        # There is nothing to go on from: every number is asked about anew.
        self.forced_replication_method = "FULL_TABLE"

    @override
    def read(self) -> Iterator[list[Record]]:
        asked = phone_numbers.load(self.config)
        parser = ResponseParser(INVALID_PHONE_NUMBERS, skip_unusable=self.config["skip_bad_records"])
        lookup = NumberLookup(self._tap.client, parser.parse_lookup, self.logger)
        calls = [functools.partial(self._look_up, lookup, asked, start) for start in range(0, len(asked), self.BATCH)]
        listed = unreadable = 0
        with self._start_progress(lambda: progress.records / len(asked)) as progress:
            for batch, found, checked_at in self._worker_pool().map_ordered(calls):
                progress.records += len(batch)
                progress.report()
                records = [_status(phone, found.get(normalize(phone)), checked_at) for phone in batch]
                listed += sum(record["is_invalid"] for record in records)
                unreadable += sum(record["is_invalid"] and not record["invalid_detected_at"] for record in records)
                yield records
        for line in parser.surprises():
            self.logger.warning("%s", line)
        if unreadable:
            self.logger.warning(
                "Of %s on the list the time cannot be read, and is null", pluralize(unreadable, "number")
            )
        self.logger.info(
            "Asked about %s, %d of them on the list: %s", pluralize(len(asked), "number"), listed, progress.summary
        )

    def _look_up(self, lookup: NumberLookup, asked: Sequence[str], start: int) -> Batch:
        batch = asked[start : start + self.BATCH]
        found = lookup.find([normalize(phone) for phone in batch], first=start + 1)
        return batch, found, timestamps.format_utc(dt.datetime.now(timestamps.UTC))


def _status(phone: str, found: Row | None, checked_at: str) -> Record:
    detected_at, _, *others = found or (None, phone)
    return {
        "phone": phone,
        "is_invalid": found is not None,
        "reason": next(iter(others), None),
        "invalid_detected_at": detected_at or None,
        "checked_at": checked_at,
    }
