"""What goes wrong with a list, in terms of no framework."""

from __future__ import annotations

import enum


class Kind(enum.Enum):
    """What ended a run, for those who decide whether to run it again."""

    SETTING = "a setting or a file is wrong"
    ACCESS = "the key, its permission, or what is allowed on the way to Braze"
    PASSING = "it may pass by itself"
    DATA = "what came cannot be used, or cannot be proven complete"
    OTHER = "anything else"


class ReadingError(Exception):
    """An end that needs no traceback: the message says what was wrong and what to do."""

    kind = Kind.OTHER


class RetryableError(ReadingError):
    """A request that came to nothing in a way that may pass: there was no answer, or what came is not one.

    Args:
        what: Happened, without anything Braze or the network said.
        wait: Least seconds before the next try.
    """

    kind = Kind.PASSING

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


class RefusedStretchError(ReadingError):
    """A stretch of a list (its days, or its depth) is refused as it was asked for; a narrower one may not be.

    Args:
        what: Was refused and why.
        kind: What to make of it where nothing narrower is left to ask for.
    """

    def __init__(self, what: str, kind: Kind = Kind.SETTING) -> None:
        super().__init__(what)
        self.kind = kind


class UnusableDataError(ReadingError):
    """What came cannot be used, or cannot be proven complete, and asking again would not change that."""

    kind = Kind.DATA


class NeverAtRestError(UnusableDataError):
    """A list changed faster than it could be proven complete.

    Args:
        window: Names what was read.
    """

    def __init__(self, window: object) -> None:
        super().__init__(
            f"{window}: the list never came to rest, so it cannot be proven complete; run again when less is changing"
        )


class UnusableInputError(ReadingError):
    """What this run was given (a state, a file of numbers) cannot be used. The message quotes no record."""

    kind = Kind.SETTING
