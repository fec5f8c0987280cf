"""The rate limit of a workspace: so many requests in each window of its clock."""

from __future__ import annotations

import math

from braze_simulator.messages import Budget


class RateLimit:
    """What was spent of it in the window that is open."""

    def __init__(self) -> None:
        self.spent = 0
        self._window: tuple[float, float] = (0, 0)

    def charge(self, cost: int, *, limit: int, span: float, now: float) -> Budget:
        """Count a request.

        Args:
            cost: What it counts for: a stranger's costs the workspace nothing.
            limit: Requests in a window.
            span: Seconds of one; windows begin at its multiples.
            now: Epoch seconds on Braze's clock.

        Returns:
            What the headers of its answer say.
        """
        window = now // span
        if self._window != (window, span):
            self._window, self.spent = (window, span), 0
        self.spent += cost
        return Budget(limit, limit - self.spent, math.ceil((window + 1) * span))
