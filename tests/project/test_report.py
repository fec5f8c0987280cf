"""The page about the list shows what the warehouse holds, in proportion, and needs nothing but itself."""

from __future__ import annotations

import contextlib
import datetime as dt
import html.parser
import json
import re
import sqlite3
import statistics
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from support.fixtures import Database
from support.paths import ROOT

SCRIPT = ROOT / "reporting" / "report.py"
SVG = "{http://www.w3.org/2000/svg}"

#: What leads out of a page, of all that may stand in one.
LEADING_OUT = {"src", "href", "srcset", "data", "action", "poster"}

COUNTS = {
    (dt.date(2025, 12, 29), "provider_error"): 40,
    (dt.date(2025, 12, 29), "deactivated"): 12,
    (dt.date(2025, 12, 30), "deactivated"): 3,
    (dt.date(2026, 1, 2), None): 5,
    (dt.date(2026, 1, 2), "<new> & odd"): 7,
    (dt.date(2026, 1, 7), "provider_error"): 20,
    (dt.date(2026, 1, 7), "invalid_format"): 20,
    (dt.date(2026, 1, 11), None): 64,
}
TOTALS = {"provider_error": 60, "deactivated": 15, "invalid_format": 20, "unknown": 69, "<new> & odd": 7}
COLOURS = {"provider_error": "#0072b2", "deactivated": "#e69f00", "invalid_format": "#882255"}
#: Of the first day's, all that carriers deactivated are gone.
LEFT = dt.datetime(2026, 1, 9, 3, 30)  # noqa: DTZ001  (a warehouse's times have no zone)


def detections():
    """Yield rows as a loader makes them, from the first to the last millisecond of each day."""
    number = 0
    for (day, reason), count in COUNTS.items():
        for place in range(count):
            number += 1
            time = dt.time.min if place % 2 else dt.time(23, 59, 59, 999_000)
            gone = LEFT if (day, reason) == (dt.date(2025, 12, 29), "deactivated") else None
            code = "44" if reason == "invalid_format" else "1"
            yield f"{code}200555{number:04}", dt.datetime.combine(day, time), reason, gone


@pytest.fixture(scope="module")
def postgres(server):
    import psycopg

    database = Database(server)
    with psycopg.connect(database.uri) as connection:
        connection.execute("CREATE SCHEMA braze")
        connection.execute(
            "CREATE TABLE braze.invalid_phone_numbers (phone text, invalid_detected_at timestamp, reason text,"
            " _sdc_deleted_at timestamp)"
        )
        connection.cursor().executemany(
            "INSERT INTO braze.invalid_phone_numbers VALUES (%s, %s, %s, %s)", list(detections())
        )
    return ["--postgres", database.url]


def report(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, encoding="utf-8", check=False)


