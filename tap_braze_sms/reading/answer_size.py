"""Answer size: how many records an answer can hold, which is knowledge of the whole run."""

from __future__ import annotations

#: Records that Braze returns in one answer at least, where its list has them: the one thing that is taken for granted.
FEWEST = 2


class AnswerSize:
    """How many records answers were seen to hold, by all windows of a run.

    Braze documents a `limit` of up to 500 and says nothing of answers that hold fewer though the list goes on: a
    proxy, or a limit in bytes, may cut them shorter.
    """

    def __init__(self) -> None:
        #: Most records of any answer.
        self.largest = FEWEST
        #: Whether that was as many as were asked for.
        self.is_as_asked = False
        #: Fewest records of an answer behind which the list went on; None: all were as long as asked for.
        self._cut_to: int | None = None

    def add(self, count: int, limit: int) -> None:
        """Take in how long an answer was."""
        if count >= self.largest:
            self.largest, self.is_as_asked = count, count >= limit
        if count >= limit and self._cut_to is not None and count > self._cut_to:
            self._cut_to = None  # not cut any more

    def cut_short(self, count: int) -> None:
        """Take in that an answer of so many records was not the end of its list, though more were asked for."""
        self._cut_to = count if self._cut_to is None else min(count, self._cut_to)

    @property
    def is_cut(self) -> bool:
        """Whether answers are cut short."""
        return self._cut_to is not None

    def expected(self, limit: int) -> int:
        """Return how many records an answer will hold at least, if the list has them."""
        if self._cut_to is None:
            return limit
        # A single short answer must not make all that follow as short.
        return max(FEWEST, min(limit, max(self._cut_to, self.largest // 2)))
