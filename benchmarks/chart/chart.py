"""Draw bars: what to draw as JSON on standard input, where to without its suffix in the argument."""

from __future__ import annotations

import json
import sys

import matplotlib as mpl
from matplotlib.figure import Figure

OURS, OTHERS = "#e8590c", "#8b949e"
#: Grey enough for a dark page and for a white one.
INK = "#767e89"
BAR = 0.72


def main() -> None:
    """Write an SVG and a PNG."""
    chart = json.load(sys.stdin)
    mpl.rcParams |= {
        "font.family": "DejaVu Sans",
        "font.size": 12,
        "text.color": INK,
        "svg.hashsalt": "the same drawing, the same bytes",
    }
    panels = chart["panels"]
    bars = [len(panel["bars"]) for panel in panels]
    figure = Figure(figsize=(9, 0.36 * sum(bars) + 0.65 * len(panels) + 0.35), layout="constrained")
    figure.suptitle(chart["title"], x=0.01, ha="left", fontsize=14, fontweight="bold")
    longest = max(bar["seconds"] for panel in panels for bar in panel["bars"])
    for axes, panel in zip(figure.subplots(len(panels), squeeze=False, height_ratios=bars).flat, panels, strict=True):
        axes.set_title(panel["title"], loc="left", fontsize=11)
        for place, bar in enumerate(panel["bars"]):
            color = OURS if bar["ours"] else OTHERS
            weight = "bold" if bar["ours"] else "normal"
            ink = OURS if bar["ours"] else INK
            axes.barh(place, bar["seconds"], height=BAR, color=color)
            axes.text(
                bar["seconds"] + longest / 100,
                place,
                f"{bar['seconds']:.1f}",
                va="center",
                color=ink,
                fontweight=weight,
            )
            axes.text(-longest / 80, place, bar["label"], va="center", ha="right", color=ink, fontweight=weight)
        axes.set_xlim(0, longest * 1.08)
        axes.invert_yaxis()
        axes.set_axis_off()
    for suffix, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 160})):
        figure.savefig(f"{sys.argv[1]}.{suffix}", transparent=True, bbox_inches="tight", pad_inches=0.15, **options)


if __name__ == "__main__":
    main()
