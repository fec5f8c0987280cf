"""Spellings: with + and without it, one of which Braze may not know, or refuse.

Its documents call both E.164. Whether it compares numbers by their digits, nobody says.
"""

from __future__ import annotations

import typing as t

from tap_braze_sms.braze.errors import BAD_REQUEST, RequestRefusedError

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = t.TypeVar("T")

#: The spellings that go into one request.
Way: t.TypeAlias = tuple[str, ...]

PLUS, BARE = "plus", "bare"

#: What the setting `phone_spelling` means.
WAYS: dict[str, Way] = {"both": (PLUS, BARE), "plus": (PLUS,), "bare": (BARE,)}


def spell(numbers: Iterable[str], way: Way) -> list[str]:
    """Return numbers, given by their digits, in every spelling of a way."""
    return [f"+{number}" if spelling == PLUS else number for number in numbers for spelling in way]


class Spellings:
    """The spellings to send, in as few requests as Braze takes them.

    Safe for several threads: what one of them learns replaces what others knew, and all of it is true.

    Args:
        way: To begin with.
    """

    def __init__(self, way: Way) -> None:
        self.ways: tuple[Way, ...] = (way,)

    @property
    def per_number(self) -> int:
        """Texts that a number takes in the largest request about it."""
        return max(map(len, self.ways))

    def send(self, request: Callable[[Way], T]) -> list[T]:
        """Make a request in every way there is, and return what came of those that Braze took.

        One that mixes spellings and is refused is made again by spelling, and what Braze takes of these is enough.

        Raises:
            RequestRefusedError: it took none, or refused for another reason.
        """
        ways = self.ways
        taken: dict[Way, T] = {}
        refusals: list[RequestRefusedError] = []
        for way in ways:
            try:
                taken[way] = request(way)
            except RequestRefusedError as refused:  # noqa: PERF203 (each is a request)
                if refused.status != BAD_REQUEST:
                    raise
                refusals.append(refused)
        if taken:
            if refusals:
                self.ways = tuple(taken)
            return list(taken.values())
        if self.per_number == 1:
            raise refusals[0]
        alone = Spellings(())
        alone.ways = tuple((spelling,) for way in ways for spelling in way)
        answers = alone.send(request)
        self.ways = alone.ways
        return answers
