"""Pictures by Altair, in one look: those of the report and of README, and the benchmark's.

They are drawn by vl-convert, without a browser and without the network, as SVG or PNG.
"""

from __future__ import annotations

import datetime as dt
import re
import typing as t

import altair as alt
import vl_convert

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    Row = Mapping[str, t.Any]
    Drawn = alt.Chart | alt.LayerChart | alt.VConcatChart

INK, FAINT_INK, LINE, PAPER = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"
#: Ours, and others.
ACCENT, GREY = "#e8590c", "#8b949e"

#: Colours that the colour-blind tell apart. Reasons that Braze adds share the last.
COLOURS = {"provider_error": "#0072b2", "deactivated": "#e69f00", "invalid_format": "#882255"}
ANY_OTHER = GREY

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
WIDTH = 740
#: Beside a picture of PNG's there is room for twice as many points.
PNG_SCALE = 2
#: A chart of so many days is labelled by months, one of fewer by days.
DAYS_OF_MONTHS = 90

_LONG = re.compile(r"-?\d+\.\d{3,}(?=[^<>]*>)")


def svg(chart: alt.TopLevelMixin) -> str:
    """Return a chart as SVG."""
    # Hundredths of a pixel will do, at half the size.
    return _LONG.sub(lambda found: f"{float(found[0]):.2f}", vl_convert.vegalite_to_svg(chart.to_dict()))


def write(chart: alt.TopLevelMixin, *paths: Path) -> None:
    """Write a chart, as PNG where the name ends so, else as SVG."""
    for path in paths:
        if path.suffix == ".png":
            path.write_bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=PNG_SCALE))
        else:
            path.write_text(svg(chart) + "\n", encoding="utf-8")


