"""Braze's lists of many workspaces in one table: months to backfill, and an hourly run for what is new.

Every partition is a run of its own, with one process of the tap, piped into one of the loader, and a state of its own.
"""

# Without `from __future__ import annotations`: Dagster reads the annotations of its contexts.
import datetime as dt
import json
import os
import re
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

import dagster as dg
import yaml
from upath import UPath

HERE = Path(__file__).parent
FILE = yaml.safe_load(Path(os.environ.get("BRAZE_WORKSPACES") or HERE / "workspaces.yml").read_text(encoding="utf-8"))
WORKSPACES: dict[str, dict[str, t.Any]] = {
    workspace["name"]: {"start_date": FILE["start_date"], **workspace} for workspace in FILE["workspaces"]
}
#: A folder, or any address that fsspec knows, such as s3://bucket/states.
STATES = UPath(os.environ.get("BRAZE_STATES") or HERE / "states")

#: Both are looked for on PATH. They want an environment apart from Dagster's; requirements.txt says why.
TAP, LOADER = "tap-braze-sms", "target-postgres"

# When the tap gives up, it has tried the request several times, over minutes.
RETRIES = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL)
#: The tap's exit status where it may pass by itself. Others (65, 77, 78) would be the same after another try.
PASSING = 75
#: Added to a signal's number, in the exit status of what it ended.
SIGNALED = 128
SUMMARY = re.compile(r"Read (?P<records>\d+) records?\b.*?\b(?P<requests>\d+) requests?")
#: A loader's error can quote the row it failed on.
PHONE = re.compile(r"(?<![\d.])\+?\d{7,15}(?!\d)")

#: A detection becomes visible some minutes after its time: a month read at its very end may lack its last.
LATE = dt.timedelta(hours=1)

# Two dimensions even where one would do: only they give every run, whoever launched it, the tag
# dagster/partition/workspace, by which dagster.yaml keeps a workspace at one run at a time.
NAMES = dg.StaticPartitionsDefinition(list(WORKSPACES))
MONTHS = dg.MonthlyPartitionsDefinition(min(str(one["start_date"]) for one in WORKSPACES.values())[:7], fmt="%Y-%m")
BY_MONTH = dg.MultiPartitionsDefinition({"workspace": NAMES, "month": MONTHS})
LATEST = dg.MultiPartitionsDefinition({"workspace": NAMES, "range": dg.StaticPartitionsDefinition(["latest"])})


