"""Entries to fill a list with: as they are, and strange ones."""

from __future__ import annotations

import datetime as dt
import itertools
import random
import typing as t
from collections import Counter

from braze_simulator.entries import DAY, EPOCH, MICROSECOND, REASONS, Entry, micros, raw_entry

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REASON_WEIGHTS = {"provider_error": 70, "deactivated": 25, "invalid_format": 4, None: 1}
#: Shares of the numbers that are spelled with +.
PLUS_SHARES = {"plus": 1.0, "bare": 0.0, "mixed": 0.7}
#: Area codes from the first on, each with so many numbers whose exchange is 555.
FIRST_AREA, AREAS, LINES = 200, 800, 10_000


class Spelling(t.NamedTuple):
    """One way of writing an instant."""

    weight: int
    unit: int  #: the microseconds it cannot tell apart
    write: Callable[[dt.datetime], str]


MILLISECONDS = Spelling(70, 1_000, lambda when: when.isoformat(timespec="milliseconds")[:-6] + "Z")
MICROSECONDS = Spelling(8, 1, lambda when: when.isoformat(timespec="microseconds"))
OLD = Spelling(8, 1_000_000, lambda when: f"{when:%Y-%m-%d %H:%M:%S} +0000")
SECONDS = Spelling(6, 1_000_000, lambda when: when.isoformat(timespec="seconds")[:-6] + "Z")
ABROAD = Spelling(
    8, 1_000, lambda when: when.astimezone(dt.timezone(dt.timedelta(hours=2))).isoformat(timespec="milliseconds")
)
SPELLINGS = (MILLISECONDS, OLD, MICROSECONDS, ABROAD, SECONDS)


def spell(when: dt.datetime, spelling: Spelling = MILLISECONDS) -> str:
    """Write an instant as the API might."""
    return spelling.write(when)


def number(index: int) -> str:
    """Return the digits of one of the eight million numbers that belong to nobody."""
    return f"1{FIRST_AREA + index // LINES}555{index % LINES:04}"


def seeded(count: int, **options: t.Any) -> list[Entry]:
    """Return entries, ascending, the same for the same seed; for the options see `generated`."""
    return list(generated(count, **options))


def generated(
    count: int,
    *,
    days: int = 365,
    until: dt.datetime | None = None,
    seed: int = 0,
    burst_share: float = 0.0,
    ties: float = 0.02,
    spelling: str = "mixed",
) -> Iterator[Entry]:
    """Yield entries over uneven days before `until` (today's midnight), a share of them on one day in the middle.

    Their numbers are spelled with + ("plus"), without ("bare"), or most of them with ("mixed").
    """
    rng = random.Random(seed)
    if until is None:
        until = dt.datetime.now(dt.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    start = until.astimezone(dt.timezone.utc) - days * DAY
    phones = iter(rng.sample(range(AREAS * LINES), count))
    for day, size in enumerate(_sizes(rng, count, days, round(count * burst_share))):
        reasons = rng.choices(tuple(REASON_WEIGHTS), tuple(REASON_WEIGHTS.values()), k=size)
        instants = _instants(rng, micros(start + day * DAY), size, ties)
        for (when, written), reason, index in zip(instants, reasons, phones):  # noqa: B905  (phones go on)
            detected_at = EPOCH + when * MICROSECOND
            plus = "+" if rng.random() < PLUS_SHARES[spelling] else ""
            yield Entry(plus + number(index), detected_at, reason, written.write(detected_at))


def _sizes(rng: random.Random, count: int, days: int, burst: int) -> list[int]:
    """Spread entries over days: some empty, some many times the average, the burst on one."""
    weights = [min(rng.paretovariate(1.1), 30) if rng.random() < 0.85 else 0 for _ in range(days)]
    weights[days // 2] += 1  # All days empty would be no distribution.
    sizes = Counter(rng.choices(range(days), weights, k=count - burst))
    sizes[days // 2] += burst
    return [sizes[day] for day in range(days)]


def _instants(rng: random.Random, midnight: int, size: int, ties: float) -> Iterator[tuple[int, Spelling]]:
    """Yield a day's instants, ascending, each with a spelling that names it exactly; ties only by intent."""
    last = midnight - 1
    spellings = rng.choices(SPELLINGS, [spelling.weight for spelling in SPELLINGS], k=size)
    exact = sorted(rng.sample(range(midnight, midnight + DAY // MICROSECOND), size))
    for when, spelling in zip(exact, spellings, strict=True):
        rounded = when // spelling.unit * spelling.unit
        if last >= midnight and rng.random() < ties:
            rounded = last
        elif rounded <= last:
            rounded = when
        last = rounded
        yield rounded, MICROSECONDS if rounded % spelling.unit else spelling


#: How an entry may come twice: nothing differs, the number is spelled in the other way, or it has another reason.
REPEATS = ("identical", "spelling", "reason")


def repeated(entry: Entry, how: str = "identical") -> Entry:
    """Return a second entry of the same number at the same instant."""
    if how == "spelling":
        return entry._replace(phone=entry.phone[1:] if entry.phone.startswith("+") else f"+{entry.phone}")
    if how == "reason":
        return entry._replace(reason=next(reason for reason in REASONS if reason != entry.reason))
    return entry


def without_phone(when: dt.datetime) -> Entry:
    """Return an entry whose phone is an empty text, as what failed formatting may be."""
    return Entry("", when, "invalid_format", spell(when))


#: What an entry may have, or lack (None), that makes it one of which nothing can be made, or what it may be instead.
UNUSABLE: dict[str, t.Any] = {
    "null_phone": {"phone": None},
    "no_phone": {"phone": ...},
    "phone_no_text": {"phone": 12005550100},
    "no_time": {"invalid_detected_at": ...},
    "null_time": {"invalid_detected_at": None},
    "unreadable_time": {"invalid_detected_at": "the day before yesterday"},
    "no_object": "+12005550100",
    "null": None,
}


def unusable(when: dt.datetime, kind: str = "null_phone", phone: str = "+12005550100") -> Entry:
    """Return an entry of which nothing can be made."""
    change = UNUSABLE[kind]
    if not isinstance(change, dict):
        return raw_entry(when, change)
    record = {**Entry(phone, when, REASONS[0], spell(when)).payload(), **change}
    return raw_entry(when, {name: value for name, value in record.items() if value is not ...})


def odd(
    entries: Sequence[Entry], *, repeats: int = 0, empty_phones: int = 0, unusable_entries: int = 0, seed: int = 0
) -> list[Entry]:
    """Return strange entries to put among others: each kind of them in turn, at the instants of random ones."""
    rng = random.Random(seed)
    found = [repeated(rng.choice(entries), how) for how in itertools.islice(itertools.cycle(REPEATS), repeats)]
    found += [without_phone(rng.choice(entries).detected_at) for _ in range(empty_phones)]
    kinds = itertools.islice(itertools.cycle(UNUSABLE), unusable_entries)
    return found + [unusable(rng.choice(entries).detected_at, kind) for kind in kinds]
