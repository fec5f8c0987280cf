"""Runs of the plugins on a simulated Braze: their settings and messages, and what they have to emit."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import typing as t

from support.commands import Run
from tap_braze_sms.reading import timestamps

if t.TYPE_CHECKING:
    from collections.abc import Iterable

    from braze_simulator import Entry, Simulator

KEY = "simulator-key"

#: So that every number is one text.
ONE_SPELLING = {"phone_spelling": "plus"}


def lines(*messages: dict) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def config_for(serving: Simulator, **settings: object) -> dict:
    return {"api_key": KEY, "api_url": serving.url, "start_date": "2020-01-01", **settings}


def run_here(config: dict, *, state: dict | None = None, catalog: dict | None = None) -> Run:
    """Run the tap in this process; an error is raised as it is."""
    # What needs no run needs no SDK either.
    from tap_braze_sms.tap import TapBrazeSMS

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        TapBrazeSMS(config=config, state=state, catalog=catalog).sync_all()
    return Run(0, out.getvalue().encode(), "")


def fixed(moment: dt.datetime) -> str:
    """Write a time as the tap has to."""
    return moment.astimezone(dt.timezone.utc).isoformat(timespec="microseconds")


def row_of(entry: Entry) -> tuple[str, str, str]:
    """Return what the tap has to emit for a number on the list, as something that can be sorted."""
    return fixed(entry.detected_at), entry.phone, entry.reason or ""


def detections(serving: Simulator) -> list[tuple[str, dt.datetime]]:
    """Return the numbers on the list and their times, as a warehouse has them that knows no zones."""
    return sorted((entry.phone, entry.detected_at.replace(tzinfo=None)) for entry in serving.entries())


def rows_of(records: list[dict]) -> list[tuple[str, str, str]]:
    """Return what the tap emitted in the same form."""
    return [(record["invalid_detected_at"], record["phone"], record["reason"] or "") for record in records]


def assert_exact(run: Run, entries: Iterable[Entry]) -> None:
    """Check that a run emitted these numbers: none missing, none twice, oldest first."""
    rows, wanted = rows_of(run.records), sorted(map(row_of, entries))
    assert len(rows) == len(wanted)
    assert sorted(rows) == wanted
    assert [row[0] for row in rows] == [row[0] for row in wanted]


def key_of(entry: Entry) -> tuple[str, str]:
    return entry.phone.lstrip("+"), timestamps.format_utc(entry.detected_at)


def keys_of(records: list[dict]) -> list[tuple[str, str]]:
    return [(record["phone"].lstrip("+"), record["invalid_detected_at"]) for record in records]


def assert_true(serving: Simulator, before: list[Entry], records: list[dict]) -> None:
    """Nothing lost that stayed, nothing doubled, nothing invented, in order."""
    removed = {key_of(entry) for entry in serving.removed}
    stayed = {key_of(entry) for entry in before} - removed
    found = keys_of(records)
    assert stayed <= set(found), f"{len(stayed - set(found))} lost"
    assert len(found) == len(set(found)), "doubled"
    assert set(found) <= {key_of(entry) for entry in [*before, *serving.added]}, "invented"
    moments = [record["invalid_detected_at"] for record in records]
    assert moments == sorted(moments), "out of order"


def state_of(bookmark: str) -> dict:
    return {
        "bookmarks": {
            "invalid_phone_numbers": {
                "replication_key": "invalid_detected_at",
                "replication_key_value": bookmark,
            }
        }
    }
