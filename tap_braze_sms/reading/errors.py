"""What goes wrong with a list, in terms of no framework."""

from __future__ import annotations


class ReadingError(Exception):
    """An end that needs no traceback: the message says what was wrong and what to do."""


class RetryableError(ReadingError):
    """A request that came to nothing in a way that may pass: there was no answer, or what came is not one.

    Args:
        what: Happened, without anything Braze or the network said.
        wait: Least seconds before the next try.
    """

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


class UnusableDataError(ReadingError):
    """What came cannot be used, or cannot be proven complete, and asking again would not change that."""


class UnusableInputError(ReadingError):
    """What this run was given (a state, a file of numbers) cannot be used. The message quotes no record."""
