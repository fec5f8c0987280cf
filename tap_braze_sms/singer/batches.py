"""BATCH files: what the SDK cannot write of them."""

from __future__ import annotations

import typing as t
from uuid import uuid4

from singer_sdk.batch import BaseBatcher, Batcher, lazy_chunked_generator
from singer_sdk.singerlib.json import serialize_json
from typing_extensions import override

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk.helpers.types import Record


class PlainLinesBatcher(BaseBatcher):
    """Writes records as JSON lines without compression: the SDK compresses them whatever it is told."""

    @override
    def get_batches(self, records: Iterator[Record]) -> Iterator[list[str]]:
        storage = self.batch_config.storage
        begin = f"{storage.prefix or ''}{self.tap_name}--{self.stream_name}-{uuid4()}"
        for number, chunk in enumerate(lazy_chunked_generator(records, self.batch_config.batch_size), start=1):
            name = f"{begin}-{number}.json"
            with storage.open(name, "wb") as file:
                file.writelines(f"{serialize_json(record)}\n".encode() for record in chunk)
            yield [storage.get_url(name)]


def batcher_for(format_: str, compression: str | None) -> type[BaseBatcher]:
    """Return what writes files that are what their BATCH message says."""
    return PlainLinesBatcher if format_ == "jsonl" and compression in {None, "none"} else Batcher
