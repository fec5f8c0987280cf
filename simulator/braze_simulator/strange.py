"""A Braze that is read unlike the usual one, drawn from a seed."""

from __future__ import annotations

import random
import typing as t

from braze_simulator.behaviour import DEFAULTS
from braze_simulator.order import ORDERS


def strange(seed: int) -> dict[str, t.Any]:
    """Return keywords of Behaviour for a Braze that is read unlike the usual one; the same for the same seed.

    Each draws from all that the documents do not rule out of reading a list and of comparing numbers: order, ties,
    servers that differ, caps, what is refused, reasons, the end of a range, and a list that moves a little. Every one
    has a way to all of its list, as long as no day has more than 10,000 entries (the least `max_offset`), and finds and
    takes off every entry in one of the two spellings of its number. Nothing fails and nothing is slow: that can be
    added, as in `Simulator(entries, **strange(7), fault_rate=0.1)`.
    """
    rng = random.Random(f"strange {seed}")
    drawn: dict[str, t.Any] = {}

    def draw(share: float, name: str, *values: t.Any) -> t.Any:
        """Draw a value, in a share of the draws."""
        if rng.random() < share:
            drawn[name] = rng.choice(values)
        return drawn.get(name, DEFAULTS[name])

    if draw(0.65, "order", *ORDERS) == "time":
        draw(0.5, "delay_seconds", 0.4, 90.0, 10_800.0)
    if draw(0.3, "replicas", 2, 3) > 1:
        draw(1, "replica_difference", "rotated", "swapped")
        draw(1, "replica_choice", "turn", "random")
    draw(0.3, "shuffle_ties", True)  # noqa: FBT003  (the value of a field)
    draw(0.5, "end_inclusive", True)  # noqa: FBT003
    if draw(0.5, "page_cap", 60, 100, 250, 400):
        draw(0.4, "page_cap_spread", 0.1, 0.5)
    draw(0.4, "refuse_zero_offset", True)  # noqa: FBT003
    draw(0.2, "max_offset", 10_000, 20_000)
    draw(0.3, "max_range_days", 1, 7, 31)
    draw(0.3, "reason_filters", "after", "ignored")
    draw(0.4, "limit_beside_numbers", "empty", "refused")
    compare = draw(0.6, "compare_numbers", "plus", "bare", "stored")
    # One spelling at least has to work.
    draw(
        0.3, "refuse_spelling", *{"plus": ["bare"], "bare": ["plus"], "stored": ["none"]}.get(compare, ["plus", "bare"])
    )
    for name in ("removals_per_page", "insertions_per_page", "late_insertions_per_page"):
        draw(0.3, name, 0.05, 0.1, 0.3)
    return {name: value for name, value in drawn.items() if value != DEFAULTS[name]}
