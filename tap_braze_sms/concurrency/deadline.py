"""The deadline: how long a run may go on before it comes to its end by itself."""

from __future__ import annotations

import math
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Callable


class Deadline:
    """When a run begins nothing more; never before it has got on.

    Args:
        seconds: How long the run may last; infinite: as long as it takes.
        elapsed: Returns the seconds that it has lasted.
        pause: Returns the seconds for which nothing at all can be done; 0: something can.
        beyond: The instant, in the fixed form, beyond which the run has to come, or the next would do the same again.
    """

    def __init__(
        self,
        seconds: float = math.inf,
        elapsed: Callable[[], float] = lambda: 0.0,
        pause: Callable[[], float] = lambda: 0.0,
        beyond: str = "",
    ) -> None:
        self._seconds = seconds
        self._elapsed = elapsed
        self._pause = pause
        self._beyond = beyond
        self._has_got_on = False

    def reach(self, moment: str) -> None:
        """Note that everything before an instant is read."""
        self._has_got_on |= moment > self._beyond

    @property
    def has_passed(self) -> bool:
        """Whether the run has lasted that long."""
        return self._elapsed() >= self._seconds

    @property
    def is_over(self) -> bool:
        """Whether the run may end."""
        return self._has_got_on and self.has_passed

    @property
    def is_over_in_a_pause(self) -> bool:
        """Whether the run may end, and nothing can be done any more until it has lasted that long."""
        if not self._has_got_on or self._seconds == math.inf:
            return False
        pause = self._pause()
        return pause > 0 and self._elapsed() + pause >= self._seconds
