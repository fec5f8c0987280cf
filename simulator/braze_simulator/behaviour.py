"""How the simulator behaves: what can be told to it, by keyword, over HTTP and on the command line."""

from __future__ import annotations

import dataclasses
import math
import typing as t

from braze_simulator.faults import ANSWER_FAULTS, ANSWERS_INSTEAD, LOST_FAULTS, check_fault
from braze_simulator.order import ORDERS

if t.TYPE_CHECKING:
    from collections.abc import Mapping


def field(
    meaning: str,
    *,
    choices: tuple[str, ...] = (),
    kind: type | None = None,
    least: float = -math.inf,
    most: float = math.inf,
    **default: t.Any,
) -> t.Any:
    """Declare a field of Behaviour: what its option says, and what it may be (`kind`: where it may be None)."""
    bounds = {"meaning": meaning, "choices": choices, "kind": kind, "least": least, "most": most}
    return dataclasses.field(metadata=bounds, **default)


@dataclasses.dataclass
class Behaviour:
    """How the simulator behaves; read anew for each request, so it can be changed while it serves."""

    latency: float = field("seconds before an answer", default=0.0)
    end_inclusive: bool = field("end_date means the end of that day, not its midnight", default=False)
    clock_offset: float = field("seconds by which Braze's clock is ahead of ours", default=0.0)
    rate_limit: int = field("requests in a window", default=250_000)
    rate_window: float = field("seconds; windows begin at its multiples", default=3600.0)
    header_case: str = field("of X-RateLimit-…", choices=("canonical", "lower", "upper"), default="canonical")
    removals_per_page: float = field("removals expected just before a page is built", default=0.0)
    insertions_per_page: float = field("insertions expected then, detected now: on top of the list", default=0.0)
    late_insertions_per_page: float = field(
        "insertions expected then, somewhere in the range of the first entries", default=0.0
    )
    order: str = field(
        "of the list: descending by time (exact, or cut to a unit), ascending by time or number, or random but fixed",
        choices=ORDERS,
        default="time",
    )
    delay_seconds: float = field(
        "with order time: how far, at most, an entry stands above its time; each has its own delay",
        least=0,
        default=0.0,
    )
    shuffle_ties: bool = field(
        "entries that the order does not tell apart change places before every page", default=False
    )
    replicas: int = field("servers that answer, each with an order of its own among ties", least=1, default=1)
    replica_difference: str = field(
        "how their ties differ from the first's (without order the whole list): rotated, or some entries swapped",
        choices=("rotated", "swapped"),
        default="rotated",
    )
    replica_swaps: int = field("pairs that are swapped in each", least=0, default=5)
    replica_choice: str = field("which of them answers a request", choices=("turn", "random"), default="turn")
    page_cap: int | None = field("most records of an answer, whatever the limit", kind=int, least=1, default=None)
    page_cap_spread: float = field(
        "each answer's cap is drawn from between page_cap less this share of it and page_cap",
        least=0,
        most=1,
        default=0.0,
    )
    refuse_zero_offset: bool = field("offset=0 is a 400; left out, it works", default=False)
    max_offset: int | None = field("a deeper offset is a 400", kind=int, least=0, default=None)
    max_range_days: int | None = field("a range of more days is a 400", kind=int, least=1, default=None)
    compare_numbers: str = field(
        "how a number asked for or taken off is found: by its digits, only if asked for with + (plus), only if without"
        " (bare), or only as it is stored; a text without digits always as it stands",
        choices=("digits", "plus", "bare", "stored"),
        default="digits",
    )
    refuse_spelling: str = field(
        "a request with a number spelled so is a 400", choices=("none", "plus", "bare"), default="none"
    )
    limit_beside_numbers: str = field(
        "what limit or offset beside phone_numbers[] does: it works, the answer is empty, or a 400",
        choices=("works", "empty", "refused"),
        default="works",
    )
    protect: set[str] = field("digits that random removals never take", default_factory=set)  # noqa: RUF009
    fault_rate: float = field("share of requests that meet one of fault_kinds", default=0.0)
    fault_kinds: tuple[str, ...] = field(
        f"statuses, {', '.join((*LOST_FAULTS, *ANSWER_FAULTS))}",
        default=(
            *("500", "502", "503", "202", "html", "reset", "truncated", "half_json", "slow"),
            *ANSWERS_INSTEAD,
        ),
    )
    fail_next: list[str] = field("faults of the next requests, before any random one", default_factory=list)  # noqa: RUF009
    down: bool = field("connections are dropped without an answer", default=False)
    hang_seconds: float = field("how long a request that hangs does", default=3600.0)
    retry_after: str | None = field("sent with 429 and 503", kind=str, default=None)
    retry_after_header: str = field(
        "in which header", choices=("Retry-After", "X-RateLimit-Retry-After"), default="Retry-After"
    )
    refuse_reasons: bool = field("an unknown reason is a 400", default=True)
    reason_filters: str = field(
        "a reason selects before paging, after it (so that pages come back short), or not at all",
        choices=("before", "after", "ignored"),
        default="before",
    )
    slow_offset_seconds_per_10k: float = field("seconds more for each 10,000 of the offset", least=0, default=0.0)
    fails_above: int | None = field(
        "requests under way at once; those that would be more fail (they need latency to be under way together)",
        kind=int,
        least=0,
        default=None,
    )
    fails_above_with: str = field("how", choices=("503", "hang", "reset"), default="503")
    detect_spelling: str = field("of new numbers", choices=("plus", "bare", "mixed"), default="plus")

    def __setattr__(self, name: str, value: t.Any) -> None:
        """Set a field; what it cannot be is a mistake of whoever wrote it, and found at once."""
        declared = self.__dataclass_fields__.get(name)
        if declared and not within(declared.metadata, value):
            msg = f"{name} cannot be {value!r}"
            raise ValueError(msg)
        super().__setattr__(name, value)

    def change(self, values: dict[str, t.Any]) -> None:
        """Set several fields at once: all of them, or none and a ValueError."""
        for name, value in {name: coerced(name, value) for name, value in values.items()}.items():
            setattr(self, name, value)


def within(bounds: Mapping[str, t.Any], value: t.Any) -> bool:
    """Tell whether a value is one of a field's choices, and no less and no more than it may be."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, (int, float)):
        return bool(bounds["least"] <= value <= bounds["most"])
    return not bounds["choices"] or value in bounds["choices"]


FIELDS = {declared.name: declared for declared in dataclasses.fields(Behaviour)}
DEFAULTS: dict[str, t.Any] = {name: getattr(Behaviour(), name) for name in FIELDS}


def coerced(name: str, value: t.Any) -> t.Any:
    """Return a field's value in the field's own type."""
    if name not in DEFAULTS:
        msg = f"no such behaviour: {name}"
        raise ValueError(msg)
    kind = FIELDS[name].metadata["kind"] or type(DEFAULTS[name])
    if value is None:
        fits = DEFAULTS[name] is None
    elif kind in {list, tuple, set}:
        fits = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    else:
        fits = type(value) in {kind, int if kind is float else kind}
    if not fits or not within(FIELDS[name].metadata, value):
        msg = f"{name} cannot be {value!r}"
        raise ValueError(msg)
    if name in {"fault_kinds", "fail_next"}:
        for fault in value:
            check_fault(fault)
    return value if value is None else kind(value)
