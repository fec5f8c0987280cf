"""The check: what one Braze is like, found out in at most twenty requests, for those who cannot ask it themselves.

Nothing in a report is personal: numbers and times appear as shapes and counts.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import time
import typing as t
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from tap_braze_sms.braze.client import LARGEST_PAGE
from tap_braze_sms.braze.errors import BAD_REQUEST, RequestRefusedError
from tap_braze_sms.braze.phone_numbers import is_number, normalize
from tap_braze_sms.braze.responses import ResponseParser
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import Kind
from tap_braze_sms.reading.time_order import MARGIN, TimeOrder

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tap_braze_sms.braze.client import BrazeClient
    from tap_braze_sms.braze.lists import BrazeList

#: Requests of one check at the most, and tries of each.
MOST_REQUESTS, MOST_TRIES = 20, 2

#: Days of the range that is tried first, and by what it is divided where it is refused; the deepest position tried.
WIDEST, NARROWER, DEEP = 366, 4, 50_000

#: Where in the past records are looked for where the newest days have none, in times of the range that was taken.
FARTHER = (1, 4, 16)

#: Records that pages of the check share.
SHARED = 4

#: Reasons that may be told as they are; any other text could be somebody's.
_REASON = re.compile(r"[a-z][a-z_]{1,40}")

NOT_KNOWN = "not known"

Entry: t.TypeAlias = "dict[str, t.Any]"


@dataclass(slots=True)
class Report:
    """What was found, in the order in which it is read."""

    findings: dict[str, object] = field(default_factory=dict)
    #: What differs from Braze's documents, and how this version copes with it.
    copes: list[str] = field(default_factory=list)
    #: What this version does not cope with.
    fails: list[str] = field(default_factory=list)
    #: Nothing has ended the check early.
    is_complete: bool = False

    def as_text(self) -> str:
        """Return the report for people."""
        width = max(map(len, self.findings), default=0)
        lines = [f"{name:<{width}}  {_as_text(value)}" for name, value in self.findings.items()]
        if self.fails:
            lines += ["", "This version does not cope with:", *(f"- {line}" for line in self.fails)]
        if self.copes:
            lines += ["", "Differs from Braze's documents, and this version copes with it:"]
            lines += [f"- {line}" for line in self.copes]
        if self.is_complete and not self.fails and not self.copes:
            lines += ["", "Nothing that was seen differs from Braze's documents."]
        return "\n".join(lines)

    def as_json(self) -> str:
        """Return the report for programs."""
        content = {"findings": self.findings, "copes_with": self.copes, "does_not_cope_with": self.fails}
        return msgspec.json.format(msgspec.json.encode(content)).decode()


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


class Check:
    """Asks one Braze what it is like.

    Args:
        client: Makes the requests, each at most twice.
        braze_list: What is asked for.
        now: The current time.
    """

    def __init__(self, client: BrazeClient, braze_list: BrazeList, *, now: dt.datetime) -> None:
        self.report = Report()
        self._client = client
        self._list = braze_list
        self._parser = ResponseParser(braze_list)
        self._today = now.date()
        #: The range that is asked about.
        self._since = self._end = now.date() + dt.timedelta(days=1)
        self._latency: list[float] = []
        self._top: list[Entry] = []
        #: A number as it is found by a lookup.
        self._listed: str | None = None

    def run(self) -> None:
        """Fill in the report.

        Raises:
            RequestRefusedError: Braze did not let it in, or did not answer; the report has what was known by then.
        """
        findings = self.report.findings
        findings |= {"reached": False, "key and permission": NOT_KNOWN}
        try:
            self._look_at_the_list()
        except RequestRefusedError as error:
            findings |= {"reached": self._client.has_answered, "requests": self._client.request_count}
            if error.kind is Kind.ACCESS:
                findings["key and permission"] = "refused"
            raise
        for name, probe in (
            ("records of an answer", self._look_at_pages),
            ("reason filters", self._look_at_reasons),
            ("offset=0", self._look_at_zero_offset),
            ("end_date means", self._look_at_end_date),
            ("compares numbers", self._look_at_spellings),
            ("limit beside phone_numbers[]", self._look_at_limit),
            ("offset in the depth", self._look_at_depth),
        ):
            findings[name] = NOT_KNOWN
            # What an overloaded Braze, or a network, does not answer is not known, and the rest may be.
            with contextlib.suppress(RequestRefusedError):
                probe(name)
        findings["requests"] = self._client.request_count
        self.report.is_complete = True

    # Asking

    def _ask(self, what: str, params: Mapping[str, t.Any]) -> list[Entry] | None:
        """Return the entries of an answer; None: Braze takes the request for a bad one.

        Raises:
            RequestRefusedError: there was no answer, or no request is left.
        """
        if self._client.request_count > MOST_REQUESTS - MOST_TRIES:
            msg = "no request is left"
            raise RequestRefusedError(msg)
        begun = time.monotonic()
        try:
            entries = self._client.get(self._list.path, params, self._parser.entries, what=f"check of {what}")
        except RequestRefusedError as error:
            if error.status != BAD_REQUEST:
                raise
            return None
        self._latency.append(time.monotonic() - begun)
        return [entry if isinstance(entry, dict) else {} for entry in entries]

    def _range(self, since: dt.date | None = None, end: dt.date | None = None, **params: object) -> dict[str, object]:
        end = end or self._end
        return {"start_date": (since or self._since).isoformat(), "end_date": end.isoformat(), **params}

    # What the list is like

    def _look_at_the_list(self) -> None:
        findings = self.report.findings
        days, entries, refused = WIDEST, None, 0
        tomorrow = self._today + dt.timedelta(days=1)
        while entries is None and days:
            self._since = tomorrow - dt.timedelta(days=days)
            entries = self._ask(f"the last {days} days", self._range(limit=LARGEST_PAGE))
            if entries is None:
                days, refused = days // NARROWER, days
        findings["reached"] = True
        findings["key and permission"] = "accepted"
        if entries is None:
            self.report.fails.append(f"it refuses a range of {refused} day as a bad request")
            return
        said = f"{days} taken" + f", {refused} refused" * bool(refused)
        self._found("range of days", said, "ranges are made as narrow as it takes" if refused else "")
        for times in FARTHER:
            if not entries:
                self._end = self._since - dt.timedelta(days=(times - 1) * days)
                self._since = self._end - dt.timedelta(days=days)
                entries = self._ask("earlier days", self._range(limit=LARGEST_PAGE)) or []
        self._top = entries
        limit, left = self._client.rate_limit
        findings["rate limit"] = f"{limit} an hour, {left} left" if limit else NOT_KNOWN
        skew = self._client.clock_skew
        findings["clock"] = (
            f"{timestamps.format_duration(abs(skew))} {'behind' if skew > 0 else 'ahead of'} this machine's"
        )
        findings["latency"] = f"{min(self._latency) * 1000:.0f} ms" if self._latency else NOT_KNOWN
        findings["records in the first answer"] = len(entries)
        self._describe(entries)

    def _describe(self, entries: list[Entry]) -> None:
        findings = self.report.findings
        times = [str(entry.get(self._list.time_field, "absent")) for entry in entries]
        phones = list(map(self._phone_of, entries))
        findings["shape of times"] = _counted(map(_shape, times))
        findings["shape of phones"] = _counted(map(_phone_shape, phones))
        for name in self._list.other_fields:
            findings[f"{name}s"] = _counted(_reason(entry.get(name)) for entry in entries)
        unusable = sum(isinstance(self._parser.parse_entry(entry), str) for entry in entries)
        findings["unknown fields"] = len(self._parser.unknown)
        parsed = self._times_of(entries)
        findings["order"] = NOT_KNOWN
        if len(parsed) > 1:
            self._describe_order(parsed)
        findings["most records at one instant"] = max(Counter(parsed).values(), default=0)
        identities = Counter((normalize(str(phone)), at) for phone, at in zip(phones, times, strict=True))
        findings["repeated records"] = sum(times - 1 for times in identities.values())
        findings["records that cannot be used"] = unusable
        if unusable:
            self.report.fails.append(
                f"{unusable} records cannot be used: a run stops at them unless skip_bad_records is set"
            )
        if findings["repeated records"]:
            self.report.copes.append("records are listed more than once: each is emitted once")

    def _describe_order(self, parsed: list[str]) -> None:
        order = TimeOrder.of(parsed)
        if order.precision >= timestamps.SECOND:
            self._found("order", str(order))
        elif _without_order(order, parsed):
            self._found("order", "none by time", "lists are read in passes, for about twice the requests")
        else:
            self._found("order", str(order), "pages overlap by as much")

    def _phone_of(self, entry: Entry) -> object:
        return entry.get(self._list.key_field)

    def _times_of(self, entries: list[Entry]) -> list[str]:
        """Return the times of entries that can be read."""
        return [at for at in map(self._parser.time_of, entries) if at]

    def _look_at_pages(self, name: str) -> None:
        held = len(self._top)
        if held <= SHARED:
            return
        more = self._ask("what stands behind the first answer", self._range(limit=LARGEST_PAGE, offset=held - SHARED))
        if more is None:
            return
        if held == LARGEST_PAGE:
            self._found(name, f"as asked for ({LARGEST_PAGE})")
        elif len(more) > 2 * SHARED:
            self._found(name, f"{held}, though {LARGEST_PAGE} were asked for", "no more are expected of an answer")
        else:
            self._found(name, f"not seen: the list has {held} records")

    def _look_at_reasons(self, name: str) -> None:
        reasons = (entry.get("reason") for entry in self._top)
        counts = Counter(reason for reason in reasons if isinstance(reason, str))
        if len(self._top) < LARGEST_PAGE // 10 or len(counts) == 1 or not counts:
            return  # one reason alone tells nothing
        rarest, matches = min(counts.items(), key=lambda item: item[1])
        filtered = self._ask("one reason", self._range(limit=LARGEST_PAGE, reason=rarest))
        if filtered is None:
            said = "refused"
        elif any(entry.get("reason") != rarest for entry in filtered):
            said = "not at all"
        else:
            said = "before paging" if len(filtered) > matches + SHARED else "after paging, or no more have it"
        self._found(name, said)

    def _look_at_zero_offset(self, name: str) -> None:
        zero = self._ask("offset=0", self._range(limit=1, offset=0))
        self._found(
            name, "refused" if zero is None else "taken", "it is left out where it is 0" if zero is None else ""
        )

    def _look_at_end_date(self, name: str) -> None:
        days = [at[:10] for at in self._times_of(self._top)]
        if not days:
            return
        day = dt.date.fromisoformat(max(days))
        asked = self._range(since=day - dt.timedelta(days=1), end=day, limit=LARGEST_PAGE)
        entries = self._ask("a range that ends with a day that has records", asked)
        if entries is not None:
            counts = any(at[:10] == day.isoformat() for at in self._times_of(entries))
            self._found(name, "that day counts" if counts else "midnight before that day")

    def _look_at_spellings(self, name: str) -> None:
        listed = next((phone for phone in map(self._phone_of, self._top) if is_number(phone)), None)
        if listed is None:
            return
        number = normalize(listed)
        found = {spelled: self._ask("one number", {"phone_numbers[]": [spelled]}) for spelled in (f"+{number}", number)}
        told = {f"+{number}": "with +", number: "without +"}
        self._listed = next((spelled for spelled, entries in found.items() if entries), None)
        if all(found.values()):
            self._found(name, "by digits")
            return
        said = f"only {told[self._listed]}" if self._listed else "a number on the list is not found either way"
        refused = [told[spelled] for spelled, entries in found.items() if entries is None]
        said += f"; {' and '.join(refused)} refused" * bool(refused)
        if self._listed:
            self._found(name, said, "numbers are sent in both spellings")
        else:
            self.report.findings[name] = said
            self.report.fails.append(f"{name}: {said}")

    def _look_at_limit(self, name: str) -> None:
        if self._listed is None:
            return
        beside = self._ask("limit beside a number", {"phone_numbers[]": [self._listed], "limit": LARGEST_PAGE})
        if beside:
            self._found(name, "works")
        else:
            said = "refused" if beside is None else "gives an empty answer"
            self._found(name, said, "numbers are asked for alone")

    def _look_at_depth(self, name: str) -> None:
        deep = self._ask("a deep offset", self._range(limit=1, offset=DEEP))
        if deep is None:
            self._found(
                name, f"{DEEP} refused", "windows are made as narrow as a day; no day that is longer can be read"
            )
        else:
            self._found(name, f"{DEEP} taken")

    def _found(self, name: str, said: str, how: str = "") -> None:
        """Note a finding; where it differs from the documents, with how this version copes with it."""
        self.report.findings[name] = said
        if how:
            self.report.copes.append(f"{name}: {said}; {how}")


def _without_order(order: TimeOrder, times: Sequence[str]) -> bool:
    # Of a page without order the disorder is about as long as the page itself.
    span = (timestamps.parse(max(times)) - timestamps.parse(min(times))).total_seconds()
    return order.margin * MARGIN >= span


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common(8))


def _shape(text: str) -> str:
    """Return a text with each digit as a 9, and nothing else of it that could be anyone's."""
    return re.sub(r"[0-9]", "9", text) if re.fullmatch(r"[0-9TZ:.+ \-]{8,40}", text) else "other"


def _phone_shape(phone: object) -> str:
    if not isinstance(phone, str):
        return "not text"
    if not phone:
        return "empty"
    if not is_number(phone):
        return "other text"
    spelled = "with +" if phone.startswith("+") else "without +"
    return spelled if phone.removeprefix("+").isdecimal() else f"{spelled}, with separators"


def _reason(reason: object) -> str:
    if reason is None:
        return "none"
    return reason if isinstance(reason, str) and _REASON.fullmatch(reason) else "other"
