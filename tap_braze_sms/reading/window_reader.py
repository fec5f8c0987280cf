"""Pages: one window read completely and truly while its list moves.

Braze lists a window newest first and gives any stretch of positions. Between two
requests records may be added or removed anywhere, and records of equal times may change
places, so positions prove nothing. Times do: an answer is one instant's truth about
*every time strictly between its newest and its oldest record* (and everything newer, at
offset 0; and everything older, where it is shorter than asked). A record that stays on
the list and whose time lies there is in that answer. So a window is complete when every
wanted time lies strictly inside some page, and until then the reading goes back to where
two pages fail to overlap.

No input or output here: `ask` says what to request, `receive` takes an answer, in any
order, as many under way at once as the caller likes.
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
#: others absorb what is removed while several requests are under way.
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

#: Days that the records of a pace are taken to be spread over at least.
LEAST_DAYS = 1


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to be made: a stretch of positions, and the boundary it is to mend."""

    offset: int
    limit: int
    #: The time that no page proves yet; None for ordinary paging.
    boundary: str | None = None


class Reading:
    """The reading of one window."""

    def __init__(
        self,
        window: Window,
        *,
        page_size: int,
        end_included: bool = False,
        largest: int = 500,
    ) -> None:
        """Prepare for reading.

        Args:
            window: What to read.
            page_size: Records of an ordinary request; boundaries may ask for more.
            end_included: Braze is known to count ``end_date`` in.
            largest: Most records Braze gives in one answer.
        """
        self.window = window
        #: ``start_date`` and ``end_date`` to ask with.
        self.dates = window.dates(end_included=end_included)
        self.pending = 0
        #: Whether every wanted instant is proven.
        self.done = False
        #: Set by whoever asks when a request failed for good; the caller raises it once
        #: everything before this window is emitted.
        self.error: BaseException | None = None
        #: Braze counts ``end_date`` in, which these dates do not allow for.
        self.end_included = False
        self._end_allowed_for = end_included
        #: Records a day so far; None before a first full page.
        self.pace: float | None = None
        self._page_size = page_size
        self._largest = max(largest, page_size)
        self._pages: list[Page] = []
        self._grain = len(window.since)
        #: The next position to ask for in order, and the one past all that was.
        self._front = self._covered = 0
        #: Records that the list surely has; up to where it probably goes, and surely does not.
        self.records = 0
        self._likely = 0.0
        self._end: int | None = None
        #: Offsets of pages that were asked for out of order, and the one under way.
        self._ahead: list[int] = []
        self._probe: Ask | None = None
        self._at_bottom = False
        self._overlap = self._least_overlap = min(OVERLAP, max(2, page_size // 12))
        self._mending: deque[Ask] = deque()
        self._ties: dict[str, Tie] = {}
        #: Answers to what was asked about each of them, until all are in.
        self._passes: defaultdict[str, list[Page]] = defaultdict(list)

    @property
    def held(self) -> int:
        """Pages held."""
        return len(self._pages)

    @property
    def share(self) -> float:
        """About the part of the window that is read, from 0 to 1."""
        in_order = [page.oldest for page in self._pages if page.offset < self._front]
        if self._at_bottom or not in_order:
            return float(self._at_bottom)
        since, end = timestamps.moment(self.window.since), timestamps.moment(self.window.end)
        return min(1.0, max(0.0, (end - timestamps.moment(min(in_order))) / (end - since)))

    def rows(self) -> Iterator[list[Row]]:
        """Give what was read: wanted instants only, oldest first, nothing twice."""
        pages, self._pages = self._pages, []
        return ascending(pages, since=self.window.since, until=self.window.until or LATEST)

    def ask(self, *, ahead: bool = False) -> Ask | None:
        """Say what to request next; None: nothing before an answer is in, or at all.

        Args:
            ahead: A page that the list has probably, not surely. If it is full, all
                before it is surely there; if not, one request is lost, not many.
        """
        if self._at_bottom:
            ask = self._mending.popleft() if self._mending else None
        else:
            ask = self._page_ahead() if ahead else self._next_page()
        if ask is not None:
            self.pending += 1
        return ask

    @property
    def backlog(self) -> int:
        """Records that the list surely has and that were not asked for."""
        return max(0, self.records - self._front - len(self._ahead) * self._page_size)

    def receive(self, ask: Ask, page: Page) -> None:
        """Take in the answer to a request."""
        self.pending -= 1
        self._grain = min(self._grain, page.grain)
        if page.count or page.offset == 0:  # an empty page from the top says it all
            self._pages.append(page)
            if not self._end_allowed_for and page.newest > (day := self.window.end[:10]) + NOON:
                of_that_day = sum(row[0][:10] == day and row[0] > day + NOON for row in page.rows())
                self.end_included |= of_that_day > MANY * self._page_size
        if ask.boundary is not None:
            self._passes[ask.boundary].append(page)
        if not self._at_bottom:
            self._note_depth(ask, page)
        if self._at_bottom and not self.pending and not self._mending:
            self._plan_mending()

    # Ordinary paging

    @property
    def _step(self) -> int:
        return max(1, self._page_size - self._overlap)

    def _next_page(self) -> Ask | None:
        """Ask for the next page in order, if the list surely has it: after a full one, if only to find the end."""
        # Where it grew behind an answer that was its end, nobody else would ask.
        is_needed = self._front < self.records or not self.pending
        return self._page_at(self._front) if is_needed else None

    def _page_ahead(self) -> Ask | None:
        """Ask for the last page that the list probably has behind those it surely has; one at a time."""
        behind = self._ahead[-1] + self._step if self._ahead else self._front
        reach = self._likely
        if self._end is not None:
            reach = min(reach, (self.records + self._end) / 2 - self._page_size)
        if self._probe or reach < behind:
            return None
        self._probe = self._page_at(behind + int(reach - behind) // self._step * self._step)
        return self._probe

    def _page_at(self, offset: int) -> Ask:
        """Ask for a page, and move on behind all that follow each other in order."""
        insort(self._ahead, offset)
        while self._ahead and self._ahead[0] <= self._front:
            last, step = self._ahead.pop(0), self._step
            if self._ahead:
                # Evenly up to the page that is there already.
                gap = self._ahead[0] - last
                step = -(-gap // -(-gap // max(1, self._page_size - self._least_overlap)))
            self._front, self._covered = last + step, last + self._page_size
        return Ask(offset, self._page_size)

    def _note_depth(self, ask: Ask, page: Page) -> None:
        """Take in what a page says of how far the list goes."""
        if ask is self._probe:
            self._probe = None
            if not page.count and ask.offset in self._ahead:
                self._ahead.remove(ask.offset)  # another one, less far, has to tell
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
        self._overlap = max(self._least_overlap, min(page.crowd + 2, self._page_size // 12))
        newest, oldest = timestamps.moment(page.newest), timestamps.moment(page.oldest)
        since = timestamps.moment(self.window.since)
        midnight = oldest.replace(hour=0, minute=0, second=0, microsecond=0)
        today = (oldest - max(since, midnight)).total_seconds()
        seconds = (newest - oldest).total_seconds()
        # Its own day goes on at its own pace, days before that at the window's.
        rest = page.count / seconds * today if seconds else self.records
        covered = timestamps.moment(self.window.end) - oldest
        # A burst of minutes must not make the windows to come as narrow as if it never ended.
        self.pace = self.records / max(LEAST_DAYS, covered.total_seconds() / 86_400)
        rest += self.pace * max(0, (midnight - since).days)
        trust, reach = STEADY if seconds > STEADY_HOURS * 3600 else BURST
        self._likely = min(self.records + trust * rest, reach * self.records + PAGES_FURTHER * self._page_size)

    # Mending boundaries

    @property
    def _since(self) -> str:
        return self._key(self.window.since)

    def _key(self, moment: str) -> str:
        return moment[: self._grain]

    def _edges(self) -> list[str]:
        """Find the wanted times that no page has strictly inside."""
        spans = [
            (
                LATEST if page.offset == 0 else self._key(page.newest),
                "" if page.count < page.limit else self._key(page.oldest),
            )
            for page in self._pages
        ]
        spans.sort(key=itemgetter(0), reverse=True)
        edges: list[str] = []
        low = LATEST
        for newest, oldest in spans:
            if oldest < low:
                # Once its tie is proven, there is no gap behind it either: a page has it and what is older.
                if newest <= low < LATEST:
                    edges.append(low)
                low = oldest
        return [moment for moment in (*edges, low) if moment >= self._since]

    def _plan_mending(self) -> None:
        """Line up requests for what is still unproven; when nothing is, this is done."""
        for moment, pages in self._passes.items():
            self._ties[moment].judge(pages)
        self._passes.clear()
        edges = self._edges()
        for moment in edges:
            if moment not in self._ties:
                self._ties[moment] = Tie(moment, self._key, self._largest)
                self._ties[moment].judge(
                    page for page in self._pages if self._key(page.oldest) <= moment <= self._key(page.newest)
                )
        unproven = [self._ties[moment] for moment in edges if not self._ties[moment].proven]
        for tie in unproven:
            if tie.passes == MOST_ATTEMPTS:
                msg = (
                    f"{self.window}: the list never came to rest, so it cannot be proven complete; "
                    "run again when less is changing"
                )
                raise UnusableDataError(msg)
            self._mending.extend(Ask(*ask, tie.instant) for ask in tie.asks())
        self.done = not unproven
