"""Draw what the warehouse holds: numbers found invalid per day, by reason, as a picture and as text for a terminal.

`python demo/chart.py DATABASE` prints the text, from any DuckDB warehouse with the tap's table; with a second argument
it writes the picture there, as SVG. The README's is the demo's: `cp output/demo/*.svg docs/` after `make demo`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import html
import itertools
import math
import os
import sys
import typing as t
from collections import Counter
from pathlib import Path

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TABLE = "braze.invalid_phone_numbers"
#: What a chart is made of. The days are UTC's, as the times in the table are.
PER_DAY = f"SELECT invalid_detected_at::DATE, coalesce(reason, '(none)'), count(*) FROM {TABLE} GROUP BY 1, 2"  # noqa: S608  (a constant)


class Look(t.NamedTuple):
    """How a reason is told from the others: colours that the colour-blind tell apart, shades where there are none."""

    colour: str
    shade: str
    terminal_colour: int  #: of the 256


LOOKS = {
    "provider_error": Look("#0072b2", "█", 32),
    "deactivated": Look("#e69f00", "▒", 214),
    "invalid_format": Look("#882255", "▓", 126),
}
#: No reason, and reasons that Braze adds.
ANY_OTHER = Look("#8b949e", "░", 245)

# The picture, in pixels at the width of a README. Two for each day of a year, so that bars are sharp.
WIDTH, HEIGHT = 830, 400
LEFT, BASE, PLOT_WIDTH, PLOT_HEIGHT = 64, 344, 732, 228
TICKS_AT_MOST = 5
INK, FAINT_INK, LINE, PAPER = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"

# The text, in characters. A column is a week: a year of them fits into the 80 of a terminal.
ROWS = 14
WEEKS_PER_DATE = 13
WEEK = dt.timedelta(days=7)


class Chart:
    """The counts of days and reasons, and how they look."""

    def __init__(self, counts: Iterable[tuple[dt.date, str, int]]) -> None:
        self.days: dict[dt.date, Counter[str]] = {}
        self.totals: Counter[str] = Counter()
        for day, reason, count in sorted(counts):
            self.days.setdefault(day, Counter())[reason] += count
            self.totals[reason] += count
        self.first, self.last = min(self.days), max(self.days)
        #: Every reason there is, those always looking the same first.
        self.looks = {reason: look for reason, look in LOOKS.items() if reason in self.totals}
        self.looks |= dict.fromkeys(sorted(self.totals.keys() - LOOKS.keys()), ANY_OTHER)

    def picture(self) -> str:
        """Return an SVG of stacked bars, one a day, each with its numbers for whoever points at it."""
        peak = max(self.days, key=lambda day: self.days[day].total())
        most = self.days[peak].total()
        day_width, number_height = PLOT_WIDTH / ((self.last - self.first).days + 1), PLOT_HEIGHT / most
        title = "Phone numbers found invalid per day, by reason"
        span = f"{self.totals.total():,} detections, {self.first} to {self.last} (UTC)"
        legend = "    ".join(
            f'<tspan fill="{look.colour}">■</tspan> {html.escape(reason)} {self.totals[reason]:,}'
            for reason, look in self.looks.items()
        )
        # Over its bar, but not over the picture's edge.
        peak_x = min(max(LEFT + ((peak - self.first).days + 0.5) * day_width, LEFT + 50), LEFT + PLOT_WIDTH - 50)
        levels = "\n".join(
            self._level(value, BASE - value * number_height) for value in range(0, most + 1, tick_step(most))
        )
        months, bars = "\n".join(self._months(day_width)), "\n".join(map(self._bar, self.days))
        # Inside the bars' group, one to the right is a day and one up is a number: bars are the counts themselves.
        return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img"
  aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="13" fill="{FAINT_INK}">
<title id="title">{title}</title>
<desc id="desc">{span}. Most on {peak}: {most:,}.</desc>
<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8" fill="{PAPER}" stroke="{LINE}"/>
<text x="20" y="36" font-size="18" font-weight="bold" fill="{INK}">{title}</text>
<text x="20" y="58">{span}</text>
<text x="20" y="84" fill="{INK}" xml:space="preserve">{legend}</text>
{levels}
{months}
<g id="bars" transform="translate({LEFT} {BASE}) scale({day_width:.6f} {-number_height:.6f})">
{bars}
</g>
<text x="{peak_x:.1f}" y="{BASE - PLOT_HEIGHT - 7}" text-anchor="middle" fill="{INK}">{peak}: {most:,}</text>
</svg>
"""

    def _bar(self, day: dt.date) -> str:
        counts, place, height = self.days[day], (day - self.first).days, 0
        parts = []
        for reason, look in self.looks.items():
            if counts[reason]:
                box = f'x="{place}" y="{height}" width="1" height="{counts[reason]}"'
                parts.append(f'<rect {box} fill="{look.colour}"/>')
                height += counts[reason]
        each = ", ".join(f"{reason} {counts[reason]:,}" for reason in self.looks if counts[reason])
        return f"<g><title>{day}: {height:,} ({html.escape(each)})</title>{''.join(parts)}</g>"

    def _level(self, value: int, y: float) -> str:
        line = f'<path d="M{LEFT} {y:.1f}h{PLOT_WIDTH}" stroke="{LINE if value else FAINT_INK}"/>'
        return f'{line}<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,}</text>'

    def _months(self, day_width: float) -> Iterator[str]:
        """Mark where months begin, as many as there is room for, and name the year where it is new."""
        starts = [
            day
            for day in (self.first + dt.timedelta(days=number) for number in range((self.last - self.first).days + 1))
            if day.day == 1
        ]
        year = None
        for day in starts[:: math.ceil(len(starts) / 13) or 1]:
            x = LEFT + (day - self.first).days * day_width
            yield f'<path d="M{x:.1f} {BASE}v6" stroke="{FAINT_INK}"/>'
            yield f'<text x="{x:.1f}" y="{BASE + 21}" text-anchor="middle">{day:%b}</text>'
            if day.year != year:
                yield f'<text x="{x:.1f}" y="{BASE + 38}" text-anchor="middle" fill="{INK}">{day.year}</text>'
            year = day.year

    def text(self, *, colours: bool = False) -> Iterator[str]:
        """Yield lines of stacked columns, one a week."""
        first, last = (day - dt.timedelta(days=day.weekday()) for day in (self.first, self.last))
        weeks = [Counter[str]() for _ in range((last - first) // WEEK + 1)]
        for day, counts in self.days.items():
            weeks[(day - first) // WEEK] += counts
        most = max(week.total() for week in weeks)
        # The row in which a number lies is the one that names it.
        levels = {math.ceil(ROWS * value / most): f"{value:,}" for value in range(0, most + 1, tick_step(most))}
        margin = max(map(len, levels.values()))

        def painted(reason: str) -> str:
            look = self.looks[reason]
            return f"\33[38;5;{look.terminal_colour}m{look.shade}\33[0m" if colours else look.shade

        for row in range(ROWS, 0, -1):
            middle = most * (row - 0.5) / ROWS
            yield f"{levels.get(row, ''):>{margin}} {'┤' if row in levels else '│'}" + "".join(
                painted(reason) if (reason := self._reason_at(week, middle)) else " " for week in weeks
            )
        dates = range(0, len(weeks), WEEKS_PER_DATE)
        yield f"{levels[0]:>{margin}} └" + "".join("┬" if place in dates else "─" for place in range(len(weeks)))
        yield " " * (margin + 2) + "".join(f"{first + place * WEEK!s:{WEEKS_PER_DATE}}" for place in dates).rstrip()
        yield "  ".join(f"{painted(reason)} {reason}" for reason in self.looks)

    def _reason_at(self, counts: Counter[str], level: float) -> str | None:
        """Return the reason that a column of stacked counts shows at some height, None above it."""
        tops = itertools.accumulate(counts[reason] for reason in self.looks)
        return next((reason for reason, top in zip(self.looks, tops, strict=True) if level < top), None)


def tick_step(most: int) -> int:
    """Return the smallest of 1, 2, 5, 10, 20 … that needs no more ticks than are good to read."""
    steps = (digit * int(10**power) for power in itertools.count() for digit in (1, 2, 5))
    return next(step for step in steps if most <= step * TICKS_AT_MOST)


def in_colour() -> bool:
    """Say whether what is printed is seen in a terminal, by someone who has nothing against colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def main() -> None:
    """Draw the warehouse that the command line names."""
    parser = argparse.ArgumentParser(description="Chart the numbers found invalid per day, by reason.")
    parser.add_argument("database", type=Path, help=f"DuckDB file with the table {TABLE}")
    parser.add_argument("picture", type=Path, nargs="?", help="SVG file to write; without it, text is printed")
    arguments = parser.parse_args()
    import duckdb  # noqa: PLC0415  (not for the demo, which draws from Postgres)

    with duckdb.connect(str(arguments.database), read_only=True) as connection:
        counts = connection.execute(PER_DAY).fetchall()
    if not counts:
        sys.exit(f"{TABLE} is empty: there is nothing to draw.")
    chart = Chart(counts)
    if arguments.picture:
        arguments.picture.write_text(chart.picture(), encoding="utf-8")
    else:
        print(*chart.text(colours=in_colour()), sep="\n")


if __name__ == "__main__":
    main()
