"""The definitions in Dagster, on simulated workspaces and a real Postgres: what is loaded, by which runs, and again."""

from __future__ import annotations

import datetime as dt
import importlib
import os
import shutil
import signal
import threading
import time
import typing as t
from pathlib import Path

import dagster as dg
import pytest
from playground import KEY, MONTHS, playground
from upath import UPath

if t.TYPE_CHECKING:
    from types import ModuleType

FIRST, SECOND, THIRD = "workspace-01", "workspace-02", "workspace-03"
MARCH, APRIL, MAY = (f"{month}|{FIRST}" for month in MONTHS)


@pytest.fixture(scope="module")
def shared():
    # Many small windows one after the other, so that a run can fail between two of them; and at once.
    with playground(3, 400, window_days=5, max_parallel_requests=1, max_attempts=1) as made:
        yield made


@pytest.fixture(scope="module")
def daemon(shared):
    """Dagster's daemon, at work."""
    with shared.daemon():
        yield


@pytest.fixture
def ground(shared, monkeypatch):
    """Workspaces as they were, an empty warehouse, no states."""
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    yield shared
    for braze in shared.brazes.values():
        braze.api_key = KEY
        braze.behaviour.fail_next.clear()
        braze.requests.clear()
    shared.ask("DROP SCHEMA IF EXISTS braze CASCADE")
    shutil.rmtree(shared.folder / "states", ignore_errors=True)


@pytest.fixture
def definitions(ground) -> ModuleType:
    """The definitions, read in this environment."""
    return importlib.reload(importlib.import_module("definitions"))


class Run(t.NamedTuple):
    """A run that has ended."""

    success: bool
    metadata: dict[str, t.Any]  #: of what it loaded
    tries: int
    log: str  #: all that Dagster keeps of it


@pytest.fixture
def run(definitions):
    """Run one partition of a job, in this process and an instance of its own."""
    with dg.DagsterInstance.ephemeral() as instance:

        def run_one(key: str, job: str = "load_months") -> Run:
            done = definitions.defs.resolve_job_def(job).execute_in_process(
                partition_key=key, instance=instance, raise_on_error=False
            )
            loaded = [event.materialization for event in done.get_asset_materialization_events()]
            return Run(
                done.success,
                {name: value.value for one in loaded for name, value in one.metadata.items()},
                1 + sum(event.event_type is dg.DagsterEventType.STEP_RESTARTED for event in done.all_events),
                "\n".join(str(entry) for entry in instance.all_logs(done.run_id)),
            )

        yield run_one


def first_day_asked_for(braze) -> str:
    """Return the first day of the earliest window that was asked for since the last question."""
    days = [request.params["start_date"][0] for request in braze.requests]
    braze.requests.clear()
    return min(days)


def test_a_backfill_loads_each_month_exactly_and_a_refused_key_fails_only_its_own(ground, daemon):
    """With queue, daemon and a process for each run."""
    ground.brazes[THIRD].api_key = "another key"
    runs = ground.ended(ground.launch(ground.partitions([FIRST, THIRD])).values())
    failed = {run.tags["dagster/partition"] for run in runs if not run.is_success}
    assert failed == set(ground.partitions([THIRD]))
    assert ground.rows() == ground.of_partitions(ground.partitions([FIRST]))

    ground.brazes[THIRD].api_key = KEY
    assert all(run.is_success for run in ground.ended(ground.launch(failed).values()))
    assert ground.rows() == ground.of_partitions(ground.partitions([FIRST, THIRD]))


def test_a_workspace_has_one_run_at_a_time_and_others_go_past_it(ground, daemon):
    others = f"{MONTHS[0]}|{SECOND}"
    ground.brazes[FIRST].behaviour.fail_next = ["hang"]
    runs = ground.launch([MARCH, APRIL, others])
    (done,) = ground.ended([runs[others]])
    assert done.is_success
    assert ground.run(runs[MARCH]).status is dg.DagsterRunStatus.STARTED
    assert ground.run(runs[APRIL]).status is dg.DagsterRunStatus.QUEUED

    ground.instance.run_launcher.terminate(runs[MARCH])
    cancelled, followed = ground.ended([runs[MARCH], runs[APRIL]])
    assert not cancelled.is_success
    assert followed.is_success
    assert ground.rows() == ground.of_partitions([APRIL, others])


def test_the_schedule_asks_for_one_run_per_workspace(ground, definitions):
    now = dt.datetime.now(dt.timezone.utc)
    repository = definitions.defs.get_repository_def()
    with dg.build_schedule_context(scheduled_execution_time=now, repository_def=repository) as context:
        asked = definitions.hourly.evaluate_tick(context).run_requests
    workspaces = [request.tags["dagster/partition/workspace"] for request in asked]
    assert workspaces == [FIRST, SECOND, THIRD]
    assert len({request.run_key for request in asked}) == len(asked)


