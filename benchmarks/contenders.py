"""The contenders: what each is, how its environment is built, and its command line for a job."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
MELTANO = Path(sys.executable).with_name("meltano")
PLUGINS = PROJECT / ".meltano"
ENVIRONMENTS = PROJECT / ".venv-bench"
API_KEY = "benchmark-key"
OUTPUT = "output.jsonl"
DAY = dt.timedelta(days=1)
#: Settings a contender would take from the caller's environment.
FOREIGN = (
    *("TAP_", "TARGET_", "MELTANO_", "SINGER_", "PYTHON"),
    *("DATA_WRITER__", "DESTINATION__", "EXTRACT__", "LOAD__", "NORMALIZE__", "RUNTIME__"),
)
#: Requests that contenders may have under way, where they can have several.
PARALLEL = 10
#: Requests that ours has under way where only ours is measured.
MOST = 16


class Warehouse(t.Protocol):
    """What a run loads into."""

    @property
    def name(self) -> str:
        """Which one: postgres or duckdb."""

    @property
    def loader(self) -> str:
        """Meltano's name for what loads it."""

    @property
    def settings(self) -> dict[str, str]:
        """What that loader is told, as Meltano takes it from the environment."""

    @property
    def for_dlt(self) -> str:
        """The address as dlt takes it."""

    def empty(self) -> None:
        """Leave nothing of an earlier run."""

    def rows(self, python: Path) -> Iterator[bytes]:
        """Yield a number's digits and the microseconds of its instant, for each row."""


@dataclass(frozen=True, slots=True)
class Job:
    """One run to be made."""

    url: str
    start: dt.date
    end: dt.date  #: exclusive
    folder: Path  #: for all the run writes
    after: Path | None = None  #: folder of the completed run to go on from
    warehouse: Warehouse | None = None  #: where it loads what it reads


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to read the list."""

    name: str
    title: str
    package: str  #: whose version to report
    environment: str | None  #: folder with requirements.txt; "" is the project itself, None what `make` set up
    command: Callable[[Job, Path], list[str]]  #: the second argument is the environment's bin
    output: str = OUTPUT  #: which files in the job's folder hold the records
    keeps_state: bool = True
    ours: bool = False
    reads: bool = True  #: not only starts and ends
    prepare: Callable[[Job], None] | None = None  #: what is to be done once, before the first run

    @property
    def bin(self) -> Path:
        """Where the environment's programs are."""
        if self.environment is None:
            return MELTANO.parent
        return ENVIRONMENTS / (self.environment or "tap_braze_sms") / "bin"

    def build(self) -> None:
        """Make the environment, unless it is there as its pins say."""
        if self.environment is None:
            if not MELTANO.exists():
                sys.exit("Meltano is needed; `make bench` brings it")
        elif self.environment:
            pins = HERE / self.environment / "requirements.txt"
            build(self.bin.parent, "--requirement", pins)
        else:
            pins = PROJECT / "requirements" / "constraints.txt"
            build(self.bin.parent, "--constraint", pins, "--editable", PROJECT)

    def version(self) -> str:
        """Return the installed version of what it is built with."""
        return version(self.bin, self.package)


def version(programs: Path, package: str) -> str:
    """Return a package's name with the version that is installed for the Python of a folder."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    found = subprocess.run([programs / "python", "-c", code], check=True, capture_output=True, text=True)
    return f"{package} {found.stdout.strip()}"


def loader_versions(loader: str) -> list[str]:
    """Return the versions of what meltano.yml has for a loader."""
    programs = PLUGINS / "loaders" / loader / "venv" / "bin"
    definition = (PROJECT / "meltano.yml").read_text()
    (packages,) = re.findall(rf"^  - name: {loader}$.*?^    pip_url: (.*?)$", definition, re.DOTALL | re.MULTILINE)
    return [version(programs, package.partition("==")[0]) for package in packages.split()]


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


def environment() -> dict[str, str]:
    """Return the environment contenders run in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    local = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "NO_COLOR": "1"}
    of_dlt = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DATA_WRITER__DISABLE_COMPRESSION": "true"}
    return {**kept, **local, **of_dlt}


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


def dlt_loading(job: Job, programs: Path) -> list[str]:
    """Return the command for dlt's pipeline into a warehouse."""
    warehouse = into(job)
    command = dlt(PARALLEL)(job, programs)
    return [*command, "--into", warehouse.name, "--warehouse", warehouse.for_dlt]


