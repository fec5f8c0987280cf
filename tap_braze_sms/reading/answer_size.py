"""Answer size: how many records an answer can hold, which is knowledge of the whole run."""

from __future__ import annotations

#: Records that Braze returns in one answer at least, where its list has them: the one thing that is taken for granted.
FEWEST = 2

#: The part of the longest answer, as 1 / this, that an answer holds at least, if its list has them and it has to prove
#: that it ends. Caps in bytes, or drawn anew by whatever answers, make some answers several times as long as others.
UNEVEN = 4

#: Answers in succession, as long as any, that show that none is cut, or that it was a stray that was.
STEADY = 8

#: Where the first page of a pass is cut: at this part of an answer the first time, as far again each time, less whole
#: answers. So no two passes are cut alike; if they were, servers that take turns would look like one.
GOLDEN = 0.618


class AnswerSize:
    """How many records answers were seen to hold, by all windows of a run.

    Braze documents a `limit` of up to 500 and says nothing of answers that hold fewer though the list goes on: a
    proxy, or a limit in bytes, may cut them shorter.
    """

    def __init__(self) -> None:
        #: Most records of any answer.
        self.largest = FEWEST
        #: Whether more might come than the longest answer held: none as long was shorter than asked for.
        self.may_be_larger = True
        #: Fewest records of an answer behind which the list went on; None: all were as long as asked for.
        self._cut_to: int | None = None
        self._full = 0

    def add(self, count: int, limit: int) -> None:
        """Take in how long an answer was."""
        if limit >= self.largest if self._cut_to is None else limit > self._cut_to:
            # Where each answer is cut elsewhere, some are as long as any.
            self._full = self._full + 1 if count >= limit else 0
        if count > self.largest:
            self.largest, self.may_be_larger = count, True
        if self._full >= STEADY:
            self._cut_to = None  # not cut any more

    def add_open(self, count: int, limit: int) -> None:
        """Take in how long an answer was that was not seen to be its list's last."""
        if limit > count == self.largest:
            self.may_be_larger = False

    def cut_short(self, count: int) -> None:
        """Take in that an answer of so many records was not the end of its list, though more were asked for."""
        self._cut_to = count if self._cut_to is None else min(count, self._cut_to)
        self._full = 0

    @property
    def is_cut(self) -> bool:
        """Whether answers are cut short."""
        return self._cut_to is not None

    @property
    def is_steady(self) -> bool:
        """Whether so many answers in succession were as long as asked for that a shorter one is its list's last."""
        return self._cut_to is None and self._full >= STEADY

    @property
    def surely(self) -> int:
        """How many records an answer holds at least that is not its list's last, whatever cuts it."""
        return max(FEWEST, self.largest // UNEVEN)

    def shown(self, limit: int) -> int:
        """Return as `expected`, though no more than the longest answer held, if one that asked for more was as long."""
        expected = self.expected(limit)
        return expected if self.may_be_larger else min(expected, self.largest)

    def expected(self, limit: int) -> int:
        """Return how many records an answer will hold at least, if the list has them."""
        if self._cut_to is None:
            return limit
        # A single short answer must not make all that follow as short.
        return max(FEWEST, min(limit, max(self._cut_to, self.largest // 2)))
