"""The simulated Braze of the benchmark: the simulator, and what it saw of each run.

`run.py` starts it as a process of its own, options as JSON in the argument. It prints its address, serves until its
standard input ends, and answers three control requests more than the simulator itself:
`/_simulator/seen` sums up the requests since the log was reset, `/_simulator/numbers` names all that is on the list,
`/_simulator/rows` also when: each number's digits and its microseconds since the epoch.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import sys
import typing as t
from collections import Counter

from braze_simulator import CONTROL_PATH, LIST_PATH, MAX_PAGE, Message, Reply, Simulator, generated, success

#: Seconds without a new request that count as a pause.
PAUSE = 1.0


class SeenSimulator(Simulator):
    """A simulator that tells what it has seen."""

    def control(self, message: Message) -> Reply:
        """Answer a request to the simulator itself."""
        if message.target == f"{CONTROL_PATH}/seen":
            return self._seen()
        if message.target == f"{CONTROL_PATH}/numbers":
            numbers = "\n".join(self.listing.number_at(position) for position in range(len(self.listing)))
            return Reply(200, numbers.encode(), "text/plain")
        if message.target == f"{CONTROL_PATH}/rows":
            times = enumerate(self.listing.times)
            rows = "\n".join(f"{self.listing.number_at(position)} {when}" for position, when in times)
            return Reply(200, rows.encode(), "text/plain")
        return super().control(message)

    def _seen(self) -> Reply:
        asked = [request for request in self.requests if request.path == LIST_PATH]
        times = [request.started for request in asked]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        return success(
            requests=len(asked),
            full=sum(request.returned == MAX_PAGE for request in asked),
            returned=sum(request.returned for request in asked),
            statuses=Counter(str(request.status) for request in asked),
            first=min(times, default=None),
            # Of the last answer, that is.
            last=max(times, default=0) + self.behaviour.latency,
            pauses=sum(gap > PAUSE for gap in gaps),
            paused=sum(gap for gap in gaps if gap > PAUSE),
            at_once=self.max_under_way,
        )


def main() -> None:
    """Serve until standard input ends."""
    options: dict[str, t.Any] = json.loads(sys.argv[1])
    until = dt.datetime.fromisoformat(options.pop("until"))
    entries = generated(
        options.pop("records"),
        days=options.pop("days"),
        burst_share=options.pop("burst_share"),
        until=until,
    )
    with SeenSimulator(entries, **options) as braze:
        print(braze.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