class Page(html.parser.HTMLParser):
    """What stands in a page: texts, tables, pictures, and what leads out of it."""

    def __init__(self, text):
        super().__init__()
        self.leading_out = []
        self.tags = Counter()
        self.feed(text)
        self.svgs = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]  # noqa: S314  (our own)
        self.tiles = {
            name: int(value.replace(",", "")) for name, value in re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text)
        }
        self.tables = [
            [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
            for table in re.findall(r"<table>(.*?)</table>", text, re.DOTALL)
        ]

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.leading_out += [value for name, value in attrs if name.partition(":")[2] == "href" or name in LEADING_OUT]


def bars(svg, colour):
    """Return the bars of a colour, from left to right and upwards: left, bottom, width and height of each."""
    number = r"(-?[\d.e-]+)"
    shape = re.compile(rf"M{number},{number}h{number}v{number}h-{number}Z")
    (group,) = [group for group in svg.iter(f"{SVG}g") if group.get("class") == "mark-rect role-mark marks"]
    paths = [path.get("d") for path in group if path.get("fill") == colour]
    found = [tuple(map(float, shape.fullmatch(path).groups()[:4])) for path in paths]
    boxes = [(left, top + height, width, height) for left, top, width, height in found]
    return sorted(boxes, key=lambda box: (box[0], -box[1]))


def texts(svg):
    return [" ".join("".join(text.itertext()).split()) for text in svg.iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def text(postgres, tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    done = report(*postgres, file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_page_needs_nothing_but_itself_and_names_no_number(page, text):
    assert page.leading_out == []
    assert page.tags["script"] == page.tags["link"] == page.tags["img"] == page.tags["iframe"] == 0
    assert "url(" not in text
    assert "@import" not in text
    assert set(re.findall(r"https?://[^\"' )<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "default-src 'none'" in text
    assert not re.search(r"200555\d{4}", text)


def test_each_day_and_reason_is_a_bar_as_high_as_its_count(page):
    colours = {**COLOURS, "other": "#8b949e"}
    drawn = {reason: bars(page.svgs[0], colour) for reason, colour in colours.items()}
    unit = max(height for *_, height in drawn["other"]) / 64
    assert {reason: [round(height / unit, 1) for *_, height in found] for reason, found in drawn.items()} == {
        "provider_error": [40, 20],
        "deactivated": [12, 3],
        "invalid_format": [20],
        # No reason, and one that Braze added: they share a colour.
        "other": [7, 5, 64],
    }
    (left, bottom, width, height), (above_left, above_bottom, *_) = drawn["provider_error"][0], drawn["deactivated"][0]
    assert (above_left, above_bottom) == pytest.approx((left, bottom - height))
    # Days are as far apart as they are: from the first to the last it is as far as thirteen days.
    days = sorted({left for found in drawn.values() for left, *_ in found})
    assert (days[-1] - days[0]) / (days[1] - days[0]) == pytest.approx(13, abs=0.2)
    assert width == pytest.approx(days[1] - days[0], abs=1.1)


def test_legend_and_titles_have_the_totals(page):
    said = texts(page.svgs[0])
    assert {f"{reason} {total}" for reason, total in TOTALS.items()} <= set(said)
    assert "171 detections, 2025-12-29 to 2026-01-11 (UTC)" in said
    assert "159 at the end of 2026-01-11 (UTC)" in texts(page.svgs[1])
    assert page.tiles == {
        "numbers on the list": 159,
        "detections in all": 171,
        "in the last 7 days": 0,
        "left the list": 12,
    }


def test_the_size_of_the_list_rises_and_falls(page):
    (line,) = [path for path in page.svgs[1].iter(f"{SVG}path") if path.get("stroke") == "#0072b2"]
    points = [tuple(map(float, point)) for point in re.findall(r"(-?[\d.]+),(-?[\d.]+)", line.get("d"))]
    heights = [points[0][1], *(here[1] for before, here in pairwise(points) if here[1] != before[1])]
    unit = (heights[0] - heights[-1]) / (159 - 52)
    sizes = [52 + (heights[0] - height) / unit for height in heights]
    assert sizes == pytest.approx([52, 55, 67, 107, 95, 159], abs=0.05)


def test_what_left_and_the_calling_codes_are_shown(page):
    assert page.tables[0] == [
        ["noticed on", "reason", "numbers", "listed again", "days listed, on average"],
        ["2026-01-09", "deactivated", "12", "0", "11"],
    ]
    said = texts(page.svgs[2])
    assert [text for text in said if text.startswith("+")] == ["+1", "+44"]
    assert {"139", "20"} <= set(said)


def test_the_last_runs_are_those_that_meltano_knows_of(postgres, tmp_path):
    database = tmp_path / "meltano.db"
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE runs (job_name, started_at, ended_at, state)")
        rows = [
            ("dev:tap-braze-sms-to-target-postgres", "2026-01-10 02:20:00.5", "2026-01-10 02:20:08.7", "SUCCESS"),
            ("dev:tap-braze-sms-to-target-postgres", "2026-01-11 02:20:00", None, "RUNNING"),
            ("dev:tap-other-to-target-postgres", "2026-01-11 02:20:00", "2026-01-11 02:30:00", "FAIL"),
        ]
        connection.executemany("INSERT INTO runs VALUES (?, ?, ?, ?)", rows)
    file = tmp_path / "report.html"
    assert report(*postgres, "--runs", database, file).returncode == 0
    assert Page(file.read_text(encoding="utf-8")).tables[-1] == [
        ["started (UTC)", "state id", "seconds", "ended as"],
        ["2026-01-11 02:20:00", "dev:tap-braze-sms-to-target-postgres", "", "running"],
        ["2026-01-10 02:20:00", "dev:tap-braze-sms-to-target-postgres", "8.2", "success"],
    ]


def test_a_duckdb_file_is_shown_without_what_left(tmp_path):
    engine = pytest.importorskip("duckdb")
    warehouse, page, pictures = (
        tmp_path / "w.duckdb",
        tmp_path / "report.html",
        [tmp_path / "p.svg", tmp_path / "p.png"],
    )
    with engine.connect(str(warehouse)) as connection:
        connection.execute("CREATE SCHEMA braze")
        connection.execute(
            "CREATE TABLE braze.invalid_phone_numbers (phone VARCHAR, invalid_detected_at TIMESTAMP, reason VARCHAR)"
        )
        connection.executemany(
            "INSERT INTO braze.invalid_phone_numbers VALUES (?, ?, ?)", [row[:3] for row in detections()]
        )
    asked = [word for picture in pictures for word in ("--picture", picture)]
    done = report("--duckdb", warehouse, *asked, page)
    assert (done.returncode, done.stderr) == (0, "")
    shown = Page(page.read_text(encoding="utf-8"))
    assert shown.tiles["numbers on the list"] == 171
    assert "Nothing, as far as is known." in page.read_text(encoding="utf-8")
    assert texts(ET.parse(pictures[0]).getroot()) == texts(shown.svgs[0])  # noqa: S314  (our own)
    assert pictures[1].read_bytes().startswith(b"\x89PNG")


def test_an_empty_table_and_one_that_is_missing_are_one_line_each(database, tmp_path):
    file = tmp_path / "report.html"
    missing = report("--postgres", database.uri, file)
    database.ask("CREATE SCHEMA braze")
    columns = "phone text, invalid_detected_at timestamp, reason text, _sdc_deleted_at timestamp"
    database.ask(f"CREATE TABLE braze.invalid_phone_numbers ({columns})")
    empty = report("--postgres", database.uri, file)
    assert [missing.returncode, empty.returncode] == [1, 1]
    assert re.fullmatch(r'report\.py: relation "braze\.invalid_phone_numbers" does not exist .*\n', missing.stderr)
    assert empty.stderr == "report.py: no number was loaded yet: there is nothing to show\n"
    assert not file.exists()


def test_the_benchmarks_picture_shows_what_was_measured():
    measured = json.loads((ROOT / "benchmarks" / "results.json").read_text())["runs"]
    shown = texts(ET.parse(ROOT / "benchmarks" / "results.svg").getroot())  # noqa: S314  (our own)
    for scenario in ("spread", "one_day"):
        walls: dict[str, list[float]] = {}
        for run in measured:
            if run["scenario"] == scenario and not run.get("exit"):
                walls.setdefault(run["contender"], []).append(run["wall"])
        assert walls
        for times in walls.values():
            shown.remove(f"{statistics.median(times):.1f}")
    # Nothing else is a number of seconds.
    assert not [text for text in shown if re.fullmatch(r"\d+\.\d", text)]
