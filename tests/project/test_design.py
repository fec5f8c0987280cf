"""docs/ tells what the code does: the worked example, the numbers of the promises, the words."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from support.paths import ROOT
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.page import Page, Row
from tap_braze_sms.reading.repairs import unproven_times
from tap_braze_sms.reading.window_reader import WindowReader
from tap_braze_sms.reading.windows import Window

DESIGN, GUARANTEES, GLOSSARY = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("design", "guarantees", "glossary")
)

DAY = dt.date(2026, 3, 2)
#: Records of an answer in the example.
SIZE = 5


def table_below(title: str, text: str, number: int) -> list[list[str]]:
    """Return the rows of a section's table."""
    section = re.split(r"^#+ ", text.partition(f"# {title}\n")[2], flags=re.MULTILINE)[0]
    tables = re.findall(r"((?:^\|.*\n)+)", section, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[number].splitlines()]
    return [rows[0], *rows[2:]]


def test_the_worked_example_is_what_the_reader_does():
    names, times, at_first, afterwards = (row[1:] for row in table_below("An example", DESIGN, 0))
    _, *steps = table_below("An example", DESIGN, 1)
    listed: list[Row] = []
    for name, time in zip(names, times, strict=True):
        instant = dt.datetime.combine(DAY, dt.time.fromisoformat(time), timestamps.UTC)
        listed.append((timestamps.format_utc(instant), name))
    assert at_first == [str(position) for position in range(len(listed))]
    stayed = [row for row, position in zip(listed, afterwards, strict=True) if position]
    assert [position for position in afterwards if position] == [str(position) for position in range(len(stayed))]
    since = timestamps.midnight(DAY).replace("T00:00", "T10:30")
    window = Window(DAY, 1, since, timestamps.midnight(DAY + dt.timedelta(days=1)))
    reader = WindowReader(window, identify=lambda row: row, page_size=SIZE, largest=SIZE)
    for number, (told, offset, answer, _, unproven) in enumerate(steps, 1):
        assert int(told) == number
        request = reader.next_request()
        assert (request.offset, request.limit) == (int(offset), SIZE)
        rows = (listed if number == 1 else stayed)[request.offset : request.offset + SIZE]
        assert " ".join(row[1] for row in rows) == answer
        reader.add_page(request, Page.of(rows, offset=request.offset, limit=SIZE))
        assert [time[11:16] for time in unproven_times(reader._pages, reader.order, window.since)] == unproven.split()
    assert reader.done
    read = [row[1] for rows in reader.rows() for row in rows]
    assert read == names[-2::-1]


def test_every_promise_has_its_number_once():
    numbers = re.findall(r"^(?:- )?\*\*(\d+)\.", GUARANTEES, re.MULTILINE)
    assert sorted(map(int, numbers)) == list(range(1, 30))


@pytest.mark.parametrize("page", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda page: page.name)
def test_tests_cite_promises_that_there_are(page):
    promised = set(map(int, re.findall(r"^(?:- )?\*\*(\d+)\.", GUARANTEES, re.MULTILINE)))
    first, _, _ = page.read_text().partition("\n\n")
    for cited in re.findall(r"\(promises? ([^)]*)\)", first):
        ranges = re.findall(r"(\d+)(?: to (\d+))?", cited)
        assert {n for low, high in ranges for n in range(int(low), int(high or low) + 1)} <= promised


def test_the_glossary_is_in_order():
    words = re.findall(r"^\| ([^|]+) \|", GLOSSARY, re.MULTILINE)[2:]
    assert len(words) > 40
    assert words == sorted(words, key=str.casefold)
