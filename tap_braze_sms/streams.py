"""The streams, as declarations, and how they are read."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import logging
import typing as t
from operator import itemgetter
from pathlib import Path

from singer_sdk import SchemaDirectory, Stream, StreamSchema
from singer_sdk.exceptions import ConfigurationError
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib import RecordMessage
from typing_extensions import override

from tap_braze_sms import asked_numbers, times
from tap_braze_sms.checkpoint import Checkpoint
from tap_braze_sms.client import LARGEST_PAGE, LARGEST_REMOVAL
from tap_braze_sms.crew import Crew
from tap_braze_sms.messages import LoaderGoneError
from tap_braze_sms.progress import Progress, counted
from tap_braze_sms.records import BrokenAnswerError, Page, PageReader, Row, digits
from tap_braze_sms.walk import Walk
from tap_braze_sms.windows import Planner

if t.TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from singer_sdk.helpers._batch import BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib import Catalog

    from tap_braze_sms.tap import TapBrazeSMS

# Inside the package in a wheel, beside it in a checkout.
_PACKAGE = Path(__file__).parent
SCHEMAS = next(d for d in (_PACKAGE / "schemas", _PACKAGE.parent / "schemas") if d.is_dir())


class BrazeStream(Stream):
    """What the streams of this tap have in common."""

    _tap: TapBrazeSMS
    _version_to_activate: int | None = None
    _progress: Progress | None = None
    schema = StreamSchema(SchemaDirectory(SCHEMAS))

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

        Overridden, as the SDK neither writes a last STATE when a sync fails, nor lets a
        stream write records that need no transformation faster than one by one.
        """
        with self._tap.stop.watched():
            try:
                yield from self._emit(context, write_messages=write_messages)
                if write_messages:
                    self._activate_version()
                    self._tap.message_writer.flush()
            except BaseException:
                # Where records go into BATCH files the bookmark runs ahead of the messages.
                if write_messages:
                    with contextlib.suppress(LoaderGoneError):
                        self._tap.state_writer.write_state(self.tap_state)
                        # Not left to STATE: the SDK leaves out one that says nothing new.
                        self._tap.message_writer.flush()
                raise

    def _emit(self, context: Context | None, *, write_messages: bool) -> Iterator[dict[str, t.Any]]:
        records = super()._sync_records(context, write_messages=write_messages)
        if write_messages:
            yield from records
            return
        # Into BATCH files the SDK puts records as they are read, whatever the stream maps
        # and the selection say: a number that should be hashed would arrive in clear.
        if len(self.stream_maps) > 1:
            msg = (
                f"stream {self.name} is mapped to {len(self.stream_maps)} streams, which BATCH files "
                "cannot hold apart: take batch_config or the extra stream maps away"
            )
            raise ConfigurationError(msg)
        for record in records:
            for message in self._generate_record_messages(record):
                yield message.record

    @override
    def _sync_batches(self, batch_config: BatchConfig, context: Context | None = None) -> None:
        super()._sync_batches(batch_config, context)
        self._activate_version()

    @override
    def _write_activate_version_message(self, full_table_version: int) -> None:
        # The SDK activates the new version before its first record: a loader then drops
        # every row, and one that fails half way leaves them dropped.
        self._version_to_activate = full_table_version

    def _activate_version(self) -> None:
        if self._version_to_activate is not None:
            super()._write_activate_version_message(self._version_to_activate)
            self.logger.info("ACTIVATE_VERSION: the loader may take away every row of %s not read now", self.name)

    def _crew(self) -> Crew:
        return Crew(self.config["max_parallel_requests"], self._tap.stop, self._before_waiting)

    def _before_waiting(self) -> None:
        self._tap.message_writer.flush()
        if self._progress:
            self._progress.tell()

    def _begun(self, share: Callable[[], float]) -> Progress:
        """Begin to tell how far this stream is."""
        self._progress = Progress(self.logger, self._tap.client, share=share)
        self._tap.message_writer.while_waiting = self._progress.tell
        return self._progress