def detections(rows: Sequence[Row]) -> alt.TopLevelMixin:
    """Return stacked bars, one a day: `day` as YYYY-MM-DD, `reason`, `numbers`."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["reason"]] = totals.get(row["reason"], 0) + row["numbers"]
    known = [reason for reason in COLOURS if reason in totals]
    reasons = [*known, *sorted(totals.keys() - COLOURS.keys())]
    # The total stands in the legend.
    names = {reason: f"{reason} {totals[reason]:,}" for reason in reasons}
    bars = [{**row, "reason": names[row["reason"]], "rank": reasons.index(row["reason"])} for row in rows]
    days = [row["day"] for row in rows]
    color = alt.Color(
        "reason:N",
        title=None,
        scale=alt.Scale(domain=list(names.values()), range=[COLOURS.get(reason, ANY_OTHER) for reason in reasons]),
        legend=alt.Legend(orient="top", symbolType="square", labelLimit=0),
    )
    chart = (
        _of(bars)
        .mark_bar(binSpacing=0, aria=False)
        .encode(x=_days(rows), y=_numbers(stacked=True), color=color, order=alt.Order("rank:Q"))
    )
    return _titled(
        chart,
        "Phone numbers found invalid per day, by reason",
        f"{sum(totals.values()):,} detections, {min(days)} to {max(days)} (UTC)",
    )


def list_size(rows: Sequence[Row]) -> alt.TopLevelMixin:
    """Return the size of the list over time: `day` as YYYY-MM-DD, `numbers`."""
    area = _of(rows).mark_area(
        interpolate="step-after",
        color=COLOURS["provider_error"],
        opacity=0.25,
        line={"color": COLOURS["provider_error"], "strokeWidth": 1.5},
        aria=False,
    )
    chart = area.encode(x=_days(rows), y=_numbers())
    return _titled(chart, "Numbers on the list", f"{rows[-1]['numbers']:,} at the end of {rows[-1]['day']} (UTC)")


def bars(
    rows: Sequence[Row], title: str, subtitle: str, *, color: str = COLOURS["provider_error"]
) -> alt.TopLevelMixin:
    """Return bars that lie, in the order of the rows: `name`, `numbers`."""
    base = _of(rows).encode(
        x=alt.X("numbers:Q", axis=None),
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(domain=False, ticks=False, labelFontSize=13)),
    )
    text = base.mark_text(align="left", dx=5, fontSize=13, color=FAINT_INK).encode(
        text=alt.Text("numbers:Q", format=",")
    )
    return _titled(base.mark_bar(color=color, aria=False) + text, title, subtitle, height=alt.Step(26))


def contenders(panels: Iterable[Row], title: str) -> alt.TopLevelMixin:
    """Return panels of bars: each a `title` and `bars`, each bar a `label`, `seconds`, and whether it is `ours`."""
    panels = list(panels)
    longest = max(bar["seconds"] for panel in panels for bar in panel["bars"])
    ours = alt.condition("datum.ours", alt.value(ACCENT), alt.value(GREY))
    weight = alt.ExprRef("datum.ours ? 'bold' : 'normal'")
    drawn = []
    for panel in panels:
        base = _of(panel["bars"]).encode(
            x=alt.X("seconds:Q", axis=None, scale=alt.Scale(domain=[0, longest])),
            y=alt.Y("label:N", sort=None, title=None, axis=_label_axis()),
            color=ours,
        )
        text = base.mark_text(align="left", dx=5, fontSize=13, fontWeight=weight).encode(
            text=alt.Text("seconds:Q", format=".1f")
        )
        drawn.append(
            (base.mark_bar(aria=False) + text).properties(
                width=560, height=alt.Step(26), title=alt.TitleParams(panel["title"], fontSize=13, fontWeight="normal")
            )
        )
    return _styled(alt.vconcat(*drawn, spacing=14).properties(title=alt.TitleParams(title, fontSize=18, offset=10)))


def _label_axis() -> alt.Axis:
    return alt.Axis(
        domain=False,
        ticks=False,
        labelLimit=0,
        labelFontSize=13,
        labelPadding=8,
        labelColor=alt.condition("indexof(datum.label, 'tap-braze-sms') >= 0", alt.value(ACCENT), alt.value(FAINT_INK)),
        labelFontWeight=alt.condition(
            "indexof(datum.label, 'tap-braze-sms') >= 0", alt.value("bold"), alt.value("normal")
        ),
    )


def _of(rows: Iterable[Row]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def _days(rows: Sequence[Row]) -> alt.X:
    """Return the axis of days. They are UTC's, wherever this is drawn."""
    days = [dt.date.fromisoformat(row["day"]) for row in rows]
    # Where the space is for months, the year stands below the first and below each January.
    year = "datum.index && utcFormat(datum.value, '%m') != '01' ? '' : utcFormat(datum.value, '%Y')"
    of_months = f"[utcFormat(datum.value, '%b'), {year}]"
    of_days = "utcFormat(datum.value, '%-d %b')"
    axis = alt.Axis(
        labelExpr=of_days if (max(days) - min(days)).days < DAYS_OF_MONTHS else of_months,
        grid=False,
        labelFlush=True,
        labelOverlap="greedy",
    )
    return alt.X("day:T", timeUnit="utcyearmonthdate", scale=alt.Scale(type="utc"), title=None, axis=axis)


def _numbers(*, stacked: bool = False) -> alt.Y:
    axis = alt.Axis(format=",d", domain=False, ticks=False, tickCount=5)
    return alt.Y("numbers:Q", title=None, axis=axis, stack="zero" if stacked else False)


def _titled(chart: Drawn, title: str, subtitle: str, *, height: int | alt.Step = 220) -> alt.TopLevelMixin:
    params = alt.TitleParams(
        title, subtitle=subtitle, fontSize=18, subtitleFontSize=13, subtitleColor=FAINT_INK, offset=12
    )
    return _styled(chart.properties(title=params, width=WIDTH, height=height))


def _styled(chart: Drawn) -> alt.TopLevelMixin:
    styled: alt.TopLevelMixin = (
        chart.properties(background=PAPER, padding=18)
        .configure(font=FONT)
        .configure_title(anchor="start", frame="bounds", color=INK)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=FAINT_INK, gridColor=LINE, domainColor=FAINT_INK, tickColor=FAINT_INK, labelFontSize=12
        )
        .configure_legend(labelFontSize=13, labelColor=INK, columnPadding=18)
    )
    return styled