def test_what_is_new_begins_where_the_loaded_months_end_and_then_where_the_last_run_ended(ground, run):
    braze = ground.brazes[FIRST]
    for key in (MARCH, APRIL):
        assert run(key).success
    first_day_asked_for(braze)

    assert run(f"latest|{FIRST}", "load_latest").success
    # An hour before: what became visible late.
    assert first_day_asked_for(braze) == "2026-04-30"
    assert run(f"latest|{SECOND}", "load_latest").success
    assert first_day_asked_for(ground.brazes[SECOND]) == "2026-03-01"

    braze.detect(7)
    loaded = run(f"latest|{FIRST}", "load_latest").metadata
    assert loaded["records"] == 7
    assert loaded["requests"] <= 2
    since = dt.datetime(2026, 3, 1)  # noqa: DTZ001  (Postgres gives them without)
    assert ground.rows() == [event for name in (FIRST, SECOND) for event in ground.events(name) if event[2] >= since]


def test_a_month_that_failed_goes_on_where_it_stopped_and_a_complete_one_is_read_again(ground, run):
    braze = ground.brazes[FIRST]
    braze.behaviour.fail_next = [*["slow"] * 8, "403"]
    failed = run(MARCH)
    assert not failed.success
    assert failed.tries == 1
    assert "answered 403" in failed.log
    some = ground.rows()
    assert 0 < len(some) < len(ground.events(FIRST, MONTHS[0]))
    first_day_asked_for(braze)

    assert run(MARCH).success
    assert first_day_asked_for(braze) > "2026-03-10"
    assert ground.rows() == ground.of_partitions([MARCH])

    again = run(MARCH)
    assert first_day_asked_for(braze) == "2026-03-01"
    assert again.metadata["records"] == len(ground.of_partitions([MARCH]))
    assert ground.rows() == ground.of_partitions([MARCH])


def test_what_may_pass_is_tried_again_in_the_same_run_from_where_it_stopped(ground, run):
    braze = ground.brazes[FIRST]
    braze.behaviour.fail_next = [*["slow"] * 4, "503"]
    done = run(MARCH)
    assert done.success
    assert done.tries == 2
    assert done.metadata["records"] < len(ground.of_partitions([MARCH]))
    assert ground.rows() == ground.of_partitions([MARCH])


def test_a_cancelled_run_ends_tap_and_loader_and_the_next_goes_on_from_there(ground, run):
    braze = ground.brazes[FIRST]
    braze.behaviour.fail_next = [*["slow"] * 8, "hang"]

    def cancel():
        while not any(request.status == "hang" for request in braze.requests):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=cancel, daemon=True).start()
    cancelled = run(MARCH)
    assert not cancelled.success
    assert cancelled.tries == 1
    assert "cancelled" in cancelled.log
    assert not braze.under_way
    assert 0 < len(ground.rows()) < len(ground.events(FIRST, MONTHS[0]))
    first_day_asked_for(braze)

    assert run(MARCH).success
    assert first_day_asked_for(braze) > "2026-03-10"
    assert ground.rows() == ground.of_partitions([MARCH])


def test_a_key_that_is_not_there_is_named_and_not_tried_again(run, monkeypatch):
    monkeypatch.delenv("BRAZE_API_KEY")
    failed = run(MARCH)
    assert not failed.success
    assert failed.tries == 1
    assert "BRAZE_API_KEY is not set" in failed.log


def test_a_loader_that_fails_fails_the_run_and_no_number_gets_into_the_log(ground, run, definitions):
    # A column too narrow: Postgres quotes the row it refuses.
    ground.ask("CREATE SCHEMA braze")
    ground.ask(
        "CREATE TABLE braze.invalid_phone_numbers (workspace text, phone text CHECK (phone = ''),"
        " invalid_detected_at timestamp, reason text, PRIMARY KEY (workspace, phone, invalid_detected_at))"
    )
    failed = run(MARCH)
    assert not failed.success
    assert failed.tries == 1 + definitions.RETRIES.max_retries
    assert f"{definitions.LOADER} with 1" in failed.log
    assert "[number]" in failed.log
    assert not any(phone.lstrip("+") in failed.log for _, phone, _ in ground.events(FIRST))


@pytest.mark.parametrize(
    "codes, again",
    [
        ((75, 0), True),
        ((143, 1), True),
        ((-9, 0), True),
        ((0, 1), True),
        ((1, 1), True),
        *(((code, loader), False) for code in (65, 77, 78) for loader in (0, 1)),
        ((1, 0), False),
    ],
)
def test_only_what_may_pass_is_tried_again(definitions, codes, again):
    assert definitions.may_pass(*codes) is again


def test_states_may_lie_anywhere_fsspec_reaches(definitions):
    state = UPath("memory://states/months/acme/2026-03.json")
    for value in (b"1", b"2"):
        definitions.keep(state, value)
        assert state.read_bytes() == value
    assert [Path(str(path)).name for path in state.parent.iterdir()] == ["2026-03.json"]