@dg.asset(partitions_def=BY_MONTH, retry_policy=RETRIES, key_prefix="braze")
def invalid_phone_numbers_by_month(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """What was detected in a month: all of it, or after a failure what that run had left."""
    workspace, month = (context.partition_key.keys_by_dimension[name] for name in ("workspace", "month"))
    window = context.partition_time_window
    start = max(window.start, beginning(workspace))
    if start >= window.end:
        return dg.MaterializeResult(metadata={"records": 0})
    state = STATES / "months" / workspace / f"{month}.json"
    result = load(context, workspace, state, start_date=start.isoformat(), end_date=window.end.isoformat())
    # Whoever materializes a complete month again wants it read again.
    state.unlink(missing_ok=True)
    return result


@dg.asset(partitions_def=LATEST, retry_policy=RETRIES, key_prefix="braze")
def invalid_phone_numbers(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """What was detected since the last run; in the first, since the end of the months that are loaded."""
    workspace = context.partition_key.keys_by_dimension["workspace"]
    start = max(beginning(workspace), end_of_loaded_months(context.instance, workspace) - LATE)
    return load(context, workspace, STATES / "latest" / f"{workspace}.json", start_date=start.isoformat())


def end_of_loaded_months(instance: dg.DagsterInstance, workspace: str) -> dt.datetime:
    """Return the instant up to which months are loaded without a gap; where none are, the beginning."""
    keys = {m: dg.MultiPartitionKey({"workspace": workspace, "month": m}) for m in MONTHS.get_partition_keys()}
    status = instance.get_status_by_partition(invalid_phone_numbers_by_month.key, [*keys.values()], BY_MONTH) or {}
    end = beginning(workspace)
    for month, key in keys.items():
        window = MONTHS.time_window_for_partition_key(month)
        if window.end > end:
            if status.get(key) is not dg.AssetPartitionStatus.MATERIALIZED:
                break
            end = window.end
    return end


def beginning(workspace: str) -> dt.datetime:
    """Return the earliest detection wanted of a workspace."""
    start = dt.datetime.fromisoformat(str(WORKSPACES[workspace]["start_date"]))
    return start if start.tzinfo else start.replace(tzinfo=dt.timezone.utc)


def load(context: dg.AssetExecutionContext, workspace: str, state: UPath, **dates: str) -> dg.MaterializeResult:
    """Run tap and loader from a state on, and keep the state they reach, however they end."""
    settings = dict(WORKSPACES[workspace])
    name, api_key_env = settings.pop("name"), settings.pop("api_key_env")
    if not os.environ.get(api_key_env):
        raise dg.Failure(description=f"{api_key_env} is not set", allow_retries=False)
    mapped = {"workspace": repr(name), "__key_properties__": ["workspace", "phone", "invalid_detected_at"]}
    tap_config = {
        **settings,
        **dates,
        "api_key": os.environ[api_key_env],
        "stream_maps": {"invalid_phone_numbers": mapped},
    }
    loader_config = {
        "sqlalchemy_url": os.environ["WAREHOUSE_URL"],
        "default_target_schema": "braze",
        "use_copy": True,
        "validate_records": False,
    }
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "tap.json").write_text(json.dumps(tap_config), encoding="utf-8")
        (folder / "loader.json").write_text(json.dumps(loader_config), encoding="utf-8")
        tap, loader = [TAP, "--config", "tap.json"], [LOADER, "--config", "loader.json"]
        if state.exists():
            (folder / "state.json").write_bytes(state.read_bytes())
            tap += ["--state", "state.json"]
        try:
            codes, lines = run(context, tap, loader, folder)
        finally:
            # What the loader has passed on is loaded. A line that was cut off is none.
            *complete, _ = (folder / "states").read_bytes().split(b"\n")
            if complete:
                keep(state, complete[-1])
    if any(codes):
        errors = [line for line in lines if "| ERROR" in line] or lines
        message = f"{TAP} ended with {codes[0]}, {LOADER} with {codes[1]}: {' '.join(errors[-1:])}"
        raise dg.Failure(description=message, allow_retries=may_pass(*codes))
    summary = SUMMARY.search("\n".join(lines))
    counts = {what: int(count) for what, count in summary.groupdict().items()} if summary else {}
    return dg.MaterializeResult(metadata={**counts, **dates, "seconds": round(time.monotonic() - started, 1)})


def may_pass(tap: int, loader: int) -> bool:
    """Tell by exit codes whether another try may end better."""
    by_signal = tap < 0 or tap > SIGNALED
    # A loader's status tells nothing: a warehouse that was restarted looks like a column that is too narrow. The tap
    # ends with 1 where the loader is gone.
    return tap == PASSING or by_signal or (loader != 0 and tap in {0, 1})


def run(
    context: dg.AssetExecutionContext, tap: list[str], loader: list[str], folder: Path
) -> tuple[tuple[int, int], list[str]]:
    """Connect tap and loader by a pipe; give their exit codes and what they said, which Dagster logs meanwhile."""
    lines: list[str] = []
    reader, writer = os.pipe()
    with (
        os.fdopen(reader, encoding="utf-8", errors="replace") as log,
        os.fdopen(writer, "wb") as said,
        (folder / "states").open("wb") as states,
        subprocess.Popen(loader, cwd=folder, stdin=subprocess.PIPE, stdout=states, stderr=said) as sink,
        subprocess.Popen(tap, cwd=folder, stdin=subprocess.DEVNULL, stdout=sink.stdin, stderr=said) as source,
    ):
        # Their own copies are enough: with these open, neither the log nor the loader's input would end.
        said.close()
        t.cast("t.IO[bytes]", sink.stdin).close()
        try:
            for line in log:
                lines.append(PHONE.sub("[number]", line.rstrip()))
                context.log.info(lines[-1])
        except BaseException as error:
            # The tap ends with a last STATE, and the loader once it has loaded that; both are waited for.
            source.terminate()
            if isinstance(error, (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)):
                # As it is, Dagster would try again.
                raise dg.Failure(description="The run was cancelled", allow_retries=False) from None
            raise
    return (source.returncode, sink.returncode), lines


def keep(state: UPath, value: bytes) -> None:
    """Replace a state in one move, so that no end can leave half of one."""
    state.parent.mkdir(parents=True, exist_ok=True)
    draft = state.with_name(f"{state.name}.part")
    draft.write_bytes(value)
    draft.rename(state)


load_months = dg.define_asset_job("load_months", [invalid_phone_numbers_by_month])
load_latest = dg.define_asset_job("load_latest", [invalid_phone_numbers])


@dg.schedule(job=load_latest, cron_schedule="0 * * * *")
def hourly(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
    """Ask for one run per workspace."""
    at = context.scheduled_execution_time.isoformat()
    keys = {name: dg.MultiPartitionKey({"workspace": name, "range": "latest"}) for name in WORKSPACES}
    return [dg.RunRequest(run_key=f"{name} {at}", partition_key=key) for name, key in keys.items()]


defs = dg.Definitions(
    assets=[invalid_phone_numbers, invalid_phone_numbers_by_month],
    jobs=[load_latest, load_months],
    schedules=[hourly],
    # A run has one step; a further process for it would only cost.
    executor=dg.in_process_executor,
)
