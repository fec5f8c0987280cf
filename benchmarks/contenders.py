"""The contenders: what each is, how its environment is built, and its command line for a job."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

if t.TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
ENVIRONMENTS = PROJECT / ".venv-bench"
API_KEY = "benchmark-key"
OUTPUT = "output.jsonl"
#: Requests that contenders may have under way, where they can have several.
PARALLEL = 10
#: Requests that ours has under way where only ours is measured.
MOST = 16


@dataclass(frozen=True, slots=True)
class Job:
    """One run to be made."""

    url: str
    start: dt.date
    end: dt.date  #: exclusive
    folder: Path  #: for all the run writes
    after: Path | None = None  #: folder of the completed run to go on from


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to read the list."""

    name: str
    title: str
    package: str  #: whose version to report
    environment: str  #: folder with source and requirements.txt; "" is the project itself
    command: Callable[[Job, Path], list[str]]  #: the second argument is the environment's bin
    output: str = OUTPUT  #: which files in the job's folder hold the records
    keeps_state: bool = True
    ours: bool = False

    @property
    def bin(self) -> Path:
        """Where the environment's programs are."""
        return ENVIRONMENTS / (self.environment or "tap_braze_sms") / "bin"

    def build(self) -> None:
        """Make the environment, unless it is there as its pins say."""
        if self.environment:
            pins = HERE / self.environment / "requirements.txt"
            build(self.bin.parent, "--requirement", pins)
        else:
            pins = PROJECT / "requirements" / "constraints.txt"
            build(self.bin.parent, "--constraint", pins, "--editable", PROJECT)

    def version(self) -> str:
        """Return the installed version of what it is built with."""
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        found = subprocess.run([self.bin / "python", "-c", code], check=True, capture_output=True, text=True)
        return f"{self.package} {found.stdout.strip()}"


def build(folder: Path, *what: str | Path) -> None:
    """Install into a virtual environment, unless the same was installed there before."""
    sources = [path / "pyproject.toml" if path.is_dir() else path for path in what if isinstance(path, Path)]
    wanted = "\n".join([sys.version, *(path.read_text() for path in sources)])
    stamp = folder / "benchmark.stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Installing {folder.name}", flush=True)
    places = (PROJECT / ".venv" / "uv" / "bin", Path(sys.executable).parent, os.environ["PATH"])
    uv = shutil.which("uv", path=os.pathsep.join(map(str, places)))
    if uv is None:
        sys.exit("uv is needed; `make bench` brings it")
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", *what], check=True)
    stamp.write_text(wanted)


def configured(job: Job, **settings: object) -> str:
    """Write a run's configuration and return its path."""
    path = job.folder / "config.json"
    span = {"start_date": str(job.start), "end_date": str(job.end)}
    path.write_text(json.dumps({"api_key": API_KEY, "api_url": job.url, **span, **settings}))
    return str(path)


def state_after(job: Job, last: Callable[[list[dict[str, t.Any]]], t.Any]) -> list[str]:
    """Write the state that an earlier run left, if there was one, and return the option for it."""
    if job.after is None:
        return []
    with (job.after / OUTPUT).open() as lines:
        states = [json.loads(line) for line in lines if '"STATE"' in line[:100]]
    path = job.folder / "state.json"
    path.write_text(json.dumps(last(states)))
    return ["--state", str(path)]


def singer(job: Job) -> list[str]:
    """Return the option for a Singer state."""
    return state_after(job, lambda states: states[-1]["value"])


def ours(parallel: int, share: float = 1) -> Callable[[Job, Path], list[str]]:
    """Return the command for this project's tap."""

    def command(job: Job, programs: Path) -> list[str]:
        # Without an end: as it runs every day, up to now.
        config = configured(job, max_parallel_requests=parallel, rate_limit_share=share, end_date=None)
        return [str(programs / "tap-braze-sms"), "--config", config, *singer(job)]

    return command


def sdk_template(job: Job, programs: Path) -> list[str]:
    """Return the command for the template's tap."""
    return [str(programs / "python"), str(HERE / "sdk_template/tap.py"), "--config", configured(job), *singer(job)]


def span(job: Job) -> list[str]:
    """Return the options that scripts take."""
    return ["--url", job.url, "--key", API_KEY, "--start", str(job.start), "--end", str(job.end)]


def requests_loop(job: Job, programs: Path) -> list[str]:
    """Return the command for the loop."""
    return [str(programs / "python"), str(HERE / "requests_loop/loop.py"), *span(job)]


def dlt(windows: int) -> Callable[[Job, Path], list[str]]:
    """Return the command for dlt's pipeline."""

    def command(job: Job, programs: Path) -> list[str]:
        folder = job.folder / "dlt"
        if job.after:
            # Its state alone: what was extracted would have been loaded by now.
            (folder / "braze").mkdir(parents=True)
            for kept in ("state.json", "schemas"):
                source = job.after / "dlt" / "braze" / kept
                (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / "braze" / kept)
        options = [*span(job), "--folder", str(folder), "--windows", str(windows)]
        return [str(programs / "python"), str(HERE / "dlt_rest_api/pipeline.py"), *options]

    return command


def airbyte(job: Job, programs: Path) -> list[str]:
    """Return the command for Airbyte's declarative source."""
    folder = HERE / "airbyte_cdk"
    files = ["--catalog", str(folder / "catalog.json"), "--manifest-path", str(folder / "manifest.yaml")]
    state = state_after(job, lambda states: [states[-1]["state"]])
    program = str(programs / "source-declarative-manifest")
    return [program, "read", "--config", configured(job), *files, *state]


OURS_16 = Contender("ours_16", f"tap-braze-sms, {MOST} at once", "tap-braze-sms", "", ours(MOST), ours=True)
OURS_10 = Contender("ours_10", f"tap-braze-sms, {PARALLEL} at once", "tap-braze-sms", "", ours(PARALLEL), ours=True)
OURS_HALF = dataclasses.replace(
    OURS_10,
    name="ours_half",
    title=f"tap-braze-sms, {PARALLEL} at once, half the limit",
    command=ours(PARALLEL, share=0.5),
)
EXTRACTED = "dlt/**/invalid_phone_numbers.*.typed-jsonl"
OTHERS = (
    Contender(
        "airbyte_cdk", f"Airbyte CDK, {PARALLEL} workers over 30-day slices", "airbyte-cdk", "airbyte_cdk", airbyte
    ),
    Contender(
        "dlt_windows",
        f"dlt, {PARALLEL} windows in parallel",
        "dlt",
        "dlt_rest_api",
        dlt(PARALLEL),
        output=EXTRACTED,
        keeps_state=False,
    ),
    Contender("dlt", "dlt, one incremental resource", "dlt", "dlt_rest_api", dlt(0), output=EXTRACTED),
    Contender("sdk_template", "Meltano SDK's template", "singer-sdk", "sdk_template", sdk_template),
    Contender("requests_loop", "a loop around requests", "requests", "requests_loop", requests_loop, keeps_state=False),
)
#: What ratios refer to: as many requests at once as the others may have.
REFERENCE = OURS_10
ALL = (OURS_16, OURS_10, OURS_HALF, *OTHERS)
