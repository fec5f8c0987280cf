"""The demo's chart shows what the warehouse holds: no more, no less, and in proportion."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
from collections import Counter
from xml.etree import ElementTree as ET

import duckdb
import pytest

from support.paths import ROOT

CHART = ROOT / "demo" / "chart.py"
SVG = "{http://www.w3.org/2000/svg}"

FIRST = dt.date(2025, 12, 29)  # A Monday.
COUNTS = {
    (dt.date(2025, 12, 29), "provider_error"): 40,
    (dt.date(2025, 12, 29), "deactivated"): 12,
    (dt.date(2025, 12, 30), "deactivated"): 3,
    (dt.date(2026, 1, 2), "(none)"): 5,
    (dt.date(2026, 1, 2), "<new> & odd"): 7,
    (dt.date(2026, 1, 7), "provider_error"): 20,
    (dt.date(2026, 1, 7), "invalid_format"): 20,
    (dt.date(2026, 1, 11), "(none)"): 64,
}
TOTALS = {"provider_error": 60, "deactivated": 15, "invalid_format": 20, "(none)": 69, "<new> & odd": 7}


def warehouse(folder, counts):
    """Fill a table as target-duckdb does, from the first to the last millisecond of each day."""
    file = folder / "warehouse.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE SCHEMA braze")
        connection.execute(
            "CREATE TABLE braze.invalid_phone_numbers (phone VARCHAR, invalid_detected_at TIMESTAMP, reason VARCHAR)"
        )
        for (day, reason), count in counts.items():
            connection.execute(
                "INSERT INTO braze.invalid_phone_numbers SELECT '1200555' || number, CASE number % 2 WHEN 0 THEN $day "
                "ELSE $day + INTERVAL 1 DAY - INTERVAL 1 MILLISECOND END, $reason FROM range($count) rows(number)",
                {"day": day, "reason": None if reason == "(none)" else reason, "count": count},
            )
    return file


def chart(*arguments):
    return subprocess.run([sys.executable, CHART, *arguments], capture_output=True, encoding="utf-8", check=False)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    return warehouse(tmp_path_factory.mktemp("chart"), COUNTS)


@pytest.fixture(scope="module")
def picture(filled):
    file = filled.with_name("picture.svg")
    done = chart(filled, file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return ET.parse(file).getroot()  # noqa: S314  (our own)


def numbers(element, *names):
    return [float(element.get(name)) for name in names]


def text_of(element):
    return " ".join("".join(element.itertext()).split())


def legend(picture):
    """Return the total that stands beside each reason, and the colour."""
    (line,) = (text for text in picture.iter(f"{SVG}text") if text.find(f"{SVG}tspan") is not None)
    entries = re.findall(r"■ (.+?) ([\d,]+)(?= ■|$)", text_of(line))
    colours = [mark.get("fill") for mark in line.iter(f"{SVG}tspan")]
    return {reason: (int(total), colour) for (reason, total), colour in zip(entries, colours, strict=True)}


def bars(picture):
    (group,) = (group for group in picture.iter(f"{SVG}g") if group.get("id") == "bars")
    moved = re.fullmatch(r"translate\((\S+) (\S+)\) scale\((\S+) (\S+)\)", group.get("transform"))
    return group, map(float, moved.groups())


def test_each_day_and_reason_is_a_bar_as_high_as_its_count(picture):
    group, _ = bars(picture)
    by_colour = Counter()
    for bar in group.iter(f"{SVG}rect"):
        day, width, height = numbers(bar, "x", "width", "height")
        assert width == 1
        by_colour[FIRST + dt.timedelta(days=day), bar.get("fill")] += height
    # The reasons without a colour of their own share one.
    expected = Counter()
    for (day, reason), count in COUNTS.items():
        expected[day, legend(picture)[reason][1]] += count
    assert by_colour == expected
    assert len([*group.iter(f"{SVG}rect")]) == len(COUNTS)


def test_bars_of_a_day_stand_on_each_other_and_say_their_counts(picture):
    group, _ = bars(picture)
    for day in group:
        top = 0
        for bar in day.iter(f"{SVG}rect"):
            y, height = numbers(bar, "y", "height")
            assert y == top
            top += height
        assert text_of(day.find(f"{SVG}title")).split(" ")[1] == str(int(top))
    titles = [text_of(day.find(f"{SVG}title")) for day in group]
    assert titles[:3] == [
        "2025-12-29: 52 (provider_error 40, deactivated 12)",
        "2025-12-30: 3 (deactivated 3)",
        "2026-01-02: 12 ((none) 5, <new> & odd 7)",
    ]


def test_the_legend_has_the_totals_and_known_reasons_have_colours_of_their_own(picture):
    entries = legend(picture)
    assert {reason: total for reason, (total, _) in entries.items()} == TOTALS
    known = [entries[reason][1] for reason in ("provider_error", "deactivated", "invalid_format")]
    assert len({*known, entries["(none)"][1]}) == 4


def test_axes_and_bars_have_one_scale(picture):
    _, (left, base, day_width, minus_number_height) = bars(picture)
    labels = {text_of(text): text for text in picture.iter(f"{SVG}text")}
    for value in (0, 20, 40, 60):
        assert float(labels[str(value)].get("y")) - 4 == pytest.approx(base + value * minus_number_height, abs=0.06)
    # The highest bar and the last day end inside.
    _, _, width, height = map(float, picture.get("viewBox").split())
    assert 100 < base + 64 * minus_number_height < base < height
    assert left + 14 * day_width < width
    assert float(labels["Jan"].get("x")) == pytest.approx(left + 3 * day_width, abs=0.06)
    assert "2026-01-11: 64" in labels
    assert "171 detections, 2025-12-29 to 2026-01-11 (UTC)" in labels


def test_the_text_has_a_column_for_each_week(filled):
    done = chart(filled)
    assert (done.returncode, done.stderr) == (0, "")
    *rows, axis, dates, reasons = done.stdout.splitlines()
    assert axis == "  0 └┬─"
    assert dates.split() == ["2025-12-29"]
    assert reasons == "█ provider_error  ▒ deactivated  ▓ invalid_format  ░ (none)  ░ <new> & odd"
    weeks = ["".join(column).strip() for column in zip(*(row[5:].ljust(2) for row in reversed(rows)), strict=True)]
    # 67 and 104 numbers: a row is 104 / 14 of them.
    assert weeks == ["█████▒▒░░", "███▓▓░░░░░░░░░"]
    levels = {int(row.split()[0]): number for number, row in enumerate(reversed(rows), 1) if "┤" in row}
    assert levels == {50: 7, 100: 14}


def test_a_terminal_gets_the_same_text_in_colours(filled):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run([sys.executable, CHART, filled], stdout=theirs, env=environment, check=True)
    seen = os.read(ours, 100_000).decode().replace("\r\n", "\n")
    os.close(theirs)
    os.close(ours)
    assert "\33[38;5;32m█\33[0m provider_error" in seen
    assert re.sub("\33.*?m", "", seen) == chart(filled).stdout


def test_a_year_of_text_fits_into_a_terminal(tmp_path):
    ends = {(dt.date(2025, 11, 21), "deactivated"): 2_000, (dt.date(2026, 11, 21), "deactivated"): 1_000}
    done = chart(warehouse(tmp_path, ends))
    lines = done.stdout.splitlines()
    # The demo indents by five.
    assert 60 < max(map(len, lines)) <= 75
    assert "\33" not in done.stdout


def test_an_empty_table_is_said_to_be_empty(tmp_path):
    done = chart(warehouse(tmp_path, {}), tmp_path / "picture.svg")
    assert done.returncode == 1
    assert done.stderr == "braze.invalid_phone_numbers is empty: there is nothing to draw.\n"
    assert not (tmp_path / "picture.svg").exists()
