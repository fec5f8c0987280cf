"""The window reader: one window read completely and truly while its list moves.

Braze lists a window newest first and gives any stretch of positions. Between two
requests records may be added or removed anywhere, and records of equal times may change
places, so positions prove nothing. Times do: an answer is one instant's truth about
*every time strictly between its newest and its oldest record* (and everything newer, at
offset 0; and everything older, where it is shorter than asked). A record that stays on
the list and whose time lies there is in that answer. So a window is complete when every
wanted time lies strictly inside some page, and until then the reading goes back to where
two pages fail to overlap.

No input or output here: `next_request` says what to request, `add_page` takes an answer, in
any order, as many in flight at once as the caller likes.
"""

from __future__ import annotations

import typing as t
from bisect import insort
from collections import defaultdict, deque
from dataclasses import dataclass
from operator import itemgetter

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import UnusableDataError
from tap_braze_sms.reading.page import LATEST, Page, Row, ascending
from tap_braze_sms.reading.ties import Tie

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_braze_sms.reading.windows import Window

#: Records that neighbouring pages share. Two prove the boundary of a list at rest; the
#: others absorb what is removed while several requests are in flight.
OVERLAP = 4

#: How often one boundary is looked for before the run says that it cannot be found.
MOST_ATTEMPTS = 40

#: How far an estimate is followed: the part of what it promises beyond what is known, and how many times as far as is
#: known, some pages further where that is little. Records may come in a burst, which ends at any moment, unless those
#: of a page lie some hours apart.
BURST, STEADY, STEADY_HOURS, PAGES_FURTHER = (0.8, 1.5), (0.6, 4.0), 3, 2.5

#: Hour of the day of ``end_date`` from which on records show that Braze counts that day in,
#: and the part of a page that they have to be. Rounding, a clock or a number detected again
#: could put some there, and to believe it would cost the last day of each window; not to
#: believe it costs requests alone, and few where the records are few.
NOON, MANY = "T12", 0.1

