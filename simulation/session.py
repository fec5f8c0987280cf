"""The session: HTTP as the client sees it, in virtual time."""

from __future__ import annotations

import random
import typing as t
from dataclasses import dataclass

import requests

from tap_braze_sms.reading.errors import RetryableError
from tap_braze_sms.reading.page import Page

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from simulation.pool import VirtualClock
    from simulation.scenario import Scenario
    from simulation.world import Reply, World
    from tap_braze_sms.reading.page import Row


@dataclass(frozen=True, slots=True)
class Response:
    """What the client looks at of a response."""

    url: str
    status_code: int
    headers: Mapping[str, str]
    #: Rows of an answer instead of their JSON: how that is parsed has tests of its own. None: it cannot be parsed.
    content: tuple[Row, ...] | bytes | None

    def json(self) -> t.Any:  # noqa: ANN401 (what requests returns)
        """Return Braze's words in a refusal."""
        return {"message": "refused in the simulation"}


class VirtualSession:
    """Brings requests to the world and answers back, each way taking its time.

    Args:
        scenario: Says how long that takes.
        world: Answers.
        clock: Lets time pass.
    """

    def __init__(self, scenario: Scenario, world: World, clock: VirtualClock) -> None:
        self._scenario = scenario
        self._world = world
        self._clock = clock
        self._random = random.Random(f"session {scenario.seed}")

    def get(self, url: str, *, params: Mapping[str, t.Any], timeout: float, **_: object) -> Response:
        """Make a request.

        Raises:
            requests.Timeout: no answer came in time.
            requests.ConnectionError: the connection was dropped.
        """
        self._world.in_flight += 1
        try:
            self._clock.sleep(self._draw_latency())
            reply = self._world.answer(params, self._clock.now)
            if reply.fault == "timeout":
                self._clock.sleep(timeout)
                raise requests.Timeout
        finally:
            self._world.in_flight -= 1
        self._clock.sleep(self._draw_latency())
        if reply.fault == "reset":
            raise requests.ConnectionError
        return Response(url, reply.status, reply.headers, _content(reply))

    def _draw_latency(self) -> float:
        """Draw the seconds of one way."""
        jitter = self._scenario.jitter
        return self._scenario.latency / 2 * self._random.uniform(1 / jitter, jitter)


def _content(reply: Reply) -> tuple[Row, ...] | bytes | None:
    if reply.status != requests.codes.ok:
        return b'{"message": "refused in the simulation"}'
    return None if reply.fault == "spoilt" else reply.rows


def parse_page(content: tuple[Row, ...] | None, *, offset: int, limit: int) -> Page:
    """Return the page of an answer.

    Raises:
        RetryableError: the answer is spoilt.
    """
    if content is None:
        msg = "the answer is cut off"
        raise RetryableError(msg)
    return Page.of(list(content), offset=offset, limit=limit)
