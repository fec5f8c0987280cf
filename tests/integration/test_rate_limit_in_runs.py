"""Real runs against a rate limit that is soon reached (promise 11)."""

from __future__ import annotations

import json
import math
import random

from braze_simulator import Simulator, seeded
from support.runs import config_for
from tap_braze_sms.braze.rate_limit import MARGIN


def windows_of(simulator: Simulator) -> int:
    """Count the windows of the rate limit from the first request to the last."""
    started = [request.started for request in simulator.requests]
    return math.ceil((max(started) - min(started)) / simulator.behaviour.rate_window) + 1


def test_at_half_the_limit_a_run_is_never_refused_pauses_and_says_so(command):
    entries = seeded(1_000, days=20)
    with Simulator(
        entries, api_key="k", rate_limit=20, rate_window=1.0, header_case="upper", latency=0.02
    ) as simulator:
        config = config_for(simulator, api_key="k", start_date=f"{entries[0].detected_at:%Y-%m-%d}", page_size=60)
        run = command("tap-braze-sms", config=config)
        assert run.code == 0, run.log
        assert len(run.records) == 1_000
        assert {request.status for request in simulator.requests} == {200}
        assert len(simulator.requests) <= 10 * windows_of(simulator)
        pauses = [line for line in run.log.splitlines() if "pausing" in line]
        assert 0 < len(pauses) <= windows_of(simulator)
        assert (
            "none of the workspace's 20 requests is left for this plugin (rate_limit_share 0.5); pausing" in pauses[0]
        )


def test_requests_that_wait_for_the_first_answer_are_no_pause(command):
    numbers = [f"+1200555{line:04}" for line in range(400)]
    with Simulator(api_key="k", latency=0.1) as simulator:
        config = config_for(simulator, api_key="k", phone_numbers=numbers)
        catalog = json.loads(command.text("tap-braze-sms", "--discover", config=config).stdout)
        for stream in catalog["streams"]:
            (root,) = [item["metadata"] for item in stream["metadata"] if not item["breadcrumb"]]
            root["selected"] = stream["stream"] == "phone_number_status"
        run = command("tap-braze-sms", config=config, catalog=catalog)
        assert run.code == 0, run.log
        assert len(run.records) == 400
        assert simulator.max_under_way > 1
        assert "pausing" not in run.log


def test_at_the_whole_limit_a_run_is_refused_at_most_once_a_request_under_way_and_completes(command):
    entries = seeded(1_000, days=20)
    with Simulator(entries, api_key="k", rate_limit=8, rate_window=1.0, latency=0.02) as simulator:
        start = f"{entries[0].detected_at:%Y-%m-%d}"
        config = config_for(simulator, api_key="k", start_date=start, page_size=60, rate_limit_share=1)
        # Someone else's job, all the time.
        others = random.Random(1)
        simulator.begin, begin = lambda *a: (_charge(simulator, others), begin(*a))[1], simulator.begin
        run = command("tap-braze-sms", config=config)
        assert run.code == 0, run.log
        assert len(run.records) == 1_000
        refused = sum(request.status == 429 for request in simulator.requests)
        assert refused <= 8 * windows_of(simulator)
        assert "pausing" in run.log


def _charge(simulator: Simulator, others: random.Random) -> None:
    with simulator.lock:
        simulator.rate_limit.spent += others.random() < 0.3


def test_a_refusal_is_waited_out_until_the_reset(command):
    entries = seeded(50, days=20)
    with Simulator(entries, api_key="k", rate_window=2.0) as simulator:
        simulator.behaviour.fail_next = ["429"]
        start = f"{entries[0].detected_at:%Y-%m-%d}"
        run = command("tap-braze-sms", config=config_for(simulator, api_key="k", start_date=start))
        assert run.code == 0, run.log
        assert len(run.records) == 50
        assert "Braze says the rate limit is reached (429); trying again in" in run.log
        refused, again = simulator.requests[:2]
        # However near the reset was, the margin is waited.
        assert again.started - refused.started >= MARGIN