#: Days that the records of a density are taken to be spread over at least.
LEAST_DAYS = 1


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request to be made: a stretch of positions, and the boundary it is to repair."""

    offset: int
    limit: int
    #: The time that no page proves yet; None for ordinary paging.
    boundary: str | None = None


class WindowReader:
    """The reading of one window.

    Args:
        window: What to read.
        page_size: Records of an ordinary request; boundaries may ask for more.
        assume_end_inclusive: Braze is known to count ``end_date`` in.
        largest: Most records Braze returns in one answer.
    """

    def __init__(
        self,
        window: Window,
        *,
        page_size: int,
        assume_end_inclusive: bool = False,
        largest: int = 500,
    ) -> None:
        self.window = window
        #: ``start_date`` and ``end_date`` to ask with.
        self.dates = window.dates(assume_end_inclusive=assume_end_inclusive)
        self.pending = 0
        #: Whether every wanted instant is proven.
        self.done = False
        #: Set by whoever asks when a request failed for good; the caller raises it once
        #: everything before this window is emitted.
        self.error: BaseException | None = None
        #: Braze counts ``end_date`` in, which these dates do not allow for.
        self.found_end_inclusive = False
        self._assume_end_inclusive = assume_end_inclusive
        #: Records a day so far; None before a first full page.
        self.density: float | None = None
        self._page_size = page_size
        self._largest = max(largest, page_size)
        self._pages: list[Page] = []
        self._sort_precision = len(window.since)
        #: The next position to ask for in order, and the one past all that was.
        self._next_offset = self._covered = 0
        #: Records that the list surely has; up to where it probably goes, and surely does not.
        self.records = 0
        self._estimated_end = 0.0
        self._end: int | None = None
        #: Offsets of pages that were requested out of order, and the one in flight.
        self._speculative: list[int] = []
        self._probe: PageRequest | None = None
        self._at_bottom = False
        self._overlap = self._least_overlap = min(OVERLAP, max(2, page_size // 12))
        self._repairs: deque[PageRequest] = deque()
        self._ties: dict[str, Tie] = {}
        #: Answers to what was asked about each of them, until all are in.
        self._passes: defaultdict[str, list[Page]] = defaultdict(list)

    @property
    def held(self) -> int:
        """Pages held."""
        return len(self._pages)

    @property
    def fraction_done(self) -> float:
        """About the part of the window that is read, from 0 to 1."""
        in_order = [page.oldest for page in self._pages if page.offset < self._next_offset]
        if self._at_bottom or not in_order:
            return float(self._at_bottom)
        since, end = timestamps.parse(self.window.since), timestamps.parse(self.window.end)
        return min(1.0, max(0.0, (end - timestamps.parse(min(in_order))) / (end - since)))

    def rows(self) -> Iterator[list[Row]]:
        """Return what was read: wanted instants only, oldest first, nothing twice."""
        pages, self._pages = self._pages, []
        return ascending(pages, since=self.window.since, until=self.window.until or LATEST)

    def next_request(self, *, speculative: bool = False) -> PageRequest | None:
        """Return what to request next; None: nothing before an answer is in, or at all.

        Args:
            speculative: A page that the list has probably, not surely. If it is full, all
                before it is surely there; if not, one request is lost, not many.
        """
        if self._at_bottom:
            request = self._repairs.popleft() if self._repairs else None
        else:
            request = self._speculative_page() if speculative else self._next_page()
        if request is not None:
            self.pending += 1
        return request

    @property
    def backlog(self) -> int:
        """Records that the list surely has and that were not asked for."""
        return max(0, self.records - self._next_offset - len(self._speculative) * self._page_size)

    def add_page(self, request: PageRequest, page: Page) -> None:
        """Take in the answer to a request."""
        self.pending -= 1
        self._sort_precision = min(self._sort_precision, page.sort_precision)
        if page.count or page.offset == 0:  # an empty page from the top says it all
            self._pages.append(page)
            if not self._assume_end_inclusive and page.newest > (day := self.window.end[:10]) + NOON:
                of_that_day = sum(row[0][:10] == day and row[0] > day + NOON for row in page.rows())
                self.found_end_inclusive |= of_that_day > MANY * self._page_size
        if request.boundary is not None:
            self._passes[request.boundary].append(page)
        if not self._at_bottom:
            self._note_depth(request, page)
        if self._at_bottom and not self.pending and not self._repairs:
            self._plan_repairs()

    # Ordinary paging

    @property
    def _step(self) -> int:
        return max(1, self._page_size - self._overlap)

    def _next_page(self) -> PageRequest | None:
        """Ask for the next page in order, if the list surely has it: after a full one, if only to find the end."""
        # Where it grew behind an answer that was its end, nobody else would ask.
        is_needed = self._next_offset < self.records or not self.pending
        return self._page_at(self._next_offset) if is_needed else None

    def _speculative_page(self) -> PageRequest | None:
        """Ask for the last page that the list probably has behind those it surely has; one at a time."""
        behind = self._speculative[-1] + self._step if self._speculative else self._next_offset
        reach = self._estimated_end
        if self._end is not None:
            reach = min(reach, (self.records + self._end) / 2 - self._page_size)
        if self._probe or reach < behind:
            return None
        self._probe = self._page_at(behind + int(reach - behind) // self._step * self._step)
        return self._probe

    def _page_at(self, offset: int) -> PageRequest:
        """Ask for a page, and move on behind all that follow each other in order."""
        insort(self._speculative, offset)
        while self._speculative and self._speculative[0] <= self._next_offset:
            last, step = self._speculative.pop(0), self._step
            if self._speculative:
                # Evenly up to the page that is there already.
                gap = self._speculative[0] - last
                step = -(-gap // -(-gap // max(1, self._page_size - self._least_overlap)))
            self._next_offset, self._covered = last + step, last + self._page_size
        return PageRequest(offset, self._page_size)

    def _note_depth(self, request: PageRequest, page: Page) -> None:
        """Take in what a page says of how far the list goes."""
        if request is self._probe:
            self._probe = None
            if not page.count and request.offset in self._speculative:
                self._speculative.remove(request.offset)  # another one, less far, has to tell
        reached = page.offset + page.count
        if page.count < page.limit or self._key(page.oldest) < self._since:
            self._end = reached if page.count or self._end is None else min(self._end, reached)
        elif self._end is not None and self._end < reached:
            self._end = None  # it has grown
        if page.count and reached > self.records:
            self.records = reached
            self._estimate(page)
        self._at_bottom = self._end is not None and self._covered >= self._end

    def _estimate(self, page: Page) -> None:
        """Guess how far the list goes, from the page deepest in it."""
        # Ties at a boundary need a request of their own unless pages overlap by more
        # than them: overlap by more than any seen here, up to a twelfth of a page.
        self._overlap = max(self._least_overlap, min(page.max_ties + 2, self._page_size // 12))
        newest, oldest = timestamps.parse(page.newest), timestamps.parse(page.oldest)
        since = timestamps.parse(self.window.since)
        midnight = oldest.replace(hour=0, minute=0, second=0, microsecond=0)
        today = (oldest - max(since, midnight)).total_seconds()
        seconds = (newest - oldest).total_seconds()
        # Its own day goes on at its own density, days before that at the window's.
        rest = page.count / seconds * today if seconds else self.records
        covered = timestamps.parse(self.window.end) - oldest
        # A burst of minutes must not make the windows to come as narrow as if it never ended.
        self.density = self.records / max(LEAST_DAYS, covered.total_seconds() / 86_400)
        rest += self.density * max(0, (midnight - since).days)
        trust, reach = STEADY if seconds > STEADY_HOURS * 3600 else BURST
        self._estimated_end = min(self.records + trust * rest, reach * self.records + PAGES_FURTHER * self._page_size)

    # Repairing boundaries

    @property
    def _since(self) -> str:
        return self._key(self.window.since)

    def _key(self, moment: str) -> str:
        return moment[: self._sort_precision]

    def _unproven_times(self) -> list[str]:
        """Find the wanted times that no page has strictly inside."""
        spans = [
            (
                LATEST if page.offset == 0 else self._key(page.newest),
                "" if page.count < page.limit else self._key(page.oldest),
            )
            for page in self._pages
        ]
        spans.sort(key=itemgetter(0), reverse=True)
        unproven_times: list[str] = []
        low = LATEST
        for newest, oldest in spans:
            if oldest < low:
                # Once its tie is proven, there is no gap behind it either: a page has it and what is older.
                if newest <= low < LATEST:
                    unproven_times.append(low)
                low = oldest
        return [moment for moment in (*unproven_times, low) if moment >= self._since]

    def _plan_repairs(self) -> None:
        """Line up requests for what is still unproven; when nothing is, this is done."""
        for moment, pages in self._passes.items():
            self._ties[moment].add_pass(pages)
        self._passes.clear()
        unproven_times = self._unproven_times()
        for moment in unproven_times:
            if moment not in self._ties:
                self._ties[moment] = Tie(moment, self._key, self._largest)
                self._ties[moment].add_pass(
                    page for page in self._pages if self._key(page.oldest) <= moment <= self._key(page.newest)
                )
        unproven = [self._ties[moment] for moment in unproven_times if not self._ties[moment].proven]
        for tie in unproven:
            if tie.passes == MOST_ATTEMPTS:
                msg = (
                    f"{self.window}: the list never came to rest, so it cannot be proven complete; "
                    "run again when less is changing"
                )
                raise UnusableDataError(msg)
            self._repairs.extend(PageRequest(*request, tie.instant) for request in tie.requests())
        self.done = not unproven