class InvalidPhoneNumbersStream(BrazeStream):
    """Phone numbers that Braze has stopped messaging, each with when and why.

    Every (phone, invalid_detected_at) is one event: a number that left the list and was
    detected again is a second one.
    """

    name = "invalid_phone_numbers"
    primary_keys = ("phone", "invalid_detected_at")
    replication_key = "invalid_detected_at"
    #: Proven by the way windows are read; the SDK's own check is not asked, which a lookback would fail.
    is_sorted = True

    @override
    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        # The checkpoint keeps the bookmark out of the future by itself.
        return None

    @override
    def get_records(self, context: Context | None) -> Iterator[Record]:
        for rows in self._read():
            yield from _records(rows)

    @functools.cached_property
    def _checkpoint(self) -> Checkpoint:
        """The bookmark; one that nobody keeps when everything is read, whatever was read before."""
        return Checkpoint(
            self.stream_state if self.replication_method == "INCREMENTAL" else {},
            type(self).replication_key,
            start=times.moment(self.config["start_date"]),
            end=self._end,
            lookback=dt.timedelta(minutes=self.config["lookback_minutes"]),
            now=self._now,
            logger=self.logger,
        )

    @property
    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._tap.initialized_at / 1000, times.UTC)

    @property
    def _end(self) -> dt.datetime | None:
        return times.moment(self.config["end_date"]) if "end_date" in self.config else None

    def _read(self) -> Iterator[list[Row]]:
        """Walk the windows, moving the bookmark on behind the rows that were taken, through quiet months too."""
        since = self._checkpoint.since
        self.logger.info("Reading what was detected since %s", times.fixed(since))
        if self._end and self._end <= since:
            self.logger.warning(
                "end_date %s is not after what was read already, up to %s: there is nothing to read; "
                "a range of its own needs a state of its own",
                self.config["end_date"],
                times.fixed(since),
            )
        plan = Planner(since, self._end, today=self._now.date(), widest=self.config["window_days"])
        reader = PageReader()
        walk = Walk(
            plan,
            functools.partial(self._fetch, reader),
            page_size=self.config["page_size"],
            crew=self._crew(),
        )
        progress = self._begun(lambda: walk.share)

        with progress:
            for rows, reached in walk:
                self._checkpoint.heed(dt.timedelta(seconds=self._tap.client.clock_lead))
                progress.records += len(rows)
                yield rows
                progress.tell()
                self._checkpoint.advance(reached)
        if reader.unknown:
            self.logger.warning(
                "Braze's records have fields that this version of the tap does not know and leaves out: %s",
                ", ".join(sorted(reader.unknown)),
            )
        self.logger.info(
            "Read %s detected since %s%s: %s, %s",
            counted(progress.records, "record"),
            times.fixed(since),
            f" and before {times.fixed(self._end)}" if self._end else "",
            counted(walk.windows, "window"),
            progress.summary,
        )

    def _fetch(self, reader: PageReader, dates: tuple[str, str], offset: int, limit: int, where: str) -> Page:
        params = {
            "start_date": dates[0],
            "end_date": dates[1],
            "limit": limit,
            "offset": offset,
            "reason": self.config.get("reason"),
        }
        read = functools.partial(reader.read, offset=offset, limit=limit, dates=dates)
        return self._tap.client.get(params, read, what=where)

    # The SDK's bookkeeping, replaced by the checkpoint's

    @override
    def _write_starting_replication_value(self, context: Context | None) -> None:
        pass  # would leave a second, older time in every STATE

    @override
    def _increment_stream_state(self, latest_record: Record, *, context: Context | None = None) -> None:
        # The SDK would follow a lookback back, and a wrong clock into the future.
        if detected_at := latest_record.get("invalid_detected_at"):  # a catalog may leave it out
            self._checkpoint.advance(detected_at)

    # Records that need no transformation

    @override
    def _emit(self, context: Context | None, *, write_messages: bool) -> Iterator[dict[str, t.Any]]:
        if not (write_messages and self._passes_through):
            yield from super()._emit(context, write_messages=write_messages)
            return
        with self.get_record_counter() as counter, self.get_sync_timer():
            for rows in filter(None, self._read()):
                around = RecordMessage(self.name, {}, self._stream_version, dt.datetime.now(times.UTC))
                self._tap.message_writer.write_records(around, _records(rows))
                counter.increment(len(rows))
                self._checkpoint.advance(rows[-1][0])
                self._tap.state_writer.write_state(self.tap_state)
        self._tap.state_writer.write_state(self.tap_state)

    @property
    def _passes_through(self) -> bool:
        """Whether the SDK's standard path would change nothing in a record."""
        maps = self.stream_maps
        return (
            self.ABORT_AT_RECORD_COUNT is None
            and len(maps) == 1
            and type(maps[0]) is SameRecordTransform
            and not maps[0].flattening_enabled
            and self.effective_schema.get("properties") == self.schema["properties"]
            and all(self.mask["properties", name] for name in self.schema["properties"])
        )