def into(job: Job) -> Warehouse:
    """Return the warehouse of a job that has one."""
    if job.warehouse is None:
        msg = "a run into no warehouse"
        raise ValueError(msg)
    return job.warehouse


def meltano_project(job: Job) -> Path:
    """Name the folder of the Meltano project that a contender's runs share."""
    return job.folder.with_name(f"{job.folder.name}_project")


def meltano(job: Job, *arguments: str) -> list[str]:
    """Return a command of Meltano's in that project."""
    return [str(MELTANO), "--cwd", str(meltano_project(job)), "--environment", "dev", *arguments]


def prepared(settings: Callable[[Job], dict[str, str]]) -> Callable[[Job], None]:
    """Return how a Meltano project is made of this one, with the tap as users have it, and these settings."""

    def prepare(job: Job) -> None:
        loader = into(job).loader
        if not (PLUGINS / "loaders" / loader).exists():
            sys.exit(f"{loader} is needed: `make bench` brings it, where it installs")
        project = meltano_project(job)
        shutil.rmtree(project, ignore_errors=True)
        (project / ".meltano").mkdir(parents=True)
        for kind in ("extractors", "loaders"):
            (project / ".meltano" / kind).symlink_to(PLUGINS / kind)
        (project / "plugins").symlink_to(PROJECT / "plugins")
        # Of an editable plugin, Meltano asks the catalog before each run.
        definition = (PROJECT / "meltano.yml").read_text().replace("pip_url: -e .", "pip_url: tap-braze-sms")
        (project / "meltano.yml").write_text(definition)
        told = {
            "TAP_BRAZE_SMS_API_KEY": API_KEY,
            "TAP_BRAZE_SMS_API_URL": job.url,
            "TAP_BRAZE_SMS_START_DATE": str(job.start),
            "TAP_BRAZE_SMS_MAX_PARALLEL_REQUESTS": str(PARALLEL),
            **settings(job),
            **into(job).settings,
        }
        (project / ".env").write_text("".join(f"{name}={value}\n" for name, value in told.items()))
        # Meltano makes its own database, and asks what the tap can do, once; a schedule's runs do not wait for that.
        with (project / "discovery.log").open("wb") as log:
            command = meltano(job, "invoke", "--no-install", "--dump=catalog", "tap-braze-sms")
            subprocess.run(command, check=True, stdout=log, stderr=log, env=environment())

    return prepare


def meltano_run(job: Job, _programs: Path) -> list[str]:
    """Return the command for a first load: with a state of its own, that is."""
    state = f"--state-id-suffix={time.time_ns()}"
    return meltano(job, "run", "--no-install", state, "tap-braze-sms", into(job).loader)


def of_batches(job: Job) -> dict[str, str]:
    """Return the settings by which the tap writes BATCH files."""
    return {"TAP_BRAZE_SMS_BATCH_CONFIG_STORAGE_ROOT": (job.folder / "batches").as_uri()}


def of_nothing(job: Job) -> dict[str, str]:
    """Return the settings by which the tap finds nothing: a day before the list begins."""
    return {
        "TAP_BRAZE_SMS_START_DATE": str(job.start - 3 * DAY),
        "TAP_BRAZE_SMS_END_DATE": str(job.start - 2 * DAY),
    }


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
DLT_LOADING = Contender(
    "dlt_loading", f"dlt, {PARALLEL} windows in parallel", "dlt", "dlt_warehouse", dlt_loading, keeps_state=False
)
MESSAGES, BATCHES, NOTHING = (
    Contender(name, title, "meltano", None, meltano_run, ours=True, reads=reads, prepare=prepared(settings))
    for name, title, settings, reads in (
        ("ours_messages", "tap-braze-sms under Meltano, by messages", lambda _job: {}, True),
        ("ours_batches", "tap-braze-sms under Meltano, by BATCH files", of_batches, True),
        ("nothing", "Meltano, tap and loader, nothing to load", of_nothing, False),
    )
)
#: What ratios refer to: as many requests at once as the others may have.
REFERENCE = OURS_10
ALL = (OURS_16, OURS_10, OURS_HALF, *OTHERS)
LOADING = (DLT_LOADING, MESSAGES, BATCHES, NOTHING)
