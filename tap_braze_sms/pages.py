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
from collections import deque
from dataclasses import dataclass

from singer_sdk.exceptions import DataError

from tap_braze_sms import times
from tap_braze_sms.records import Page, Row, ascending
from tap_braze_sms.ties import MOST_PASSES, Tie

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_braze_sms.windows import Window

#: Records that neighbouring pages share. Two prove the boundary of a list at rest; the
#: others absorb what is removed while several requests are under way.
OVERLAP = 4

#: How often one boundary is looked for before the run says that it cannot be found.
MOST_ATTEMPTS = 16

#: The part of an estimate that is asked for before anything shows it to be right: of a
#: day that goes on as it is known to have ended, and of days that only resemble others.
TRUSTED_DAY, TRUSTED_DAYS = 0.9, 0.5

_NEWEST, _OLDEST = "\uffff", ""


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
        per_day: float | None = None,
        end_included: bool = False,
        largest: int = 500,
    ) -> None:
        """Prepare for reading.

        Args:
            window: What to read.
            page_size: Records of an ordinary request; boundaries may ask for more.
            per_day: Records a day to be expected, if known.
            end_included: Braze is known to count ``end_date`` in.
            largest: Most records Braze gives in one answer.
        """
        self.window = window
        #: ``start_date`` and ``end_date`` to ask with.
        self.dates = window.dates(end_included=end_included)
        self.pending = 0
        #: Answers that were full, and answers that lay behind the end of the list.
        self.full = 0
        self.wasted = 0
        #: Whether every wanted instant is proven.
        self.done = False
        #: Set by whoever asks when a request failed for good; the caller raises it once
        #: everything before this window is emitted.
        self.error: BaseException | None = None
        #: Braze returned records later than the end it was asked for.
        self.end_included = False
        #: Records a day so far; None before a first full page.
        self.pace: float | None = None
        self._page_size = page_size
        self._largest = max(largest, page_size)
        self._per_day = per_day or 0.0
        self._pages: list[Page] = []
        self._grain = len(window.since)
        self._asked = False
        self._front = 0
        self._known = 0
        self._at_bottom = False
        self._likely = 0.0
        self._overlap = OVERLAP
        self._mending: deque[Ask] = deque()
        self._attempts: dict[str, int] = {}
        self._nearest: dict[str, Page] = {}
        self._ties: dict[str, Tie] = {}
        self._passes: dict[str, list[Page]] = {}

    @property
    def held(self) -> int:
        """Pages held."""
        return len(self._pages)

    @property
    def records(self) -> int:
        """About how many records the window has."""
        return max((page.offset + page.count for page in self._pages), default=0)

    def rows(self) -> Iterator[list[Row]]:
        """Give what was read: wanted instants only, oldest first, nothing twice."""
        pages, self._pages = self._pages, []
        yield from ascending(pages, since=self.window.since, until=self.window.until)

    def ask(self, *, speculate: float = 0) -> Ask | None:
        """Say what to request next; None: nothing before an answer is in, or at all.

        Args:
            speculate: How much to ask for that the list probably, not surely, has, as a
                part of what it is known to have.
        """
        ask = self._next_mending() if self._at_bottom else self._next_page(speculate=speculate)
        if ask is not None:
            self.pending += 1
        return ask

    def receive(self, ask: Ask, page: Page) -> None:
        """Take in the answer to a request."""
        self.pending -= 1
        self._grain = min(self._grain, page.grain)
        self.full += page.count == page.limit
        self.wasted += page.offset > 0 and page.count <= self._overlap
        if page.count or page.offset == 0:  # an empty page from the top says it all
            self._pages.append(page)
            self.end_included |= page.newest > self.window.end
        if ask.boundary is not None:
            self._nearest[ask.boundary] = page
            if ask.boundary in self._passes:
                self._passes[ask.boundary].append(page)
        reached = page.offset + page.count
        if page.count < page.limit or self._key(page.oldest) < self._since:
            self._at_bottom = True
        elif reached > self._known:
            self._known = reached
            self._estimate(page)
        if self._at_bottom and not self.pending and not self._mending:
            self._plan_mending()
            self.done = not self._mending

    # Ordinary paging

    def _next_page(self, *, speculate: float) -> Ask | None:
        # The page after a full one is needed in any case, if only to find the end.
        reach = self._known
        if speculate:
            # Trust grows with what was found, so that a wrong estimate costs little.
            trusted = max(self._page_size, self._known * speculate)
            reach = min(self._likely, self._known + trusted)
        if self._asked and self._front >= reach:
            return None
        self._asked = True
        ask = Ask(self._front, self._page_size)
        self._front += max(1, self._page_size - self._overlap)
        return ask

    def _estimate(self, page: Page) -> None:
        """Guess how far the list goes, from the page deepest in it."""
        # Ties at a boundary need a request of their own unless pages overlap by more
        # than them: overlap by twice what is usual here, up to a twelfth of a page.
        usual = 2 * -(-page.count // page.instants) + 2
        self._overlap = max(OVERLAP, min(usual, self._page_size // 12))
        newest, oldest = times.moment(page.newest), times.moment(page.oldest)
        since = times.moment(self.window.since)
        midnight = oldest.replace(hour=0, minute=0, second=0, microsecond=0)
        today = (oldest - max(since, midnight)).total_seconds()
        seconds = (newest - oldest).total_seconds()
        # Its own day goes on at its own pace, days before that at the slower of what was
        # seen in this window and of what is usual.
        rest = TRUSTED_DAY * (page.count / seconds * today if seconds else self._known)
        covered = times.moment(self.window.end) - oldest
        self.pace = self._known / max(1.0, covered.total_seconds() / 86_400)
        rest += TRUSTED_DAYS * max(0, (midnight - since).days) * min(self._per_day, self.pace)
        self._likely = self._known + rest

    # Mending boundaries

    @property
    def _since(self) -> str:
        return self._key(self.window.since)

    def _key(self, moment: str) -> str:
        return moment[: self._grain]

    def _boundaries(self) -> list[tuple[str, Page]]:
        """Find the times that no page proves, each with the page that stops there."""
        spans = [
            (
                _NEWEST if page.offset == 0 else self._key(page.newest),
                _OLDEST if page.count < page.limit else self._key(page.oldest),
                page,
            )
            for page in self._pages
        ]
        spans.sort(key=lambda span: span[0], reverse=True)
        unproven: list[tuple[str, Page]] = []
        low, at = _NEWEST, None
        for newest, oldest, page in spans:
            if low < self._since:
                break
            if oldest >= low:
                continue
            joins = newest > low or (newest == low and self._is_tie_proven(low))
            if at is not None and not joins:
                unproven.append((low, at))
            low, at = oldest, page
        if at is not None and low >= self._since:
            unproven.append((low, at))
        return unproven

    def _is_tie_proven(self, boundary: str) -> bool:
        tie = self._ties.get(boundary)
        return tie is not None and tie.proven

    def _next_mending(self) -> Ask | None:
        return self._mending.popleft() if self._mending else None

    def _plan_mending(self) -> None:
        """Line up requests for what is still unproven; none: the window is complete."""
        for boundary, pages in self._passes.items():
            self._ties[boundary].judge(pages)
        self._passes.clear()
        proven = sum(tie.proven for tie in self._ties.values())
        for boundary, page in self._boundaries():
            if boundary not in self._ties:
                self._look_for(boundary, self._nearest.get(boundary, page))
            if boundary in self._ties:
                self._count_ties(boundary)
        if not self._mending and proven < sum(t.proven for t in self._ties.values()):
            self._plan_mending()  # a tie proven on the way: what lies below it?

    def _look_for(self, boundary: str, near: Page) -> None:
        """Ask for a page that has the boundary strictly inside.

        Args:
            boundary: The unproven time.
            near: The page that says most about where it is now.
        """
        attempt = self._attempts.get(boundary, 0)
        if attempt == MOST_ATTEMPTS:
            self._give_up("records left it faster than it could be read")
        self._attempts[boundary] = attempt + 1
        keys = [self._key(row[0]) for row in near.rows()]
        above = sum(key > boundary for key in keys)
        equal = sum(key == boundary for key in keys)
        at_start = above == 1 or (not above and not near.offset)
        if at_start and above + equal == len(keys) == self._largest:
            self._ties[boundary] = tie = Tie(boundary, self._key, self._largest)
            tie.judge(self._pages)
            return
        slack = 2 << attempt
        if not above:  # everything here is at the boundary or below it: step back
            start = near.offset - 1 - slack
        else:
            if equal + 2 * slack > self._largest - 2:
                slack = 0
            start = near.offset + above - 1 - slack
        limit = max(self._page_size, 2 * (equal + slack) + 2)
        if attempt or limit > self._largest:
            limit = self._largest
        self._mending.append(Ask(max(0, start), limit, boundary))

    def _count_ties(self, boundary: str) -> None:
        """Read an instant larger than a page once more, unless it is proven."""
        tie = self._ties[boundary]
        if tie.proven:
            return
        if tie.passes > MOST_PASSES:
            self._give_up("records of one instant kept changing places")
        self._passes[boundary] = []
        self._mending.extend(Ask(*ask, boundary) for ask in tie.asks())

    def _give_up(self, why: str) -> t.NoReturn:
        msg = (
            f"{self.window}: the list never came to rest ({why}), so it cannot be "
            "proven complete; run again when less is changing"
        )
        raise DataError(msg)