def _records(rows: list[Row]) -> list[Record]:
    return [{"phone": phone, "invalid_detected_at": at, "reason": reason} for at, phone, reason in rows]


class PhoneNumberStatusStream(BrazeStream):
    """Whether given phone numbers are on Braze's list: a record for each, on it or not."""

    name = "phone_number_status"
    primary_keys = ("phone",)
    selected_by_default = False

    #: Numbers of one request. Braze documents no maximum; this is what it takes in one
    #: removal, and keeps addresses short enough for any proxy.
    BATCH = LARGEST_REMOVAL

    def __init__(self, tap: TapBrazeSMS) -> None:
        """Select the stream when there are numbers to ask about."""
        super().__init__(tap)
        self.selected_by_default = asked_numbers.are_configured(self.config)

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        super().apply_catalog(catalog)
        # There is nothing to go on from: every number is asked about anew.
        self.forced_replication_method, self.replication_key = "FULL_TABLE", None
        # Meltano selects every stream unless told otherwise; an empty table helps nobody.
        if self.selected and not self.selected_by_default:
            self.selected = False

    @override
    def get_records(self, context: Context | None) -> Iterator[Record]:
        asked = asked_numbers.asked_about(self.config)
        calls = [functools.partial(self._look_up, asked, start) for start in range(0, len(asked), self.BATCH)]
        listed = 0
        with self._begun(lambda: progress.records / len(asked)) as progress:
            for batch, found, checked_at in self._crew().in_order(calls):
                progress.records += len(batch)
                progress.tell()
                for phone in batch:
                    detected_at, _, reason = found.get(digits(phone), (None, phone, None))
                    listed += detected_at is not None
                    yield {
                        "phone": phone,
                        "is_invalid": detected_at is not None,
                        "reason": reason,
                        "invalid_detected_at": detected_at,
                        "checked_at": checked_at,
                    }
        self.logger.info(
            "Asked about %s, %d of them on the list: %s", counted(len(asked), "number"), listed, progress.summary
        )

    def _look_up(self, asked: Sequence[str], start: int) -> tuple[Sequence[str], dict[str, Row], str]:
        """Give a batch of numbers, what Braze has of them, by their digits, and when it was asked."""
        batch = asked[start : start + self.BATCH]
        where = f"numbers {start + 1} to {start + len(batch)}"
        numbers = [digits(phone) for phone in batch]

        def read(body: bytes) -> dict[str, Row]:
            # Oldest first, so that the latest detection of a number stays.
            found = {digits(row[1]): row for row in sorted(PageReader().rows(body), key=itemgetter(0))}
            if not found.keys() <= set(numbers):
                msg = "the answer is about other numbers than were asked about"
                raise BrokenAnswerError(msg)
            return found

        params = {"phone_numbers[]": [f"+{number}" for number in numbers], "limit": LARGEST_PAGE}
        found = self._tap.client.get(params, read, what=where)
        return batch, found, times.fixed(dt.datetime.now(times.UTC))
